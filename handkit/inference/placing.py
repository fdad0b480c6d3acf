"""From a weak-perspective hand in a crop to the full image, and to a camera.

Convention: full-image pixels, (x, y), pixel centres at +0.5; a weak camera shows x of the hand, metres in camera axes
about the hand model's own origin, at scale * x[:2] + shift. A left hand is what the network saw in the mirrored crop,
mirrored back, with the left hand's own parameters.
"""

from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from handkit.errors import HandkitError
from handkit.fit import HandParameters
from handkit.geometry.cameras import weak_to_full
from handkit.geometry.rotations import (
    axis_angle_to_matrix,
    matrix_to_axis_angle,
    mirror_axis_angle,
    ray_from_axis,
)
from handkit.hand import HandModel, ManoLayer
from handkit.nets import WeakHand


@dataclass(frozen=True, eq=False, kw_only=True)
class HandsInImage:
    """N hands under weak-perspective cameras of the full image, float64.

    hand_pose: axis-angle, the mean pose added. scale: px a metre. shift: px, where the hand's origin is seen. orient:
    axis-angle that turns the hand about its origin, not about its wrist.
    """

    hand_pose: Float[Tensor, "N 45"]
    betas: Float[Tensor, "N 10"]
    orient: Float[Tensor, "N 3"]
    scale: Float[Tensor, " N"]
    shift: Float[Tensor, "N 2"]
    is_right: Bool[Tensor, " N"]

    def __len__(self) -> int:
        return len(self.scale)

    def rows(self, index: Tensor) -> "HandsInImage":
        """The hands that a mask or indices pick."""
        return HandsInImage(**{f.name: getattr(self, f.name)[index] for f in fields(self)})


def place_in_image(
    found: WeakHand,
    squares: Float[np.ndarray, "N 4"],
    is_right: Bool[np.ndarray, " N"],
    trained_hand: HandModel,
) -> HandsInImage:
    """What a network says of the crops of square boxes, those of left hands mirrored, as hands of the full image.

    `trained_hand` is the right hand whose pose components the network was trained with.
    """
    pca, betas, scale, shift, orient = (part.detach().cpu().double() for part in found)
    right, box = torch.from_numpy(np.asarray(is_right, bool)), torch.from_numpy(np.asarray(squares, np.float64))
    components = torch.from_numpy(np.array(trained_hand.hands_components[: pca.shape[-1]]))
    pose = (torch.from_numpy(np.array(trained_hand.hands_mean)) + pca @ components).unflatten(-1, (15, 3))
    side, centre = box[:, 2] - box[:, 0], (box[:, :2] + box[:, 2:]) / 2
    sign = torch.where(right, 1.0, -1.0).double()
    return HandsInImage(
        hand_pose=torch.where(right[:, None, None], pose, mirror_axis_angle(pose)).flatten(-2),
        betas=betas,
        orient=torch.where(right[:, None], orient, mirror_axis_angle(orient)),
        scale=side * scale,
        shift=centre + side[:, None] * shift * torch.stack([sign, torch.ones_like(sign)], -1),
        is_right=right,
    )


def hands_in_camera(found: HandsInImage, K: Float[np.ndarray, "N 3 3"], hand: HandModel) -> HandParameters:
    """Hands of one side in front of pinhole cameras K that show them as the weak-perspective ones do.

    The origin's depth is focal / scale on the ray through `shift`. A crop shows a hand beside the optical axis as it is
    turned towards that ray, so the hand is turned by what takes the axis to the ray. Exact at the hand's origin.
    """
    cameras = torch.from_numpy(np.asarray(K, np.float64))
    origin = weak_to_full(found.scale, found.shift, cameras)
    R = ray_from_axis(origin) @ axis_angle_to_matrix(found.orient)
    return _parameters(found, R, origin, hand)


def hands_about_origin(found: HandsInImage, K: Float[np.ndarray, "N 3 3"] | None, hand: HandModel) -> HandParameters:
    """Hands of one side turned about their own origin, which stays at (0, 0, 0), whatever the camera.

    So do the hands of generated sequences.
    """
    return _parameters(found, axis_angle_to_matrix(found.orient), torch.zeros(len(found), 3, dtype=torch.float64), hand)


def weak_K(found: HandsInImage) -> Float[np.ndarray, "N 3 3"]:
    """The weak cameras as [[s, 0, x], [0, s, y], [0, 0, 1]]: they project (x, y, 1)."""
    K = np.zeros((len(found), 3, 3))
    K[:, 0, 0] = K[:, 1, 1] = found.scale
    K[:, :2, 2], K[:, 2, 2] = found.shift, 1
    return K


def _parameters(found: HandsInImage, R: Tensor, origin: Tensor, hand: HandModel) -> HandParameters:
    wanted = found.is_right if hand.side == "right" else ~found.is_right
    if not bool(wanted.all()):
        raise HandkitError(f"hands of both sides for a {hand.side} hand", "place each side with its own model")
    layer = ManoLayer(hand)
    with torch.no_grad():
        rest = layer(betas=found.betas).joints[:, 0]
        # R turns about the origin, the layer about the wrist: R x0 + origin = R (x0 - J0) + J0 + transl
        transl = origin + (R @ rest[..., None])[..., 0] - rest
        given = {
            "global_orient": matrix_to_axis_angle(R).float(),
            "hand_pose": found.hand_pose.float(),
            "betas": found.betas.float(),
            "transl": transl.float(),
        }
        out = layer(**given)
    return HandParameters(**given, joints=out.joints, vertices=out.vertices)
