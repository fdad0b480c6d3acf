"""`handkit pretrain handnet` from the command line: tiny networks, a few steps."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from handkit import hand
from handkit.checkpoint import read_checkpoint
from handkit.images import read_image
from handkit.nets.handnet_system import load_handnet
from tests.command import handkit

HAND_FILE = Path(hand.__file__).with_name("open_hand.npz")
STAGES = ("image", "keypoint", "fusion", "finalize", "segmentation")
TINY = [
    *("--device", "cpu", "--recipe", "handnet-small", "--set", "network.size=64", "--set", "data.frame_size=64"),
    *("--set", "network.backbone=regnet_x_400mf", "--set", "data.sequences=off", "--set", "data.validation_hands=4"),
    *("--set", "train.log_every=1", "--set", "train.validate_every=2"),
    *("--set", "train.save_every=2", "--set", "train.schedule=constant", "--set", "stages.keypoint.drawn=frames"),
    *(word for stage in STAGES for word in ("--set", f"stages.{stage}.batch=4")),
    *(word for stage in STAGES for word in ("--set", f"stages.{stage}.norm_share=1.0")),
]
KEYPOINTS = [
    *("--device", "cpu", "--recipe", "handnet-keypoints", "--set", "data.validation_hands=8"),
    *("--set", "stages.keypoint.batch=8", "--set", "train.log_every=1", "--set", "train.validate_every=2"),
    *("--set", "train.save_every=2"),
]


def steps(count: int) -> list[str]:
    return [word for stage in STAGES for word in ("--set", f"stages.{stage}.steps={count}")]


def pretrain(out: Path, *arguments: object) -> tuple[int, str, str]:
    return handkit("pretrain", "handnet", "--out", out, *arguments)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run")
    code, stdout, stderr = pretrain(out, *TINY, *steps(2), "--json")
    assert code == 0, stderr
    summary = json.loads(stdout)
    assert list(summary["stages"]) == list(STAGES)
    assert summary["planned_steps"] == dict.fromkeys(STAGES, 2)
    assert summary["data"]["learned_from"] == "drawn"
    assert set(summary["stages"]["finalize"]["held_out"]) >= {"pa_mpvpe_mm", "no_keypoints_pa_mpvpe_mm"}
    assert set(summary["stages"]["segmentation"]["held_out"]) == {"mask_iou", "mask_miss", "mask_accuracy", "samples"}
    return out


def test_every_stage_leaves_weights_that_say_what_they_are(trained: Path) -> None:
    for stage in STAGES:
        network, info = load_handnet(trained / stage / "handnet.safetensors")
        assert (network.backbone, network.inputs) == ("regnet_x_400mf", "both")
        assert (info.method, info.data["stage"], info.data["hand"], info.data["size"]) == ("handnet", stage, "open", 64)
        assert info.data["box_scale"] == 1.5
        assert info.data["noise"]["joint"]
        assert info.recipe["network"]["size"] == 64
        assert list(info.recipe["stages"]) == [stage]
        sheets = list((trained / stage / "previews").glob("step_*.jpg"))
        cells = 4 if stage == "segmentation" else 3
        assert read_image(sheets[0]).shape == (4 * 192, cells * 192, 3)


def test_a_stage_goes_on_from_the_one_before_it(trained: Path) -> None:
    before = read_checkpoint(trained / "image" / "handnet.safetensors")[1]
    learned = {"keypoint": {"keypoint_head"}, "fusion": {"fusion"}, "segmentation": {"segmentation"}}
    for stage in STAGES[1:]:
        info, after = read_checkpoint(trained / stage / "handnet.safetensors")
        changed = {name.split(".")[0] for name in after if not torch.equal(before[name], after[name])}
        assert changed == learned.get(stage, {"image_head", "keypoint_head", "fusion", "tail", "regressor"}), stage
        assert list(info.data["before"]) == [STAGES[STAGES.index(stage) - 1]]
        before = after


def test_done_stages_are_not_done_again(trained: Path) -> None:
    written = {path: path.stat().st_mtime_ns for path in trained.rglob("*.safetensors")}
    code, stdout, _ = pretrain(trained, *TINY, *steps(2))
    assert code == 0
    assert "PA-MPVPE, mm" in stdout
    assert f"next: handkit demo YOUR_VIDEO.mp4 --method handnet --checkpoint {trained}" in stdout
    assert written == {path: path.stat().st_mtime_ns for path in trained.rglob("*.safetensors")}


def test_another_recipe_in_the_same_folder_is_refused(trained: Path) -> None:
    code, _, stderr = pretrain(trained, *TINY, *steps(2), "--set", "loss.pose=1", "--stage", "fusion")
    assert code == 1
    assert "loss.pose is 10.0 there, 1.0 here" in stderr
    code, _, stderr = pretrain(trained, *TINY, *steps(2), "--set", "stages.image.lr=1e-5", "--stage", "fusion")
    assert code == 0, stderr


def test_a_run_goes_on_as_if_it_had_not_been_stopped(tmp_path: Path) -> None:
    rows = {}
    for name, parts in (("whole", [4]), ("parts", [2, 4])):
        for count in parts:
            code, _, stderr = pretrain(tmp_path / name, *TINY, *steps(count), "--stage", "image")
            assert code == 0, stderr
        log = map(json.loads, (tmp_path / name / "image" / "log.jsonl").read_text().splitlines())
        rows[name] = [{key: row[key] for key in ("loss", "pose", "joints_2d")} for row in log if row["kind"] == "train"]
    assert len(rows["whole"]) == 4
    for one, other in zip(rows["whole"], rows["parts"], strict=True):
        assert other == pytest.approx(one, rel=1e-4)


def test_a_stage_without_what_it_starts_from_is_refused(trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, _, stderr = pretrain(out, *TINY, *steps(2), "--stage", "fusion")
    assert code == 1
    assert "stage fusion starts from what stage keypoint learned, and there is no" in stderr
    assert "run --stage keypoint first, or give --init CHECKPOINT" in stderr
    assert not out.exists()
    init = trained / "keypoint" / "handnet.safetensors"
    code, stdout, stderr = pretrain(out, *TINY, *steps(1), "--stage", "fusion", "--init", init, "--json")
    assert code == 0, stderr
    assert list(json.loads(stdout)["stages"]) == ["fusion"]
    before, after = (read_checkpoint(path)[1] for path in (init, out / "fusion" / "handnet.safetensors"))
    assert all(torch.equal(before[name], after[name]) for name in before if not name.startswith("fusion."))


def test_wrong_settings_are_told(trained: Path, tmp_path: Path) -> None:
    def error(*words: object, exit_code: int = 1, recipe: list[str] = TINY) -> str:
        code, _, stderr = pretrain(tmp_path / "out", *recipe, *words)
        assert code == exit_code, stderr
        return re.sub(r"[\s│]+", " ", stderr)

    assert "'fuse' is not one of" in error("--stage", "fuse", exit_code=2)
    assert "the recipe has no stage 'image'" in error("--stage", "image", recipe=KEYPOINTS)
    assert "did you mean loss.pose?" in error("--set", "loss.posse=1")
    assert "is not NAME=DIR" in error("--data", "freihand", exit_code=2)
    assert "did you mean freihand?" in error("--data", "freihant=somewhere")
    assert "nowhere" in error("--shards", "nowhere")
    assert "network.size" in error("--set", "network.size=100")
    assert "stages.mine" in error("--set", "stages.mine.steps=3")
    other = trained / "image" / "handnet.safetensors"
    assert "is a HandNet of backbone 'regnet_x_400mf', the recipe's has 'resnet50'" in error(
        *("--init", other, "--stage", "image", "--set", "network.backbone=resnet50", *steps(1))
    )
    assert "not whole sequences of 3" in error("--set", "data.frames=3", *steps(1))
    assert "no keypoints can be missing" in error(
        *("--stage", "fusion", "--init", other, "--set", "data.noise=off", *steps(1))
    )
    assert "drawn poses have none" in error("--set", "data.drawn=poses")
    assert not (tmp_path / "out" / "image" / "handnet.safetensors").exists()


def test_a_dry_run_trains_nothing(tmp_path: Path) -> None:
    code, stdout, _ = pretrain(tmp_path / "out", "--dry-run")
    assert code == 0
    assert f"stage image: {120 * 509} steps; learning image_head, tail, regressor" in stdout
    assert f"stage segmentation: {10 * 509} steps; learning segmentation" in stdout
    assert "nothing was trained" in stdout
    assert not (tmp_path / "out").exists()


def test_keypoints_alone(tmp_path: Path) -> None:
    code, stdout, stderr = pretrain(tmp_path, *KEYPOINTS, "--set", "stages.keypoint.steps=2", "--json")
    assert code == 0, stderr
    summary = json.loads(stdout)
    assert summary["data"]["source"] == "drawn poses"
    assert set(summary["stages"]["keypoint"]["held_out"]) == {
        *("joints_2d_px", "joints_3d_mm", "pa_mpjpe_mm", "pa_mpvpe_mm", "samples"),
    }
    network, info = load_handnet(summary["stages"]["keypoint"]["weights"])
    assert network.inputs == "keypoints"
    assert info.metrics["samples"] == 8
    sheet = read_image(next((tmp_path / "keypoint" / "previews").glob("*.jpg")))
    assert sheet.shape == (6 * 192, 3 * 192, 3)
    assert np.ptp(sheet.reshape(-1, 3).astype(int), axis=0).min() > 100  # hands, not grey alone


def test_generated_shards_are_learned_from(shards: dict[str, Path], tmp_path: Path) -> None:
    words = [word for folder in shards.values() for word in ("--shards", folder)]
    code, stdout, stderr = pretrain(
        tmp_path, *TINY, *steps(2), *words, "--stage", "image", "--set", "data.held_out=0.3", "--json"
    )
    assert code == 0, stderr
    summary = json.loads(stdout)
    assert summary["data"]["source"] == "seqhand=seqhand, stereo=stereo"
    assert summary["data"]["learned_from"] == 8 + 2 * 4
    assert summary["stages"]["image"]["held_out"]["samples"] == 4
    assert summary["stages"]["image"]["held_out"]["pa_mpvpe_mm"] > 0
    code, stdout, _ = pretrain(tmp_path / "more", *TINY, "--data", f"seqhand={shards['seqhand']}", "--dry-run")
    assert code == 0
    assert "hands: seqhand=seqhand" in stdout


def test_data_of_another_hand_need_3d_joints(shards: dict[str, Path], tmp_path: Path) -> None:
    own = tmp_path / "mine.npz"
    shutil.copy(HAND_FILE, own)
    words = [*TINY, *steps(1), "--shards", shards["seqhand"], "--stage", "image", "--hand-model", own]
    code, _, stderr = pretrain(tmp_path / "out", *words, "--set", "loss.joints_3d=0")
    assert code == 1
    assert f"nothing in seqhand=seqhand is annotated with a pose of the hand '{own}'" in stderr
    code, stdout, stderr = pretrain(tmp_path / "out", *words, "--json")
    assert code == 0, stderr
    held_out = json.loads(stdout)["stages"]["image"]["held_out"]
    assert held_out["pa_mpjpe_mm"] > 0
    assert "pa_mpvpe_mm" not in held_out  # the mesh is the other hand's
