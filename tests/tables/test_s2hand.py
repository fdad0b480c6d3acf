"""S2HAND's tables from the command line, on networks that know nothing: branches shared, resumed, rows that fail."""

import csv
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from handkit.data.sample import HandSample
from handkit.detect.detection import HandDetection, box_around
from handkit.gather.finding import SampleFinder
from handkit.tables import measuring
from handkit.tables import s2hand as training
from tests.tables.test_run import changed, generate, handkit

TINY = [
    *("network.size=64", "keypoints.features=16", "loss.render.size=16", "train.log_every=1"),
    *("data.workers=0", "data.validation_hands=3", "data.held_out=0.4", "data.interval=1"),
    *(f"stages.{stage}.steps=2" for stage in ("hand", "keypoints", "images", "video")),
    *(f"stages.{stage}.batch=3" for stage in ("hand", "keypoints", "images", "video")),
]


def true_hand(_: SampleFinder, sample: HandSample) -> HandDetection:
    """The annotated joints as a detector would give them."""
    points = sample["joints_2d"].astype(np.float64)
    return HandDetection(points, np.full(21, 0.9), bool(sample["is_right"]), 1.0, box_around(points))


@pytest.fixture(scope="module", autouse=True)
def no_detector() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SampleFinder, "find", true_hand)
        yield


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Generated folders: to learn from, and to measure on."""
    folder = tmp_path_factory.mktemp("sets")
    return {
        "train": generate(folder / "train", "--sequences", 3, "--frames", 10),
        "val": generate(folder / "val", "--sequences", 2, "--frames", 4, "--split", "val"),
    }


def command(number: int, out: Path, sets: dict[str, Path], *more: object) -> list[object]:
    arguments: list[object] = ["selfsup", "s2hand-table", "--table", number, "--out", out, "--device", "cpu"]
    arguments += ["--recipe", "s2hand-small", "--data", f"seqhand={sets['train']}", "--measure", f"drawn={sets['val']}"]
    return [*arguments, *changed(TINY), *more]


class Stages:
    """Counts the stages that are run, by their folders."""

    def __init__(self, patch: pytest.MonkeyPatch, *, stopped: str = "") -> None:
        self.run_stage, self.stopped = training.run_stage, stopped
        self.begun: list[tuple[Path, bool]] = []
        patch.setattr(training, "run_stage", self)

    def __call__(self, out: Path, stage: str, *arguments: Any, **options: Any) -> Any:
        self.begun.append((out / stage, options["force"]))
        run = self.run_stage(out, stage, *arguments, **options)
        return dataclasses.replace(run, step=0) if stage == self.stopped else run


@pytest.fixture(scope="module")
def table4(tmp_path_factory: pytest.TempPathFactory, sets: dict[str, Path]) -> Path:
    """Rows of Table 4, made once: their folder."""
    out = tmp_path_factory.mktemp("tables")
    code, stdout, stderr = handkit(*command(4, out, sets, "--rows", "s2hand,video-quaternion,video"))
    assert code == 0, stderr
    assert "drawn, published below" in stdout
    assert "  S2HAND(V), quaternion" in stdout
    assert "published in cm, shown in mm: PA 3D, mm, PA mesh, mm" in stdout
    assert f"drawn: {sets['val']}, in the place of ho3d, of which the published figures are" in stdout
    assert "pairs stand as published" in stdout
    assert "video, seed 0: training" in stderr
    return out


def test_rows_are_printed_beside_the_published_ones(table4: Path) -> None:
    summary = json.loads((table4 / "table4.json").read_text())
    assert list(summary["rows"]) == ["s2hand", "video-quaternion", "video"]
    row = summary["rows"]["video"]
    figures = row["seeds"]["0"]
    scored = json.loads((table4 / "video/seed0/scores/drawn/metrics.json").read_text())
    keys = ("pa_mpjpe_mm", "pa_mpvpe_mm", "pa_auc_j", "pa_auc_v", "pa_f_score_5mm", "pa_f_score_15mm", "quaternion_rad")
    assert {key: figures[f"drawn.{key}"] for key in keys} == {key: scored[key] for key in keys}
    assert (figures["drawn.count"], row["published"]["ho3d.pa_mpvpe_mm"]) == (8, 10.9)
    assert figures["params_m"] == pytest.approx(6.70, abs=0.01)
    assert figures["images_per_s"] > 0
    with (table4 / "table4.csv").open(newline="") as file:
        lines = [(line["row"], line["seed"], line["ho3d.pa_mpjpe_mm"]) for line in csv.DictReader(file)]
    assert lines[:2] == [("s2hand", "0", ""), ("s2hand", "published", "11.4")]
    assert "| published | 0.773 | 11.4 | 0.777 | 11.2 | 0.45 | 0.93 |" in (table4 / "table4.md").read_text()


def test_branches_are_trained_once_and_started_from(table4: Path) -> None:
    stages = sorted(path.parent.name for path in table4.glob("branches/*/*/s2hand.safetensors"))
    assert stages == ["hand", "keypoints"]
    starts = [
        json.loads((table4 / row / "seed0" / stage / "recipe.json").read_text())["init"]
        for row, stage in (("s2hand", "images"), ("video-quaternion", "video"), ("video", "video"))
    ]
    assert starts[0].keys() == {"hand", "keypoints"}
    assert starts[0] == starts[1] == starts[2]


def test_tables_share_what_is_done(table4: Path, sets: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    weights = table4 / "video/seed0/video/s2hand.safetensors"
    stamp = weights.stat().st_mtime_ns

    def scored(*_: object, **__: object) -> None:
        raise AssertionError("a set was measured again")

    monkeypatch.setattr(measuring, "run_evaluate", scored)
    code, stdout, stderr = handkit(*command(9, table4, sets), "--json")
    assert code == 0, stderr
    nine, four = (json.loads((table4 / f"table{number}.json").read_text()) for number in (9, 4))
    assert json.loads(stdout) == nine
    assert nine["rows"]["video"]["seeds"] == four["rows"]["video"]["seeds"]
    assert {"drawn.texture_sd", "drawn.shape_sd"} <= nine["rows"]["video"]["mean"].keys()
    assert weights.stat().st_mtime_ns == stamp
    assert len(list(table4.glob("branches/*"))) == 2


def test_seeds_have_branches_of_their_own_and_force_trains_each_once(
    tmp_path: Path, sets: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = command(3, tmp_path, sets, "--rows", "loc,loc-regu", "--seeds", 2, "--force")
    stages = Stages(monkeypatch)
    code, stdout, stderr = handkit(*arguments, "--json")
    assert code == 0, stderr
    seeds = json.loads(stdout)["rows"]["loc"]["seeds"]
    assert seeds["0"]["drawn.pa_mpjpe_mm"] != seeds["1"]["drawn.pa_mpjpe_mm"]
    assert len({path for path, _ in stages.begun if path.name == "hand"}) == 4  # other losses, other branches
    stages.begun.clear()
    code, _, stderr = handkit(*command(3, tmp_path, sets, "--rows", "loc-regu-ori-photo,loc-regu-ori", "--force"))
    assert code == 0, stderr
    hands = [begun for begun in stages.begun if begun[0].name == "hand"]
    assert [force for _, force in hands] == [True, False]  # s2hand-small's first stage has no pixels
    assert hands[0][0] == hands[1][0]


def test_an_interrupted_branch_exits_130_and_goes_on(
    tmp_path: Path, sets: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = command(9, tmp_path, sets, "--rows", "s2hand")
    with monkeypatch.context() as patch:
        stages = Stages(patch, stopped="keypoints")
        code, stdout, _ = handkit(*arguments)
    assert code == 130
    assert [path.name for path, _ in stages.begun] == ["hand", "keypoints"]
    assert "interrupted: the same command again goes on" in stdout
    code, stdout, _ = handkit(*arguments, "--json")
    assert (code, list(json.loads(stdout)["rows"]["s2hand"]["seeds"])) == (0, ["0"])


def test_a_row_that_fails_does_not_stop_the_others(tmp_path: Path, table4: Path, sets: dict[str, Path]) -> None:
    good = table4 / "video" / "seed{seed}" / "video" / "s2hand.safetensors"
    rows = "video-interval6,video,video-frames6"
    arguments = command(7, tmp_path, sets, "--rows", rows, "--weights", f"video={good}")
    arguments += ["--weights", f"video-frames6={sets['val'] / 'dataset.json'}"]
    code, stdout, stderr = handkit(*arguments, "--json")
    assert code == 1
    assert "error: video-interval6, seed 0: no 3 frames, 6 apart, show one hand" in stderr
    summary = json.loads(stdout)
    assert list(summary["failed"]) == ["video-interval6, seed 0", "video-frames6, seed 0"]
    known = json.loads((table4 / "table4.json").read_text())["rows"]["video"]["seeds"]["0"]
    found = summary["rows"]["video"]["seeds"]["0"]
    assert found["drawn.pa_mpjpe_mm"] == known["drawn.pa_mpjpe_mm"]
    assert "seconds" not in found  # it was not trained here


def test_without_data_sequences_are_drawn_once_and_their_truth_measures_the_training_set(
    tmp_path: Path, sets: dict[str, Path]
) -> None:
    arguments = ["selfsup", "s2hand-table", "--table", 5, "--out", tmp_path, "--device", "cpu", "--rows", "s2hand"]
    arguments += ["--recipe", "s2hand-small", "--measure", f"drawn={sets['val']}"]
    code, stdout, stderr = handkit(*arguments, *changed([*TINY, "data.synthetic_sequences=2"]), "--json")
    assert code == 0, stderr
    assert f"to learn from: 2 sequences in {tmp_path / 'data' / 'learned'}" in stderr
    figures = json.loads(stdout)["rows"]["s2hand"]["seeds"]["0"]
    assert (figures["drawn-train.count"], figures["drawn.count"]) == (40, 8)  # 2 sequences of 20 frames
    assert {f"drawn-train.{key}" for key in ("acc_err_mm_per_frame2", "acc_mm_per_frame2", "quaternion_rad")} <= set(
        figures
    )
    assert not list(tmp_path.glob("synthetic"))


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--table", "10"], 2, "10"),
        (["--table", "4", "--rows", "video-quaternions"], 1, "did you mean video-quaternion?"),
        (["--table", "4", "--weights", "video"], 2, "NAME=VALUE"),
        (["--table", "4", "--recipe", "seqhand-net"], 1, "is no setting"),
        (["--table", "4", "--measure", "ho3b=DIR"], 1, "did you mean ho3d?"),
        (["--table", "4", "--measure", "ho3d=nowhere"], 1, "nowhere does not exist"),
        (["--table", "4", "--data", "ho3d=nowhere"], 1, "nowhere does not exist"),
        (["--table", "4", "--data", "ho3b=nowhere"], 1, "no such data set 'ho3b'"),
        (["--table", "4", "--data", "nowhere.mp4"], 1, "nowhere.mp4 does not exist"),
        (["--table", "4", "--more", "README.md"], 1, "learns from more data"),
        (["--table", "4", "--set", "stages.hand.step=1"], 1, "did you mean stages.hand.steps?"),
    ],
)
def test_what_is_wrong_is_told_before_any_work(tmp_path: Path, arguments: list[str], code: int, said: str) -> None:
    found, _, stderr = handkit("selfsup", "s2hand-table", *arguments, "--out", tmp_path / "out", "--device", "cpu")
    assert found == code
    assert said in stderr
    assert not (tmp_path / "out").exists()
