"""One hand's square crop: its camera, target, pixels that count, and keypoints."""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import torch

from handkit.errors import HandkitError
from handkit.export.predictions import Predictions
from handkit.fit.landmarks import LANDMARKS
from handkit.fit.refine import CROP_PX, HandState, Keypoints, View
from handkit.geometry.images import crop_transform
from handkit.hand import HandModel

# Room around the hand: it may move, and the mask may reach further.
_MARGIN: Final = 1.35
_PARAMETERS: Final = ("global_orient", "hand_pose", "betas", "transl")


@dataclass(frozen=True, eq=False)
class Crop:
    """A hand ready to be refined; `image` only where the convergence is shown."""

    row: int
    transform: np.ndarray  # [3, 3], image pixels to crop pixels
    target: np.ndarray  # [S, S] in [0, 1]
    valid: np.ndarray  # [S, S]
    image: np.ndarray | None


def build_crop(
    row: int, vertices_px: np.ndarray, mask: np.ndarray, hidden: np.ndarray, image: np.ndarray, *, with_image: bool
) -> Crop:
    """The square about a hand's projected vertices [778, 2], scaled to CROP_PX.

    mask: the target [H, W]; hidden: pixels that say nothing, as another hand's. What lies outside the image does not
    count either. Raises HandkitError where the mask has no pixel near the hand.
    """
    low, high = vertices_px.min(0), vertices_px.max(0)
    side = float((high - low).max()) * _MARGIN
    transform = crop_transform(torch.from_numpy((low + high) / 2), torch.tensor(side).double(), CROP_PX).numpy()
    target = _warp(mask.astype(np.float32), transform, cv2.INTER_LINEAR)
    if target.max() < 0.5:
        raise HandkitError("its mask has no pixel near the hand", "check that masks and predictions belong together")
    valid = _warp((~hidden).astype(np.uint8), transform, cv2.INTER_NEAREST) > 0
    shown = _warp(image, transform, cv2.INTER_LINEAR) if with_image else None
    return Crop(row, transform, target, valid, shown)


def _warp(picture: np.ndarray, transform: np.ndarray, interpolation: int) -> np.ndarray:
    # OpenCV's pixel centres lie on whole numbers.
    matrix = transform[:2].copy()
    matrix[:, 2] += 0.5 * (matrix[:, 0] + matrix[:, 1]) - 0.5
    return cv2.warpAffine(picture, matrix, (CROP_PX, CROP_PX), flags=interpolation)


def batch_of(
    crops: list[Crop], rows: Predictions, hand: HandModel, device: torch.device
) -> tuple[HandState, View, Keypoints]:
    """The tensors of hands of one side."""
    chosen = [crop.row for crop in crops]

    def tensor(values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(values, np.float32)).to(device)

    transforms = np.stack([crop.transform for crop in crops])
    offsets = None if rows.vertex_offsets is None else tensor(rows.vertex_offsets[chosen])
    state = HandState(**{name: tensor(getattr(rows, name)[chosen]) for name in _PARAMETERS}, vertex_offsets=offsets)
    view = View(
        K=tensor(transforms @ rows.K[chosen]),
        target=tensor(np.stack([crop.target for crop in crops])),
        valid=torch.from_numpy(np.stack([crop.valid for crop in crops])).to(device),
    )
    xy = rows.keypoints_2d[chosen].astype(np.float64)
    xy = np.einsum("nab,njb->nja", transforms[:, :2, :2], xy) + transforms[:, None, :2, 2]
    seen = np.isfinite(xy).all(-1)
    scores = np.where(seen, np.nan_to_num(rows.keypoint_scores[chosen]), 0.0)
    landmarks = LANDMARKS["mediapipe" if rows.method.startswith("MediaPipe") else "joints"]
    matrix = landmarks.matrix(hand.name)
    keypoints = Keypoints(
        xy=tensor(np.where(seen[..., None], xy, 0.0)),
        scores=tensor(scores),
        from_joints=None if matrix is None else matrix.to(device),
    )
    return state, view, keypoints
