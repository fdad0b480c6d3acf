"""`--keypoint-source hourglass`: our own estimator in the detector's or the user's boxes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import handkit.demo.stills as stills
from handkit.checkpoint import CheckpointInfo, save_checkpoint
from handkit.demo.boxes import GivenBox
from handkit.demo.options import DemoOptions
from handkit.demo.run import DemoResult, run_demo
from handkit.demo.sources import BoxedHands, DetectedHands, HourglassHands
from handkit.export.predictions import load_predictions
from handkit.images import RgbImage, write_image
from handkit.inference.keypoints import KeypointPredictor, load_keypoints
from handkit.inference.load import KEYPOINTS
from handkit.inference.looks import look_at, square_around_joints
from handkit_cli import app
from tests.inference.making import small_system, write_s2hand


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    system = small_system(hand=False, keypoints=True)
    return write_s2hand(tmp_path_factory.mktemp("weights") / "net.safetensors", system)


@pytest.fixture(scope="module")
def estimator(checkpoint: Path) -> KeypointPredictor:
    return load_keypoints(checkpoint)


def run(out: Path, *inputs: Path, **options: Any) -> DemoResult:
    asked = DemoOptions(**{"overlay": False, "keypoint_source": "hourglass", **options})
    return run_demo([str(path) for path in inputs], out, asked, debug=True)


def expected(estimator: KeypointPredictor, image: RgbImage, box: np.ndarray, *, is_right: bool) -> Any:
    look = look_at(image, square_around_joints(box), estimator.size, is_right=is_right)
    points, scores = estimator.step([look])
    return points[0], scores[0]


def test_detected_hands_get_the_estimator_s_keypoints(hand_picture: RgbImage, estimator: KeypointPredictor) -> None:
    near = hand_picture[50:400, 360:640]
    image = np.ascontiguousarray(np.concatenate([near[:, ::-1], near], axis=1))
    source = HourglassHands(DemoOptions(), estimator, tracking=False)
    detector = DetectedHands(DemoOptions(), tracking=False)
    found, plain = source.find(image, 0), detector.find(image, 0)
    assert sorted(hand.is_right for hand in found) == [False, True]
    for hand, seen in zip(found, plain, strict=True):
        assert (hand.is_right, hand.score) == (seen.is_right, seen.score)
        np.testing.assert_allclose(hand.bbox, seen.bbox, atol=1e-3)
        assert hand.keypoints_3d is None
        assert np.abs(hand.keypoints_2d - seen.keypoints_2d).mean() > 3, "not the detector's"
        points, scores = expected(estimator, image, hand.bbox, is_right=hand.is_right)
        # Two hands at once or one after the other: the sharp peaks of random weights move by a little.
        np.testing.assert_allclose(hand.keypoints_2d, points, atol=0.1)
        np.testing.assert_allclose(hand.keypoint_scores, scores, atol=1e-2)
    assert source.find(np.full_like(image, 90), 1) == []
    for opened in (source, detector):
        opened.close()


def test_given_boxes_with_a_side_need_no_detector(
    hand_picture: RgbImage, estimator: KeypointPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[GivenBox] = []
    true_search = BoxedHands.in_box

    def counted(self: BoxedHands, image: RgbImage, box: GivenBox) -> Any:
        asked.append(box)
        return true_search(self, image, box)

    monkeypatch.setattr(BoxedHands, "in_box", counted)
    plain = DetectedHands(DemoOptions(), tracking=False)
    (seen,) = plain.find(hand_picture, 0)
    bounds = tuple(seen.bbox.tolist())
    boxes = {"0": [GivenBox(bounds, False)], "1": [GivenBox(bounds)], "2": [GivenBox((1.0, 1.0, 40.0, 40.0))]}
    source = HourglassHands(DemoOptions(), estimator, tracking=False, boxes=boxes)
    (left,) = source.find(hand_picture, 0)
    assert not asked
    assert (left.is_right, left.score) == (False, 1.0)
    points, _ = expected(estimator, hand_picture, seen.bbox, is_right=False)
    np.testing.assert_allclose(left.keypoints_2d, points, atol=1e-3)
    (right,) = source.find(hand_picture, 1)
    assert len(asked) == 1
    assert right.is_right
    np.testing.assert_array_equal(right.bbox, left.bbox)
    assert source.find(hand_picture, 2) == []
    assert source.find(hand_picture, 3) == []
    for opened in (source, plain):
        opened.close()


def test_the_fit_takes_them(hand_clip: Path, hand_picture: RgbImage, checkpoint: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "in" / "hand.png", hand_picture)
    result = run(tmp_path / "out", hand_clip, tmp_path / "in" / "hand.png", checkpoint=checkpoint.parent)
    assert result.exit_code == 0
    assert result.summary["options"]["checkpoint"] == str(checkpoint)
    estimator = load_keypoints(checkpoint)
    (still,) = (path for path in (tmp_path / "out").rglob("hands.npz") if path.parent.name != "clip")
    rows = load_predictions(still)
    assert rows.method == "MediaPipe Hands + hourglass (net.safetensors, step 7) + fit"
    points, _ = expected(estimator, hand_picture, rows.bbox[0].astype(np.float64), is_right=True)
    np.testing.assert_allclose(rows.keypoints_2d[0], points, atol=2)


def test_the_kind_of_landmarks_goes_to_the_fit(
    hand_picture: RgbImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = small_system(hand=False, keypoints=True)
    data = {"landmarks": "openpose"}
    info = CheckpointInfo("s2hand", system.describe(), {"network": {"size": 128}}, step=7, data=data)
    save_checkpoint(tmp_path / "net.safetensors", system, info)
    kinds: list[str] = []
    true_fit = stills.fit_stills

    def watched(sightings: Any, hands: Any, source: str, start: Any) -> Any:
        kinds.append(source)
        return true_fit(sightings, hands, source, start)

    monkeypatch.setattr(stills, "fit_stills", watched)
    write_image(tmp_path / "in" / "hand.png", hand_picture)
    run(tmp_path / "out", tmp_path / "in", checkpoint=tmp_path / "net.safetensors")
    assert kinds == ["openpose"]


def test_one_file_may_hold_both_networks(hand_clip: Path, tmp_path: Path) -> None:
    both = write_s2hand(tmp_path / "both.safetensors", small_system(keypoints=True))
    run(tmp_path / "out", hand_clip, checkpoint=both, method="s2hand", end=0.1)
    rows = load_predictions(tmp_path / "out/clip/hands.npz")
    assert rows.method.startswith("MediaPipe Hands + hourglass (both.safetensors, step 7) + s2hand (both.safetensors")
    assert len(rows) == 3


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 1, "`handkit selfsup s2hand --stage keypoints --out DIR`"),
        (["--checkpoint", "nowhere"], 1, "nowhere does not exist"),
        (["--checkpoint", "HAND"], 1, "holds no 2D keypoint estimator"),
        (["--method", "s2hand", "--checkpoint", "HAND"], 1, "holds no 2D keypoint estimator"),
        (
            ["--method", "s2hand", "--checkpoint", "HAND", "--keypoint-checkpoint", "nowhere"],
            1,
            "nowhere does not exist",
        ),
        (["--keypoints", "x.npy"], 2, "exclude each other"),
        (["--refine-keypoints"], 2, "--refine-keypoints is of --method seqhand, s2hand, handnet"),
    ],
)
def test_bad_command_lines_are_told(
    arguments: list[str], code: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("handkit.demo.run.KEYPOINTS", KEYPOINTS._replace(usual="none-of-these.safetensors"))
    if "HAND" in arguments:
        hand = write_s2hand(tmp_path / "hand.safetensors")
        arguments = [str(hand) if argument == "HAND" else argument for argument in arguments]
    command = ["demo", "--keypoint-source", "hourglass", *arguments, "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, command, env={"COLUMNS": "200"})
    assert result.exit_code == code
    assert said in result.stderr


def test_boxes_by_the_command_line(
    hand_picture: RgbImage, checkpoint: Path, estimator: KeypointPredictor, tmp_path: Path
) -> None:
    write_image(tmp_path / "in" / "hand.png", hand_picture)
    (tmp_path / "boxes.json").write_text(json.dumps({"hand.png": [[380, 90, 200, 240, "right"]]}))
    command = ["demo", str(tmp_path / "in"), "--keypoint-source", "hourglass", "--checkpoint", str(checkpoint)]
    command += ["--bbox", str(tmp_path / "boxes.json"), "--no-overlay", "--out", str(tmp_path / "out")]
    assert CliRunner().invoke(app, command).exit_code == 0
    rows = load_predictions(tmp_path / "out/in/hands.npz")
    assert rows.bbox.tolist() == [[380, 90, 580, 330]]
    points, scores = expected(estimator, hand_picture, np.array([380.0, 90, 580, 330]), is_right=True)
    np.testing.assert_allclose(rows.keypoints_2d[0], points, atol=1e-3)
    np.testing.assert_allclose(rows.keypoint_scores[0], scores, atol=1e-4)
