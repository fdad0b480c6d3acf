"""Reading WebDataset shards: which there are, whether they are whole, and any sample in them without unpacking.

A shard is a tar of parts named `<key>.<part>`; parts of one key stand together and make a sample. Files whose names
start with a dot are half-written shards of a running or killed generator and are never looked at.
"""

import glob
import io
import json
import math
import mmap
import os
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from handkit.errors import HandkitError

_BLOCK: Final = 512
_EMPTY: Final = bytes(_BLOCK)
_KEY: Final = re.compile(r"([^/.]+)\.([^/]+)")
_LOCAL: Final = struct.Struct("<4s5H3I2H")  # the header of a file in a zip
_NPY: Final = b"\x93NUMPY\x01\x00"
_AGAIN: Final = "generate or copy it again"

Source = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
Place = tuple[int, int]  # offset and size in bytes


def find_shards(source: Source) -> list[Path]:
    """The shards of a folder, a glob, a file or a list of those, in the order of their names.

    Raises HandkitError where there are none.
    """
    if isinstance(source, Sequence) and not isinstance(source, str):
        return [path for part in source for path in find_shards(part)]
    folder = Path(source).expanduser()
    pattern = folder / "*.tar" if folder.is_dir() else folder
    found = [folder] if folder.is_file() else [Path(name) for name in glob.glob(str(pattern))]
    shards = sorted(path for path in found if not path.name.startswith(".") and path.is_file())
    if not shards:
        what = f"{source} holds no shards (*.tar)" if folder.is_dir() else f"{source} does not exist"
        raise HandkitError(what, "give the folder that handkit generate wrote, or its tar files")
    return shards


def read_card(shards: Sequence[Path], kind: str) -> dict[str, Any]:
    """The settings that `dataset.json` beside the shards says they were made with; empty where there is none.

    Raises HandkitError where it cannot be read, is of data other than `kind`, or where a shard is not one of those it
    lists or has another size.
    """
    path = shards[0].parent / "dataset.json"
    if not path.is_file():
        return {}
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        found, settings = card["kind"], dict(card["settings"])
        sizes = {shard["name"]: int(shard["bytes"]) for shard in card["shards"]}
    except OSError as error:
        raise HandkitError(f"{path} cannot be read: {error.strerror}", "check who may read it") from error
    except (ValueError, KeyError, TypeError) as error:
        raise HandkitError(f"{path} is damaged: {error!r}", "run handkit generate again") from error
    if found != kind:
        raise HandkitError(f"{path.parent} holds {found} data, not {kind}", f"give a folder of handkit generate {kind}")
    for shard in (shard for shard in shards if shard.parent == path.parent):
        if shard.name not in sizes:
            raise HandkitError(f"{shard} is not one of the shards that {path} lists", "take it away")
        if shard.stat().st_size != sizes[shard.name]:
            what = f"{shard} has {shard.stat().st_size} bytes, not the {sizes[shard.name]} it was written with"
            raise HandkitError(what, _AGAIN)
    return settings


class ShardIndex(NamedTuple):
    """Where the N samples of a shard lie, in its order; every one has the same parts."""

    keys: list[str]
    parts: tuple[str, ...]
    places: NDArray[np.int64]  # [N, parts, 2], offset and size in bytes


def index_shard(path: Path, parts: Sequence[Sequence[str]]) -> ShardIndex:
    """Where every part of every sample lies in the tar.

    Each of `parts` is a group of names of which a sample has exactly one. Raises HandkitError for a shard that is cut
    off, damaged, or holds anything else.
    """
    check_whole(path)
    group_of = {name: number for number, group in enumerate(parts) for name in group}
    names: list[str | None] = [None] * len(parts)
    places: dict[str, list[Place | None]] = {}
    key = ""
    for file_name, place in _members(path):
        match = _KEY.fullmatch(file_name)
        if match is None or match[2] not in group_of:
            raise HandkitError(f"{path} holds {file_name}, which is no part of such a sample", "take the shard away")
        group = group_of[match[2]]
        if match[1] != key and match[1] in places:
            raise HandkitError(f"{path} holds the sample {match[1]} twice", _AGAIN)
        key = match[1]
        found = places.setdefault(key, [None] * len(parts))
        if found[group] is not None or names[group] not in (None, match[2]):
            raise HandkitError(f"{path}: the sample {key} has several of {', '.join(parts[group])}", _AGAIN)
        found[group], names[group] = place, match[2]
    for key, found in places.items():
        if None in found:
            raise HandkitError(f"{path}: the sample {key} has no {' or '.join(parts[found.index(None)])}", _AGAIN)
    table = np.array(list(places.values()), np.int64).reshape(-1, len(parts), 2)
    return ShardIndex(list(places), tuple(name or "" for name in names), table)


