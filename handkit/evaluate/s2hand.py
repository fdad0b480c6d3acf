"""S2HAND's networks as a method: every hand alone, with its texture, its light, and its 2D keypoints."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import torch
from jaxtyping import Float

from handkit.data.sample import HandSample
from handkit.demo.network import rows_by_side
from handkit.evaluate.looking import WEAK, Looked, LookingEngine, Place, outlined
from handkit.evaluate.rows import OwnRows
from handkit.export.predictions import Predictions
from handkit.geometry.cameras import K_from_focal
from handkit.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle, ray_from_axis
from handkit.hand.scaled import CANONICAL_FOCAL
from handkit.images import RgbImage
from handkit.inference.keypoints import SeenKeypoints
from handkit.inference.load import S2HAND
from handkit.inference.s2hand import S2HandPredictor, hands_in_front, load_s2hand

_MOVED: Final = ("joints_3d", "global_orient", "transl", "K")


class S2HandEngine(LookingEngine):
    """The 3D network of a checkpoint, and its 2D estimator where it has one.

    A picture that a weak camera annotates is seen by the canonical camera, about the hand's outline as training cuts
    it; its row stands about the hand's own origin (`about_origin`), for so does the truth.
    """

    network = "s2hand"
    weights = S2HAND
    predictor: S2HandPredictor

    def _open(self) -> S2HandPredictor:
        self.predictor = load_s2hand(self._checkpoint, self._device)
        return self.predictor

    def _named(self, words: str) -> str:
        return words if self._sides_known else f"MediaPipe Hands + {words}"

    def _generated(
        self, sample: HandSample, image: RgbImage, box_scale: float
    ) -> tuple[Place, Float[np.ndarray, "3 3"]]:
        height, width = image.shape[:2]
        focal = torch.tensor(CANONICAL_FOCAL * width, dtype=torch.float64)
        return outlined(sample, box_scale), K_from_focal(focal, width, height).numpy()

    def _rows(self, looked: Sequence[Looked]) -> list[OwnRows]:
        sightings = [one.sighting for one in looked if one.sighting is not None]
        cameras = np.stack([sighting.K for sighting in sightings])
        found = self.predictor.step([one.look for one in looked if one.look is not None], cameras)
        hands = rows_by_side(sightings, found, self._hands, lambda side, _, model: hands_in_front(side, model))
        is_weak = np.array([one.camera == WEAK for one in looked])
        if is_weak.any():
            moved = about_origin(hands.rows(is_weak))
            columns = {name: getattr(hands, name).copy() for name in _MOVED}
            for name, column in columns.items():
                column[is_weak] = getattr(moved, name)
            hands = replace(hands, **columns)
        seen = None
        if found.keypoints is not None and found.keypoint_scores is not None:
            seen = SeenKeypoints(found.keypoints, found.keypoint_scores)
        return [OwnRows(hands, found.appearance, seen)]


def about_origin(rows: Predictions) -> Predictions:
    """Hands before pinhole cameras as weak ones show them: about the model's own origin, seen from straight ahead.

    A hand beside the axis is turned back from the ray through its origin, where it is seen as if before it. K's first
    two rows become the weak camera at the origin's depth; `joints_2d` stay what the pinhole camera shows.
    """
    R = axis_angle_to_matrix(torch.from_numpy(rows.global_orient.astype(np.float64)))
    joints = torch.from_numpy(rows.joints_3d.astype(np.float64))
    rest = joints[:, 0] - torch.from_numpy(rows.transl.astype(np.float64))
    origin = joints[:, 0] - (R @ rest[..., None])[..., 0]
    turn = ray_from_axis(origin).mT
    turned = (joints - origin[:, None]) @ turn.mT
    seen = (torch.from_numpy(rows.K) @ origin[..., None])[..., 0].numpy()
    K = np.zeros_like(rows.K)
    K[:, 0, 0] = K[:, 1, 1] = np.sqrt(rows.K[:, 0, 0] * rows.K[:, 1, 1]) / seen[:, 2]
    K[:, :2, 2], K[:, 2, 2] = seen[:, :2] / seen[:, 2:], 1
    return replace(
        rows,
        joints_3d=turned.numpy(),
        global_orient=matrix_to_axis_angle(turn @ R).numpy(),
        transl=(turned[:, 0] - rest).numpy(),
        K=K,
    )
