"""The samples that went worst, to be looked at: the picture, both hands over it, and both hands in 3D."""

import base64
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from jaxtyping import Float

from handkit.conventions import BONES, NUM_JOINTS
from handkit.data.hands import HandSet
from handkit.errors import HandkitError
from handkit.evaluate.scores import Scores
from handkit.images import RgbImage, read_image
from handkit.report.names import alignment_prefix, badness

logger = logging.getLogger(__name__)

_SIDE_PX: Final = 288
_JPEG_QUALITY: Final = 82
_MIN_DEPTH_M: Final = 0.05
_SHIFT, _FAR_PX = 4, 30_000
TRUTH_COLOR: Final = (255, 255, 255)


@dataclass(frozen=True, eq=False)
class WorstSample:
    """`picture` and `overlay` are data URIs, None without an image; `joints_3d` the truth's and each method's points
    in metres about the true hand's centre, None where not known."""

    id: str
    row: int
    picture: str | None
    overlay: str | None
    note: str
    truth_3d: Float[np.ndarray, "J 3"] | None
    predictions_3d: tuple[Float[np.ndarray, "J 3"] | None, ...]


def worst_rows(scores: Scores, key: str, count: int) -> list[int]:
    """Rows of the `count` worst samples, the worst first; samples without a value are not among them."""
    values = badness(key, np.asarray(scores.per_sample[key], np.float64))
    order = np.argsort(-values, kind="stable")
    return [int(row) for row in order if np.isfinite(values[row])][:count]


def worst_samples(
    scores: Sequence[Scores],
    key: str,
    colors: Sequence[tuple[int, int, int]],
    *,
    truth: HandSet | None,
    predictions: Mapping[str, HandSet],
    count: int = 20,
) -> list[WorstSample]:
    """The first method's worst samples by `key`, with every method's hands in its colour."""
    sets = [truth, *(predictions.get(score.method) for score in scores)]
    places = [{name: row for row, name in enumerate(hands.ids)} if hands is not None else {} for hands in sets]
    samples = []
    for row in worst_rows(scores[0], key, count):
        name = scores[0].ids[row]
        found = [
            (hands, place[name]) if hands is not None and name in place else None
            for hands, place in zip(sets, places, strict=True)
        ]
        samples.append(_sample(name, row, found, colors, alignment=alignment_prefix(key)))
    return samples


_Found = tuple[HandSet, int] | None


def _sample(
    name: str, row: int, found: Sequence[_Found], colors: Sequence[tuple[int, int, int]], *, alignment: str
) -> WorstSample:
    truth, others = found[0], found[1:]
    points = [_pixels(hands, truth) for hands in found]
    picture, overlay, note = None, None, ""
    path = next((hands.images[i] for hands, i in filter(None, found) if hands.images and hands.images[i]), None)
    if path is not None:
        try:
            picture, overlay = _pictures(path, points, colors)
        except HandkitError as error:
            logger.warning("the report goes without one picture: %s", error)
            note = str(error)
    true_3d = _joints(truth)
    centre = np.zeros(3) if true_3d is None else np.nanmean(true_3d, axis=0)
    placed = tuple(_placed(_joints(hands), true_3d, alignment=alignment) for hands in others)
    return WorstSample(
        name,
        row,
        picture,
        overlay,
        note,
        None if true_3d is None else true_3d - centre,
        tuple(None if joints is None else joints - centre for joints in placed),
    )


def _joints(found: _Found) -> np.ndarray | None:
    """The annotated points in metres, NaN where not annotated; None where there are none."""
    if found is None or found[0].joints is None:
        return None
    hands, i = found
    joints = np.array(hands.joints[i], np.float64) if hands.joints is not None else np.empty((0, 3))
    if hands.joints_valid is not None:
        joints[~hands.joints_valid[i]] = np.nan
    return joints if np.isfinite(joints).any() else None


def _placed(joints: np.ndarray | None, truth: np.ndarray | None, *, alignment: str) -> np.ndarray | None:
    """A prediction where its error is measured: after the best similarity, or moved onto the truth's centre."""
    if joints is None or truth is None or joints.shape != truth.shape:
        return None
    both = np.isfinite(joints).all(1) & np.isfinite(truth).all(1)
    if not both.any():
        return None
    if alignment in ("pa_", "pr_") and both.sum() >= 3:
        from torch import from_numpy

        from handkit.geometry.procrustes import procrustes

        fit = procrustes(from_numpy(joints[both]), from_numpy(truth[both]), reflection=alignment == "pa_")
        return np.asarray(fit.apply(from_numpy(joints)))
    return joints - joints[both].mean(0) + truth[both].mean(0)


