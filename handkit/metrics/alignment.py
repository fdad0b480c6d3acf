"""The alignments that published scores are taken after, on numpy arrays read from files.

Each brings the prediction to the truth and returns it in float64, [*B, N, 3], in the truth's unit. Arguments come as
(truth, prediction). What depends on a number that is not finite comes back as NaN, in its own sample alone.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

# FreiHAND's guard on the sets' Frobenius norms: points all equal give scale 0, not NaN.
_NORM_EPS = 1e-8


class OfficialTransform(NamedTuple):
    """What FreiHAND's `align_w_scale` found of two point sets, for `align_by_trafo`."""

    R: Float[np.ndarray, "*B 3 3"]  # orthogonal, may be a reflection; rows of points are multiplied by its transpose
    scale: Float[np.ndarray, "*B"]  # sum of the singular values, between sets of unit norm
    gt_norm: Float[np.ndarray, "*B"]  # Frobenius norm of the centred truth
    shift: Float[np.ndarray, "*B 3"]  # mean of the truth minus mean of the prediction


def align_official(gt: Float[np.ndarray, "*B N 3"], pred: Float[np.ndarray, "*B N 3"]) -> Float[np.ndarray, "*B N 3"]:
    """Procrustes alignment as the FreiHAND and HO-3D servers do it (`align_w_scale`): reflections are allowed."""
    trafo, unit = _solve(gt, pred)
    unit = unit @ np.swapaxes(trafo.R, -1, -2)
    unit *= (trafo.scale * trafo.gt_norm)[..., None, None]
    unit += _double(gt).mean(-2, keepdims=True)
    return unit


def official_transform(gt: Float[np.ndarray, "*B N 3"], pred: Float[np.ndarray, "*B N 3"]) -> OfficialTransform:
    """The transform inside `align_official`."""
    return _solve(gt, pred)[0]


def align_by_trafo(points: Float[np.ndarray, "*B V 3"], trafo: OfficialTransform) -> Float[np.ndarray, "*B V 3"]:
    """The joints' transform applied to a mesh about its own mean, as the servers do where vertex counts differ.

    The official formula multiplies by the truth's norm without dividing by the prediction's, so a mesh that needs no
    alignment comes back scaled by the norm of the joints (about 0.3 for a hand in metres). Kept, as the scores were.
    """
    points = _double(points)
    mean = points.mean(-2, keepdims=True)
    turned = (points - mean) @ np.swapaxes(trafo.R, -1, -2)
    return turned * (trafo.scale * trafo.gt_norm)[..., None, None] + trafo.shift[..., None, :] + mean


def align_root(
    gt: Float[np.ndarray, "*B N 3"], pred: Float[np.ndarray, "*B N 3"], *, root: int = 0
) -> Float[np.ndarray, "*B N 3"]:
    """Translation that brings the prediction's root onto the truth's."""
    gt, pred = _double(gt), _double(pred)
    return pred - pred[..., [root], :] + gt[..., [root], :]


def align_scale_translation(
    gt: Float[np.ndarray, "*B N 3"], pred: Float[np.ndarray, "*B N 3"], *, root: int = 0, bone: tuple[int, int] = (0, 9)
) -> Float[np.ndarray, "*B N 3"]:
    """Scale that makes a bone as long as the truth's, then the roots together; the default bone is HO-3D's.

    That is wrist to middle MCP (joints 0 and 4 in MANO's order, 0 and 9 in ours); hand3d's for STB and RHD is middle
    MCP to PIP, (9, 10). As in HO-3D's script a predicted bone of length 0 is not divided by.
    """
    gt, pred = _double(gt), _double(pred)
    start, end = bone
    length = np.linalg.norm(pred[..., end, :] - pred[..., start, :], axis=-1)
    factor = np.linalg.norm(gt[..., end, :] - gt[..., start, :], axis=-1) / np.where(length > 0, length, 1)
    scaled = (pred - pred[..., [root], :]) * factor[..., None, None]
    return scaled + gt[..., [root], :]


def align_centroid_scale(
    gt: Float[np.ndarray, "*B N 3"], pred: Float[np.ndarray, "*B N 3"], valid: Bool[np.ndarray, "*B N"] | None = None
) -> Float[np.ndarray, "*B N 3"]:
    """Centroids together and mean distances to them equal, without rotation, over the valid points.

    It is how Minimal-Hand aligns the fingertips of EgoDexter and Dexter+Object. NaN with fewer than two valid points or
    where the valid predicted ones coincide; invalid points are moved along, NaN if they are.
    """
    gt, pred = _double(gt), _double(pred)
    used = np.ones(gt.shape[:-1], bool) if valid is None else valid
    count = used.sum(-1)[..., None, None]
    gt_mean, pred_mean = (_sum_of(points, used)[..., None, :] / np.maximum(count, 1) for points in (gt, pred))
    gt_spread, pred_spread = (
        _sum_of(np.linalg.norm(points - mean, axis=-1, keepdims=True), used)[..., None, :]
        for points, mean in ((gt, gt_mean), (pred, pred_mean))
    )
    defined = (count >= 2) & (pred_spread > 0)
    factor = np.where(defined, gt_spread, np.nan) / np.where(defined, pred_spread, 1)
    return gt_mean + factor * (pred - pred_mean)


def _solve(gt: np.ndarray, pred: np.ndarray) -> tuple[OfficialTransform, np.ndarray]:
    """The transform, and the prediction centred and of unit norm."""
    gt_unit, gt_mean, gt_norm = _unit(gt)
    pred_unit, pred_mean, _ = _unit(pred)
    covariance = np.swapaxes(gt_unit, -1, -2) @ pred_unit
    finite = np.isfinite(covariance).all((-2, -1), keepdims=True)
    # One bad sample would make the decomposition of the whole batch fail.
    left, singular, right = np.linalg.svd(np.where(finite, covariance, 0))
    R = np.where(finite, left @ right, np.nan)
    return OfficialTransform(R, np.asarray(singular.sum(-1)), gt_norm, (gt_mean - pred_mean)[..., 0, :]), pred_unit


def _unit(points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    points = _double(points)
    mean = points.mean(-2, keepdims=True)
    centred = points - mean
    norm = np.asarray(np.sqrt(np.einsum("...vi,...vi->...", centred, centred)) + _NORM_EPS)
    centred /= norm[..., None, None]
    return centred, mean, norm


def _sum_of(values: np.ndarray, used: np.ndarray) -> np.ndarray:
    return np.where(used[..., None], values, 0).sum(-2)


def _double(points: np.ndarray) -> np.ndarray:
    """In float64, infinite numbers as NaN, which passes through arithmetic without a warning."""
    points = np.asarray(points, np.float64)
    finite = np.isfinite(points)
    return points if finite.all() else np.where(finite, points, np.nan)
