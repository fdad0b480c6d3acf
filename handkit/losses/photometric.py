"""Colours: a rendered image against the picture. Colours lie in [0, 1]."""

import torch
from jaxtyping import Float
from torch import Tensor

from handkit.losses.reduce import mean_of, reduced

_SSIM_WINDOW = 7


def photometric_l1(
    pred: Float[Tensor, "*B C H W"],
    target: Float[Tensor, "*B C H W"],
    silhouette: Float[Tensor, "*B H W"],
    confidence: Float[Tensor, "*B"] | None = None,
    *,
    each: bool = False,
) -> Tensor:
    """S2HAND Eq. 6: conf_sum / |S| sum over the pixels of S of ||I - I_re||_1.

    `silhouette` only says where (no gradient goes to it); `confidence` is the sum of the keypoints' confidences, 1
    where not given.
    """
    inside = (silhouette.detach() > 0).flatten(-2)
    error = reduced((pred - target).abs().sum(-3).flatten(-2), inside, each=True)
    return mean_of(error if confidence is None else error * confidence, each)


def photometric_l1_released(
    pred: Float[Tensor, "*B C H W"], foreground: Float[Tensor, "*B C H W"], confidence: Float[Tensor, "*B"]
) -> Tensor:
    """Eq. 6 as S2HAND's code computes it: the mean of |I_re - I| over all pixels and channels, weighted by tc^2.

    Both pictures are cut out already; sum tc^2 mean / sum tc^2 over the samples, 0 where no confidence is above 0.
    """
    weight = confidence.square()
    error = (pred - foreground).abs().mean((-1, -2, -3))
    return (error * weight).sum() / weight.sum().clamp_min(torch.finfo(weight.dtype).tiny)


def ssim_loss(
    pred: Float[Tensor, "*B C H W"],
    target: Float[Tensor, "*B C H W"],
    silhouette: Float[Tensor, "*B H W"] | None = None,
    *,
    each: bool = False,
) -> Tensor:
    """S2HAND Eq. 7: 1 - SSIM(I * S, I_re); `silhouette` cuts the target out, without a gradient to it."""
    if silhouette is not None:
        target = target * silhouette.detach()[..., None, :, :]
    return mean_of(1 - ssim(pred, target), each)


def ssim(a: Float[Tensor, "*B C H W"], b: Float[Tensor, "*B C H W"], *, value_range: float = 1.0) -> Tensor:
    """Mean structural similarity [*B] (Wang 2004): windows of 7 x 7 wholly inside, unbiased variances.

    The numbers of `skimage.metrics.structural_similarity` with its defaults.
    """
    images = torch.stack([a, b, a * a, b * b, a * b]).flatten(1, -3) if a.dim() > 3 else None
    if images is None:
        return ssim(a[None], b[None], value_range=value_range)[0]
    size = _SSIM_WINDOW
    mean_a, mean_b, mean_aa, mean_bb, mean_ab = torch.nn.functional.avg_pool2d(images, size, stride=1)
    unbiased = size * size / (size * size - 1)
    var_a, var_b = unbiased * (mean_aa - mean_a**2), unbiased * (mean_bb - mean_b**2)
    covariance = unbiased * (mean_ab - mean_a * mean_b)
    c1, c2 = (0.01 * value_range) ** 2, (0.03 * value_range) ** 2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    similarity = luminance * (2 * covariance + c2) / (var_a + var_b + c2)
    return similarity.unflatten(0, a.shape[:-2]).mean((-1, -2, -3))
