"""Reading hand files: MANO's .pkl as released or re-saved, .npz of the same keys, and the open hand's .npz.

Everything wrong with a file is a HandkitError that names the file and, where there is one, the key.
"""

import io
import zipfile
from pathlib import Path
from typing import Any, Final

import numpy as np

from handkit.conventions import MANO_PARENTS
from handkit.errors import HandkitError
from handkit.hand.unpickle import RESAVE, to_array, unpickle

MAX_BYTES: Final = 64 << 20  # the released files have 4 MB

# Name in a MANO file (or in ours) -> (field of HandModel, shape).
_KEYS: Final[dict[tuple[str, ...], tuple[str, tuple[int, ...]]]] = {
    ("v_template",): ("v_template", (778, 3)),
    ("shapedirs",): ("shapedirs", (778, 3, 10)),
    ("posedirs",): ("posedirs", (778, 3, 135)),
    ("J_regressor",): ("J_regressor", (16, 778)),
    ("weights", "lbs_weights"): ("lbs_weights", (778, 16)),
    ("hands_mean",): ("hands_mean", (45,)),
    ("hands_components",): ("hands_components", (45, 45)),
    ("f", "faces"): ("faces", (1538, 3)),
}


def read_hand_file(path: Path) -> dict[str, Any]:
    """The checked arrays of a hand file under the field names of HandModel, whichever way the file was written."""
    held = _read(path)
    fields: dict[str, Any] = {}
    for names, (field, shape) in _KEYS.items():
        name = next((name for name in names if name in held), None)
        if name is None:
            raise HandkitError(f"{path}: the key {names[0]!r} is missing", RESAVE)
        fields[field] = _checked(path, name, held[name], shape)
    fields["faces"] = _indices(path, "f", fields["faces"], below=778)
    fields["parents"] = _parents(path, held)
    if "tip_vertices" in held:
        tips = _indices(path, "tip_vertices", _checked(path, "tip_vertices", held["tip_vertices"], (5,)), below=778)
        fields["tip_vertices"] = tuple(int(tip) for tip in tips)
    if "vertex_colors" in held:
        fields["vertex_colors"] = _checked(path, "vertex_colors", held["vertex_colors"], (778, 3))
    return fields


def _checked(path: Path, key: str, value: object, shape: tuple[int, ...]) -> np.ndarray:
    try:
        array = to_array(value)
    except (ValueError, TypeError, IndexError, RecursionError, MemoryError) as error:
        raise HandkitError(f"{path}: the key {key!r} is no array of numbers ({error})", RESAVE) from error
    if array.shape != shape:
        raise HandkitError(f"{path}: the key {key!r} has shape {array.shape}, not {shape}", RESAVE)
    array = array.astype(np.float64)
    if not np.isfinite(array).all():
        bad = int((~np.isfinite(array)).sum())
        raise HandkitError(f"{path}: the key {key!r} has {bad} values that are not finite", RESAVE)
    return array


def _indices(path: Path, key: str, array: np.ndarray, *, below: int) -> np.ndarray:
    if (array != np.floor(array)).any() or array.min() < 0 or array.max() >= below:
        raise HandkitError(f"{path}: the key {key!r} has values that are not vertices 0 to {below - 1}", RESAVE)
    return array.astype(np.int64)


def _parents(path: Path, held: dict[str, object]) -> np.ndarray:
    if "parents" in held:
        key, parents = "parents", _checked(path, "parents", held["parents"], (16,))
    elif "kintree_table" in held:
        key, parents = "kintree_table", _checked(path, "kintree_table", held["kintree_table"], (2, 16))[0]
    else:
        raise HandkitError(f"{path}: the key 'kintree_table' is missing", RESAVE)
    if tuple(parents[1:]) != MANO_PARENTS[1:]:
        raise HandkitError(f"{path}: the key {key!r} holds another joint tree than MANO's", RESAVE)
    return np.array(MANO_PARENTS, dtype=np.int64)  # the released root is 2^32 - 1


def _read(path: Path) -> dict[str, object]:
    if not path.is_file():
        raise HandkitError(f"{path} is no file", "check the path")
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise HandkitError(f"{path} cannot be read: {error.strerror}", "check the path and its permissions") from error
    if len(content) > MAX_BYTES:
        raise HandkitError(f"{path} has more than {MAX_BYTES} bytes, too many for a hand", RESAVE)
    if not content:
        raise HandkitError(f"{path} is empty", RESAVE)
    return _read_npz(path, content) if content.startswith(b"PK") else unpickle(path, content)


def _read_npz(path: Path, content: bytes) -> dict[str, object]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > MAX_BYTES:
                raise HandkitError(f"{path} unpacks to more than {MAX_BYTES} bytes", RESAVE)
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise HandkitError(f"{path} is no readable .npz file ({error})", RESAVE) from error
    held: dict[str, object] = {}
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        for key in arrays.files:
            try:
                held[key] = arrays[key]
            except Exception as error:  # a damaged member fails in zlib, zipfile, ast or numpy
                raise HandkitError(f"{path}: the key {key!r} cannot be read ({error})", RESAVE) from error
    return held
