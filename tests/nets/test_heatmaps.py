"""Heat maps: equal to a loop over pixels, as high as the score, empty where nothing is known."""

import math

import pytest
import torch
from torch import Tensor

from handkit.nets import keypoint_heatmaps


def by_a_loop(points: Tensor, scores: Tensor, size: int, sigma: float) -> Tensor:
    maps = torch.zeros(len(points), 21, size, size, dtype=points.dtype)
    for n in range(len(points)):
        for j in range(21):
            x, y = points[n, j].tolist()
            if not (math.isfinite(x) and math.isfinite(y)):
                continue
            for row in range(size):
                for column in range(size):
                    far = ((column + 0.5) / size - x) ** 2 + ((row + 0.5) / size - y) ** 2
                    maps[n, j, row, column] = scores[n, j] * math.exp(-far / (2 * sigma**2))
    return maps


@pytest.mark.parametrize(("size", "sigma"), [(8, 0.2), (13, 0.05)])
def test_it_is_a_loop_over_pixels(size: int, sigma: float) -> None:
    generator = torch.Generator().manual_seed(0)
    points = 1.5 * torch.rand(2, 21, 2, generator=generator, dtype=torch.float64) - 0.25
    scores = torch.rand(2, 21, generator=generator, dtype=torch.float64)
    points[0, 3] = math.nan
    points[1, 4, 1] = math.inf
    scores[0, 5] = 0
    found = keypoint_heatmaps(points, scores, size=size, sigma=sigma)
    torch.testing.assert_close(found, by_a_loop(points, scores, size, sigma), rtol=1e-9, atol=1e-12)


def test_the_height_is_the_score_and_the_place_is_the_points() -> None:
    """On a pixel's centre: the third column, the sixth row of eight."""
    points = torch.tensor([2.5 / 8, 5.5 / 8]).expand(1, 21, 2)
    scores = torch.linspace(0, 1, 21)[None]
    maps = keypoint_heatmaps(points, scores, size=8, sigma=0.05)
    torch.testing.assert_close(maps[0, :, 5, 2], scores[0])
    assert (maps[0, 1:].flatten(1).argmax(1) == 5 * 8 + 2).all()
    assert not maps[0, 0].any()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_an_empty_channel(bad: float) -> None:
    points, scores = torch.full((1, 21, 2), 0.5), torch.ones(1, 21)
    points[0, 0, 0], points[0, 1, 1], scores[0, 2] = bad, bad, bad
    maps = keypoint_heatmaps(points, scores, size=16, sigma=0.1)
    assert not maps[0, :3].any()
    assert (maps[0, 3:].amax((1, 2)) > 0.9).all()


def test_points_outside_show_what_reaches_in() -> None:
    points = torch.tensor([[-0.05, 0.5], [1.05, 0.5], [0.5, -3.0], [1e30, 0.5]]).repeat(6, 1)[:21][None]
    maps = keypoint_heatmaps(points, torch.ones(1, 21), size=16, sigma=0.1)
    left, right, above, beyond = maps[0, :4]
    assert 0.5 < left[:, 0].max() < 1
    assert (left.diff(dim=1) < 0).all()
    torch.testing.assert_close(right, left.flip(1))
    assert above.max() < 1e-6
    assert not beyond.any()


def test_gradients_of_points_and_scores() -> None:
    generator = torch.Generator().manual_seed(1)
    points = torch.rand(1, 21, 2, generator=generator, dtype=torch.float64)
    scores = torch.rand(1, 21, generator=generator, dtype=torch.float64)
    points[0, 2] = math.nan
    inputs = (points.requires_grad_(), scores.requires_grad_())
    keypoint_heatmaps(*inputs, size=6, sigma=0.2).square().sum().backward()
    assert all(value.grad is not None and value.grad.isfinite().all() for value in inputs)
    known = torch.arange(21) != 2
    assert (points.grad[0, known] != 0).all()
    assert not points.grad[0, 2].any()
    assert torch.autograd.gradcheck(
        lambda *some: keypoint_heatmaps(*some, size=4, sigma=0.3), (torch.rand_like(points).requires_grad_(), scores)
    )


def test_autocast_leaves_them_as_they_are() -> None:
    points, scores = torch.rand(2, 21, 2), torch.rand(2, 21)
    expected = keypoint_heatmaps(points, scores, size=16, sigma=0.05)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(keypoint_heatmaps(points, scores, size=16, sigma=0.05), expected)
