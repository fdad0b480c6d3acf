"""What looks wrong with a prediction although it can be scored: units, axes, order of joints, mirrored hands."""

import numpy as np
from jaxtyping import Float

from handkit.conventions import JOINT_ORDERS, NUM_JOINTS, order_indices
from handkit.evaluate.definitions import reflection_gain
from handkit.metrics import align_official

_LOOKED_AT = 200
_UNITS = {1000.0: "millimetres", 100.0: "centimetres", 0.001: "metres, the truth like millimetres"}
_CLEARLY_BETTER = 0.5
_MIN_ERROR_M = 0.002


def suspicions(
    truth: Float[np.ndarray, "N J 3"], pred: Float[np.ndarray, "N J 3"], *, joint_order: str = "ours"
) -> list[str]:
    """Sentences, none where nothing is suspicious. Looks at some of the samples that are finite, evenly spaced.

    Both are in our order; `joint_order` is the one that the prediction was taken to be in when it was read.
    """
    usable = np.flatnonzero(np.isfinite(truth).all((1, 2)) & np.isfinite(pred).all((1, 2)))
    if not len(usable):
        return []
    rows = usable[np.linspace(0, len(usable) - 1, min(_LOOKED_AT, len(usable))).astype(int)]
    truth, pred = np.asarray(truth[rows], np.float64), np.asarray(pred[rows], np.float64)
    found = [_unit(truth, pred), _axes(truth, pred)]
    if truth.shape[1] == NUM_JOINTS:
        found += [_order(truth, pred, joint_order) or _mirrored(truth, pred)]
    return [sentence for sentence in found if sentence]


def _unit(truth: np.ndarray, pred: np.ndarray) -> str | None:
    sizes = [float(np.median(np.linalg.norm(np.ptp(points, axis=1), axis=-1))) for points in (truth, pred)]
    ratio = sizes[1] / max(sizes[0], 1e-12)
    for factor, words in _UNITS.items():
        if factor / 2 < ratio < factor * 2:
            return f"predicted hands are {ratio:.3g} times as large as the true ones: they look like {words} (--units)"
    return None


def _axes(truth: np.ndarray, pred: np.ndarray) -> str | None:
    depths = [points[..., 2].mean(1) for points in (truth, pred)]
    if all((np.abs(depth) > 0.15).all() for depth in depths) and (np.sign(depths[0]) == -np.sign(depths[1])).all():
        return (
            "all predicted hands lie on the other side of the camera than the true ones: one is in OpenGL axes, the "
            "other in OpenCV's (--axes)"
        )
    return None


def _order(truth: np.ndarray, pred: np.ndarray, read_as: str) -> str | None:
    """Another order fits the truth far better than the one the joints were read in."""
    as_written = pred[:, list(order_indices("ours", read_as))]
    distinct = {order: name for name, order in reversed(JOINT_ORDERS.items())}
    errors = {name: _error(truth, as_written[:, list(order_indices(name, "ours"))]) for name in distinct.values()}
    best, present = min(errors, key=lambda name: errors[name]), _error(truth, pred)
    if present > _MIN_ERROR_M and errors[best] < _CLEARLY_BETTER * present:
        return (
            f"predicted joints fit far better in {best!r} order than in {read_as!r} order, as they were read "
            f"({1000 * errors[best]:.1f} against {1000 * present:.1f} mm after Procrustes; --joint-order)"
        )
    return None


def _error(truth: np.ndarray, pred: np.ndarray) -> float:
    return float(np.median(np.linalg.norm(align_official(truth, pred) - truth, axis=-1).mean(1)))


def _mirrored(truth: np.ndarray, pred: np.ndarray) -> str | None:
    gain = reflection_gain(truth, pred)
    if gain < _CLEARLY_BETTER:
        return (
            f"predicted hands look mirrored: allowing a reflection takes the error after Procrustes to {gain:.0%} "
            "(left hands predicted as right ones?)"
        )
    return None
