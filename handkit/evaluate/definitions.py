"""What the protocols' words mean on arrays: alignments of joints and meshes, and point 0 of STB.

Convention: arrays come as (truth, prediction), metres, our joint order; what comes back is the prediction where its
error is measured. Invalid points are moved along.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float

from handkit.conventions import NUM_JOINTS, NUM_VERTICES, PALM_VERTICES
from handkit.data.hands import HandSet
from handkit.errors import HandkitError
from handkit.geometry.procrustes import align, procrustes
from handkit.hand.palm import palm_center
from handkit.metrics import (
    align_by_trafo,
    align_centroid_scale,
    align_official,
    align_root,
    align_scale_translation,
    official_transform,
)

_MIN_PROCRUSTES_POINTS = 3


def align_joints(
    name: str,
    gt: Float[np.ndarray, "N J 3"],
    pred: Float[np.ndarray, "N J 3"],
    valid: Bool[np.ndarray, "N J"] | None,
    *,
    bone: tuple[int, int],
) -> Float[np.ndarray, "N J 3"]:
    """The predicted joints after one alignment of `ALIGNMENTS`; NaN for samples in which it is not defined."""
    if name == "none":
        return pred
    if name == "centroid-scale":
        return align_centroid_scale(gt, pred, valid)
    if name in ("root", "scale-translation"):
        if gt.shape[1] != NUM_JOINTS:
            raise HandkitError(
                f"the alignment {name!r} needs the wrist, truth has {gt.shape[1]} points",
                "choose none, centroid-scale or procrustes by --align",
            )
        aligned = align_root(gt, pred) if name == "root" else align_scale_translation(gt, pred, bone=bone)
        if valid is not None:
            aligned[~valid[:, [0] if name == "root" else [0, *bone]].all(1)] = np.nan
        return aligned
    if name == "procrustes" and valid is None:
        return align_official(gt, pred)
    return _procrustes(gt, pred, valid, reflection=name == "procrustes")


def align_vertices(name: str, truth: HandSet, pred: HandSet, *, bone: tuple[int, int]) -> Float[np.ndarray, "N V 3"]:
    """The predicted mesh after one alignment: Procrustes by the mesh itself, the others as the joints are moved.

    Where vertex counts differ Procrustes takes the joints' transform, as the servers do.
    """
    assert truth.vertices is not None
    assert pred.vertices is not None
    if name == "none":
        return pred.vertices
    if name in ("procrustes", "procrustes-rotation"):
        if pred.vertices.shape[1] == truth.vertices.shape[1]:
            return align_joints(name, truth.vertices, pred.vertices, None, bone=bone)
        joints, true_joints = _need_joints(pred, name), _need_joints(truth, name)
        if name == "procrustes":
            return align_by_trafo(pred.vertices, official_transform(true_joints, joints))
        return _procrustes(true_joints, joints, truth.joints_valid, reflection=False, moved=pred.vertices)
    joints, true_joints = _need_joints(pred, name), _need_joints(truth, name)
    together = np.concatenate([joints, pred.vertices], axis=1)
    if name == "root":
        return (together - joints[:, :1] + true_joints[:, :1])[:, joints.shape[1] :]
    # Of truth only the bone and the root are used.
    padded = np.concatenate([true_joints, np.broadcast_to(true_joints[:, :1], pred.vertices.shape)], axis=1)
    return align_scale_translation(padded, together, bone=bone)[:, joints.shape[1] :]


def _need_joints(hands: HandSet, name: str) -> np.ndarray:
    if hands.joints is None or hands.joints.shape[1] != NUM_JOINTS:
        raise HandkitError(
            f"{hands.source}: aligning meshes by {name!r} needs 21 joints", "give joints too, or choose --align"
        )
    return hands.joints


def _procrustes(
    gt: np.ndarray,
    pred: np.ndarray,
    valid: np.ndarray | None,
    *,
    reflection: bool,
    moved: np.ndarray | None = None,
) -> np.ndarray:
    """Over the valid points; samples with fewer than three of them, or one that is not finite, are NaN."""
    used = np.ones(gt.shape[:2], bool) if valid is None else valid
    finite = np.isfinite(gt).all(-1) & np.isfinite(pred).all(-1)
    defined = (finite | ~used).all(1) & (used.sum(1) >= _MIN_PROCRUSTES_POINTS)
    source, target = (
        torch.from_numpy(np.where((used & finite)[..., None], points, 0).astype(np.float64)) for points in (pred, gt)
    )
    fit = procrustes(source, target, reflection=reflection, weights=torch.from_numpy(used.astype(np.float64)))
    aligned = fit.apply(torch.from_numpy(np.asarray(pred if moved is None else moved, np.float64))).numpy()
    aligned[~defined] = np.nan
    return aligned


def reflection_gain(gt: Float[np.ndarray, "N J 3"], pred: Float[np.ndarray, "N J 3"]) -> float:
    """Median error after Procrustes with reflections over that without; far below 1 for mirrored hands."""
    source, target = (torch.from_numpy(np.asarray(points, np.float64)) for points in (pred, gt))
    with_mirror, without = (
        (align(source, target, reflection=reflection) - target).norm(dim=-1).mean(-1) for reflection in (True, False)
    )
    return float(with_mirror.median() / without.median().clamp_min(1e-9))


def wrist_from_palm(joints: Float[np.ndarray, "N 21 3"], root_joint: str) -> Float[np.ndarray, "N 21 3"]:
    """True joints whose point 0 is STB's palm centre, with it as the convention (of `ROOT_JOINTS`) wants it."""
    from handkit.data.stb import ROOTS, with_root

    return with_root(np.asarray(joints, np.float64), root_joint) if root_joint in ROOTS else joints


def palm_from_wrist(pred: HandSet, root_joint: str) -> Float[np.ndarray, "N 21 3"]:
    """Predicted joints with point 0 as the convention wants it; HandkitError where that takes vertices not given."""
    assert pred.joints is not None
    if root_joint not in ("palm", "palm-vertices"):
        return pred.joints
    joints = np.array(pred.joints, np.float64)
    if root_joint == "palm":
        joints[:, 0] = palm_center(joints)
        return joints
    if pred.vertices is None or pred.vertices.shape[1] != NUM_VERTICES:
        raise HandkitError(f"{pred.source} has no mesh of 778 vertices", "give vertices, or another --root-joint")
    joints[:, 0] = pred.vertices[:, list(PALM_VERTICES)].mean(1)
    return joints
