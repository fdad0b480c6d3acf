"""F-score of two meshes' vertices: how many of each lie near the other, on numpy arrays read from files."""

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from handkit.render.jit import compiled
from handkit.render.jit_soft import share

Thresholds: TypeAlias = Sequence[float] | Float[np.ndarray, " T"]

_MAX_CELLS = 64


class FScore(NamedTuple):
    """One column per threshold; NaN for a sample with a vertex that is not finite."""

    f: Float[np.ndarray, "N T"]
    precision: Float[np.ndarray, "N T"]  # share of predicted vertices nearer to the truth than the threshold
    recall: Float[np.ndarray, "N T"]  # share of true vertices nearer to the prediction than it


def f_score(
    pred_verts: Float[np.ndarray, "N P 3"], gt_verts: Float[np.ndarray, "N V 3"], thresholds_m: Thresholds
) -> Float[np.ndarray, "N T"]:
    """Harmonic mean of precision and recall at each distance, strictly nearer; 0 where both are 0.

    The two meshes may differ in their number of vertices. Threads: torch's.
    """
    return f_score_parts(pred_verts, gt_verts, thresholds_m).f


def f_score_parts(
    pred_verts: Float[np.ndarray, "N P 3"], gt_verts: Float[np.ndarray, "N V 3"], thresholds_m: Thresholds
) -> FScore:
    """`f_score` with its precision and recall."""
    pred, gt = (np.ascontiguousarray(verts, np.float64) for verts in (pred_verts, gt_verts))
    if len(pred) != len(gt) or 0 in (pred.shape[1], gt.shape[1]):
        raise ValueError(f"predicted vertices {pred.shape} do not go with true vertices {gt.shape}")
    thresholds = np.asarray(thresholds_m, np.float64)
    order = np.argsort(thresholds)
    ascending = thresholds[order]
    limits = np.array([_squared_limit(float(distance)) for distance in ascending])
    finite = np.isfinite(pred).all((-2, -1)) & np.isfinite(gt).all((-2, -1))
    near = np.zeros((2, len(pred), len(thresholds)), np.int64)
    share(_count_pairs, pred, gt, finite, ascending, limits, near)
    near = near.cumsum(-1)
    shares = np.full(near.shape, np.nan)
    shares[0][:, order] = near[0] / pred.shape[1]
    shares[1][:, order] = near[1] / gt.shape[1]
    shares[:, ~finite] = np.nan
    precision, recall = shares
    total = precision + recall
    f = 2 * recall * precision / np.where(total == 0, 1, total)
    return FScore(f, precision, recall)


def _squared_limit(distance: float) -> float:
    """The number L for which `d2 < L` is `sqrt(d2) < distance` exactly, rounding included."""
    if not distance > 0:
        return 0.0
    limit = distance * distance
    while math.sqrt(math.nextafter(limit, 0)) >= distance:
        limit = math.nextafter(limit, 0)
    while math.sqrt(limit) < distance:
        limit = math.nextafter(limit, math.inf)
    return limit


def _kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    return compiled(inspect.unwrap(function))  # from checks of its annotations, which numba cannot compile


@_kernel
def _cell(x: float, low: float, per_metre: float, cells: int) -> int:
    # Never a number out of range to convert, and NaN goes to 0.
    position = (x - low) * per_metre
    if not position > 0.0:
        return 0
    return cells - 1 if position >= cells else int(position)


