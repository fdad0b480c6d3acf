"""HandNet's tables: the figures that the paper prints, and what their networks learn by."""

import csv
from pathlib import Path

import pytest

from handkit.errors import HandkitError
from handkit.methods.handnet_recipe import STAGES
from handkit.recipe import build_recipe, load_recipe
from handkit.tables.handnet import HandNetTraining
from handkit.tables.handnet_recipe import HandNetTable
from handkit.tables.printing import print_report, write_table
from handkit.tables.run import TableOptions, TableResult, open_sets
from handkit.tables.sets import OpenSet

NAMES = ("table2", "table3", "table4", "fig8", "fig9")
# As the paper's text has them, in its units; without keypoints stands before with.
PRINTED = {
    "table2": (
        [f"{kp}pa_{key}" for key in ("mpvpe_mm", "f_score_5mm", "f_score_15mm") for kp in ("no_keypoints_", "")],
        {"single-stage": "- 1.16 0.31 0.49 0.82 0.92", "multi-stage": "- 0.78 0.45 0.66 0.96 0.97"},
    ),
    "table3": (
        [f"{one}.{key}" for one in ("combined", "freihand", "synthetic") for key in ("mask_iou", "pixel_accuracy")],
        {
            "hsv": "0.26 0.81 0.33 0.90 0.18 0.72",
            "cnn": "0.85 0.98 0.77 0.97 0.93 0.99",
            "uma": "0.86 0.98 0.78 0.98 0.93 0.99",
            "handnet": "0.88 0.99 0.80 0.98 0.95 0.99",
        },
    ),
    "table4": (
        ["pa_mpvpe_mm", "pa_f_score_5mm", "pa_f_score_15mm"],
        {"mono": "1.65 0.352 0.860", "stereo": "0.94 0.578 0.967", "stereo-triangulated": "- - -"},
    ),
    "fig8": ([], {"multi-stage": ""}),
    "fig9": (["mask_iou"], {"0": "0.722", "3": "0.758", "10": "0.793", "15": "0.806", "i2l": "0.737"}),
}
SETS = {"table2": "freihand", "table4": "synthetic", "fig9": "freihand"}


def table(name: str) -> HandNetTable:
    return load_recipe(HandNetTable, f"handnet-{name}")


@pytest.mark.parametrize("name", NAMES)
def test_tables_hold_what_the_paper_prints(name: str) -> None:
    columns, rows = PRINTED[name]
    figures = [column if "." in column else f"{SETS[name]}.{column}" for column in columns]
    wanted = {
        row: {figure: float(value) for figure, value in zip(figures, text.split(), strict=True) if value != "-"}
        for row, text in rows.items()
    }
    assert {row.name: row.published for row in table(name).rows} == wanted


