"""Predictions and truth in whatever file they come, as `HandSet`s in our conventions.

| file | holds |
|---|---|
| `*.json` | the servers' lists: joints [N, 21, 3], vertices [N, V, 3], or [joints, vertices] |
| `hands.npz` | handkit's predictions; several below a folder are joined |
| `*.npz` | `joints` [N, J, 3], `vertices`, `joints_2d`, `joints_valid`, `ids`, `sequences`, `frames`, `K`, `score` |
| `*.npy` | [N, J, 3], [N, 778, 3] or [N, J, 2] |
| a folder | of the servers: `pred.json` or `res/`; `evaluation_xyz.json`, `evaluation_verts.json` or `ref/` |
"""

import logging
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from handkit.conventions import NUM_VERTICES
from handkit.data.hands import HandSet
from handkit.errors import HandkitError
from handkit.evaluate.matching import ReadHands, match_names
from handkit.evaluate.official import check_not_truncated, from_official, read_point_lists
from handkit.evaluate.options import UNITS_M, ReadOptions
from handkit.evaluate.own import from_predictions
from handkit.evaluate.protocols import Protocol
from handkit.export.predictions import COLUMNS

logger = logging.getLogger(__name__)

JOINTS_FILE: Final = "evaluation_xyz.json"
VERTICES_FILE: Final = "evaluation_verts.json"
_CAMERA_FILE: Final = "evaluation_K.json"
_IMAGE_SUFFIXES: Final = {".jpg", ".jpeg", ".png"}
_ALIASES: Final = {
    "joints": ("joints", "xyz", "joints_3d", "keypoints"),
    "vertices": ("vertices", "verts"),
    "joints_2d": ("joints_2d", "uv"),
    "joints_valid": ("joints_valid", "valid"),
    "ids": ("ids", "names", "image"),
    "sequences": ("sequences",),
    "frames": ("frames",),
    "K": ("K",),
    "score": ("score",),
}
_DIMENSIONS: Final = {"joints": 3, "vertices": 3, "joints_2d": 3, "joints_valid": 2, "K": 3}


def find_files(path: Path, *, is_truth: bool) -> list[Path]:
    """The files that `path` stands for, each whole as far as can be seen at once.

    Raises HandkitError where it does not exist, where a folder holds none of the known names, or a JSON is cut off.
    """
    if not path.exists():
        raise HandkitError(f"{path} does not exist", "check the path")
    files = [path]
    if path.is_dir():
        files = _truth_files(path) if is_truth else _prediction_files(path)
    for file in files:
        if file.suffix == ".json":
            check_not_truncated(file)
        elif file.suffix not in (".npz", ".npy"):
            raise HandkitError(f"{file} is no json, npz or npy file", "see handkit evaluate --help for the forms")
    return files


def _truth_files(folder: Path) -> list[Path]:
    for place in (folder, folder / "ref"):
        if (place / JOINTS_FILE).is_file():
            meshes = place / VERTICES_FILE
            return [place / JOINTS_FILE, *([meshes] if meshes.is_file() else [])]
    raise HandkitError(
        f"{folder} holds no {JOINTS_FILE}, nor does {folder.name}/ref",
        "give the folder with the evaluation's truth, or name the data set by --dataset",
    )


def _prediction_files(folder: Path) -> list[Path]:
    for place in (folder / "pred.json", folder / "res" / "pred.json"):
        if place.is_file():
            return [place]
    found = sorted(folder.rglob("hands.npz"))
    if not found:
        raise HandkitError(f"{folder} holds no pred.json, res/pred.json or hands.npz", "give the predictions' file")
    return found


