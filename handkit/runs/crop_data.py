"""What runs on crops of single hands learn from: data sets, generated shards or frames drawn as training goes."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, Final, Generic, Protocol, TypeVar

import numpy as np

from handkit.ahead import ahead
from handkit.data.color_jitter import ColorJitter
from handkit.data.crops import HandCrops
from handkit.data.handnet_batches import HandCropBatches
from handkit.data.handnet_crops import CropOptions
from handkit.data.registry import build_training_dataset
from handkit.data.sample import HandSample
from handkit.data.shards import find_shards, read_card
from handkit.data.staged_batches import Batch, BatchSource
from handkit.data.still_batches import StillBatches, fixed_stills
from handkit.errors import HandkitError
from handkit.hand.model import HandModel
from handkit.methods.crop_recipe import CropDataRecipe
from handkit.methods.seqhand_recipe import StillSource
from handkit.runs.result import loading_workers
from handkit.synth.batches import SyntheticBatches
from handkit.train import Place, TrainRecipe

# Pictures of data sets are cut twice: first this much wider, so that a turned and shifted crop lies within, ...
_ROOM: Final = 1.9
# ... and held-out ones, which stay upright, a little: boxes of meshes and of joints differ.
_HELD_OUT_ROOM: Final = 1.25
_AHEAD: Final = 2
_KINDS: Final = ("seqhand", "stereo")


class SizedRecipe(Protocol):
    """Which network, on crops of `size` px."""

    @property
    def size(self) -> int: ...


class CropRunRecipe(Protocol):
    """What such a run's recipe has."""

    @property
    def hand(self) -> str: ...
    @property
    def network(self) -> SizedRecipe: ...
    @property
    def data(self) -> CropDataRecipe: ...
    @property
    def train(self) -> TrainRecipe: ...


Settings = TypeVar("Settings", bound=CropRunRecipe)


@dataclass(frozen=True, eq=False)
class CropData(Generic[Settings]):
    """Hands to learn from and others to choose by; without data sets both are drawn."""

    settings: Settings
    hand: HandModel
    learned: tuple[tuple[HandCrops, float], ...] = ()
    chosen: tuple[HandCrops, ...] = ()
    known: tuple[HandSample, ...] = ()  # of every data set the first sample
    words: str = ""
    _made: dict[str, Any] = field(default_factory=dict)

    @property
    def hands(self) -> int:
        """How many make an epoch."""
        return sum(len(crops) for crops, _ in self.learned) or self.settings.data.epoch

    @property
    def has_vertices(self) -> bool:
        """Whether there are vertices of this hand model to choose the best weights by."""
        models = ("", self.hand.name)
        return not self.known or any(bool(s["vertices_valid"]) and s["hand_model"] in models for s in self.known)

    @property
    def looks(self) -> bool:
        """Whether the network sees pictures at all."""
        return True

    @property
    def held_out(self) -> "HeldOutHands":
        """The same for all stages."""
        if "held_out" not in self._made:
            self._made["held_out"] = HeldOutHands(self)
        found: HeldOutHands = self._made["held_out"]
        return found

    def varied(self, batch: int, *, missing: float = 0.0, want_image: bool = True) -> BatchSource:
        """Varied crops, endless; the share `missing` of the hands has no keypoints."""
        source = self._stills(batch) if self.known else self._frames(batch)
        options = self.varied_options(missing)
        options |= {"blur": self.settings.data.crop.blur, "want_image": want_image}
        return CutAhead(HandCropBatches(source, self.hand, seed=self.settings.train.seed, **options))

    def validation(self, place: Place) -> list[Batch]:
        """Centred crops of the hands to choose by, the same in every run, their keypoints noisy and none missing."""
        number, seed = self.settings.data.validation_hands, self.settings.data.validation_seed
        batch, options = min(64, number), self.crop_options()
        source = _InOrder(self.chosen, number, batch) if self.known else self._frames(batch, seed)
        options["want_image"] = self.looks
        return HandCropBatches(source, self.hand, seed=seed, **options).fixed(number, batch, place)

    def varied_options(self, missing: float = 0.0) -> CropOptions:
        """How hands to learn from are cut out, but for the pictures' blur."""
        crop, options = self.settings.data.crop, self.crop_options(missing)
        options |= {
            "reposition": crop.reposition,
            "rotate_deg": crop.rotate_deg,
            "scale_jitter": crop.scale_jitter,
        }
        return options

    def crop_options(self, missing: float = 0.0) -> CropOptions:
        """How hands to choose by are cut out."""
        data = self.settings.data
        noise = None if data.noise is None else data.noise.model_copy(update={"missing": missing})
        return {"size": self.settings.network.size, "box_scale": data.crop.box_scale, "noise": noise}

    def to_json(self) -> dict[str, Any]:
        return {
            "source": self.words,
            "learned_from": sum(len(crops) for crops, _ in self.learned) if self.known else "drawn",
            "chosen_by": self.settings.data.validation_hands,
            "epoch": self.hands,
        }

    def _frames(self, batch: int, validation_seed: int | None = None) -> SyntheticBatches:
        """Drawn frames, of the fixed number of sequences where that is limited."""
        data, held_out = self.settings.data, validation_seed is not None
        frames = 1 if held_out else data.frames
        if batch % frames:
            raise HandkitError(f"a batch of {batch} hands is not whole sequences of {frames}", "change data.frames")
        return SyntheticBatches(
            seed=self.settings.train.seed if validation_seed is None else validation_seed,
            split="val" if held_out else "train",
            batch=batch // frames,
            frames=frames,
            recipe=data.recipe,
            size=data.frame_size or self.settings.network.size,
            sequences=None if held_out else data.sequences,
            poses=data.poses,
            backgrounds=Path(data.backgrounds) if data.backgrounds else None,
            hand_model=self.settings.hand,
            workers=0 if held_out else loading_workers(data.workers),
            color_jitter=ColorJitter() if data.crop.color_jitter and not held_out else None,
        )

    def _stills(self, batch: int) -> StillBatches:
        workers = loading_workers(self.settings.data.workers)
        return StillBatches(self.learned, batch=batch, seed=self.settings.train.seed, workers=workers)


