"""S2HAND's tables: the figures that the paper prints, what each row learns by, and which branches rows share."""

import csv
from pathlib import Path

import pytest

from handkit.errors import HandkitError
from handkit.methods.s2hand_loss import STAGE_TERMS
from handkit.methods.s2hand_recipe import S2HandRecipe, term_weights
from handkit.recipe import build_recipe, load_recipe
from handkit.runs.result import RunOptions
from handkit.tables import s2hand as training
from handkit.tables.figures import order_by
from handkit.tables.printing import print_report, write_table
from handkit.tables.recipe import DrawnRecipe
from handkit.tables.run import TableResult
from handkit.tables.s2hand import S2HandTraining
from handkit.tables.s2hand_branches import branch_settings
from handkit.tables.s2hand_recipe import S2HandTable
from handkit.tables.sets import OpenSet
from tests.tables.printed import PRINTED, REPETITIONS

NUMBERS = (*PRINTED, 13)
GEOMETRY = {"location", "orientation", "shape", "scale", "limits", "texture"}


def table(number: int) -> S2HandTable:
    return load_recipe(S2HandTable, f"s2hand-table{number}")


def settings_of(number: int, name: str, **options: object) -> S2HandRecipe:
    """Of the row of that name with seed 0."""
    found = table(number)
    row = next(row for row in found.rows if row.name == name)
    return S2HandTraining(found, **options).settings(row, seed=0)  # type: ignore[arg-type]


def terms_of(settings: S2HandRecipe, stage: str) -> set[str]:
    weights = term_weights(settings.loss, settings.data.frames)
    return {name for name in STAGE_TERMS[stage] if weights[name] > 0}


@pytest.mark.parametrize("number", PRINTED)
def test_tables_hold_what_the_paper_prints(number: int) -> None:
    columns, text = PRINTED[number]
    lines = [line.split() for line in text.splitlines()]
    wanted = {
        name: {key: float(value) for key, value in zip(columns, values, strict=True) if value != "-"}
        for name, *values in lines
    }
    assert {row.name: row.published for row in table(number).rows} == wanted


def test_repetitions_are_what_the_supplement_prints() -> None:
    columns = list(zip(*(map(float, line.split()) for line in REPETITIONS.splitlines()), strict=True))
    for place, row in enumerate(table(13).rows):
        keys = ("ho3d.pa_mpjpe_mm", "ho3d-validation.pa_mpjpe_mm", "ho3d.pa_auc_j", "ho3d-validation.pa_auc_j")
        assert row.published == {key: columns[2 * i + place] for i, key in enumerate(keys)}
    assert table(13).seeds == 3
    assert table(4).seeds == 1


@pytest.mark.parametrize("number", NUMBERS)
def test_every_row_is_learned_and_every_figure_shown(number: int) -> None:
    found = table(number)
    assert found.files == f"table{number}"
    shown = {f"{name}.{key}" for one in found.sets for name in one.printed_as for key in one.columns}
    beside_drawn = {
        f"{name}.{key}" for one in found.sets if one.stands_for for name in one.stands_for for key in one.columns
    }
    for row in found.rows:
        assert set(row.published) <= shown
        assert set(row.published) <= beside_drawn  # on machines without the data sets too
        settings_of(number, row.name)
        settings_of(number, row.name, recipe="s2hand-small")


def test_rows_of_one_name_are_the_same_run_in_every_table() -> None:
    known: dict[str, object] = {}
    for number in NUMBERS:
        for row in table(number).rows:
            run = (row.together, row.has_more, settings_of(number, row.name))
            assert known.setdefault(row.name, run) == run, (number, row.name)
    assert {"s2hand", "video-quaternion", "video"} <= known.keys()


@pytest.mark.parametrize(
    ("name", "terms"),
    [
        ("loc", {"location"}),
        ("loc-regu", {"location", "shape", "scale", "limits", "texture"}),
        ("loc-regu-ori", GEOMETRY),
        ("loc-regu-ori-photo", GEOMETRY | {"pixel", "ssim"}),
        ("loc-regu-ori-2d", GEOMETRY | {"estimated", "consistency"}),
        ("s2hand", GEOMETRY | {"pixel", "ssim", "estimated", "consistency"}),
    ],
)
def test_rows_of_table_3_learn_by_their_losses(name: str, terms: set[str]) -> None:
    assert terms_of(settings_of(3, name), "images") == terms


