"""A method's sets of 2D keypoints, compared as S2HAND(V) Fig. 7 does: detected, estimated and projected ones.

Convention: distances are in pixels of a crop 224 wide whose side is 2.2 times the longer side of the hand's outline,
whatever a network is shown, so that pictures of any size are counted alike.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from handkit.data.crops import JOINT_MARGIN
from handkit.detect.crop import CROP_SCALE
from handkit.evaluate.rows import OwnRows
from handkit.evaluate.scores import FrameCurve
from handkit.fit.landmarks import LANDMARKS
from handkit.metrics import frames_within_px, point_errors

CROP_PX: Final = 224.0
THRESHOLDS_PX: Final = np.linspace(0, 60, 121)
TRUTH, DETECTIONS = "true 2D joints", "detected keypoints"
DETECTED_KEY: Final = "detections_px"


class Reference(NamedTuple):
    """What a method's keypoints are compared with, in pixels of the pictures, and which of it is known."""

    points: Float[np.ndarray, "N 21 2"]
    known: Bool[np.ndarray, "N 21"]
    words: str


class KeypointSet(NamedTuple):
    """One kind of a method's keypoints, NaN where there are none."""

    name: str
    points: Float[np.ndarray, "N 21 2"]


def detected(own: OwnRows, rows: Int[np.ndarray, " N"]) -> Reference:
    """What the detector said of N samples; nothing of those without a prediction, whose row is -1."""
    points, scores = own.hands.keypoints_2d[rows].astype(np.float64), own.hands.keypoint_scores[rows]
    known = (scores > 0) & np.isfinite(points).all(-1) & (rows >= 0)[:, None]
    return Reference(points, known, DETECTIONS)


def keypoint_sets(own: OwnRows, rows: Int[np.ndarray, " N"], against: str) -> Iterator[KeypointSet]:
    """The sets of N samples that there are, "detected" not against itself.

    Against MediaPipe's keypoints the projected joints are moved to where it would see them (`handkit.fit.landmarks`).
    """
    if against != DETECTIONS:
        found = detected(own, rows)
        yield KeypointSet("detected", np.where(found.known[..., None], found.points, np.nan))
    there = (rows >= 0)[:, None, None]
    if own.estimated is not None:
        yield KeypointSet("estimated", np.where(there, own.estimated.points[rows], np.nan).astype(np.float64))
    yield KeypointSet("projected", np.where(there, _projected(own, against)[rows], np.nan))


def frame_curves(own: OwnRows, rows: Int[np.ndarray, " N"], reference: Reference) -> tuple[FrameCurve, ...]:
    """A curve for each set, over the frames in which it has all joints that the reference knows."""
    unit = CROP_PX / crop_sides(reference)
    curves = []
    for name, points in keypoint_sets(own, rows, reference.words):
        errors = unit[:, None] * point_errors(points, reference.points)
        used = reference.known & (np.isfinite(errors) | ~reference.known).all(1, keepdims=True)
        used &= np.isfinite(unit)[:, None]
        if used.any():
            share = frames_within_px(errors, THRESHOLDS_PX, used)
            mean = float(errors[used].mean())
            curves.append(FrameCurve(name, reference.words, THRESHOLDS_PX, share, mean, int(used.any(1).sum())))
    return tuple(curves)


def distance_to_detections_px(own: OwnRows, rows: Int[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    """Mean distance of each sample's projected joints to its detected keypoints; NaN without either."""
    reference = detected(own, rows)
    *_, (_, points) = keypoint_sets(own, rows, DETECTIONS)
    errors = CROP_PX / crop_sides(reference)[:, None] * point_errors(points, reference.points)
    count = reference.known.sum(1)
    total: np.ndarray = np.where(reference.known, errors, 0).sum(1) / np.where(count > 0, count, np.nan)
    return total


def crop_sides(reference: Reference) -> Float[np.ndarray, " N"]:
    """The side in pixels of each sample's crop, by the box of its known points; NaN where they span nothing."""
    known = reference.known[..., None]
    low = np.where(known, reference.points, np.inf).min(1)
    high = np.where(known, reference.points, -np.inf).max(1)
    with np.errstate(invalid="ignore"):
        longer = (high - low).max(-1)
    return np.where(np.isfinite(longer) & (longer > 0), longer, np.nan) * CROP_SCALE * (1 + 2 * JOINT_MARGIN)


def _projected(own: OwnRows, against: str) -> Float[np.ndarray, "N 21 2"]:
    joints = own.hands.joints_2d.astype(np.float64)
    kind = "mediapipe" if against == DETECTIONS and "mediapipe" in own.hands.method.lower() else "joints"
    seen = LANDMARKS[kind].matrix(own.hands.hand_model)
    return joints if seen is None else seen.numpy() @ joints
