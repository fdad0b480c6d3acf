"""`handkit selfsup s2hand` and `s2hand-video` from the command line, on hands that are red squares and a few steps."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from handkit.checkpoint import read_checkpoint
from handkit.nets.s2hand_system import load_system
from tests.command import handkit
from tests.gather.making import points, write_clip, write_stills

TINY = [
    *("--device", "cpu", "--recipe", "s2hand-small", "--set", "network.size=64", "--set", "loss.render.size=32"),
    *("--set", "keypoints.features=16", "--set", "stages.hand.batch=4", "--set", "stages.keypoints.batch=4"),
    *("--set", "stages.images.batch=4", "--set", "stages.video.batch=6", "--set", "train.log_every=1"),
    *("--set", "data.validation_hands=6", "--set", "train.validate_every=2", "--set", "train.save_every=2"),
]
MOVING = [(40.0 + 0.5 * n, 30.0) for n in range(20)]


def steps(count: int) -> list[str]:
    stages = ("hand", "keypoints", "images", "video")
    return [word for stage in stages for word in ("--set", f"stages.{stage}.steps={count}")]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two videos of other sizes and rates, and keypoints of them."""
    folder = tmp_path_factory.mktemp("clips")
    write_clip(folder, "a", MOVING)
    write_clip(folder, "b", [(x + 50, y + 20) for x, y in MOVING], size=(200, 110), fps=12.5)
    return folder


def data_of(clips: Path) -> list[object]:
    return ["--data", clips / "videos", "--keypoints", clips / "keypoints"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, clips: Path) -> Path:
    out = tmp_path_factory.mktemp("run")
    code, stdout, stderr = handkit("selfsup", "s2hand-video", "--out", out, *data_of(clips), *TINY, *steps(2), "--json")
    assert code == 0, stderr
    summary = json.loads(stdout)
    assert list(summary["stages"]) == ["hand", "keypoints", "video"]
    assert summary["data"]["learned_from"] == 36
    assert summary["stages"]["video"]["steps"] == summary["stages"]["video"]["of"] == 2
    return out


def test_every_stage_leaves_weights_that_say_what_they_are(trained: Path) -> None:
    for stage, (has_hand, has_keypoints) in {
        "hand": (True, False),
        "keypoints": (False, True),
        "video": (True, True),
    }.items():
        system, info = load_system(trained / stage / "s2hand.safetensors")
        assert ((system.hand is not None), (system.keypoints is not None)) == (has_hand, has_keypoints)
        assert (info.data["stage"], info.data["hand"], info.data["size"]) == (stage, "open", 64)
        assert (info.data["landmarks"], info.data["box_scale"]) == ("openpose", 1.6)
        assert list((trained / stage / "previews").glob("step_*.jpg"))
        assert list(info.recipe["stages"]) == [stage]
    assert set(read_checkpoint(trained / "video" / "s2hand.safetensors")[0].data["before"]) == {"hand", "keypoints"}


def test_the_joint_stage_goes_on_from_the_branches(trained: Path) -> None:
    before, after = (load_system(trained / stage / "s2hand.safetensors")[0] for stage in ("hand", "video"))
    assert before.hand is not None
    assert after.hand is not None
    for (name, old), new in zip(before.hand.named_parameters(), after.hand.parameters(), strict=True):
        assert (old - new).abs().max() < 0.02, name  # two steps away
    assert any(not torch.equal(a, b) for a, b in zip(before.hand.parameters(), after.hand.parameters(), strict=True))


def test_done_stages_are_not_done_again(trained: Path, clips: Path) -> None:
    written = {path: path.stat().st_mtime_ns for path in trained.rglob("*.safetensors")}
    code, stdout, _ = handkit("selfsup", "s2hand-video", "--out", trained, *data_of(clips), *TINY, *steps(2))
    assert code == 0
    assert "learned from" in stdout
    assert "next: handkit demo YOUR_VIDEO.mp4 --method s2hand" in stdout
    assert written == {path: path.stat().st_mtime_ns for path in trained.rglob("*.safetensors")}


def test_other_settings_of_a_later_stage_leave_the_earlier_ones(trained: Path, clips: Path) -> None:
    words = ["selfsup", "s2hand-video", "--out", trained, *data_of(clips), *TINY, *steps(2), "--stage", "hand"]
    code, _, stderr = handkit(*words, "--set", "stages.video.lr=1e-5")
    assert code == 0, stderr
    code, _, stderr = handkit(*words, "--set", "stages.hand.lr=1e-5")
    assert code == 1
    assert "holds a run of another recipe: train.lr is 0.001 there, 1e-05 here" in stderr


