"""Depth from disparity: exact for any rig and any crops, and what cannot be measured."""

import math

import pytest
import torch
from torch import Tensor

from handkit.errors import HandkitError
from handkit.geometry.cameras import project
from handkit.geometry.disparity import (
    depth_per_pixel,
    is_measurable,
    rectified_points,
    rectify,
    triangulate,
)
from handkit.geometry.images import K_after_crop, crop_transform, transform_points
from handkit.geometry.rotations import axis_angle_to_matrix
from handkit.hand import ManoLayer, load_hand

BASELINE = 0.12
K = torch.tensor([[350.0, 0, 320], [0, 352, 180], [0, 0, 1]], dtype=torch.float64)


def rig(angle: tuple[float, float, float], centre: tuple[float, float, float]) -> Tensor:
    """[R|t] of a right camera at `centre` of the left one's frame, turned by an axis-angle."""
    R = axis_angle_to_matrix(torch.tensor(angle, dtype=torch.float64))
    return torch.cat([R, -(R @ torch.tensor(centre, dtype=torch.float64))[:, None]], 1)


RECTIFIED = rig((0, 0, 0), (BASELINE, 0, 0))
RIGS = {
    "rectified": RECTIFIED,
    "toed in": rig((0.01, 0.35, -0.02), (0.2, 0.01, 0.02)),
    "far apart": rig((0.05, 1.2, 0.1), (0.5, -0.05, 0.35)),
    "turned about the axis": rig((0, 0, 0.6), (0.1, 0.02, 0)),
    "above one another": rig((0.1, 0, 0), (0, -0.15, 0)),
    "exchanged": rig((0, 0, 0), (-BASELINE, 0, 0)),
}


def hand_points() -> Tensor:
    turn = axis_angle_to_matrix(torch.tensor([[0.3, 1.0, -0.4], [2.0, 0.1, 0.3]], dtype=torch.float64))
    mesh = ManoLayer(load_hand("open", "right"))().vertices.double()
    return mesh @ turn.mT + torch.tensor([[[0.02, -0.01, 0.5]], [[-0.1, 0.05, 0.7]]], dtype=torch.float64)


def seen(points: Tensor, right_from_left: Tensor) -> tuple[Tensor, Tensor]:
    return points, points @ right_from_left[:, :3].mT + right_from_left[:, 3]


@pytest.mark.parametrize("name", RIGS)
def test_points_come_back_from_any_rig(name: str) -> None:
    left, right = seen(hand_points(), RIGS[name])
    both = RIGS[name].expand(2, 3, 4)
    cameras = K.expand(2, 3, 3)
    found = triangulate(project(left, cameras), project(right, cameras), cameras, cameras, both)
    assert float((found.left - left).norm(dim=-1).max()) < 1e-9
    assert float((found.right - right).norm(dim=-1).max()) < 1e-9
    assert float(found.gap.abs().max()) < 1e-9
    assert bool((found.disparity > 0).all())
    assert bool(is_measurable(found).all())


@pytest.mark.parametrize("name", RIGS)
def test_crops_of_other_places_and_scales_say_the_same(name: str) -> None:
    left, right = (x.float() for x in seen(hand_points(), RIGS[name]))
    both = RIGS[name].expand(2, 3, 4).float()
    crops, cameras = [], []
    for points, centre, side, size in (
        (left, [[300.0, 150], [200, 220]], [190.0, 141.5], 128),
        (right, [[212.25, 171], [140, 199]], [233.0, 160.0], 96),
    ):
        middle, sides = torch.tensor(centre), torch.tensor(side)
        crop = crop_transform(middle, sides, size)
        crops.append(transform_points(project(points, K.float().expand(2, 3, 3)), crop))
        cameras.append(K_after_crop(K.float().expand(2, 3, 3), middle, sides, size))
    found = triangulate(crops[0], crops[1], cameras[0], cameras[1], both)
    assert float((found.left - left).norm(dim=-1).max()) < 1e-4
    assert float((found.right - right).norm(dim=-1).max()) < 1e-4


