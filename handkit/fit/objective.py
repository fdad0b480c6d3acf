"""What a fitted hand is asked to explain: image points, 3D landmarks, joint limits, a pose prior.

Every residual is divided by its standard deviation, so a cost of 1 is one sigma. Rows are independent; the prior on
`betas`, which rows may share, and the temporal term live in the solvers.
"""

from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from handkit.fit.kinematics import JointModel, Pose

# Nearer joints than this are pushed away, with this standard deviation.
MIN_DEPTH_M, DEPTH_SIGMA_M = 0.04, 0.004

# Cost [B], weighted residuals [B,R] and their Jacobian [B,R,61] if asked for.
Term = tuple[Tensor, Tensor, Tensor | None]


@dataclass(frozen=True)
class Observations:
    """Evidence about right hands, one row each.

    rays: points on the image plane at z = 1, i.e. K^-1 [x, y, 1]; ray_sigma: their standard deviation in the same
    unit, inf where a joint is missing. points: 3D landmarks in metres, camera axes; point_sigma: per axis, inf where
    missing. If `relative`, the points are known up to a translation and a scale near 1 (`scale_sigma`).
    """

    rays: Float[Tensor, "B 21 2"]
    ray_sigma: Float[Tensor, "B 21"]
    points: Float[Tensor, "B 21 3"]
    point_sigma: Float[Tensor, "B 21 3"]
    relative: bool
    scale_sigma: float = 0.07

    def has_points(self) -> Bool[Tensor, " B"]:
        """Which rows have 3D landmarks enough to turn a hand by."""
        return torch.isfinite(self.point_sigma).all(-1).sum(-1) >= 4

    def take(self, rows: Int[Tensor, " N"]) -> "Observations":
        kept = {f.name: getattr(self, f.name)[rows] for f in fields(self)[:4]}
        return Observations(**kept, relative=self.relative, scale_sigma=self.scale_sigma)


@dataclass(frozen=True)
class PosePrior:
    """Joint limits [15,3] and a Gaussian over the 45 angles; `limit_sigma` in radians beyond a limit."""

    lower: Float[Tensor, "15 3"]
    upper: Float[Tensor, "15 3"]
    mean: Float[Tensor, " 45"]
    precision: Float[Tensor, "45 45"]
    limit_sigma: float = 0.02

    def terms(
        self, angles: Float[Tensor, "B 15 3"]
    ) -> tuple[Float[Tensor, " B"], Float[Tensor, "B 45"], Float[Tensor, "B 45 45"]]:
        """Cost, half its gradient and the Gauss-Newton matrix of every row."""
        over = (angles - self.upper).clamp_min(0) - (self.lower - angles).clamp_min(0)
        beyond = over.flatten(1) / self.limit_sigma**2
        from_mean = angles.flatten(1) - self.mean
        pull = from_mean @ self.precision
        cost = (over.flatten(1) * beyond).sum(-1) + (from_mean * pull).sum(-1)
        active = (over.flatten(1) != 0).to(angles.dtype) / self.limit_sigma**2
        return cost, beyond + pull, torch.diag_embed(active) + self.precision


