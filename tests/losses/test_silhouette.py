"""Silhouettes and masks: the published sums, slopes that lead somewhere, finite gradients."""

import numpy as np
import pytest
import torch
from torch import Tensor

from handkit import losses
from tests.losses.common import gradient, random


def test_silhouette_is_the_published_sum_over_its_pixels() -> None:
    pred, target = random(2, 5, 7), random(2, 5, 7, seed=1)
    expected = [((pred[i] - target[i]) ** 2).sum() for i in range(2)]
    torch.testing.assert_close(losses.silhouette_l2(pred, target, each=True) * 35, torch.stack(expected))
    torch.testing.assert_close(losses.silhouette_l2(pred, target) * 35, torch.stack(expected).mean())
    valid = torch.zeros(2, 5, 7, dtype=torch.bool)
    valid[0, 2, 3] = True
    value, slope = gradient(lambda p: losses.silhouette_l2(p, target, valid), pred)
    torch.testing.assert_close(value, (pred[0, 2, 3] - target[0, 2, 3]) ** 2 / 2)
    assert (slope != 0).sum() == 1


def test_coarse_silhouette_slopes_towards_what_is_not_touched() -> None:
    """A square left of its target: the fine loss has no slope between them, the coarse one has, and both end at 0."""
    pred, target = torch.zeros(32, 32), torch.zeros(32, 32)
    pred[12:20, 4:12] = 1
    target[12:20, 16:24] = 1
    value, slope = gradient(lambda p: losses.silhouette_coarse(p, target, window=16), pred)
    fine = gradient(lambda p: losses.silhouette_l2(p, target), pred)[1]
    assert value > 0
    # More silhouette just right of the square would help, just left of it would not.
    assert slope[16, 13] < slope[16, 2]
    assert fine[16, 13] == fine[16, 2] == 0
    value, slope = gradient(lambda p: losses.silhouette_coarse(p, target, window=16), target)
    assert value == 0
    assert (slope == 0).all()
    valid = target == 0
    assert losses.silhouette_coarse(target, torch.zeros(32, 32), valid, window=8) == 0
    both = losses.silhouette_coarse(torch.stack([pred, target]), torch.stack([target] * 2), window=16, each=True)
    torch.testing.assert_close(both[0], losses.silhouette_coarse(pred, target, window=16))
    assert both[1] == 0


def test_mask_fitting_leads_into_the_mask() -> None:
    mask = np.zeros((20, 30), bool)
    mask[5:10, 8:15] = True
    distance = torch.from_numpy(losses.mask_distance_px(mask)).double()
    inside = torch.tensor([[10.5, 7.5], [8.5, 5.5]], dtype=torch.float64)
    value, slope = gradient(lambda p: losses.mask_fitting(p, distance), inside)
    assert value < 1e-5
    assert slope.isfinite().all()
    right = torch.tensor([[20.5, 7.5]], dtype=torch.float64)
    value, slope = gradient(lambda p: losses.mask_fitting(p, distance), right)
    assert value == pytest.approx(6, abs=1e-5)
    np.testing.assert_allclose(slope.numpy(), [[1, 0]], atol=1e-5)
    away = torch.tensor([[10.5, -40.0]], dtype=torch.float64)
    value, slope = gradient(lambda p: losses.mask_fitting(p, distance), away)
    assert value == pytest.approx(45.5, abs=1e-4)
    np.testing.assert_allclose(slope.numpy(), [[0, -1]], atol=1e-5)
    assert losses.mask_fitting(right, distance, torch.zeros(1, dtype=torch.bool)) == 0
    assert not losses.mask_distance_px(np.zeros((3, 4), bool)).any()
    batch = losses.mask_fitting(torch.stack([right, away]), distance.expand(2, 20, 30), each=True)
    np.testing.assert_allclose(batch.numpy(), [6, 45.5], atol=1e-4)


def test_mask_fitting_is_the_mean_over_frames_of_bilinear_distances() -> None:
    points, distance = 14 * random(2, 3, 5, 2) - 2, random(2, 3, 8, 10, seed=1)
    valid = random(2, 3, 5, seed=2) < 0.6
    valid[1, 2] = False
    value, slope = gradient(lambda p: losses.mask_fitting(p, distance, valid), points)
    twin, twin_slope = gradient(lambda p: slow_mask_fitting(p, distance, valid), points)
    torch.testing.assert_close(value, twin, atol=1e-5, rtol=0)
    torch.testing.assert_close(slope, twin_slope, atol=1e-4, rtol=1e-4)


def slow_mask_fitting(points: Tensor, distance: Tensor, valid: Tensor) -> Tensor:
    """A point at a time."""
    height, width = distance.shape[-2:]
    frames = []
    for b, t in np.ndindex(*points.shape[:2]):
        found = []
        for n in np.flatnonzero(valid[b, t].numpy()):
            at = points[b, t, n] - 0.5
            inside = torch.stack([at[0].clamp(0, width - 1), at[1].clamp(0, height - 1)])
            x, y = min(int(inside[0]), width - 2), min(int(inside[1]), height - 2)
            corners = distance[b, t, y : y + 2, x : x + 2]
            right, below = inside[0] - x, inside[1] - y
            read = torch.stack([1 - below, below]) @ corners @ torch.stack([1 - right, right])
            beyond = (at - inside).norm() if (at != inside).any() else torch.zeros(())
            found.append(read + beyond)
        frames.append(torch.stack(found).mean() if found else torch.zeros(()).double())
    return torch.stack(frames).mean()


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_mask_fitting_computes_in_float32(half: torch.dtype) -> None:
    points = (100 * random(2, 3, 9, 2) + 6).to(half)
    distance = (30 * random(2, 3, 112, 112, seed=1)).to(half)
    with torch.autocast("cpu", half):
        value, slope = gradient(lambda p: losses.mask_fitting(p, distance), points)
    assert value.dtype == torch.float32
    assert slope.dtype == half
    torch.testing.assert_close(value, losses.mask_fitting(points.float(), distance.float()))


def test_mask_fitting_of_a_point_that_is_no_number_is_none() -> None:
    points = torch.tensor([[[2.0, torch.nan]], [[torch.inf, 1.0]], [[2.0, 1.0]]])
    value = losses.mask_fitting(points, torch.zeros(3, 4, 5), each=True)
    assert value[0].isnan()
    assert value[1].isinf()
    assert value[2] == 0
    one = torch.full((1, 1, 1), 3.0)  # the smallest image
    assert losses.mask_fitting(torch.tensor([[[0.5, 0.5]]]), one) == 3