@dataclass(frozen=True, eq=False)
class HeldOutHands:
    """Batches that are always the same, kept in memory once made."""

    hands: CropData[Any]
    _made: list[Batch] = field(default_factory=list)

    def batches(self, place: Place) -> Iterator[Batch]:
        if not self._made:
            self._made.extend(self.hands.validation(place))
        yield from self._made


@dataclass(frozen=True)
class CutAhead:
    """Batches that are cut by a thread while the last one is learned from, where that is done on another device."""

    source: BatchSource

    def batches(self, start: int, place: Place) -> Iterator[Batch]:
        made = self.source.batches(start, place)
        return ahead(made, _AHEAD) if place.device.type == "cuda" else made


@dataclass(frozen=True)
class _InOrder:
    """So many centred pictures of the data sets to choose by, spread evenly, as a source that ends."""

    crops: tuple[HandCrops, ...]
    count: int
    batch: int

    def batches(self, start: int, place: Place) -> Iterator[Batch]:
        del place  # the crops made of them are shared out
        return islice(fixed_stills(self.crops, count=self.count, batch=self.batch), start, None)


Data = TypeVar("Data", bound=CropData[Any])


def with_sources(drawn: Data) -> Data:
    """The hands of the recipe's data sets and shards in the place of drawn ones, where it names any.

    Raises HandkitError for a data set that is missing, damaged or too small.
    """
    settings: CropRunRecipe = drawn.settings
    sources = [*settings.data.sources, *(part for folder in settings.data.shards for part in shard_sources(folder))]
    if not sources:
        return drawn
    learned, chosen, known = [], [], []
    for source in sources:
        training, held_out, sample = _split(settings, source)
        learned.append((training, source.weight))
        chosen.append(held_out)
        known.append(sample)
    words = ", ".join(dict.fromkeys(f"{source.dataset}={Path(source.root).name}" for source in sources))
    return replace(drawn, learned=tuple(learned), chosen=tuple(chosen), known=tuple(known), words=words)


def shard_sources(folder: str) -> list[StillSource]:
    """A folder of `handkit generate seqhand`, or of `stereo`: then both views, each of half the weight."""
    shards = find_shards(folder)
    kind = _KINDS[0]
    try:
        read_card(shards, kind)
    except HandkitError:
        kind = _KINDS[1]
        read_card(shards, kind)
    if kind == "seqhand":
        return [StillSource(dataset=kind, root=folder, split="all")]
    views = ("left", "right")
    return [StillSource(dataset=kind, root=folder, split="all", options={"view": v}, weight=0.5) for v in views]


def _split(settings: CropRunRecipe, source: StillSource) -> tuple[HandCrops, HandCrops, HandSample]:
    """Varied crops to learn from, centred ones of the last scenes to choose by, and the first sample."""
    read = build_training_dataset(source.dataset, source.root, source.split, **source.options)
    scenes = np.array([read.scene(row) for row in range(len(read))])
    first = np.quantile(scenes, 1 - settings.data.held_out) if len(scenes) else 0
    if not (scenes < first).any():
        what = f"{source.root} has {len(np.unique(scenes))} pictures, too few to hold some out"
        raise HandkitError(what, "give more")
    size, scale = settings.network.size, settings.data.crop.box_scale
    jitter = ColorJitter() if settings.data.crop.color_jitter else None

    def crops(rows: np.ndarray, room: float, jitter: ColorJitter | None = None) -> HandCrops:
        return HandCrops(
            read,
            rows=np.flatnonzero(rows),
            size=round(room * size),
            box_scale=room * scale,
            reposition=0.0,
            color_jitter=jitter,
        )

    return crops(scenes < first, _ROOM, jitter), crops(scenes >= first, _HELD_OUT_ROOM), read[0]
