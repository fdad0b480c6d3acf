"""What a hand fitted to a mesh is asked to explain, and Levenberg-Marquardt over many such hands, each on its own.

Every residual is divided by its standard deviation, so a cost of 1 is one sigma.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from handkit.fit.kinematics import POSE_SIZE, Pose
from handkit.fit.mesh_model import MeshModel
from handkit.fit.objective import PosePrior

# In standard deviations of a vertex (three coordinates): from here on residuals count less and less.
ROBUST = 5.0
SHAPE_PRIOR = 1.0
MIN_DAMPING, MAX_DAMPING = 1e-8, 1e6


@dataclass(frozen=True, eq=False)
class MeshObjective:
    """Cost of poses and shapes against right hands' meshes, with a Geman-McClure loss on every vertex.

    points: vertices in metres, finite throughout; precision: what squared residuals are multiplied by, 0 where missing.
    """

    model: MeshModel
    prior: PosePrior
    points: Float[Tensor, "B 3 V"]
    precision: Float[Tensor, "B 3 V"]

    def take(self, rows: Int[Tensor, " N"]) -> "MeshObjective":
        """The objective of some rows."""
        return MeshObjective(self.model, self.prior, self.points[rows], self.precision[rows])

    def residuals(self, pose: Pose, betas: Float[Tensor, "B 10"]) -> Float[Tensor, "B 3 V"]:
        """Vertices less points, metres."""
        return self.model.posed(pose, betas).vertices - self.points

    def linearise(
        self, pose: Pose, betas: Float[Tensor, "B 10"]
    ) -> tuple[Float[Tensor, " B"], Float[Tensor, "B 61"], Float[Tensor, "B 61 61"]]:
        """Cost, half its gradient and the Gauss-Newton matrix of every row: 51 entries of the pose, 10 of the shape."""
        mesh = self.model.posed(pose, betas)
        residual = mesh.vertices - self.points
        squared = (self.precision * residual.square()).sum(1, keepdim=True)
        root = ROBUST**2 / (ROBUST**2 + squared)  # square root of the reweighting
        g, H = self.model.normal_equations(mesh, residual, self.precision * root.square())
        prior_cost, prior_g, prior_H = self.prior.terms(pose.angles)
        g[:, 6:POSE_SIZE] += prior_g
        H[:, 6:POSE_SIZE, 6:POSE_SIZE] += prior_H
        g[:, POSE_SIZE:] += SHAPE_PRIOR * betas
        H[:, POSE_SIZE:, POSE_SIZE:] += SHAPE_PRIOR * torch.eye(10, dtype=H.dtype)
        return (root * squared).sum((1, 2)) + prior_cost + SHAPE_PRIOR * betas.square().sum(-1), g, H


class _State(NamedTuple):
    """Where every row is, the objective's linear model there, and its damping."""

    pose: Pose
    betas: Tensor
    cost: Tensor
    g: Tensor
    H: Tensor
    damping: Tensor

    def take(self, rows: Tensor) -> "_State":
        return _State(self.pose.take(rows), *(part[rows] for part in self[1:]))

    def where(self, mask: Tensor, other: "_State") -> "_State":
        """Rows of this where the mask [B] holds, else of the other."""
        parts = (
            torch.where(mask.view(-1, *[1] * (a.dim() - 1)), a, b) for a, b in zip(self[1:], other[1:], strict=True)
        )
        return _State(Pose.where(mask, self.pose, other.pose), *parts)


def solve_meshes(
    objective: MeshObjective, pose: Pose, betas: Float[Tensor, "B 10"], *, iterations: int, least_gain: float
) -> tuple[Pose, Float[Tensor, "B 10"]]:
    """Lower every row's cost until a step promises to lower it by less than the fraction `least_gain`.

    What the other rows are plays no part.
    """
    state = _State(pose, betas, *objective.linearise(pose, betas), torch.full_like(betas[:, 0], 1e-3))
    found, found_betas = Pose(*(part.clone() for part in pose)), betas.clone()
    rows = torch.arange(len(betas))
    for _ in range(iterations):
        step, promised = _damped_step(state)
        going = torch.nonzero((promised > least_gain * state.cost.clamp_min(1)) & (state.damping < MAX_DAMPING))[:, 0]
        if len(going) < len(rows):
            rows, step, state, objective = rows[going], step[going], state.take(going), objective.take(going)
        if not len(rows):
            break
        moved, moved_betas = state.pose.moved(step[:, :POSE_SIZE]), state.betas + step[:, POSE_SIZE:]
        damping = (state.damping * 0.1).clamp_min(MIN_DAMPING)
        tried = _State(moved, moved_betas, *objective.linearise(moved, moved_betas), damping)
        state = tried.where(tried.cost < state.cost, state._replace(damping=state.damping * 10))
        for whole, part in zip((*found, found_betas), (*state.pose, state.betas), strict=True):
            whole[rows] = part
    return found, found_betas


def _damped_step(state: _State) -> tuple[Float[Tensor, "B 61"], Float[Tensor, " B"]]:
    """A step, and by how much the linear model says that it lowers the cost."""
    diagonal = torch.diagonal(state.H, dim1=1, dim2=2)
    A = state.H + torch.diag_embed(state.damping[:, None] * diagonal + 1e-9)
    step = -torch.cholesky_solve(state.g[..., None], torch.linalg.cholesky(A))[..., 0]
    return step, -(state.g * step).sum(-1)
