"""RealisticHands' tables and figures from the command line, on networks that know nothing: shared, resumed, refused."""

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from handkit.checkpoint import CheckpointInfo, save_checkpoint
from handkit.nets.handnet_system import build_handnet, load_handnet
from handkit.tables import handnet as training
from handkit.tables import handnet_measuring, measuring
from tests.data.trees import write_freihand
from tests.inference.making import write_handnet
from tests.tables.test_run import changed, handkit

STAGES = ("image", "keypoint", "fusion", "finalize", "segmentation")
TINY = [
    *("network.size=64", "data.frame_size=64", "data.frames=1", "data.workers=0", "data.validation_hands=2"),
    *("train.log_every=1", "train.validate_every=2"),
    *(f"stages.{stage}.{setting}=2" for stage in STAGES for setting in ("steps", "batch")),
    *("stereo.train.log_every=1", "stereo.data.workers=0", "stereo.data.held_out=0.25"),
    *(f"stereo.stages.{stage}.{setting}=2" for stage in ("adaption", "stereo") for setting in ("steps", "batch")),
]


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Generated folders: pairs to learn from, frames and pairs to measure on; and a small FreiHAND."""
    folder = tmp_path_factory.mktemp("sets")
    small = ("--set", "width=160", "--set", "height=120")
    for kind, name, options in (
        ("seqhand", "drawn", ("--sequences", 3, "--frames", 2, "--size", 128, "--split", "val")),
        ("stereo", "pairs", ("--pairs", 8, *small)),
        ("stereo", "synthetic", ("--pairs", 3, "--split", "val", *small)),
    ):
        code, _, stderr = handkit("generate", kind, "--out", folder / name, "--workers", 1, *options)
        assert code == 0, stderr
    return {name: folder / name for name in ("drawn", "pairs", "synthetic")} | {
        "freihand": write_freihand(folder / "freihand", count=7)
    }


def command(name: str, out: Path, sets: dict[str, Path], *more: object) -> list[object]:
    measured = "synthetic" if name in ("3", "4") else "drawn"
    arguments: list[object] = ["pretrain", "handnet-table", "--table", name, "--out", out, "--device", "cpu"]
    arguments += ["--recipe", "handnet-table-small", "--stereo-recipe", "handnet-stereo-small"]
    return [*arguments, "--shards", sets["pairs"], "--measure", f"{measured}={sets[measured]}", *changed(TINY), *more]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory, sets: dict[str, Path]) -> Path:
    """Table 2, made once: its folder, which the others go on with."""
    folder = tmp_path_factory.mktemp("tables")
    code, stdout, stderr = handkit(*command("2", folder, sets))
    assert code == 0, stderr
    assert "drawn.pa_mpvpe_mm: multi-stage" in stdout
    assert f"drawn: {sets['drawn']}, in the place of freihand, of which the published figures are" in stdout
    assert "single-stage, seed 0: training" in stderr
    return folder


def steps_of(run: Path) -> int:
    with (run / "train.csv").open(newline="") as file:
        return int(list(csv.DictReader(file))[-1]["step"])


def test_stages_stand_beside_one_for_as_many_steps(out: Path) -> None:
    summary = json.loads((out / "table2.json").read_text())
    figures = summary["rows"]["multi-stage"]["seeds"]["0"]
    scored = json.loads((out / "multi-stage/seed0/scores/drawn/metrics.json").read_text())["methods"]
    by_method = {"": "multi-stage-handnet", "no_keypoints_": "multi-stage-handnet-image"}
    for prefix, method in by_method.items():
        for key in ("pa_mpvpe_mm", "pa_f_score_5mm", "pa_f_score_15mm", "auc_v", "pa_auc_v"):
            assert figures[f"drawn.{prefix}{key}"] == scored[method][key]
    assert figures["drawn.pa_mpvpe_mm"] != figures["drawn.no_keypoints_pa_mpvpe_mm"]
    assert figures["drawn.count"] == 6
    assert figures["seconds"] > 0
    stages = [path.parent.name for path in sorted((out / "multi-stage/seed0").glob("*/handnet.safetensors"))]
    assert stages == ["finalize", "fusion", "image", "keypoint"]
    assert sum(steps_of(out / "multi-stage/seed0" / stage) for stage in stages) == 8
    assert steps_of(out / "single-stage/seed0/finalize") == 8
    assert json.loads((out / "single-stage/seed0/finalize/recipe.json").read_text())["init"] == {}
    assert summary["rows"]["multi-stage"]["published"]["freihand.pa_mpvpe_mm"] == 7.8


def test_figure_8_reads_what_table_2_measured(
    out: Path, sets: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def scored(*_: object, **__: object) -> None:
        raise AssertionError("a set was measured again")

    monkeypatch.setattr(measuring, "run_evaluate", scored)
    code, stdout, stderr = handkit(*command("fig8", out, sets))
    assert code == 0, stderr
    assert "multi-stage-handnet-image" in (out / "multi-stage/seed0/scores/drawn/pck.csv").read_text()
    assert f"next: open {out / 'multi-stage/seed0/scores/drawn/report.html'}" in stdout
    two, eight = (json.loads((out / f"{name}.json").read_text()) for name in ("table2", "fig8"))
    assert eight["rows"]["multi-stage"]["seeds"] == {"0": two["rows"]["multi-stage"]["seeds"]["0"]}
    text = (out / "fig8.md").read_text()
    assert "| drawn | no KP PA AUC mesh | PA AUC mesh | no KP AUC mesh | AUC mesh |" in text


def test_masks_of_both_sets_and_their_mean(out: Path, sets: dict[str, Path]) -> None:
    """The segmentation goes on with Table 2's network and learns from pairs."""
    code, stdout, stderr = handkit(*command("3", out, sets, "--measure", f"freihand={sets['freihand']}"), "--json")
    assert code == 0, stderr
    summary = json.loads(stdout)
    begun = json.loads((out / "segmentation/seed0/segmentation/recipe.json").read_text())
    assert begun["init"].keys() == {"finalize"}
    assert begun["data"]["shards"] == [str(sets["pairs"])]
    for row, method in (("hsv", "hsv"), ("handnet", "handnet")):
        figures = summary["rows"][row]["seeds"]["0"]
        for name in ("freihand", "synthetic"):
            scored = json.loads((out / f"segmentation/seed0/scores/{name}/metrics.json").read_text())
            assert figures[f"{name}.mask_iou"] == scored["methods"][method]["mask_iou"]
        for key in ("mask_iou", "pixel_accuracy"):
            mean = (figures[f"freihand.{key}"] + figures[f"synthetic.{key}"]) / 2
            assert figures[f"combined.{key}"] == pytest.approx(mean)
    assert summary["rows"]["handnet"]["seeds"]["0"]["freihand.count"] == 8  # of 7 poses 2, in four colours
    assert summary["rows"]["uma"]["seeds"] == {}
    assert "| published | 0.86 | 0.98 |" in (out / "table3.md").read_text()


