import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from handkit.detect.mediapipe import MediaPipeDetector
from handkit.detect.mediapipe_graph import RawHand
from handkit.detect.views import View, combine, mirror, region_from_landmarks
from handkit.geometry.procrustes import align

pytest.importorskip("mediapipe")


def raw_hand(label: str = "Left", label_score: float = 0.9) -> RawHand:
    rng = np.random.default_rng(3)
    return RawHand(
        image=rng.uniform(50, 150, (21, 3)),
        world=rng.normal(0, 0.05, (21, 3)),
        label=label,
        label_score=label_score,
        presence=0.8,
    )


def load(path: Path) -> np.ndarray:
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


def test_region_is_the_one_mediapipe_follows_a_hand_with(realdata: Path) -> None:
    from mediapipe.python.solution_base import SolutionBase

    image = load(realdata / "photos/google_woman_hands.jpg")
    height, width = image.shape[:2]
    with SolutionBase(
        binary_graph_path="mediapipe/modules/hand_landmark/hand_landmark_tracking_cpu.binarypb",
        side_inputs={"model_complexity": 1, "num_hands": 2, "use_prev_landmarks": False},
        outputs=["multi_hand_landmarks", "hand_rects_from_landmarks"],
    ) as graph:
        answer = graph.process(image)
    for points, rect in zip(answer.multi_hand_landmarks, answer.hand_rects_from_landmarks, strict=True):
        pixels = np.array([(p.x * width, p.y * height) for p in points.landmark])
        region = region_from_landmarks(pixels, View(scale=2.0, rotation_deg=0, mirrored=False))
        np.testing.assert_allclose([region.x, region.y], [rect.x_center * width, rect.y_center * height], atol=0.5)
        assert region.size == pytest.approx(rect.width * width, rel=0.005)
        turn = region.rotation - rect.rotation
        assert abs(np.angle(np.exp(1j * turn))) < 0.01


def test_mirror_twice_is_the_hand_itself_and_once_swaps_the_side() -> None:
    hand = raw_hand()
    once, twice = mirror(hand, 200), mirror(mirror(hand, 200), 200)
    np.testing.assert_allclose(twice.image, hand.image)
    np.testing.assert_allclose(twice.world, hand.world)
    assert (once.label, twice.label) == ("Right", "Left")
    np.testing.assert_allclose(once.image[:, 0] + hand.image[:, 0], 200)


def test_looks_are_averaged_and_their_difference_told() -> None:
    hand = raw_hand()
    seen = combine(hand, [replace(hand, image=hand.image + np.array([2, 0, 0]), presence=0.6)])
    np.testing.assert_allclose(seen.hand.image, hand.image + np.array([1, 0, 0]))
    np.testing.assert_allclose(seen.hand.world, hand.world)
    assert seen.spread is not None
    np.testing.assert_allclose(seen.spread, 1)
    assert seen.hand.presence == pytest.approx(0.7)


def test_a_look_at_another_hand_is_left_out() -> None:
    hand = raw_hand()
    seen = combine(hand, [replace(hand, image=hand.image + np.array([80, 0, 0]))])
    np.testing.assert_array_equal(seen.hand.image, hand.image)
    assert seen.spread is None


def test_the_surer_side_wins_and_only_its_looks_shape_the_hand() -> None:
    doubtful, sure = raw_hand("Left", 0.55), raw_hand("Right", 0.99)
    sure = replace(sure, world=sure.world + 1)
    seen = combine(doubtful, [sure])
    assert seen.hand.label == "Right"
    assert seen.hand.label_score == pytest.approx(1 - (0.55 + 0.01) / 2)
    np.testing.assert_allclose(seen.hand.world, sure.world)


def test_further_looks_bring_the_joints_nearer_to_the_truth(realdata: Path) -> None:
    samples: list[dict[str, Any]] = json.loads((realdata / "ground_truth_3d.json").read_text())["samples"]
    chosen = [s for s in samples if s["id"].startswith("handgraph")][:99:3]
    error = {}
    for augment in (0, 3):
        with MediaPipeDetector(max_hands=1, augment=augment) as detector:
            distances = []
            for sample in chosen:
                (hand,) = detector.detect(load(realdata / sample["image"]))
                truth = np.array(sample["joints_cam_m"])
                assert (hand.keypoint_scores < 1).all()
                distances.append(pa_error_mm(hand.keypoints_3d, truth))
        error[augment] = np.mean(distances)
    assert error[3] < 0.97 * error[0]
    assert error[0] < 9.8


def pa_error_mm(joints: Any, truth: np.ndarray) -> float:
    import torch

    aligned = align(torch.from_numpy(joints), torch.from_numpy(truth), reflection=False).numpy()
    return float(np.linalg.norm(aligned - truth, axis=1).mean() * 1000)
