"""Moving a sample: its picture, and everything that is told of it, through one change of pixels.

Convention: a move is a 3x3 affine A on pixels (x, y), pixel centres at +0.5, `uv_after = A @ uv_before`, composed from
`handkit.geometry.images`. A turn of the picture about any point is a turn of the camera about its axis with a shift of
its principal point (A K = K_after R), so 3D points, orientation and translation turn with it. A mirror makes a left
hand a right one: x -> -x of points, axis-angle (x, -y, -z), the parameters then those of the other side's hand model.
"""

from functools import lru_cache
from typing import Any, Final, Literal, cast

import cv2
import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray

from handkit.data.annotations import box_around
from handkit.data.sample import HandSample
from handkit.errors import HandkitError
from handkit.geometry.images import K_after_transform
from handkit.geometry.rotations import compose_axis_angle
from handkit.hand.model import load_hand

Floats = NDArray[np.floating[Any]]
Outside = tuple[int, int, int] | Literal["edge"]  # a colour, or that of the picture's nearest pixel

BLACK: Final = (0, 0, 0)

_MIRROR: Final = np.array([-1.0, 1, 1])
_MIRROR_AXIS_ANGLE: Final = np.array([1.0, -1, -1])


def move_sample(
    sample: HandSample, transform: Float[np.ndarray, "3 3"], size: tuple[int, int], *, outside: Outside = BLACK
) -> HandSample:
    """The sample after `transform` of its picture, which then has `size` (height, width) pixels.

    What the old picture does not show is `outside`, in the mask 0; masks show what most of a pixel shows; points may
    lie outside. A turned `bbox` is drawn anew around what it was drawn around, else around the ellipse that fills it.
    `transl` is given up where a turn needs the wrist of a hand model that is not found. Raises ValueError for a
    transform that is no similarity where the camera is a weak one.
    """
    A = np.asarray(transform, np.float64)
    K, R = _camera_after(sample, A)
    moved: dict[str, Any] = {**sample, "K": K, "is_right": sample["is_right"] ^ (np.linalg.det(R) < 0)}
    image = warp_image(sample["image"].transpose(1, 2, 0), A, size, outside=outside)
    moved["image"] = np.ascontiguousarray(image.transpose(2, 0, 1))
    shown = warp_image(np.where(sample["mask"], np.uint8(255), np.uint8(0)), A, size) if sample["mask_valid"] else None
    moved["mask"] = np.zeros(size, np.uint8) if shown is None else (shown >= 128).astype(np.uint8)
    moved["joints_2d"] = _moved_pixels(sample["joints_2d"], A, sample["joints_2d_valid"])
    moved["vertices_2d"] = _moved_pixels(sample["vertices_2d"], A, sample["vertices_2d_valid"])
    moved["keypoints_2d"] = _moved_pixels(sample["keypoints_2d"], A, sample["keypoint_scores"] > 0)
    if sample["bbox_valid"]:
        moved |= box_around(apply_transform(_boxed_points(sample), A))
    if sample["weak_valid"]:
        moved["weak_scale"] = np.asarray(sample["weak_scale"] * _similarity_scale(A), np.float32)
        moved["weak_transl"] = apply_transform(sample["weak_transl"], A).astype(np.float32)
    for key in ("joints_3d", "vertices"):
        moved[key] = (sample[key] @ R.T).astype(np.float32)
    return cast(HandSample, moved | _turned_parameters(sample, R))


def warp_image(
    image: NDArray[np.uint8], transform: Float[np.ndarray, "3 3"], size: tuple[int, int], *, outside: Outside = BLACK
) -> NDArray[np.uint8]:
    """A picture [H, W] or [H, W, 3] after a transform, `outside` where it shows nothing; averaged where it shrinks."""
    corners = np.array([[0.0, 0], [size[1], 0], [0, size[0]], [size[1], size[0]]])
    seen = apply_transform(corners, np.linalg.inv(transform))
    shrink = abs(np.linalg.det(transform[:2, :2])) ** -0.5
    # As `handkit.detect.crop.crop_image`: linear reads further apart than a pixel would skip pixels.
    sigma = 0.5 * np.sqrt(max(shrink**2 - 1, 0))
    pad = np.ceil(4 * sigma) + 2
    limit = np.array(image.shape[1::-1])
    x0, y0 = np.clip(np.floor(seen.min(0)) - pad, 0, limit).astype(int)
    x1, y1 = np.clip(np.ceil(seen.max(0)) + pad, 0, limit).astype(int)
    part = np.ascontiguousarray(image[y0:y1, x0:x1])
    color = BLACK if outside == "edge" else outside
    if part.size == 0:
        return np.full((*size, *image.shape[2:]), color if image.ndim > 2 else color[0], np.uint8)
    if sigma > 0.1:
        part = cv2.GaussianBlur(part, (0, 0), sigma)
    # OpenCV puts pixel centres at whole numbers.
    offset = apply_transform(np.array([x0 + 0.5, y0 + 0.5]), transform) - 0.5
    matrix = np.column_stack([transform[:2, :2], offset])
    border = cv2.BORDER_REPLICATE if outside == "edge" else cv2.BORDER_CONSTANT
    warped = cv2.warpAffine(part, matrix, size[::-1], flags=cv2.INTER_LINEAR, borderMode=border, borderValue=color)
    return warped.astype(np.uint8, copy=False)


