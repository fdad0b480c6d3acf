"""How well one hand fits both views: the figures of stereo.json and summary.json."""

from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Float

from handkit.demo.hands import project_rows
from handkit.demo.stereo.rows import without_lens
from handkit.demo.stereo.views import ViewPair
from handkit.export.predictions import Predictions

_MIN_SCORE = 0.05


@dataclass(frozen=True, eq=False)
class Reprojection:
    """Of hands that both views saw, mean distances of joints to the views' detections, straight pixels, [N] each.

    fused: of the one hand of both views. alone: of the estimate that the right view gives alone, whose error in the
    left view is what its depth is worth. NaN behind a camera.
    """

    fused_left: Float[np.ndarray, " N"]
    fused_right: Float[np.ndarray, " N"]
    alone_left: Float[np.ndarray, " N"]
    alone_right: Float[np.ndarray, " N"]

    def summary(self) -> dict[str, float | None]:
        """Means over the hands, and of the fused hand over both views."""
        means = {f"{name}_px": _mean(values) for name, values in asdict(self).items()}
        both = _mean((self.fused_left + self.fused_right) / 2)
        return {"fused_px": both, **means}


def reprojection(
    seen: tuple[Predictions, Predictions], fused: Predictions, alone: Predictions, views: ViewPair
) -> Reprojection:
    """Of hands seen twice: `seen` are their rows in the left and in the right view; `fused` and `alone` the right's."""
    R, t = views.left_from_right if len(fused) else (np.eye(3), np.zeros(3))
    errors = []
    for hands in (fused, alone):
        for view, own, is_left in ((views.left, seen[0], True), (views.right, seen[1], False)):
            joints = hands.joints_3d.astype(np.float64)
            joints = joints @ R.T + t if is_left else joints
            pixels = project_rows(joints, np.broadcast_to(view.own.K, hands.K.shape))
            errors.append(_distance(pixels, without_lens(own.keypoints_2d, view), own.keypoint_scores))
    return Reprojection(*errors)


def _distance(
    pixels: Float[np.ndarray, "N 21 2"], keypoints: Float[np.ndarray, "N 21 2"], scores: Float[np.ndarray, "N 21"]
) -> Float[np.ndarray, " N"]:
    """The mean over the joints that were seen."""
    seen = (scores > _MIN_SCORE) & np.isfinite(keypoints).all(-1)
    apart = np.where(seen, np.linalg.norm(pixels - np.where(seen[..., None], keypoints, 0.0), axis=-1), 0.0)
    count = seen.sum(1)
    return np.where(count > 0, apart.sum(1) / np.maximum(count, 1), np.nan)


def _mean(values: Float[np.ndarray, " N"]) -> float | None:
    finite = values[np.isfinite(values)]
    return round(float(finite.mean()), 3) if len(finite) else None