@_kernel
def _squared_distance(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    dx, dy, dz = a[0] - b[0], a[1] - b[1], a[2] - b[2]
    return dx * dx + dy * dy + dz * dz


@_kernel
def _into_cells(
    points: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.int32], NDArray[np.float64], float, tuple[int, int, int]]:
    """Points sorted by cubic cell, where each cell starts among them, and the grid: [low, high], cells a metre, shape.

    The longest side has sqrt(V) cells, so that a surface has about one vertex per cell it goes through.
    """
    bounds = np.empty((2, 3))
    for axis in range(3):
        bounds[0, axis], bounds[1, axis] = points[:, axis].min(), points[:, axis].max()
    low, high = bounds
    most = min(max(int(np.sqrt(points.shape[0])), 1), _MAX_CELLS)
    extent = (high - low).max()
    per_metre = most / extent if extent > 0.0 else 0.0
    nx = _cell(high[0], low[0], per_metre, most) + 1
    ny = _cell(high[1], low[1], per_metre, most) + 1
    nz = _cell(high[2], low[2], per_metre, most) + 1
    start = np.zeros(nx * ny * nz + 2, np.int32)
    cell_of = np.empty(points.shape[0], np.int32)
    for i in range(points.shape[0]):
        x = _cell(points[i, 0], low[0], per_metre, nx)
        y = _cell(points[i, 1], low[1], per_metre, ny)
        cell_of[i] = (x * ny + y) * nz + _cell(points[i, 2], low[2], per_metre, nz)
        start[cell_of[i] + 2] += 1
    for c in range(1, start.shape[0]):
        start[c] += start[c - 1]
    ordered = np.empty_like(points)
    for i in range(points.shape[0]):
        # Counted two cells on, the starts move to their place as the cells fill.
        place = cell_of[i] + 1
        ordered[start[place]] = points[i]
        start[place] += 1
    return ordered, start, bounds, per_metre, (nx, ny, nz)


@_kernel
def _count_near(
    queries: NDArray[np.float64],
    points: NDArray[np.float64],
    reaches: NDArray[np.float64],
    limits: NDArray[np.float64],
    near: NDArray[np.int64],
) -> None:
    """Add to near[k] the queries whose nearest point is nearer than reaches[k] (ascending) and not than reaches[k - 1].

    limits are the exact squares of reaches. The point of the query's own index is looked at first: where both meshes
    have one topology it leaves only the smaller distances to search.
    """
    ordered, start, bounds, per_metre, shape = _into_cells(points)
    first, last = np.empty(3, np.int64), np.empty(3, np.int64)
    for q in range(queries.shape[0]):
        query = queries[q]
        known = reaches.shape[0]
        distance2 = _squared_distance(points[min(q, points.shape[0] - 1)], query)
        while known > 0 and distance2 < limits[known - 1]:
            known -= 1
        for k in range(known):
            outside = False
            for axis in range(3):
                # Wider by more than the rounding of what follows.
                reach = reaches[k] * (1.0 + 1e-9) + 1e-15 * abs(query[axis])
                least, greatest = query[axis] - reach, query[axis] + reach
                outside = outside or least > bounds[1, axis] or greatest < bounds[0, axis]
                first[axis] = _cell(least, bounds[0, axis], per_metre, shape[axis])
                last[axis] = _cell(greatest, bounds[0, axis], per_metre, shape[axis])
            if not outside and _any_within(query, ordered, start, shape, first, last, limits[k]):
                known = k
                break
        if known < reaches.shape[0]:
            near[known] += 1


@_kernel
def _any_within(
    query: NDArray[np.float64],
    ordered: NDArray[np.float64],
    start: NDArray[np.int32],
    shape: tuple[int, int, int],
    first: NDArray[np.int64],
    last: NDArray[np.int64],
    limit: float,
) -> bool:
    """Whether a point in the cells from first to last is at a squared distance below limit."""
    for x in range(first[0], last[0] + 1):
        for y in range(first[1], last[1] + 1):
            row = (x * shape[1] + y) * shape[2]
            for i in range(start[row + first[2]], start[row + last[2] + 1]):
                if _squared_distance(ordered[i], query) < limit:
                    return True
    return False


@_kernel
def _count_pairs(
    first: int,
    step: int,
    pred: NDArray[np.float64],
    gt: NDArray[np.float64],
    finite: NDArray[np.bool_],
    reaches: NDArray[np.float64],
    limits: NDArray[np.float64],
    near: NDArray[np.int64],
) -> None:
    for sample in range(first, pred.shape[0], step):
        if finite[sample]:
            _count_near(pred[sample], gt[sample], reaches, limits, near[0, sample])
            _count_near(gt[sample], pred[sample], reaches, limits, near[1, sample])
