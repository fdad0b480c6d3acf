import numpy as np
import pytest
from numpy.typing import NDArray

from handkit.data.runs_in_time import cut_runs, split_runs, windows_in

SCALE = 3.0


def squares(x: list[float], size: float | list[float] = 20.0) -> NDArray[np.float64]:
    """Squares of hands of `size` pixels about (x, 50)."""
    middle = np.column_stack([x, np.full(len(x), 50.0)])
    half = np.broadcast_to(np.asarray(size) * SCALE / 2, len(x))[:, None]
    return np.hstack([middle - half, middle + half])


def cut(x: list[float], size: float | list[float] = 20.0, frame: list[int] | None = None) -> list[int]:
    sequence = np.zeros(len(x), np.int64)
    frames = np.arange(len(x)) if frame is None else np.array(frame)
    return cut_runs(sequence, frames, squares(x, size), SCALE).tolist()


def test_a_hand_that_moves_by_half_its_size_is_not_cut() -> None:
    assert cut([0, 10, 20, 30]) == [0, 0, 0, 0]
    assert cut([0, 1, 2, 12.1, 13, 14]) == [0, 0, 0, 1, 1, 1]
    # the larger of both hands counts
    assert cut([0, 0, 0, 14, 14, 14], [20, 20, 20, 28, 28, 28]) == [0] * 6


def test_growth_is_cut_both_ways() -> None:
    assert cut([0] * 6, [20, 20, 20, 29, 29, 29]) == [0] * 6
    assert cut([0] * 6, [20, 20, 20, 31, 31, 31]) == [0, 0, 0, 1, 1, 1]
    assert cut([0] * 6, [31, 31, 31, 20, 20, 20]) == [0, 0, 0, 1, 1, 1]


def test_short_pieces_are_left_out_only_where_something_was_cut() -> None:
    assert cut([0, 0, 0, 90, 90, 0, 0, 0]) == [0, 0, 0, -1, -1, 2, 2, 2]
    assert cut([0, 90]) == [-1, -1]
    assert cut([0, 1]) == [0, 0]
    assert cut([0]) == [0]
    sequence = np.array([0, 0, 1, 1, 1, 1])
    run = cut_runs(sequence, np.array([0, 1, 0, 1, 2, 3]), squares([0, 0, 500, 500, 500, 0]), SCALE)
    assert run.tolist() == [0, 0, 1, 1, 1, -1]
    assert len(cut_runs(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 4)), SCALE)) == 0


def test_missing_frames_cut_nothing_and_repeated_ones_do() -> None:
    assert cut([0, 0, 0, 0], frame=[3, 4, 9, 10]) == [0] * 4
    assert cut([0] * 6, frame=[0, 1, 2, 2, 3, 4]) == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize(("frames", "interval"), [(1, 1), (2, 1), (3, 3), (3, 10), (4, 2)])
def test_windows_are_those_of_a_slow_twin(frames: int, interval: int) -> None:
    rng = np.random.default_rng(frames * 10 + interval)
    run = np.repeat([0, 1, 4, 5], [40, 2, 1, 60])
    frame = np.concatenate([np.sort(rng.choice(60, count, replace=False)) for count in (40, 2, 1, 60)])
    frame[43:] *= 2 if interval % 2 == 0 else 1
    expected = []
    for row in range(len(run)):
        wanted = [np.flatnonzero((run == run[row]) & (frame == frame[row] + step * interval)) for step in range(frames)]
        if all(len(found) for found in wanted):
            expected.append([int(found[0]) for found in wanted])
    found = windows_in(split_runs(run), frame, frames=frames, interval=interval)
    assert found.tolist() == expected
    assert len(expected) > 5
