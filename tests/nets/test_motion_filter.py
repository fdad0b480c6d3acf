"""Fixed motion filters: directions, ends, and a start that leaves the appearance as it is."""

import torch

from handkit.nets.motion_filter import SHIFTS, MotionBlock, motion_differences


def test_a_dot_that_moves_is_cancelled_by_the_shift_back() -> None:
    """It moves one cell right: moved left again, the next frame equals this one."""
    clip = torch.zeros(1, 2, 1, 5, 5)
    clip[0, 0, 0, 2, 2] = clip[0, 1, 0, 2, 3] = 1
    differences = motion_differences(clip)[0]
    assert differences.shape == (2, 5, 5, 5)
    assert [bool((part == 0).all()) for part in differences[0]] == [shift == (0, -1) for shift in SHIFTS]
    # After the last frame it comes once more: only the unshifted difference vanishes.
    assert [bool((part == 0).all()) for part in differences[1]] == [shift == (0, 0) for shift in SHIFTS]


def test_shifts_are_none_left_right_up_and_down() -> None:
    dot = torch.zeros(1, 1, 1, 5, 5)
    dot[..., 2, 2] = 1
    moved = motion_differences(dot)[0, 0] + dot[0, 0]
    assert [part.nonzero()[0].tolist() for part in moved] == [[2, 2], [2, 1], [2, 3], [1, 2], [3, 2]]


def test_zeros_enter_at_the_border() -> None:
    moved = motion_differences(torch.ones(1, 1, 1, 3, 3))[0, 0] + 1
    assert moved[1].tolist() == [[1, 1, 0]] * 3
    assert moved[4].tolist() == [[0, 0, 0], [1, 1, 1], [1, 1, 1]]


def test_block_starts_with_the_appearance() -> None:
    torch.manual_seed(0)
    maps = torch.randn(6, 64, 4, 4).relu()
    with torch.no_grad():
        changed = MotionBlock(64)(maps, 3)
    assert torch.corrcoef(torch.stack([changed.flatten(), maps.flatten()]))[0, 1] > 0.95
    assert not torch.equal(changed, maps)
