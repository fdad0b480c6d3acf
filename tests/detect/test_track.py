from collections.abc import Sequence

import numpy as np
import pytest

from handkit.detect.detection import HandDetection, box_around
from handkit.detect.track import Tracker

FPS = 30.0
# An open right hand of 100 px, fingers up.
SHAPE = np.array(
    [(50, 100)]
    + [(50 - 12 * k, 90 - 8 * k) for k in range(1, 5)]
    + [(25 + 15 * finger, 60 - 20 * k) for finger in range(4) for k in range(4)],
    float,
)


def hand_at(x: float, y: float = 200, *, is_right: bool = True, side_score: float = 0.95) -> HandDetection:
    points = SHAPE if is_right else SHAPE * (-1, 1) + (100, 0)
    points = points + np.random.default_rng(int(abs(x) * 10)).normal((x, y), 1, (21, 2))
    return HandDetection(
        keypoints_2d=points,
        keypoint_scores=np.ones(21),
        is_right=is_right,
        score=0.9,
        bbox=box_around(points),
        side_score=side_score,
    )


def run(tracker: Tracker, frames: Sequence[Sequence[HandDetection]]) -> list[list[int | None]]:
    return [tracker.update(i / FPS, hands) for i, hands in enumerate(frames)]


@pytest.mark.parametrize("left_side", [True, False])
def test_crossing_hands_keep_their_numbers(left_side: bool) -> None:
    frames = []
    for i in range(60):
        pair = [hand_at(12 * i), hand_at(708 - 12 * i, 205, is_right=not left_side)]
        frames.append(pair if i % 2 else pair[::-1])
    numbers = run(Tracker(), frames)
    assert {tuple(n if i % 2 else n[::-1]) for i, n in enumerate(numbers)} == {tuple(numbers[1])}


def test_crossing_hands_hidden_while_they_cross_keep_their_numbers() -> None:
    frames = [[hand_at(12 * i), hand_at(708 - 12 * i, 210)] if not 26 <= i <= 33 else [] for i in range(60)]
    numbers = run(Tracker(), frames)
    assert numbers[59] == numbers[0] == [0, 1]


@pytest.mark.parametrize(("gap_s", "expected"), [(0.4, 1), (0.5, 1), (0.8, 2)])
def test_gap_up_to_half_a_second_is_bridged(gap_s: float, expected: int) -> None:
    missing = range(20, 20 + round(gap_s * FPS))
    frames = [[] if i in missing else [hand_at(6 * i)] for i in range(80)]
    tracker = Tracker()
    run(tracker, frames)
    assert len(tracker.summaries()) == expected


def test_a_stopped_hand_is_found_where_it_was() -> None:
    frames = [[hand_at(min(20 * i, 300))] if not 16 <= i < 28 else [] for i in range(40)]
    tracker = Tracker()
    run(tracker, frames)
    assert len(tracker.summaries()) == 1


def test_a_hand_that_jumps_across_the_image_is_another() -> None:
    tracker = Tracker()
    assert run(tracker, [[hand_at(0)], [hand_at(900)]]) == [[0], [1]]


def test_side_is_voted_by_certainty_not_by_count() -> None:
    frames = [[hand_at(5 * i, is_right=i < 12, side_score=0.99 if i < 12 else 0.55)] for i in range(40)]
    for frame in frames[12:]:
        frame[0].keypoints_2d[:] = frame[0].keypoints_2d * (-1, 1) + (2 * frame[0].keypoints_2d[9, 0], 0)
    tracker = Tracker()
    run(tracker, frames)
    (hand,) = tracker.summaries().values()
    assert hand.is_right
    assert hand.hits == 40
    assert 0.7 < hand.side_score < 0.9


def test_short_tracks_are_left_out_of_the_summaries() -> None:
    frames = [[hand_at(3 * i)] + ([hand_at(700)] if i == 5 else []) for i in range(20)]
    tracker = Tracker(min_hits=3)
    assert run(tracker, frames)[5] == [0, 1]
    (hand,) = tracker.summaries().values()
    assert (hand.track_id, hand.hits) == (0, 20)
    assert hand.first_s == 0
    assert hand.last_s == pytest.approx(19 / FPS)


def test_followed_hands_go_before_new_ones_beyond_max_hands() -> None:
    tracker = Tracker(max_hands=1)
    assert tracker.update(0.0, [hand_at(0)]) == [0]
    assert tracker.update(0.1, [hand_at(600), hand_at(2)]) == [None, 0]


def test_frames_out_of_order_are_refused() -> None:
    tracker = Tracker()
    tracker.update(1.0, [])
    with pytest.raises(ValueError, match="comes after"):
        tracker.update(1.0, [])


def test_memory_is_of_living_tracks_only() -> None:
    tracker = Tracker(max_gap_s=0.1)
    for i in range(400):
        tracker.update(i / FPS, [hand_at(500.0 * (i // 10))])
    assert len(tracker._tracks) < 4
    assert len(tracker.summaries()) == 40
