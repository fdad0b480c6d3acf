"""Pose flows: from one pose of a bank to another in steps that always land on poses of the bank (SeqHAND Eq. 5-7)."""

from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from handkit.errors import HandkitError
from handkit.synth.nearest import PoseIndex
from handkit.synth.nearest_products import ProductIndex

__all__ = ["PoseIndex", "ProductIndex", "pose_flow"]

Metric = Literal["euclidean", "l1-continuous"]


def pose_flow(
    index: PoseIndex | ProductIndex,
    start: Int[np.ndarray, " Q"],
    end: Int[np.ndarray, " Q"],
    *,
    frames: int,
    alpha: float = 1.2,
    metric: Metric = "euclidean",
) -> Int[np.ndarray, "Q frames"]:
    """Rows of the bank along Q flows, `start` first; each step goes alpha / frames of what is left to `end`.

    metric "euclidean" is the paper's (Eq. 7). "l1-continuous" is that of the released code: the sum of absolute
    differences, from the second step on plus that to the updated pose of the step before.
    """
    if frames < 1:
        raise HandkitError(f"a flow of {frames} frames", "use at least 1")
    if metric not in ("euclidean", "l1-continuous"):
        raise HandkitError(f"no such metric: {metric!r}", 'use "euclidean" or "l1-continuous"')
    path = np.empty((len(start), frames), np.int64)
    path[:, 0] = start  # Eq. 5
    final = index.points[np.asarray(end)].astype(np.float64)
    before: Float[np.ndarray, "Q D"] | None = None
    for k in range(1, frames):
        current = index.points[path[:, k - 1]].astype(np.float64)
        updated = current - alpha / frames * (current - final)  # Eq. 6
        if metric == "euclidean":
            path[:, k] = index.nearest(updated)[0]  # Eq. 7
        else:
            path[:, k] = index.nearest_l1(updated, before)[0]
            before = updated
    return path
