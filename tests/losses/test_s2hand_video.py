"""S2HAND(V)'s losses against twins that loop over sequences, frames and joints, written from the equations."""

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from handkit import losses
from handkit.geometry.rotations import compose_axis_angle
from handkit.metrics import quaternion_smoothness_rad
from tests.losses.common import gradient, random

B, T, J = 3, 4, 5
FRAMES = torch.tensor([[1, 1, 1, 1], [1, 0, 1, 1], [1, 1, 1, 1]], dtype=torch.bool)
POSES = 4 * random(B, T, J, 3) - 2
LIGHTED, BETAS = random(B, T, 6, 3), random(B, T, 10, seed=1)


def quaternion(axis_angle: Tensor) -> tuple[Tensor, Tensor]:
    """Eq. 12."""
    alpha = axis_angle.square().sum() ** 0.5
    return torch.cos(alpha / 2), torch.sin(alpha / 2) * axis_angle / alpha


def psi(a: Tensor, b: Tensor) -> Tensor:
    """Eq. 16, 19: the angle of q_1 q_0^-1, with the arccos and without regard to signs."""
    (re_a, im_a), (re_b, im_b) = quaternion(a), quaternion(b)
    return 2 * torch.arccos(abs(re_a * re_b + (im_a * im_b).sum()))


def eq_17(poses: Tensor) -> Tensor:
    excess = []
    for joint in range(poses.shape[1]):
        turns = poses[:, joint]
        excess.append(sum(psi(a, b) for a, b in pairwise(turns)) - psi(turns[0], turns[-1]))
    return sum(value**2 for value in excess) ** 0.5


def eq_21(frames: Tensor) -> Tensor:
    middle = sum(frames) / len(frames)
    return sum(((frame - middle) ** 2).sum() ** 0.5 for frame in frames)


def mean(values: list[Tensor]) -> Tensor:
    return torch.stack(values).mean()


def same(loss: Callable[[Tensor], Tensor], twin: Callable[[Tensor], Tensor], at: Tensor) -> None:
    value, slope = gradient(loss, at)
    expected, expected_slope = gradient(twin, at)
    assert value > 0
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(slope, expected_slope)


def test_quaternion_path_is_equation_17_over_whole_sequences() -> None:
    same(losses.quaternion_path, lambda poses: mean([eq_17(sequence) for sequence in poses]), POSES)
    same(lambda x: losses.quaternion_path(x, FRAMES), lambda x: (eq_17(x[0]) + eq_17(x[2])) / 2, POSES)
    metric = quaternion_smoothness_rad(POSES, FRAMES, frames=None)
    torch.testing.assert_close(losses.quaternion_path(POSES, FRAMES), metric[[0, 2]].mean())
    torch.testing.assert_close(losses.quaternion_path(POSES[0]), metric[0])


seeds = st.integers(0, 2**32 - 1)


def turning(seed: int, total_deg: float, speeds: list[float], joints: int = 16) -> tuple[Tensor, Tensor]:
    """Sequences [T, J, 3] that turn about a random axis per joint by all of `total_deg`, and those axes."""
    generator = torch.Generator().manual_seed(seed)
    start, axis = torch.randn(2, joints, 3, generator=generator, dtype=torch.float64)
    axis = axis / axis.norm(dim=-1, keepdim=True)
    shares = torch.tensor([0.0, *speeds], dtype=torch.float64).cumsum(0)
    angles = math.radians(total_deg) * shares / shares[-1].clamp_min(1e-9)
    return compose_axis_angle(start.expand(len(angles), joints, 3), angles[:, None, None] * axis), axis


@given(seeds, st.floats(0, 179.9), st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_turning_about_one_axis_costs_nothing_at_any_speed(seed: int, total_deg: float, speeds: list[float]) -> None:
    poses, _ = turning(seed, total_deg, speeds)
    value, slope = gradient(losses.quaternion_path, poses)
    assert value < 1e-6
    assert slope.isfinite().all()


@given(seeds, st.floats(5, 170), st.floats(1, 60))
def test_leaving_the_axis_or_turning_back_costs(seed: int, total_deg: float, aside_deg: float) -> None:
    poses, axis = turning(seed, total_deg, [1.0, 1.0])
    across = torch.linalg.cross(axis, torch.tensor([0.48, 0.6, 0.64]).double().expand_as(axis))
    aside = poses.clone()
    aside[1] = compose_axis_angle(poses[1], math.radians(aside_deg) * across / across.norm(dim=-1, keepdim=True))
    assert losses.quaternion_path(aside) > 1e-5
    there_and_back = torch.stack([poses[0], poses[2], poses[1]])
    # half the way back and again: once too much, in each of 16 joints
    torch.testing.assert_close(losses.quaternion_path(there_and_back).item(), 4 * math.radians(total_deg))
    beyond, _ = turning(seed, 180 + total_deg, [1.0, 1.0, 1.0])
    assert losses.quaternion_path(beyond) > 1e-3


def test_a_still_hand_costs_nothing_and_has_no_gradient() -> None:
    almost_pi = torch.tensor([0.0, 0.0, math.pi - 1e-9]).double()
    for pose in (torch.zeros(16, 3), random(16, 3), almost_pi.expand(16, 3), torch.eye(3)[:1] * math.pi):
        for dtype in (torch.float32, torch.float64):
            value, slope = gradient(losses.quaternion_path, pose.to(dtype).expand(5, *pose.shape))
            assert value == 0
            assert value.dtype == dtype
            assert (slope == 0).all()


def test_a_step_of_half_a_turn_has_a_finite_gradient() -> None:
    for angle in (math.pi, math.pi - 1e-7, math.pi + 1e-7, 2 * math.pi - 1e-7):
        poses = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, angle], [0.3, 0.0, 0.0]]).double()[:, None]
        value, slope = gradient(losses.quaternion_path, poses)
        assert value.isfinite()
        assert slope.isfinite().all()
    # either name of the same rotation
    poses[1, 0, 2] = math.pi + 0.2
    other = poses.clone()
    other[1, 0, 2] = 0.2 - math.pi
    torch.testing.assert_close(losses.quaternion_path(poses), losses.quaternion_path(other))


