import math

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import gradcheck

from handkit.geometry import (
    K_from_focal,
    K_from_fov,
    axis_angle_to_matrix,
    backproject,
    crop_camera_to_full,
    default_K,
    full_to_crop_camera,
    full_to_weak,
    project,
    weak_perspective,
    weak_to_full,
)

K_SKEWED = torch.tensor([[600.0, 7.0, 310.0], [0, 520.0, 250.0], [0, 0, 1]], dtype=torch.float64)
coordinates = st.floats(-0.3, 0.3)


def hand_like(*batch, seed=0):
    generator = torch.Generator().manual_seed(seed)
    points = 0.1 * torch.randn(*batch, 21, 3, generator=generator, dtype=torch.float64)
    return points + torch.tensor([0.02, -0.03, 0.6], dtype=torch.float64)


def test_project_matches_opencv():
    points = hand_like()
    K = K_SKEWED.clone()
    K[0, 1] = 0  # OpenCV has no skew
    expected, _ = cv2.projectPoints(points.numpy(), np.zeros(3), np.zeros(3), K.numpy(), None)
    assert np.allclose(project(points, K).numpy(), expected[:, 0], atol=1e-9)


def test_project_is_the_homogeneous_product():
    points = hand_like()
    homogeneous = points @ K_SKEWED.T
    assert torch.allclose(project(points, K_SKEWED), homogeneous[:, :2] / homogeneous[:, 2:])


@given(coordinates, coordinates, st.floats(0.01, 5), st.floats(-30, 30))
def test_backproject_undoes_project(x, y, z, skew):
    points = torch.tensor([[x, y, z]], dtype=torch.float64)
    K = K_SKEWED.clone()
    K[0, 1] = skew
    assert torch.allclose(backproject(project(points, K), points[:, 2], K), points, atol=1e-10)


@given(st.floats(-1, 1e-3), coordinates)
def test_depth_behind_the_camera_stays_finite(z, x):
    points = torch.tensor([[x, 0.1, z]], dtype=torch.float64, requires_grad=True)
    uv = project(points, K_SKEWED)
    (gradient,) = torch.autograd.grad(uv.sum(), points)
    assert uv.isfinite().all()
    assert gradient.isfinite().all()
    assert gradient[0, 2] == 0


def test_batches_broadcast():
    points, K = hand_like(3, 2), torch.stack([K_SKEWED, 2 * K_SKEWED])
    K[:, 2, 2] = 1
    uv = project(points, K)
    assert torch.equal(uv[1, 1], project(points[1, 1], K[1]))
    assert torch.allclose(project(points, K_SKEWED)[2], project(points[2], K_SKEWED))
    assert project(points.float(), K.float()).dtype == torch.float32


def test_convention_principal_point_is_the_image_centre():
    K = default_K(640, 480, 90.0)
    assert torch.allclose(K, torch.tensor([[320.0, 0, 320], [0, 320, 240], [0, 0, 1]], dtype=torch.float64))
    assert default_K(480, 640)[0, 0].item() == pytest.approx(320 / math.tan(math.radians(30)))
    fov = torch.tensor([math.pi / 2, math.pi / 3], dtype=torch.float64)
    assert torch.allclose(K_from_fov(fov, 640, 480)[0], K)
    assert torch.equal(K_from_focal(torch.tensor([100.0]), 10, 20)[0, :2, 2], torch.tensor([5.0, 10.0]))


def test_weak_perspective_is_scaled_orthographic():
    rotation = axis_angle_to_matrix(torch.tensor([0.3, -0.2, 0.5], dtype=torch.float64))
    points, shift = hand_like(), torch.tensor([100.0, 120.0], dtype=torch.float64)
    uv = weak_perspective(points, torch.tensor(800.0, dtype=torch.float64), rotation, shift)
    for point, pixel in zip(points, uv, strict=True):
        assert torch.allclose(pixel, 800 * (rotation @ point)[:2] + shift)


@given(st.floats(100, 4000), st.floats(-100, 700), st.floats(-100, 700))
def test_weak_full_round_trip(scale, u, v):
    s, t = torch.tensor(scale, dtype=torch.float64), torch.tensor([u, v], dtype=torch.float64)
    transl = weak_to_full(s, t, K_SKEWED)
    assert torch.allclose(project(transl[None], K_SKEWED)[0], t)
    assert transl[2].item() == pytest.approx(math.sqrt(600 * 520) / scale)
    scale_back, t_back = full_to_weak(transl, K_SKEWED)
    assert torch.allclose(scale_back, s)
    assert torch.allclose(t_back, t, atol=1e-7)


def test_weak_perspective_is_the_limit_of_a_distant_camera():
    points = hand_like() - torch.tensor([0, 0, 0.6], dtype=torch.float64)
    K = K_from_focal(torch.tensor(1e6, dtype=torch.float64), 640, 480)
    s, t = torch.tensor(900.0, dtype=torch.float64), torch.tensor([300.0, 200.0], dtype=torch.float64)
    weak = weak_perspective(points, s, torch.eye(3, dtype=torch.float64), t)
    assert torch.allclose(project(points + weak_to_full(s, t, K), K), weak, atol=0.1)


def test_crop_camera_is_hamers_formula():
    camera = torch.tensor([[0.9, 0.05, -0.1], [1.4, 0.0, 0.02]], dtype=torch.float64)
    center = torch.tensor([[400.0, 150.0], [90.0, 333.0]], dtype=torch.float64)
    size = torch.tensor([220.0, 90.0], dtype=torch.float64)
    width, height = 640, 480
    focal = 5000 / 256 * max(width, height)
    bs = size * camera[:, 0] + 1e-9
    tz = 2 * focal / bs
    tx = 2 * (center[:, 0] - width / 2) / bs + camera[:, 1]
    ty = 2 * (center[:, 1] - height / 2) / bs + camera[:, 2]
    K = K_from_focal(torch.tensor(focal, dtype=torch.float64), width, height)
    full = crop_camera_to_full(camera, center, size, K)
    assert torch.allclose(full, torch.stack([tx, ty, tz], -1), rtol=1e-12)
    assert torch.allclose(full_to_crop_camera(full, center, size, K), camera, atol=1e-9)


def test_crop_camera_agrees_in_the_crop_when_fx_differs_from_fy():
    camera = torch.tensor([1.1, 0.03, -0.02], dtype=torch.float64)
    center, size = torch.tensor([400.0, 150.0], dtype=torch.float64), torch.tensor(200.0, dtype=torch.float64)
    transl = crop_camera_to_full(camera, center, size, K_SKEWED)
    in_crop = (project(transl[None], K_SKEWED)[0] - center) / (size / 2)
    assert torch.allclose(in_crop, camera[0] * camera[1:], atol=1e-9)


def test_gradients():
    points = hand_like(2, seed=1)[:, :3].requires_grad_()
    K = K_SKEWED.expand(2, 3, 3).clone().requires_grad_()
    assert gradcheck(project, (points, K))
    uv, depth = project(points, K).detach().requires_grad_(), points[..., 2].detach().requires_grad_()
    assert gradcheck(backproject, (uv, depth, K))
    camera = torch.tensor([[1.1, 0.03, -0.02]], dtype=torch.float64, requires_grad=True)
    center, size = torch.tensor([[400.0, 150.0]], dtype=torch.float64), torch.tensor([200.0], dtype=torch.float64)
    assert gradcheck(lambda c, k: crop_camera_to_full(c, center, size, k), (camera, K[:1].detach().requires_grad_()))
