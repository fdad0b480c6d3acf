"""Seen hands to fitted hands: the rows that hands.npz, the overlay and the exports are made of."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Float

from handkit.detect.detection import HandDetection
from handkit.export.predictions import Predictions, concatenate
from handkit.fit import FitStart, HandParameters, fit_images, fit_track, track_ready
from handkit.hand import HandModel, ManoLayer, load_hand

OUTSIDE_FIX: Final = "give keypoints in pixels of the picture as it is shown, or leave --method out for the fit"
_LAYER_ROWS = 256
# Inputs and how they were done are said once, when the rows are written.
_UNSAID: dict[str, Any] = {"inputs": (), "status": (), "hand_model": "", "method": "", "camera_source": ""}
_PARAMETERS = ("global_orient", "hand_pose", "betas", "transl")


@dataclass(frozen=True, eq=False)
class Sighting:
    """One detected hand: where, when, and through which camera; size is (width, height) in pixels."""

    detection: HandDetection
    image: str
    size: tuple[int, int]
    K: Float[np.ndarray, "3 3"]
    frame: int = 0
    time_s: float = 0.0
    track_id: int = 0


class HandPair:
    """The right and the left hand of one name or file, each loaded when first needed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._models: dict[bool, HandModel] = {}
        self._layers: dict[bool, ManoLayer] = {}

    def model(self, is_right: bool) -> HandModel:
        """The model of one side; raises HandkitError for a bad file."""
        if is_right not in self._models:
            self._models[is_right] = load_hand(self.name, "right" if is_right else "left")
        return self._models[is_right]

    def vertices(self, predictions: Predictions, rows: Sequence[int]) -> list[Float[np.ndarray, "778 3"]]:
        """Meshes of the chosen rows, in metres in the camera frame, rebuilt from their parameters."""
        meshes: dict[int, Float[np.ndarray, "778 3"]] = {}
        for is_right in (True, False):
            side = [row for row in rows if bool(predictions.is_right[row]) == is_right]
            for begin in range(0, len(side), _LAYER_ROWS):
                part = side[begin : begin + _LAYER_ROWS]
                meshes.update(zip(part, self._run(predictions, part, is_right), strict=True))
        return [meshes[row] for row in rows]

    def _run(self, predictions: Predictions, rows: list[int], is_right: bool) -> Float[np.ndarray, "N 778 3"]:
        if is_right not in self._layers:
            self._layers[is_right] = ManoLayer(self.model(is_right))
        given = {name: torch.from_numpy(getattr(predictions, name)[rows]) for name in _PARAMETERS}
        with torch.no_grad():
            vertices = self._layers[is_right](**given).vertices.numpy()
        return vertices if predictions.vertex_offsets is None else vertices + predictions.vertex_offsets[rows]


def is_fittable(detection: HandDetection) -> bool:
    """Whether enough of the hand was seen."""
    return bool(track_ready(detection.keypoint_scores[None])[0])


def is_in_picture(detection: HandDetection, size: tuple[int, int]) -> bool:
    """Whether any seen keypoint lies in a picture of `size` (width, height): else networks see nothing of the hand."""
    points = detection.keypoints_2d
    inside = ((points >= 0) & (points <= size)).all(1)
    return bool((inside & (detection.keypoint_scores > 0)).any())


def outside_words(count: int) -> str:
    """What is said of hands that are not in their picture."""
    hands = "a hand lie" if count == 1 else f"{count} hands lie"
    return f"all keypoints of {hands} outside the picture"


def wanted_hands(found: Iterable[HandDetection], hands: str, max_hands: int) -> list[HandDetection]:
    """The first `max_hands` of the side asked for: "both", "right" or "left"."""
    return [hand for hand in found if hands in ("both", "right" if hand.is_right else "left")][:max_hands]


def fit_stills(
    sightings: Sequence[Sighting], hands: HandPair, source: str, start: Predictions | None = None
) -> Predictions:
    """Every hand alone, with its own shape, in the order of the sightings; `start` as in `fit_over_time`."""
    order: list[int] = []
    parts = []
    for is_right in (True, False):
        side = [i for i, sighting in enumerate(sightings) if sighting.detection.is_right == is_right]
        if side:
            chosen = [sightings[i] for i in side]
            fitted = fit_images(
                **_evidence(chosen, with_landmarks=start is None),
                is_right=is_right,
                hand=hands.model(is_right),
                source=source,
                start=None if start is None else _start_of(start.rows(np.array(side))),
            )
            parts.append(rows_from_fit(chosen, fitted))
            order += side
    return join_rows(parts).rows(np.argsort(order).astype(np.int64))


