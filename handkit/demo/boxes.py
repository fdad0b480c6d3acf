"""Boxes given by the user: frankmocap's JSON, or `{image: [[x, y, w, h, side?], ...]}`; for videos the frame's number.

Convention: x, y, w, h in pixels of the turned image, minimum corner first; side is "left" or "right".
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import orjson

from handkit.errors import HandkitError

_FIX: Final = 'a box file holds {"image.jpg": [[x, y, w, h, "left"]]}, or frankmocap\'s image_path and hand_bbox_list'


@dataclass(frozen=True)
class GivenBox:
    """A box x0, y0, x1, y1 in pixels; is_right is None where no side was said."""

    bounds: tuple[float, float, float, float]
    is_right: bool | None = None


def read_boxes(path: Path) -> dict[str, list[GivenBox]]:
    """Boxes by the image's name without folder and suffix, or by the frame's number without leading zeros."""
    if not path.exists():
        raise HandkitError(f"{path}: no such box file", _FIX)
    files = sorted(path.glob("*.json")) if path.is_dir() else [path]
    boxes: dict[str, list[GivenBox]] = {}
    for file in files:
        try:
            content = orjson.loads(file.read_bytes())
            for name, found in _entries(content):
                boxes.setdefault(image_key(name), []).extend(found)
        except (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            raise HandkitError(f"{file}: not a box file ({error})", _FIX) from error
    if not boxes:
        raise HandkitError(f"{path}: holds no boxes", _FIX)
    return boxes


def image_key(name: str) -> str:
    """The name that boxes and keypoints are looked up by."""
    stem = Path(name).stem
    return str(int(stem)) if stem.isdecimal() else stem


def _entries(content: object) -> Iterable[tuple[str, list[GivenBox]]]:
    if isinstance(content, list):
        for entry in content:
            yield from _entries(entry)
    elif isinstance(content, Mapping) and "hand_bbox_list" in content:
        hands = [_box(hand[side], side) for hand in content["hand_bbox_list"] for side in _sides(hand)]
        yield content["image_path"], hands
    elif isinstance(content, Mapping):
        for name, boxes in content.items():
            yield name, [_box(box[:4], box[4] if len(box) > 4 else None) for box in boxes]
    else:
        raise TypeError(f"{type(content).__name__} where an object was expected")


def _sides(hand: Mapping[str, object]) -> list[str]:
    return [side for side in ("left_hand", "right_hand") if hand.get(side) is not None]


def _box(values: Iterable[float], side: str | None) -> GivenBox:
    x, y, width, height = (float(value) for value in values)
    if not (np.isfinite([x, y]).all() and width > 0 and height > 0):
        raise ValueError(f"box {[x, y, width, height]} is empty")
    if side is not None and side.removesuffix("_hand") not in ("left", "right"):
        raise ValueError(f"side {side!r} is neither left nor right")
    return GivenBox((x, y, x + width, y + height), None if side is None else side.startswith("right"))
