"""Pictures at another size: pixels, masks, and that what is annotated follows."""

import numpy as np
import pytest
import torch

from handkit.data.mask_distances import mask_distances
from handkit.data.resize import resize_batch, resize_on_device, resize_planes
from handkit.data.sample import build_sample, check_sample, collate
from handkit.errors import HandkitError
from handkit.geometry import project

SIDE = 64


def dotted(at: np.ndarray, side: int = SIDE) -> np.ndarray:
    """Smooth white spots [3, H, W] around points [3, 2], one in each channel."""
    x, y = np.meshgrid(np.arange(side) + 0.5, np.arange(side) + 0.5)
    spots = [np.exp(-((x - u) ** 2 + (y - v) ** 2) / 18) for u, v in at]
    return np.stack([(255 * spot).round().astype(np.uint8) for spot in spots])


def centroids(image: np.ndarray) -> np.ndarray:
    weights = image.astype(float)
    at = np.arange(image.shape[-1]) + 0.5
    total = weights.sum((1, 2))
    return np.stack([(weights.sum(1) * at).sum(1) / total, (weights.sum(2) * at).sum(1) / total], -1)


def sample(seed: int) -> dict:
    rng = np.random.default_rng(seed)
    joints = np.array([0, 0, 0.5]) + rng.uniform(-0.02, 0.02, (21, 3))
    K = np.array([[300.0, 0, 32], [0, 290, 31], [0, 0, 1]])
    uv = project(torch.from_numpy(joints), torch.from_numpy(K)).numpy()
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[10:40, 20:50] = 1
    known = {"joints_3d": joints, "joints_2d": uv, "K": K, "mask": mask, "bbox": [20, 10, 50, 40]}
    weak = {"weak_scale": 400.0, "weak_transl": [30.0, 33.0]}
    return dict(build_sample(dotted(uv[:3]), is_right=True, dataset="made", name=str(seed), **known, **weak))


@pytest.mark.parametrize("size", [32, 48, 24, 100])
def test_points_follow_the_picture(size: int) -> None:
    before = sample(0)
    after = resize_batch(before, size)
    check_sample(after)
    np.testing.assert_allclose(after["joints_2d"], before["joints_2d"] * size / SIDE, rtol=1e-6)
    np.testing.assert_allclose(centroids(after["image"]), after["joints_2d"][:3], atol=0.05)
    uv = project(torch.from_numpy(after["joints_3d"]), torch.from_numpy(after["K"]))
    np.testing.assert_allclose(uv, after["joints_2d"], atol=1e-3)
    np.testing.assert_allclose(
        after["weak_scale"] * before["joints_3d"][:, :2] + after["weak_transl"],
        (before["weak_scale"] * before["joints_3d"][:, :2] + before["weak_transl"]) * size / SIDE,
        rtol=1e-5,
    )
    inside = np.argwhere(after["mask"])
    np.testing.assert_allclose(inside.min(0)[::-1], after["bbox"][:2], atol=0.51)
    np.testing.assert_allclose(inside.max(0)[::-1] + 1, after["bbox"][2:], atol=0.51)


def test_batches_of_tensors_come_out_as_samples_do() -> None:
    samples = [sample(seed) for seed in range(3)]
    batch = collate(samples)
    batch["mask_distance"] = mask_distances(batch["mask"])
    whole = resize_batch(batch, 32)
    for row, one in enumerate(samples):
        for key, value in resize_batch(one, 32).items():
            if not isinstance(value, str):
                assert np.array_equal(whole[key][row], value), key
                assert whole[key].dtype == batch[key].dtype, key
    assert torch.equal(whole["mask_distance"], mask_distances(whole["mask"]))
    assert whole["name"] == ["0", "1", "2"]


@pytest.mark.parametrize("size", [32, 16, 80])
def test_the_device_resizes_alike(size: int) -> None:
    pictures = np.random.default_rng(1).integers(0, 256, (2, 3, SIDE, SIDE)).astype(np.uint8)
    ours, torchs = resize_planes(pictures, size), resize_on_device(torch.from_numpy(pictures), size).numpy()
    assert np.abs(ours.astype(int) - torchs).max() <= 1 + (size > SIDE)


def test_the_same_size_and_oblong_pictures() -> None:
    before = sample(0)
    assert resize_batch(before, SIDE)["image"] is before["image"]
    with pytest.raises(HandkitError, match="pictures of 64 x 32 pixels are not square"):
        resize_batch({"image": before["image"][:, :32]}, 32)