def test_two_views_against_one(out: Path, sets: dict[str, Path]) -> None:
    code, stdout, stderr = handkit(*command("4", out, sets))
    assert code == 0, stderr
    assert "synthetic.pa_mpvpe_mm: stereo" in stdout
    assert "published in cm, shown in mm: PA mesh, mm" in stdout
    rows = json.loads((out / "table4.json").read_text())["rows"]
    figures = {name: row["seeds"]["0"] for name, row in rows.items()}
    assert {run["synthetic.count"] for run in figures.values()} == {3}  # all of the set, not a share of it
    assert figures["stereo"]["synthetic.pa_mpvpe_mm"] != figures["mono"]["synthetic.pa_mpvpe_mm"]
    assert figures["stereo"]["synthetic.mpvpe_mm"] != figures["stereo-triangulated"]["synthetic.mpvpe_mm"]
    assert rows["mono"]["published"]["synthetic.pa_mpvpe_mm"] == 16.5
    weights = out / "stereo/seed0/stereo/handnet-stereo.safetensors"
    assert load_handnet(weights)[0].stereo_views


def test_iou_over_iterations_of_the_first_samples(out: Path, sets: dict[str, Path]) -> None:
    code, stdout, stderr = handkit(*command("fig9", out, sets), "--json")
    assert code == 0, stderr
    rows = json.loads(stdout)["rows"]
    figures = {name: row["seeds"].get("0", {}) for name, row in rows.items()}
    assert list(figures) == ["0", "3", "10", "15", "i2l"]
    ious = [figures[name]["drawn.mask_iou"] for name in ("0", "3", "10", "15")]
    assert ious[0] != ious[-1]
    assert all(0 <= iou <= 1 for iou in ious)
    assert len({figures[name]["drawn.count"] for name in ("0", "3", "10", "15")}) == 1
    assert figures["i2l"] == {}


