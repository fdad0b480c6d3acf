"""Which prediction belongs to which truth: by name where both have names, else by place."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import PurePosixPath
from typing import Any, Final

import numpy as np
from jaxtyping import Float, Int

from handkit.data.hands import HandSet
from handkit.errors import HandkitError
from handkit.evaluate.rows import OwnRows

logger = logging.getLogger(__name__)

_SUFFIXES: Final = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}
_IMAGE_FOLDERS: Final = {"rgb", "color", "colour", "images", "image"}
_NAMED: Final = 3


@dataclass(frozen=True, eq=False)
class ReadHands:
    """Hands of a file; `named` where their ids come from it, `confidence` decides among several of one name.

    `joint_order` is the one that the file was taken to have; `own` what handkit's own files hold besides, row by row.
    """

    hands: HandSet
    named: bool = False
    joint_order: str = "ours"
    confidence: Float[np.ndarray, " N"] | None = None
    own: OwnRows | None = None


@dataclass(frozen=True, eq=False)
class Matched:
    """Predictions in truth's order, NaN for the ids in `missing`; `unused` predictions have no truth.

    `rows` are where they stood, -1 for those that are missing.
    """

    pred: HandSet
    rows: Int[np.ndarray, " N"]
    missing: tuple[str, ...] = ()
    unused: int = 0


def match(pred: ReadHands, truth: ReadHands) -> Matched:
    """Bring predictions into truth's order.

    With names on both sides by the strictest reading of them that matches most: as they are, without the picture's
    ending, without folders that only say "rgb", the last two parts, the last part. Otherwise lengths must agree.
    Raises HandkitError for different lengths and where no name is known.
    """
    if not (pred.named and truth.named):
        _check_lengths(pred, truth)
        return Matched(replace(pred.hands, ids=truth.hands.ids), np.arange(len(truth.hands)))
    rows = match_names(pred.hands.ids, truth.hands.ids, pred.confidence)
    if not (rows >= 0).any():
        raise HandkitError(
            f"{pred.hands.source} and {truth.hands.source} have no sample in common: {_some(pred.hands.ids)} against "
            f"{_some(truth.hands.ids)}",
            "name predictions by their image, as the truth does",
        )
    missing = tuple(truth.hands.ids[i] for i in np.flatnonzero(rows < 0))
    unused = len(set(pred.hands.ids)) - int((rows >= 0).sum())
    return Matched(_spread(pred.hands, rows, truth.hands.ids), rows, missing, unused)


def match_names(
    names: Sequence[str], wanted: Sequence[str], confidence: Float[np.ndarray, " N"] | None = None
) -> np.ndarray:
    """For every wanted name the row of `names`, the most confident of several, -1 where there is none."""
    best = np.full(len(wanted), -1)
    for read in _READINGS:
        rows = _match_by(read, names, wanted, confidence)
        if rows is not None and (rows >= 0).sum() > (best >= 0).sum():
            best = rows
        if (best >= 0).all():
            break
    return best


def take(hands: HandSet, rows: np.ndarray) -> HandSet:
    """The chosen samples, in that order."""
    changed: dict[str, Any] = {}
    for entry in fields(hands):
        value = getattr(hands, entry.name)
        if isinstance(value, np.ndarray):
            changed[entry.name] = value[rows]
        elif isinstance(value, tuple):
            changed[entry.name] = tuple(value[i] for i in rows.tolist())
    return replace(hands, **changed)


def _spread(hands: HandSet, rows: np.ndarray, ids: tuple[str, ...]) -> HandSet:
    """The rows in order, NaN where -1; names, sequences and pictures are left to the truth."""
    arrays: dict[str, Any] = {}
    for name in ("joints", "vertices", "joints_2d", "K"):
        value = getattr(hands, name)
        if value is not None:
            arrays[name] = value[rows] if (rows >= 0).all() else _with_gaps(value, rows)
    return HandSet(ids=ids, **arrays, source=hands.source)


def _with_gaps(value: np.ndarray, rows: np.ndarray) -> np.ndarray:
    spread = np.full((len(rows), *value.shape[1:]), np.nan, np.result_type(value.dtype, np.float32))
    spread[rows >= 0] = value[rows[rows >= 0]]
    return spread


def _check_lengths(pred: ReadHands, truth: ReadHands) -> None:
    if len(pred.hands) != len(truth.hands):
        raise HandkitError(
            f"{pred.hands.source} has {len(pred.hands)} samples, {truth.hands.source} has {len(truth.hands)}",
            "predict every sample in truth's order, or give predictions with names (hands.npz, or ids in an npz)",
        )


def _match_by(
    read: Callable[[str], str],
    names: Sequence[str],
    wanted: Sequence[str],
    confidence: Float[np.ndarray, " N"] | None,
) -> np.ndarray | None:
    """None where this reading makes different names the same."""
    places: dict[str, int] = {}
    for i, name in enumerate(wanted):
        if places.setdefault(read(name), i) != i:
            return None
    rows = np.full(len(wanted), -1)
    for row, name in enumerate(names):
        place = places.get(read(name), -1)
        if place < 0:
            continue
        before = rows[place]
        if before >= 0 and names[before] != name:
            return None
        if before < 0 or (confidence is not None and confidence[row] > confidence[before]):
            rows[place] = row
        elif confidence is None:
            raise HandkitError(f"{name!r} is predicted twice", "give one prediction per name, or scores with them")
    return rows


def _bare(name: str) -> str:
    path = PurePosixPath(name.replace("\\", "/"))
    return (path.with_suffix("") if path.suffix.lower() in _SUFFIXES else path).as_posix()


def _without_image_folders(name: str) -> str:
    return "/".join(part for part in _bare(name).split("/") if part.lower() not in _IMAGE_FOLDERS)


def _last_two(name: str) -> str:
    return "/".join(_without_image_folders(name).split("/")[-2:])


def _last(name: str) -> str:
    return _bare(name).split("/")[-1]


_READINGS: Final[tuple[Callable[[str], str], ...]] = (str, _bare, _without_image_folders, _last_two, _last)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
