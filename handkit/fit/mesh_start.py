"""Where a fit to meshes starts: every bone's vertices are turned onto theirs by Procrustes, in closed form.

Nothing is searched, so that no pose is too bent for it; shape and correctives are left to the fit.
"""

import roma
import torch
from jaxtyping import Float
from torch import Tensor

from handkit.fit.kinematics import Pose
from handkit.fit.mesh_model import MeshModel
from handkit.geometry import matrix_to_axis_angle
from handkit.hand.limits import pose_to_angles

# A vertex this much further from the middle of its bone's vertices than at rest, times 1.3, is an outlier.
SLACK_M = 0.02
# Residuals beyond this count less and less; those of hands of other shapes are to count.
ROBUST_M = 0.02
# Bones whose vertices are few or flat keep their parent's rotation: a pull of so many square metres.
PULL_M2 = 2e-5
ROUNDS = 3


def start_from_mesh(model: MeshModel, points: Float[Tensor, "B 3 V"], certainty: Float[Tensor, "B V"]) -> Pose:
    """Poses whose bones meet the points (finite) as far as they count (0 to 1); angles may lie beyond the limits."""
    given = certainty * _near_their_bones(model, points, certainty)
    weight = given
    for i in range(ROUNDS):
        turns, shifts = _rigid_bones(model, points, weight)
        if i < ROUNDS - 1:
            maps = torch.cat([turns, shifts[..., None]], -1).permute(0, 2, 3, 1).reshape(-1, 16)
            by_vertex = (maps @ model.weights).view(*weight.shape[:1], 3, 4, weight.shape[1])
            moved = (by_vertex[:, :, :3] * model.template).sum(2) + by_vertex[:, :, 3]
            distance2 = (points - moved).square().sum(1)
            weight = given * (ROBUST_M**2 / (ROBUST_M**2 + distance2)) ** 2
    local = turns[:, model.parents].mT @ turns[:, 1:]
    angles = pose_to_angles(matrix_to_axis_angle(local).flatten(1), model.joints.frames)
    wrist = model.joints.rest_joints[0]
    return Pose(turns[:, 0], shifts[:, 0] + turns[:, 0] @ wrist - wrist, angles)


def _near_their_bones(
    model: MeshModel, points: Float[Tensor, "B 3 V"], certainty: Float[Tensor, "B V"]
) -> Float[Tensor, "B V"]:
    """0 for vertices that lie too far from the median of their bone's vertices to be of this hand, else 1."""
    near = torch.zeros_like(certainty)
    seen = torch.where(certainty[:, None] > 0, points, torch.nan)
    bone = model.weights.argmax(0)
    for k in range(16):
        own = torch.nonzero(bone == k)[:, 0]
        rest = model.template[:, own]
        radius = (rest - rest.median(1, keepdim=True).values).norm(dim=0)
        middle = seen[:, :, own].nanmedian(-1, keepdim=True).values
        near[:, own] = ((seen[:, :, own] - middle).norm(dim=1) < 1.3 * radius + SLACK_M).to(near.dtype)
    return near


def _rigid_bones(
    model: MeshModel, points: Float[Tensor, "B 3 V"], weight: Float[Tensor, "B V"]
) -> tuple[Float[Tensor, "B 16 3 3"], Float[Tensor, "B 16 3"]]:
    """The rotation and shift of every bone that takes its rest vertices, those it alone moves most, to the points."""
    B, V = weight.shape
    by_bone = model.weights**4
    moments = (by_bone[:, None] * torch.cat([model.template, torch.ones_like(model.template[:1])])).view(64, V)
    weighted = torch.cat([weight[:, None] * points, weight[:, None]], 1).view(B * 4, V)
    sums = (weighted @ moments.T).view(B, 4, 16, 4).permute(0, 2, 1, 3)  # [B, 16, (point, 1), (rest, 1)]
    total = sums[..., 3, 3].clamp_min(1e-9)[..., None]
    centre, rest_centre = sums[..., :3, 3] / total, sums[..., 3, :3] / total
    covariance = sums[..., :3, :3] - total[..., None] * centre[..., :, None] * rest_centre[..., None, :]
    turns = [roma.special_procrustes(covariance[:, 0])]
    for k, parent in enumerate(model.parents, 1):
        turns.append(roma.special_procrustes(covariance[:, k] + PULL_M2 * turns[parent]))
    rotation = torch.stack(turns, 1)
    return rotation, centre - (rotation @ rest_centre[..., None])[..., 0]