def read_hands(
    path: Path, protocol: Protocol, options: ReadOptions, *, is_truth: bool, with_vertices: bool = True
) -> ReadHands:
    """Read one side.

    `with_vertices` rebuilds the meshes of a hands.npz that does not carry them. Raises HandkitError naming the file
    for all that cannot be read.
    """
    files = find_files(path, is_truth=is_truth)
    if len(files) > 1 and files[0].suffix == ".npz":
        return from_predictions(files, path, with_vertices=with_vertices, about_origin=protocol.about_origin)
    arrays: dict[str, Any]
    if files[0].suffix == ".json":
        arrays = _read_json(files)
        order, axes = options.joint_order or protocol.joint_order, options.axes or protocol.axes
    else:
        if files[0].suffix == ".npz":
            with _opened(files[0]) as archive:
                names = set(archive.files)
            if names.issuperset(COLUMNS):
                return from_predictions(files, path, with_vertices=with_vertices, about_origin=protocol.about_origin)
        arrays = _read_npy(files[0]) if files[0].suffix == ".npy" else _read_npz(files[0])
        order, axes = options.joint_order or "ours", options.axes or "opencv"
    _check(path, arrays)
    valid = _annotated(arrays, protocol) if is_truth else None
    for name in ("joints", "vertices"):
        if name in arrays:
            points = arrays[name]
            if options.unit != "m":
                points = np.multiply(points, UNITS_M[options.unit], dtype=np.float64)
            arrays[name] = from_official(points, order if name == "joints" else "ours", axes)
    if valid is not None:
        arrays["joints_valid"] = from_official(valid[..., None], order, "opencv")[..., 0]
    return replace(_named(path, files, arrays), joint_order=order)


def _named(path: Path, files: list[Path], arrays: dict[str, Any]) -> ReadHands:
    count = len(next(arrays[name] for name in ("joints", "vertices", "joints_2d") if name in arrays))
    confidence = arrays.pop("score", None)
    named = "ids" in arrays
    if files[0].name == JOINTS_FILE:
        arrays |= _of_data_set(files[0].parent, count)
        named = True
    ids = tuple(map(str, arrays.pop("ids", [f"{i:08d}" for i in range(count)])))
    if "sequences" in arrays:
        arrays["sequences"] = tuple(map(str, arrays["sequences"]))
    if "frames" in arrays:
        arrays["frames"] = tuple(map(int, arrays["frames"]))
    return ReadHands(HandSet(ids=ids, **arrays, source=str(path)), named, confidence=confidence)


def _of_data_set(folder: Path, count: int) -> dict[str, Any]:
    """Names, sequences and cameras that lie beside the servers' truth: HO-3D's evaluation.txt, FreiHAND's K."""
    known: dict[str, Any] = {"ids": [f"{i:08d}" for i in range(count)]}
    listing = folder / "evaluation.txt"
    lines = listing.read_text(encoding="utf-8").split() if listing.is_file() else []
    if len(lines) == count and all("/" in line for line in lines):
        known["ids"] = lines
        known["sequences"] = [line.rpartition("/")[0] for line in lines]
        numbers = [line.rpartition("/")[2] for line in lines]
        if all(number.isdigit() for number in numbers):
            known["frames"] = numbers
    elif lines:
        logger.warning("%s lists %d samples, the truth has %d: it is not used", listing, len(lines), count)
    if (folder / _CAMERA_FILE).is_file():
        cameras = read_point_lists(folder / _CAMERA_FILE)[0]
        if cameras.shape == (count, 3, 3):
            known["K"] = cameras
    return known


