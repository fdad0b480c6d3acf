"""Which predictions a `refine` run reads, and where the pictures are that they were made from."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import orjson

from handkit.demo.inputs import Failure, kind_of
from handkit.demo.results import HANDS
from handkit.demo.summary import MARKER
from handkit.errors import HandkitError
from handkit.export.predictions import Predictions
from handkit.images import RgbImage, read_image
from handkit.refine.rig import Lens
from handkit.video import Frame, VideoReader

_GIVE_IMAGES: Final = "give the pictures' place by --images"


@dataclass(frozen=True)
class Source:
    """One predictions file, and the name of its results under OUT."""

    path: Path
    name: str


def find_sources(arguments: Sequence[str], out: Path) -> tuple[list[Source], list[Failure]]:
    """The predictions files that the arguments name, each a file or a folder with some below it.

    What is in `out` is left out of a folder around it: earlier runs wrote that.
    """
    files: dict[Path, Path] = {}
    failures = []
    for argument in dict.fromkeys(arguments):
        path = Path(argument).expanduser()
        inside = _inside(path, out.resolve()) if path.is_dir() else [path]
        if not inside:
            error = HandkitError(f"{argument}: no {HANDS} in this folder", "make one with handkit demo")
            failures.append(Failure(argument, error))
        elif not inside[0].is_file():
            error = HandkitError(f"{argument}: no such file or folder", f"check the path; looked for in {Path.cwd()}")
            failures.append(Failure(argument, error))
        else:
            files.update((file.resolve(), file) for file in inside)
    places = [Path(os.path.abspath(file)) for file in files.values()]
    folders = [place.parent for place in places]
    common = Path(os.path.commonpath([folder.parent for folder in folders])) if folders else Path()
    # Files of other names beside each other get those names.
    names = [
        folder.relative_to(common) if place.name == HANDS else folder.relative_to(common) / place.stem
        for place, folder in zip(places, folders, strict=True)
    ]
    found = [Source(file, name.as_posix()) for file, name in zip(files.values(), names, strict=True)]
    return sorted(found, key=lambda source: source.name), failures


def _inside(folder: Path, out: Path) -> list[Path]:
    is_around = folder.resolve() in out.parents
    return [path for path in sorted(folder.rglob(HANDS)) if not (is_around and out in path.resolve().parents)]


def find_views(arguments: Sequence[str], out: Path) -> list[Source]:
    """The predictions files of the views of a rig, one per argument and in their order; raises HandkitError else."""
    sources = []
    for argument in arguments:
        found, failures = find_sources([argument], out)
        if failures:
            raise failures[0].error
        if len(found) > 1:
            raise HandkitError(f"{argument}: {len(found)} {HANDS} in this folder", "name one for each camera")
        sources += found
    named, _ = find_sources([str(source.path) for source in sources], out)
    by_path = {source.path.resolve(): source for source in named}
    if len(by_path) < len(sources):
        raise HandkitError("one predictions file is given twice", "name one for each camera")
    return [by_path[source.path.resolve()] for source in sources]


@dataclass(frozen=True)
class Pictures:
    """The picture files of one predictions file, by the name its rows know them by, and the lens to straighten."""

    paths: dict[str, Path]
    missing: dict[str, HandkitError]
    lens: Lens | None = None

    @property
    def videos(self) -> dict[str, Path]:
        return {name: path for name, path in self.paths.items() if kind_of(path) == "video"}

    def read_still(self, path: Path, rotate: int) -> RgbImage:
        """A picture, turned by `rotate` degrees and without its lens's distortion."""
        return self._straight(np.ascontiguousarray(np.rot90(read_image(path), -rotate // 90)))

    def read_frames(self, reader: VideoReader) -> Iterator[Frame]:
        """A video's frames without its lens's distortion."""
        return (replace(frame, image=self._straight(frame.image)) for frame in reader)

    def _straight(self, image: RgbImage) -> RgbImage:
        return image if self.lens is None else self.lens.straighten(image)


def find_pictures(source: Source, rows: Predictions, images: Path | None) -> Pictures:
    """Where the rows' pictures are: under `images`, else as the predictions say."""
    if images is not None and not images.exists():
        raise HandkitError(f"--images {images}: no such file or folder", "check the path")
    known = {} if images is not None else _said(source, rows)
    paths: dict[str, Path] = {}
    missing: dict[str, HandkitError] = {}
    for name in dict.fromkeys(rows.image.tolist()):
        try:
            found = known.get(name) if images is None else _under(images, name)
        except HandkitError as error:
            missing[name] = error
            continue
        if found is None:
            where = images or "the inputs it was made from"
            missing[name] = HandkitError(f"{source.path}: {name} is not in {where}", _GIVE_IMAGES)
        else:
            paths[name] = found
    return Pictures(paths, missing)


def _said(source: Source, rows: Predictions) -> dict[str, Path]:
    """What `inputs` and the marker beside the predictions name, as far as it still exists."""
    candidates = [Path(str(name)) for name in rows.inputs]
    candidates += [source.path.parent / Path(str(name)).name for name in rows.inputs]
    try:
        marker = orjson.loads((source.path.parent / MARKER).read_bytes())
        candidates += [Path(entry["path"]) for entry in marker["inputs"]]
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError):
        pass
    found: dict[str, Path] = {}
    for path in candidates:
        if path.is_file():
            found.setdefault(path.name, path)
    return found


def _under(images: Path, name: str) -> Path | None:
    if images.is_file():
        return images
    matches = [path for path in sorted(images.rglob(name)) if path.is_file()] if name else []
    if len(matches) > 1 and (images / name).is_file():
        return images / name
    if len(matches) > 1:
        raise HandkitError(f"{name} is in {images} {len(matches)} times", "name the folder that is meant by --images")
    return matches[0] if matches else None


@dataclass(frozen=True, eq=False)
class Shot:
    """One picture and the rows of its hands."""

    image: RgbImage
    rows: np.ndarray


def read_shots(pictures: Pictures, rows: Predictions, rotate: int) -> Iterator[Shot | tuple[np.ndarray, HandkitError]]:
    """Every picture with hands, stills first in the order of the rows; or the rows of one that cannot be used."""
    for name, error in pictures.missing.items():
        if len(own := np.flatnonzero(rows.image == name)):
            yield own, error
    for name, path in pictures.paths.items():
        own = np.flatnonzero(rows.image == name)
        if not len(own):
            continue
        try:
            if kind_of(path) == "video":
                yield from _video_shots(path, pictures, rows, own, rotate)
            else:
                yield Shot(_of_size(path, pictures.read_still(path, rotate), rows, own), own)
        except HandkitError as error:
            yield own, error


def _video_shots(
    path: Path, pictures: Pictures, rows: Predictions, own: np.ndarray, rotate: int
) -> Iterator[Shot | tuple[np.ndarray, HandkitError]]:
    frames = rows.frame[own]
    last, seen = int(frames.max()), set()
    for frame in pictures.read_frames(VideoReader(path, rotate=rotate)):
        chosen = own[frames == frame.index]
        if len(chosen):
            yield Shot(_of_size(path, frame.image, rows, chosen), chosen)
            seen.add(frame.index)
        if frame.index >= last:
            break
    lost = own[~np.isin(frames, list(seen))]
    if len(lost):
        what = f"{path}: {len(lost)} hands are in frames that the video does not have"
        yield lost, HandkitError(what, _GIVE_IMAGES)


def _of_size(path: Path, image: RgbImage, rows: Predictions, own: np.ndarray) -> RgbImage:
    height, width = image.shape[:2]
    for wanted in np.unique(rows.image_size[own], axis=0).tolist():
        if wanted != [width, height]:
            what = f"{path} is {width} x {height}, but the predictions are of {wanted[0]} x {wanted[1]} pixels"
            raise HandkitError(what, "give the pictures that were used by --images, with the same --rotate")
    return image