def check_whole(path: Path) -> None:
    """Raise HandkitError, naming it, unless the tar is closed by its two empty blocks."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            file.seek(max(0, size - 2 * _BLOCK))
            end = file.read()
    except OSError as error:
        raise HandkitError(f"{path} cannot be read: {error.strerror}", "check who may read it") from error
    if size % _BLOCK or len(end) < 2 * _BLOCK or any(end):
        raise HandkitError(f"{path} is cut off: its end is missing after {size} bytes", _AGAIN)


def _members(path: Path) -> list[tuple[str, Place]]:
    """Names and places of the files in a whole tar, by the plain headers where it has no others, which is faster."""
    members, headers, offset = [], [], 0
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            while (header := content[offset : offset + _BLOCK]) != _EMPTY:
                if len(header) < _BLOCK or header[124] & 0x80 or header[156] not in b"0\0" or header[345]:
                    return _members_of_any_tar(path)
                length = int(header[124:136].rstrip(b" \0") or b"0", 8)
                members.append((header[:100].partition(b"\0")[0].decode(), (offset + _BLOCK, length)))
                headers.append(header)
                offset += _BLOCK + -(-length // _BLOCK) * _BLOCK
        _check_sums(headers)
    except (ValueError, tarfile.TarError, OSError) as error:
        raise HandkitError(f"{path} is damaged: {error}", _AGAIN) from error
    return members


def _check_sums(headers: list[bytes]) -> None:
    """Raise ValueError unless the bytes of every header, its own sum taken for spaces, add up to what it says."""
    table = np.frombuffer(b"".join(headers), np.uint8).reshape(-1, _BLOCK)
    sums = table.sum(1, dtype=np.int64) - table[:, 148:156].sum(1, dtype=np.int64) + 8 * ord(" ")
    said = [int(header[148:156].strip(b" \0"), 8) for header in headers]
    if (wrong := np.flatnonzero(sums != said)).size:
        raise ValueError(f"the header of file {wrong[0] + 1} is not what was written")


def _members_of_any_tar(path: Path) -> list[tuple[str, Place]]:
    with tarfile.open(path, "r:") as archive:
        return [(member.name, (member.offset_data, member.size)) for member in archive if member.isreg()]


class IndexedShards:
    """The samples of shards by shard and row; may be copied to other processes, which open the shards anew."""

    def __init__(self, paths: Sequence[Path], parts: Sequence[Sequence[str]]) -> None:
        self.paths = list(paths)
        self.indices = [index_shard(path, parts) for path in self.paths]
        self._open: dict[tuple[int, int], int] = {}

    def read(self, shard: int, row: int) -> tuple[str, dict[str, bytes]]:
        """Key and parts of a sample."""
        process = os.getpid()
        if (process, shard) not in self._open:
            self._open[process, shard] = os.open(self.paths[shard], os.O_RDONLY)
        index, file = self.indices[shard], self._open[process, shard]
        places = index.places[row].tolist()
        return index.keys[row], {
            part: os.pread(file, size, offset) for part, (offset, size) in zip(index.parts, places, strict=True)
        }

    def close(self) -> None:
        """Close what this process opened."""
        for process, shard in list(self._open):
            if process == os.getpid():
                os.close(self._open.pop((process, shard)))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}

    def __del__(self) -> None:
        if hasattr(self, "_open"):
            self.close()


def decode_image(content: bytes, where: str) -> NDArray[np.uint8]:
    """A JPEG or PNG as RGB uint8 [3, H, W]; raises HandkitError naming `where`."""
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) if content else None
    if image is None:
        raise HandkitError(f"{where} is not an image that can be read", _AGAIN)
    return np.ascontiguousarray(image[..., ::-1].transpose(2, 0, 1))


def decode_labels(content: bytes, where: str) -> NDArray[np.uint8]:
    """A PNG of one channel as uint8 [H, W]; raises HandkitError naming `where`."""
    labels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED) if content else None
    if labels is None or labels.ndim != 2 or labels.dtype != np.uint8:
        raise HandkitError(f"{where} is not a mask of 8 bits", _AGAIN)
    return labels.astype(np.uint8, copy=False)


def decode_arrays(content: bytes, where: str, names: Iterable[str]) -> dict[str, NDArray[Any]]:
    """The arrays of an npz by name, nothing pickled; raises HandkitError naming `where` and what is missing."""
    plain = _plain_arrays(content)
    if plain is not None and plain.keys() >= set(names):
        return plain
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            missing = [name for name in names if name not in archive.files]
            if missing:
                raise HandkitError(f"{where} lacks {', '.join(missing)}", _AGAIN)
            return {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, KeyError, AttributeError, zipfile.BadZipFile) as error:
        raise HandkitError(f"{where} is damaged: {error}", _AGAIN) from error


def _plain_arrays(content: bytes) -> dict[str, NDArray[Any]] | None:
    """The arrays of a whole npz that is stored as `handkit generate` does it, ten times faster; None for any other."""
    found: dict[str, NDArray[Any]] = {}
    offset = 0
    while content[offset : offset + 4] == b"PK\x03\x04" and len(content) >= offset + _LOCAL.size:
        _, _, flags, method, _, _, crc, packed, size, name_length, extra = _LOCAL.unpack_from(content, offset)
        start = offset + _LOCAL.size + name_length + extra
        offset, member = start + size, content[start : start + size]
        if flags & ~0x800 or method or packed != size or zlib.crc32(member) != crc or member[:8] != _NPY:
            return None
        begin = 10 + int.from_bytes(member[8:10], "little")
        layout = _npy_layout(member[8:begin])
        if layout is None or begin + layout[2] != size:
            return None
        name = content[start - name_length - extra : start - extra].decode()
        found[name.removesuffix(".npy")] = np.frombuffer(member, layout[0], offset=begin).reshape(layout[1])
    return found if content[offset : offset + 4] == b"PK\x01\x02" else None


@lru_cache(maxsize=64)
def _npy_layout(header: bytes) -> tuple[np.dtype[Any], tuple[int, ...], int] | None:
    """Element type, shape and bytes of an npy's array; None where that needs numpy's own reader."""
    try:
        shape, fortran, kind = np.lib.format.read_array_header_1_0(io.BytesIO(header))
    except ValueError:
        return None
    size = kind.itemsize * math.prod(shape)
    return None if fortran or kind.hasobject or not size else (kind, shape, size)
