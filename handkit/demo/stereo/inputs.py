"""The two inputs of `demo --stereo`: a pair of pictures, two folders of them, or two videos."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from handkit.demo.inputs import kind_of
from handkit.errors import HandkitError

log = logging.getLogger(__name__)

_KINDS: Final = "give two pictures, two folders of pictures, or two videos"


@dataclass(frozen=True)
class PairUnit:
    """The files of either view; of stills, those of one place in the lists belong together. `name` is under OUT."""

    kind: Literal["image", "video"]
    name: str
    left: tuple[Path, ...]
    right: tuple[Path, ...]


def find_pairs(left: Path, right: Path) -> PairUnit:
    """What two arguments name; raises HandkitError for what is missing, of two kinds, or without a partner."""
    for side, path in (("LEFT", left), ("RIGHT", right)):
        if not path.exists():
            raise HandkitError(f"--stereo {side} {path}: no such file or folder", f"check the path; {_KINDS}")
    if left.resolve() == right.resolve():
        raise HandkitError(f"--stereo: {left} is given as both views", "name the left and the right view")
    name = left.stem if left.stem == right.stem else f"{left.stem}_{right.stem}"
    if left.is_dir() and right.is_dir():
        return PairUnit("image", f"{left.name}_{right.name}", *_pairs_of(left, right))
    kinds = [None if path.is_dir() else kind_of(path) for path in (left, right)]
    if kinds[0] != kinds[1] or kinds[0] not in ("image", "video"):
        raise HandkitError(f"--stereo: {left} and {right} are no pair of views", _KINDS)
    return PairUnit("video" if kinds[0] == "video" else "image", name, (left,), (right,))


def _pairs_of(left: Path, right: Path) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Pictures of one name; where no two share one, in their order."""
    found = [sorted(path for path in folder.iterdir() if _is_picture(path)) for folder in (left, right)]
    for folder, pictures in zip((left, right), found, strict=True):
        if not pictures:
            raise HandkitError(f"{folder}: no pictures in this folder", _KINDS)
    named = [{path.stem: path for path in pictures} for pictures in found]
    shared = sorted(named[0].keys() & named[1].keys())
    if not shared:
        if len(found[0]) != len(found[1]):
            what = f"{left} has {len(found[0])} pictures and {right} {len(found[1])}, and no two share a name"
            raise HandkitError(what, "name the pictures of a pair alike, or leave out those without a partner")
        log.warning("no pictures of the folders share a name: they are paired in their order")
        return tuple(found[0]), tuple(found[1])
    alone = [path for own in named for stem, path in own.items() if stem not in shared]
    if alone:
        first = ", ".join(str(path) for path in alone[:3])
        log.warning("%d pictures have no partner of their name and are left out: %s", len(alone), first)
    return tuple(named[0][stem] for stem in shared), tuple(named[1][stem] for stem in shared)


def _is_picture(path: Path) -> bool:
    return path.is_file() and not path.name.startswith(".") and kind_of(path) == "image"
