"""What two views must agree in: values by hand, gains that do not matter, hands that do not count."""

import pytest
import torch

from handkit import losses
from tests.losses.common import gradient, random

B, V = 3, 40


def test_epipolar_gap_is_hubers_over_its_width() -> None:
    gap = torch.tensor([[0.0, 0.01, -0.05]], dtype=torch.float64)
    expected = (0 + 0.5 * 0.01**2 / 0.02 + (0.05 - 0.01)) / 3
    assert float(losses.epipolar_gap(gap, soft=0.02)) == pytest.approx(expected)
    both = torch.cat([gap, 100 * gap])
    assert float(losses.epipolar_gap(both, torch.tensor([True, False]), soft=0.02)) == pytest.approx(expected)


def test_colors_are_read_between_pixel_centres() -> None:
    image = torch.zeros(1, 3, 4, 4, dtype=torch.float64)
    image[0, 0, 1] = torch.tensor([0.0, 1.0, 2.0, 3.0])
    points = torch.tensor([[[1.5 / 4, 1.5 / 4], [2.0 / 4, 1.5 / 4], [2.5 / 4, 2.0 / 4], [9.0, 1.5 / 4]]]).double()
    found = losses.sample_colors(image, points)
    torch.testing.assert_close(found[0, :, 0], torch.tensor([1.0, 1.5, 1.0, 3.0]).double())
    assert found.shape == (1, 4, 3)


def test_gain_and_offset_of_either_view_do_not_matter() -> None:
    left, right = random(B, V, 3), random(B, V, 3, seed=1)
    visible = random(B, V, seed=2) > 0.3
    plain = losses.appearance_consistency(left, right, visible, soft=0.5)
    gains = torch.tensor([3.0, 1.0, 2.0], dtype=torch.float64)
    lit = losses.appearance_consistency(left * gains + 0.2, 1.7 * right, visible, soft=0.5)
    assert float(lit) == pytest.approx(float(plain), rel=5e-3)
    assert float(losses.appearance_consistency(left, 2 * left + 0.1, visible, soft=0.5)) < 1e-4
    assert float(plain) > 0.1


def test_only_vertices_that_both_see_count_and_hands_with_enough_of_them() -> None:
    left, right = random(B, V, 3), random(B, V, 3, seed=1)
    visible = torch.zeros(B, V, dtype=torch.bool)
    visible[0, :20] = visible[1, :20] = True
    visible[2, :5] = True
    value, slope = gradient(lambda x: losses.appearance_consistency(x, right, visible, soft=0.5), left)
    assert float(slope[2].abs().max()) == 0
    assert float(slope[0, 20:].abs().max()) == 0
    assert float(slope[0, :20].abs().max()) > 0
    alone = losses.appearance_consistency(left[:2], right[:2], visible[:2], soft=0.5)
    assert float(value) == pytest.approx(float(alone))


def test_even_colors_have_finite_gradients() -> None:
    even = torch.full((B, V, 3), 0.5, dtype=torch.float64)
    value, slope = gradient(
        lambda x: losses.appearance_consistency(x, even, torch.ones(B, V, dtype=torch.bool), soft=0.5), even
    )
    assert float(value) == 0
    assert bool(slope.isfinite().all())


def test_one_shape_compares_frames_of_one_hand_alone() -> None:
    lengths = torch.tensor([[2.0, 4.0], [2.2, 3.6], [9.0, 9.0]], dtype=torch.float64)
    hands = torch.tensor([7, 7, 3])
    expected = (0.1 / 2.1 + 0.2 / 3.8) / 2
    value, slope = gradient(lambda x: losses.one_shape(x, hands), lengths)
    assert float(value) == pytest.approx(expected)
    assert float(slope[2].abs().max()) == 0
    assert float(losses.one_shape(lengths, torch.tensor([1, 2, 3]))) == 0
    assert float(losses.one_shape(torch.stack([lengths[0], lengths[0]]), torch.tensor([1, 1]))) == pytest.approx(0)


def test_distance_from_the_prior() -> None:
    prior = torch.zeros(2, 4, 2, dtype=torch.float64)
    points = prior + torch.tensor([3.0, 4.0])
    assert float(losses.prior_distance(points, prior)) == pytest.approx(5)
    points[1] = 0
    assert float(losses.prior_distance(points, prior, torch.tensor([True, False]))) == pytest.approx(5)
    assert bool(gradient(lambda x: losses.prior_distance(x, prior), prior)[1].isfinite().all())