def apply_transform(points: Floats, transform: Float[np.ndarray, "3 3"]) -> NDArray[np.float64]:
    """Pixels [*B, 2] after a transform, in float64."""
    return points.astype(np.float64) @ transform[:2, :2].T + transform[:2, 2]


def ellipse_in(box: Floats) -> NDArray[np.float64]:
    """64 points on the ellipse that fills a box x0, y0, x1, y1: a hand's outline where only its box is known."""
    angles = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    centre, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2
    return centre + half * np.column_stack([np.cos(angles), np.sin(angles)])


def is_box_of(box: Floats, points: Floats) -> bool:
    """Whether a box was drawn tightly around these pixels [N, 2]."""
    return len(points) > 1 and bool(np.abs(box - np.concatenate([points.min(0), points.max(0)])).max() < 0.01)


def skeleton_points(sample: HandSample) -> NDArray[np.float32]:
    """The pixels [N, 2] of the joints that are annotated, of detected keypoints where there are none."""
    joints = sample["joints_2d"][sample["joints_2d_valid"]]
    return joints if len(joints) else sample["keypoints_2d"][sample["keypoint_scores"] > 0]


def _boxed_points(sample: HandSample) -> Floats:
    """What a sample's box was drawn around."""
    mesh = sample["vertices_2d"] if sample["vertices_2d_valid"] else sample["vertices_2d"][:0]
    for points in (mesh, skeleton_points(sample)):
        if is_box_of(sample["bbox"], points):
            return points
    return ellipse_in(sample["bbox"].astype(np.float64))


def _moved_pixels(points: Floats, A: NDArray[np.float64], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    return np.where(valid[:, None] if valid.ndim else valid, apply_transform(points, A), 0).astype(np.float32)


def _similarity_scale(A: NDArray[np.float64]) -> float:
    scale = abs(np.linalg.det(A[:2, :2])) ** 0.5
    if not np.allclose(A[:2, :2] @ A[:2, :2].T, scale**2 * np.eye(2), atol=1e-6 * scale**2):
        raise ValueError("a weak camera has one scale: only similarities keep it")
    return float(scale)


def _camera_after(sample: HandSample, A: NDArray[np.float64]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """K after the move (zeros without one), and the matrix that moves points in the camera's frame."""
    K = sample["K"].astype(np.float64) if sample["K_valid"] else np.eye(3)
    after, R = K_after_transform(torch.from_numpy(K), torch.from_numpy(A))
    return (after.numpy() * sample["K_valid"]).astype(np.float32), R.numpy()


def _turned_parameters(sample: HandSample, R: NDArray[np.float64]) -> dict[str, Any]:
    """Orientation, pose and translation of the hand that x -> R x makes of a sample's."""
    orient, pose, transl = (sample[key].astype(np.float64) for key in ("global_orient", "hand_pose", "transl"))
    valid = sample["transl_valid"]
    is_right = bool(sample["is_right"])
    if np.linalg.det(R) < 0:
        orient, transl, R = orient * _MIRROR_AXIS_ANGLE, transl * _MIRROR, R * _MIRROR
        pose = (pose.reshape(15, 3) * _MIRROR_AXIS_ANGLE).ravel()
        is_right = not is_right
    if not np.allclose(R, np.eye(3), atol=1e-9):
        if sample["pose_valid"]:
            turn = torch.tensor([0, 0, np.arctan2(R[1, 0], R[0, 0])], dtype=torch.float64)
            orient = compose_axis_angle(torch.from_numpy(orient), turn).numpy()
        # The layer turns about the wrist at rest: x = R0 (x0 - J) + J + transl.
        wrist = _rest_wrist(sample["hand_model"], is_right, tuple(sample["betas"].tolist())) if valid else None
        valid = valid & (wrist is not None)
        transl = R @ (transl + wrist) - wrist if wrist is not None else np.zeros(3)
    turned = {"global_orient": orient, "hand_pose": pose, "transl": transl}
    return {key: value.astype(np.float32) for key, value in turned.items()} | {"transl_valid": np.asarray(valid)}


def _rest_wrist(name: str, is_right: bool, betas: tuple[float, ...]) -> NDArray[np.float64] | None:
    """The wrist of a model's zero pose without translation; None where the model is not found."""
    held = _wrist_of_betas(name, is_right)
    return None if held is None else held[0] + held[1] @ np.array(betas)


@lru_cache(maxsize=8)
def _wrist_of_betas(name: str, is_right: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """The wrist [3] at betas of zero, and its change [3, 10] with them."""
    try:
        hand = load_hand(name, "right" if is_right else "left")
    except HandkitError:
        return None
    weights = hand.J_regressor[0]
    return weights @ hand.v_template, np.einsum("v,vcb->cb", weights, hand.shapedirs)
