"""`demo --method seqhand`: the network sees the detected hands in order, and its rows go where the fit's go."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from handkit.checkpoint import find_weights
from handkit.demo.hands import HandPair, Sighting
from handkit.demo.network import SeqHandHands
from handkit.demo.options import DemoOptions
from handkit.demo.run import DemoResult, run_demo
from handkit.detect.detection import HandDetection
from handkit.errors import HandkitError
from handkit.export.predictions import load_predictions
from handkit.hand import ManoLayer, load_hand
from handkit.images import RgbImage, write_image
from handkit.inference.load import find_checkpoint
from handkit.inference.predictor import SequencePredictor
from handkit.video import Frame
from handkit_cli import app
from tests.inference.making import write_small


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small(tmp_path_factory.mktemp("weights") / "net.safetensors")


def run(out: Path, *inputs: Path, **options: Any) -> DemoResult:
    asked = DemoOptions(**{"overlay": False, "method": "seqhand", **options})
    return run_demo([str(path) for path in inputs], out, asked, debug=True)


def test_a_video_is_posed_and_exported(hand_clip: Path, checkpoint: Path, tmp_path: Path) -> None:
    options = {"overlay": True, "export": ("glb", "json"), "vertices": True, "K": (620, 620, 320, 240)}
    result = run(tmp_path, hand_clip, checkpoint=checkpoint, **options)
    assert result.exit_code == 0
    names = {path.name for path in (tmp_path / "clip").iterdir()}
    assert names == {"hands.npz", "hands.json", "hands.glb", "overlay.mp4", "done.json"}
    rows = load_predictions(tmp_path / "clip/hands.npz")
    assert rows.method == "MediaPipe Hands + seqhand-small (net.safetensors, step 7)"
    assert rows.frame.tolist() == list(range(8))
    assert len(np.unique(rows.betas, axis=0)) == 8, "every frame has the network's own shape"
    values = {name: torch.from_numpy(getattr(rows, name)) for name in ("global_orient", "hand_pose", "betas", "transl")}
    out = ManoLayer(load_hand("open"))(**values)
    np.testing.assert_allclose(out.vertices, rows.vertices, atol=1e-6)
    assert rows.joints_3d[..., 2].min() > 0.05
    box = (rows.bbox[:, :2] + rows.bbox[:, 2:]) / 2
    assert np.linalg.norm(rows.joints_2d.mean(1) - box, axis=1).max() < 2 * np.ptp(rows.bbox[:, ::2], axis=1).max()
    assert json.loads((tmp_path / "summary.json").read_text())["options"]["checkpoint"] == str(checkpoint)


def test_a_second_run_is_skipped_until_the_weights_change(hand_clip: Path, tmp_path: Path) -> None:
    weights = write_small(tmp_path / "runs" / "net.safetensors")
    assert not run(tmp_path / "out", hand_clip, checkpoint=weights.parent).records[0].skipped
    assert run(tmp_path / "out", hand_clip, checkpoint=weights).records[0].skipped
    write_small(weights, "seqhand-small-frame")
    assert not run(tmp_path / "out", hand_clip, checkpoint=weights).records[0].skipped


def test_stills_are_alone_and_both_sides_are_mirror_images(
    hand_picture: RgbImage, checkpoint: Path, tmp_path: Path
) -> None:
    write_image(tmp_path / "in" / "a.png", hand_picture)
    write_image(tmp_path / "in" / "b.png", hand_picture)
    write_image(tmp_path / "in" / "c.png", np.ascontiguousarray(hand_picture[:, ::-1]))
    run(tmp_path / "out", tmp_path / "in", checkpoint=checkpoint)
    rows = load_predictions(tmp_path / "out/in/hands.npz")
    assert rows.is_right.tolist() == [True, True, False]
    np.testing.assert_allclose(rows.joints_3d[0], rows.joints_3d[1], atol=1e-6)
    # MediaPipe's box of the mirror image is not to the pixel that of the image.
    np.testing.assert_allclose(rows.joints_3d[2] * (-1, 1, 1), rows.joints_3d[0], atol=0.02)


def test_the_fit_can_follow(hand_clip: Path, hand_picture: RgbImage, checkpoint: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "hand.png", hand_picture)
    inputs = (hand_clip, tmp_path / "hand.png")
    for folder, refine in (("net", False), ("fit", True)):
        run(tmp_path / folder, *inputs, checkpoint=checkpoint, refine_keypoints=refine)
    for place in (next((tmp_path / "fit").rglob("clip/hands.npz")), next((tmp_path / "fit").rglob("*[!p]/hands.npz"))):
        fitted = load_predictions(place)
        alone = load_predictions(tmp_path / "net" / place.relative_to(tmp_path / "fit"))
        assert fitted.method == f"{alone.method} + fit"
        gaps = [np.linalg.norm(rows.joints_2d - rows.keypoints_2d, axis=-1).mean() for rows in (fitted, alone)]
        assert gaps[0] < 0.3 * gaps[1]


def test_joint_files_have_no_pictures_to_see(checkpoint: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "joints.npy", np.random.default_rng(0).normal(0, 0.05, (4, 21, 3)))
    errors: list[str] = []
    options = DemoOptions(overlay=False, method="seqhand", checkpoint=checkpoint)
    result = run_demo(
        [str(tmp_path / "joints.npy")], tmp_path / "out", options, on_error=lambda error: errors.append(error.what)
    )
    assert result.exit_code == 1
    assert "holds joints and no pictures" in errors[0]


def test_tracks_carry_their_state_and_gaps_break_it(
    checkpoint: Path, hand_picture: RgbImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("handkit.demo.network._LOOKS_AT_ONCE", 3)
    network = SeqHandHands(checkpoint, HandPair("open"), device="cpu")

    def sighting(frame: int, track: int) -> Sighting:
        points = np.array([200 + 40 * track, 150]) + np.random.default_rng(0).uniform(0, 60, (21, 2))
        box = np.concatenate([points.min(0), points.max(0)])
        hand = HandDetection(points, np.ones(21), track == 0, 1.0, box)
        return Sighting(hand, "x", (640, 480), np.diag([600.0, 600, 1]), frame, frame / 30, track)

    frames = [Frame(index=i, time_s=i / 30, image=hand_picture) for i in range(40)]
    tracks = [[sighting(i, 0) for i in (*range(6), *range(25, 29))], [sighting(i, 1) for i in range(2, 9)]]
    both = [posed.rows for posed in network.over_time(tracks, frames)]
    assert [rows.frame.tolist() for rows in both] == [[s.frame for s in track] for track in tracks]
    assert [set(rows.is_right.tolist()) for rows in both] == [{True}, {False}]
    for track, rows in zip(tracks, both, strict=True):
        (alone,) = network.over_time([track], frames)
        np.testing.assert_allclose(rows.joints_3d, alone.rows.joints_3d, atol=1e-5)
    again = np.diff(both[0].betas, axis=0)
    assert np.abs(again[:5]).max(1).min() > 1e-6, "one picture over and over, and no state"
    np.testing.assert_allclose(both[0].betas[6], both[0].betas[0], atol=1e-6)


def test_where_weights_are_looked_for(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handkit.inference.load.USUAL", "own-name.safetensors")
    monkeypatch.setenv("HANDKIT_WEIGHTS", str(tmp_path))
    with pytest.raises(HandkitError, match=r"no weights own-name.safetensors"):
        find_checkpoint()
    (tmp_path / "own-name.safetensors").write_bytes(checkpoint.read_bytes())
    assert find_checkpoint() == tmp_path / "own-name.safetensors"
    assert find_checkpoint(tmp_path) == tmp_path / "own-name.safetensors"
    (tmp_path / "other.safetensors").write_bytes(b"")
    with pytest.raises(HandkitError, match=r"holds other.safetensors, own-name.safetensors"):
        find_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--checkpoint", "x"], 2, "--checkpoint is of --method seqhand"),
        (["--refine-keypoints"], 2, "--refine-keypoints is of --method seqhand"),
        (["--method", "seqhand", "--smooth", "2"], 2, "give --refine-keypoints too"),
        (["--method", "magic"], 2, "magic"),
        (["--method", "seqhand"], 1, "train them with `handkit pretrain seqhand --out DIR`"),
        (["--method", "seqhand", "--checkpoint", "nowhere"], 1, "nowhere does not exist"),
        (["--method", "seqhand", "--checkpoint", str(find_weights("pose-encoder.safetensors"))], 1, "pose encoder"),
    ],
)
def test_bad_command_lines_are_told(
    arguments: list[str], code: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("handkit.inference.load.USUAL", "none-of-these.safetensors")
    result = CliRunner().invoke(app, ["demo", *arguments, "--out", str(tmp_path)], env={"COLUMNS": "200"})
    assert result.exit_code == code
    assert said in result.stderr


def test_cuda_that_is_not_there_is_told(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(HandkitError, match="no CUDA device"):
        SeqHandHands(checkpoint, HandPair("open"), device="cuda")
    assert isinstance(SeqHandHands(checkpoint, HandPair("open")).predictor, SequencePredictor)


def test_options_are_part_of_what_was_done(checkpoint: Path) -> None:
    plain = DemoOptions()
    network = replace(plain, method="seqhand", checkpoint=checkpoint)
    prints = {o.fingerprint() for o in (plain, network, replace(network, refine_keypoints=True))}
    assert len(prints) == 3
