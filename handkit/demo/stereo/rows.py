"""Hands of looked-at cameras as the rig's own cameras have them: the rows of either view's hands.npz.

Convention: a row's K, joints_3d and joints_2d are the own pinhole camera's; keypoints_2d and bbox are pixels of the
picture as given, the lens's distortion in them, as `handkit refine --rig` takes them.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float

from handkit.demo.hands import project_rows
from handkit.demo.stereo.views import View
from handkit.detect.detection import box_around
from handkit.export.predictions import Predictions
from handkit.refine.seen import move_hands

_MOVED = ("global_orient", "transl", "joints_3d")


def in_own_camera(rows: Predictions, view: View) -> Predictions:
    """Rows of the looked-at camera in the view's own."""
    keypoints = rows.keypoints_2d.astype(np.float64)
    if len(rows) and not view.is_own:
        keypoints = np.stack([view.own_points(points) for points in keypoints])
    moved = moved_rows(rows, view.turn.T, np.zeros(3), view.own.K)
    seen = rows.keypoint_scores > 0
    boxes = [box_around(points[own]) for points, own in zip(keypoints, seen, strict=True)]
    return replace(
        moved,
        keypoints_2d=keypoints,
        bbox=rows.bbox if view.is_own else np.array(boxes).reshape(-1, 4),
        image_size=np.broadcast_to(view.size, rows.image_size.shape),
    )


def moved_rows(
    rows: Predictions, R: Float[np.ndarray, "3 3"], t: Float[np.ndarray, "3"], K: Float[np.ndarray, "3 3"]
) -> Predictions:
    """The same hands in another camera, x' = R x + t, whose matrix is K; what was detected stays."""
    moved: dict[str, Any] = move_hands({name: getattr(rows, name) for name in _MOVED}, R, t)
    cameras = np.broadcast_to(K, rows.K.shape)
    return replace(rows, **moved, K=cameras, joints_2d=project_rows(moved["joints_3d"], cameras), vertices=None)


def with_hands_of(seen: Predictions, hands: Predictions) -> Predictions:
    """What one view saw, with the hands of other rows in its camera."""
    names = ("global_orient", "hand_pose", "betas", "transl", "joints_3d", "joints_2d")
    return replace(seen, **{name: getattr(hands, name) for name in names}, vertices=None)


def without_lens(keypoints: Float[np.ndarray, "N 21 2"], view: View) -> Float[np.ndarray, "N 21 2"]:
    """Keypoints of rows as straight pixels, in which joints_2d are."""
    lens = view.own.lens
    return keypoints.astype(np.float64) if lens is None else lens.straight_points(keypoints)