def test_thresholded_motion_is_the_excess_over_pairs_of_valid_frames() -> None:
    def twin(poses: Tensor, valid: Tensor) -> Tensor:
        excess = [
            torch.relu(psi(poses[b, t, j], poses[b, t + 1, j]) - 1.0)
            for b in range(B)
            for t in range(T - 1)
            for j in range(J)
            if valid[b, t] and valid[b, t + 1]
        ]
        assert any(value == 0 for value in excess)
        return mean(excess)

    same(lambda x: losses.thresholded_motion(x, 1.0, FRAMES), lambda x: twin(x, FRAMES), POSES)
    same(lambda x: losses.thresholded_motion(x, 1.0), lambda x: twin(x, torch.ones_like(FRAMES)), POSES)
    steps = torch.tensor([0.0, 0.5, 0.6])[:, None, None] * torch.eye(3)[:1]
    assert losses.thresholded_motion(steps, 0.2).item() == pytest.approx(0.15)
    value, slope = gradient(lambda x: losses.thresholded_motion(x, 0.0), POSES[:, :1].expand_as(POSES))
    assert value == 0
    assert (slope == 0).all()


def test_consistency_is_equation_21_as_a_mean_over_frames() -> None:
    def twin(frames: Tensor) -> Tensor:
        return mean([eq_21(sequence) / T for sequence in frames])

    def twin_valid(frames: Tensor) -> Tensor:
        return mean([eq_21(sequence[shown]) / int(shown.sum()) for sequence, shown in zip(frames, FRAMES, strict=True)])

    for loss, at in ((losses.texture_consistency, LIGHTED), (losses.shape_consistency, BETAS)):
        same(loss, twin, at)
        same(lambda x, of=loss: of(x, FRAMES), twin_valid, at)
        torch.testing.assert_close(loss(at[0]), twin(at[:1]))
    both = losses.texture_shape_consistency(LIGHTED, BETAS, FRAMES)
    torch.testing.assert_close(both, twin_valid(LIGHTED) + twin_valid(BETAS))
    # 3 and 4 on either side of their mean
    opposite = torch.stack([torch.tensor([3.0, 4.0]), -torch.tensor([3.0, 4.0])])
    assert losses.shape_consistency(opposite).item() == pytest.approx(5)


@given(seeds, st.integers(1, 7))
def test_a_constant_hand_is_consistent(seed: int, frames: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    lighted, betas = torch.rand(2, 1, 6, 3, generator=generator), torch.randn(2, 1, 10, generator=generator)
    value, slope = gradient(losses.texture_consistency, lighted.expand(2, frames, 6, 3))
    assert value == 0
    assert (slope == 0).all()
    value, slope = gradient(losses.shape_consistency, betas.expand(2, frames, 10))
    assert value == 0
    assert (slope == 0).all()


LOSSES: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], Tensor]] = {
    "E_quat": (losses.quaternion_path, POSES),
    "thresholded": (lambda x, v: losses.thresholded_motion(x, 0.1, v), POSES),
    "texture": (losses.texture_consistency, LIGHTED),
    "shape": (losses.shape_consistency, BETAS),
}


@pytest.mark.parametrize("name", LOSSES)
def test_what_is_not_valid_is_out_of_it_whatever_it_holds(name: str) -> None:
    loss, of = LOSSES[name]
    valid = FRAMES.clone()
    valid[2] = False
    value, slope = gradient(lambda x: loss(x, valid), of)
    torch.testing.assert_close(loss(of[:2], valid[:2]), value)
    torn = of.clone()
    torn[~valid] = torch.nan
    torn_value, torn_slope = gradient(lambda x: loss(x, valid), torn)
    assert torn_value == value > 0
    assert torch.equal(torn_slope, slope)
    assert (slope[~valid] == 0).all()
    nothing, slope = gradient(lambda x: loss(x, torch.zeros_like(valid)), of + torch.nan)
    assert nothing == 0
    assert (slope == 0).all()


@pytest.mark.parametrize("name", LOSSES)
def test_the_number_and_arrangement_of_sequences_do_not_matter(name: str) -> None:
    loss, of = LOSSES[name]
    value = loss(of, FRAMES)
    torch.testing.assert_close(loss(torch.cat([of, of]), torch.cat([FRAMES, FRAMES])), value)
    torch.testing.assert_close(loss(of[:, None], FRAMES[:, None]), value)
    assert loss(of[:0], FRAMES[:0]) == 0
    single, slope = gradient(lambda x: loss(x, FRAMES[:, :1]), of[:, :1])
    assert single == 0  # one frame has no motion
    assert (slope == 0).all()
