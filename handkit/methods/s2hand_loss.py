"""S2HAND's training objective on a batch: Eq. 1 on pictures, Eq. 23 on windows of video.

Pixels are counted in 224ths of the crop's width, the unit that the published weights are of, whatever its size.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from handkit.data.sample import float_images
from handkit.fit.landmarks import LANDMARKS
from handkit.hand.layer import ManoLayer
from handkit.hand.model import HandModel
from handkit.hand.scaled import ScaledHandOutput
from handkit.losses import (
    bone_length,
    bone_orientation,
    estimated_location_released,
    joint_location,
    joint_location_released,
    keypoint_consistency,
    mean_color,
    photometric_l1,
    photometric_l1_released,
    pose_limits,
    quaternion_path,
    shape_regularization,
    shape_regularization_released,
    ssim_loss,
    temporal_consistency,
    texture_outliers,
    texture_outliers_released,
    texture_shape_consistency,
    thresholded_motion,
)
from handkit.methods.s2hand_picture import foreground, shrunk
from handkit.methods.s2hand_recipe import LossRecipe, term_weights
from handkit.nets.hourglass import KeypointOutput
from handkit.nets.s2hand import S2HandOutput
from handkit.render import SoftImage
from handkit.render.shading import face_normals, lighted_texture

UNIT: Final = 224.0  # pixels of a crop, in the published weights
MIDDLE_BASE, MIDDLE_NEXT = 9, 10

_GEOMETRY: Final = ("location", "orientation", "shape", "scale", "limits")
_PIXELS: Final = ("pixel", "ssim", "color")
_APPEARANCE: Final = (*_PIXELS, "texture")
_TOGETHER: Final = ("estimated", "consistency")
_VIDEO: Final = ("quaternion", "texture_shape", "temporal", "smooth")
STAGE_TERMS: Final = {
    "hand": (*_GEOMETRY, *_APPEARANCE),
    "keypoints": ("estimated",),
    "images": (*_GEOMETRY, *_APPEARANCE, *_TOGETHER),
    "video": (*_GEOMETRY, *_APPEARANCE, *_TOGETHER, *_VIDEO),
}


class Estimate(NamedTuple):
    """What the networks say of a batch [M, n, ...], the hand that it makes, its picture; None where not asked for."""

    hand: S2HandOutput | None
    out: ScaledHandOutput | None
    keypoints: KeypointOutput | None
    picture: SoftImage | None


class Target(NamedTuple):
    """What a batch gives to learn from: 2D keypoints in 224ths of the width, and how sure they are."""

    keypoints: Float[Tensor, "M n 21 2"]
    confidence: Float[Tensor, "M n 21"]


def target_of(batch: Mapping[str, Tensor], supervision: str) -> Target:
    """Detected keypoints with their confidences, or with "weak" the true ones, all alike."""
    unit = UNIT / batch["image"].shape[-1]
    if supervision == "weak":
        return Target(unit * batch["joints_2d"], batch["joints_2d_valid"].float())
    return Target(unit * batch["keypoints_2d"], batch["keypoint_scores"])


class S2HandLoss:
    """The weighted terms of a stage on a batch [M, n, ...]; `needs_picture` where one of them looks at pixels.

    `landmarks` names the kind of the keypoints (`handkit.fit.landmarks`): the hand's joints are compared where such a
    detector would see them.
    """

    def __init__(
        self,
        recipe: LossRecipe,
        hand: HandModel | None,
        *,
        stage: str,
        frames: int = 1,
        supervision: str = "self",
        landmarks: str = "mediapipe",
        has_keypoints: bool = True,
        without: Sequence[str] = (),
    ) -> None:
        self.recipe, self.supervision = recipe, supervision
        weights = term_weights(recipe, frames)
        wanted = [name for name in STAGE_TERMS[stage] if name not in without]
        if not has_keypoints:
            wanted = [name for name in wanted if name not in _TOGETHER]
        self.needs_picture = stage != "keypoints" and any(weights[name] > 0 for name in _PIXELS if name in wanted)
        if not self.needs_picture:  # a texture that nothing looks at is not learned
            wanted = [name for name in wanted if name not in ("texture", "texture_shape")]
        self.weights = {name: weights[name] for name in wanted if weights[name] > 0}
        self._released = recipe.form == "released"
        self._normals: Tensor | None = None
        self._bone_m = recipe.bone_length_m
        self._seen: Tensor | None = None
        if hand is not None:
            matrix = LANDMARKS["joints" if supervision == "weak" else landmarks].matrix(hand.name)
            self._seen = None if matrix is None else matrix.float()
            faces, template = torch.tensor(hand.faces), torch.tensor(hand.v_template).float()
            self._normals = face_normals(template, faces)
            if self._bone_m is None:
                self._bone_m = mean_bone_m(hand)

    def __call__(self, found: Estimate, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Each term with its weight in, by name."""
        target = target_of(batch, self.supervision)
        unit = UNIT / batch["image"].shape[-1]
        terms: dict[str, Callable[[], Tensor]] = {}
        if found.hand is not None and found.out is not None:
            terms |= self._of_hand(found.hand, found.out, target, unit)
            terms |= self._of_sequence(found.hand, found.out)
        if found.picture is not None and found.hand is not None:
            terms |= self._of_picture(found.hand, found.picture, target, batch["image"])
        if found.keypoints is not None:
            terms |= self._of_keypoints(found.keypoints, found.out, target, unit)
        return {name: weight * terms[name]() for name, weight in self.weights.items()}

    def _of_hand(
        self, hand: S2HandOutput, out: ScaledHandOutput, target: Target, unit: float
    ) -> dict[str, Callable[[], Tensor]]:
        projected, length = unit * self.landmarks(out), self._bone_m
        assert length is not None
        location = joint_location_released if self._released else joint_location
        shape = shape_regularization_released if self._released else shape_regularization
        return {
            "location": lambda: location(projected, target.keypoints, target.confidence),
            "orientation": lambda: bone_orientation(projected, target.keypoints, target.confidence),
            "shape": lambda: shape(hand.betas),
            "scale": lambda: bone_length(out.joints, length),
            "limits": lambda: pose_limits(out.pose),
        }

    def _of_picture(
        self, hand: S2HandOutput, picture: SoftImage, target: Target, images: Tensor
    ) -> dict[str, Callable[[], Tensor]]:
        assert hand.texture is not None
        seen = foreground(picture)
        shown = shrunk(float_images(images), picture.alpha.shape[-1])
        inside = shown * seen[..., None, :, :]
        drawn = picture.rgb * seen[..., None, :, :]
        texture, sure = hand.texture, _texture_confidence(target.confidence)
        if self._released:
            return {
                "pixel": lambda: photometric_l1_released(drawn, inside, sure),
                "ssim": lambda: ssim_loss(drawn, inside),
                "color": lambda: mean_color(drawn, inside, seen, sure),
                "texture": lambda: texture_outliers_released(texture, sure),
            }
        return {
            "pixel": lambda: photometric_l1(picture.rgb, shown, seen, target.confidence.sum(-1)),
            "ssim": lambda: ssim_loss(drawn, shown, seen),
            "color": lambda: mean_color(drawn, inside, seen, sure),
            "texture": lambda: texture_outliers(texture),
        }

    def _of_keypoints(
        self, keypoints: KeypointOutput, out: ScaledHandOutput | None, target: Target, unit: float
    ) -> dict[str, Callable[[], Tensor]]:
        stacks = UNIT * keypoints.points  # [M, n, S, 21, 2]; every stack learns, the last one is compared

        def estimated() -> Tensor:
            if self._released:
                return estimated_location_released(stacks, target.keypoints, target.confidence)
            each = [joint_location(stack, target.keypoints, target.confidence) for stack in stacks.unbind(-3)]
            return torch.stack(each).sum()

        terms: dict[str, Callable[[], Tensor]] = {"estimated": estimated}
        if out is not None:
            projected = unit * self.landmarks(out)
            terms["consistency"] = lambda: keypoint_consistency(projected, stacks[..., -1, :, :])
        return terms

    def _of_sequence(self, hand: S2HandOutput, out: ScaledHandOutput) -> dict[str, Callable[[], Tensor]]:
        turns = rotations_of(hand, out)
        return {
            "quaternion": lambda: quaternion_path(turns),
            "texture_shape": lambda: texture_shape_consistency(self.lighted(hand), hand.betas),
            "temporal": lambda: temporal_consistency(hand.pca, hand.betas, self.recipe.temporal_pose),
            "smooth": lambda: thresholded_motion(turns, self.recipe.smooth_threshold_rad),
        }

    def landmarks(self, out: ScaledHandOutput) -> Float[Tensor, "*B 21 2"]:
        """Where the detector would see the projected joints, px."""
        return out.joints_2d if self._seen is None else self._seen.to(out.joints_2d) @ out.joints_2d

    def lighted(self, hand: S2HandOutput) -> Float[Tensor, "*B 1538 3"]:
        """Eq. 22: the lighted texture, by the normals of the zero pose."""
        assert self._normals is not None
        assert hand.texture is not None
        assert hand.light is not None
        return lighted_texture(hand.texture, self._normals.to(hand.texture), hand.light)


def mean_bone_m(hand: HandModel) -> float:
    """The length of the middle finger's first bone of the mean shape."""
    joints = ManoLayer(hand)().joints
    return float((joints[MIDDLE_BASE] - joints[MIDDLE_NEXT]).norm())


def rotations_of(hand: S2HandOutput, out: ScaledHandOutput) -> Float[Tensor, "*B 16 3"]:
    """Eq. 18's 16 rotations: the hand's own, then its 15 joints', mean pose added."""
    return torch.cat([hand.orient.to(out.pose)[..., None, :], out.pose], -2)


def _texture_confidence(confidence: Float[Tensor, "*B 21"]) -> Float[Tensor, "*B"]:
    """As released: the mean over joints, 0 where one of them is below 0.1."""
    return torch.where(confidence.amin(-1) > 0.1, confidence.mean(-1), 0.0)
