"""A patch cut around a found hand, with its camera and whatever truth the picture came with."""

from typing import Any

import cv2
import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from typing_extensions import Required, TypedDict, Unpack

from handkit.data.augment import apply_transform, warp_image
from handkit.data.patch_files import JPEG_QUALITY, PATCH_SCALE, Patch, hand_box
from handkit.data.sample import HandSample
from handkit.demo.camera import matrix_from_intrinsics
from handkit.detect.crop import crop_from_image, square_box
from handkit.detect.detection import HandDetection
from handkit.errors import HandkitError
from handkit.hand.scaled import CANONICAL_FOCAL
from handkit.images import RgbImage


class Known(TypedDict, total=False):
    """What else is known of a hand: where and when it was, and the truth of its picture."""

    name: Required[str]
    sequence: str
    frame: int
    time_s: float
    truth: dict[str, Any] | None


def is_shown(hand: HandDetection, width: int, height: int) -> bool:
    """Whether the middle of a hand lies in its picture, and the hand has an area."""
    points = hand.keypoints_2d[hand.keypoint_scores > 0]
    middle = (points.min(0) + points.max(0)) / 2
    return bool((np.ptp(points, axis=0).max() >= 1) and (middle >= 0).all() and (middle <= (width, height)).all())


def cut_patch(
    image: RgbImage, hand: HandDetection, K: Float[np.ndarray, "3 3"], *, patch_px: int, **known: Unpack[Known]
) -> Patch:
    """The patch of a hand, black outside the picture, of `patch_px` at most; K and `known` are the picture's."""
    square = square_box(hand_box(hand.keypoints_2d, hand.keypoint_scores > 0), PATCH_SCALE)
    size = int(np.ceil(square[2] - square[0]))
    if size <= patch_px:
        # On whole pixels, so that they are copied as they are.
        corner = np.floor(square[:2])
        square = np.concatenate([corner, corner + size])
    return cut_square(image, hand, K, square, min(size, patch_px), **known)


def cut_square(
    image: RgbImage,
    hand: HandDetection,
    K: Float[np.ndarray, "3 3"],
    square: Float[np.ndarray, "4"],
    size: int,
    **known: Unpack[Known],
) -> Patch:
    """The patch that a square of the picture is, `size` x `size` pixels, black where it leaves the picture."""
    A = crop_from_image(square, size)
    picture = warp_image(image, A, (size, size))
    encoded, jpeg = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not encoded:
        raise HandkitError(f"{known['name']}: a patch of {size} pixels cannot be encoded", "report this")
    return Patch(
        jpeg=jpeg.tobytes(),
        name=known["name"],
        sequence=known.get("sequence", ""),
        frame=known.get("frame", 0),
        time_s=known.get("time_s", 0.0),
        is_right=hand.is_right,
        square=square,
        K=A @ K,
        keypoints_2d=np.where(hand.keypoint_scores[:, None] > 0, apply_transform(hand.keypoints_2d, A), 0),
        keypoint_scores=hand.keypoint_scores,
        truth=_moved(known.get("truth") or {}, A),
    )


def _moved(truth: dict[str, Any], A: NDArray[np.float64]) -> dict[str, Any]:
    """The truth of a picture in a patch's pixels."""
    moved = dict(truth)
    if "joints_2d" in truth:
        moved["joints_2d"] = np.where(truth["joints_2d_valid"][:, None], apply_transform(truth["joints_2d"], A), 0)
    if "weak_transl" in truth:
        moved["weak_scale"] = truth["weak_scale"] * A[0, 0]
        moved["weak_transl"] = apply_transform(truth["weak_transl"], A)
    return moved


def canonical_K(width: int, height: int) -> Float[np.ndarray, "3 3"]:
    """K assumed of a picture that has only a weak camera: S2HAND's canonical camera, the axis at its middle."""
    focal = CANONICAL_FOCAL * width
    return matrix_from_intrinsics(focal, focal, width / 2, height / 2)


def truth_of(sample: HandSample, K: Float[np.ndarray, "3 3"]) -> dict[str, Any]:
    """A sample's annotated joints in K's frame, with its weak camera where it has one.

    Under a weak camera alone the joints are moved to where K sees them as large and in the same place, depth focal /
    `weak_scale`, and `weak_transl` becomes the principal point. What then is not in front of the camera is left out.
    """
    truth: dict[str, Any] = {key: sample[key] for key in ("joints_2d", "joints_2d_valid")}
    joints, valid = sample["joints_3d"].astype(np.float64), sample["joints_3d_valid"]
    if sample["weak_valid"]:
        center = K[:2, 2]
        scale, transl = float(sample["weak_scale"]), sample["weak_transl"].astype(np.float64)
        if not sample["K_valid"]:
            joints = joints + np.append((transl - center) / scale, K[0, 0] / scale)
            transl = center
        truth |= {"weak_scale": scale, "weak_transl": transl, "weak_valid": True}
    if (joints[valid, 2] > 0).all():
        truth |= {"joints_3d": np.where(valid[:, None], joints, 0), "joints_3d_valid": valid}
    return truth
