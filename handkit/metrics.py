"""Metrics: pure functions, one float64 value per sample in the unit its name ends in, NaN where undefined.

Points are in metres (or pixels where the name says so), any leading batch dimensions. `valid` marks the points that
count; what stands at the others is ignored, NaN included. A NaN at a valid point makes that sample NaN.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from handkit.geometry.procrustes import align

_MM_PER_M = 1000.0


def mpjpe_mm(
    pred: Float[Tensor, "*B N 3"],
    target: Float[Tensor, "*B N 3"],
    valid: Bool[Tensor, "*B N"] | None = None,
    *,
    root: int | None = None,
) -> Float[Tensor, "*B"]:
    """Mean distance between joints; with `root`, of positions relative to that joint (NaN where it is invalid)."""
    pred, target, valid = _in_double(pred, target, valid)
    if root is not None:
        pred, target = pred - pred[..., [root], :], target - target[..., [root], :]
        valid = valid & valid[..., [root]]
    return _MM_PER_M * _masked_mean((pred - target).norm(dim=-1), valid)


def pa_mpjpe_mm(
    pred: Float[Tensor, "*B N 3"],
    target: Float[Tensor, "*B N 3"],
    reflection: bool = False,
    valid: Bool[Tensor, "*B N"] | None = None,
) -> Float[Tensor, "*B"]:
    """Mean distance after the best similarity: proper rotation, or any orthogonal matrix as FreiHAND's script allows.

    NaN with fewer than three valid joints, or where a valid one is not finite.
    """
    pred, target, valid = _in_double(pred, target, valid)
    finite = (pred.isfinite() & target.isfinite()).all(-1)
    defined = (finite | ~valid).all(-1) & (valid.sum(-1) >= 3)
    pred, target = torch.nan_to_num(pred, 0, 0, 0), torch.nan_to_num(target, 0, 0, 0)
    aligned = align(pred, target, reflection=reflection, weights=valid.to(pred))
    error = _MM_PER_M * _masked_mean((aligned - target).norm(dim=-1), valid)
    return torch.where(defined, error, torch.nan)


def epe_2d_px(
    pred: Float[Tensor, "*B N 2"], target: Float[Tensor, "*B N 2"], valid: Bool[Tensor, "*B N"] | None = None
) -> Float[Tensor, "*B"]:
    """Mean distance between 2D points in pixels."""
    pred, target, valid = _in_double(pred, target, valid)
    return _masked_mean((pred - target).norm(dim=-1), valid)


def acceleration_mm_per_frame2(
    joints: Float[Tensor, "*B T N 3"], valid: Bool[Tensor, "*B T"] | None = None
) -> Float[Tensor, "*B"]:
    """Mean length of the joints' second differences over one sequence, not divided by the frame time.

    A triple of frames with an invalid one is dropped (human_dynamics); NaN without a valid triple. One sequence each:
    never join sequences along T.
    """
    if joints.shape[-3] < 3:
        return torch.full(joints.shape[:-3], torch.nan, dtype=torch.float64, device=joints.device)
    if valid is None:
        valid = torch.ones(joints.shape[:-2], dtype=torch.bool, device=joints.device)
    triple = valid[..., :-2] & valid[..., 1:-1] & valid[..., 2:]
    acceleration = joints.double().diff(n=2, dim=-3).norm(dim=-1).mean(-1)
    return _MM_PER_M * _masked_mean(acceleration, triple)


def acceleration_error_mm_per_frame2(
    pred: Float[Tensor, "*B T N 3"], target: Float[Tensor, "*B T N 3"], valid: Bool[Tensor, "*B T"] | None = None
) -> Float[Tensor, "*B"]:
    """Mean length of the difference of two sequences' accelerations (ACC-ERR); as `acceleration_mm_per_frame2`."""
    return acceleration_mm_per_frame2(pred.double() - target.double(), valid)


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
    return _masked_mean((pred == target).double().flatten(-2), counted.flatten(-2))


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
    return _masked_mean((~inside).double(), torch.ones_like(seen) if valid is None else valid)


def _in_double(pred: Tensor, target: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    if valid is None:
        valid = torch.ones(pred.shape[:-1], dtype=torch.bool, device=pred.device)
    return pred.double(), target.double(), valid


def _masked_mean(values: Float[Tensor, "*B N"], valid: Bool[Tensor, "*B N"]) -> Float[Tensor, "*B"]:
    total = torch.where(valid, values, 0).sum(-1)
    return total / torch.where(valid.any(-1), valid.sum(-1), torch.nan)
