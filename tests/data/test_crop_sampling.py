import cv2
import numpy as np
import pytest
import torch

from handkit.data.crop_sampling import blur_each, crop_grid, sample_crops, sample_on_device, shown_in_crops
from handkit.geometry.images import crop_transform, mirror_transform, rotate_transform, transform_points

COUNT, HEIGHT, WIDTH = 6, 90, 120


def pictures() -> torch.Tensor:
    """Smooth noise [N, 3, H, W] uint8."""
    rng = np.random.default_rng(0)
    noise = [cv2.GaussianBlur(rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8), (0, 0), 1.5) for _ in range(COUNT)]
    return torch.from_numpy(np.stack(noise)).permute(0, 3, 1, 2).contiguous()


def transforms(side: float, size: int) -> torch.Tensor:
    """Turned and mirrored squares of about `side` pixels, some of which reach outside."""
    rng = np.random.default_rng(1)
    centre = torch.from_numpy(rng.uniform([20, 20], [WIDTH - 20, HEIGHT - 20], (COUNT, 2)))
    sides = torch.from_numpy(side * rng.uniform(0.8, 1.25, COUNT))
    turn = rotate_transform(torch.from_numpy(rng.uniform(-3, 3, COUNT)), centre)
    mirror = mirror_transform(torch.tensor(float(WIDTH), dtype=torch.float64))
    return crop_transform(centre, sides, size) @ turn @ mirror


@pytest.mark.parametrize(("side", "size", "limit"), [(40, 64, 2), (100, 64, 3), (100, 40, 9), (110, 16, 15)])
def test_torch_samples_as_opencv_does(side: float, size: int, limit: int) -> None:
    """Up to rounding, and OpenCV's reading at 32nds of a pixel; where it shrinks by more than 2 averages differ."""
    crop_from_picture = transforms(side, size)
    ours = sample_on_device(pictures(), crop_from_picture, size)
    theirs = sample_crops(pictures(), crop_from_picture, size)
    assert ours.shape == (COUNT, 3, size, size)
    apart = (ours.int() - theirs.int()).abs()
    assert apart.max() <= limit
    assert apart.float().mean() < limit / 8 + 0.3


@pytest.mark.parametrize("sigma", [0.0, 0.5, 1.5])
def test_a_further_blur_is_in_the_crop_s_pixels(sigma: float) -> None:
    crop_from_picture = transforms(60, 64)
    blur = torch.linspace(0, 2, COUNT).double() * sigma
    ours, theirs = (f(pictures(), crop_from_picture, 64, blur=blur) for f in (sample_on_device, sample_crops))
    inner = (ours.int() - theirs.int()).abs()[:, :, 12:-12, 12:-12]  # at the picture's edges a blur sees other pixels
    assert inner.float().mean() < 1.0
    if sigma:
        sharp = sample_crops(pictures(), crop_from_picture, 64)
        assert torch.equal(sharp[0], theirs[0])
        assert theirs[-1].float().std() < 0.9 * sharp[-1].float().std()


def test_shrinking_keeps_the_mean_of_fine_stripes() -> None:
    stripes = torch.zeros(1, 1, 64, 64, dtype=torch.uint8)
    stripes[..., ::2] = 254
    corner = torch.tensor([[32.0, 32.0]], dtype=torch.float64)
    for size in (24, 10):
        transform = crop_transform(corner, torch.tensor([48.0], dtype=torch.float64), size)
        for sample in (sample_crops, sample_on_device):
            assert (sample(stripes, transform, size).int() - 127).abs().max() < 15


def test_a_grid_tells_where_pixels_come_from() -> None:
    crop_from_picture = transforms(60, 32)
    grid = crop_grid(torch.linalg.inv(crop_from_picture), 32)
    back = transform_points(grid.flatten(1, 2), crop_from_picture).unflatten(1, (32, 32))
    rows, columns = torch.meshgrid(torch.arange(32) + 0.5, torch.arange(32) + 0.5, indexing="ij")
    torch.testing.assert_close(back, torch.stack([columns, rows], -1).double().expand_as(back))
    inside = shown_in_crops(crop_from_picture, HEIGHT, WIDTH, 32)
    x, y = grid.unbind(-1)
    assert torch.equal(inside, (x > 0) & (x < WIDTH) & (y > 0) & (y < HEIGHT))
    assert 0 < inside.float().mean() < 1


def test_each_picture_has_its_own_blur() -> None:
    sigma = torch.tensor([0.0, 0.6, 1.3, 2.0, 3.0, 4.0])
    blurred = blur_each(pictures().float(), sigma)
    for picture, one, width in zip(pictures(), blurred, sigma.tolist(), strict=True):
        planes = picture.permute(1, 2, 0).float().numpy()
        reach = 2 * round(3 * 4.0) + 1
        wanted = cv2.GaussianBlur(planes, (reach, reach), width, borderType=cv2.BORDER_REPLICATE) if width else planes
        np.testing.assert_allclose(one.permute(1, 2, 0).numpy(), wanted, atol=0.02)
