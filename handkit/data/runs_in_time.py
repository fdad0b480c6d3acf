"""Which frames of sequences belong together in time: runs of one hand without jumps, and windows in them."""

from collections.abc import Iterable
from typing import Final

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

# Between neighbouring frames, in hand sizes and as a ratio: more is another hand, or one found wrongly.
MAX_MOVE: Final = 0.5
MAX_GROWTH: Final = 1.5
# What is left of a sequence between two jumps is a run from so many frames on.
MIN_RUN_FRAMES: Final = 3


def cut_runs(
    sequence: Int[np.ndarray, " N"], frame: Int[np.ndarray, " N"], square: Float[np.ndarray, "N 4"], scale: float
) -> Int[np.ndarray, " N"]:
    """The number of each frame's run, -1 where it is left out; frames come by sequence and then by time.

    A sequence is cut where the hand jumps between one frame and the next that shows it: where the middle of its square
    (of `scale` hand sizes a side, pixels of the picture) moves by more than `MAX_MOVE` of the larger hand, its side
    changes by more than `MAX_GROWTH`, or the frame number does not grow. Frames in between that show no hand cut
    nothing. Pieces of a cut sequence shorter than `MIN_RUN_FRAMES` are left out.
    """
    if not len(sequence):
        return np.zeros(0, np.int64)
    size = (square[:, 2] - square[:, 0]) / scale
    middle = (square[:, :2] + square[:, 2:]) / 2
    larger, smaller = np.maximum(size[1:], size[:-1]), np.minimum(size[1:], size[:-1])
    moved = np.linalg.norm(np.diff(middle, axis=0), axis=1) > MAX_MOVE * larger
    changed = sequence[1:] != sequence[:-1]
    jumped = ~changed & (moved | (larger > MAX_GROWTH * smaller) | (np.diff(frame) < 1))
    run = np.concatenate([[0], np.cumsum(changed | jumped)])
    is_cut = np.isin(sequence, sequence[1:][jumped])
    is_short = np.bincount(run)[run] < MIN_RUN_FRAMES
    return np.where(is_cut & is_short, -1, run)


def split_runs(run: Int[np.ndarray, " N"]) -> list[NDArray[np.int64]]:
    """The rows of each run; equal numbers lie side by side."""
    ends = np.flatnonzero(np.diff(run)) + 1
    return [part for part in np.split(np.arange(len(run)), ends) if len(part)]


def windows_in(
    runs: Iterable[NDArray[np.int64]], frame: Int[np.ndarray, " N"], *, frames: int, interval: int
) -> Int[np.ndarray, "W n"]:
    """The rows of all windows of frames t, t + interval, ..., every one of which is there, in one run.

    Frame numbers are the video's own: those of a data set with every tenth frame have windows from interval 10 on.
    """
    steps = interval * np.arange(frames)
    found = [np.zeros((0, frames), np.int64)]
    for rows in runs:
        if len(rows) >= frames:
            numbers = frame[rows]
            wanted = numbers[:, None] + steps
            at = np.minimum(np.searchsorted(numbers, wanted), len(rows) - 1)
            found.append(rows[at[(numbers[at] == wanted).all(1)]])
    return np.concatenate(found)
