"""Which frames of two videos were taken at the same time."""

from collections.abc import Mapping, Sequence

import numpy as np


def interval_of(times_s: Sequence[float] | np.ndarray) -> float:
    """Seconds between frames, on the median; 0 of fewer than two."""
    return float(np.median(np.diff(times_s))) if len(times_s) > 1 else 0.0


def pair_times(left: Mapping[int, float], right: Mapping[int, float]) -> list[tuple[int, int]]:
    """Frames (left, right) within half a frame of the faster video, each once and each with its nearest; in order.

    left, right: seconds by the frame's index.
    """
    frames = [np.array(sorted(times), np.int64) for times in (left, right)]
    seconds = [np.array([times[int(i)] for i in own]) for times, own in zip((left, right), frames, strict=True)]
    steps = [step for step in map(interval_of, seconds) if step > 0]
    limit = min(steps) / 2 if steps else np.inf
    if not (len(frames[0]) and len(frames[1])):
        return []
    nearest = [_nearest(seconds[0], seconds[1]), _nearest(seconds[1], seconds[0])]
    return [
        (int(frames[0][i]), int(frames[1][j]))
        for i, j in enumerate(nearest[0])
        if nearest[1][j] == i and abs(seconds[0][i] - seconds[1][j]) <= limit + 1e-6
    ]


def _nearest(times: np.ndarray, others: np.ndarray) -> np.ndarray:
    """For each time the place of the nearest of the others, both ascending; of two as near, the earlier."""
    after = np.searchsorted(others, times).clip(0, len(others) - 1)
    before = (after - 1).clip(0)
    return np.where(np.abs(others[before] - times) <= np.abs(others[after] - times), before, after)
