"""The recipes of the ablation: a row for every term, rows that differ in their loss alone."""

from pathlib import Path

import pytest

from handkit.errors import HandkitError
from handkit.methods.binocular_recipe import PULL, TERMS, BinocularRecipe
from handkit.recipe import build_recipe, load_recipe
from handkit.tables.binocular import BinocularTraining, idle_terms
from handkit.tables.binocular_recipe import BinocularTable

NAMES = ("binocular-ablation", "binocular-ablation-small")


def settings_of(name: str, row: str, *changes: str) -> BinocularRecipe:
    table = load_recipe(BinocularTable, name)
    found = next(one for one in table.rows if one.name == row)
    return BinocularTraining(table, Path("prior"), changes=changes).settings(found, seed=3)


def weights_of(settings: BinocularRecipe) -> dict[str, float]:
    return {name: getattr(settings.loss, name) for name in (*TERMS, PULL)}


@pytest.mark.parametrize("name", NAMES)
def test_every_term_is_left_out_once(name: str) -> None:
    usual = weights_of(settings_of(name, "all"))
    assert all(weight > 0 for weight in usual.values())
    for term in usual:
        left_out = weights_of(settings_of(name, f"without-{term.replace('_', '-')}"))
        assert left_out == {**usual, term: 0.0}
    assert weights_of(settings_of(name, "without-shape")) == {**usual, "edges": 0, "normals": 0, "one_shape": 0}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("term", ["epipolar", "appearance", "silhouette"])
def test_a_term_alone_has_the_pull_beside_it(name: str, term: str) -> None:
    usual, own = settings_of(name, "all"), settings_of(name, f"{term}-alone")
    kept = {term, PULL}
    assert weights_of(own) == {key: value if key in kept else 0 for key, value in weights_of(usual).items()}
    assert (usual.loss.prior_decay, own.loss.prior_decay) == (0.5, None)


@pytest.mark.parametrize("name", NAMES)
def test_changes_are_for_all_rows_and_seeds(name: str) -> None:
    rows = [row.name for row in load_recipe(BinocularTable, name).rows if row.learns]
    found = [settings_of(name, row, "learning.steps=7", 'data.recipe="stereo"') for row in rows]
    alike = [one.model_dump(exclude={"loss"}) for one in found]
    assert all(one == alike[0] for one in alike)
    assert (found[0].learning.steps, found[0].data.recipe, found[0].train.seed) == (7, "stereo", 3)


def test_both_budgets_have_the_same_rows() -> None:
    published, small = (load_recipe(BinocularTable, name) for name in NAMES)
    for part in ("rows", "sets", "compare", "note", "files"):
        assert getattr(published, part) == getattr(small, part)
    assert [row.name for row in small.rows if not row.learns] == ["before"]
    usual = load_recipe(BinocularRecipe, "binocular", ["data.recipe=stereo-target", "train.seed=3"])
    assert settings_of(NAMES[0], "all") == usual


def test_terms_that_were_idle_are_found(tmp_path: Path) -> None:
    log = tmp_path / "train.csv"
    log.write_text("step,loss,epipolar,one_shape,edges,prior\n1,1,1,0.0,0.0,0.0\n2,1,1,0.0,0.5,0.0\n")
    assert idle_terms(log) == ["one_shape"]  # the pull is meant to end
    log.write_text("step,loss,one_shape\n")
    assert idle_terms(log) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rows": [{"name": "a", "label": "a", "changes": ["learning.lr=1"]}]}, "not in learning.lr"),
        ({"rows": [{"name": "a", "label": "a", "learns": False, "changes": ["loss.edges=0"]}]}, "not in loss.edges"),
        ({"compare": [{"first": "all", "second": "none"}]}, "should be a row among"),
        ({"sets": [{"name": "a", "columns": ["auc_v"], "orders": "mpvpe_mm"}]}, "should be a measure among"),
        ({"sets": [{"name": "a", "dataset": "stb", "columns": [], "orders": "mpvpe_mm"}]}, "have no dataset"),
        ({"sets": []}, "at least 1"),
    ],
)
def test_tables_that_do_not_fit_together_are_refused(changes: dict, said: str) -> None:
    held = load_recipe(BinocularTable, "binocular-ablation").model_dump(mode="json")
    with pytest.raises(HandkitError) as error:
        build_recipe(BinocularTable, {**held, "compare": [], **changes}, source="table")
    assert said in f"{error.value.what} {error.value.fix}"
