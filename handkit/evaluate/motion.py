"""Motion of predicted against true joints, never across the borders of sequences or gaps in their frames."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from handkit.conventions import NUM_JOINTS
from handkit.data.hands import HandSet
from handkit.metrics import frame_runs

_MM_PER_M = 1000.0


def add_motion(
    truth: HandSet,
    pred: HandSet,
    good: Bool[np.ndarray, " N"],
    fps: float | None,
    summary: dict[str, float | int | None],
    per_sample: dict[str, Float[np.ndarray, " N"]],
) -> None:
    """ACC of the prediction (`acc_`) and of the truth (`acc_true_`), and ACC-ERR (`acc_err_`), added to both.

    Each is the mean length over joints of second differences, in mm/frame^2 and with `fps` in mm/s^2, of joints about
    the wrist where there are 21 (the published texts name no alignment; this one leaves out the error in depth). A
    sample's value is of the triple of frames about it, so the summary is the mean over all triples; a triple with a
    frame that is not scored or not wholly annotated is dropped (human_dynamics).
    """
    assert truth.joints is not None
    assert pred.joints is not None
    assert truth.sequences is not None
    usable = good & (True if truth.joints_valid is None else truth.joints_valid.all(1))
    true, predicted = (_about_wrist(hands.joints) for hands in (truth, pred) if hands.joints is not None)
    motions = {"acc": predicted, "acc_true": true, "acc_err": predicted - true}
    for name, joints in motions.items():
        column = _acceleration(joints, usable, truth.sequences, truth.frames)
        _add(name, column, fps, summary, per_sample)


def add_own_motion(
    joints: Float[np.ndarray, "N J 3"],
    sequences: Sequence[str],
    frames: Sequence[int],
    fps: float | None,
    summary: dict[str, float | int | None],
    per_sample: dict[str, Float[np.ndarray, " N"]],
) -> None:
    """ACC as in `add_motion` of what has no truth; joints that are not finite are of samples without a prediction."""
    column = _acceleration(_about_wrist(joints), np.isfinite(joints).all((1, 2)), sequences, frames)
    _add("acc", column, fps, summary, per_sample)


def _acceleration(
    joints: Float[np.ndarray, "N J 3"],
    usable: Bool[np.ndarray, " N"],
    sequences: Sequence[str],
    frames: Sequence[int] | None,
) -> Float[np.ndarray, " N"]:
    """mm/frame^2 about each sample, NaN where it is not in the middle of three usable frames."""
    found = np.full(len(joints), np.nan)
    for run in frame_runs(sequences, frames):
        if len(run) < 3:
            continue
        triple = usable[run[:-2]] & usable[run[1:-1]] & usable[run[2:]]
        bend = np.diff(joints[run], n=2, axis=0)[triple]
        found[run[1:-1][triple]] = _MM_PER_M * np.linalg.norm(bend, axis=-1).mean(-1)
    return found


def _add(
    name: str,
    column: Float[np.ndarray, " N"],
    fps: float | None,
    summary: dict[str, float | int | None],
    per_sample: dict[str, Float[np.ndarray, " N"]],
) -> None:
    if not np.isfinite(column).any():
        return
    units = {"mm_per_frame2": 1.0} | ({"mm_per_s2": fps**2} if fps is not None else {})
    for unit, factor in units.items():
        per_sample[f"{name}_{unit}"] = factor * column
        summary[f"{name}_{unit}"] = float(np.nanmean(factor * column))


def _about_wrist(joints: Float[np.ndarray, "N J 3"]) -> Float[np.ndarray, "N J 3"]:
    joints = np.asarray(joints, np.float64)
    return joints - joints[:, :1] if joints.shape[1] == NUM_JOINTS else joints
