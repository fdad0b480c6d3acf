"""What the readers of annotated data sets share: files with errors that name them, numbers, projection, boxes.

Convention: pixels are as each data set publishes them, so that its K projects its 3D points onto its 2D ones.
"""

import difflib
import math
import mmap
import os
import pickletools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import orjson
import torch
from numpy.typing import DTypeLike, NDArray

from handkit.data.hands import HandSet
from handkit.data.sample import HandSample, PairView, StereoSample, check_sample
from handkit.errors import HandkitError
from handkit.hand.unpickle import SafeUnpickler, to_array

_CHUNK: Final = 8 << 20  # bytes of JSON parsed at once: parsed numbers take ten times that
_AGAIN: Final = "copy or download it again"


class AnnotatedDataset(torch.utils.data.Dataset[HandSample], ABC):
    """Samples of an annotated data set by number; the first one read is checked against the schema."""

    _checked = False

    def __getitem__(self, index: int) -> HandSample:
        if not 0 <= index < len(self):
            raise IndexError(index)
        sample = self.read(index)
        if not self._checked:
            check_sample(sample)
            self._checked = True
        return sample

    @abstractmethod
    def __len__(self) -> int: ...

    def scene(self, index: int) -> int:
        """What was photographed: samples of one scene, other views or colours of it, show the same hand in one pose."""
        return index

    def view_of(self, index: int) -> PairView | None:
        """Which camera of a stereo pair a sample is of; None where it is of no pair."""
        return None

    def pair(self, index: int) -> StereoSample:
        """Both views of the pair that a sample is of; raises HandkitError where there is none."""
        raise HandkitError(f"{type(self).__name__} has no stereo pairs", "use a data set of pairs: stb or stereo")

    @abstractmethod
    def read(self, index: int) -> HandSample:
        """One sample, its image decoded."""

    @abstractmethod
    def truth(self) -> HandSet:
        """All annotations in the samples' order, no image decoded."""


def check_choice(what: str, value: str, choices: Iterable[str]) -> str:
    """`value`, if it is one of `choices`; else HandkitError with the nearest of them."""
    known = list(choices)
    if value in known:
        return value
    close = difflib.get_close_matches(str(value), known, n=1, cutoff=0.5)
    meant = f"did you mean {close[0]}? " if close else ""
    raise HandkitError(f"no such {what}: {value!r}", f"{meant}known are {', '.join(known)}")


def check_root(root: str | os.PathLike[str], layout: str) -> Path:
    """The data set's folder; HandkitError, saying the layout it should have, where there is none."""
    folder = Path(root).expanduser()
    if not folder.is_dir():
        what = f"{folder} is not a folder" if folder.exists() else f"{folder} does not exist"
        raise HandkitError(what, f"give the folder that holds {layout}")
    return folder


def find_file(candidates: Sequence[Path], layout: str) -> Path:
    """The first of `candidates` that is a file; HandkitError naming the first where there is none."""
    for path in candidates:
        if path.is_file():
            return path
    raise HandkitError(f"{candidates[0]} does not exist", f"the folder should hold {layout}")


def read_numbers(
    path: Path, shape: tuple[int, ...], layout: str, *, dtype: DTypeLike = np.float64
) -> NDArray[np.floating[Any]]:
    """The JSON list of N arrays of `shape`, as [N, *shape].

    Parsed in pieces, so that what is held beside the result stays small. Raises HandkitError for a file that is
    missing, cut off, damaged or of another shape.
    """
    find_file([path], layout)
    parts = [np.empty((0, *shape), dtype)]
    try:
        if path.stat().st_size == 0:
            raise ValueError("it is empty")
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            for piece in _pieces(content):
                parts.append(_parsed(piece, shape).astype(dtype, copy=False))
    except (ValueError, TypeError) as error:
        raise HandkitError(f"{path} is cut off or damaged: {error}", _AGAIN) from error
    except OSError as error:
        raise HandkitError(f"{path} cannot be read: {error.strerror}", "check who may read it") from error
    return np.concatenate(parts)


def _pieces(content: mmap.mmap) -> Iterable[bytes]:
    """The list as several ones, cut after elements that are lists of lists; the whole where they are not."""
    start = content.find(b"[") + 1
    if start == 0:
        raise ValueError("it holds no list")
    while (end := content.find(b"]]", start + _CHUNK)) >= 0:
        rest = content[end + 2 : end + 1026].lstrip()
        if not rest.startswith(b","):
            break
        yield b"[" + content[start : end + 2] + b"]"
        start = content.find(b",", end + 2) + 1
    yield b"[" + content[start:]


