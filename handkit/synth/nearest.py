"""The exact nearest pose of a large bank: a balanced tree of boxes over the principal axes.

The poses lie sorted by the tree's leaves, turned to their principal axes, so that a box is thin in most of them and a
distance is known to be too large after a few coordinates. Single precision only decides what may be skipped, with a
margin over its rounding; the answer is the least sum in double precision of the given coordinates, the lowest index
among equals. It does not depend on the other queries, their order or the number of threads.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from handkit.errors import HandkitError
from handkit.synth.nearest_kernels import boxes, search_l1, search_l2
from handkit.synth.nearest_tree import build_tree, kept_tree, turn
from handkit.synth.threads import in_threads

_CHUNK = 256  # queries a thread takes at once


class PoseIndex:
    """Nearest-neighbour search among N points of D values (a bank's joints, [N, 63]).

    With a `folder` what is built is kept there, to be mapped into memory by this and all other processes.
    """

    def __init__(self, bank_points: Float[np.ndarray, "N D"], *, folder: Path | None = None) -> None:
        points = np.ascontiguousarray(bank_points, np.float32).view()
        if points.ndim != 2 or not len(points):
            raise HandkitError(f"a pose bank of shape {points.shape}", "give at least one pose, as [N, 63]")
        if not np.isfinite([points.min(), points.max()]).all():
            raise HandkitError("the pose bank holds values that are not finite", "drop those poses")
        points.flags.writeable = False
        self.points = points
        self._tree = build_tree(points) if folder is None else kept_tree(points, folder)
        self._raw_boxes: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.points)

    def nearest(self, queries: Float[np.ndarray, "Q D"]) -> tuple[Int[np.ndarray, " Q"], Float[np.ndarray, " Q"]]:
        """Index [Q] of the nearest point by Euclidean distance, the lowest among equals, and that distance [Q]."""
        exact = self._check(queries)
        tree = self._tree
        turned = turn(exact, tree)
        margins = self._margins(turned)
        index, square = np.empty(len(exact), np.int64), np.empty(len(exact))

        def run(part: slice) -> None:
            search_l2(
                exact[part],
                turned[part],
                margins[part],
                tree.rows,
                self.points,
                tree.order,
                tree.bounds,
                tree.boxes,
                index[part],
                square[part],
            )

        in_threads(run, len(exact), _CHUNK)
        return index, np.sqrt(square)

    def nearest_l1(
        self, queries: Float[np.ndarray, "Q D"], second: Float[np.ndarray, "Q D"] | None = None
    ) -> tuple[Int[np.ndarray, " Q"], Float[np.ndarray, " Q"]]:
        """Index [Q] of the least sum of absolute differences to a query (and to its `second`), and that sum [Q]."""
        exact = self._check(queries)
        other = exact if second is None else self._check(second)
        tree = self._tree
        if self._raw_boxes is None:
            self._raw_boxes = boxes(self.points[tree.order], tree.bounds, self.points.shape[1])
        raw_boxes = self._raw_boxes
        index, total = np.empty(len(exact), np.int64), np.empty(len(exact))

        def run(part: slice) -> None:
            search_l1(
                exact[part],
                other[part],
                second is not None,
                self.points,
                tree.order,
                tree.bounds,
                raw_boxes,
                index[part],
                total[part],
            )

        in_threads(run, len(exact), _CHUNK)
        return index, total

    def _check(self, queries: np.ndarray) -> np.ndarray:
        exact = np.ascontiguousarray(queries, np.float64)
        if exact.ndim != 2 or exact.shape[1] != self.points.shape[1]:
            raise ValueError(f"queries of shape {exact.shape} for points of {self.points.shape[1]} values")
        if not np.isfinite(exact).all():
            raise ValueError("queries that are not finite")
        return exact

    def _margins(self, turned: np.ndarray) -> np.ndarray:
        """What the rounding of single precision can add to, or take from, a distance; generous, [Q] float64."""
        size = np.maximum(self._tree.extent, np.abs(turned).max(axis=1, initial=0)).astype(np.float64)
        return 8 * turned.shape[1] ** 0.5 * np.finfo(np.float32).eps * size
