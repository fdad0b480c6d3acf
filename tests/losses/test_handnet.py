"""RealisticHands' losses against twins that loop over samples and numbers, written from the equations."""

import math
from collections.abc import Callable
from itertools import product

import pytest
import torch
from torch import Tensor

from handkit import losses
from handkit.geometry.rotations import axis_angle_to_matrix
from tests.losses.common import gradient, random

B, T = 3, 4
Loss = Callable[[Tensor, Tensor, Tensor | None], Tensor]
Twin = Callable[[Tensor, Tensor], list[Tensor]]


def squares(pred: Tensor, target: Tensor) -> list[Tensor]:
    return [(p - t) ** 2 for p, t in zip(pred.flatten(), target.flatten(), strict=True)]


def distance(pred: Tensor, target: Tensor) -> list[Tensor]:
    """Quadratic below 0.01."""
    return [(torch.stack(squares(pred, target)).sum() + 0.01**2).sqrt() - 0.01]


def pose_squares(pred: Tensor, target: Tensor) -> list[Tensor]:
    """Of both writings of the turn the cheaper one."""
    turn, angle = target[:3], float(target[:3].norm())
    writings = [turn, turn * (1 - 2 * math.pi / angle)]
    costs = [squares(pred[:3], one) for one in writings]
    cheaper = min(costs, key=lambda cost: float(torch.stack(cost).detach().sum()))
    return [*cheaper, *squares(pred[3:], target[3:])]


def crossentropy(logits: Tensor, mask: Tensor) -> list[Tensor]:
    p = 1 / (1 + (-logits).exp())
    return [
        -(float(y) * q.log() + (1 - float(y)) * (1 - q).log()) for y, q in zip(mask.flatten(), p.flatten(), strict=True)
    ]


# Loss, twin of one valid element, shape of the valid flags, shape of an element.
LOSSES: dict[str, tuple[Loss, Twin, tuple[int, ...], tuple[int, ...]]] = {
    "pose": (losses.pose_mse, pose_squares, (B,), (48,)),
    "shape": (losses.values_mse, squares, (B,), (10,)),
    "joints_2d": (losses.points_mse, squares, (B, 21), (2,)),
    "vertices": (losses.points_mse, squares, (B, T, 7), (3,)),
    "distance_3d": (losses.points_distance, distance, (B, T, 7), (3,)),
    "mask": (losses.mask_bce, crossentropy, (B,), (4, 5)),
}


def drawn(name: str) -> tuple[Tensor, Tensor, Tensor]:
    _, _, flags, element = LOSSES[name]
    pred, target = 4 * random(*flags, *element) - 2, 4 * random(*flags, *element, seed=1) - 2
    target = (target > 0).double() if name == "mask" else target
    valid = random(*flags, seed=2) < 0.7
    valid[0], valid[1] = True, False
    return pred, target, valid


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_the_mean_of_its_equation_over_what_is_valid(name: str) -> None:
    loss, twin, flags, _ = LOSSES[name]
    pred, target, valid = drawn(name)

    def slow(of: Tensor) -> Tensor:
        costs = [cost for at in product(*map(range, flags)) if valid[at] for cost in twin(of[at], target[at])]
        return torch.stack(costs).mean()

    value, slope = gradient(lambda p: loss(p, target, valid), pred)
    expected, expected_slope = gradient(slow, pred)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(slope, expected_slope)
    assert (slope[1] == 0).all()
    torch.testing.assert_close(loss(pred, target, None), loss(pred, target, torch.ones_like(valid)))
    torch.testing.assert_close(loss(*(torch.cat([values, values]) for values in (pred, target, valid))), value)


