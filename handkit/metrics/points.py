"""Distances between predicted and true points, one value per sample."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from handkit.geometry.cameras import project
from handkit.geometry.procrustes import align

_MM_PER_M = 1000.0


def mpjpe_mm(
    pred: Float[Tensor, "*B N 3"],
    target: Float[Tensor, "*B N 3"],
    valid: Bool[Tensor, "*B N"] | None = None,
    *,
    root: int | None = None,
) -> Float[Tensor, "*B"]:
    """Mean distance between points; with `root`, of positions relative to that point (NaN where it is invalid).

    Of vertices it is the MPVPE.
    """
    pred, target, valid = _in_double(pred, target, valid)
    if root is not None:
        pred, target = pred - pred[..., [root], :], target - target[..., [root], :]
        valid = valid & valid[..., [root]]
    return _MM_PER_M * masked_mean((pred - target).norm(dim=-1), valid)


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
    error = _MM_PER_M * masked_mean((aligned - target).norm(dim=-1), valid)
    return torch.where(defined, error, torch.nan)


def epe_2d_px(
    pred: Float[Tensor, "*B N 2"], target: Float[Tensor, "*B N 2"], valid: Bool[Tensor, "*B N"] | None = None
) -> Float[Tensor, "*B"]:
    """Mean distance between 2D points in pixels."""
    pred, target, valid = _in_double(pred, target, valid)
    return masked_mean((pred - target).norm(dim=-1), valid)


def reprojection_error_px(
    points_cam: Float[Tensor, "*B N 3"],
    K: Float[Tensor, "*B 3 3"],
    target: Float[Tensor, "*B N 2"],
    valid: Bool[Tensor, "*B N"] | None = None,
) -> Float[Tensor, "*B"]:
    """Mean distance in pixels from where 3D points are seen to 2D ones; points_cam in metres, OpenCV camera axes.

    A valid point not in front of the camera makes its sample NaN.
    """
    points_cam = points_cam.double()
    seen = torch.where(points_cam[..., 2:] > 0, project(points_cam, K.double()), torch.nan)
    return epe_2d_px(seen, target, valid)


def masked_mean(values: Float[Tensor, "*B N"], valid: Bool[Tensor, "*B N"]) -> Float[Tensor, "*B"]:
    """Mean of the valid values, NaN where there are none."""
    total = torch.where(valid, values, 0).sum(-1)
    return total / torch.where(valid.any(-1), valid.sum(-1), torch.nan)


def _in_double(pred: Tensor, target: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    if valid is None:
        valid = torch.ones(pred.shape[:-1], dtype=torch.bool, device=pred.device)
    return pred.double(), target.double(), valid
