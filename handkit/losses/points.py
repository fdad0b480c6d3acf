"""Points of the image, weighted by how sure their detector was."""

import torch
from jaxtyping import Float
from torch import Tensor

from handkit.losses.reduce import reduced


def keypoint_distance(
    pred: Float[Tensor, "*B N 2"],
    target: Float[Tensor, "*B N 2"],
    weight: Float[Tensor, "*B N"],
    *,
    softening_px: float = 2.0,
    each: bool = False,
) -> Tensor:
    """Mean of w (sqrt(d^2 + s^2) - s) over keypoints of weight above 0: quadratic below s pixels, linear beyond."""
    valid = (weight > 0) & target.isfinite().all(-1)
    gap = torch.where(valid[..., None], pred - torch.where(valid[..., None], target, 0.0), 0.0)
    distance = (gap.square().sum(-1) + softening_px**2).sqrt() - softening_px
    return reduced(distance * torch.where(valid, weight, 0.0), valid, each)
