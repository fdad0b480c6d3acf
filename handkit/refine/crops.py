"""One hand's square crop: its camera, target, and pixels that count."""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import torch

from handkit.errors import HandkitError
from handkit.fit.refine import CROP_PX
from handkit.geometry.images import crop_transform
from handkit.render.shaded import to_pixels

# Room around the hand: it may move, and the mask may reach further.
_MARGIN: Final = 1.35


@dataclass(frozen=True, eq=False)
class Crop:
    """A hand ready to be refined; `image` only where the convergence is shown."""

    row: int
    mesh: np.ndarray  # [778, 3], before refinement
    transform: np.ndarray  # [3, 3], image pixels to crop pixels
    target: np.ndarray  # [S, S] in [0, 1]
    valid: np.ndarray  # [S, S]
    image: np.ndarray | None


def build_crop(
    row: int,
    mesh: np.ndarray,
    K: np.ndarray,
    mask: np.ndarray,
    hidden: np.ndarray,
    image: np.ndarray,
    *,
    with_image: bool,
) -> Crop:
    """The square about a hand's mesh [778, 3] as seen through K, scaled to CROP_PX.

    mask: the target [H, W]; hidden: pixels that say nothing, as another hand's. What lies outside the image does not
    count either. Raises HandkitError where the mask has no pixel near the hand.
    """
    vertices_px = to_pixels(mesh.astype(np.float64), K)[:, :2]
    low, high = vertices_px.min(0), vertices_px.max(0)
    side = float((high - low).max()) * _MARGIN
    transform = crop_transform(torch.from_numpy((low + high) / 2), torch.tensor(side).double(), CROP_PX).numpy()
    target = _warp(mask.astype(np.float32), transform, cv2.INTER_LINEAR)
    if target.max() < 0.5:
        raise HandkitError("its mask has no pixel near the hand", "check that masks and predictions belong together")
    valid = _warp((~hidden).astype(np.uint8), transform, cv2.INTER_NEAREST) > 0
    shown = _warp(image, transform, cv2.INTER_LINEAR) if with_image else None
    return Crop(row, mesh, transform, target, valid, shown)


def _warp(picture: np.ndarray, transform: np.ndarray, interpolation: int) -> np.ndarray:
    # OpenCV's pixel centres lie on whole numbers.
    matrix = transform[:2].copy()
    matrix[:, 2] += 0.5 * (matrix[:, 0] + matrix[:, 1]) - 0.5
    return cv2.warpAffine(picture, matrix, (CROP_PX, CROP_PX), flags=interpolation)
