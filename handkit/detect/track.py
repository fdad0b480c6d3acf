"""Hands followed through a video: which detection is whose, and one side per hand by vote.

A track is predicted at constant velocity; a detection belongs to the track whose predicted joints it lies nearest to,
in units of the hand's size, with a surcharge where the sides disagree. Memory is one set of joints per living track.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment

from handkit.detect.detection import HandDetection, box_size

# Distances in hand sizes (the longer side of the box): how far a hand may be from where it was expected, and how much
# further for each second without sight of it.
_GATE = 1.0
_GATE_PER_SECOND = 1.0
# A hand that stopped is found where it was last, at this surcharge.
_STOPPED_COST = 0.5
_SIDE_COST = 0.4
# Weight of the newest step in the velocity.
_VELOCITY_UPDATE = 0.5
_FORBIDDEN = 1e6


@dataclass(frozen=True)
class TrackSummary:
    """One hand of the video: its side by vote (`side_score` in [0.5, 1]), when it was seen, and how often."""

    track_id: int
    is_right: bool
    side_score: float
    first_s: float
    last_s: float
    hits: int
    score: float


class _Track:
    def __init__(self, track_id: int, time_s: float, detection: HandDetection) -> None:
        self.track_id = track_id
        self.first_s = self.last_s = time_s
        self.points = detection.keypoints_2d
        self.size = max(box_size(detection.bbox), 1.0)
        self.velocity = np.zeros(2)
        self.hits = 0
        self.votes = self.votes_cast = self.score_sum = 0.0
        self._count(detection)

    @property
    def is_right(self) -> bool:
        return self.votes >= 0

    def cost(self, time_s: float, detection: HandDetection) -> float:
        """Distance in hand sizes to where this hand is expected, plus surcharges."""
        seen = detection.keypoint_scores > 0
        if not seen.any():
            return _FORBIDDEN
        size = max(self.size, box_size(detection.bbox))
        expected = self.points + self.velocity * (time_s - self.last_s)
        moving = np.linalg.norm(detection.keypoints_2d - expected, axis=1)[seen].mean() / size
        stopped = np.linalg.norm(detection.keypoints_2d - self.points, axis=1)[seen].mean() / size
        distance = min(float(moving), float(stopped) + _STOPPED_COST)
        if distance > _GATE + _GATE_PER_SECOND * (time_s - self.last_s):
            return _FORBIDDEN
        disagree = detection.is_right != self.is_right
        return distance + (_SIDE_COST * abs(self.votes) / max(self.votes_cast, 1e-9) if disagree else 0.0)

    def add(self, time_s: float, detection: HandDetection) -> None:
        step = time_s - self.last_s
        if step > 0:
            shift = (detection.keypoints_2d - self.points)[detection.keypoint_scores > 0].mean(0)
            self.velocity = (1 - _VELOCITY_UPDATE) * self.velocity + _VELOCITY_UPDATE * shift / step
        # Joints that were not seen move along with the hand.
        drift = self.points + self.velocity * step
        self.points = np.where(detection.keypoint_scores[:, None] > 0, detection.keypoints_2d, drift)
        self.size = max(box_size(detection.bbox), 1.0)
        self.last_s = time_s
        self._count(detection)

    def summary(self) -> TrackSummary:
        right = 0.5 + 0.5 * self.votes / max(self.votes_cast, 1e-9)
        return TrackSummary(
            track_id=self.track_id,
            is_right=self.is_right,
            side_score=max(right, 1 - right),
            first_s=self.first_s,
            last_s=self.last_s,
            hits=self.hits,
            score=self.score_sum / self.hits,
        )

    def _count(self, detection: HandDetection) -> None:
        # A side that the detector is half sure of is no vote.
        weight = max(2 * detection.side_score - 1, 0.0) * detection.score
        self.votes += weight if detection.is_right else -weight
        self.votes_cast += weight
        self.hits += 1
        self.score_sum += detection.score


class Tracker:
    """Gives every detection of a video the number of its hand; numbers count from 0 in order of appearance.

    max_gap_s: a hand unseen for longer is a new hand when it comes back.
    min_hits: `summaries` leaves out hands seen fewer times.
    max_hands: at most so many hands at a time (None: any number); hands already followed go first, then by score.
    """

    def __init__(self, *, max_gap_s: float = 0.5, min_hits: int = 1, max_hands: int | None = None) -> None:
        self._max_gap_s = max_gap_s
        self._min_hits = min_hits
        self._max_hands = max_hands
        self._tracks: list[_Track] = []
        self._ended: list[TrackSummary] = []
        self._time_s = -np.inf
        self._count = 0

    def update(self, time_s: float, detections: Sequence[HandDetection]) -> list[int | None]:
        """The track number of each detection of the next frame, None for hands beyond `max_hands`.

        Frames come in order; a frame that is not later than the last raises ValueError.
        """
        if time_s <= self._time_s:
            raise ValueError(f"frame at {time_s} s comes after the one at {self._time_s} s")
        self._end_lost()
        numbers: list[int | None] = [None] * len(detections)
        for row, column in self._matches(time_s, detections):
            self._tracks[row].add(time_s, detections[column])
            numbers[column] = self._tracks[row].track_id
        rest = sorted((i for i, number in enumerate(numbers) if number is None), key=lambda i: -detections[i].score)
        for i in rest[: self._room(len(detections) - len(rest))]:
            self._tracks.append(_Track(self._count, time_s, detections[i]))
            numbers[i] = self._count
            self._count += 1
        self._time_s = time_s
        return numbers

    def summaries(self) -> dict[int, TrackSummary]:
        """All hands seen so far at least `min_hits` times, by number."""
        every = self._ended + [track.summary() for track in self._tracks]
        return {s.track_id: s for s in sorted(every, key=lambda s: s.track_id) if s.hits >= self._min_hits}

    def _room(self, taken: int) -> int | None:
        return None if self._max_hands is None else max(self._max_hands - taken, 0)

    def _end_lost(self) -> None:
        """End tracks already unseen for too long at the last frame: the time until this one may be a skip."""
        lost = [t for t in self._tracks if self._time_s - t.last_s > self._max_gap_s + 1e-6]
        self._ended += [track.summary() for track in lost]
        self._tracks = [track for track in self._tracks if track not in lost]

    def _matches(self, time_s: float, detections: Sequence[HandDetection]) -> list[tuple[int, int]]:
        if not self._tracks or not detections:
            return []
        costs: Float[np.ndarray, "T D"] = np.array([[t.cost(time_s, d) for d in detections] for t in self._tracks])
        pairs = [(int(row), int(column)) for row, column in zip(*linear_sum_assignment(costs), strict=True)]
        close = sorted((pair for pair in pairs if costs[pair] < _FORBIDDEN), key=lambda pair: costs[pair])
        return close[: self._max_hands]
