"""What a table may be, and the figures that the packaged ones print."""

import pytest

from handkit.errors import HandkitError
from handkit.recipe import build_recipe, load_recipe
from handkit.tables.seqhand_recipe import SeqHandTable

SET = {
    "name": "moving",
    "dataset": "seqhand",
    "protocol": "seqhand",
    "columns": ["mpjpe_mm"],
    "orders": "mpjpe_mm",
}
TABLE = {"title": "t", "pretrain": {"recipe": "seqhand-small"}, "sets": [SET]}
ROW = {"name": "one", "label": "One", "network": "seqhand-small"}


def test_table_2_holds_what_the_paper_prints() -> None:
    table = load_recipe(SeqHandTable, "seqhand-table2")
    printed = {
        "seqhand-resnet50": (0.855, 0.979, 3.44, 7.85, 28.8),
        "seqhand-resnet101": (0.861, 0.981, 3.31, 7.54, 47.8),
        "seqhand-i3d": (0.831, 0.967, 4.19, 9.24, 31.5),
        "seqhand-mfnet": (0.818, 0.912, 5.48, 10.54, 41.7),
        "seqhand-lstm": (0.826, 0.956, 4.64, 9.63, 39.3),
        "seqhand": (0.873, 0.986, 3.17, 7.18, 43.2),
    }
    keys = (*(f"validation.{key}" for key in ("auc_2d", "auc_j", "epe_2d_px", "mpjpe_mm")), "params_m")
    assert {row.name: tuple(row.published[key] for key in keys) for row in table.rows} == printed


def test_table_3_holds_what_the_paper_prints() -> None:
    table = load_recipe(SeqHandTable, "seqhand-table3")
    keys = ("egodexter.cs_auc_j", "dexter-object.cs_auc_j", "stb.ra_auc_j")
    errors = ("egodexter.cs_mpjpe_mm", "dexter-object.cs_mpjpe_mm", "stb.ra_mpjpe_mm")
    frozen = table.row("memory-frozen")
    assert [frozen.published[key] for key in (*keys, *errors)] == [0.766, 0.843, 0.978, 17.16, 18.12, 9.87]
    assert [row.published[errors[0]] for row in table.rows] == [52.11, 49.18, 52.18, 40.94, 17.16]


@pytest.mark.parametrize("name", ["seqhand-table2-small", "seqhand-table3-small"])
def test_compact_tables_claim_no_published_figures(name: str) -> None:
    assert not any(row.published for row in load_recipe(SeqHandTable, name).rows)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rows": [{**ROW, "starts_from": "two"}]}, "not both"),
        ({"rows": [{"name": "one", "label": "One"}]}, "not both"),
        ({"rows": [{**ROW, "network": "seqhand-smal"}]}, "seqhand-smal"),
        ({"rows": [ROW, ROW]}, "both be called one"),
        ({"rows": [ROW, {"name": "two", "label": "Two", "starts_from": "three"}]}, "earlier row"),
        ({"rows": [ROW, {"name": "two", "label": "Two", "starts_from": "one"}]}, "finetune and stills"),
        ({"rows": [{**ROW, "published": {"moving.auc": 1.0}}]}, "moving.auc"),
        ({"rows": [ROW], "compare": [{"first": "one", "second": "two"}]}, "two"),
        ({"rows": [ROW], "sets": [{**SET, "orders": "mpjpe"}]}, "mpjpe"),
        ({"rows": [ROW], "sets": [{**SET, "protocol": "seqhands"}]}, "seqhands"),
        ({"rows": [{**ROW, "name": "../one"}]}, "pattern"),
    ],
)
def test_tables_that_do_not_fit_together_are_refused(changes: dict, said: str) -> None:
    with pytest.raises(HandkitError) as error:
        build_recipe(SeqHandTable, {**TABLE, **changes}, source="table")
    assert said in f"{error.value.what} {error.value.fix}"
