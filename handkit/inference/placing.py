"""From a weak-perspective hand in a crop to the full image, and to a camera.

Convention: full-image pixels, (x, y), pixel centres at +0.5; a weak camera shows x of the hand, metres in camera axes
about the hand's pivot, at scale * x[:2] + shift. The pivot is the hand model's own origin (SeqHAND), or the wrist
(HandNet). A left hand is what the network saw in the mirrored crop, mirrored back, with the left hand's own parameters.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from handkit.detect.crop import crop_from_image
from handkit.errors import HandkitError
from handkit.fit import HandParameters
from handkit.geometry.cameras import weak_to_full
from handkit.geometry.images import K_after_transform, mirror_transform
from handkit.geometry.rotations import (
    axis_angle_to_matrix,
    matrix_to_axis_angle,
    mirror_axis_angle,
    ray_from_axis,
)
from handkit.hand import HandModel, ManoLayer
from handkit.inference.looks import Look
from handkit.nets import WeakHand

Pivot = Literal["origin", "wrist"]
_ROWS: Final = ("hand_pose", "betas", "orient", "scale", "shift", "is_right")


@dataclass(frozen=True, eq=False, kw_only=True)
class HandsInImage:
    """N hands under weak-perspective cameras of the full image, float64.

    hand_pose: axis-angle, the mean pose added. scale: px a metre. shift: px, where the hand's pivot is seen. orient:
    axis-angle that turns the hand about it.
    """

    hand_pose: Float[Tensor, "N 45"]
    betas: Float[Tensor, "N 10"]
    orient: Float[Tensor, "N 3"]
    scale: Float[Tensor, " N"]
    shift: Float[Tensor, "N 2"]
    is_right: Bool[Tensor, " N"]
    pivot: Pivot = "origin"

    def __len__(self) -> int:
        return len(self.scale)

    def rows(self, index: Tensor) -> "HandsInImage":
        """The hands that a mask or indices pick."""
        return replace(self, **{name: getattr(self, name)[index] for name in _ROWS})


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
    components = torch.from_numpy(np.array(trained_hand.hands_components[: pca.shape[-1]]))
    pose = torch.from_numpy(np.array(trained_hand.hands_mean)) + pca @ components
    right = torch.from_numpy(np.asarray(is_right, bool))
    seen = HandsInImage(hand_pose=pose, betas=betas, orient=orient, scale=scale, shift=shift, is_right=right)
    return hands_from_crops(seen, squares)


def hands_from_crops(seen: HandsInImage, squares: Float[np.ndarray, "N 4"]) -> HandsInImage:
    """What square crops show as right hands, in widths from their centres, as hands of the full image.

    Hands whose `is_right` is not set were seen in mirrored crops: they are mirrored back.
    """
    box, right = torch.from_numpy(np.asarray(squares, np.float64)), seen.is_right
    side, centre = box[:, 2] - box[:, 0], (box[:, :2] + box[:, 2:]) / 2
    sign = torch.where(right, 1.0, -1.0).double()
    pose = seen.hand_pose.unflatten(-1, (15, 3))
    return replace(
        seen,
        hand_pose=torch.where(right[:, None, None], pose, mirror_axis_angle(pose)).flatten(-2),
        orient=torch.where(right[:, None], seen.orient, mirror_axis_angle(seen.orient)),
        scale=side * seen.scale,
        shift=centre + side[:, None] * seen.shift * torch.stack([sign, torch.ones_like(sign)], -1),
    )


def crop_cameras(looks: Sequence[Look], K: Float[Tensor, "N 3 3"], size: int) -> Float[Tensor, "N 3 3"]:
    """K of the looks' squares, `size` wide, as a network sees them: those of left hands mirrored."""
    crops = torch.from_numpy(np.stack([crop_from_image(look.square, size) for look in looks]))
    mirrored = mirror_transform(torch.tensor(float(size), dtype=torch.float64)) @ crops
    is_right = torch.tensor([look.is_right for look in looks])[:, None, None]
    return K_after_transform(K, torch.where(is_right, crops, mirrored))[0]


def hands_in_camera(found: HandsInImage, K: Float[np.ndarray, "N 3 3"], hand: HandModel) -> HandParameters:
    """Hands of one side in front of pinhole cameras K that show them as the weak-perspective ones do.

    The pivot's depth is focal / scale on the ray through `shift`. A crop shows a hand beside the optical axis as it is
    turned towards that ray, so the hand is turned by what takes the axis to the ray. Exact at the pivot.
    """
    cameras = torch.from_numpy(np.asarray(K, np.float64))
    place = weak_to_full(found.scale, found.shift, cameras)
    R = ray_from_axis(place) @ axis_angle_to_matrix(found.orient)
    return _parameters(found, R, place, hand)


def hands_about_origin(found: HandsInImage, K: Float[np.ndarray, "N 3 3"] | None, hand: HandModel) -> HandParameters:
    """Hands of one side turned about their own origin, which stays at (0, 0, 0), whatever the camera.

    So do the hands of generated sequences.
    """
    place = torch.zeros(len(found), 3, dtype=torch.float64)
    return _parameters(replace(found, pivot="origin"), axis_angle_to_matrix(found.orient), place, hand)


def weak_K(found: HandsInImage, wrists: Float[np.ndarray, "N 3"] | None = None) -> Float[np.ndarray, "N 3 3"]:
    """The weak cameras as [[s, 0, x], [0, s, y], [0, 0, 1]]: they project (x, y, 1) of hands about their origin.

    `wrists` are where those have their wrists, which is needed of hands with the pivot there.
    """
    K = np.zeros((len(found), 3, 3))
    K[:, 0, 0] = K[:, 1, 1] = found.scale
    K[:, :2, 2], K[:, 2, 2] = found.shift, 1
    if found.pivot == "wrist":
        assert wrists is not None
        K[:, :2, 2] -= K[:, 0, :1] * wrists[:, :2]
    return K


def _parameters(found: HandsInImage, R: Tensor, place: Tensor, hand: HandModel) -> HandParameters:
    """Hands turned by R whose pivots are at `place`."""
    wanted = found.is_right if hand.side == "right" else ~found.is_right
    if not bool(wanted.all()):
        raise HandkitError(f"hands of both sides for a {hand.side} hand", "place each side with its own model")
    layer = ManoLayer(hand)
    with torch.no_grad():
        rest = layer(betas=found.betas).joints[:, 0]
        transl = place - rest
        if found.pivot == "origin":
            # R turns about the origin, the layer about the wrist: R x0 + place = R (x0 - J0) + J0 + transl
            transl = transl + (R @ rest[..., None])[..., 0]
        given = {
            "global_orient": matrix_to_axis_angle(R).float(),
            "hand_pose": found.hand_pose.float(),
            "betas": found.betas.float(),
            "transl": transl.float(),
        }
        out = layer(**given)
    return HandParameters(**given, joints=out.joints, vertices=out.vertices)
