"""What one camera saw of the hands: its rows, pictures and masks, and where it stands among the run's cameras."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from handkit.demo.hands import project_rows
from handkit.errors import HandkitError
from handkit.export.predictions import Predictions, load_finite_rows
from handkit.geometry import axis_angle_to_matrix, matrix_to_axis_angle
from handkit.refine.inputs import Pictures, Source, find_pictures
from handkit.refine.masks import MaskChoice
from handkit.refine.options import RefineOptions
from handkit.refine.rig import Rig, RigView

_IDENTITY = (np.eye(3), np.zeros(3))


@dataclass(frozen=True, eq=False)
class Seen:
    """One predictions file; x_cam = R x_world + T, T in the rig's unit. `unreadable`: rows left out, and why."""

    source: Source
    rows: Predictions
    unreadable: dict[int, str]
    pictures: Pictures
    masks: MaskChoice
    R: np.ndarray
    T: np.ndarray

    @property
    def projection(self) -> np.ndarray:
        """K [R | T] of its first row."""
        K = self.rows.K[0] if len(self.rows) else np.eye(3)
        return K @ np.column_stack([self.R, self.T])

    def name_of(self, row: int) -> str:
        """The hand, for messages."""
        rows = self.rows
        side = "right" if rows.is_right[row] else "left"
        return f"{rows.image[row]} frame {rows.frame[row]}, hand {rows.track_id[row]} ({side})"


def open_seen(sources: Sequence[Source], rig: Rig | None, options: RefineOptions, masks: MaskChoice) -> list[Seen]:
    """Load the files of one run of refinement, one per camera of the rig, or the only one without a rig.

    Folders of pictures and masks may have one inside per view, of the view's name.
    """
    seen = []
    for i, source in enumerate(sources):
        view = rig.views[i] if rig else None
        rows, unreadable = load_finite_rows(source.path)
        own = options.images / view.name if options.images and view else None
        images = own if own is not None and own.is_dir() else options.images
        pictures = find_pictures(source, rows, images)
        R, T = (view.R, view.T) if view else _IDENTITY
        if view is not None:
            rows, pictures = calibrated(rows, view), replace(pictures, lens=view.lens)
        seen.append(Seen(source, rows, unreadable, pictures, masks.of_view(view) if view else masks, R, T))
    names = dict.fromkeys(one.rows.hand_model for one in seen)
    if len(names) > 1:
        raise HandkitError(f"the views' hands are of different models: {', '.join(names)}", "make them with one model")
    return seen


def calibrated(rows: Predictions, view: RigView) -> Predictions:
    """The rows through the rig's camera: keypoints where a straight lens sees them, and hands moved to look the same.

    A longer lens than the rows were made with puts a hand further away.
    """
    keypoints = view.lens.straight_points(rows.keypoints_2d) if view.lens else rows.keypoints_2d
    centre = rows.joints_3d.astype(np.float64).mean(1)
    pixel = project_rows(centre[:, None], rows.K)[:, 0]
    pixel = view.lens.straight_points(pixel) if view.lens else pixel
    longer = np.sqrt(view.K[0, 0] * view.K[1, 1] / (rows.K[:, 0, 0] * rows.K[:, 1, 1]))
    rays = np.column_stack([pixel, np.ones(len(pixel))]) @ np.linalg.inv(view.K).T
    shift = (rays * (centre[:, 2] * longer)[:, None] - centre)[:, None]
    K = np.broadcast_to(view.K, rows.K.shape)
    joints = rows.joints_3d + shift
    return replace(
        rows,
        K=K,
        transl=rows.transl + shift[:, 0],
        joints_3d=joints,
        joints_2d=project_rows(joints, K),
        keypoints_2d=keypoints,
        vertices=None,
    )


def move_hands(hands: dict[str, np.ndarray], R: np.ndarray, T: np.ndarray) -> dict[str, np.ndarray]:
    """N hands in another camera's frame, x' = R x + T: global_orient, transl, joints_3d and, if there, vertex_offsets.

    A hand turns about its wrist joint, whose place at rest is no part of the parameters: it follows from joints_3d.
    """
    turn = torch.from_numpy(np.asarray(R, np.float64))
    orient = turn @ axis_angle_to_matrix(torch.from_numpy(np.asarray(hands["global_orient"], np.float64)))
    joints = np.asarray(hands["joints_3d"], np.float64)
    after = joints @ R.T + T
    moved = {
        **hands,
        "global_orient": matrix_to_axis_angle(orient).numpy(),
        "transl": after[:, 0] - (joints[:, 0] - hands["transl"]),
        "joints_3d": after,
    }
    if "vertex_offsets" in hands:
        moved["vertex_offsets"] = hands["vertex_offsets"] @ R.T
    return {name: values.astype(np.float32) for name, values in moved.items()}
