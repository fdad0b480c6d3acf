"""The tree of boxes of the nearest-pose search: how it is built, and how it is kept for other processes.

Arrays that are read from the disk are mapped, so that processes share their memory.
"""

import fcntl
import hashlib
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float

from handkit.errors import HandkitError
from handkit.files import check_writable
from handkit.synth.nearest_kernels import boxes, order_by_tree

logger = logging.getLogger("handkit")

_VERSION: Final = 1  # to be raised when trees come to be built or stored otherwise
_LEAF: Final = 24  # poses a leaf holds at most
_SPLIT_AXES: Final = 16  # principal axes in which nodes are halved
_BOX_AXES: Final = 20  # those that the boxes bound
_ROW_AXES: Final = 32  # those that are kept of a pose: the others add next to nothing to a distance
_SAMPLE: Final = 50_000  # poses from which the axes are taken
_KEPT: Final = 50_000  # poses from which on a tree is worth a file
_ROWS: Final = 1 << 16  # turned at once


@dataclass(frozen=True, eq=False)
class Tree:
    """Poses in the order of the leaves, turned to their principal axes, and the boxes about each node's."""

    mean: np.ndarray  # [D] float64
    axes: np.ndarray  # [D, up to 32] float64, columns by falling variance
    order: np.ndarray  # [N] int64, the given row of each sorted one
    bounds: np.ndarray  # [nodes, 2] int64
    rows: np.ndarray  # [N, up to 32] float32, the first axes
    boxes: np.ndarray  # [nodes, 2, axes] float32
    largest: np.ndarray  # [1] float32, of all values of rows

    @property
    def extent(self) -> float:
        return float(self.largest[0])


def build_tree(points: Float[np.ndarray, "N D"]) -> Tree:
    """The tree of finite float32 points; its arrays are read-only."""
    mean, axes = _principal_axes(points)
    depth = max(0, int(np.ceil(np.log2(len(points) / _LEAF))))
    order, bounds = order_by_tree(_turned(points, mean, axes[:, :_SPLIT_AXES]), depth)
    axes = np.ascontiguousarray(axes[:, :_ROW_AXES])
    rows = np.empty((len(points), axes.shape[1]), np.float32)
    for start in range(0, len(rows), _ROWS):
        part = slice(start, start + _ROWS)
        rows[part] = (points[order[part]] - mean) @ axes
    around = boxes(rows, bounds, min(_BOX_AXES, rows.shape[1]))
    largest = np.array([max(rows.max(), -rows.min())])
    return _frozen(Tree(mean, axes, order, bounds, rows, around, largest))


def turn(points: Float[np.ndarray, "Q D"], tree: Tree) -> Float[np.ndarray, "Q A"]:
    """Points on the axes that the tree keeps, float32."""
    return _turned(points, tree.mean, tree.axes)


def kept_tree(points: Float[np.ndarray, "N D"], folder: Path) -> Tree:
    """The tree of these points from the folder, built there if it is missing; one process builds, others wait.

    Small ones, and those that cannot be written, are built in memory.
    """
    if len(points) < _KEPT:
        return build_tree(points)
    key = hashlib.blake2b(f"{_VERSION} {points.shape}".encode(), digest_size=8)
    key.update(points.data)
    place = folder / f"tree-{key.hexdigest()}"
    tree = _load(place, points.shape)
    if tree is not None:
        return tree
    try:
        check_writable(folder)
        with _locked(place.with_suffix(".lock")):
            tree = _load(place, points.shape)
            if tree is None:
                _save(place, build_tree(points))
                tree = _load(place, points.shape)
    except (HandkitError, OSError) as error:
        logger.warning("the search tree of the poses could not be kept: %s", error)
    return tree or build_tree(points)


def _turned(points: np.ndarray, mean: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """What rounding leaves open here is within the margins of the search."""
    out = np.empty((len(points), axes.shape[1]), np.float32)
    for start in range(0, len(points), _ROWS):
        part = slice(start, start + _ROWS)
        out[part] = (points[part] - mean) @ axes
    return out


def _principal_axes(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean [D] and axes [D, D] of the points, float64."""
    few = points[:: max(1, len(points) // _SAMPLE)].astype(np.float64)
    mean = few.mean(axis=0)
    _, axes = np.linalg.eigh((few - mean).T @ (few - mean))
    return mean, np.ascontiguousarray(axes[:, ::-1])


def _load(place: Path, shape: tuple[int, ...]) -> Tree | None:
    """The tree that is kept, or None where there is none that can be read."""
    try:
        loaded = [np.load(place / f"{field.name}.npy", mmap_mode="r", allow_pickle=False) for field in fields(Tree)]
    except (OSError, ValueError, EOFError):
        return None
    tree = Tree(*(np.asarray(array) for array in loaded))
    return tree if len(tree.rows) == len(tree.order) == shape[0] else None


def _save(place: Path, tree: Tree) -> None:
    """Write a tree as a folder that is there whole or not at all; to be called under the lock."""
    partial = place.with_suffix(".part")
    for old in (partial, place):
        shutil.rmtree(old, ignore_errors=True)
    partial.mkdir()
    try:
        for field in fields(Tree):
            np.save(partial / f"{field.name}.npy", getattr(tree, field.name))
        os.replace(partial, place)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _frozen(tree: Tree) -> Tree:
    """As those that are mapped: kernels are compiled for one kind of array only."""
    for field in fields(Tree):
        getattr(tree, field.name).flags.writeable = False
    return tree


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time, where the file system has locks."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:
            logger.debug("no lock on %s", path)
        yield
    finally:
        os.close(handle)
