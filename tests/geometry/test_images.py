import math

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import gradcheck

from handkit.geometry import (
    K_after_crop,
    K_after_transform,
    axis_angle_to_matrix,
    crop_transform,
    mirror_K,
    mirror_points,
    mirror_transform,
    project,
    resize_transform,
    rotate90_transform,
    rotate_transform,
    rotation_about,
    transform_points,
)

K_SKEWED = torch.tensor([[600.0, 7.0, 310.0], [0, 520.0, 250.0], [0, 0, 1]], dtype=torch.float64)


def tensor(*values):
    return torch.tensor(values if len(values) > 1 else values[0], dtype=torch.float64)


def points_cam(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 0.1 * torch.randn(21, 3, generator=generator, dtype=torch.float64) + tensor(0.02, -0.03, 0.6)


TRANSFORMS = {
    "crop": crop_transform(tensor(400, 150), tensor(180), 224),
    "resize": resize_transform(tensor(0.5), tensor(0.7)),
    "mirror": mirror_transform(tensor(640)),
    "quarter turn": rotate90_transform(tensor(640), tensor(480), 1),
    "turn": rotate_transform(tensor(0.7), tensor(300, 200)),
    "mirror, turn, crop": crop_transform(tensor(250, 240), tensor(150), 256)
    @ rotate_transform(tensor(-2.1), tensor(300, 200))
    @ mirror_transform(tensor(640)),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_projection_follows_the_image(name):
    transform = TRANSFORMS[name]
    K, R = K_after_transform(K_SKEWED, transform)
    expected = transform_points(project(points_cam(), K_SKEWED), transform)
    assert torch.allclose(project(points_cam() @ R.T, K), expected, atol=1e-9)
    assert torch.allclose(R @ R.T, torch.eye(3, dtype=torch.float64), atol=1e-12)
    assert K[1, 0] == 0
    assert K[0, 0] > 0
    assert K[1, 1] > 0


def test_convention_what_each_change_moves():
    identity = torch.eye(3, dtype=torch.float64)
    assert torch.allclose(K_after_transform(K_SKEWED, TRANSFORMS["crop"])[1], identity)
    assert torch.allclose(K_after_transform(K_SKEWED, TRANSFORMS["resize"])[1], identity)
    K, R = K_after_transform(K_SKEWED, TRANSFORMS["mirror"])
    assert torch.allclose(R, torch.diag(tensor(-1, 1, 1)))
    assert torch.allclose(K, tensor([[600, -7, 330], [0, 520, 250], [0, 0, 1]]))
    assert torch.allclose(mirror_K(K_SKEWED, tensor(640)), K)
    assert torch.allclose(
        K_after_crop(K_SKEWED, tensor(400, 150), tensor(200), 100), tensor([[300, 3.5, 5], [0, 260, 100], [0, 0, 1]])
    )
    square = tensor([[500, 0, 320], [0, 500, 240], [0, 0, 1]])
    K, R = K_after_transform(square, rotate_transform(tensor(0.4), tensor(320, 240)))
    assert torch.allclose(K, square)
    assert torch.allclose(R, rotation_about("z", tensor(0.4)))


def test_mirror_shows_the_mirrored_points():
    uv = project(points_cam(), K_SKEWED)
    mirrored = project(mirror_points(points_cam()), mirror_K(K_SKEWED, tensor(640)))
    assert torch.allclose(mirrored, torch.stack([640 - uv[:, 0], uv[:, 1]], -1), atol=1e-9)


@pytest.mark.parametrize("turns", [-1, 0, 1, 2, 3, 5])
def test_quarter_turns_match_rot90(turns):
    image = np.arange(6 * 4).reshape(4, 6)
    turned = np.rot90(image, -turns)
    for row, column in [(0, 0), (1, 4), (3, 5)]:
        uv = transform_points(tensor([[column + 0.5, row + 0.5]]), rotate90_transform(tensor(6), tensor(4), turns))
        u, v = (uv[0] - 0.5).round().long().tolist()
        assert turned[v, u] == image[row, column]


def test_mirror_matches_the_flipped_image():
    image = np.arange(24).reshape(4, 6)
    u = transform_points(tensor([[1.5, 2.5]]), mirror_transform(tensor(6)))[0, 0].item()
    assert image[:, ::-1][2, int(u)] == image[2, 1]


def test_crop_matches_opencv_warp():
    """OpenCV counts pixel centres at 0: its matrix is ours between shifts by half a pixel."""
    yy, xx = np.mgrid[:60, :80].astype(np.float32)
    center, size = tensor(41.3, 27.9), tensor(20.0)
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    matrix = np.linalg.inv(half) @ crop_transform(center, size, 40).numpy() @ half
    crop = cv2.warpAffine(np.dstack([xx + 0.5, yy + 0.5]), matrix[:2], (40, 40), flags=cv2.INTER_LINEAR)
    back = transform_points(tensor([[10.5, 30.5]]), torch.linalg.inv(crop_transform(center, size, 40)))
    assert np.allclose(crop[30, 10], back[0].numpy(), atol=0.05)


@given(st.floats(-10, 10), st.floats(0, 600), st.floats(0, 400), st.floats(5, 500))
def test_inverse_undoes(angle, x, y, size):
    transform = crop_transform(tensor(x, y), tensor(size), 224) @ rotate_transform(tensor(angle), tensor(y, x))
    points = tensor([[12.0, 34.0], [500.0, -20.0]])
    back = transform_points(transform_points(points, transform), torch.linalg.inv(transform))
    assert torch.allclose(back, points, atol=1e-7)


def test_crop_corners_and_batches():
    corners = tensor([[300, 50], [500, 250], [400, 150]])
    crop = crop_transform(tensor([[400, 150], [0, 0]]), tensor([200, 10]), 64)
    assert torch.allclose(transform_points(corners, crop[0]), tensor([[0, 0], [64, 64], [32, 32]]))
    assert crop.shape == (2, 3, 3)
    assert crop_transform(torch.zeros(2), torch.ones(()), 8).dtype == torch.float32


def test_positive_turn_is_x_towards_y():
    moved = transform_points(tensor([[11.0, 20.0]]), rotate_transform(tensor(math.pi / 2), tensor(10, 20)))
    assert torch.allclose(moved, tensor([[10.0, 21.0]]))


def test_gradients():
    K = K_SKEWED[None].clone().requires_grad_()
    angle = tensor([0.3]).requires_grad_()
    center = tensor([[300.0, 200.0]])
    assert gradcheck(lambda k, a: K_after_transform(k, rotate_transform(a, center)), (K, angle))
    size = tensor([180.0]).requires_grad_()
    assert gradcheck(lambda k, s: K_after_crop(k, center, s, 224), (K, size))


def test_turned_points_keep_their_distances():
    R = K_after_transform(K_SKEWED, TRANSFORMS["turn"])[1]
    turned = points_cam() @ R.T
    assert torch.allclose(torch.pdist(turned), torch.pdist(points_cam()))
    assert torch.allclose(axis_angle_to_matrix(tensor(0, 0, torch.atan2(R[1, 0], R[0, 0]).item())), R)
