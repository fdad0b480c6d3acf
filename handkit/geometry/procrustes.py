"""The similarity (or rigid) transform that best aligns two point sets, in the two published forms.

Convention: `target ~ scale * R @ source + t`, columns of points; the sum of squared distances is least.
"""

from typing import NamedTuple

import roma
import torch
from jaxtyping import Float
from torch import Tensor

# FreiHAND's guard on the sets' Frobenius norms; all points equal then gives scale 0, not NaN.
_NORM_EPS = 1e-8


class Similarity(NamedTuple):
    """x -> scale * R @ x + t, any leading batch dimensions."""

    scale: Float[Tensor, "*B"]
    R: Float[Tensor, "*B 3 3"]
    t: Float[Tensor, "*B 3"]

    def apply(self, points: Float[Tensor, "*B N 3"]) -> Float[Tensor, "*B N 3"]:
        return self.scale[..., None, None] * points @ self.R.transpose(-1, -2) + self.t[..., None, :]


def procrustes(
    source: Float[Tensor, "*B N 3"],
    target: Float[Tensor, "*B N 3"],
    *,
    reflection: bool,
    scale: bool = True,
    weights: Float[Tensor, "*B N"] | None = None,
) -> Similarity:
    """Least-squares alignment of source to target.

    `reflection=True` lets R be a reflection, as FreiHAND's official script does (`align_w_scale`); `False` keeps it a
    proper rotation (Umeyama 1991, HaMeR). They differ only where the best orthogonal matrix is a reflection.
    Weights >= 0 need not sum to 1. Points all equal, or weights all zero, give a finite transform of scale 0.
    Gradients stay finite where the rotation is not unique (roma damps them). Points must be finite.
    """
    w = torch.ones_like(source[..., :1]) if weights is None else weights[..., None]
    total = w.sum(-2, keepdim=True).clamp_min(torch.finfo(w.dtype).tiny)
    source_mean = (w * source).sum(-2, keepdim=True) / total
    target_mean = (w * target).sum(-2, keepdim=True) / total
    root = torch.ones_like(w) if weights is None else torch.where(w > 0, w, 1).sqrt() * (w > 0)
    source_unit, source_norm = _unit_norm(root * (source - source_mean))
    target_unit, target_norm = _unit_norm(root * (target - target_mean))
    covariance = target_unit.transpose(-1, -2) @ source_unit
    R = roma.procrustes(covariance, force_rotation=not reflection)
    best_scale = (R * covariance).sum((-2, -1)) * target_norm / source_norm
    factor = best_scale if scale else torch.ones_like(best_scale)
    t = target_mean[..., 0, :] - factor[..., None] * (R @ source_mean.transpose(-1, -2))[..., 0]
    return Similarity(factor, R, t)


def align(
    source: Float[Tensor, "*B N 3"],
    target: Float[Tensor, "*B N 3"],
    *,
    reflection: bool,
    scale: bool = True,
    weights: Float[Tensor, "*B N"] | None = None,
) -> Float[Tensor, "*B N 3"]:
    """Source after `procrustes` onto target."""
    return procrustes(source, target, reflection=reflection, scale=scale, weights=weights).apply(source)


def _unit_norm(points: Float[Tensor, "*B N 3"]) -> tuple[Float[Tensor, "*B N 3"], Float[Tensor, "*B"]]:
    norm = torch.linalg.vector_norm(points, dim=(-2, -1)) + _NORM_EPS
    return points / norm[..., None, None], norm
