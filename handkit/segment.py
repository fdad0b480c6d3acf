"""Hand masks without a learned network: GrabCut seeded by the projected hand, and a skin colour threshold.

Convention: images are RGB uint8 [H, W, 3], masks bool [H, W].
"""

from collections.abc import Callable
from typing import Final, Literal

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

from handkit.images import RgbImage

Mask = Bool[np.ndarray, "H W"]
Size = tuple[int, int]
Segmenter = Callable[[RgbImage, Mask], NDArray[np.bool_]]
SegmenterName = Literal["grabcut", "hsv"]

# GrabCut works on the hand's surroundings at this many pixels a side, which is all its outline needs.
_WORK_PX: Final = 192
# Parts of the hand's size: how far the true outline may lie outside and inside the projected one.
_OUTSIDE, _INSIDE = 0.14, 0.05
_ITERATIONS: Final = 3
# Skin in HSV: hue within 25 degrees of red-orange, neither grey nor pure, not dark.
_SKIN_LOW, _SKIN_HIGH = (0, 0.15, 0.25), (50, 0.75, 1.0)
_SKIN_RED_DEG: Final = 340

# The arm as a cone: how long, and how wide at its ends in parts of the ring in which the hand ends.
_ARM_M, _ARM_NEAR, _ARM_FAR = 0.12, 1.3, 2.0
_NEAREST_M: Final = 0.02


def grabcut_mask(
    image: RgbImage,
    projected: Mask,
    *,
    outside: float = _OUTSIDE,
    inside: float = _INSIDE,
    iterations: int = _ITERATIONS,
    work_px: int = _WORK_PX,
) -> NDArray[np.bool_]:
    """The hand's mask by GrabCut: the eroded projection is surely hand, what is far from it surely is not.

    `outside` and `inside`, in parts of the hand's size, are how far the outline may be off. Computed around the hand at
    no more than `work_px` a side. Empty where the projection is; where colours give no answer, the projection itself.
    """
    mask = np.zeros(projected.shape, bool)
    box = _surroundings(projected, outside)
    if box is None:
        return mask
    x0, y0, x1, y1 = box
    ratio = min(1.0, work_px / max(x1 - x0, y1 - y0))
    size = (max(2, round((x1 - x0) * ratio)), max(2, round((y1 - y0) * ratio)))
    part = np.ascontiguousarray(cv2.resize(image[y0:y1, x0:x1], size, interpolation=cv2.INTER_AREA))
    seed = cv2.resize(projected[y0:y1, x0:x1].astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0.5
    labels = _seed_labels(seed, outside, inside)
    if not (labels == cv2.GC_BGD).any() or not (labels == cv2.GC_FGD).any():
        return projected.copy()
    models = np.zeros((1, 65)), np.zeros((1, 65))
    # GrabCut draws its first clusters from OpenCV's own generator.
    cv2.setRNGSeed(0)
    cv2.grabCut(part, labels, (0, 0, 1, 1), *models, iterations, cv2.GC_INIT_WITH_MASK)
    found = _largest((labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD), seed)
    full = cv2.resize(found.astype(np.float32), (x1 - x0, y1 - y0), interpolation=cv2.INTER_LINEAR)
    mask[y0:y1, x0:x1] = full > 0.5
    return mask


def hsv_mask(image: RgbImage, projected: Mask | None = None) -> NDArray[np.bool_]:
    """Pixels of the colour of skin by thresholds in HSV: the baseline of RealisticHands' Table 3.

    With a projection, only those in its surroundings.
    """
    hue, saturation, value = cv2.split(cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2HSV))
    skin = (hue <= _SKIN_HIGH[0]) | (hue >= _SKIN_RED_DEG)
    skin &= (saturation >= _SKIN_LOW[1]) & (saturation <= _SKIN_HIGH[1]) & (value >= _SKIN_LOW[2])
    if projected is not None:
        near = np.zeros(skin.shape, bool)
        box = _surroundings(projected, _OUTSIDE)
        if box is not None:
            near[box[1] : box[3], box[0] : box[2]] = True
        skin &= near
    return skin


def forearm_mask(
    vertices_m: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"], K: Float[np.ndarray, "3 3"], size: Size
) -> NDArray[np.bool_]:
    """Where the arm may be seen beyond the ring in which a mesh [V, 3] of a hand ends, whichever way the wrist bends.

    Colours do not tell where a hand ends and its arm begins, so a segmenter's mask says nothing there. Empty for a
    closed mesh, and where the arm is behind the camera.
    """
    mask = np.zeros(size, np.uint8)
    sides = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    sides, uses = np.unique(sides, axis=0, return_counts=True)
    ring = vertices_m[np.unique(sides[uses == 1])].astype(np.float64)
    if len(ring) < 3:
        return mask > 0
    centre = ring.mean(0)
    axis = np.linalg.svd(ring - centre)[2][2]
    axis *= np.sign(axis @ (centre - vertices_m.mean(0)))
    cone = np.concatenate([centre + _ARM_NEAR * (ring - centre), centre + _ARM_M * axis + _ARM_FAR * (ring - centre)])
    if cone[:, 2].min() > _NEAREST_M:
        pixels = cone @ K.T
        outline = cv2.convexHull((pixels[:, :2] / pixels[:, 2:] - 0.5).clip(-1e5, 1e5).round().astype(np.int32))
        cv2.fillConvexPoly(mask, outline, (1,))
    return mask > 0


SEGMENTERS: Final[dict[SegmenterName, Segmenter]] = {"grabcut": grabcut_mask, "hsv": hsv_mask}


def _surroundings(projected: Mask, outside: float) -> tuple[int, int, int, int] | None:
    """The hand's box widened by twice the reach of its outline, None for an empty mask."""
    ys, xs = np.flatnonzero(projected.any(1)), np.flatnonzero(projected.any(0))
    if not len(ys):
        return None
    margin = 2 + round(2 * outside * float(np.sqrt(projected.sum())))
    height, width = projected.shape
    return (
        max(0, int(xs[0]) - margin),
        max(0, int(ys[0]) - margin),
        min(width, int(xs[-1]) + 1 + margin),
        min(height, int(ys[-1]) + 1 + margin),
    )


def _seed_labels(seed: Mask, outside: float, inside: float) -> NDArray[np.uint8]:
    size = float(np.sqrt(max(seed.sum(), 1)))
    off = cv2.distanceTransform((~seed).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    within = cv2.distanceTransform(np.pad(seed.astype(np.uint8), 1), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    labels = np.where(seed, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    labels[off > outside * size] = cv2.GC_BGD
    labels[within > min(inside * size, 0.6 * float(within.max()))] = cv2.GC_FGD
    return labels


def _largest(found: Mask, seed: Mask) -> NDArray[np.bool_]:
    """The connected piece that shares most pixels with the seed, its small holes closed."""
    count, pieces = cv2.connectedComponents(found.astype(np.uint8), connectivity=4)
    if count < 2:
        return found
    shared = np.bincount(pieces[seed & found], minlength=count)
    shared[0] = 0
    return pieces == int(shared.argmax())
