"""What a self-supervised run learns from: sources to gathered hands, and those to batches."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from handkit.data.color_jitter import ColorJitter
from handkit.data.crops import HandCrops
from handkit.data.detected import DetectedHands
from handkit.data.registry import DATASETS
from handkit.data.staged_batches import Batch, BatchSource
from handkit.data.still_batches import StillBatches, fixed_stills
from handkit.data.window_batches import WindowBatches, find_windows, fixed_windows
from handkit.errors import HandkitError
from handkit.gather.options import GatherOptions, NamedDataset, Source, hash_of
from handkit.gather.run import Gathered, gather
from handkit.methods.s2hand_recipe import CropRecipe, S2HandRecipe, UnlabelledDataRecipe
from handkit.runs.result import loading_workers
from handkit.tables.recipe import DrawnRecipe
from handkit.tables.sets import draw
from handkit.train import Place

logger = logging.getLogger(__name__)

GATHERED: Final = "gathered"
SYNTHETIC_FOLDER: Final = "synthetic"


@dataclass(frozen=True, eq=False)
class GatheredData:
    """Hands to learn from and hands to choose by; `landmarks` is the kind of the keypoints, `key` changes with them."""

    learned: DetectedHands
    chosen_by: DetectedHands
    found: tuple[Gathered, ...]
    landmarks: str
    words: str

    @property
    def training(self) -> int:
        """Frames to learn from."""
        return len(self.learned)

    @property
    def key(self) -> str:
        files = [path.name for data in (self.learned, self.chosen_by) for path in data.paths]
        return hash_of(files, len(self.learned), len(self.chosen_by))

    @property
    def has_failures(self) -> bool:
        return any(one.total.errors for one in self.found)

    def with_windows(self, data: UnlabelledDataRecipe) -> "GatheredData":
        """The same, all hands choosing where those held out are too short for a window.

        Raises HandkitError where there is no window to learn from.
        """
        find_windows(self.learned, frames=data.frames, interval=data.interval)
        if len(self.chosen_by.windows(data.frames, data.interval)):
            return self
        logger.warning("the hands held out are too short for windows: those learned from choose the best weights")
        return replace(self, chosen_by=self.learned)

    def stills(self, settings: S2HandRecipe, batch: int) -> BatchSource:
        """Every frame by itself."""
        crops = HandCrops(self.learned, size=settings.network.size, **_crop_options(settings.data.crop))
        return StillBatches(
            [(crops, 1.0)],
            batch=batch,
            seed=settings.train.seed,
            workers=loading_workers(settings.data.workers),
        )

    def windows(self, settings: S2HandRecipe, batch: int) -> BatchSource:
        """Windows of n frames, as many as `batch` frames hold."""
        data = settings.data
        return WindowBatches(
            self.learned,
            sequences=batch // data.frames,
            frames=data.frames,
            interval=data.interval,
            size=settings.network.size,
            seed=settings.train.seed,
            workers=loading_workers(data.workers),
            **_crop_options(data.crop),
        )

    def held_out(self, settings: S2HandRecipe, batch: int, *, windows: bool) -> "HeldOutHands":
        return HeldOutHands(self.chosen_by, settings, batch, windows)

    def to_json(self) -> dict[str, Any]:
        return {
            "learned_from": len(self.learned),
            "chosen_by": len(self.chosen_by),
            "landmarks": self.landmarks,
            "gathered": [one.to_json() for one in self.found],
        }

    def lines(self) -> list[str]:
        """In words, for the command line."""
        told = [line for one in self.found for line in one.lines()]
        return [*told, f"learned from {len(self.learned)} hands, best weights chosen by {len(self.chosen_by)} others"]


@dataclass(frozen=True, eq=False)
class HeldOutHands:
    """Centred crops that are always the same, kept in memory once made."""

    hands: DetectedHands
    settings: S2HandRecipe
    batch: int
    are_windows: bool
    _made: list[Batch] = field(default_factory=list)

    def batches(self, place: Place) -> Iterator[Batch]:
        if not self._made:
            self._made.extend(self._make(place))
        yield from self._made

    def _make(self, place: Place) -> Iterator[Batch]:
        data, size = self.settings.data, self.settings.network.size
        scale = data.crop.box_scale
        if not self.are_windows:
            crops = HandCrops(self.hands, size=size, box_scale=scale)
            return fixed_stills([crops], count=data.validation_hands, batch=self.batch, place=place)
        return fixed_windows(
            self.hands,
            count=max(1, data.validation_hands // data.frames),
            frames=data.frames,
            interval=data.interval,
            size=size,
            batch=max(1, self.batch // data.frames),
            box_scale=scale,
            place=place,
        )


def gather_data(out: Path, settings: S2HandRecipe, *, show_progress: bool = False) -> GatheredData:
    """Find the hands of the recipe's sources, or of synthetic sequences where it names none; kept under `out`."""
    data = settings.data
    options = GatherOptions(
        keypoints=_path(data.keypoints),
        hands=data.hands,
        max_hands=data.max_hands,
        K=data.K,
        focal=data.focal,
        camera=_path(data.camera),
    )
    told: dict[str, Any] = {"show_progress": show_progress, "on_error": _warn}
    sources = [parse_source(text) for text in data.sources] or [_synthetic(out, settings, show_progress)]
    found = gather(sources, out / GATHERED, options, **told)
    parts = [found]
    hands = found.dataset if data.samples is None else _some(found.dataset, data.samples)
    if data.val:
        parts.append(gather([parse_source(text) for text in data.val], out / GATHERED, options, **told))
        learned, chosen = hands, parts[1].dataset
    else:
        rows, kept = hands.split(data.held_out)
        if not len(kept) or not len(rows):
            logger.warning("%d hands are too few to hold some out: all choose the best weights", len(hands))
            rows = kept = np.arange(len(hands))
        learned, chosen = hands.subset(rows), hands.subset(kept)
    if data.supervision == "weak":
        _check_truth(learned)
        _check_truth(chosen)
    landmarks = "openpose" if data.keypoints is not None else "mediapipe"
    return GatheredData(learned, chosen, tuple(parts), landmarks, ", ".join(map(_words, sources)))


