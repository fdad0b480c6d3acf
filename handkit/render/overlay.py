"""Hands drawn over pictures: shaded meshes, skeletons, labels, and the same hands seen from the side.

Convention: images are RGB uint8 [H, W, 3] and drawn on in place; colours are (r, g, b) in 0..255.
"""

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from handkit.conventions import BONES, FINGERS
from handkit.render.shaded import TRACK_COLORS, Color, Mesh, draw_mesh, draw_meshes, side_view, track_color

__all__ = [
    "FINGER_COLORS",
    "TRACK_COLORS",
    "Color",
    "Mesh",
    "beside",
    "draw_label",
    "draw_mesh",
    "draw_meshes",
    "draw_skeleton",
    "side_view",
    "track_color",
]

FINGER_COLORS: dict[str, Color] = {
    "wrist": (235, 235, 235),
    "thumb": (240, 85, 70),
    "index": (250, 175, 50),
    "middle": (95, 205, 95),
    "ring": (70, 160, 250),
    "little": (185, 105, 240),
}
# Fixed-point bits of cv2's coordinates, and how far out they may lie before they overflow.
_SHIFT, _FAR_PX = 4, 30_000


def draw_skeleton(
    image: NDArray[np.uint8],
    joints_2d: ArrayLike,
    *,
    scores: ArrayLike | None = None,
    min_score: float = 0.0,
    thickness: int | None = None,
) -> None:
    """Draw the 21 joints [21, 2] in pixels, one colour per finger; joints not finite or scored too low are left out.

    The default thickness follows the hand's size.
    """
    joints = np.asarray(joints_2d, np.float64)
    shown = np.isfinite(joints).all(-1) & (np.abs(np.nan_to_num(joints)) < _FAR_PX).all(-1)
    if scores is not None:
        shown &= np.asarray(scores) >= min_score
    if not shown.any():
        return
    if thickness is None:
        thickness = int(np.clip(np.ptp(joints[shown], axis=0).max() / 90, 1, 6))
    canvas = np.ascontiguousarray(image)
    centres = [_fixed(joint) if ok else None for joint, ok in zip(joints, shown, strict=True)]
    # Dark lines below coloured ones stay readable on any background.
    for extra, dim in ((2, 0.15), (0, 1.0)):
        for parent, child in BONES:
            a, b = centres[parent], centres[child]
            if a is not None and b is not None:
                cv2.line(canvas, a, b, _dimmed(_joint_color(child), dim), thickness + extra, cv2.LINE_AA, _SHIFT)
        for joint, centre in enumerate(centres):
            if centre is not None:
                radius = int((thickness * 1.3 + extra / 2) * 2**_SHIFT)
                cv2.circle(canvas, centre, radius, _dimmed(_joint_color(joint), dim), -1, cv2.LINE_AA, _SHIFT)
    if canvas is not image:
        image[...] = canvas


def draw_label(image: NDArray[np.uint8], text: str, at_px: tuple[float, float], *, color: Color) -> None:
    """Write `text` on a small plate whose lower left corner is at `at_px`, moved inside the image."""
    height, width = image.shape[:2]
    if not np.isfinite(at_px).all():
        return
    scale = max(0.4, min(height, width) / 1100)
    weight = max(1, round(scale * 1.6))
    (text_width, text_height), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, weight)
    pad = max(3, text_height // 3)
    plate_width, plate_height = text_width + 2 * pad, text_height + below + pad
    left = int(np.clip(at_px[0], 0, max(0, width - plate_width)))
    bottom = int(np.clip(at_px[1], plate_height, max(plate_height, height)))
    canvas = np.ascontiguousarray(image)
    cv2.rectangle(canvas, (left, bottom - plate_height), (left + plate_width, bottom), color, -1)
    baseline = (left + pad, bottom - below)
    cv2.putText(canvas, text, baseline, cv2.FONT_HERSHEY_SIMPLEX, scale, (20, 20, 20), weight, cv2.LINE_AA)
    if canvas is not image:
        image[...] = canvas


def beside(image: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Two pictures next to each other; the second is scaled to the first one's height."""
    height = image.shape[0]
    if other.shape[0] != height:
        width = max(1, round(other.shape[1] * height / other.shape[0]))
        other = cv2.resize(other, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    return np.concatenate([image, other], axis=1)


def _fixed(point: NDArray[np.float64]) -> tuple[int, int]:
    """Pixel coordinates for cv2, whose pixel centres lie on whole numbers."""
    x, y = np.rint((point - 0.5) * 2**_SHIFT).astype(int)
    return int(x), int(y)


def _joint_color(joint: int) -> Color:
    return FINGER_COLORS["wrist" if joint == 0 else FINGERS[(joint - 1) // 4]]


def _dimmed(color: Color, factor: float) -> Color:
    r, g, b = (int(channel * factor) for channel in color)
    return r, g, b
