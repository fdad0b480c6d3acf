"""Silhouettes and masks: how far pixels, or projected vertices, are from a target mask."""

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from handkit.losses.reduce import mean_of, reduced

_TINY = 1e-12


def silhouette_l2(
    pred: Float[Tensor, "*B H W"],
    target: Float[Tensor, "*B H W"],
    valid: Bool[Tensor, "*B H W"] | None = None,
    *,
    each: bool = False,
) -> Tensor:
    """RealisticHands 3.2: ||S_mesh - S_target||_2^2, as a mean over pixels; the printed sum is H * W times it."""
    return reduced((pred - target).square().flatten(-2), None if valid is None else valid.flatten(-2), each)


def silhouette_coarse(
    pred: Float[Tensor, "*B H W"],
    target: Float[Tensor, "*B H W"],
    valid: Bool[Tensor, "*B H W"] | None = None,
    *,
    window: int,
    each: bool = False,
) -> Tensor:
    """Mean square of the difference after averaging it over square windows, a quarter of one apart.

    Unlike `silhouette_l2` it has a slope towards parts of the target that the silhouette does not touch yet.
    """
    apart = pred - target if valid is None else (pred - target) * valid
    images = apart.reshape(-1, 1, *apart.shape[-2:])
    coarse = torch.nn.functional.avg_pool2d(images, window, stride=max(1, window // 4), padding=window // 2)
    return mean_of(coarse.square().mean((1, 2, 3)).reshape(apart.shape[:-2]), each)


def mask_distance_px(mask: Bool[np.ndarray, "H W"]) -> Float[np.ndarray, "H W"]:
    """Distance of every pixel centre to the nearest pixel of the mask, 0 inside it; all 0 for an empty mask."""
    if not mask.any():
        return np.zeros(mask.shape, np.float32)
    return cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE).astype(np.float32)


def mask_fitting(
    points_px: Float[Tensor, "*B N 2"],
    distance_px: Float[Tensor, "*B H W"],
    valid: Bool[Tensor, "*B N"] | None = None,
    *,
    each: bool = False,
) -> Tensor:
    """SeqHAND Eq. 11 with a gradient: mean distance in pixels from the points to the mask, 0 for those inside.

    The published term counts the points outside, which no gradient can lower: that is `metrics.outside_mask_fraction`.
    `distance_px` is `mask_distance_px` of each mask, read bilinearly; outside the image the way to its edge is added.
    """
    height, width = distance_px.shape[-2:]
    x, y = (points_px.to(torch.promote_types(points_px.dtype, torch.float32)) - 0.5).unbind(-1)
    column, x0, x1, share = _between(x, width)
    row, y0, y1, share_y = _between(y, height)
    flat = distance_px.flatten(-2)
    upper, lower = (
        flat.gather(-1, line * width + x0) * (1 - share) + flat.gather(-1, line * width + x1) * share
        for line in (y0, y1)
    )
    distance = upper * (1 - share_y) + lower * share_y
    beyond = ((x - column).square() + (y - row).square() + _TINY).sqrt() - _TINY**0.5
    return reduced(distance + beyond, valid, each)


def _between(at: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Along one side of `size` pixels: the place in the image, the pixels before and after it, the latter's share."""
    inside = at.clamp(0, size - 1)
    # What is not a number stays so in the share, but must not become an index.
    before = torch.nan_to_num(inside.detach(), 0.0).clamp_max(max(size - 2, 0)).floor()
    index = before.long()
    return inside, index, (index + 1).clamp_max(size - 1), inside - before
