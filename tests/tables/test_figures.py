"""Seeds to means, and what rows say together."""

import pytest

from handkit.recipe import build_recipe, load_recipe
from handkit.tables.figures import Spread, compare_rows, flat_figures, order_by, sentences, spread
from handkit.tables.seqhand import Budget, SeqHandTraining, Stills
from handkit.tables.seqhand_recipe import SeqHandTable

FIGURE = "validation.mpjpe_mm"


def test_spread_is_over_the_runs_that_have_the_figure() -> None:
    assert spread([{"a": 1.0}, {"a": 4.0}, {"b": 9.0}], "a") == Spread(2.5, pytest.approx(2.1213203))
    assert spread([{"a": 1.0}], "a") == Spread(1.0, None)
    assert spread([{"a": 1.0}], "b") is None


def test_figures_are_named_by_their_set() -> None:
    assert flat_figures({"network": {"params_m": 7.0}, "stb": {"mpjpe_mm": 1.0}}) == {
        "params_m": 7.0,
        "stb.mpjpe_mm": 1.0,
    }


def test_order_counts_pairs_that_stand_as_published() -> None:
    table = load_recipe(SeqHandTable, "seqhand-table2")
    as_printed = {row.name: [{FIGURE: row.published[FIGURE]}] for row in table.rows}
    order = order_by(table, table.sets[0], "mpjpe_mm", table.rows, as_printed)
    assert order["order"] == order["published_order"]
    assert order["order"][0] == "seqhand"
    assert (order["pairs"], order["as_published"]) == (15, 15)
    # The last two rows of the published order change places: one pair fewer.
    swapped = {**as_printed, "seqhand-mfnet": as_printed["seqhand-lstm"], "seqhand-lstm": as_printed["seqhand-mfnet"]}
    assert order_by(table, table.sets[0], "mpjpe_mm", table.rows, swapped)["as_published"] == 14
    (said,) = sentences([order_by(table, table.sets[0], "mpjpe_mm", table.rows, swapped)], [])
    assert said.startswith("validation, by mpjpe_mm: seqhand < seqhand-resnet101 < ")
    assert said.endswith("14 of 15 pairs stand as published")


def test_rows_without_figures_stay_out_of_the_order() -> None:
    table = load_recipe(SeqHandTable, "seqhand-table2")
    order = order_by(
        table, table.sets[0], "mpjpe_mm", table.rows, {"seqhand": [{FIGURE: 9.0}], "seqhand-lstm": [{FIGURE: 8.0}]}
    )
    assert order["order"] == ["seqhand-lstm", "seqhand"]
    assert (order["pairs"], order["as_published"]) == (1, 0)


def test_claims_are_compared_over_the_seeds_that_both_rows_have() -> None:
    table = load_recipe(SeqHandTable, "seqhand-table2-small")
    runs = {
        "seqhand-small": {0: {FIGURE: 9.0}, 1: {FIGURE: 12.0}, 2: {FIGURE: 0.0}},
        "seqhand-small-frame": {0: {FIGURE: 10.0}, 1: {FIGURE: 11.0}},
    }
    (found,) = compare_rows(table, table.sets, runs)
    assert (found["values"], found["seeds"], found["smaller_in"]) == ([10.5, 10.5], 2, 1)
    assert compare_rows(table, table.sets, {"seqhand-small": runs["seqhand-small"]}) == []


def test_rows_of_single_frames_see_as_many_frames_a_step() -> None:
    table = load_recipe(SeqHandTable, "seqhand-table3-small")
    budget = Budget(pretrain=("data.batch=3", "data.frames=5", "data.validation_sequences=7"))
    row = table.row("frame")
    training = SeqHandTraining(table, budget, Stills())
    changes = training.pretrain_changes(row, seed=4)
    assert "train.seed=4" in changes
    assert changes[-3:] == ["data.batch=15", "data.validation_sequences=35", "data.frames=1"]
    assert training.pretrain_changes(table.row("memory"), seed=4)[-1] == "train.seed=4"
    # A row's own changes come after the user's.
    own = build_recipe(
        SeqHandTable,
        {
            **table.model_dump(mode="json"),
            "rows": [{**row.model_dump(mode="json"), "changes": ["loss.mask=0"]}],
            "compare": [],
        },
        source="table",
    )
    assert SeqHandTraining(own, budget, Stills()).pretrain_changes(own.rows[0], seed=0)[-1] == "loss.mask=0"
