"""The hand that S2HAND's numbers describe, in front of a camera (S2HAND 3.2.2, 3.2.3): M = s M0 R + T.

Convention: metres in camera axes; pixels of a square image `width` px wide. The model's own root is turned in the
skinning, then R turns about the model's origin, not about the wrist. A network sees a crop and cannot know its focal
length, so its translation is one before the canonical camera (focal 480 / 224 image widths, principal point in the
middle: FreiHAND's).
The released code turns the root by (pi, 0, 0) and uses |s|; so does "perspective-true". The others turn it so that at
R = 0 the hand is upright and seen from the thumb's side: palm and back are then a quarter turn away, where axis-angle
is smooth, and a random backbone learns orientation in fewer steps. s and depth stay positive as they fall.
"""

import math
from typing import Final, Literal, NamedTuple, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from handkit.errors import HandkitError
from handkit.geometry.cameras import K_from_focal, backproject, project
from handkit.geometry.rotations import axis_angle_to_matrix, ray_from_axis
from handkit.hand.layer import ManoLayer
from handkit.hand.model import HandModel

CameraKind = Literal["perspective", "perspective-true", "orthographic"]
CAMERAS: Final = get_args(CameraKind)
NUM_PCA: Final = 30
CANONICAL_FOCAL: Final = 480 / 224  # image widths
RELEASED_ROOT: Final = (math.pi, 0.0, 0.0)
UPRIGHT_ROOT: Final = (math.pi / math.sqrt(2), math.pi / math.sqrt(2), 0.0)
_NEAR_M, _SMALL = 0.2, 0.5


class ScaledHandOutput(NamedTuple):
    """Joints and vertices in front of the camera, where they are seen, and the pose that made them.

    `vertices_px` are pixel x, pixel y and depth, as renderers take them; `pose` is axis-angle with the mean pose added,
    in the model's joint order.
    """

    joints: Float[Tensor, "*B 21 3"]
    vertices: Float[Tensor, "*B 778 3"]
    joints_2d: Float[Tensor, "*B 21 2"]
    vertices_px: Float[Tensor, "*B 778 3"]
    pose: Float[Tensor, "*B 15 3"]


class Placed(NamedTuple):
    """Where a hand stands: x_cam = turn @ (s R x) + transl."""

    turn: Float[Tensor, "*B 3 3"]
    transl: Float[Tensor, "*B 3"]


