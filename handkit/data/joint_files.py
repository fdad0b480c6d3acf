"""Reading hand joints from annotation files: BigHand2.2M text, .npy, FreiHAND and HO-3D lists, HO-3D's meta pickles."""

import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import orjson
from jaxtyping import Float
from tqdm import tqdm

from handkit.conventions import BONES, reorder_joints
from handkit.errors import HandkitError
from handkit.hand.unpickle import to_array, unpickle

logger = logging.getLogger("handkit")

_KINDS: Final = "use BigHand2.2M's .txt, .npy [N, 21, 3], FreiHAND's or HO-3D's .json, or a folder of HO-3D's meta .pkl"
_BLOCK: Final = 1 << 24  # bytes of text read at once
_ROW: Final = np.dtype([("name", "S8"), ("joints", np.float32, 63)])
_ORDERS: Final = ("ours", "mano", "bighand", "rhd", "interhand")


def read_joints(path: Path, *, show_progress: bool = False) -> Float[np.ndarray, "N 21 3"]:
    """Joints of a file or folder in our order, in the file's own unit and frame; HandkitError where it cannot."""
    if path.is_dir():
        return reorder_joints(_read_meta_folder(path), "ho3d")
    suffix = path.suffix.lower()
    if suffix == ".txt":
        return reorder_joints(_read_bighand(path, show_progress=show_progress), "bighand")
    if suffix not in (".npy", ".json"):
        raise HandkitError(f"{path} is no pose file that is known", _KINDS)
    joints = _read_npy(path) if suffix == ".npy" else _read_json(path)
    order = guess_order(joints)
    if order != "ours":
        logger.warning("%s: its joints are in the order of %s, by the lengths of the bones", path, order)
    return reorder_joints(joints, order)


def file_signature(path: Path) -> str:
    """A short key that changes with a file's place, size and time; for a folder, with those of its files."""
    files = sorted(path.rglob("*.pkl")) if path.is_dir() else [path]
    lines = [f"{file.resolve()} {file.stat().st_size} {file.stat().st_mtime_ns}" for file in files]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def guess_order(joints: Float[np.ndarray, "N 21 3"]) -> str:
    """The joint order that gives the shortest skeleton, ours unless another is clearly shorter."""
    few = joints[np.isfinite(joints).all(axis=(1, 2))][:2000].astype(np.float64)
    if not len(few):
        return "ours"
    parents, children = np.array(BONES).T
    lengths = {}
    for order in _ORDERS:
        ours = reorder_joints(few, order)
        lengths[order] = float(np.linalg.norm(ours[:, parents] - ours[:, children], axis=2).mean())
    best = min(lengths, key=lambda order: lengths[order])
    return best if lengths[best] < 0.9 * lengths["ours"] else "ours"


def _read_bighand(path: Path, *, show_progress: bool) -> np.ndarray:
    """Lines of a name and 63 numbers, streamed; float32 [N, 21, 3] in the file's order."""
    parts: list[np.ndarray] = []
    number = 1
    with tqdm(total=path.stat().st_size, unit="B", unit_scale=True, disable=not show_progress, desc=path.name) as bar:
        for block in _blocks(path):
            lines = block.splitlines()
            parts.append(_parse_block(path, lines, number))
            number += len(lines)
            bar.update(len(block))
    joints = np.concatenate([np.empty((0, 63), np.float32), *parts])
    if not len(joints):
        raise HandkitError(f"{path} holds no poses", _KINDS)
    return joints.reshape(-1, 21, 3)


def _blocks(path: Path) -> Iterator[bytes]:
    """The file in pieces of whole lines."""
    rest = b""
    with path.open("rb") as file:
        while piece := file.read(_BLOCK):
            whole, newline, piece = (rest + piece).rpartition(b"\n")
            rest = piece
            if newline:
                yield whole + newline
    if rest:
        yield rest


def _parse_block(path: Path, lines: list[bytes], first: int) -> np.ndarray:
    """Float32 [M, 63] of a block of lines, empty ones left out; `first` is the number of the first line."""
    filled = [line.decode("latin1") for line in lines if line.strip()]
    if not filled:
        return np.empty((0, 63), np.float32)
    try:
        return np.loadtxt(filled, dtype=_ROW, comments=None, ndmin=1)["joints"]
    except ValueError:
        _raise_for_line(path, lines, first)
        raise


def _raise_for_line(path: Path, lines: list[bytes], first: int) -> None:
    """Raise HandkitError for the first line that is not a name and 63 numbers."""
    for number, line in enumerate(lines, first):
        parts = line.split()
        if parts and len(parts) != 64:
            what = f"{path}, line {number}: {len(parts)} columns instead of a name and 63 numbers"
            raise HandkitError(what, "repair or remove that line")
        for part in parts[1:]:
            try:
                float(part)
            except ValueError as error:
                what = f"{path}, line {number}: {part.decode('latin1')!r} is not a number"
                raise HandkitError(what, "repair or remove that line") from error


def _read_npy(path: Path) -> np.ndarray:
    try:
        joints = np.load(path, allow_pickle=False, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise HandkitError(f"{path} cannot be read as .npy ({error})", _KINDS) from error
    return _checked(path, joints)


def _read_json(path: Path) -> np.ndarray:
    try:
        rows = orjson.loads(path.read_bytes())
        joints = np.array(rows, dtype=np.float32)
    except (orjson.JSONDecodeError, ValueError, TypeError) as error:
        raise HandkitError(f"{path} is no list of joints ({error})", _KINDS) from error
    return _checked(path, joints)


def _checked(path: Path, joints: np.ndarray) -> np.ndarray:
    if joints.ndim == 2 and joints.shape[1] == 63:
        joints = joints.reshape(-1, 21, 3)
    if joints.ndim != 3 or joints.shape[1:] != (21, 3) or joints.dtype.kind not in "fiu" or not len(joints):
        raise HandkitError(f"{path} has shape {joints.shape} of {joints.dtype}", "give numbers of shape [N, 21, 3]")
    return np.asarray(joints, np.float32)


def _read_meta_folder(path: Path) -> np.ndarray:
    """`handJoints3D` of every HO-3D meta pickle below a folder; frames without annotation are left out."""
    rows = []
    for file in sorted(path.rglob("*.pkl")):
        joints = unpickle(file, file.read_bytes()).get("handJoints3D")
        if joints is None:
            continue
        try:
            array = to_array(joints)
        except (ValueError, TypeError, IndexError) as error:
            raise HandkitError(f"{file}: handJoints3D cannot be read ({error})", _KINDS) from error
        if array.shape == (21, 3):
            rows.append(array)
    if not rows:
        raise HandkitError(f"{path} holds no meta .pkl file with the 21 joints of a hand", _KINDS)
    return np.array(rows, np.float32)
