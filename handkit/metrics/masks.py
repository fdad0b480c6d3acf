"""Agreement of hand masks, one value per sample."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from handkit.metrics.points import masked_mean


def mask_iou(
    pred: Bool[Tensor, "*B H W"], target: Bool[Tensor, "*B H W"], valid: Bool[Tensor, "*B H W"] | None = None
) -> Float[Tensor, "*B"]:
    """Intersection over union of two masks, 0 to 1; NaN where both are empty."""
    counted = torch.ones_like(pred) if valid is None else valid
    union = ((pred | target) & counted).sum((-2, -1))
    both = (pred & target & counted).sum((-2, -1))
    return both.double() / torch.where(union > 0, union, torch.nan)


def pixel_accuracy(
    pred: Bool[Tensor, "*B H W"], target: Bool[Tensor, "*B H W"], valid: Bool[Tensor, "*B H W"] | None = None
) -> Float[Tensor, "*B"]:
    """Fraction of the pixels that two masks agree on, hand and background alike."""
    counted = torch.ones_like(pred) if valid is None else valid
    return masked_mean((pred == target).double().flatten(-2), counted.flatten(-2))


def outside_mask_fraction(
    points_px: Float[Tensor, "*B N 2"], mask: Bool[Tensor, "*B H W"], valid: Bool[Tensor, "*B N"] | None = None
) -> Float[Tensor, "*B"]:
    """SeqHAND Eq. 11: 1 - 1/N sum_i H(M_i), the fraction of projected vertices that lie outside the hand's mask.

    A point counts by the pixel it falls in; outside the image, or not finite, it is outside the mask. It has no
    gradient: the loss that has one is `losses.mask_fitting`.
    """
    height, width = mask.shape[-2:]
    pixel = torch.nan_to_num(points_px, -1.0, -1.0, -1.0).floor()
    x, y = pixel.clamp(-1, max(height, width)).long().unbind(-1)
    seen = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    index = torch.where(seen, y * width + x, 0)
    inside = mask.flatten(-2).gather(-1, index) & seen
    return masked_mean((~inside).double(), torch.ones_like(seen) if valid is None else valid)