def test_of_rectified_cameras_it_is_the_printed_formula() -> None:
    left, right = seen(hand_points()[0], RECTIFIED)
    u_left, u_right = project(left, K)[:, 0], project(right, K)[:, 0]
    found = triangulate(project(left, K), project(right, K), K, K, RECTIFIED)
    Z = 350 * BASELINE / (u_left - u_right)
    torch.testing.assert_close(found.left[:, 2], Z)
    torch.testing.assert_close(found.left[:, 0], (u_left - 320) * Z / 350)
    torch.testing.assert_close(found.disparity, (u_left - u_right) / 350)
    pair = rectify(RECTIFIED)
    torch.testing.assert_close(pair.left, torch.eye(3).double())
    torch.testing.assert_close(pair.right, torch.eye(3).double())
    assert float(pair.baseline_m) == pytest.approx(BASELINE)


def test_a_pixel_at_half_a_metre_is_two_and_a_half_millimetres() -> None:
    """STB's camera: f = 822.79 px, B = 120.054 mm; at 500 mm the disparity is 197.6 px."""
    f, B, Z = 822.79041, 0.120054, 0.5
    camera = torch.tensor([[f, 0, 318.47345], [0, f, 250.31296], [0, 0, 1]], dtype=torch.float64)
    both = rig((0, 0, 0), (B, 0, 0))
    left, right = seen(torch.tensor([[0.03, -0.02, Z]], dtype=torch.float64), both)
    at, other = project(left, camera), project(right, camera)
    assert float((at - other)[0, 0]) == pytest.approx(197.6, abs=0.05)
    off = triangulate(at - torch.tensor([1.0, 0]), other, camera, camera, both)
    assert 1000 * float(off.left[0, 2] - Z) == pytest.approx(2.5, abs=0.05)
    assert 1000 * float(depth_per_pixel(*torch.tensor([Z, f, B]))) == pytest.approx(2.5, abs=0.05)


def test_gap_is_across_the_baseline_and_y_the_mean_of_both() -> None:
    left, right = seen(hand_points()[0], RECTIFIED)
    shifted = project(right, K) + torch.tensor([0, 7.0])
    found = triangulate(project(left, K), shifted, K, K, RECTIFIED)
    torch.testing.assert_close(found.gap, torch.full((778,), -7.0 / 352, dtype=torch.float64))
    torch.testing.assert_close(found.left[:, [0, 2]], left[:, [0, 2]])
    torch.testing.assert_close(project(found.left, K)[:, 1], project(left, K)[:, 1] + 3.5)


def test_disparities_that_make_no_sense_are_far_away_without_a_gradient() -> None:
    at = torch.tensor([[300.0, 200], [310, 200]], dtype=torch.float64)
    other = (at + torch.tensor([[5.0, 0], [-0.001, 0]])).requires_grad_()
    found = triangulate(at, other, K, K, RECTIFIED)
    torch.testing.assert_close(found.left[:, 2], torch.full((2,), 5.0, dtype=torch.float64))
    assert not bool(is_measurable(triangulate(at[:1], other[:1], K, K, RECTIFIED)))
    (slope,) = torch.autograd.grad(found.left[:, 2].sum(), other)
    assert float(slope.abs().max()) == 0


def test_gradients_are_those_of_differences() -> None:
    left, right = seen(hand_points()[:1, ::100], RIGS["toed in"])
    cameras, both = K.expand(1, 3, 3), RIGS["toed in"][None]
    inputs = (project(left, cameras).requires_grad_(), project(right, cameras).requires_grad_())

    def points(a: Tensor, b: Tensor) -> Tensor:
        found = triangulate(a, b, cameras, cameras, both)
        return torch.stack([found.left, found.right])

    assert torch.autograd.gradcheck(points, inputs)


@pytest.mark.parametrize("centre", [(0.0, 0, 0), (0.0005, 0, 0)])
def test_cameras_in_one_place_are_refused(centre: tuple[float, float, float]) -> None:
    with pytest.raises(HandkitError, match=r"stand \S+ mm apart"):
        rectify(torch.stack([RECTIFIED, rig((0, 0, 0), centre)]))


def test_cameras_before_one_another_are_refused() -> None:
    with pytest.raises(HandkitError, match="before the other"):
        rectify(rig((0, 0, 0), (0.002, 0, 0.3)))


def test_steep_rays_stay_finite() -> None:
    turn = axis_angle_to_matrix(torch.tensor([0, math.pi / 2, 0], dtype=torch.float64))
    found = rectified_points(torch.tensor([[320.0, 180], [3000, 180]], dtype=torch.float64), K, turn)
    assert bool(found.isfinite().all())
    assert float(found.abs().max()) <= 10