@pytest.mark.parametrize(
    ("name", "terms"),
    [
        ("video-temporal", {"temporal"}),
        ("video-smooth", {"smooth"}),
        ("video-quaternion", {"quaternion"}),
        ("video", {"quaternion", "texture_shape"}),
    ],
)
def test_rows_of_table_4_learn_by_their_motion_terms(name: str, terms: set[str]) -> None:
    settings = settings_of(4, name)
    assert terms_of(settings, "video") - terms_of(settings, "images") == terms


def test_other_rows_change_what_their_tables_compare() -> None:
    assert settings_of(6, "weak").data.supervision == "weak"
    windows = {row.name: settings_of(7, row.name).data for row in table(7).rows}
    assert [(data.interval, data.frames) for data in windows.values()] == [(1, 3), (3, 3), (6, 3), (3, 6)]
    assert [settings_of(8, row.name).network.camera for row in table(8).rows] == [
        "perspective",
        *["orthographic"] * 3,
    ]
    options = {"sources": ("ho3d=HO3D",), "more": ("youtube3d=YT",)}
    assert settings_of(8, "video-quaternion-orthographic", **options).data.sources == ("ho3d=HO3D",)
    more = settings_of(8, "video-quaternion-orthographic-more", **options)
    assert more.data.sources == ("ho3d=HO3D", "youtube3d=YT")


def test_what_no_one_gives_is_drawn_for_the_rows_that_learn_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[DrawnRecipe, Path]] = []

    def noted(recipe: DrawnRecipe, folder: Path, **_: object) -> Path:
        drawn.append((recipe, folder))
        return folder

    monkeypatch.setattr(training, "draw", noted)
    eight, how = table(8), RunOptions(device="cpu", force=False, show_progress=False)
    made = S2HandTraining(eight, changes=("data.synthetic_sequences=7",))
    made.prepare(tmp_path, eight.rows, how, lambda _: None)
    learned, more = tmp_path / "data/learned", tmp_path / "data/more"
    assert [(one.recipe, one.sequences, one.changes, folder) for one, folder in drawn] == [
        ("seqhand", 7, ("frames=20",), learned),
        ("seqhand-published", 200, ("frames=20",), more),
    ]
    assert made.learned == learned
    sources = [made.settings(row, seed=0).data.sources for row in eight.rows[-2:]]
    assert sources == [(f"seqhand={learned}",), (f"seqhand={learned}", f"seqhand={more}")]
    drawn.clear()
    given = S2HandTraining(eight, sources=("ho3d=HO3D",))
    given.prepare(tmp_path, eight.rows[:-1], how, lambda _: None)
    assert (drawn, given.learned) == ([], None)


def test_branches_are_shared_where_nothing_that_they_look_at_differs() -> None:
    def branch(number: int, name: str, stage: str, recipe: str = "s2hand") -> S2HandRecipe:
        return branch_settings(settings_of(number, name, recipe=recipe), stage)

    full = branch(3, "s2hand", "hand")
    for number, name in ((4, "video"), (4, "video-temporal"), (7, "video-frames6"), (7, "video-interval6")):
        assert branch(number, name, "hand") == full
        assert branch(number, name, "keypoints") == branch(3, "s2hand", "keypoints")
    assert branch(3, "loc-regu-ori-photo", "hand") == full  # without a 2D branch
    assert branch(3, "loc-regu-ori", "hand") != full
    assert branch(6, "weak", "hand") != full
    assert branch(6, "weak", "keypoints") != branch(3, "s2hand", "keypoints")
    assert branch(8, "s2hand-orthographic", "hand") != full
    assert branch(8, "s2hand-orthographic", "keypoints") == branch(3, "s2hand", "keypoints")
    assert branch(3, "loc-regu-ori-2d", "keypoints") == branch(3, "s2hand", "keypoints")
    # Where the hand's stage has no pixels, rows with and without them share it.
    small = [branch(3, name, "hand", "s2hand-small") for name in ("loc-regu-ori", "loc-regu-ori-photo", "s2hand")]
    assert small[0] == small[1] == small[2] != branch(3, "loc-regu", "hand", "s2hand-small")


@pytest.mark.parametrize("stage", ["hand", "keypoints"])
@pytest.mark.parametrize("change", ["loss.weights.w_photo=0", "loss.weights.w_3d=0", "loss.weights.w_2d=0.5", "hand=x"])
def test_a_branch_learns_by_the_weights_of_its_settings(stage: str, change: str) -> None:
    settings = settings_of(4, "video", changes=(change, "loss.factors.limits=0.5", "loss.weights.color=0.1"))
    own = branch_settings(settings, stage)
    before, after = (term_weights(each.loss, 1) for each in (settings, own))
    assert {name: after[name] for name in STAGE_TERMS[stage]} == {name: before[name] for name in STAGE_TERMS[stage]}
    assert (own.hand, own.stage(stage), own.train) == (settings.hand, settings.stage(stage), settings.train)