def _parsed(piece: bytes, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """A list of arrays of `shape`; its numbers are parsed as one flat list, which is twice as fast as nested ones."""
    opened, closed = piece.count(b"["), piece.count(b"]")
    if opened != closed:
        raise ValueError("its end is missing" if opened > closed else "it closes more lists than it opens")
    values = np.array(orjson.loads(b"[" + piece.translate(None, b"[]") + b"]"), np.float64)
    count = len(values) // math.prod(shape)
    lists = 1 + count * sum(math.prod(shape[:level]) for level in range(len(shape)))
    if values.size != count * math.prod(shape) or opened != lists:
        raise ValueError(f"not a list of {' x '.join(map(str, shape)) or 'single'} numbers")
    return values.reshape(count, *shape)


def read_pickle(path: Path, layout: str) -> dict[Any, Any]:
    """The dictionary of a pickle file by the safe unpickler: nothing in it is run, its arrays are for `numbers`.

    Raises HandkitError for a file that is missing, cut off, or refers to anything but plain data.
    """
    find_file([path], layout)
    try:
        content = path.read_bytes()
        for opcode, argument, _ in pickletools.genops(content):
            if "PUT" in opcode.name and int(argument or 0) > len(content):
                raise ValueError("it names more parts than it holds")
        held = SafeUnpickler(path, content).load()
    except HandkitError as error:
        raise HandkitError(error.what, f"do not trust this file; {_AGAIN}") from error
    except OSError as error:
        raise HandkitError(f"{path} cannot be read: {error.strerror}", "check who may read it") from error
    except Exception as error:  # a damaged pickle can fail in any way
        raise HandkitError(f"{path} is cut off or damaged: {error}", _AGAIN) from error
    if not isinstance(held, dict):
        raise HandkitError(f"{path} holds a {type(held).__name__} instead of a dictionary", _AGAIN)
    return held


def numbers(held: dict[Any, Any], key: str, shape: tuple[int, ...], path: Path) -> NDArray[np.float64] | None:
    """An array of a pickle, reshaped; None where it is missing or None. HandkitError where it is anything else."""
    value = held.get(key)
    if value is None:
        return None
    try:
        return to_array(value).astype(np.float64).reshape(shape)
    except (ValueError, TypeError, IndexError) as error:
        wanted = " x ".join("N" if size < 0 else str(size) for size in shape)
        raise HandkitError(f"{path}: {key} is not {wanted} numbers: {error}", _AGAIN) from error


def read_rgb(path: Path, layout: str) -> NDArray[np.uint8]:
    """RGB [H, W, 3] exactly as stored; HandkitError where the file is missing or no image."""
    return np.ascontiguousarray(_decoded(path, cv2.IMREAD_COLOR, layout)[..., ::-1])


def read_grey(path: Path, layout: str) -> NDArray[np.uint8]:
    """One channel [H, W]; HandkitError where the file is missing or no image."""
    return _decoded(path, cv2.IMREAD_GRAYSCALE, layout)


def read_chw(path: Path, layout: str) -> NDArray[np.uint8]:
    """RGB [3, H, W], as a sample holds it."""
    return np.ascontiguousarray(read_rgb(path, layout).transpose(2, 0, 1))


def _decoded(path: Path, mode: int, layout: str) -> NDArray[np.uint8]:
    find_file([path], layout)
    content = np.fromfile(path, np.uint8)
    image = cv2.imdecode(content, mode | cv2.IMREAD_IGNORE_ORIENTATION) if content.size else None
    if image is None:
        raise HandkitError(f"{path} is not an image that can be read", _AGAIN)
    return image.astype(np.uint8, copy=False)


def wide(low: NDArray[np.uint8], high: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """low + 256 high in 32 bits: the 16-bit number that two 8-bit channels hold."""
    return low.astype(np.uint32) + 256 * high.astype(np.uint32)


def pixels(points: NDArray[Any], K: NDArray[Any]) -> NDArray[Any]:
    """Pinhole projection of camera-frame points [*B, N, 3] by K [*B, 3, 3] (or [3, 3]) to pixels [*B, N, 2].

    Points that are not in front of the camera give zeros.
    """
    seen = points[..., 2:] > 0
    rays = np.where(seen, points / np.where(seen, points[..., 2:], 1), 0)
    return np.where(seen, (rays @ np.swapaxes(K, -1, -2))[..., :2], 0)


def box_around(points: NDArray[Any]) -> dict[str, Any]:
    """A sample's `bbox` around pixels [N, 2]; nothing where they span no area."""
    if len(points) < 2:
        return {}
    box = np.concatenate([points.min(0), points.max(0)]).astype(np.float32)
    return {"bbox": box} if box[2] > box[0] and box[3] > box[1] else {}
