"""Masks of hands in crops without any label: what a detector finds says where to look, the colours where the hand ends.

Convention: points are pixels (x, y), centres at +0.5, of 21 joints in our order; what was not found has score 0. Masks
are bool [H, W].
"""

from typing import Final

import cv2
import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray

from handkit.conventions import BONES
from handkit.images import RgbImage
from handkit.segment import SEGMENTERS, SegmenterName, Size, grabcut_mask

# Joints about the palm, and how far apart some are on an average hand, metres.
PALM: Final = (0, 1, 5, 9, 13, 17)
_KNUCKLES: Final = (5, 9, 13, 17)
_APART: Final = (
    *((0, 5, 0.082), (0, 9, 0.085), (0, 13, 0.077), (0, 17, 0.075)),
    *((5, 17, 0.057), (1, 5, 0.055), (1, 17, 0.070), (5, 13, 0.040), (9, 17, 0.040)),
)
_LEAST_PALM: Final = 3
# Of the lengths of a palm, each shortened by how it stands, about this share are shorter than the hand's scale says.
_FORESHORTENED: Final = 0.75
# From a joint to the skin, metres: wrist, thumb, and the four joints of every other finger.
_FINGER: Final = (0.0135, 0.012, 0.011, 0.010)
RADII_M: Final = np.array([0.022, 0.018, 0.0145, 0.013, 0.012, *(4 * _FINGER)])
# A hand ends this far beyond its wrist, metres.
_ARM_M: Final = 0.0125

# Keypoints are further off than a fitted mesh is (parts of the hand's size). Two rounds: colours found from a rough
# outline move it to where they say, and the next ones are surer.
_OUTSIDE, _INSIDE = 0.18, 0.16
_WORK_PX: Final = (128, 192)
_ITERATIONS: Final = 1

_CIRCLE: Final = np.exp(2j * np.pi * np.arange(16) / 16).view(np.float64).reshape(16, 2)
_SUBPIXELS: Final = 4  # bits
_FAR_PX: Final = 1e5


def mask_of_keypoints(
    image: RgbImage,
    points: Float[np.ndarray, "21 2"],
    scores: Float[np.ndarray, "21"],
    segmenter: SegmenterName = "grabcut",
) -> NDArray[np.bool_]:
    """The hand in a picture by its colours, begun by `outline_of_keypoints`; empty where that is.

    Nothing counts that lies beyond the wrist: colours do not tell a hand from its arm.
    """
    size = (image.shape[0], image.shape[1])
    outline = outline_of_keypoints(points, scores, size)
    if not outline.any():
        return outline
    hand = ~beyond_wrist(points, scores, size)
    if segmenter != "grabcut":
        return SEGMENTERS[segmenter](image, outline) & hand
    found = outline
    for work_px in _WORK_PX:
        whole = grabcut_mask(image, found, outside=_OUTSIDE, inside=_INSIDE, iterations=_ITERATIONS, work_px=work_px)
        found = whole & hand
    return found


def outline_of_keypoints(
    points: Float[np.ndarray, "21 2"], scores: Float[np.ndarray, "21"], size: Size
) -> NDArray[np.bool_]:
    """Where the hand roughly is: its palm, and a capsule along every bone of the fingers both of whose ends were found.

    As thick as an average hand's that is seen as large. Empty where fewer than three points about the palm were found,
    or all at one place.
    """
    mask = np.zeros(size, np.uint8)
    seen = scores > 0
    scale = pixels_per_metre(points, scores)
    if scale <= 0:
        return mask > 0
    circles = points[:, None] + scale * RADII_M[:, None, None] * _CIRCLE
    parts = [[joint for joint in PALM if seen[joint]]]
    parts += [[parent, child] for parent, child in BONES if parent and seen[parent] and seen[child]]
    for part in parts:
        _fill(mask, circles[part].reshape(-1, 2))
    return mask > 0


def pixels_per_metre(points: Float[np.ndarray, "21 2"], scores: Float[np.ndarray, "21"]) -> float:
    """How large a hand is seen, by what of its palm stands across the line of sight; 0 where too little was found."""
    seen = scores > 0
    found = [(a, b, length) for a, b, length in _APART if seen[a] and seen[b]]
    if not found or seen[list(PALM)].sum() < _LEAST_PALM:
        return 0.0
    first, second, metres = (np.array(column) for column in zip(*found, strict=True))
    pixels = np.linalg.norm(points[first] - points[second], axis=-1)
    return float(np.quantile(pixels / metres, _FORESHORTENED))


def beyond_wrist(
    points: Float[np.ndarray, "21 2"], scores: Float[np.ndarray, "21"], size: Size
) -> Bool[np.ndarray, "H W"]:
    """Pixels on the arm's side of the line across the wrist; none where wrist or knuckles were not found."""
    knuckles = [joint for joint in _KNUCKLES if scores[joint] > 0]
    scale = pixels_per_metre(points, scores)
    if not scores[0] > 0 or not knuckles or scale <= 0:
        return np.zeros(size, bool)
    axis = points[0] - points[knuckles].mean(0)
    length = float(np.linalg.norm(axis))
    if length <= 0:
        return np.zeros(size, bool)
    along = axis / length
    x, y = (np.arange(count) + 0.5 - middle for count, middle in zip(size[::-1], points[0], strict=True))
    return along[0] * x + along[1] * y[:, None] > scale * _ARM_M


def _fill(mask: NDArray[np.uint8], points: NDArray[np.floating]) -> None:
    """Fill the convex hull."""
    pixels = (points - 0.5).clip(-_FAR_PX, _FAR_PX) * 2**_SUBPIXELS  # OpenCV has pixel centres at whole numbers
    cv2.fillConvexPoly(mask, cv2.convexHull(pixels.round().astype(np.int32)), (1,), cv2.LINE_8, _SUBPIXELS)