def parse_source(text: str) -> Source:
    """A path, NAME=DIR or NAME:SPLIT=DIR of a data set. Raises HandkitError for a data set that there is none of."""
    name, equals, root = text.partition("=")
    name, _, split = name.partition(":")
    if not equals or Path(text).exists():
        return Path(text).expanduser()
    if name not in DATASETS or not root:
        raise HandkitError(
            f"--data {text}: no such data set {name!r}", f"known are {', '.join(DATASETS)}; or give a path"
        )
    return NamedDataset(name=name, root=Path(root).expanduser(), split=split or None)


def _synthetic(out: Path, settings: S2HandRecipe, show_progress: bool) -> NamedDataset:
    data = settings.data
    drawn = DrawnRecipe(recipe=data.synthetic_recipe, split="train", sequences=data.synthetic_sequences)
    root = draw(drawn, out / SYNTHETIC_FOLDER, show_progress=show_progress)
    return NamedDataset(name="seqhand", root=root)


def _crop_options(crop: CropRecipe) -> dict[str, Any]:
    return {
        "box_scale": crop.box_scale,
        "reposition": crop.reposition,
        "rotate_deg": crop.rotate_deg,
        "scale_jitter": crop.scale_jitter,
        "color_jitter": ColorJitter() if crop.color_jitter else None,
    }


def _some(hands: DetectedHands, count: int) -> DetectedHands:
    """So many of them, evenly spread."""
    rows: NDArray[np.int64] = np.linspace(0, len(hands) - 1, min(count, len(hands))).round().astype(np.int64)
    return hands.subset(np.unique(rows))


def _check_truth(hands: DetectedHands) -> None:
    if hands.truth().joints_2d is None:
        raise HandkitError(
            "--supervision weak learns from true 2D keypoints, and the data have none",
            "give a data set that has them, such as --data freihand=DIR, or leave it out",
        )


def _words(source: Source) -> str:
    return f"{source.name}={source.root.name}" if isinstance(source, NamedDataset) else Path(source).name


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text).expanduser()


def _warn(error: HandkitError) -> None:
    logger.warning("%s (%s)", error.what, error.fix)
