"""`demo --method handnet`: hands by their pixels and the keypoints that were found, whatever found them."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from handkit.demo.options import DemoOptions
from handkit.demo.run import DemoResult, run_demo
from handkit.export.predictions import Predictions, load_predictions
from handkit.hand import ManoLayer, load_hand
from handkit.images import RgbImage, write_image
from handkit.inference.handnet import load_handnet_predictor
from handkit.inference.load import HANDNET
from handkit.inference.looks import look_at, square_around_joints
from handkit.inference.placing import hands_in_camera
from handkit_cli import app
from tests.inference.making import small_handnet, small_system, write_handnet, write_s2hand, write_small


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_handnet(tmp_path_factory.mktemp("weights") / "net.safetensors", box_scale=1.7)


@pytest.fixture(scope="module")
def keypoints_only(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    return write_handnet(folder / "net.safetensors", small_handnet(inputs="keypoints"))


def run(out: Path, *inputs: Path, **options: Any) -> DemoResult:
    asked = DemoOptions(**{"overlay": False, "method": "handnet", **options})
    return run_demo([str(path) for path in inputs], out, asked, debug=True)


def expected(rows: Predictions, row: int, image: RgbImage, checkpoint: Path) -> np.ndarray:
    """The joints that the network says of a row's own square and keypoints."""
    network, is_right = load_handnet_predictor(checkpoint), bool(rows.is_right[row])
    square = square_around_joints(rows.bbox[row].astype(np.float64), network.box_scale)
    look, one = look_at(image, square, network.size, is_right=is_right), rows.rows(np.array([row]))
    found = network.step([look], one.keypoints_2d, one.keypoint_scores)
    return hands_in_camera(found, one.K, load_hand("open", "right" if is_right else "left")).joints[0].numpy()


def test_a_video_is_posed_drawn_and_exported(hand_clip: Path, checkpoint: Path, tmp_path: Path) -> None:
    options = {"overlay": True, "export": ("glb", "json"), "vertices": True, "K": (620, 620, 320, 240)}
    result = run(tmp_path, hand_clip, checkpoint=checkpoint, **options)
    assert result.exit_code == 0
    names = {path.name for path in (tmp_path / "clip").iterdir()}
    assert names == {"hands.npz", "hands.json", "hands.glb", "overlay.mp4", "done.json"}
    rows = load_predictions(tmp_path / "clip/hands.npz")
    assert rows.method == "MediaPipe Hands + handnet (net.safetensors, step 7, image and keypoints)"
    assert rows.frame.tolist() == list(range(8))
    values = {name: torch.from_numpy(getattr(rows, name)) for name in ("global_orient", "hand_pose", "betas", "transl")}
    np.testing.assert_allclose(ManoLayer(load_hand("open"))(**values).vertices, rows.vertices, atol=1e-6)
    assert rows.joints_3d[..., 2].min() > 0.05
    shown = np.einsum("nab,njb->nja", rows.K, rows.joints_3d.astype(np.float64))
    np.testing.assert_allclose(shown[..., :2] / shown[..., 2:], rows.joints_2d, atol=0.05, rtol=1e-4)


def test_the_network_is_shown_the_hand_and_told_its_keypoints(
    hand_picture: RgbImage, checkpoint: Path, tmp_path: Path
) -> None:
    write_image(tmp_path / "in" / "a.png", hand_picture)
    write_image(tmp_path / "in" / "b.png", np.ascontiguousarray(hand_picture[:, ::-1]))
    run(tmp_path / "out", tmp_path / "in", checkpoint=checkpoint)
    rows = load_predictions(tmp_path / "out/in/hands.npz")
    assert rows.is_right.tolist() == [True, False]
    # Boxes are stored in single precision.
    for row, picture in enumerate((hand_picture, hand_picture[:, ::-1])):
        own = np.ascontiguousarray(picture)
        np.testing.assert_allclose(rows.joints_3d[row], expected(rows, row, own, checkpoint), atol=2e-3)
    # MediaPipe's keypoints of the mirror image are not to the pixel those of the image.
    np.testing.assert_allclose(rows.joints_3d[1] * (-1, 1, 1), rows.joints_3d[0], atol=0.08)
    assert np.abs(rows.joints_3d[1] - rows.joints_3d[0]).max() > 0.16


def given_points(folder: Path, points: np.ndarray, name: str = "a") -> Path:
    """OpenPose's file of a right hand, scores 0.9."""
    table = np.concatenate([points, np.full((21, 1), 0.9)], 1).ravel().tolist()
    folder.mkdir(exist_ok=True)
    content = {"people": [{"hand_left_keypoints_2d": [0.0] * 63, "hand_right_keypoints_2d": table}]}
    (folder / f"{name}_keypoints.json").write_text(json.dumps(content))
    return folder


