import json
import os
import sys
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from handkit.detect import mediapipe_graph
from handkit.detect.mediapipe import MediaPipeDetector, pad
from handkit.errors import HandkitError

pytest.importorskip("mediapipe")

# By eye: sides are the person's own, each with a point (x, y) of the picture that lies on that hand.
PHOTOS = {
    "google_pointing_up.jpg": [("left", (322, 100))],
    "google_thumbs_down.jpg": [("right", (270, 300))],
    "google_thumbs_up.jpg": [("right", (280, 280))],
    "google_victory.jpg": [("right", (125, 270))],
    "google_woman_hands.jpg": [("right", (390, 390)), ("left", (140, 680))],
    # The signing woman's hand, and the fist of the other; the palm under the fist is missed.
    "hamer_test1.jpg": [("right", (310, 230)), ("right", (440, 370))],
    # The hand under the trumpet, by its weak palm; the fingers on the valves are missed.
    "hamer_test2.jpg": [("left", (430, 400))],
    # The hand in front; the one behind it is missed.
    "hamer_test3.jpg": [("right", (440, 390))],
    "hamer_test5.jpg": [("right", (490, 720)), ("left", (720, 720))],
    "mediapipe_test_image.jpg": [("right", (260, 260))],
    "two_left_hands_up_down.jpg": [("left", (170, 240)), ("left", (540, 120))],
}


def load(path: Path) -> np.ndarray:
    image = cv2.imread(str(path))
    assert image is not None
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


@pytest.fixture(scope="module")
def stills() -> Any:
    with MediaPipeDetector(max_hands=4) as detector:
        yield detector


def snap_samples(realdata: Path) -> list[dict[str, Any]]:
    samples = json.loads((realdata / "ground_truth_3d.json").read_text())["samples"]
    return [sample for sample in samples if sample["id"].startswith("handgraph")]


def frames(path: Path, count: int, step: int = 1) -> list[np.ndarray]:
    chosen = []
    with av.open(str(path)) as container:
        for i, frame in enumerate(container.decode(video=0)):
            if i % step == 0:
                chosen.append(frame.to_ndarray(format="rgb24"))
            if len(chosen) == count:
                break
    return chosen


@pytest.mark.parametrize("name", sorted(PHOTOS))
def test_photo_has_these_hands(realdata: Path, stills: MediaPipeDetector, name: str) -> None:
    hands = stills.detect(load(realdata / "photos" / name))
    assert len(hands) == len(PHOTOS[name])
    for side, (x, y) in PHOTOS[name]:
        around = [h for h in hands if h.bbox[0] < x < h.bbox[2] and h.bbox[1] < y < h.bbox[3]]
        assert [("left", "right")[h.is_right] for h in around] == [side]
        assert around[0].side_score > 0.8


def test_same_landmarks_as_the_official_solution(realdata: Path, stills: MediaPipeDetector) -> None:
    from mediapipe.python.solutions.hands import Hands

    image = load(realdata / "photos/google_woman_hands.jpg")
    height, width = image.shape[:2]
    with Hands(static_image_mode=True, max_num_hands=4) as official:
        answer = official.process(image)
    pairs = zip(answer.multi_hand_landmarks, answer.multi_hand_world_landmarks, strict=True)
    expected = [
        (
            np.array([(p.x * width, p.y * height) for p in points.landmark]),
            np.array([(p.x, p.y, p.z) for p in world.landmark]),
        )
        for points, world in pairs
    ]
    hands = stills.detect(image)
    assert len(hands) == len(expected) == 2
    for hand in hands:
        points, world = min(expected, key=lambda pair: float(np.abs(pair[0] - hand.keypoints_2d).max()))
        np.testing.assert_allclose(hand.keypoints_2d, points, atol=1e-3)
        np.testing.assert_allclose(hand.keypoints_3d, world, atol=1e-6)


def test_all_tight_crops_of_left_hands_are_found_and_deeper_is_positive(realdata: Path) -> None:
    depth_agrees, sides = [], []
    with MediaPipeDetector(max_hands=1) as detector:
        for sample in snap_samples(realdata):
            (hand,) = detector.detect(load(realdata / sample["image"]))
            sides.append(hand.is_right)
            truth = np.array(sample["joints_cam_m"])
            assert hand.keypoints_3d is not None
            assert hand.keypoints_z is not None
            truth = truth[:, 2] - truth[:, 2].mean()
            depth_agrees.append([np.sign(truth @ hand.keypoints_3d[:, 2]), np.sign(truth @ hand.keypoints_z)])
    assert len(sides) == 198
    assert not any(sides)
    assert np.mean(np.array(depth_agrees) > 0, axis=0).min() > 0.95


def test_stereo_subject_is_right_handed_and_so_in_tracking(realdata: Path) -> None:
    with MediaPipeDetector(max_hands=2, tracking=True) as detector:
        hands = [detector.detect(frame) for frame in frames(realdata / "stereo/cam1_test.mp4", 30)]
    assert [[hand.is_right for hand in found] for found in hands] == [[True]] * 30


