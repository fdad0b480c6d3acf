"""One method's predictions against truth under one protocol.

A sample whose prediction is missing or not finite enters no mean and no curve; it is counted and named instead.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from jaxtyping import Bool, Float

from handkit.conventions import NUM_JOINTS
from handkit.data.hands import HandSet
from handkit.errors import HandkitError
from handkit.evaluate.definitions import align_joints, align_vertices, palm_from_wrist
from handkit.evaluate.motion import add_motion
from handkit.evaluate.protocols import ALIGNMENTS, Alignment, Protocol, score_keys
from handkit.evaluate.scores import Curve, Scores
from handkit.evaluate.suspicion import suspicions
from handkit.metrics import f_score, keypoint_measures, point_auc, point_errors

logger = logging.getLogger(__name__)

_MM_PER_M: Final = 1000.0
_NAMED: Final = 5


@dataclass(eq=False)
class _Gathered:
    """What the parts of a protocol add to."""

    summary: dict[str, float | int | None] = field(default_factory=dict)
    per_sample: dict[str, Float[np.ndarray, " N"]] = field(default_factory=dict)
    curves: list[Curve] = field(default_factory=list)
    per_joint: dict[str, Float[np.ndarray, " J"]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def score(
    protocol: Protocol,
    pred: HandSet,
    truth: HandSet,
    *,
    method: str,
    missing: Sequence[str] = (),
    joint_order: str = "ours",
    fps: float | None = None,
) -> Scores:
    """Every key that the protocol defines; None where one side lacks what it needs.

    `pred` has truth's samples in truth's order; `missing` are those it has nothing for, NaN in it. `joint_order` is
    what the prediction's file was taken to be in, for suspicions. Point 0 of truth is as `protocol.root_joint` wants
    it. Raises HandkitError where there is nothing to score
    or the sets of points differ.
    """
    if pred.ids != truth.ids:
        raise ValueError("predictions are not in truth's order")
    gathered = _Gathered()
    truth, pred = _compared(protocol, truth, pred)
    good = _good_samples(protocol, truth, pred, missing, gathered)
    gathered.summary |= dict.fromkeys(score_keys(protocol))
    if truth.joints is not None and pred.joints is not None:
        gathered.warnings += suspicions(_annotated(truth), pred.joints, joint_order=joint_order)
        _score_joints(protocol, truth, pred, good, gathered)
    if protocol.mesh_alignments and truth.vertices is not None and pred.vertices is not None:
        _score_vertices(protocol, truth, pred, good, gathered)
    if protocol.thresholds_2d is not None and truth.joints_2d is not None and pred.joints_2d is not None:
        _score_2d(protocol, truth, pred, good, gathered)
    if truth.sequences is not None and truth.joints is not None and pred.joints is not None:
        add_motion(truth, pred, good, fps, gathered.summary, gathered.per_sample)
    gathered.summary["count"] = int(good.sum())
    for sentence in gathered.warnings:
        logger.warning("%s: %s", method, sentence)
    return Scores(
        method=method,
        protocol=protocol.name,
        definition=protocol.definition(),
        ids=truth.ids,
        summary=gathered.summary,
        per_sample=gathered.per_sample,
        curves=tuple(gathered.curves),
        per_joint=gathered.per_joint,
        sequences=truth.sequences,
        counts=gathered.counts,
        warnings=tuple(gathered.warnings),
    )


def _compared(protocol: Protocol, truth: HandSet, pred: HandSet) -> tuple[HandSet, HandSet]:
    """Both sides with the points that the protocol compares."""
    kinds = [name for name in ("joints", "vertices", "joints_2d") if getattr(truth, name) is not None]
    if not any(getattr(pred, name) is not None for name in kinds):
        raise HandkitError(f"{pred.source} has none of {', '.join(kinds)}", "give predictions of what the truth holds")
    if protocol.root_joint is not None and pred.joints is not None and pred.joints.shape[1] == NUM_JOINTS:
        pred = replace(pred, joints=palm_from_wrist(pred, protocol.root_joint))
    if protocol.points is not None:
        truth, pred = (_points_only(hands, protocol.points) for hands in (truth, pred))
    for name in ("joints", "joints_2d"):
        _check_points(truth, pred, name)
    if truth.joints_valid is not None and truth.joints_valid.all():
        truth = replace(truth, joints_valid=None)
    return truth, pred


def _points_only(hands: HandSet, points: tuple[int, ...]) -> HandSet:
    picked = {
        name: getattr(hands, name)[:, list(points)]
        for name in ("joints", "joints_2d", "joints_valid")
        if getattr(hands, name) is not None and getattr(hands, name).shape[1] == NUM_JOINTS
    }
    return replace(hands, **picked)


def _check_points(truth: HandSet, pred: HandSet, name: str) -> None:
    gt, predicted = getattr(truth, name), getattr(pred, name)
    if gt is not None and predicted is not None and gt.shape != predicted.shape:
        raise HandkitError(
            f"{pred.source} has {name} of shape {predicted.shape}, {truth.source} {gt.shape}",
            "give as many samples and points as the truth has",
        )


def _annotated(truth: HandSet) -> np.ndarray:
    assert truth.joints is not None
    valid = truth.joints_valid
    return truth.joints if valid is None else np.where(valid[..., None], truth.joints, np.nan)


def _good_samples(
    protocol: Protocol, truth: HandSet, pred: HandSet, missing: Sequence[str], gathered: _Gathered
) -> Bool[np.ndarray, " N"]:
    """Samples with enough annotated points and a finite prediction of each; counts and names the others."""
    absent = np.isin(np.asarray(truth.ids), np.asarray(list(missing), str)) if missing else np.zeros(len(truth), bool)
    annotated, finite = np.ones(len(truth), bool), np.ones(len(truth), bool)
    for name in ("joints", "joints_2d", "vertices"):
        predicted = getattr(pred, name)
        if predicted is None or getattr(truth, name) is None:
            continue
        valid = np.ones(predicted.shape[:2], bool)
        if name != "vertices" and truth.joints_valid is not None:
            valid = truth.joints_valid
            annotated &= valid.sum(1) >= protocol.min_points
        finite &= (np.isfinite(predicted).all(-1) | ~valid).all(1)
    groups = {
        "missing": (absent, "have no prediction"),
        "not_annotated": (~annotated, f"have fewer than {protocol.min_points} annotated points"),
        "not_finite": (~finite & ~absent & annotated, "have predictions that are not finite (NaN)"),
    }
    good = annotated & finite & ~absent
    gathered.counts |= {"samples": len(truth), "scored": int(good.sum())}
    for key, (rows, words) in groups.items():
        gathered.counts[key] = int(rows.sum())
        if rows.any():
            names = ", ".join(truth.ids[i] for i in np.flatnonzero(rows)[:_NAMED])
            more = ", ..." if rows.sum() > _NAMED else ""
            sentence = f"{int(rows.sum())} of {len(truth)} samples {words} and are not scored: {names}{more}"
            if key != "not_annotated":
                gathered.warnings.append(sentence)
    if not good.any():
        why = "; ".join(f"{gathered.counts[key]} {words}" for key, (rows, words) in groups.items() if rows.any())
        raise HandkitError(f"{pred.source}: no sample can be scored: {why}", "check the predictions")
    return good


def _score_joints(
    protocol: Protocol, truth: HandSet, pred: HandSet, good: Bool[np.ndarray, " N"], gathered: _Gathered
) -> None:
    assert truth.joints is not None
    assert pred.joints is not None
    valid = truth.joints_valid
    used = np.broadcast_to(good[:, None], truth.joints.shape[:2]) & (True if valid is None else valid)
    gathered.counts["points"] = int(used.sum())
    for name in protocol.alignments:
        aligned = align_joints(name, truth.joints, pred.joints, valid, bone=protocol.bone)
        errors = point_errors(aligned, truth.joints)
        _add_distances(protocol, ALIGNMENTS[name], "joints", errors, used & np.isfinite(errors), gathered)


def _score_vertices(
    protocol: Protocol, truth: HandSet, pred: HandSet, good: Bool[np.ndarray, " N"], gathered: _Gathered
) -> None:
    """Distances where both meshes have as many vertices; F-scores in any case."""
    assert truth.vertices is not None
    assert pred.vertices is not None
    same = truth.vertices.shape == pred.vertices.shape
    if not same:
        gathered.warnings.append(
            f"meshes have {pred.vertices.shape[1]} vertices, the true ones {truth.vertices.shape[1]}: "
            "no vertex errors, F-scores only"
        )
    for name in protocol.mesh_alignments:
        alignment = ALIGNMENTS[name]
        aligned = align_vertices(name, truth, pred, bone=protocol.bone)
        if same:
            errors = point_errors(aligned, truth.vertices)
            used = good[:, None] & np.isfinite(errors)
            _add_distances(protocol, alignment, "vertices", errors, used, gathered)
        if protocol.f_scores_mm:
            values = f_score(aligned, truth.vertices, [mm / _MM_PER_M for mm in protocol.f_scores_mm])
            for mm, column in zip(protocol.f_scores_mm, values.T, strict=True):
                key = f"{alignment.prefix}f_score_{mm:g}mm"
                gathered.per_sample[key] = np.where(good, column, np.nan)
                gathered.summary[key] = _mean(gathered.per_sample[key])


def _add_distances(
    protocol: Protocol,
    alignment: Alignment,
    what: str,
    errors_m: Float[np.ndarray, "N K"],
    used: Bool[np.ndarray, "N K"],
    gathered: _Gathered,
) -> None:
    """Mean error, PCK and AUC as EvalUtil takes them, mean over keypoints; the curve compares metres, as it does."""
    mean_key = f"{alignment.prefix}{'mpjpe_mm' if what == 'joints' else 'mpvpe_mm'}"
    auc_key = f"{alignment.prefix}{'auc_j' if what == 'joints' else 'auc_v'}"
    if not used.any():
        return
    thresholds = protocol.thresholds
    limits = np.linspace(thresholds.start / _MM_PER_M, thresholds.stop / _MM_PER_M, thresholds.steps)
    measures = keypoint_measures(errors_m, limits, None if used.all() else used)
    mean, pck, auc = measures.averaged()
    gathered.summary |= {mean_key: _MM_PER_M * mean, auc_key: auc}
    gathered.per_sample[mean_key] = _MM_PER_M * _sample_means(errors_m, used)
    gathered.per_sample[auc_key] = _sample_means(point_auc(errors_m, limits), used)
    gathered.per_joint[mean_key] = _MM_PER_M * measures.mean
    gathered.curves.append(
        Curve(
            name=f"{what}{alignment.label}",
            thresholds=thresholds.values(),
            pck=pck,
            auc=auc,
            unit=thresholds.unit,
            definition=protocol.curve_definition(what, alignment),
        )
    )


def _score_2d(
    protocol: Protocol, truth: HandSet, pred: HandSet, good: Bool[np.ndarray, " N"], gathered: _Gathered
) -> None:
    assert protocol.thresholds_2d is not None
    assert truth.joints_2d is not None
    assert pred.joints_2d is not None
    errors = point_errors(pred.joints_2d, truth.joints_2d)
    used = good[:, None] & np.isfinite(errors) & (True if truth.joints_valid is None else truth.joints_valid)
    if not used.any():
        return
    limits = protocol.thresholds_2d.values()
    measures = keypoint_measures(errors, limits, used)
    mean, pck, auc = measures.averaged()
    gathered.summary |= {"epe_2d_px": mean, "auc_2d": auc}
    gathered.per_sample |= {
        "epe_2d_px": _sample_means(errors, used),
        "auc_2d": _sample_means(point_auc(errors, limits), used),
    }
    gathered.per_joint["epe_2d_px"] = measures.mean
    words = f"AUC of the PCK of 2D joints over {protocol.thresholds_2d}; no alignment"
    gathered.curves.append(Curve("2D joints", limits, pck, auc, "px", words))


def _sample_means(values: Float[np.ndarray, "N K"], used: Bool[np.ndarray, "N K"]) -> Float[np.ndarray, " N"]:
    count = used.sum(1)
    return np.where(used, values, 0).sum(1) / np.where(count > 0, count, np.nan)


def _mean(values: Float[np.ndarray, " N"]) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None
