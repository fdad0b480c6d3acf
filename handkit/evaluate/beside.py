"""What a method's own files add to its scores: steadiness along sequences, and its sets of 2D keypoints."""

from dataclasses import replace

import numpy as np
from jaxtyping import Int

from handkit.conventions import NUM_JOINTS
from handkit.data.hands import HandSet
from handkit.evaluate.keypoint_sets import TRUTH, Reference, detected, frame_curves
from handkit.evaluate.protocols import Protocol
from handkit.evaluate.rows import OwnRows
from handkit.evaluate.scores import Scores, SequenceLooks
from handkit.evaluate.steadiness import Tracks, add_steadiness, numbered

# Of these joint 0 of the truth is the palm, in 2D as well.
_PALM_ROOTS = ("palm", "palm-vertices", "as-is")


def with_own(scores: Scores, own: OwnRows, rows: Int[np.ndarray, " N"], truth: HandSet, protocol: Protocol) -> Scores:
    """The scores with all that parameters, textures and 2D keypoints say besides.

    `rows` are the own rows of truth's samples, -1 for those without. Keypoints are compared with the truth's where it
    has some in 2D, else with the detector's.
    """
    summary, per_sample = dict(scores.summary), dict(scores.per_sample)
    count = summary.pop("count", None)
    looks: tuple[SequenceLooks, ...] = ()
    if truth.sequences is not None:
        tracks = Tracks(rows, truth.sequences, truth.frames or numbered(truth.sequences))
        looks = add_steadiness(own, tracks, summary, per_sample)
    reference = _true_keypoints(truth, protocol)
    curves = frame_curves(own, rows, detected(own, rows) if reference is None else reference)
    return replace(scores, summary={**summary, "count": count}, per_sample=per_sample, looks=looks, frame_curves=curves)


def _true_keypoints(truth: HandSet, protocol: Protocol) -> Reference | None:
    points = truth.joints_2d
    if points is None or points.shape[1] != NUM_JOINTS:
        return None
    known = np.isfinite(points).all(-1)
    if truth.joints_valid is not None and truth.joints_valid.shape == known.shape:
        known &= truth.joints_valid
    if protocol.root_joint in _PALM_ROOTS:
        known[:, 0] = False
    return Reference(np.where(known[..., None], points, 0.0).astype(np.float64), known, TRUTH)