def _pixels(found: _Found, truth: _Found) -> np.ndarray | None:
    """A hand's joints in the picture: its own, else those in 3D projected, at the true hand's place without depth."""
    if found is None:
        return None
    hands, i = found
    if hands.joints_2d is not None:
        points = np.array(hands.joints_2d[i], np.float64)
        if hands.joints_valid is not None and len(points) == hands.joints_valid.shape[1]:
            points[~hands.joints_valid[i]] = np.nan
        return points
    K = next((h.K[k] for h, k in filter(None, (truth, found)) if h.K is not None), None)
    joints, true_joints = _joints(found), _joints(truth)
    if K is None or joints is None:
        return None
    if np.nanmin(joints[:, 2]) < _MIN_DEPTH_M:
        if true_joints is None or true_joints.shape != joints.shape or np.nanmin(true_joints[:, 2]) < _MIN_DEPTH_M:
            return None
        joints = joints - np.nanmean(joints, axis=0) + np.nanmean(true_joints, axis=0)
    depths = np.where(joints[:, 2] > _MIN_DEPTH_M, joints[:, 2], np.nan)
    return (joints @ np.asarray(K, np.float64).T)[:, :2] / depths[:, None]


def _pictures(
    path: Path, points: Sequence[np.ndarray | None], colors: Sequence[tuple[int, int, int]]
) -> tuple[str, str]:
    """The picture about the true hand, and the same with the hands drawn over it."""
    image = read_image(path)
    crop, to_crop = _crop(image, points)
    overlay = crop.copy()
    for joints, color in zip(points, (TRUTH_COLOR, *colors), strict=False):
        if joints is not None:
            _draw_hand(overlay, joints * to_crop[0, 0] + to_crop[:, 2], color)
    return _data_uri(crop), _data_uri(overlay)


def _crop(image: RgbImage, points: Sequence[np.ndarray | None]) -> tuple[RgbImage, np.ndarray]:
    """A square about the first hand that has finite points, else the whole picture; and [2, 3], crop_from_image."""
    height, width = image.shape[:2]
    low, high = np.zeros(2), np.array([width, height], np.float64)
    for joints in points:
        if joints is not None and np.isfinite(joints).all(1).any():
            inside = joints[np.isfinite(joints).all(1)]
            low, high = np.clip(inside.min(0), 0, high), np.clip(inside.max(0), 0, high)
            break
    centre, side = (low + high) / 2, max(1.6 * float((high - low).max()), 48.0)
    side = min(side, float(max(width, height)))
    scale = _SIDE_PX / side
    to_crop = np.array([[scale, 0, _SIDE_PX / 2 - scale * centre[0]], [0, scale, _SIDE_PX / 2 - scale * centre[1]]])
    # cv2's pixel centres lie on whole numbers, ours half a pixel further.
    warp = to_crop.copy()
    warp[:, 2] += 0.5 * scale - 0.5
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    if scale < 0.5:
        image = cv2.resize(image, None, fx=2 * scale, fy=2 * scale, interpolation=cv2.INTER_AREA).astype(np.uint8)
        warp = np.array([[0.5, 0, to_crop[0, 2] - 0.25], [0, 0.5, to_crop[1, 2] - 0.25]])
    crop = cv2.warpAffine(image, warp, (_SIDE_PX, _SIDE_PX), flags=how, borderValue=(128, 128, 128))
    return crop.astype(np.uint8, copy=False), to_crop


def _draw_hand(image: RgbImage, joints: np.ndarray, color: tuple[int, int, int]) -> None:
    """A skeleton (or the points alone) in one colour over a dark line."""
    shown = np.isfinite(joints).all(1) & (np.abs(np.nan_to_num(joints)) < _FAR_PX).all(1)
    at = [
        tuple(int(v) for v in np.rint((p - 0.5) * 2**_SHIFT)) if ok else None
        for p, ok in zip(joints, shown, strict=True)
    ]
    for thickness, radius, ink in ((5, 4.5, (20, 20, 20)), (2, 3.0, color)):
        for a, b in BONES if len(joints) == NUM_JOINTS else ():
            start, end = at[a], at[b]
            if start is not None and end is not None:
                cv2.line(image, start, end, ink, thickness, cv2.LINE_AA, _SHIFT)
        for centre in filter(None, at):
            cv2.circle(image, centre, int(radius * 2**_SHIFT), ink, -1, cv2.LINE_AA, _SHIFT)


def _data_uri(image: RgbImage) -> str:
    ok, encoded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not ok:
        raise HandkitError("a picture of the report could not be encoded", "check the images")
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode()
