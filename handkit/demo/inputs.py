"""Which files a `demo` run reads, and where the result of each goes.

A unit of work is one video, one joints file, one webcam, or the still images of one folder. Its place under OUT is its
path relative to the folder that all inputs share, without the suffix; the stills of that folder itself go by its name.
A video or joints file keeps its suffix where something else wants the same name.
"""

import glob
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from handkit.errors import HandkitError

Kind = Literal["image", "video", "webcam", "joints"]

IMAGE_SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".jfif")
VIDEO_SUFFIXES: Final = (
    ".mp4",
    ".mov",
    ".avi",
    ".mkv",
    ".webm",
    ".m4v",
    ".mpg",
    ".mpeg",
    ".wmv",
    ".flv",
    ".3gp",
    ".gif",
)
JOINTS_SUFFIXES: Final = (".npy", ".json")
WEBCAM_PREFIX: Final = "webcam:"

OVERLAY_FOLDER: Final = "overlay"
OVERLAY_VIDEO: Final = "overlay.mp4"
RECORDING: Final = "recording.mp4"


@dataclass(frozen=True)
class Unit:
    """Inputs that are done together and share one `OUT/<name>/hands.npz`; a webcam's path is its `webcam:N`."""

    kind: Kind
    name: str
    paths: tuple[Path, ...]


@dataclass(frozen=True)
class Failure:
    """An input that could not be used, and why."""

    name: str
    error: HandkitError


def kind_of(path: Path) -> Kind | None:
    """The kind of an input by its suffix, None for anything else."""
    suffix = path.suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return "image"
    if suffix in VIDEO_SUFFIXES:
        return "video"
    return "joints" if suffix in JOINTS_SUFFIXES else None


def find_units(arguments: Sequence[str], out: Path) -> tuple[list[Unit], list[Failure]]:
    """The units of work that the arguments name, in the order of their names, and the arguments that name nothing."""
    files: dict[Path, Path] = {}
    failures: list[Failure] = []
    roots: list[Path] = []
    webcams: list[Unit] = []
    for argument in dict.fromkeys(arguments):
        try:
            if argument.startswith(WEBCAM_PREFIX):
                webcams.append(_webcam(argument))
                continue
            found = list(_expand(argument, out))
        except HandkitError as error:
            failures.append(Failure(argument, error))
            continue
        for root, path in found:
            files.setdefault(path.resolve(), path)
            roots.append(_absolute(root))
    common = Path(os.path.commonpath(roots)) if roots else Path.cwd()
    return _group(list(files.values()), common) + webcams, failures


def _webcam(argument: str) -> Unit:
    if not argument.removeprefix(WEBCAM_PREFIX).isdigit():
        raise HandkitError(f"{argument}: no such webcam", "name it by its number, as in webcam:0")
    return Unit("webcam", argument.replace(":", ""), (Path(argument),))


def _expand(argument: str, out: Path) -> Iterable[tuple[Path, Path]]:
    """(root, file) of every file that one argument names."""
    path = Path(argument).expanduser()
    if path.is_dir():
        inside = list(_walk(path, out.resolve()))
        if not inside:
            suffixes = ", ".join((*IMAGE_SUFFIXES[:3], *VIDEO_SUFFIXES[:3]))
            raise HandkitError(
                f"{argument}: no images or videos in this folder", f"names end in {suffixes} and the like"
            )
        return [(path, file) for file in inside]
    if path.exists():
        if kind_of(path) is None:
            raise HandkitError(
                f"{argument}: {path.suffix or 'a name without suffix'} is no image, video or joints file",
                "give an image, a video, a folder, joints as .npy or .json, or webcam:0",
            )
        return [(path.parent, path)]
    if not glob.has_magic(argument):
        raise HandkitError(f"{argument}: no such file or folder", f"check the path; it was looked for in {Path.cwd()}")
    matches = [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]
    found = [(match.parent, match) for match in matches if match.is_file() and kind_of(match) is not None]
    if not found:
        raise HandkitError(f"{argument}: no image, video or joints file matches", "check the pattern with ls")
    return found


def _walk(folder: Path, out: Path) -> Iterable[Path]:
    """Images and videos below a folder, sorted, without hidden files and without what earlier runs wrote."""
    seen: set[str] = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        here, real = Path(parent), os.path.realpath(parent)
        if real in seen or (here != folder and Path(real) == out):
            folders.clear()
            continue
        seen.add(real)
        written = (OVERLAY_FOLDER, OVERLAY_VIDEO, RECORDING) if "hands.npz" in names else ()
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in written)
        for name in sorted(names):
            if not name.startswith(".") and name not in written and kind_of(here / name) in ("image", "video"):
                yield here / name


def _group(files: Sequence[Path], root: Path) -> list[Unit]:
    """Files into units whose names do not collide."""
    stills: dict[str, list[Path]] = {}
    others: list[tuple[str, Path]] = []
    for path in files:
        relative = _absolute(path).relative_to(root)
        if kind_of(path) == "image":
            # Pictures of the root itself go by its name; the dot keeps them apart until that name is known to be free.
            stills.setdefault(relative.parent.as_posix(), []).append(path)
        else:
            others.append((relative.as_posix(), path))
    wanted = Counter([_stem(name) for name, _ in others] + [folder for folder in stills if folder != "."])
    units = []
    for name, path in others:
        kind: Kind = "video" if kind_of(path) == "video" else "joints"
        units.append(Unit(kind, name if wanted[_stem(name)] > 1 else _stem(name), (path,)))
    taken = {unit.name for unit in units} | set(stills)
    for folder, images in stills.items():
        name = folder
        if folder == ".":
            name = root.name or "images"
            name = f"{name}.images" if name in taken else name
        units.append(Unit("image", name, tuple(sorted(images))))
    return sorted(units, key=lambda unit: unit.name)


def _stem(name: str) -> str:
    return Path(name).with_suffix("").as_posix()


def _absolute(path: Path) -> Path:
    """Without following links: a folder of links is a folder of its own."""
    return Path(os.path.abspath(path))
