"""The hand under a weak-perspective camera: what a network's numbers look like (SeqHAND Eq. 2 to 4).

Convention: metres about the model's own origin, turned into camera axes (x right, y down, z forward) but not shifted;
2D in image widths, (0, 0) the top-left corner and (1, 1) the bottom-right one of a square image.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from handkit.geometry.rotations import axis_angle_to_matrix
from handkit.hand.layer import ManoLayer
from handkit.hand.model import HandModel

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
            posed = self.mano(hand_pose=pca, betas=betas)
            turn = axis_angle_to_matrix(orient.to(posed.joints.dtype)).mT
            points = torch.cat([posed.joints, posed.vertices], dim=-2) if want_vertices else posed.joints
            points = points @ turn
            flat = scale.to(points)[..., None, None] * points[..., :2] + (shift.to(points) + _CENTRE)[..., None, :]
        number = points.shape[-2] - 21
        joints, vertices = points.split([21, number], dim=-2)
        joints_2d, vertices_2d = flat.split([21, number], dim=-2)
        return WeakHandOutput(joints, vertices, joints_2d, vertices_2d)
