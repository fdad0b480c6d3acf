"""Sources to patches around the hands in them: made once, read from their files afterwards."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tqdm import tqdm

from handkit.data.detected import DetectedHands
from handkit.data.patch_files import PatchFile, write_patches
from handkit.data.registry import TRAINING, build_dataset
from handkit.demo.camera import CameraChoice
from handkit.demo.inputs import Unit, find_units
from handkit.demo.options import stamp_of
from handkit.errors import HandkitError
from handkit.files import check_writable
from handkit.gather.counts import JUMPS, Counts, total
from handkit.gather.finding import check_given, check_options
from handkit.gather.options import GatherOptions, NamedDataset, Source
from handkit.gather.pieces import (
    SAMPLES_A_PIECE,
    STILLS_A_PIECE,
    DatasetPiece,
    Piece,
    Progress,
    StillsPiece,
    VideoPiece,
)

SUFFIX: Final = ".patches"


@dataclass(frozen=True, eq=False)
class Gathered:
    """The hands that can be learned from, and per source what was found and left out."""

    dataset: DetectedHands
    counts: Mapping[str, Counts]

    @property
    def total(self) -> Counts:
        """Of all sources."""
        return total(self.counts.values())

    def to_json(self) -> dict[str, Any]:
        """`sources` by name, and `total`."""
        return {"sources": {name: each.to_json() for name, each in self.counts.items()}, "total": self.total.to_json()}

    def lines(self) -> list[str]:
        """A line of words a source, and one of all where there are several."""
        lines = [f"{name}: {each.words()}" for name, each in self.counts.items()]
        return [*lines, f"total: {self.total.words()}"] if len(lines) > 1 else lines


def gather(
    sources: Sequence[Source],
    out: Path,
    options: GatherOptions,
    *,
    show_progress: bool = False,
    on_error: Callable[[HandkitError], None] = lambda error: None,
) -> Gathered:
    """The hands of all sources; what an earlier call left under `out` is read where nothing changed since.

    A picture, video or source that cannot be used is given to `on_error` and counted. Raises HandkitError for options
    that make no sense, keypoints that could be of several videos, and where not one usable hand is found.
    """
    check_options(options)
    check_writable(out)
    cameras = CameraChoice(K=options.K, camera=options.camera, focal=options.focal)
    counts: dict[str, Counts] = {}
    paths: list[Path] = []
    found = list(_found(sources, out))
    shown = [unit for each in found for unit in each.units]
    if options.keypoints is not None and shown:
        check_given(options.keypoints, shown)
    for each in found:
        name = each.name
        counts[name] = Counts()
        common: dict[str, Any] = {"source": name, "options": options, "cameras": cameras}
        for piece in _pieces(each, len(shown) > 1, common, counts[name]):
            path = out / f"{piece.key}{SUFFIX}"
            try:
                piece.counts = _made(path, piece, _progress(show_progress))
                paths.append(path)
            except HandkitError as error:
                piece.counts = Counts()
                piece.counts.fail(error)
            counts[name].add(piece.counts)
        for reported in counts[name].errors:
            on_error(reported)
    dataset = DetectedHands(paths) if paths else None
    for name, count in ({} if dataset is None else dataset.left_out).items():
        counts[name].left_out[JUMPS] += count
    if dataset is None or not len(dataset):
        raise _nothing(counts)
    return Gathered(dataset, counts)


@dataclass(frozen=True)
class _Found:
    """A source, its name among all, and the videos and folders of stills in it."""

    name: str
    source: Source
    units: tuple[Unit, ...] = ()
    failures: tuple[HandkitError, ...] = ()


def _found(sources: Sequence[Source], out: Path) -> Iterator[_Found]:
    taken: set[str] = set()
    for source in sources:
        stem = source.name if isinstance(source, NamedDataset) else Path(source).resolve().stem
        name = next(name for name in (stem, *(f"{stem}-{n}" for n in range(2, len(sources) + 2))) if name not in taken)
        taken.add(name)
        if isinstance(source, NamedDataset):
            yield _Found(name, source)
            continue
        units, failures = find_units([str(source)], out)
        errors = [failure.error for failure in failures]
        others = [unit.paths[0] for unit in units if unit.kind not in ("image", "video")]
        errors += [HandkitError(f"{path} holds no pictures", "give images, videos, or folders") for path in others]
        yield _Found(name, source, tuple(unit for unit in units if unit.kind in ("image", "video")), tuple(errors))


def _pieces(found: _Found, is_among_others: bool, common: dict[str, Any], counts: Counts) -> list[Piece]:
    """The work of a source; what cannot be found is counted as failed."""
    for error in found.failures:
        counts.fail(error)
    if not isinstance(found.source, NamedDataset):
        return [piece for unit in found.units for piece in _unit_pieces(unit, is_among_others, common)]
    try:
        return _dataset_pieces(found.source, common)
    except HandkitError as error:
        counts.fail(error)
        return []


def _unit_pieces(unit: Unit, is_among_others: bool, common: dict[str, Any]) -> Iterator[Piece]:
    if unit.kind == "video":
        yield VideoPiece(name=unit.name, path=unit.paths[0], named=is_among_others, **common)
        return
    for first in range(0, len(unit.paths), STILLS_A_PIECE):
        paths = unit.paths[first : first + STILLS_A_PIECE]
        yield StillsPiece(name=unit.name, paths=paths, first=first, whole=len(unit.paths), **common)


def _dataset_pieces(source: NamedDataset, common: dict[str, Any]) -> list[Piece]:
    keypoints = common["options"].keypoints
    if keypoints is not None:
        what = f"the keypoints {keypoints} are not of the data set {source.name}"
        raise HandkitError(what, "give them with a folder of pictures or videos, and gather the data set by itself")
    split = source.split or (TRAINING[source.name][0] if source.name in TRAINING else None)
    dataset = build_dataset(source.name, source.root, split, **source.options)
    root = Path(source.root).expanduser()
    entries = sorted(root.iterdir()) if root.is_dir() else [root]
    files = [[entry.name, *stamp_of(entry)] for entry in entries]
    stamp = [source.name, str(root.resolve()), split, dict(source.options), len(dataset), files]
    return [
        DatasetPiece(
            name=f"{source.name} from {first}",
            dataset=dataset,
            rows=range(first, min(first + SAMPLES_A_PIECE, len(dataset))),
            stamp=[stamp, getattr(dataset, "settings", None)],
            **common,
        )
        for first in range(0, len(dataset), SAMPLES_A_PIECE)
    ]


def _made(path: Path, piece: Piece, progress: Progress) -> Counts:
    """The counts of a piece's file, which is written unless one is there that stays as it is."""
    try:
        earlier = Counts.from_card(PatchFile(path).card["counts"])
        if piece.is_settled(earlier):
            return earlier
    except HandkitError:
        pass
    card = {"source": piece.source, "name": piece.name}
    write_patches(path, piece.patches(progress), lambda: {**card, "counts": piece.counts.to_card()})
    return piece.counts


def _progress(is_shown: bool) -> Progress:
    def progress(items: Iterable[Any], title: str, count: int | None) -> Iterable[Any]:
        if not is_shown:
            return items
        return tqdm(items, desc=title, total=count, leave=False, delay=1.0, dynamic_ncols=True)

    return progress


def _nothing(counts: Mapping[str, Counts]) -> HandkitError:
    """Why there is nothing to learn from."""
    told = "; ".join(f"{name}: {each.words()}" for name, each in counts.items())
    errors = [error for each in counts.values() for error in each.errors]
    if errors:
        return HandkitError(f"no usable hand ({told}); the last error: {errors[-1].what}", errors[-1].fix)
    return HandkitError(
        f"no usable hand ({told or 'no sources'})", "give pictures that show a hand clearly, or lower the least score"
    )
