from dataclasses import replace

import numpy as np
import pytest

from handkit.detect.detection import HandDetection, box_around, box_iou, is_same_hand, remove_duplicates


def make_hand(offset: tuple[float, float] = (0, 0), *, is_right: bool = True, score: float = 0.9) -> HandDetection:
    points = np.random.default_rng(7).uniform(0, 100, (21, 2)) + offset
    return HandDetection(
        keypoints_2d=points, keypoint_scores=np.full(21, score), is_right=is_right, score=score, bbox=box_around(points)
    )


def test_iou_of_half_shifted_boxes_is_a_third() -> None:
    assert box_iou(np.array([0.0, 0, 2, 2]), np.array([1.0, 0, 3, 2])) == pytest.approx(1 / 3)


def test_iou_of_apart_and_empty_boxes_is_zero() -> None:
    assert box_iou(np.array([0.0, 0, 1, 1]), np.array([5.0, 5, 6, 6])) == 0
    assert box_iou(np.zeros(4), np.zeros(4)) == 0


def test_hand_found_as_left_and_right_is_kept_once_with_the_better_score() -> None:
    kept = remove_duplicates([make_hand(score=0.7, is_right=False), make_hand((3, 2), score=0.9)])
    assert [(hand.is_right, hand.score) for hand in kept] == [(True, 0.9)]


def test_hands_apart_are_both_kept() -> None:
    assert len(remove_duplicates([make_hand(), make_hand((60, 0))])) == 2


def test_overlapping_boxes_with_other_joints_are_two_hands() -> None:
    hand = make_hand()
    crossed = replace(hand, keypoints_2d=hand.keypoints_2d[::-1].copy())
    assert box_iou(hand.bbox, crossed.bbox) == 1
    assert not is_same_hand(hand, crossed)


def test_joints_nobody_saw_do_not_make_hands_the_same() -> None:
    hand = make_hand()
    assert not is_same_hand(hand, replace(hand, keypoint_scores=np.zeros(21)))
