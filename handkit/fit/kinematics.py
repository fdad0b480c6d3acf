"""Joints of the hand and their derivatives in closed form, without touching the other 757 vertices.

A pose here is a rotation `R` [*B,3,3] about the wrist, a translation [*B,3] and anatomical angles [*B,15,3] (flexion,
abduction, twist; see `handkit.hand.limits`), so that joint limits are plain boxes. The tangent of a pose has 51
entries: 3 of the rotation (left perturbation: exp(w) R), 3 of the translation, 45 angles; shape adds 10.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from handkit.conventions import MANO_PARENTS, OURS_FROM_MANO_AND_TIPS
from handkit.hand.limits import joint_frames
from handkit.hand.model import HandModel

POSE_SIZE = 51


class Pose(NamedTuple):
    """One hand pose per row: rotation [B,3,3], translation [B,3] m, angles [B,15,3] rad."""

    rotation: Float[Tensor, "*B 3 3"]
    transl: Float[Tensor, "*B 3"]
    angles: Float[Tensor, "*B 15 3"]

    def take(self, rows: Int[Tensor, " N"]) -> "Pose":
        return Pose(self.rotation[rows], self.transl[rows], self.angles[rows])

    def moved(self, step: Float[Tensor, "*B 51"]) -> "Pose":
        """The pose after a tangent step."""
        turn = torch.linalg.matrix_exp(skew(step[..., :3]))
        return Pose(
            turn @ self.rotation, self.transl + step[..., 3:6], self.angles + step[..., 6:].unflatten(-1, (15, 3))
        )

    @staticmethod
    def where(mask: Tensor, a: "Pose", b: "Pose") -> "Pose":
        """Rows of `a` where the mask [B] holds, else rows of `b`."""
        return Pose(
            torch.where(mask[:, None, None], a.rotation, b.rotation),
            torch.where(mask[:, None], a.transl, b.transl),
            torch.where(mask[:, None, None], a.angles, b.angles),
        )


def skew(v: Float[Tensor, "*B 3"]) -> Float[Tensor, "*B 3 3"]:
    """Cross-product matrices: skew(v) @ x = v x x."""
    x, y, z = v.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))


def _axis_rotation(angle: Tensor, axis: int) -> Tensor:
    c, s = angle.cos(), angle.sin()
    one, zero = torch.ones_like(c), torch.zeros_like(c)
    rows = {
        0: (one, zero, zero, zero, c, -s, zero, s, c),
        1: (c, zero, s, zero, one, zero, -s, zero, c),
        2: (c, -s, zero, s, c, zero, zero, zero, one),
    }[axis]
    return torch.stack(rows, -1).unflatten(-1, (3, 3))


class JointModel:
    """The 21 joints as a function of pose and shape, with their Jacobian.

    Built from the right hand of a model; pose correctives move the fingertip vertices but are left out of the Jacobian
    (they are a fraction of a millimetre there).
    """

    def __init__(self, hand: HandModel, dtype: torch.dtype = torch.float64, device: str = "cpu") -> None:
        def tensor(values: object) -> Tensor:
            return torch.tensor(values, dtype=dtype, device=device)

        tips = list(hand.tip_vertices)
        self.rest_joints = tensor(hand.J_regressor @ hand.v_template)
        self.joint_shapes = torch.einsum("jv,vck->jck", tensor(hand.J_regressor), tensor(hand.shapedirs))
        self.rest_tips = tensor(hand.v_template[tips])
        self.tip_shapes = tensor(hand.shapedirs[tips])
        self.tip_correctives = tensor(hand.posedirs[tips])
        self.tip_weights = tensor(hand.lbs_weights[tips])
        self.frames = joint_frames(hand).to(dtype=dtype, device=device)
        self.order = torch.tensor(OURS_FROM_MANO_AND_TIPS, device=device)
        below = torch.zeros(16, 16, dtype=dtype, device=device)  # below[j, k]: bone k moves with joint j
        for k in range(16):
            j = k
            while j >= 0:
                below[j, k] = 1
                j = MANO_PARENTS[j]
        self.below = below
        self.dtype, self.device = dtype, device

    def local_rotations(self, angles: Float[Tensor, "*B 15 3"]) -> tuple[Tensor, Tensor]:
        """Local rotations [*B,15,3,3] and the axes of the three angles in the parent's frame [*B,15,3(angle),3]."""
        flex, abduct, twist = angles.unbind(-1)
        Rz, Ry = _axis_rotation(flex, 2), _axis_rotation(-abduct, 1)
        Rzy = Rz @ Ry
        F = self.frames
        local = F @ Rzy @ _axis_rotation(twist, 0) @ F.mT
        ez = torch.zeros_like(angles)
        ez[..., 2] = 1
        axes = torch.stack([ez, -Rz[..., :, 1], Rzy[..., :, 0]], -2)
        return local, torch.einsum("jik,...jak->...jai", F, axes)

    def forward(
        self, pose: Pose, betas: Float[Tensor, "B 10"], *, jacobian: bool = False
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Joints [B,21,3] in our order; with `jacobian` also d/d pose [B,21,3,51] and d/d betas [B,21,3,10]."""
        rest = self.rest_joints + torch.einsum("jck,bk->bjc", self.joint_shapes, betas)
        local, axes = self.local_rotations(pose.angles)
        turns: list[Tensor] = [pose.rotation]
        places: list[Tensor] = [rest[:, 0] + pose.transl]
        for j in range(1, 16):
            parent = MANO_PARENTS[j]
            places.append(places[parent] + (turns[parent] @ (rest[:, j] - rest[:, parent]).unsqueeze(-1)).squeeze(-1))
            turns.append(turns[parent] @ local[:, j - 1])
        G, p = torch.stack(turns, 1), torch.stack(places, 1)
        eye = torch.eye(3, dtype=self.dtype, device=self.device)
        feature = (local - eye).flatten(1)
        tips = self.rest_tips + torch.einsum("pck,bk->bpc", self.tip_shapes, betas)
        tips = tips + torch.einsum("pcf,bf->bpc", self.tip_correctives, feature)
        on_bone = torch.einsum("bkij,bpkj->bpki", G, tips[:, :, None] - rest[:, None]) + p[:, None]
        tip = torch.einsum("pk,bpki->bpi", self.tip_weights, on_bone)
        joints = torch.cat([p, tip], 1)[:, self.order]
        if not jacobian:
            return joints, None, None
        d_pose = self._pose_jacobian(G, p, axes, on_bone, tip)
        d_betas = self._shape_jacobian(G)
        return joints, d_pose[:, self.order], d_betas[:, self.order]

    def _pose_jacobian(self, G: Tensor, p: Tensor, axes: Tensor, on_bone: Tensor, tip: Tensor) -> Tensor:
        B = len(p)
        parents = list(MANO_PARENTS[1:])
        world_axes = torch.einsum("bjik,bjak->bjai", G[:, parents], axes)  # [B,15,3,3]
        arm_joint = self.below[1:, :, None] * (p[:, None] - p[:, 1:, None])  # [B,15,16,3]
        reach = torch.einsum("pk,jk->jpk", self.tip_weights, self.below[1:])
        arm_tip = torch.einsum("jpk,bpki->bjpi", reach, on_bone) - reach.sum(-1)[..., None] * p[:, 1:, None]
        arms = torch.cat([arm_joint, arm_tip], 2)  # [B,15,21,3]
        spin = torch.linalg.cross(world_axes[:, :, :, None], arms[:, :, None], dim=-1)  # [B,15,3,21,3]
        d_angles = spin.permute(0, 3, 4, 1, 2).flatten(3)
        points = torch.cat([p, tip], 1)
        d_root = -skew(points - p[:, :1])
        d_transl = torch.eye(3, dtype=p.dtype, device=p.device).expand(B, 21, 3, 3)
        return torch.cat([d_root, d_transl, d_angles], -1)

    def _shape_jacobian(self, G: Tensor) -> Tensor:
        B, S = len(G), self.joint_shapes
        moves: list[Tensor] = [S[0].expand(B, 3, 10)]
        for j in range(1, 16):
            parent = MANO_PARENTS[j]
            moves.append(moves[parent] + G[:, parent] @ (S[j] - S[parent]))
        d = torch.stack(moves, 1)
        rel = self.tip_shapes[:, None] - S[None]
        d_tip = torch.einsum("pk,bkij,pkjs->bpis", self.tip_weights, G, rel)
        return torch.cat([d, d_tip + torch.einsum("pk,bkis->bpis", self.tip_weights, d)], 1)