def _read_json(files: list[Path]) -> dict[str, Any]:
    if files[0].name == JOINTS_FILE:
        parts = [read_point_lists(file)[0] for file in files]
    else:
        parts = read_point_lists(files[0])
    if len(parts) > 2:
        raise HandkitError(f"{files[0]} holds {len(parts)} lists of samples", "write [joints, vertices]")
    if len(parts) == 1:
        return {"vertices" if parts[0].shape[1] == NUM_VERTICES else "joints": parts[0]}
    arrays = {name: part for name, part in zip(("joints", "vertices"), parts, strict=True) if part.size}
    lengths = {len(part) for part in arrays.values()}
    if len(lengths) > 1:
        what = f"{', '.join(map(str, files))}: {len(parts[0])} samples of joints, {len(parts[1])} of vertices"
        raise HandkitError(what, "give both for every sample")
    return arrays


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The array of an npy file or the archive of an npz file; what goes wrong while it is read is told."""
    try:
        with path.open("rb") as file:
            yield np.load(file, allow_pickle=False)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise HandkitError(f"{path} cannot be read: {error}", "write it again with numpy, without objects") from error


def _read_npy(path: Path) -> dict[str, Any]:
    with _opened(path) as array:
        if array.ndim != 3 or array.shape[2] not in (2, 3):
            raise HandkitError(f"{path} has shape {array.shape}, not [samples, points, 3 or 2]", "reshape it")
    if array.shape[2] == 2:
        return {"joints_2d": array}
    return {"vertices" if array.shape[1] == NUM_VERTICES else "joints": array}


def _read_npz(path: Path) -> dict[str, Any]:
    arrays: dict[str, Any] = {}
    with _opened(path) as archive:
        for name, aliases in _ALIASES.items():
            found = next((alias for alias in aliases if alias in archive.files), None)
            if found is not None:
                arrays[name] = archive[found]
        held = ", ".join(archive.files)
    if not {"joints", "vertices", "joints_2d"} & set(arrays):
        raise HandkitError(f"{path} holds {held or 'nothing'}", "it needs joints, vertices or joints_2d")
    return arrays


def _check(path: Path, arrays: dict[str, Any]) -> None:
    """Shapes, types and lengths, before they fail somewhere deep."""
    for name, dimensions in _DIMENSIONS.items():
        if name not in arrays:
            continue
        array = arrays[name]
        if array.ndim != dimensions or array.dtype.kind not in "fiub":
            what = f"{path}: {name} has shape {array.shape} of {array.dtype}"
            raise HandkitError(what, f"give numbers in {dimensions} dimensions")
        if array.dtype.kind in "iu":
            arrays[name] = array.astype(np.float64)
    if "joints_valid" in arrays:
        arrays["joints_valid"] = arrays["joints_valid"].astype(bool)
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        listing = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise HandkitError(f"{path}: lengths differ: {listing}", "give one entry per sample")
    if not next(iter(lengths.values()), 0):
        raise HandkitError(f"{path} holds no samples", "check how it was written")


def _annotated(arrays: dict[str, Any], protocol: Protocol) -> np.ndarray | None:
    """Which points of truth are there: finite, and not one of the protocol's codes for a missing one."""
    if "joints" not in arrays:
        return None
    joints = arrays["joints"]
    valid: np.ndarray = np.isfinite(joints).all(-1)
    for code in protocol.missing:
        valid &= ~np.isclose(joints[..., 2], code, atol=1e-3)
    if "joints_valid" in arrays:
        valid &= arrays["joints_valid"]
    return None if valid.all() and "joints_valid" not in arrays else valid


def with_images(truth: ReadHands, folder: Path | None) -> ReadHands:
    """Truth that knows its pictures, found by name in a folder; by default where data sets keep them."""
    if truth.hands.images is not None and folder is None:
        return truth
    if folder is None:
        source = Path(truth.hands.source)
        folder = next((place for place in (source / "evaluation", source / "images") if place.is_dir()), None)
    elif not folder.is_dir():
        raise HandkitError(f"{folder} is not a folder", "give the folder with the pictures")
    if folder is None:
        return truth
    found = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.suffix.lower() in _IMAGE_SUFFIXES}
    paths = list(found.values())
    rows = match_names(list(found), truth.hands.ids)
    images = tuple(paths[row] if row >= 0 else None for row in rows.tolist())
    return replace(truth, hands=replace(truth.hands, images=images)) if any(images) else truth