def test_centimetres_are_told_in_millimetres() -> None:
    found = table(4)
    published = found.published(found.rows[0])
    assert (published["ho3d.pa_mpjpe_mm"], published["ho3d.pa_auc_j"]) == ((11.4,), (0.773,))


def made_of(number: int, runs: dict[str, dict[int, dict[str, float]]], out: Path, name: str = "drawn") -> TableResult:
    found = table(number)
    one = next(one for one in found.sets if one.name == name)
    return TableResult(found, out, list(found.rows), [OpenSet(one, out, "key")], runs)


def test_repetitions_are_shown_as_ours_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = {"s2hand": {seed: {"drawn.pa_mpjpe_mm": 10.0 + seed, "drawn.pa_auc_j": 0.5} for seed in range(3)}}
    result = made_of(13, runs, tmp_path)
    write_table(result)
    with (tmp_path / "table13.csv").open(newline="") as file:
        lines = [line for line in csv.DictReader(file) if line["row"] == "s2hand"]
    assert [line["seed"] for line in lines] == ["0", "1", "2", "published 1", "published 2", "published 3"]
    assert [line["ho3d.pa_mpjpe_mm"] for line in lines] == ["", "", "", "11.43664", "11.45062", "11.41907"]
    text = (tmp_path / "table13.md").read_text()
    assert "| S2HAND (`s2hand`) | 11.00 ± 1.00 | 0.500 ± 0.000 |" in text
    assert "| published, ho3d | 11.44 ± 0.02 | 0.772 ± 0.000 |" in text
    assert "| published, ho3d-validation | 12.37 ± 0.01 | 0.754 ± 0.000 |" in text
    assert result.summary["rows"]["s2hand"]["published"]["ho3d.pa_mpjpe_mm"] == [11.43664, 11.45062, 11.41907]
    print_report(result)
    stdout = capsys.readouterr().out
    assert "published in cm, shown in mm: PA 3D, mm" in stdout
    assert "in the place of ho3d and ho3d-validation, of which the published figures are" in stdout


def test_published_figures_keep_their_zeros(tmp_path: Path) -> None:
    write_table(made_of(3, {"loc": {0: {"drawn.pa_auc_v": 0.1}}}, tmp_path))
    text = (tmp_path / "table3.md").read_text()
    assert "| published | 12.4 | 12.6 | 0.754 | 0.750 | 0.457 | 0.903 | - | - | - |" in text
    assert "| published | 11.8 | - | 0.766 | 0.765 | 0.483 | 0.917 | - | - | - |" in text


def test_more_is_better_for_areas_and_ties_are_no_pairs() -> None:
    six, seven = table(6), table(7)
    areas = {"weak": [{"freihand.pa_auc_j": 0.5}], "s2hand": [{"freihand.pa_auc_j": 0.6}]}
    order = order_by(six, six.sets[0], "pa_auc_j", six.rows, areas)
    assert (order["order"], order["pairs"], order["as_published"]) == (["s2hand", "weak"], 1, 1)
    ours = {row.name: [{"ho3d.pa_mpjpe_mm": float(place)}] for place, row in enumerate(seven.rows)}
    order = order_by(seven, seven.sets[0], "pa_mpjpe_mm", seven.rows, ours)
    # 1.11, 1.10, 1.13, 1.13: the last two stand level.
    assert (order["pairs"], order["as_published"]) == (5, 4)


SMALL = {
    "title": "t",
    "sets": [{"name": "ho3d", "dataset": "ho3d", "protocol": "ho3d", "columns": ["shape_sd"], "orders": "shape_sd"}],
    "rows": [{"name": "one", "label": "One"}],
}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rows": [{"name": "one", "label": "One", "has_more": True}]}, "more to draw"),
        ({"rows": [{"name": "one", "label": "One", "together": "pictures"}]}, "pictures"),
        ({"printed_in_cm": ["shape_sd"]}, "length"),
        ({"sets": [{**SMALL["sets"][0], "stands_for": ["ho3b"]}]}, "ho3b"),  # type: ignore[dict-item]
        ({"rows": [{"name": "one", "label": "One", "published": {"ho3d.shape": [1.0, 2.0]}}]}, "ho3d.shape"),
    ],
)
def test_tables_that_do_not_fit_together_are_refused(changes: dict, said: str) -> None:
    with pytest.raises(HandkitError) as error:
        build_recipe(S2HandTable, {**SMALL, **changes}, source="table")
    assert said in f"{error.value.what} {error.value.fix}"