def fit_over_time(
    sightings: Sequence[Sighting], hands: HandPair, source: str, smooth: float, start: Predictions | None = None
) -> Predictions:
    """One track: one side and one shape.

    `start` has a row for each sighting, from whose pose the 2D keypoints are fitted: what is nearer and what further
    is its say, so the detector's 3D landmarks are left out.
    """
    is_right = sightings[0].detection.is_right
    fitted = fit_track(
        **_evidence(sightings, with_landmarks=start is None),
        time_s=np.array([s.time_s for s in sightings]),
        is_right=is_right,
        hand=hands.model(is_right),
        source=source,
        smooth=smooth,
        start=None if start is None else _start_of(start),
    )
    return rows_from_fit(sightings, fitted)


def rows_from_fit(sightings: Sequence[Sighting], fitted: HandParameters) -> Predictions:
    """What was seen next to what was fitted to it, row by row."""
    found = [sighting.detection for sighting in sightings]
    joints = fitted.joints.numpy()
    K = np.stack([s.K for s in sightings])
    return Predictions(
        **_UNSAID,
        frame=np.array([s.frame for s in sightings]),
        time_s=np.array([s.time_s for s in sightings]),
        track_id=np.array([s.track_id for s in sightings]),
        is_right=np.array([d.is_right for d in found]),
        score=np.array([d.score for d in found]),
        **{name: getattr(fitted, name).numpy() for name in _PARAMETERS},
        joints_3d=joints,
        joints_2d=project_rows(joints, K),
        keypoints_2d=np.stack([d.keypoints_2d for d in found]),
        keypoint_scores=np.stack([d.keypoint_scores for d in found]),
        bbox=np.stack([d.bbox for d in found]),
        K=K,
        image_size=np.array([s.size for s in sightings]),
        image=np.array([s.image for s in sightings]),
    )


def join_rows(parts: Sequence[Predictions]) -> Predictions:
    """All rows, without what an earlier run said of their inputs; no parts give no rows."""
    return concatenate([replace(part, **_UNSAID, vertices=None) for part in parts] or [Predictions.no_hands(**_UNSAID)])


def project_rows(joints: Float[np.ndarray, "N J 3"], K: Float[np.ndarray, "N 3 3"]) -> Float[np.ndarray, "N J 2"]:
    """Pinhole projection to pixels, each row by its own K; NaN behind the camera."""
    image = np.einsum("nab,njb->nja", K, joints.astype(np.float64))
    depth = image[..., 2:]
    return np.where(depth > 0, image[..., :2] / np.where(depth > 0, depth, 1.0), np.nan)


def with_vertices(predictions: Predictions, hands: HandPair) -> Predictions:
    """The same rows with their meshes."""
    meshes = hands.vertices(predictions, range(len(predictions)))
    return replace(predictions, vertices=np.array(meshes, np.float32).reshape(-1, 778, 3))


def _start_of(rows: Predictions) -> FitStart:
    return FitStart(*(torch.from_numpy(part) for part in (rows.global_orient, rows.hand_pose, rows.transl)))


def _evidence(sightings: Sequence[Sighting], *, with_landmarks: bool) -> dict[str, Any]:
    """What the fits read; hands without 3D landmarks among others with them are NaN there."""
    points = [s.detection.keypoints_3d for s in sightings]
    missing = np.full((21, 3), np.nan)
    has_points = with_landmarks and any(p is not None for p in points)
    return {
        "keypoints_2d": np.stack([s.detection.keypoints_2d for s in sightings]).astype(np.float64),
        "keypoint_scores": np.stack([s.detection.keypoint_scores for s in sightings]).astype(np.float64),
        "K": np.stack([s.K for s in sightings]).astype(np.float64),
        "keypoints_3d": np.stack([missing if p is None else p for p in points]) if has_points else None,
    }
