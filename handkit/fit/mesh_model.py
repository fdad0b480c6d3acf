"""All vertices of the hand as a function of pose and shape, with what Gauss-Newton needs of their derivatives.

The pose is that of `handkit.fit.kinematics`, its tangent 51 entries, shape 10 more. V vertices lie along the last axis.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from handkit.conventions import MANO_PARENTS
from handkit.fit.kinematics import JointModel, Pose, skew
from handkit.hand.model import HandModel
from handkit.hand.skinning import joint_maps


class PosedMesh(NamedTuple):
    """Vertices, and what was met on the way to them."""

    vertices: Float[Tensor, "B 3 V"]
    maps: Float[Tensor, "B 16 3 4"]  # from rest to posed space, of every bone
    places: Float[Tensor, "B 16 3"]  # of the joints
    shaped: Float[Tensor, "B 4 V"]  # rest vertices with shape and correctives, and a row of ones
    blended: Float[Tensor, "B 3 3 V"]  # every vertex's linear map
    local: Float[Tensor, "B 15 3 3"]
    axes: Float[Tensor, "B 15 3 3"]  # of the three angles (rows), in the parent's frame


class MeshModel:
    """Built from the right hand of a model; float64."""

    def __init__(self, hand: HandModel, joints: JointModel) -> None:
        def tensor(values: np.ndarray) -> Tensor:
            return torch.tensor(np.ascontiguousarray(values), dtype=torch.float64)

        self.joints = joints
        self.template = tensor(hand.v_template.T)
        self.shapes = tensor(hand.shapedirs.transpose(2, 1, 0))  # [10, 3, V]
        self.correctives = tensor(hand.posedirs.transpose(2, 1, 0).reshape(135, -1))  # [135, 3 * V]
        self.weights = tensor(hand.lbs_weights.T)  # [16, V]
        self.reach = joints.below[1:] @ self.weights  # how much of a vertex moves with a joint
        self.parents = list(MANO_PARENTS[1:])

    def posed(self, pose: Pose, betas: Float[Tensor, "B 10"]) -> PosedMesh:
        """The mesh of every row."""
        B, V = len(betas), self.weights.shape[1]
        local, axes = self.joints.local_rotations(pose.angles)
        feature = (local - torch.eye(3, dtype=torch.float64)).view(B, 135)
        shaped = torch.addmm(self.template.view(-1), betas, self.shapes.view(10, -1))
        shaped = torch.addmm(shaped, feature, self.correctives).view(B, 3, V)
        rest = self.joints.rest_joints + torch.einsum("jck,bk->bjc", self.joints.joint_shapes, betas)
        turns = torch.cat([pose.rotation[:, None], local], 1)
        bottom = torch.tensor([0.0, 0, 0, 1], dtype=torch.float64).view(1, 1, 1, 4)
        maps = joint_maps(turns, rest[..., None], pose.transl, bottom)[:, :, :3]
        places = (maps[..., :3] @ rest[..., None])[..., 0] + maps[..., 3]
        by_vertex = (maps.permute(0, 2, 3, 1).reshape(-1, 16) @ self.weights).view(B, 3, 4, V)
        blended = by_vertex[:, :, :3]
        vertices = (blended * shaped[:, None]).sum(2) + by_vertex[:, :, 3]
        ones = torch.ones_like(shaped[:, :1])
        return PosedMesh(vertices, maps, places, torch.cat([shaped, ones], 1), blended, local, axes)

    def normal_equations(
        self, mesh: PosedMesh, residual: Float[Tensor, "B 3 V"], weight: Float[Tensor, "B 3 V"]
    ) -> tuple[Float[Tensor, "B 61"], Float[Tensor, "B 61 61"]]:
        """J^T W r and J^T W J of vertices.

        J^T W r is exact; J^T W J leaves out that correctives grow with the angles, which costs an iteration or two and
        no exactness.
        """
        B = len(residual)
        bend, rest = self._bend_jacobian(mesh).flatten(2), self._rest_jacobian(mesh).flatten(2)
        pull = weight * residual
        column = pull.flatten(1)[..., None]
        g = torch.cat([rest[:, :6] @ column, bend @ column, rest[:, 6:] @ column], 1)[..., 0]
        g[:, 6:51] += self._corrective_pull(mesh, pull)
        root = weight.flatten(1)[:, None].sqrt()
        bend *= root
        rest *= root
        H = residual.new_empty(B, 61, 61)
        own, cross, others = bend @ bend.mT, rest @ bend.mT, rest @ rest.mT
        H[:, 6:51, 6:51] = own
        for rows, part in ((slice(0, 6), slice(0, 6)), (slice(51, 61), slice(6, 16))):
            H[:, rows, 6:51] = cross[:, part]
            H[:, 6:51, rows] = cross[:, part].mT
            H[:, rows, :6], H[:, rows, 51:] = others[:, part, :6], others[:, part, 6:]
        return g, H

    def _bend_jacobian(self, mesh: PosedMesh) -> Float[Tensor, "B 45 3 V"]:
        """By the angles: what moves with a joint turns about its place."""
        B, V = len(mesh.vertices), self.weights.shape[1]
        on_bone = mesh.maps[:, 1:].reshape(B, 45, 4) @ mesh.shaped
        arms = on_bone.view(B, 15, 3, V).mul_(self.weights[1:, None])
        chains = arms.view(B, 5, 3, 3, V)
        chains[:, :, 1] += chains[:, :, 2]
        chains[:, :, 0] += chains[:, :, 1]
        arms.addcmul_(mesh.places[:, 1:, :, None], self.reach[:, None], value=-1)
        world_axes = mesh.axes @ mesh.maps[:, self.parents, :, :3].mT
        return torch.bmm(skew(world_axes).view(B * 15, 9, 3), arms.view(B * 15, 3, V)).view(B, 45, 3, V)

    def _rest_jacobian(self, mesh: PosedMesh) -> Float[Tensor, "B 16 3 V"]:
        """By the rotation, the translation and the shape."""
        B, V = len(mesh.vertices), self.weights.shape[1]
        J = mesh.vertices.new_empty(B, 16, 3, V)
        eye = torch.eye(3, dtype=torch.float64)
        J[:, :3] = (skew(eye).view(9, 3) @ (mesh.vertices - mesh.places[:, 0, :, None])).view(B, 3, 3, V)
        J[:, 3:6] = eye[..., None]
        turns, S = mesh.maps[..., :3], self.joints.joint_shapes
        moves = [S[0].expand(B, 3, 10)]
        for j, parent in enumerate(self.parents, 1):
            moves.append(moves[parent] + turns[:, parent] @ (S[j] - S[parent]))
        shift = torch.stack(moves, 1) - turns @ S  # [B, 16, 3, 10]
        J[:, 6:] = (shift.permute(0, 3, 2, 1).reshape(-1, 16) @ self.weights).view(B, 10, 3, V)
        for c in range(3):
            J[:, 6:].addcmul_(mesh.blended[:, None, :, c], self.shapes[:, c, None])
        return J

    def _corrective_pull(self, mesh: PosedMesh, pull: Float[Tensor, "B 3 V"]) -> Float[Tensor, "B 45"]:
        """How the correctives, through the local rotations, pass on a pull at the vertices."""
        at_rest = (mesh.blended * pull[:, :, None]).sum(1).flatten(1)
        by_rotation = (at_rest @ self.correctives.T).unflatten(1, (15, 1, 3, 3))
        return (skew(mesh.axes) @ mesh.local[:, :, None] * by_rotation).sum((-1, -2)).flatten(1)