class Objective:
    """Cost of poses and shapes against observations, with a Geman-McClure loss on every joint's residual."""

    def __init__(
        self,
        model: JointModel,
        observed: Observations,
        prior: PosePrior,
        *,
        landmark_map: Float[Tensor, "21 21"] | None = None,
        robust: float = 4.0,
    ) -> None:
        self.model, self.observed, self.prior = model, observed, prior
        self.landmark_map, self.robust = landmark_map, robust

    def take(self, rows: Int[Tensor, " N"]) -> "Objective":
        """The objective of some rows."""
        return self._changed(self.observed.take(rows), self.robust)

    def with_robust(self, robust: float) -> "Objective":
        """The same evidence with outliers from `robust` sigma on."""
        return self._changed(self.observed, robust)

    def _changed(self, observed: Observations, robust: float) -> "Objective":
        return Objective(self.model, observed, self.prior, landmark_map=self.landmark_map, robust=robust)

    def cost(self, pose: Pose, betas: Float[Tensor, "B 10"]) -> Float[Tensor, " B"]:
        """Cost of every row."""
        joints, _, _ = self.model.forward(pose, betas)
        return self._sum(self._data_terms(joints, None), pose.angles)

    def linearise(
        self, pose: Pose, betas: Float[Tensor, "B 10"]
    ) -> tuple[Float[Tensor, " B"], Float[Tensor, "B 61"], Float[Tensor, "B 61 61"]]:
        """Cost, half its gradient and the Gauss-Newton matrix of every row: 51 entries of the pose, 10 of the shape."""
        joints, d_pose, d_betas = self.model.forward(pose, betas, jacobian=True)
        assert d_pose is not None
        assert d_betas is not None
        parts = self._data_terms(joints, torch.cat([d_pose, d_betas], -1))
        rows = torch.cat([jac for _, _, jac in parts if jac is not None], 1)
        residuals = torch.cat([residual for _, residual, _ in parts], 1)
        g, H = (rows.mT @ residuals[..., None])[..., 0], rows.mT @ rows
        _, prior_g, prior_H = self.prior.terms(pose.angles)
        g[:, 6:51] += prior_g
        H[:, 6:51, 6:51] += prior_H
        return self._sum(parts, pose.angles), g, H

    def _sum(self, parts: list[Term], angles: Tensor) -> Tensor:
        return torch.stack([cost for cost, _, _ in parts]).sum(0) + self.prior.terms(angles)[0]

    def _data_terms(self, joints: Tensor, J: Tensor | None) -> list[Term]:
        if self.landmark_map is not None:
            joints = self.landmark_map @ joints
            J = None if J is None else torch.einsum("jk,bkcp->bjcp", self.landmark_map, J)
        return [*self._image_terms(joints, J), *self._point_terms(joints, J)]

    def _image_terms(self, joints: Tensor, J: Tensor | None) -> list[Term]:
        o = self.observed
        if not torch.isfinite(o.ray_sigma).any():
            return []
        z = joints[..., 2:].clamp_min(MIN_DEPTH_M)
        uv = joints[..., :2] / z
        weight = 1 / o.ray_sigma
        residual = (uv - o.rays) * weight[..., None]
        too_near = (MIN_DEPTH_M - joints[..., 2]).clamp_min(0) / DEPTH_SIGMA_M
        jac = near_jac = None
        if J is not None:
            near = joints[..., 2:] < MIN_DEPTH_M
            jac = (J[..., :2, :] - uv[..., None] * J[..., 2:, :].masked_fill(near[..., None], 0)) / z[..., None]
            jac = jac * weight[..., None, None]
            near_jac = (-J[..., 2, :] / DEPTH_SIGMA_M).masked_fill(~near, 0)
        return [self._robust(residual, jac), ((too_near**2).sum(-1), too_near, near_jac)]

    def _point_terms(self, joints: Tensor, J: Tensor | None) -> list[Term]:
        o = self.observed
        if not torch.isfinite(o.point_sigma).any():
            return []
        weight = 1 / o.point_sigma
        if not o.relative:
            jac = J * weight[..., None] if J is not None else None
            return [self._robust((joints - o.points) * weight, jac)]
        seen = (weight.sum(-1, keepdim=True) > 0).to(joints.dtype)
        count = seen.sum(1, keepdim=True).clamp_min(1)
        centred = (joints - (joints * seen).sum(1, keepdim=True) / count) * seen
        target = (o.points - (o.points * seen).sum(1, keepdim=True) / count) * seen
        norm = (target**2).sum((1, 2)).clamp_min(1e-9)
        # Variable projection: the scale of the landmarks is solved for, and kept near 1 by a term of its own.
        scale = ((centred * target).sum((1, 2)) / norm).clamp(0.3, 3.0)
        residual = (centred - scale[:, None, None] * target) * weight
        scale_residual = ((scale - 1) / o.scale_sigma)[:, None]
        jac = scale_jac = None
        if J is not None:
            moved = (J - (J * seen[..., None]).sum(1, keepdim=True) / count[..., None]) * seen[..., None]
            jac = moved * weight[..., None]
            scale_jac = torch.einsum("bjc,bjcp->bp", target, moved)[:, None] / (norm * o.scale_sigma)[:, None, None]
        return [self._robust(residual, jac), (scale_residual[:, 0] ** 2, scale_residual, scale_jac)]

    def _robust(self, residual: Tensor, jac: Tensor | None) -> Term:
        c2 = self.robust**2
        squared = (residual**2).sum(-1)
        cost = (c2 * squared / (c2 + squared)).sum(-1)
        root = c2 / (c2 + squared)  # square root of the reweighting
        residual = (residual * root[..., None]).flatten(1)
        return cost, residual, None if jac is None else (jac * root[..., None, None]).flatten(1, 2)
