"""RealisticHands' training losses (Seeber et al. 2021, section 3.6): the terms of Eq. 9, 10 and 11.

Convention: `*B` are samples. An MSE is the mean over all numbers (48, 10, or a point's coordinates) of all that is
valid, in whatever unit its inputs have; what is not valid has neither value nor gradient, NaN included.
Half-precision inputs are compared in float32.
"""

import math
from typing import Final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from handkit.losses.reduce import apart, mean_of, precise, valid_mean

_SMALLEST_RAD: Final = 1e-6
_SOFT: Final = 0.01


def pose_mse(
    pred: Float[Tensor, "*B 48"], target: Float[Tensor, "*B 48"], valid: Bool[Tensor, "*B"] | None = None
) -> Tensor:
    """Eq. 9, L_pose: the MSE of 48 axis-angle values, the hand's turn (the first three) to its nearer writing."""
    turn = nearest_writing(target[..., :3], pred[..., :3].detach())
    return values_mse(pred, torch.cat([turn, target[..., 3:].to(turn.dtype)], -1), valid)


def nearest_writing(turn: Float[Tensor, "*B 3"], other: Float[Tensor, "*B 3"]) -> Float[Tensor, "*B 3"]:
    """Of the two axis-angles of one rotation, v and v - 2 pi v / |v|, the one nearer to `other`.

    Of no rotation, whose axis nothing says, it is v.
    """
    turn = precise(turn)
    angle = torch.linalg.vector_norm(turn, dim=-1, keepdim=True)
    away = turn - 2 * math.pi * turn / angle.clamp_min(_SMALLEST_RAD)
    near, far = ((writing - other.to(turn.dtype)).square().sum(-1, keepdim=True) for writing in (turn, away))
    return torch.where((far < near) & (angle > _SMALLEST_RAD), away, turn)


def values_mse(
    pred: Float[Tensor, "*B P"], target: Float[Tensor, "*B P"], valid: Bool[Tensor, "*B"] | None = None
) -> Tensor:
    """Eq. 9, L_shape of the 10 betas: the MSE of a sample's P numbers."""
    known = None if valid is None else valid[..., None]
    return valid_mean(apart(pred, target, known).square(), known)


def points_mse(
    pred: Float[Tensor, "*B N D"], target: Float[Tensor, "*B N D"], valid: Bool[Tensor, "*B N"] | None = None
) -> Tensor:
    """Eq. 9, L_joints^2D, and Eq. 11, L_vert and L_joints^3D: the MSE of points' coordinates."""
    known = None if valid is None else valid[..., None]
    return valid_mean(apart(pred, target, known).square(), known)


def points_distance(
    pred: Float[Tensor, "*B N D"], target: Float[Tensor, "*B N D"], valid: Bool[Tensor, "*B N"] | None = None
) -> Tensor:
    """Ours: the mean distance of points. Where one view leaves two answers it settles for one, an MSE for their mean.

    Quadratic below a hundredth of a unit, so that the gradient is finite at 0.
    """
    known = None if valid is None else valid[..., None]
    square = apart(pred, target, known).square().sum(-1)
    return valid_mean((square + _SOFT**2).sqrt() - _SOFT, valid)


def shape_norm(betas: Float[Tensor, "*B S"]) -> Tensor:
    """Eq. 9's regularizer "the norm of the shape PCA": |betas|_2^2, which holds to the mean shape; mean over samples.

    The square, whose gradient vanishes at the mean shape; the norm itself would pull as hard there as anywhere.
    """
    return mean_of(precise(betas).square().sum(-1).flatten(), each=False)


def scale_behind(scale: Float[Tensor, "*B"]) -> Tensor:
    """Eq. 9, L_cam: max(0, -scale)^2 of the weak camera's scale, mean over samples.

    The paper names an MSE of the "scale camera parameters", meant "to avoid placing the root joint behind the camera",
    and no target. A scale below zero is such a camera; one above has no cost, since 2D joints say what it is.
    """
    return mean_of((-precise(scale)).clamp_min(0).square().flatten(), each=False)


def mask_bce(logits: Float[Tensor, "*B H W"], target: Tensor, valid: Bool[Tensor, "*B"] | None = None) -> Tensor:
    """Eq. 10: -(y log p + (1 - y) log(1 - p)), p the sigmoid of a logit, as a mean over pixels of valid masks.

    `target` [*B, H, W] is 1 (or True) for the hand, 0 for the rest.
    """
    logits, known = precise(logits), None if valid is None else valid[..., None, None]
    if known is not None:
        logits = torch.where(known, logits, 0.0)
        target = torch.where(known, target, torch.zeros_like(target))
    cost = torch.nn.functional.binary_cross_entropy_with_logits(logits, target.to(logits.dtype), reduction="none")
    return valid_mean(cost, known)
