"""SeqHAND's losses against twins that loop over batch, frames and joints, written from the equations."""

from collections.abc import Callable
from itertools import pairwise, product

import pytest
import torch
from torch import Tensor

from handkit import losses
from tests.losses.common import gradient, random

B, T = 3, 4
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
Twin = Callable[[Tensor, Tensor, Tensor], list[Tensor]]


def norm_1(a: Tensor, b: Tensor) -> Tensor:
    return sum((abs(x - y) for x, y in zip(a, b, strict=True)), torch.zeros(()).double())


def norm_2_squared(a: Tensor, b: Tensor) -> Tensor:
    return sum(((x - y) ** 2 for x, y in zip(a, b, strict=True)), torch.zeros(()).double())


def eq_8(pred: Tensor, target: Tensor, valid: Tensor) -> list[Tensor]:
    return [norm_1(pred[at], target[at]) for at in product(*map(range, valid.shape)) if valid[at]]


def eq_9_10_13(pred: Tensor, target: Tensor, valid: Tensor) -> list[Tensor]:
    return [norm_2_squared(pred[at], target[at]) for at in product(*map(range, valid.shape)) if valid[at]]


def eq_9_from_root(pred: Tensor, target: Tensor, valid: Tensor) -> list[Tensor]:
    return [
        norm_2_squared(pred[b, t, j] - pred[b, t, 2], target[b, t, j] - target[b, t, 2])
        for b, t, j in product(*map(range, valid.shape))
        if valid[b, t, j] and valid[b, t, 2]
    ]


LOSSES: dict[str, tuple[Loss, Twin, tuple[int, ...], int]] = {
    "eq 8": (losses.joints_2d_l1, eq_8, (5,), 2),
    "eq 9": (losses.joints_3d_l2, eq_9_10_13, (5,), 3),
    "eq 9, root": (lambda p, t, v: losses.joints_3d_l2(p, t, v, root=2), eq_9_from_root, (5,), 3),
    "eq 10": (losses.vertices_l2, eq_9_10_13, (7,), 3),
    "eq 13, theta": (losses.parameter_l2, eq_9_10_13, (), 10),
    "eq 13, s": (losses.parameter_l2, eq_9_10_13, (), 1),
}


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_the_mean_of_its_equation_over_what_is_valid(name: str) -> None:
    loss, twin, points, size = LOSSES[name]
    pred, target = random(B, T, *points, size), random(B, T, *points, size, seed=1)
    valid = random(B, T, *points, seed=2) < 0.6
    valid[1] = False
    value, slope = gradient(lambda p: loss(p, target, valid), pred)
    expected, expected_slope = gradient(lambda p: torch.stack(twin(p, target, valid)).mean(), pred)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(slope, expected_slope)
    assert (slope[1] == 0).all()
    everything = torch.ones_like(valid)
    torch.testing.assert_close(loss(pred, target, None), loss(pred, target, everything))
    twice = [torch.cat([values, values]) for values in (pred, target, valid)]
    torch.testing.assert_close(loss(*twice), value)


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_finite_at_its_target_and_without_any(name: str) -> None:
    loss, _, points, size = LOSSES[name]
    target = random(B, T, *points, size)
    valid = torch.ones(B, T, *points, dtype=torch.bool)
    for of, some in ((target, valid), (target + torch.nan, ~valid)):
        value, slope = gradient(lambda p, of=of, some=some: loss(p, of, some), target)
        assert value == 0
        assert (slope == 0).all()
    hidden = valid.clone()
    hidden[0, 1] = False
    target[0, 1] = torch.nan
    value, slope = gradient(lambda p: loss(p, target, hidden), random(B, T, *points, size, seed=1))
    assert value.isfinite()
    assert slope.isfinite().all()
    assert loss(target[:0], target[:0], valid[:0]) == 0


def eq_12(theta: Tensor, beta: Tensor, weight: float, valid: Tensor) -> list[Tensor]:
    return [
        norm_2_squared(beta[b, before], beta[b, now]) + weight * norm_2_squared(theta[b, before], theta[b, now])
        for b in range(len(theta))
        for before, now in pairwise(range(theta.shape[1]))
        if valid[b, before] and valid[b, now]
    ]


def test_temporal_consistency_is_equation_12_over_pairs_of_valid_frames() -> None:
    theta, beta = random(B, T, 6), random(B, T, 10, seed=1)
    valid = torch.tensor([[1, 1, 1, 1], [1, 0, 1, 1], [0, 1, 0, 1]], dtype=torch.bool)
    both = torch.cat([theta, beta], -1)

    def loss(of: Tensor) -> Tensor:
        return losses.temporal_consistency(of[..., :6], of[..., 6:], 2e-4, valid)

    def twin(of: Tensor) -> Tensor:
        pairs = eq_12(of[..., :6], of[..., 6:], 2e-4, valid)
        assert len(pairs) == 4
        return torch.stack(pairs).mean()

    value, slope = gradient(loss, both)
    expected, expected_slope = gradient(twin, both)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(slope, expected_slope)
    assert (slope[2] == 0).all()
    everything = torch.ones_like(valid)
    torch.testing.assert_close(
        losses.temporal_consistency(theta, beta, 0.01), losses.temporal_consistency(theta, beta, 0.01, everything)
    )


@pytest.mark.parametrize("valid", [None, torch.ones(B, 1, dtype=torch.bool)])
def test_one_frame_has_no_change_in_time(valid: Tensor | None) -> None:
    value, slope = gradient(
        lambda of: losses.temporal_consistency(of[..., :6], of[..., 6:], 0.01, valid), random(B, 1, 16)
    )
    assert value == 0
    assert (slope == 0).all()
    still = random(B, 1, 16).expand(B, T, 16)
    value, slope = gradient(lambda of: losses.temporal_consistency(of[..., :6], of[..., 6:], 0.01), still)
    assert value == 0
    assert (slope == 0).all()


def test_half_precision_is_compared_in_float32() -> None:
    pred, target = torch.full((1, 1, 3), 300.0).half(), torch.zeros(1, 1, 3).half()
    value, slope = gradient(lambda p: losses.joints_3d_l2(p, target), pred)
    assert value == 3 * 300.0**2  # beyond float16
    assert slope.dtype == torch.float16
    assert (slope == 600).all()


def test_root_aligned_points_have_the_root_at_zero() -> None:
    vertices, joints = random(2, 4, 3), random(2, 5, 3, seed=1)
    torch.testing.assert_close(losses.root_aligned(joints, joints, 3)[:, 3], torch.zeros(2, 3).double())
    torch.testing.assert_close(losses.root_aligned(vertices, joints, 3)[1, 2], vertices[1, 2] - joints[1, 3])
