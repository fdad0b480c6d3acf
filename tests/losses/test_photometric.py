"""Colours: similarity as scikit-image computes it, and what counts of a picture."""

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from handkit import losses
from tests.losses.common import gradient, random


@pytest.mark.parametrize("channels", [1, 3])
def test_ssim_is_scikit_images(channels: int) -> None:
    a, b = random(2, channels, 20, 33), random(2, channels, 20, 33, seed=1)
    b = 0.7 * a + 0.3 * b
    expected = [
        structural_similarity(x.numpy(), y.numpy(), channel_axis=0, data_range=1.0) for x, y in zip(a, b, strict=True)
    ]
    np.testing.assert_allclose(losses.ssim(a, b).numpy(), expected, atol=1e-10)
    assert losses.ssim(a[0], b[0]).item() == pytest.approx(expected[0])
    value, slope = gradient(lambda x: losses.ssim_loss(x, a), a)
    assert value.abs() < 1e-12
    assert slope.isfinite().all()


def test_ssim_cuts_the_target_out() -> None:
    image, drawn = random(1, 3, 16, 16), random(1, 3, 16, 16, seed=1)
    mask = torch.zeros(1, 16, 16, dtype=torch.float64)
    mask[:, 4:12, 4:12] = 1
    torch.testing.assert_close(losses.ssim_loss(image * mask[:, None], image, mask), torch.zeros(()).double())
    assert losses.ssim_loss(drawn, image, mask) > 0.1


def test_photometric_counts_the_silhouettes_pixels_only() -> None:
    image, drawn = random(2, 3, 4, 5), random(2, 3, 4, 5, seed=1)
    mask = torch.zeros(2, 4, 5, dtype=torch.float64)
    mask[0, 1, 2] = mask[0, 3, 3] = 0.4
    error = (drawn - image).abs().sum(1)[0]
    each = losses.photometric_l1(drawn, image, mask, torch.tensor([3.0, 1.0]).double(), each=True)
    torch.testing.assert_close(each, torch.stack([3 * (error[1, 2] + error[3, 3]) / 2, torch.zeros(()).double()]))
    value, slope = gradient(lambda x: losses.photometric_l1(x, image, mask), image)
    assert value == 0
    assert slope.isfinite().all()


def test_ssim_loss_does_not_depend_on_the_number_of_samples() -> None:
    pred, target = random(1, 3, 9, 9), random(1, 3, 9, 9, seed=1)
    torch.testing.assert_close(
        losses.ssim_loss(pred.expand(4, 3, 9, 9), target.expand(4, 3, 9, 9)), losses.ssim_loss(pred, target)
    )
