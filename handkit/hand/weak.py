"""The hand under a weak-perspective camera: what a network's numbers look like (SeqHAND Eq. 2 to 4).

Convention: metres about the model's own origin, turned into camera axes (x right, y down, z forward) but not shifted;
2D in image widths, (0, 0) the top-left corner and (1, 1) the bottom-right one of a square image.
`WeakPoseLayer` is HandNet's (RealisticHands 3.1): about the wrist, by 48 numbers of a right hand, zeros being an
upright hand seen from the thumb's side in the model's mean pose.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from handkit.geometry.rotations import axis_angle_to_matrix, compose_axis_angle
from handkit.hand.layer import ManoLayer
from handkit.hand.model import HandModel
from handkit.hand.scaled import UPRIGHT_ROOT

NUM_PCA = 10
_CENTRE = 0.5  # of the image, in its widths


class WeakHandOutput(NamedTuple):
    """3D in metres, 2D in image widths; V is 778, or 0 where vertices were not wanted."""

    joints: Float[Tensor, "*B 21 3"]
    vertices: Float[Tensor, "*B V 3"]
    joints_2d: Float[Tensor, "*B 21 2"]
    vertices_2d: Float[Tensor, "*B V 2"]


class WeakHandLayer(nn.Module):
    """Poses a hand, turns it and projects it orthographically: x = R M(theta, beta), uv = s x + t + 0.5.

    The same annotations as the synthetic sequences'. Constants are not in the state dict; works on its inputs' device.
    """

    def __init__(self, hand: HandModel) -> None:
        super().__init__()
        self.mano = ManoLayer(hand, num_pca=NUM_PCA, flat_hand_mean=False)

    def forward(
        self,
        *,
        pca: Float[Tensor, "*B 10"],
        betas: Float[Tensor, "*B 10"],
        scale: Float[Tensor, "*B"],
        shift: Float[Tensor, "*B 2"],
        orient: Float[Tensor, "*B 3"],
        want_vertices: bool = True,
    ) -> WeakHandOutput:
        """`pca` without the model's mean pose, `scale` in image widths a metre, `shift` in widths from the centre.

        `orient` is axis-angle about the model's origin, not about the wrist. float32, or float64 where an input is.
        """
        with torch.autocast(orient.device.type, enabled=False):  # half precision would cost millimetres
            posed = self.mano(hand_pose=pca, betas=betas, want_vertices=want_vertices)
            turn = axis_angle_to_matrix(orient.to(posed.joints.dtype)).mT
            points = torch.cat([posed.joints, posed.vertices], dim=-2)
            points = points @ turn
            return _projected(points, scale, shift)


class WeakPoseLayer(nn.Module):
    """Poses a hand by its 48 numbers, turns it about its wrist and projects it: uv = s x + t + 0.5.

    Metres about the wrist, which is seen at t from the image's centre. Constants are not in the state dict; works on
    its inputs' device.
    """

    upright: Tensor

    def __init__(self, hand: HandModel) -> None:
        super().__init__()
        self.mano = ManoLayer(hand, flat_hand_mean=False)
        upright = axis_angle_to_matrix(torch.tensor(UPRIGHT_ROOT, dtype=torch.float64)).round()  # half a turn about x=y
        self.register_buffer("upright", upright.float(), persistent=False)

    def forward(
        self,
        *,
        pose: Float[Tensor, "*B 48"],
        betas: Float[Tensor, "*B 10"],
        camera: Float[Tensor, "*B 3"],
        want_vertices: bool = True,
    ) -> WeakHandOutput:
        """`pose` as `encode_pose` gives it; `camera`: scale in image widths a metre, t in widths.

        float32, or float64 where an input is.
        """
        with torch.autocast(pose.device.type, enabled=False):
            posed = self.mano(hand_pose=pose[..., 3:], betas=betas, want_vertices=want_vertices)
            points = torch.cat([posed.joints, posed.vertices], -2)
            turn = axis_angle_to_matrix(pose[..., :3].to(points)) @ self.upright.to(points)
            points = (points - points[..., :1, :]) @ turn.mT
            return _projected(points, camera[..., 0], camera[..., 1:])


def encode_pose(
    global_orient: Float[Tensor, "*B 3"], hand_pose: Float[Tensor, "*B 45"], hand: HandModel
) -> Float[Tensor, "*B 48"]:
    """A model's turn and joints (axis-angle, the mean pose added) as 48 numbers: turn after upright, then the rest.

    The turn is of at most pi.
    """
    upright = global_orient.new_tensor(UPRIGHT_ROOT).expand_as(global_orient)
    return torch.cat([compose_axis_angle(-upright, global_orient), hand_pose - _mean_pose(hand, hand_pose)], -1)


def decode_pose(pose: Float[Tensor, "*B 48"], hand: HandModel) -> tuple[Float[Tensor, "*B 3"], Float[Tensor, "*B 45"]]:
    """The other way: the turn, of at most pi, and the joints with the mean pose added."""
    upright = pose.new_tensor(UPRIGHT_ROOT).expand_as(pose[..., :3])
    return compose_axis_angle(upright, pose[..., :3]), pose[..., 3:] + _mean_pose(hand, pose)


def _mean_pose(hand: HandModel, like: Tensor) -> Tensor:
    return torch.tensor(hand.hands_mean).to(like)


def _projected(
    points: Float[Tensor, "*B N 3"], scale: Float[Tensor, "*B"], shift: Float[Tensor, "*B 2"]
) -> WeakHandOutput:
    """The 21 joints and what vertices follow, with their places in the image."""
    flat = scale.to(points)[..., None, None] * points[..., :2] + (shift.to(points) + _CENTRE)[..., None, :]
    number = points.shape[-2] - 21
    joints, vertices = points.split([21, number], dim=-2)
    joints_2d, vertices_2d = flat.split([21, number], dim=-2)
    return WeakHandOutput(joints, vertices, joints_2d, vertices_2d)