class ScaledHandLayer(nn.Module):
    """Poses a hand, scales, turns and shifts it, and projects it.

    "perspective": what the canonical camera would show, before the true camera K: the same place in the image, depth
    by the ratio of the focal lengths, the hand turned with the ray through its origin. With a canonical K this is the
    plain translation. "perspective-true": the network's translation is taken in the true camera as it stands, as the
    released code does. "orthographic": the canonical camera with all points at the origin's depth; K plays no part
    (Table 8).
    Constants are not in the state dict; works on its inputs' device.
    """

    components: Tensor
    pose_mean: Tensor
    root: Tensor

    def __init__(self, hand: HandModel, camera: str = "perspective") -> None:
        super().__init__()
        self.hand, self.camera = hand, check_camera(camera)
        self.mano = ManoLayer(hand, num_pca=NUM_PCA, flat_hand_mean=False)
        self.register_buffer("components", torch.tensor(hand.hands_components[:NUM_PCA]).float(), persistent=False)
        self.register_buffer("pose_mean", torch.tensor(hand.hands_mean).float(), persistent=False)
        self.register_buffer("root", torch.tensor(root_turn(camera)), persistent=False)

    def forward(
        self,
        *,
        pca: Float[Tensor, "*B 30"],
        betas: Float[Tensor, "*B 10"],
        scale: Float[Tensor, "*B"],
        orient: Float[Tensor, "*B 3"],
        transl: Float[Tensor, "*B 3"],
        K: Float[Tensor, "*B 3 3"],
        width: int,
    ) -> ScaledHandOutput:
        """`pca` without the model's mean pose; `K` in pixels of the image. float32, or float64 where an input is."""
        with torch.autocast(orient.device.type, enabled=False):  # half precision would cost millimetres
            posed = self.mano(global_orient=self.root.to(pca), hand_pose=pca, betas=betas)
            points = torch.cat([posed.joints, posed.vertices], -2)
            size = positive_scale(scale.to(points), self.camera)
            turned = size[..., None, None] * (points @ axis_angle_to_matrix(orient.to(points)).mT)
            canonical = canonical_transl(transl.to(points), self.camera)
            if self.camera == "orthographic":
                points, uv = turned + canonical[..., None, :], _flat(turned, canonical, width)
            else:
                placed = self.place(canonical, K.to(points), width)
                points = turned @ placed.turn.mT + placed.transl[..., None, :]
                uv = project(points, K.to(points))
            pose = (self.pose_mean.to(pca) + pca @ self.components.to(pca)).unflatten(-1, (15, 3))
        joints, vertices = points.split([21, 778], -2)
        joints_2d, flat = uv.split([21, 778], -2)
        return ScaledHandOutput(joints, vertices, joints_2d, torch.cat([flat, vertices[..., 2:]], -1), pose)

    def place(self, canonical: Float[Tensor, "*B 3"], K: Float[Tensor, "*B 3 3"], width: int) -> Placed:
        """The turn and translation in the true camera of a translation of positive depth in the canonical one."""
        if _is_literal(self.camera):
            return Placed(torch.eye(3, dtype=K.dtype, device=K.device).expand_as(K), canonical)
        focal = CANONICAL_FOCAL * width
        own = K_from_focal(torch.tensor(focal, dtype=K.dtype, device=K.device), width, width)
        uv = project(canonical[..., None, :], own)
        depth = canonical[..., 2] * (K[..., 0, 0] * K[..., 1, 1]).sqrt() / focal
        transl = backproject(uv, depth[..., None], K)[..., 0, :]
        return Placed(ray_from_axis(transl) @ ray_from_axis(canonical).mT, transl)


def check_camera(camera: str) -> str:
    """`camera`, if there is such a kind; else HandkitError."""
    if camera not in CAMERAS:
        raise HandkitError(f"there is no camera {camera!r}", f"use one of {', '.join(CAMERAS)}")
    return camera


def root_turn(camera: str) -> tuple[float, float, float]:
    """The axis-angle by which the model's root is turned before R."""
    return RELEASED_ROOT if _is_literal(camera) else UPRIGHT_ROOT


def positive_scale(scale: Float[Tensor, "*B"], camera: str) -> Float[Tensor, "*B"]:
    """A network's scale as it is used: as it stands from 0.5 on, below falling off as an exponential; released |s|."""
    return scale.abs() if _is_literal(camera) else _kept_positive(scale, _SMALL)


def canonical_transl(transl: Float[Tensor, "*B 3"], camera: str) -> Float[Tensor, "*B 3"]:
    """A network's translation with its depth kept in front of the camera: below 0.2 m it falls off as an exponential.

    As it stands from there on, and throughout with "perspective-true".
    """
    if _is_literal(camera):
        return transl
    return torch.cat([transl[..., :2], _kept_positive(transl[..., 2:], _NEAR_M)], -1)


def _is_literal(camera: str) -> bool:
    return camera == "perspective-true"


def _kept_positive(values: Tensor, start: float) -> Tensor:
    """Smooth and positive: the values from `start` on, below it start * exp((x - start) / start)."""
    falling = start * ((values.clamp_max(start) - start) / start).exp()
    return torch.where(values >= start, values, falling)


def _flat(turned: Tensor, transl: Tensor, width: int) -> Tensor:
    """Pixels by the canonical camera with every point at the depth of the hand's origin."""
    ratio = CANONICAL_FOCAL * width / transl[..., 2]
    return ratio[..., None, None] * (turned[..., :2] + transl[..., None, :2]) + width / 2
