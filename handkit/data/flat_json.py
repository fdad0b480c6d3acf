"""COCO-like JSON files, whose lists hold flat objects, read object by object: memory stays that of one object."""

import mmap
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import orjson

from handkit.data.annotations import find_file
from handkit.errors import HandkitError

# Objects without objects inside: what "images" and "annotations" are lists of.
_FLAT: Final = re.compile(rb"\{[^{}]*\}")
_AGAIN: Final = "copy or download it again"


def read_flat_objects(path: Path, layout: str) -> Iterator[dict[str, Any]]:
    """Every object of the file's lists, in its order; text in it must have no braces.

    Raises HandkitError for a file that is missing, cut off or no JSON.
    """
    find_file([path], layout)
    if path.stat().st_size == 0:
        raise HandkitError(f"{path} is empty", _AGAIN)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        end = 0
        for match in _FLAT.finditer(content):
            end = match.end()
            try:
                yield orjson.loads(match[0])
            except orjson.JSONDecodeError as error:
                what = f"{path} is damaged at byte {match.start()}: {error}"
                raise HandkitError(what, _AGAIN) from error
        if content.find(b"}", end) < 0 or content.find(b"{", end) >= 0:
            raise HandkitError(f"{path} is cut off: {len(content)} bytes", _AGAIN)


def field(entry: dict[str, Any], key: str, path: Path) -> Any:
    """A value that must be there; HandkitError naming the file and the key."""
    try:
        return entry[key]
    except KeyError as error:
        raise HandkitError(f"{path}: an entry has no {key}, only {', '.join(sorted(entry))}", _AGAIN) from error
