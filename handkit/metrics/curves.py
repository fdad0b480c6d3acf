"""Shares of points within a distance and the area under their curve, on numpy arrays read from files.

A point is correct at a threshold when its error <= it; errors and thresholds have one unit. An error that is not a
number is never correct.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int


class KeypointMeasures(NamedTuple):
    """What hand3d's and FreiHAND's `EvalUtil` reports, before its mean over keypoints; NaN for one never annotated."""

    mean: Float[np.ndarray, " J"]  # mean error, NaN too where an error is
    pck: Float[np.ndarray, "J T"]
    auc: Float[np.ndarray, " J"]
    samples: Int[np.ndarray, " J"]  # in which it is annotated

    def averaged(self) -> tuple[float, Float[np.ndarray, " T"], float]:
        """The reported numbers: mean error, PCK and AUC, each the mean over the annotated keypoints."""
        seen = self.samples > 0
        if not seen.any():
            return float("nan"), np.full(self.pck.shape[1], np.nan), float("nan")
        return float(self.mean[seen].mean()), self.pck[seen].mean(0), float(self.auc[seen].mean())


def point_errors(pred: Float[np.ndarray, "*B N D"], gt: Float[np.ndarray, "*B N D"]) -> Float[np.ndarray, "*B N"]:
    """Distance of every point to its true place, in float64."""
    with np.errstate(invalid="ignore"):  # infinite minus infinite
        difference = np.subtract(pred, gt, dtype=np.float64)
    np.square(difference, out=difference)
    return np.sqrt(difference.sum(-1))


def pck_curve(
    errors: Float[np.ndarray, "*B N"],
    thresholds: Float[np.ndarray, " T"],
    valid: Bool[np.ndarray, "*B N"] | None = None,
) -> Float[np.ndarray, " T"]:
    """Share of all valid points within each threshold (fraction within distance); NaN where there is none.

    Thresholds ascend. All points count alike; `keypoint_measures` averages over keypoints instead.
    """
    used = errors.reshape(-1) if valid is None else errors[valid]
    within = np.cumsum(np.bincount(_first_within(used, thresholds), minlength=len(thresholds) + 1)[:-1])
    return within / (used.size or np.nan)


def frames_within_px(
    errors_px: Float[np.ndarray, "N J"],
    thresholds_px: Float[np.ndarray, " T"],
    valid: Bool[np.ndarray, "N J"] | None = None,
) -> Float[np.ndarray, " T"]:
    """Share of frames whose farthest valid joint is within each threshold (S2HAND(V) Fig. 7); NaN without a frame.

    Thresholds ascend. A frame without a valid joint is left out; one with an error that is not a number never counts.
    """
    if valid is None:
        valid = np.ones(errors_px.shape, bool)
    frames = valid.any(1)
    farthest = np.where(valid, errors_px, -np.inf)[frames].max(1, initial=-np.inf)
    return pck_curve(farthest[:, None], thresholds_px)


def auc(pck: Float[np.ndarray, "*B T"], thresholds: Float[np.ndarray, " T"]) -> Float[np.ndarray, "*B"]:
    """Area under the curve by the trapezoid rule over the thresholds' range, 1 for a curve that is 1 throughout.

    NaN where the range is empty.
    """
    width = np.diff(thresholds)
    area = ((pck[..., 1:] + pck[..., :-1]) * (width / 2)).sum(-1)
    return np.asarray(area / (width.sum() or np.nan))


def point_auc(errors: Float[np.ndarray, "*B N"], thresholds: Float[np.ndarray, " T"]) -> Float[np.ndarray, "*B N"]:
    """What each point adds to the area: the AUC of any set of points is the mean of this over them."""
    table = auc(np.tri(len(thresholds))[:, ::-1], thresholds)[::-1]
    return np.append(table, 0.0)[_first_within(errors, thresholds)]


def keypoint_measures(
    errors: Float[np.ndarray, "N J"], thresholds: Float[np.ndarray, " T"], valid: Bool[np.ndarray, "N J"] | None = None
) -> KeypointMeasures:
    """Mean error, PCK and AUC of each keypoint over the samples in which it is valid."""
    used = np.ones(errors.shape, bool) if valid is None else valid
    joints, steps = errors.shape[1], len(thresholds)
    count = used.sum(0)
    divisor = np.where(count > 0, count, np.nan)
    # One histogram for all keypoints: bin (keypoint, first threshold that is not smaller than the error).
    bins = _first_within(errors, thresholds) + np.arange(joints) * (steps + 1)
    histogram = np.bincount(bins[used], minlength=joints * (steps + 1)).reshape(joints, steps + 1)
    pck = histogram[:, :-1].cumsum(1) / divisor[:, None]
    return KeypointMeasures(np.where(used, errors, 0).sum(0) / divisor, pck, auc(pck, thresholds), count)


def _first_within(errors: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Index of the first threshold >= error, T where there is none (NaN sorts last)."""
    return np.searchsorted(thresholds, errors, side="left")
