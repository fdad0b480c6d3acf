"""The predictions file `hands.npz`: one row per detected hand, in the camera frame, metres and pixels.

A left hand's row holds the left hand's own parameters: the layer of `load_hand(hand_model, side="left")` rebuilds its
vertices, to which `vertex_offsets`, where there are any, are added.
"""

import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from handkit.errors import HandkitError
from handkit.files import atomic_path

# Of each column the type it is kept in and the shape of one row.
COLUMNS: dict[str, tuple[type, tuple[int, ...]]] = {
    "frame": (np.int64, ()),
    "time_s": (np.float64, ()),
    "track_id": (np.int64, ()),
    "is_right": (np.bool_, ()),
    "score": (np.float32, ()),
    "betas": (np.float32, (10,)),
    "global_orient": (np.float32, (3,)),
    "hand_pose": (np.float32, (45,)),
    "transl": (np.float32, (3,)),
    "joints_3d": (np.float32, (21, 3)),
    "joints_2d": (np.float32, (21, 2)),
    "keypoints_2d": (np.float32, (21, 2)),
    "keypoint_scores": (np.float32, (21,)),
    "bbox": (np.float32, (4,)),
    "K": (np.float64, (3, 3)),
    "image_size": (np.int64, (2,)),
    "image": (np.str_, ()),
}
VERTICES_ROW = (778, 3)
# Meshes, and what refinement adds to them: not in every file.
OPTIONAL_COLUMNS = ("vertices", "vertex_offsets")
_FINITE = ("time_s", "betas", "global_orient", "hand_pose", "transl", "joints_3d", "K")
_STRINGS = ("hand_model", "method", "camera_source")


@dataclass(frozen=True, eq=False, kw_only=True)
class Predictions:
    """N hands found in M inputs.

    Joints are in our order; `joints_2d` are the model's joints projected, `keypoints_2d` what the detector said;
    `bbox` is x0, y0, x1, y1; `image_size` (width, height); `image` the file's name; `hand_pose` full axis-angle.
    `vertices` and `vertex_offsets` are metres in the camera frame, the latter part of the former.
    `status` says per input "done", "no hand", or "failed: why". Raises HandkitError where shapes do not agree.
    """

    frame: np.ndarray
    time_s: np.ndarray
    track_id: np.ndarray
    is_right: np.ndarray
    score: np.ndarray
    betas: np.ndarray
    global_orient: np.ndarray
    hand_pose: np.ndarray
    transl: np.ndarray
    joints_3d: np.ndarray
    joints_2d: np.ndarray
    keypoints_2d: np.ndarray
    keypoint_scores: np.ndarray
    bbox: np.ndarray
    K: np.ndarray
    image_size: np.ndarray
    image: np.ndarray
    inputs: Sequence[str] | np.ndarray
    status: Sequence[str] | np.ndarray
    hand_model: str
    method: str
    camera_source: str
    vertices: np.ndarray | None = None
    vertex_offsets: np.ndarray | None = None

    def __post_init__(self) -> None:
        count = np.size(self.frame)
        for name, (dtype, row) in COLUMNS.items():
            self._set(name, dtype, (count, *row))
        for name in OPTIONAL_COLUMNS:
            if getattr(self, name) is not None:
                self._set(name, np.float32, (count, *VERTICES_ROW))
        for name in ("inputs", "status"):
            self._set(name, np.str_, (len(self.inputs),))
        for name in (*_FINITE, *(() if self.vertex_offsets is None else ("vertex_offsets",))):
            if not np.isfinite(getattr(self, name)).all():
                raise HandkitError(f"{name} holds values that are not finite", "leave those hands out")

    def _set(self, name: str, dtype: type, shape: tuple[int, ...]) -> None:
        try:
            values: np.ndarray = np.asarray(getattr(self, name)).astype(dtype)
        except (TypeError, ValueError) as error:
            raise HandkitError(f"{name} is not an array of {dtype.__name__}: {error}", "see the file format") from error
        if values.shape != shape:
            raise HandkitError(f"{name} has shape {values.shape}, not {shape}", "give every column one row per hand")
        object.__setattr__(self, name, values)

    def __len__(self) -> int:
        return len(self.frame)

    @classmethod
    def no_hands(
        cls, *, inputs: Sequence[str], status: Sequence[str], hand_model: str, method: str, camera_source: str
    ) -> "Predictions":
        """Inputs in which no hand was found."""
        columns: dict[str, Any] = {name: np.zeros((0, *row), dtype) for name, (dtype, row) in COLUMNS.items()}
        columns |= {"inputs": inputs, "status": status, "hand_model": hand_model}
        return cls(**columns, method=method, camera_source=camera_source)

    def rows(self, index: np.ndarray | slice) -> "Predictions":
        """The hands that a mask, indices or a slice picks; inputs and status stay."""
        names = [name for name in (*COLUMNS, *OPTIONAL_COLUMNS) if getattr(self, name) is not None]
        return replace(self, **{name: getattr(self, name)[index] for name in names})


