"""The predictions file `hands.npz`: one row per detected hand, in the camera frame, metres and pixels.

A left hand's row holds the left hand's own parameters: the layer of `load_hand(hand_model, side="left")` rebuilds its
vertices.
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
_FINITE = ("time_s", "betas", "global_orient", "hand_pose", "transl", "joints_3d", "K")
_STRINGS = ("hand_model", "method", "camera_source")


@dataclass(frozen=True, eq=False, kw_only=True)
class Predictions:
    """N hands found in M inputs.

    Joints are in our order; `joints_2d` are the model's joints projected, `keypoints_2d` what the detector said;
    `bbox` is x0, y0, x1, y1; `image_size` (width, height); `image` the file's name; `hand_pose` full axis-angle.
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

    def __post_init__(self) -> None:
        count = np.size(self.frame)
        for name, (dtype, row) in COLUMNS.items():
            self._set(name, dtype, (count, *row))
        if self.vertices is not None:
            self._set("vertices", np.float32, (count, *VERTICES_ROW))
        for name in ("inputs", "status"):
            self._set(name, np.str_, (len(self.inputs),))
        for name in _FINITE:
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
        picked = {name: getattr(self, name)[index] for name in COLUMNS}
        vertices = None if self.vertices is None else self.vertices[index]
        return replace(self, **picked, vertices=vertices)


def concatenate(parts: Sequence[Predictions]) -> Predictions:
    """The hands and inputs of several predictions, in order; `camera_source` lists the different ones.

    Raises HandkitError where there is nothing to join, hand model or method differ, or only some carry vertices.
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
    return Predictions(
        **columns,
        vertices=np.concatenate(stacked) if with_vertices == {True} else None,
        hand_model=parts[0].hand_model,
        method=parts[0].method,
        camera_source="; ".join(sources),
    )


def save_predictions(path: str | os.PathLike[str], predictions: Predictions) -> None:
    """Write `hands.npz` atomically; compressed unless it carries vertices, which hardly shrink."""
    arrays = {entry.name: getattr(predictions, entry.name) for entry in fields(predictions)}
    if predictions.vertices is None:
        del arrays["vertices"]
    write = np.savez_compressed if predictions.vertices is None else np.savez
    with atomic_path(path) as partial, partial.open("wb") as file:
        write(file, **arrays)


def load_predictions(path: str | os.PathLike[str]) -> Predictions:
    """Read `hands.npz`; raises HandkitError naming the file and the column that is missing or wrong."""
    path = Path(path)
    remake = "make it again with handkit demo"
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
        raise HandkitError(f"{path} is not a predictions file: {error}", remake) from error
    missing = [name for name in (*COLUMNS, "inputs", "status", *_STRINGS) if name not in arrays]
    if missing:
        raise HandkitError(f"{path} lacks {', '.join(missing)}", remake)
    try:
        columns: dict[str, Any] = {name: arrays[name] for name in (*COLUMNS, "inputs", "status")}
        columns |= {name: str(arrays[name]) for name in _STRINGS}
        return Predictions(**columns, vertices=arrays.get("vertices"))
    except HandkitError as error:
        raise HandkitError(f"{path}: {error.what}", remake) from error