def test_tracking_follows_a_video_with_small_steps(realdata: Path) -> None:
    with MediaPipeDetector(max_hands=2, tracking=True) as detector:
        found = [detector.detect(frame) for frame in frames(realdata / "video/right_hand_621.mp4", 40)]
    assert [len(hands) for hands in found] == [1] * 40
    points = np.array([hands[0].keypoints_2d for hands in found])
    assert np.linalg.norm(np.diff(points, axis=0), axis=2).mean() < 20


def test_pad_puts_a_quarter_around_the_image() -> None:
    image = np.full((100, 60, 3), 9, np.uint8)
    padded, (dx, dy) = pad(image)
    assert (padded.shape, dx, dy) == ((150, 90, 3), 15, 25)
    np.testing.assert_array_equal(padded[25:125, 15:75], image)
    assert padded.sum() == image.sum()


# Boxes of the hand itself; the palm network finds no hand there.
@pytest.mark.parametrize(
    ("name", "box"), [("00015", (54, 36, 201, 219)), ("00016", (51, 39, 204, 217)), ("00017", (46, 39, 209, 217))]
)
def test_hand_that_fills_the_frame_is_found_padded(realdata: Path, name: str, box: tuple[int, int, int, int]) -> None:
    image = load(realdata / f"annotated/snap_real/{name}.jpg")
    x0, y0, x1, y1 = box
    tight = np.ascontiguousarray(image[y0:y1, x0:x1])
    graph = mediapipe_graph.HandGraph(max_hands=1)
    assert graph.detect(tight) == []
    graph.close()
    for tracking in (False, True):
        with MediaPipeDetector(max_hands=1, tracking=tracking, thorough=False) as detector:
            (cut,) = detector.detect(tight)
        with MediaPipeDetector(max_hands=1) as detector:
            (whole,) = detector.detect(image)
        distance = np.linalg.norm(cut.keypoints_2d + np.array([x0, y0]) - whole.keypoints_2d, axis=1)
        assert distance.mean() < 0.08 * np.ptp(whole.keypoints_2d, axis=0).max()


def test_joints_outside_the_image_score_half(realdata: Path, stills: MediaPipeDetector) -> None:
    image = load(realdata / "photos/two_left_hands_up_down.jpg")[:300, 360:]
    (hand,) = stills.detect(np.ascontiguousarray(image))
    outside = hand.keypoints_2d[:, 1] > 300
    assert 0 < outside.sum() < 10
    np.testing.assert_allclose(hand.keypoint_scores, np.where(outside, hand.score / 2, hand.score))


def test_pictures_without_hands_have_none(stills: MediaPipeDetector) -> None:
    from skimage import data

    for image in (data.coffee(), data.chelsea(), data.rocket(), np.zeros((1, 1, 3), np.uint8)):
        assert stills.detect(image) == []


@pytest.mark.parametrize(
    "image", [np.zeros((9, 9), np.uint8), np.zeros((9, 9, 4), np.uint8), np.zeros((9, 9, 3)), np.zeros((0, 9, 3), "u1")]
)
def test_other_arrays_are_refused(stills: MediaPipeDetector, image: np.ndarray) -> None:
    with pytest.raises(HandkitError, match="shape"):
        stills.detect(image)


@pytest.mark.parametrize("options", [{"augment": 6}, {"augment": -1}, {"max_hands": 0}])
def test_bad_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(HandkitError):
        MediaPipeDetector(**options)


def test_start_and_first_hand_are_silent_and_closing_is_repeatable(
    realdata: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    detector = MediaPipeDetector(augment=1)
    assert detector.detect(load(realdata / "photos/google_victory.jpg"))
    detector.close()
    detector.close()
    assert capfd.readouterr().err == ""


def test_other_lines_on_stderr_are_passed_on(capfd: pytest.CaptureFixture[str]) -> None:
    with mediapipe_graph._quiet_start():
        os.write(2, b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\nE0000 something is wrong\n")
    assert capfd.readouterr().err == "E0000 something is wrong\n"


def test_missing_mediapipe_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    with pytest.raises(HandkitError, match="not available") as error:
        MediaPipeDetector()
    assert "handkit[mediapipe]" in error.value.fix


def test_a_given_box_needs_no_palm(realdata: Path, stills: MediaPipeDetector) -> None:
    everything = json.loads((realdata / "ground_truth_3d.json").read_text())["samples"]
    (sample,) = [one for one in everything if one["id"].startswith("interhand/image2017")]
    image = load(realdata / sample["image"])
    joints, K = np.array(sample["joints_cam_m"]), np.array(sample["K"])
    points = joints[:, :2] / joints[:, 2:] * K[:2] + K[2:]
    box = np.concatenate([points.min(0), points.max(0)])
    assert stills.detect(image) == []
    found = stills.detect_in_box(image, box)
    assert found is not None
    assert found.is_right
    assert np.linalg.norm(found.keypoints_2d - points, axis=1).mean() < 0.06 * np.ptp(points, axis=0).max()
    assert stills.detect_in_box(np.full_like(image, 128), box) is None