def test_a_single_stage_learns_all_at_once_for_as_many_steps() -> None:
    published = HandNetTraining(table("table2"))
    many, one = (published.settings(name, seed=3) for name in ("multi-stage", "single-stage"))
    assert many.stage_names == list(STAGES[:-1])
    assert one.stage_names == ["finalize"]
    stage, last = one.stage("finalize"), many.stage("finalize")
    epoch = -(-32_560 // last.batch)
    assert (stage.steps, stage.epochs, stage.decay_epochs) == (500 * epoch, 500, 20)
    assert set(stage.learns) == {part for name in many.stage_names for part in many.stage(name).learns}
    assert (stage.after, stage.inputs, stage.missing) == (None, "both", last.missing)
    assert one.train == many.train
    assert one.train.seed == 3
    small = HandNetTraining(table("table2"), recipe="handnet-table-small").settings("single-stage", seed=0)
    assert small.network.backbone == "plain"
    assert small.stage("finalize").steps == 3000 + 1500 + 500 + 2000
    assert small.stage("finalize").lr == 1e-3


def test_masks_are_learned_from_pairs_besides_and_by_a_stage_of_their_own(tmp_path: Path) -> None:
    training = HandNetTraining(table("table3"), shards=tmp_path, changes=["data.shards=['other']"])
    settings = training.settings("segmentation", seed=0)
    assert settings.stage_names == ["segmentation"]
    assert settings.data.shards == ("other", str(tmp_path))
    assert training.settings("multi-stage", seed=0).data.shards == ("other",)
    stereo = HandNetTraining(table("table4"), shards=tmp_path, stereo_changes=["camera=triangulated"])
    found = stereo.stereo_settings(seed=2)
    assert (found.data.shards, found.data.held_out, found.camera) == (str(tmp_path), 0.1, "triangulated")
    assert found.train.seed == 2


def test_recipes_without_what_a_network_needs_are_refused() -> None:
    training = HandNetTraining(table("table3"), recipe="handnet-keypoints")
    assert training.settings("multi-stage", seed=0).stage_names == ["keypoint"]
    with pytest.raises(HandkitError, match="the recipe has no stage 'segmentation'"):
        training.check_networks(["segmentation"])


def test_combined_is_the_mean_of_both_sets_where_both_are_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = table("table3")
    data = {"freihand": tmp_path / "f", "synthetic": tmp_path / "s"}
    training = HandNetTraining(found)
    sets = open_sets(tmp_path, training, TableOptions(data=data), lambda _: None)
    assert [(one.recipe.name, one.root) for one in sets] == [*data.items(), ("combined", None)]
    figures = {"freihand.mask_iou": 0.5, "synthetic.mask_iou": 0.7, "combined.mask_iou": 0.6}
    result = TableResult(found, tmp_path, list(found.rows), sets, {"handnet": {0: figures}}, shared="segmentation")
    write_table(result)
    with (tmp_path / "table3.csv").open(newline="") as file:
        lines = {(line["row"], line["seed"]): line for line in csv.DictReader(file)}
    assert lines["handnet", "0"]["combined.mask_iou"] == "0.6"
    assert lines["uma", "published"]["freihand.pixel_accuracy"] == "0.98"
    text = (tmp_path / "table3.md").read_text()
    assert "| combined | IoU | accuracy |\n" in text
    assert "| ours (`handnet`) | 0.600 | - |\n| published | 0.88 | 0.99 |" in text
    print_report(result)
    assert "combined: the mean of freihand and synthetic\n" in capsys.readouterr().out
    assert result.summary["sets"]["combined"] == {"root": None, "note": "the mean of freihand and synthetic"}


def test_columns_without_keypoints_are_told_so_in_the_paper_s_order(tmp_path: Path) -> None:
    found = table("table2")
    figures = {"drawn.pa_mpvpe_mm": 9.0, "drawn.no_keypoints_pa_mpvpe_mm": 12.0}
    one = next(one for one in found.sets if one.name == "drawn")
    runs = {"multi-stage": {0: figures}, "single-stage": {0: {name: value + 1 for name, value in figures.items()}}}
    result = TableResult(found, tmp_path, list(found.rows), [OpenSet(one, tmp_path, "key")], runs)
    write_table(result)
    text = (tmp_path / "table2.md").read_text()
    assert "| drawn | no KP PA mesh, mm | PA mesh, mm | no KP PA F 5 mm | PA F 5 mm | no KP" in text
    assert "| multi-stage (`multi-stage`) | 12.00 | 9.00 | - |" in text
    assert "| published | - | 7.8 | 0.45 | 0.66 | 0.96 | 0.97 |" in text
    assert "drawn.pa_mpvpe_mm: multi-stage 9.00, single-stage 10.00; the first smaller in 1 of 1 seed" in text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rows": [{"name": "two-stage", "label": "two"}]}, "two-stage"),
        ({"network": "stereo"}, "both network and measured"),
        ({"network": "stereo", "measured": "pairs", "pairs": None}, "pairs to learn from"),
        ({"network": "mono", "measured": "pairs"}, "multi-stage"),
        ({"sets": [{"name": "a", "protocol": "freihand", "columns": ["auc_v"], "orders": "auc_v"}]}, "mean_of"),
    ],
)
def test_tables_that_do_not_fit_together_are_refused(changes: dict, said: str) -> None:
    held = table("fig8").model_dump(mode="json")
    with pytest.raises(HandkitError) as error:
        build_recipe(HandNetTable, {**held, **changes}, source="table")
    assert said in f"{error.value.what} {error.value.fix}"