def test_an_init_trains_the_last_stage_alone(trained: Path, clips: Path, tmp_path: Path) -> None:
    init = trained / "hand" / "s2hand.safetensors"
    words = ["--init", init, "--set", "keypoints=off", "--json"]
    code, stdout, stderr = handkit("selfsup", "s2hand", "--out", tmp_path, *data_of(clips), *TINY, *steps(2), *words)
    assert code == 0, stderr
    assert list(json.loads(stdout)["stages"]) == ["images"]
    assert load_system(tmp_path / "images" / "s2hand.safetensors")[0].keypoints is None


def test_a_dry_run_counts_and_trains_nothing(clips: Path, tmp_path: Path) -> None:
    code, stdout, _ = handkit("selfsup", "s2hand-video", "--out", tmp_path, *data_of(clips), *TINY, "--dry-run")
    assert code == 0
    assert "40 pictures, 40 hands found, 40 usable" in stdout
    assert "stage video: 600 steps" in stdout
    assert "nothing was trained" in stdout
    assert not (tmp_path / "hand").exists()


def test_epochs_are_counted_over_the_hands(clips: Path, tmp_path: Path) -> None:
    words = ["--recipe", "s2hand", "--set", "stages.hand.batch=6", "--dry-run", "--json", "--stage", "hand"]
    code, stdout, _ = handkit("selfsup", "s2hand", "--out", tmp_path, *data_of(clips), *words)
    assert code == 0
    summary = json.loads(stdout)
    assert summary["planned_steps"] == {"hand": 90 * -(-summary["data"]["learned_from"] // 6)}


def test_a_run_goes_on_as_if_it_had_not_been_stopped(clips: Path, tmp_path: Path) -> None:
    constant = ["--set", "stages.hand.drop_every=90", "--set", "stages.hand.norm_share=1.0"]
    rows = {}
    for name, parts in (("whole", [4]), ("parts", [2, 4])):
        for count in parts:
            words = ["--stage", "hand", *steps(count), *constant]
            code, _, stderr = handkit("selfsup", "s2hand", "--out", tmp_path / name, *data_of(clips), *TINY, *words)
            assert code == 0, stderr
        log = map(json.loads, (tmp_path / name / "hand" / "log.jsonl").read_text().splitlines())
        rows[name] = [row["loss"] for row in log if row["kind"] == "train"]
    assert rows["parts"] == pytest.approx(rows["whole"], rel=1e-5)


def test_bad_input_is_said(clips: Path, tmp_path: Path) -> None:
    def error(*words: object, verb: str = "s2hand") -> str:
        code, _, stderr = handkit("selfsup", verb, "--out", tmp_path / "out", *TINY, *steps(2), *words)
        assert code == 1
        return stderr

    empty = tmp_path / "empty"
    write_clip(empty, "none", [None] * 5)
    assert "no usable hand" in error("--data", empty / "videos", "--keypoints", empty / "keypoints")
    photo = write_stills(tmp_path / "photo", ["a.png"])
    np.save(tmp_path / "k.npy", points((50, 30))[None])
    one = ["--data", photo / "a.png", "--keypoints", tmp_path / "k.npy"]
    assert "of 1 usable hands the longest run spans 1 frame" in error(*one, verb="s2hand-video")
    assert "no 3D network to start from" in error(*data_of(clips), "--stage", "images")
    assert "no such data set 'freihnd'" in error("--data", "freihnd=somewhere")
    assert "the data have none" in error(*data_of(clips), "--supervision", "weak")
    assert "there is no stage 'keypoints' here" in error(
        *data_of(clips), "--stage", "keypoints", "--set", "keypoints=off"
    )
    assert "factors" in error(*data_of(clips), "--set", "loss.factors.pixl=0")


def test_a_single_picture_is_learned_from(tmp_path: Path) -> None:
    folder = write_stills(tmp_path / "photos", ["a.png", "b.png"])
    np.save(tmp_path / "k.npy", np.stack([points((50, 30))] * 2))
    words = ["--data", folder, "--keypoints", tmp_path / "k.npy", "--stage", "hand", "--set", "stages.hand.batch=2"]
    code, stdout, stderr = handkit("selfsup", "s2hand", "--out", tmp_path / "out", *TINY, *steps(2), *words, "--json")
    assert code == 0, stderr
    assert "too few to hold some out" in stderr
    assert json.loads(stdout)["data"]["learned_from"] == 2


def test_a_damaged_video_beside_a_good_one_makes_the_exit_1(clips: Path, tmp_path: Path) -> None:
    videos, keypoints = tmp_path / "videos", tmp_path / "keypoints"
    write_clip(tmp_path, "good", MOVING)
    (videos / "bad.mp4").write_bytes(b"no video")
    (keypoints / "bad_000000000000_keypoints.json").write_text('{"people": []}')
    words = ["--data", videos, "--keypoints", keypoints, "--stage", "hand"]
    code, _, stderr = handkit("selfsup", "s2hand", "--out", tmp_path / "out", *TINY, *steps(2), *words)
    assert code == 1
    assert "bad.mp4" in stderr
    assert (tmp_path / "out" / "hand" / "s2hand.safetensors").is_file()