def concatenate(parts: Sequence[Predictions]) -> Predictions:
    """The hands and inputs of several predictions, in order; `camera_source` lists the different ones.

    Hands without vertex offsets among others with them get zeros. Raises HandkitError where there is nothing to join,
    hand model or method differ, or only some carry vertices.
    """
    if not parts:
        raise HandkitError("no predictions to join", "give at least one")
    for name in ("hand_model", "method"):
        values = sorted({getattr(part, name) for part in parts})
        if len(values) > 1:
            raise HandkitError(f"{name} differs: {', '.join(values)}", "join predictions of one kind only")
    with_vertices = {part.vertices is not None for part in parts if len(part)}
    if len(with_vertices) > 1:
        raise HandkitError("only some of the predictions carry vertices", "make all of them with vertices, or none")
    columns: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts]) for name in (*COLUMNS, "inputs", "status")
    }
    stacked = [part.vertices for part in parts if part.vertices is not None]
    sources = dict.fromkeys(part.camera_source for part in parts if part.camera_source)
    has_offsets = any(part.vertex_offsets is not None and len(part) for part in parts)
    return Predictions(
        **columns,
        vertices=np.concatenate(stacked) if with_vertices == {True} else None,
        vertex_offsets=np.concatenate([_offsets(part) for part in parts]) if has_offsets else None,
        hand_model=parts[0].hand_model,
        method=parts[0].method,
        camera_source="; ".join(sources),
    )


def _offsets(part: Predictions) -> np.ndarray:
    return np.zeros((len(part), *VERTICES_ROW), np.float32) if part.vertex_offsets is None else part.vertex_offsets


def save_predictions(path: str | os.PathLike[str], predictions: Predictions) -> None:
    """Write `hands.npz` atomically; compressed unless it carries meshes, which hardly shrink."""
    arrays = {entry.name: getattr(predictions, entry.name) for entry in fields(predictions)}
    absent = [name for name in OPTIONAL_COLUMNS if arrays[name] is None]
    for name in absent:
        del arrays[name]
    write = np.savez_compressed if len(absent) == len(OPTIONAL_COLUMNS) else np.savez
    with atomic_path(path) as partial, partial.open("wb") as file:
        write(file, **arrays)


def load_predictions(path: str | os.PathLike[str]) -> Predictions:
    """Read `hands.npz`; raises HandkitError naming the file and the column that is missing or wrong."""
    return _build(Path(path), _read(Path(path)))


def load_finite_rows(path: str | os.PathLike[str]) -> tuple[Predictions, dict[int, str]]:
    """The hands of `hands.npz` whose numbers are finite, and of the others by row the first column that is not.

    Raises HandkitError like `load_predictions` for anything else that is wrong.
    """
    path = Path(path)
    arrays = _read(path)
    count = np.size(arrays["frame"])
    bad: dict[int, str] = {}
    for name in (*_FINITE, *OPTIONAL_COLUMNS):
        values = arrays.get(name)
        if values is not None and values.dtype.kind == "f" and values.shape[:1] == (count,):
            for row in np.flatnonzero(~np.isfinite(values).all(tuple(range(1, values.ndim)))).tolist():
                bad.setdefault(row, name)
    if bad:
        kept = np.setdiff1d(np.arange(count), list(bad))
        arrays = {
            name: values[kept] if name in (*COLUMNS, *OPTIONAL_COLUMNS) and values.shape[:1] == (count,) else values
            for name, values in arrays.items()
        }
    return _build(path, arrays), bad


_REMAKE = "make it again with handkit demo"


def _read(path: Path) -> dict[str, np.ndarray]:
    """All arrays of the file, none of the needed ones missing."""
    if not path.is_file():
        raise HandkitError(f"{path} does not exist" if not path.exists() else f"{path} is a folder", "check the path")
    try:
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if isinstance(archive, np.ndarray):
                raise HandkitError(f"{path} holds a single array, not predictions", "give a hands.npz")
            arrays = {name: archive[name] for name in archive.files}
    except HandkitError:
        raise
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, KeyError) as error:
        raise HandkitError(f"{path} is not a predictions file: {error}", _REMAKE) from error
    missing = [name for name in (*COLUMNS, "inputs", "status", *_STRINGS) if name not in arrays]
    if missing:
        raise HandkitError(f"{path} lacks {', '.join(missing)}", _REMAKE)
    return arrays


def _build(path: Path, arrays: dict[str, np.ndarray]) -> Predictions:
    try:
        columns: dict[str, Any] = {name: arrays[name] for name in (*COLUMNS, "inputs", "status")}
        columns |= {name: str(arrays[name]) for name in _STRINGS}
        columns |= {name: arrays.get(name) for name in OPTIONAL_COLUMNS}
        return Predictions(**columns)
    except HandkitError as error:
        raise HandkitError(f"{path}: {error.what}", _REMAKE) from error
