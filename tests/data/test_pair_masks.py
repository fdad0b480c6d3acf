"""Outlines and masks from keypoints alone, against the silhouettes of posed hands."""

import cv2
import numpy as np
import pytest

from handkit.data.keypoint_noise import KeypointNoise, noisy_keypoints
from handkit.data.pair_masks import PALM, beyond_wrist, mask_of_keypoints, outline_of_keypoints, pixels_per_metre
from handkit.segment import SEGMENTERS, SegmenterName
from tests.data.posing import posed, seen_at, silhouette

SIZE = 128
DEPTH, FOCAL = 0.6, 260.0
K = np.array([[FOCAL, 0, 64], [0, FOCAL, 64], [0, 0, 1]])
ALL = np.ones(21)
COUNT = 8
SKIN = np.array([205.0, 160, 130])


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def hand(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the joints of a hand in the middle are seen, and its silhouette."""
    shown = posed(seed, depth=DEPTH)
    shift = np.array([0, 0, DEPTH]) - shown["joints"].mean(0)
    return seen_at(shown["joints"] + shift, K), silhouette(shown["vertices"] + shift, K, (SIZE, SIZE))


def picture(mask: np.ndarray, seed: int) -> np.ndarray:
    """Skin, a little uneven, over smooth blue and green."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(20, 200, (5, 5, 3)) * (0.4, 1.0, 1.0)
    behind = cv2.resize(coarse, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
    skin = SKIN * rng.uniform(0.85, 1.1, (SIZE, SIZE, 1))
    return np.where(mask[..., None], skin, behind).clip(0, 255).astype(np.uint8)


def off(points: np.ndarray, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return noisy_keypoints(points[None], rng, KeypointNoise(missing=0.0))[0][0]


def test_outlines_are_about_the_hand() -> None:
    hands = [hand(seed) for seed in range(COUNT)]
    found = [iou(outline_of_keypoints(points, ALL, (SIZE, SIZE)), mask) for points, mask in hands]
    assert np.mean(found) > 0.8
    assert min(found) > 0.7


@pytest.mark.parametrize("times", [2, 3])
def test_outlines_grow_with_the_hand(times: int) -> None:
    for seed in range(3):
        points, _ = hand(seed)
        large = outline_of_keypoints(times * points, ALL, (times * SIZE, times * SIZE))
        small = cv2.resize(large.astype(np.uint8), (SIZE, SIZE), interpolation=cv2.INTER_AREA) > 0
        assert iou(small, outline_of_keypoints(points, ALL, (SIZE, SIZE))) > 0.93


def test_pixels_per_metre_of_a_hand_across_the_line_of_sight() -> None:
    shown = posed(2)["joints"]
    flat = shown.copy()
    flat[:, 2] = 0
    assert pixels_per_metre(400 * flat[:, :2], ALL) == pytest.approx(400, rel=0.25)
    assert pixels_per_metre(800 * flat[:, :2], ALL) == pytest.approx(2 * pixels_per_metre(400 * flat[:, :2], ALL))


def test_masks_are_nearer_to_the_truth_than_what_they_begin_with() -> None:
    begun, found, exact = [], [], []
    for seed in range(COUNT):
        points, mask = hand(seed)
        image, keypoints = picture(mask, seed), off(points, seed)
        begun.append(iou(outline_of_keypoints(keypoints, ALL, (SIZE, SIZE)), mask))
        found.append(iou(mask_of_keypoints(image, keypoints, ALL), mask))
        exact.append(iou(mask_of_keypoints(image, points, ALL), mask))
        np.testing.assert_array_equal(mask_of_keypoints(image, points, ALL), mask_of_keypoints(image, points, ALL))
    assert np.mean(begun) < 0.83
    assert np.mean(found) > 0.87
    assert np.mean(exact) > 0.9


@pytest.mark.parametrize("name", ["grabcut", "hsv"])
def test_the_arm_is_left_out(name: SegmenterName) -> None:
    points, mask = hand(1)
    middle = points[[5, 9, 13, 17]].mean(0)
    end = points[0] + 2 * (points[0] - middle)
    arm = np.zeros((SIZE, SIZE), np.uint8)
    cv2.line(arm, tuple(points[0].round().astype(int)), tuple(end.round().astype(int)), 1, 24)
    image = picture(mask | (arm > 0), 1)
    found = mask_of_keypoints(image, points, ALL, name)
    assert found.any()
    away = beyond_wrist(points, ALL, (SIZE, SIZE))
    assert (away & (arm > 0)).sum() > 300
    assert not (found & away).any()
    assert (SEGMENTERS[name](image, outline_of_keypoints(points, ALL, (SIZE, SIZE))) & away).any()
    wristless = ALL.copy()
    wristless[0] = 0
    assert not beyond_wrist(points, wristless, (SIZE, SIZE)).any()


def test_the_line_of_the_wrist() -> None:
    """Fingers up, 1000 px a metre: what lies 12.5 mm below the wrist is arm."""
    points = np.full((21, 2), 50.0)
    points[0] = 50, 100
    points[[5, 9, 13, 17]] = [[50, 18], [50, 15], [50, 23], [50, 25]]
    only = np.zeros(21)
    only[[0, 5, 9, 13, 17]] = 1
    assert pixels_per_metre(points, only) == pytest.approx(1000, rel=0.01)
    away = beyond_wrist(points, only, (130, 90))
    assert not away[:112].any()
    assert away[113:].all()
    no_knuckles = only * (np.arange(21) == 0)
    assert not beyond_wrist(points, no_knuckles, (130, 90)).any()


def test_too_few_keypoints_say_nothing() -> None:
    points, mask = hand(0)
    image, size = picture(mask, 0), (SIZE, SIZE)
    for kept in ((), PALM[:2], (1, 2, 3, 4), tuple(sorted({*range(1, 21)} - set(PALM)))):
        scores = np.zeros(21)
        scores[list(kept)] = 0.7
        lost = np.where(scores[:, None] > 0, points, np.nan)
        assert not outline_of_keypoints(lost, scores, size).any()
        assert not mask_of_keypoints(image, lost, scores).any()
    assert not outline_of_keypoints(np.full((21, 2), 30.0), ALL, size).any()
    scores = np.isin(np.arange(21), PALM[:3]).astype(float)
    assert outline_of_keypoints(points, scores, size).any()


def test_a_finger_that_was_not_found_is_left_out() -> None:
    points, _ = hand(3)
    whole = outline_of_keypoints(points, ALL, (SIZE, SIZE))
    scores = ALL.copy()
    scores[8] = 0
    shorter = outline_of_keypoints(points, scores, (SIZE, SIZE))
    assert (whole | shorter == whole).all()
    column, row = points[8].astype(int)
    assert whole[row, column]
    assert shorter.sum() < whole.sum()


def test_keypoints_far_outside_do_no_harm() -> None:
    points, mask = hand(0)
    assert not outline_of_keypoints(points + 1e9, ALL, (SIZE, SIZE)).any()
    assert not mask_of_keypoints(picture(mask, 0), points - 500, ALL).any()
    points[8] = 1e12
    assert outline_of_keypoints(points, ALL, (SIZE, SIZE)).shape == (SIZE, SIZE)
