"""Files of patches: squares of pictures around found hands, written once and read in any order without loading them.

A file is an uncompressed zip, for `numpy.load` too: `patches.jpg` holds the JPEGs one after the other, `<field>.npy` a
row a hand of each of `FIELDS`, `card.json` what the file is of. Convention: pixels are those of the patch, centres at
+0.5, except `square`, which is the patch's x0, y0, x1, y1 in the picture.
"""

import io
import json
import mmap
import struct
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray

from handkit.data.crops import JOINT_MARGIN
from handkit.detect.crop import CROP_SCALE
from handkit.errors import HandkitError
from handkit.files import atomic_path

# A patch's side over the longer side of the hand's outline: half as much again as a centred crop, as room for others.
PATCH_SCALE: Final = 1.5 * CROP_SCALE
JPEG_QUALITY: Final = 95

FIELDS: Final[dict[str, tuple[tuple[int, ...], type]]] = {
    "end": ((), np.int64),
    "name": ((), np.str_),
    "sequence": ((), np.str_),
    "frame": ((), np.int64),
    "time_s": ((), np.float64),
    "is_right": ((), np.bool_),
    "square": ((4,), np.float64),
    "K": ((3, 3), np.float32),
    "keypoints_2d": ((21, 2), np.float32),
    "keypoint_scores": ((21,), np.float32),
    "joints_2d": ((21, 2), np.float32),
    "joints_2d_valid": ((21,), np.bool_),
    "joints_3d": ((21, 3), np.float32),
    "joints_3d_valid": ((21,), np.bool_),
    "weak_scale": ((), np.float32),
    "weak_transl": ((2,), np.float32),
    "weak_valid": ((), np.bool_),
}
_PICTURES, _CARD = "patches.jpg", "card.json"
_AGAIN: Final = "remove the file and gather again"
_LOCAL_HEADER: Final = 30  # bytes, before a member's name


@dataclass(frozen=True, eq=False, kw_only=True)
class Patch:
    """A hand's patch and what was found of it; `truth` holds the annotated ones of `FIELDS`, zeros where left out."""

    jpeg: bytes
    name: str
    sequence: str
    frame: int
    time_s: float
    is_right: bool
    square: Float[np.ndarray, "4"]
    K: Float[np.ndarray, "3 3"]
    keypoints_2d: Float[np.ndarray, "21 2"]
    keypoint_scores: Float[np.ndarray, "21"]
    truth: dict[str, Any] = field(default_factory=dict)


def hand_box(keypoints: Float[np.ndarray, "21 2"], seen: Bool[np.ndarray, "21"]) -> Float[np.ndarray, "4"]:
    """The box x0, y0, x1, y1 of a hand's outline: of the seen keypoints, widened as `crops.hand_outline` does."""
    points = keypoints[seen]
    low, high = points.min(0), points.max(0)
    radius = JOINT_MARGIN * (high - low).max()
    return np.concatenate([low - radius, high + radius])


def write_patches(path: Path, patches: Iterable[Patch], card: Callable[[], dict[str, Any]]) -> None:
    """Write a file, atomically, as its patches come; `card` is asked once they are all there."""
    rows: dict[str, list[Any]] = {key: [] for key in FIELDS}
    with atomic_path(path) as partial, zipfile.ZipFile(partial, "w") as archive:
        with archive.open(_PICTURES, "w", force_zip64=True) as pictures:
            end = 0
            for patch in patches:
                pictures.write(patch.jpeg)
                end += len(patch.jpeg)
                known = {**vars(patch), **patch.truth, "end": end}
                for key, (shape, dtype) in FIELDS.items():
                    rows[key].append(known.get(key, np.zeros(shape, dtype)))
        for key, (shape, dtype) in FIELDS.items():
            table: NDArray[Any] = np.array(rows[key], dtype).reshape(-1, *shape)
            with archive.open(f"{key}.npy", "w") as member:
                np.lib.format.write_array(member, table, allow_pickle=False)
        with archive.open(_CARD, "w") as member:
            member.write(json.dumps(card()).encode())


class PatchFile:
    """A written file: its card, its fields as arrays [N, ...] that lie in the file, its pictures by row.

    Raises HandkitError for a file that is missing, cut off or of another kind.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with zipfile.ZipFile(path) as archive, path.open("rb") as file:
                content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                self.card: dict[str, Any] = json.loads(archive.read(_CARD))
                self._pictures = _stored(content, archive.getinfo(_PICTURES))
                self.fields = {key: _array(_stored(content, archive.getinfo(f"{key}.npy"))) for key in FIELDS}
        except (OSError, KeyError, ValueError, struct.error, zipfile.BadZipFile) as error:
            raise HandkitError(f"{path} is no file of patches, or damaged: {error}", _AGAIN) from error

    def __len__(self) -> int:
        return len(self.fields["end"])

    def image(self, row: int) -> NDArray[np.uint8]:
        """RGB [3, S, S] of a row. Raises HandkitError where it cannot be decoded."""
        ends = self.fields["end"]
        stored = self._pictures[int(ends[row - 1]) if row else 0 : int(ends[row])]
        image = cv2.imdecode(stored, cv2.IMREAD_COLOR) if len(stored) else None
        if image is None:
            raise HandkitError(f"{self.path}: the picture of row {row} is damaged", _AGAIN)
        return np.ascontiguousarray(image[..., ::-1].transpose(2, 0, 1)).astype(np.uint8, copy=False)


def _stored(content: mmap.mmap, member: zipfile.ZipInfo) -> NDArray[np.uint8]:
    """The bytes of an uncompressed member where they lie."""
    at = member.header_offset
    name, extra = struct.unpack("<HH", content[at + _LOCAL_HEADER - 4 : at + _LOCAL_HEADER])
    return np.frombuffer(content, np.uint8, member.file_size, at + _LOCAL_HEADER + name + extra)


def _array(stored: NDArray[np.uint8]) -> NDArray[Any]:
    """The array of a .npy file, in place."""
    (size,) = struct.unpack("<H", stored[8:10].tobytes())
    header = io.BytesIO(stored[: 10 + size].tobytes())
    version = np.lib.format.read_magic(header)
    if version != (1, 0):
        raise ValueError(f"an array of version {version}")
    shape, _, dtype = np.lib.format.read_array_header_1_0(header)
    return stored[10 + size :].view(dtype).reshape(shape)