def test_what_is_done_is_not_done_again(out: Path, sets: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    weights = [path for path in out.rglob("*.safetensors") if "seed0" in str(path)]
    stamps = [path.stat().st_mtime_ns for path in weights]

    def scored(*_: object) -> None:
        raise AssertionError("a set was measured again")

    monkeypatch.setattr(handnet_measuring, "MEASURES", dict.fromkeys(handnet_measuring.MEASURES, scored))
    for name in ("4", "fig9"):
        code, _, stderr = handkit(*command(name, out, sets))
        assert code == 0, stderr
    assert [path.stat().st_mtime_ns for path in weights] == stamps


def test_weights_that_are_given_are_not_trained(
    out: Path, tmp_path: Path, sets: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the network itself, or of the one that it begins with."""
    begun: list[str] = []
    run_stage = training.run_stage

    def counted(folder: Path, stage: str, *arguments: Any, **options: Any) -> Any:
        begun.append(stage)
        return run_stage(folder, stage, *arguments, **options)

    monkeypatch.setattr(training, "run_stage", counted)
    given = out / "multi-stage" / "seed{seed}" / "finalize" / "handnet.safetensors"
    code, stdout, stderr = handkit(*command("3", tmp_path, sets), "--weights", f"multi-stage={given}", "--json")
    assert code == 0, stderr
    assert begun == ["segmentation"]
    assert "combined.mask_iou" not in json.loads(stdout)["rows"]["handnet"]["seeds"]["0"]
    begun.clear()
    given = tmp_path / "segmentation/seed0/segmentation/handnet.safetensors"
    code, again, stderr = handkit(*command("3", tmp_path / "b", sets), "--weights", f"segmentation={given}", "--json")
    assert code == 0, stderr
    assert begun == []
    first, second = (json.loads(text)["rows"]["handnet"]["seeds"] for text in (stdout, again))
    assert first == second


def test_of_freihand_the_poses_are_learned_that_are_not_measured(tmp_path: Path, sets: dict[str, Path]) -> None:
    arguments = command("3", tmp_path, sets, "--data", f"freihand={sets['freihand']}")
    arguments += ["--measure", f"freihand={sets['freihand']}", "--set", "data.held_out=0.4"]
    code, stdout, stderr = handkit(*arguments, "--json")
    assert code == 0, stderr
    for stage in ("multi-stage/seed0/image", "segmentation/seed0/segmentation"):
        data = json.loads((tmp_path / stage / "recipe.json").read_text())["data"]
        assert [(one["dataset"], one["split"]) for one in data["sources"]] == [("freihand", "handnet-training")]
        assert data["shards"] == ([str(sets["pairs"])] if stage.startswith("segmentation") else [])
    assert json.loads(stdout)["rows"]["handnet"]["seeds"]["0"]["freihand.count"] == 8


def test_an_interrupted_table_exits_130_and_goes_on(
    tmp_path: Path, sets: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_stage = training.run_stage
    weights = write_handnet(tmp_path / "handnet.safetensors")

    def stopped(*arguments: Any, **options: Any) -> Any:
        return dataclasses.replace(run_stage(*arguments, **options), step=0)

    arguments = command("3", tmp_path / "out", sets, "--weights", f"multi-stage={weights}")
    arguments += ["--set", "network.backbone=regnet_x_400mf"]
    with monkeypatch.context() as patch:
        patch.setattr(training, "run_stage", stopped)
        code, stdout, _ = handkit(*arguments)
    assert code == 130
    assert "interrupted: the same command again goes on" in stdout
    code, stdout, _ = handkit(*arguments, "--json")
    assert (code, list(json.loads(stdout)["rows"]["handnet"]["seeds"])) == (0, ["0"])


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--table", "5"], 2, "'5' is not one of"),
        (["--table", "2", "--rows", "multistage"], 1, "did you mean multi-stage?"),
        (["--table", "3", "--rows", "hsv"], 1, "measured together"),
        (["--table", "3", "--weights", "stereo=x"], 1, "no such network of this table: 'stereo'"),
        (["--table", "2", "--weights", "multi-stage"], 2, "NAME=VALUE"),
        (["--table", "3", "--measure", "combined=nowhere"], 1, "no such set to measure on: 'combined'"),
        (["--table", "4", "--measure", "synthetic=nowhere"], 1, "nowhere does not exist"),
        (["--table", "4", "--shards", "nowhere"], 1, "nowhere does not exist"),
        (["--table", "2", "--data", "freihand=nowhere"], 1, "nowhere does not exist"),
        (["--table", "2", "--data", "freihand"], 2, "NAME=DIR"),
        (["--table", "2", "--set", "stages.image.step=1"], 1, "did you mean stages.image.steps?"),
        (["--table", "4", "--set", "stereo.stages.stereo.step=1"], 1, "did you mean stages.stereo.steps?"),
        (["--table", "3", "--recipe", "handnet-keypoints"], 1, "no stage 'segmentation'"),
    ],
)
def test_what_is_wrong_is_told_before_any_work(tmp_path: Path, arguments: list[str], code: int, said: str) -> None:
    found, _, stderr = handkit("pretrain", "handnet-table", *arguments, "--out", tmp_path / "out", "--device", "cpu")
    assert found == code
    assert said in " ".join(stderr.replace("│", " ").split())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "network", "said"),
    [("3", "segmentation", "its segmentation was not trained yet"), ("4", "stereo", "is a HandNet of one view")],
)
def test_weights_of_another_kind_are_told(
    tmp_path: Path, sets: dict[str, Path], name: str, network: str, said: str
) -> None:
    fresh = write_untrained(tmp_path / "fresh.safetensors")
    code, stdout, stderr = handkit(*command(name, tmp_path / "out", sets), "--weights", f"{network}={fresh}", "--json")
    assert code == 1
    assert said in stderr
    assert list(json.loads(stdout)["failed"]) == ["seed 0"]


def write_untrained(path: Path) -> Path:
    """A network of one view whose segmentation never learned."""
    network = build_handnet(backbone="plain", sigma=0.03)
    known = {"hand": "open", "box_scale": 1.5}
    save_checkpoint(
        path, network, CheckpointInfo("handnet", network.describe(), {"network": {"size": 64}}, 0, data=known)
    )
    return path
