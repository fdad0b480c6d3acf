"""One detected hand, and the joining of double detections.

Convention: pixels of the full image, (x, y), pixel centres at +0.5; metres in camera axes (x right, y down, z forward).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True, eq=False)
class HandDetection:
    """A hand found in one image: 21 joints in our order, its side, and how sure the detector is.

    Keypoints may lie outside the image; what the detector did not see has `keypoint_scores` 0.
    """

    keypoints_2d: Float[np.ndarray, "21 2"]
    """Pixels."""
    keypoint_scores: Float[np.ndarray, "21"]
    """In [0, 1]."""
    is_right: bool
    score: float
    """That this is a hand at all, in [0, 1]."""
    bbox: Float[np.ndarray, "4"]
    """x0, y0, x1, y1 around the seen keypoints, pixels; it may reach outside the image."""
    side_score: float = 1.0
    """That the side is right, in [0.5, 1]."""
    keypoints_3d: Float[np.ndarray, "21 3"] | None = None
    """Metres in camera axes about the hand's own centre (not the camera); None from 2D sources."""
    keypoints_z: Float[np.ndarray, "21"] | None = None
    """Depth from the wrist in pixels at the hand's own scale (weak perspective), forward positive."""


def box_around(points: Float[np.ndarray, "N 2"]) -> Float[np.ndarray, "4"]:
    """The tight box (x0, y0, x1, y1) around points; zeros when there are none."""
    if len(points) == 0:
        return np.zeros(4)
    return np.concatenate([points.min(0), points.max(0)])


def box_size(bbox: Float[np.ndarray, "4"]) -> float:
    """The longer side of a box in pixels."""
    return float(max(bbox[2] - bbox[0], bbox[3] - bbox[1]))


def box_iou(a: Float[np.ndarray, "4"], b: Float[np.ndarray, "4"]) -> float:
    """Intersection over union of two boxes, 0 when both are empty."""
    overlap = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    shared = float(np.prod(np.maximum(overlap, 0)))
    union = float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2])) - shared
    return shared / union if union > 0 else 0.0


def is_same_hand(a: HandDetection, b: HandDetection, *, min_iou: float = 0.5, max_distance: float = 0.1) -> bool:
    """Whether two detections are one hand: boxes overlap and joints agree, whichever side each claims.

    `max_distance` bounds the mean joint distance as a fraction of the larger box side. A hand taken for both a left
    and a right one still has its joints in place, so joints are compared by name.
    """
    if box_iou(a.bbox, b.bbox) < min_iou:
        return False
    size = max(box_size(a.bbox), box_size(b.bbox))
    distance = np.linalg.norm(a.keypoints_2d - b.keypoints_2d, axis=1)
    seen = (a.keypoint_scores > 0) & (b.keypoint_scores > 0)
    return bool(seen.any()) and float(distance[seen].mean()) <= max_distance * size


def remove_duplicates(detections: Sequence[HandDetection]) -> list[HandDetection]:
    """The detections without repeats of the same hand, best score first."""
    kept: list[HandDetection] = []
    for detection in sorted(detections, key=lambda d: (d.score, d.side_score), reverse=True):
        if not any(is_same_hand(detection, other) for other in kept):
            kept.append(detection)
    return kept