def hand_points(hand_clip: Path) -> np.ndarray:
    return np.load(hand_clip.parent / "truth.npz")["joints_2d"][0].astype(np.float64)


def test_given_keypoints_are_enough_for_a_network_of_keypoints(
    hand_clip: Path, hand_picture: RgbImage, keypoints_only: Path, tmp_path: Path
) -> None:
    points = hand_points(hand_clip)
    black = np.zeros_like(hand_picture)
    for name, picture in (("seen", hand_picture), ("black", black)):
        write_image(tmp_path / name / "a.png", picture)
        given = given_points(tmp_path / "points", points)
        run(tmp_path / "out", tmp_path / name, checkpoint=keypoints_only, keypoints=given)
    seen, dark = (load_predictions(tmp_path / f"out/{name}/hands.npz") for name in ("seen", "black"))
    assert seen.method == "given keypoints + handnet (net.safetensors, step 7, keypoints)"
    np.testing.assert_allclose(seen.keypoints_2d[0], points, atol=1e-3)
    np.testing.assert_array_equal(dark.joints_3d, seen.joints_3d)
    np.testing.assert_allclose(seen.joints_3d, expected(seen, 0, black, keypoints_only)[None], atol=1e-4)


def test_hands_partly_outside_are_posed_and_those_wholly_outside_are_told(
    hand_clip: Path,
    hand_picture: RgbImage,
    keypoints_only: Path,
    checkpoint: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    points = hand_points(hand_clip)
    shift = {"half": [-points[:, 0].mean(), 0.0], "gone": [700.0, 0.0]}
    for name, by in shift.items():
        write_image(tmp_path / "in" / f"{name}.png", hand_picture)
        given_points(tmp_path / "points", points + by, name)
    for weights in (keypoints_only, checkpoint):
        with caplog.at_level(logging.WARNING):
            result = run(tmp_path / "out", tmp_path / "in", checkpoint=weights, keypoints=tmp_path / "points")
        assert result.exit_code == 0
        by_name = {Path(record.input).stem: record for record in result.records}
        assert by_name["half"].status == "done"
        assert by_name["gone"].status_text == "no hand: all keypoints of a hand lie outside the picture"
        assert by_name["gone"].fix
        assert "gone.png: all keypoints of a hand lie outside the picture: left out" in caplog.text
        rows = load_predictions(tmp_path / "out/in/hands.npz")
        assert rows.image.tolist() == ["half.png"]
        assert np.isfinite(rows.joints_3d).all()
        assert "no hand: all keypoints" in rows.status.tolist()[0]
    (said,) = (one for one in result.summary["inputs"] if one["status"] == "no hand")
    assert said["why"] == "all keypoints of a hand lie outside the picture"
    fitted = run(tmp_path / "fit", tmp_path / "in", method="fit", keypoints=tmp_path / "points")
    assert [record.hands for record in fitted.records] == [1, 1], "the fit needs no pixels"


def test_a_video_of_keypoints_outside_says_so(hand_clip: Path, keypoints_only: Path, tmp_path: Path) -> None:
    points = np.load(hand_clip.parent / "truth.npz")["joints_2d"]
    np.save(tmp_path / "gone.npy", points + 2000)
    result = run(tmp_path / "out", hand_clip, checkpoint=keypoints_only, keypoints=tmp_path / "gone.npy")
    (record,) = result.records
    assert record.status_text == "no hand: all keypoints of 8 hands lie outside the picture"
    assert result.exit_code == 0
    shifted = points.copy()
    shifted[:2] += 2000
    np.save(tmp_path / "late.npy", shifted)
    result = run(tmp_path / "late", hand_clip, checkpoint=keypoints_only, keypoints=tmp_path / "late.npy")
    assert load_predictions(tmp_path / "late/clip/hands.npz").frame.tolist() == list(range(2, 8))
    assert result.records[0].why is None


def test_the_hourglass_s_keypoints_are_taken(hand_clip: Path, checkpoint: Path, tmp_path: Path) -> None:
    estimator = write_s2hand(tmp_path / "estimator.safetensors", small_system(keypoints=True))
    asked = {"keypoint_source": "hourglass", "keypoint_checkpoint": estimator, "end": 0.1}
    result = run(tmp_path / "hourglass", hand_clip, checkpoint=checkpoint, **asked)
    assert result.summary["options"]["keypoint_checkpoint"] == str(estimator)
    rows = load_predictions(tmp_path / "hourglass/clip/hands.npz")
    assert rows.method.startswith("MediaPipe Hands + hourglass (estimator.safetensors, step 7) + handnet (net.saf")
    run(tmp_path / "plain", hand_clip, checkpoint=checkpoint, end=0.1)
    plain = load_predictions(tmp_path / "plain/clip/hands.npz")
    np.testing.assert_allclose(rows.bbox, plain.bbox)
    assert np.abs(rows.joints_3d - plain.joints_3d).max() > 1e-3
    again = run(tmp_path / "hourglass", hand_clip, checkpoint=checkpoint, **asked)
    assert again.records[0].skipped
    write_s2hand(estimator, small_system(hand=False, keypoints=True))
    assert not run(tmp_path / "hourglass", hand_clip, checkpoint=checkpoint, **asked).records[0].skipped


def test_the_fit_can_follow(hand_clip: Path, hand_picture: RgbImage, checkpoint: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "in" / "hand.png", hand_picture)
    for folder, refine in (("net", False), ("fit", True)):
        for given in (hand_clip, tmp_path / "in"):
            run(tmp_path / folder, given, checkpoint=checkpoint, refine_keypoints=refine)
    for name in ("clip", "in"):
        alone, fitted = (load_predictions(tmp_path / f"{folder}/{name}/hands.npz") for folder in ("net", "fit"))
        assert fitted.method == f"{alone.method} + fit"
        gaps = [np.linalg.norm(rows.joints_2d - rows.keypoints_2d, axis=-1).mean() for rows in (fitted, alone)]
        assert gaps[0] < 0.5 * gaps[1]


def test_nothing_found_is_no_hand(checkpoint: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "in" / "plain.png", np.full((120, 160, 3), 90, np.uint8))
    result = run(tmp_path / "out", tmp_path / "in", checkpoint=checkpoint)
    assert [record.status_text for record in result.records] == ["no hand"]


def test_a_run_s_folder_gives_its_furthest_stage(hand_clip: Path, checkpoint: Path, tmp_path: Path) -> None:
    for stage in ("keypoint", "finalize"):
        (tmp_path / "runs" / stage).mkdir(parents=True)
        (tmp_path / "runs" / stage / "handnet.safetensors").write_bytes(checkpoint.read_bytes())
    result = run(tmp_path / "out", hand_clip, checkpoint=tmp_path / "runs", end=0.1)
    assert result.summary["options"]["checkpoint"] == str(tmp_path / "runs/finalize/handnet.safetensors")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 1, "`handkit pretrain handnet --out DIR`"),
        (["--checkpoint", "nowhere"], 1, "nowhere does not exist"),
        (["--checkpoint", "SEQ"], 1, "no HandNet"),
        (["--checkpoint", "S2HAND"], 1, "no HandNet"),
        (["--checkpoint", "OWN", "--smooth", "2"], 2, "give --refine-keypoints too"),
        (["--checkpoint", "OWN", "--keypoint-checkpoint", "x"], 2, "is of --keypoint-source hourglass"),
        (["--checkpoint", "OWN", "--keypoint-source", "hourglass", "--keypoint-checkpoint", "OWN"], 1, "no S2HAND"),
        (["--checkpoint", "OWN", "joints.npy"], 1, "holds joints and no pictures"),
    ],
)
def test_bad_command_lines_are_told(
    arguments: list[str], code: int, said: str, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = HANDNET._replace(usual="none-of-these.safetensors", or_else="nor-these.safetensors")
    monkeypatch.setattr("handkit.demo.network.HandNetHands.weights", nowhere)
    np.save(tmp_path / "joints.npy", np.random.default_rng(0).normal(0, 0.05, (4, 21, 3)))
    files = {"OWN": checkpoint, "joints.npy": tmp_path / "joints.npy"}
    files["SEQ"] = write_small(tmp_path / "seq.safetensors")
    files["S2HAND"] = write_s2hand(tmp_path / "s2hand.safetensors")
    given = [str(files.get(argument, argument)) for argument in arguments]
    command = ["demo", "--method", "handnet", *given, "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, command, env={"COLUMNS": "200"})
    assert result.exit_code == code, result.output
    assert said in result.stderr


@pytest.mark.parametrize("method", ["seqhand", "s2hand"])
def test_other_methods_refuse_its_files(method: str, checkpoint: Path, tmp_path: Path) -> None:
    command = ["demo", "--method", method, "--checkpoint", str(checkpoint), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, command, env={"COLUMNS": "200"})
    assert result.exit_code == 1
    assert "HandNet" in result.stderr


def test_the_command_line_s_json_is_the_summary(hand_clip: Path, checkpoint: Path, tmp_path: Path) -> None:
    command = ["demo", str(hand_clip), "--method", "handnet", "--checkpoint", str(checkpoint), "--end", "0.1"]
    result = CliRunner().invoke(app, [*command, "--no-overlay", "--json", "--out", str(tmp_path)])
    assert result.exit_code == 0
    summary = json.loads(result.stdout)
    assert summary["options"]["method"] == "handnet"
    assert summary["inputs"][0]["hands"] == 3