@pytest.mark.parametrize("name", LOSSES)
def test_what_is_not_valid_costs_nothing_whatever_stands_there(name: str) -> None:
    loss, *_ = LOSSES[name]
    pred, target, valid = drawn(name)
    for values in [torch.nan, torch.inf] if name != "mask" else [torch.nan]:
        hidden = target.clone()
        hidden[~valid] = values
        value, slope = gradient(lambda p, to=hidden: loss(p, to, valid), pred)
        torch.testing.assert_close(value, loss(pred, target, valid))
        assert slope.isfinite().all()
        value, slope = gradient(lambda p, to=hidden: loss(p, to, torch.zeros_like(valid)), pred)
        assert value == 0
        assert (slope == 0).all()
    assert loss(pred[:0], target[:0], valid[:0]) == 0


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "mask"])
def test_a_loss_is_nothing_at_its_target(name: str) -> None:
    loss, *_ = LOSSES[name]
    _, target, valid = drawn(name)
    value, slope = gradient(lambda p: loss(p, target, valid), target)
    assert value == 0
    assert (slope == 0).all()


def test_both_writings_of_a_turn_are_one_target() -> None:
    target = torch.zeros(2, 48, dtype=torch.float64)
    target[0, :3] = torch.tensor([2.0, -1.5, 1.2])
    pred = target.clone()
    pred[0, :3] *= 1 - 2 * math.pi / float(target[0, :3].norm())
    torch.testing.assert_close(axis_angle_to_matrix(pred[0, :3]), axis_angle_to_matrix(target[0, :3]))
    assert losses.pose_mse(pred, target, None) < 1e-25
    pred[0, 3:6] = pred[0, :3]
    assert losses.pose_mse(pred, target, None) == pytest.approx(float(pred[0, 3:6].square().sum()) / 96)


def test_no_turn_has_one_writing() -> None:
    none = torch.zeros(3, dtype=torch.float64)
    assert torch.equal(losses.nearest_writing(none, torch.tensor([6.0, 0, 0]).double()), none)
    value, slope = gradient(lambda p: losses.pose_mse(p, torch.zeros(1, 48).double()), torch.ones(1, 48).double() * 3)
    assert value == 9
    assert slope.isfinite().all()


def test_a_turn_beyond_half_a_round_is_learned_the_short_way() -> None:
    pred, target = torch.zeros(1, 48).double(), torch.zeros(1, 48).double()
    pred[0, 0], target[0, 0] = 3.0, -3.0  # 16 degrees apart through pi
    value, slope = gradient(lambda p: losses.pose_mse(p, target), pred)
    assert value == pytest.approx((2 * math.pi - 6) ** 2 / 48)
    assert slope[0, 0] < 0  # onwards past pi


def test_regularizers_by_hand() -> None:
    value, slope = gradient(losses.shape_norm, torch.tensor([[1.0, 2.0], [0.0, 0.0]]).double())
    assert value == 2.5
    torch.testing.assert_close(slope, torch.tensor([[1.0, 2.0], [0.0, 0.0]]).double())
    value, slope = gradient(losses.scale_behind, torch.tensor([3.0, 0.0, -2.0, -1.0]).double())
    assert value == 1.25
    torch.testing.assert_close(slope, torch.tensor([0.0, 0, -1.0, -0.5]).double())
    assert losses.shape_norm(torch.zeros(0, 10)) == losses.scale_behind(torch.zeros(0)) == 0


def test_a_sure_wrong_pixel_costs_its_logit_and_never_more_than_finite() -> None:
    logits = torch.tensor([[[200.0, -200.0]]]).double()
    value, slope = gradient(lambda p: losses.mask_bce(p, torch.tensor([[[0, 0]]], dtype=torch.uint8)), logits)
    assert value == 100
    assert slope.isfinite().all()
    assert losses.mask_bce(logits, torch.tensor([[[True, False]]])) < 1e-80


def test_half_precision_is_compared_in_float32() -> None:
    for loss, size in ((losses.pose_mse, 48), (losses.values_mse, 10)):
        value, slope = gradient(lambda p, loss=loss: loss(p, torch.zeros_like(p)), torch.full((1, size), 300.0).half())
        assert value == 300.0**2 or loss is losses.pose_mse
        assert value.isfinite()
        assert slope.dtype == torch.float16
    assert losses.points_mse(torch.full((1, 2, 3), 300.0).half(), torch.zeros(1, 2, 3).half()) == 300.0**2
    assert losses.mask_bce(torch.full((1, 2, 2), 12.0).half(), torch.zeros(1, 2, 2).half()) == pytest.approx(12, 1e-4)
