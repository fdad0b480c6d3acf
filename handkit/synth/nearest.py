"""The exact nearest pose of a large bank: a balanced tree of boxes over the principal axes.

The poses lie sorted by the tree's leaves, turned to their principal axes, so that a box is thin in most of them and a
distance is known to be too large after a few coordinates. Single precision only decides what may be skipped, with a
margin over its rounding; the answer is the least sum in double precision of the given coordinates, the lowest index
among equals. It does not depend on the other queries, their order or the number of threads.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np
from jaxtyping import Float, Int

from handkit.errors import HandkitError
from handkit.synth.nearest_kernels import boxes, order_by_tree, search_l1, search_l2

_LEAF: Final = 24  # poses a leaf holds at most
_BOX_AXES: Final = 20  # principal axes that the boxes bound
_CHUNK: Final = 256  # queries a thread takes at once
_SAMPLE: Final = 50_000  # poses from which the axes are taken


class PoseIndex:
    """Nearest-neighbour search among N points of D values (a bank's joints, [N, 63])."""

    def __init__(self, bank_points: Float[np.ndarray, "N D"]) -> None:
        points = np.ascontiguousarray(bank_points, np.float32)
        if points.ndim != 2 or not len(points):
            raise HandkitError(f"a pose bank of shape {points.shape}", "give at least one pose, as [N, 63]")
        if not np.isfinite(points).all():
            raise HandkitError("the pose bank holds values that are not finite", "drop those poses")
        self.points = points
        self._mean, self._axes = _principal_axes(points)
        turned = self._turn(points)
        depth = max(0, int(np.ceil(np.log2(len(points) / _LEAF))))
        self._order, self._bounds = order_by_tree(turned, depth)
        self._sorted = turned[self._order]
        self._boxes = boxes(self._sorted, self._bounds, min(_BOX_AXES, points.shape[1]))
        self._extent = float(np.abs(self._sorted).max())
        del turned
        self._raw_boxes: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.points)

    def nearest(self, queries: Float[np.ndarray, "Q D"]) -> tuple[Int[np.ndarray, " Q"], Float[np.ndarray, " Q"]]:
        """Index [Q] of the nearest point by Euclidean distance, the lowest among equals, and that distance [Q]."""
        exact = self._check(queries)
        turned = self._turn(exact)
        margins = self._margins(turned)
        index, square = np.empty(len(exact), np.int64), np.empty(len(exact))

        def run(part: slice) -> None:
            search_l2(
                exact[part],
                turned[part],
                margins[part],
                self._sorted,
                self.points,
                self._order,
                self._bounds,
                self._boxes,
                index[part],
                square[part],
            )

        _in_threads(run, len(exact))
        return index, np.sqrt(square)

    def nearest_l1(
        self, queries: Float[np.ndarray, "Q D"], second: Float[np.ndarray, "Q D"] | None = None
    ) -> tuple[Int[np.ndarray, " Q"], Float[np.ndarray, " Q"]]:
        """Index [Q] of the least sum of absolute differences to a query (and to its `second`), and that sum [Q]."""
        exact = self._check(queries)
        other = exact if second is None else self._check(second)
        if self._raw_boxes is None:
            self._raw_boxes = boxes(self.points[self._order], self._bounds, self.points.shape[1])
        raw_boxes = self._raw_boxes
        index, total = np.empty(len(exact), np.int64), np.empty(len(exact))

        def run(part: slice) -> None:
            search_l1(
                exact[part],
                other[part],
                second is not None,
                self.points,
                self._order,
                self._bounds,
                raw_boxes,
                index[part],
                total[part],
            )

        _in_threads(run, len(exact))
        return index, total

    def _check(self, queries: np.ndarray) -> np.ndarray:
        exact = np.ascontiguousarray(queries, np.float64)
        if exact.ndim != 2 or exact.shape[1] != self.points.shape[1]:
            raise ValueError(f"queries of shape {exact.shape} for points of {self.points.shape[1]} values")
        if not np.isfinite(exact).all():
            raise ValueError("queries that are not finite")
        return exact

    def _turn(self, points: np.ndarray) -> np.ndarray:
        """Points [N, D] on the principal axes, float32; what their rounding leaves open is within the margins."""
        turned = np.empty(points.shape, np.float32)
        for start in range(0, len(points), 1 << 16):
            part = slice(start, start + (1 << 16))
            turned[part] = (points[part] - self._mean) @ self._axes
        return turned

    def _margins(self, turned: np.ndarray) -> np.ndarray:
        """What the rounding of single precision can add to, or take from, a distance; generous, [Q] float64."""
        size = np.maximum(self._extent, np.abs(turned).max(axis=1, initial=0)).astype(np.float64)
        return 8 * turned.shape[1] ** 0.5 * np.finfo(np.float32).eps * size


def _principal_axes(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean [D] and axes [D, D] (columns, by falling variance) of the points, float64."""
    few = points[:: max(1, len(points) // _SAMPLE)].astype(np.float64)
    mean = few.mean(axis=0)
    _, axes = np.linalg.eigh((few - mean).T @ (few - mean))
    return mean, np.ascontiguousarray(axes[:, ::-1])


def _in_threads(run: Callable[[slice], None], number: int) -> None:
    parts = [slice(start, start + _CHUNK) for start in range(0, number, _CHUNK)]
    if len(parts) < 2:
        for part in parts:
            run(part)
        return
    with ThreadPoolExecutor(
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    ) as pool:
        list(pool.map(run, parts))
