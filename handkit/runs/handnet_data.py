"""What a HandNet run learns from: data sets, generated shards or hands drawn as training goes, in batches of crops."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np

from handkit.ahead import ahead
from handkit.data.color_jitter import ColorJitter
from handkit.data.crops import HandCrops
from handkit.data.handnet_batches import HandCropBatches
from handkit.data.handnet_crops import CropOptions
from handkit.data.posed_hands import PosedHandBatches
from handkit.data.registry import build_training_dataset
from handkit.data.sample import HandSample
from handkit.data.shards import find_shards, read_card
from handkit.data.staged_batches import Batch, BatchSource
from handkit.data.still_batches import StillBatches, fixed_stills
from handkit.errors import HandkitError
from handkit.hand.model import HandModel, load_hand
from handkit.methods.handnet_recipe import Drawn, HandNetRecipe, StageRecipe
from handkit.methods.seqhand_recipe import StillSource
from handkit.runs.result import loading_workers
from handkit.synth.batches import SyntheticBatches
from handkit.train import Place

# Pictures of data sets are cut twice: first this much wider, so that a turned and shifted crop lies within, ...
_ROOM: Final = 1.9
# ... and held-out ones, which stay upright, a little: boxes of meshes and of joints differ.
_HELD_OUT_ROOM: Final = 1.25
_AHEAD: Final = 2
_KINDS: Final = ("seqhand", "stereo")


@dataclass(frozen=True, eq=False)
class HandNetData:
    """Hands to learn from and others to choose by; without data sets both are drawn."""

    settings: HandNetRecipe
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
    def held_out(self) -> "HeldOutHands":
        """The same for all stages."""
        if "held_out" not in self._made:
            self._made["held_out"] = HeldOutHands(self)
        found: HeldOutHands = self._made["held_out"]
        return found

    def check(self, name: str, stage: StageRecipe) -> None:
        """Raise HandkitError where the stage has nothing to learn from: no pictures, no poses, no masks."""
        loss, drawn = self.settings.loss, stage.drawn or self.settings.data.drawn
        if not self.known:
            if drawn == "poses" and ("image" in stage.sees or stage.learns_masks):
                raise HandkitError(
                    f"stage {name} sees images, and drawn poses have none",
                    f"set data.drawn=frames or stages.{name}.drawn=frames, or give --data or --shards",
                )
            return
        if stage.learns_masks and not any(bool(sample["mask_valid"]) for sample in self.known):
            raise HandkitError(f"stage {name} learns masks, and {self.words} has none", "give data that have masks")
        if (
            stage.learns_hands
            and not (loss.joints_3d or loss.distance_3d)
            and not any(self._has_pose(sample) for sample in self.known)
        ):
            raise HandkitError(
                f"nothing in {self.words} is annotated with a pose of the hand {self.hand.name!r}",
                "give --hand-model the hand that the data were annotated with, or learn from 3D joints: "
                "--set loss.joints_3d=10",
            )

    def training(self, stage: StageRecipe) -> BatchSource:
        """Varied crops, endless."""
        data, drawn = self.settings.data, stage.drawn or self.settings.data.drawn
        if data.noise is None and stage.missing:
            raise HandkitError("data.noise is off, so no keypoints can be missing", "set the stage's missing to 0")
        crop, seed = data.crop, self.settings.train.seed
        options = self._crop_options(stage.missing)
        options |= {
            "reposition": crop.reposition,
            "rotate_deg": crop.rotate_deg,
            "scale_jitter": crop.scale_jitter,
        }
        if not self.known and drawn == "poses":
            return _CutAhead(PosedHandBatches(hand=self.hand, batch=stage.batch, seed=seed, **options))
        source = self._stills(stage) if self.known else self._frames(stage.batch)
        options |= {"blur": crop.blur, "want_image": "image" in stage.sees}
        return _CutAhead(HandCropBatches(source, self.hand, seed=seed, **options))

    def validation(self, place: Place) -> list[Batch]:
        """Centred crops of the hands to choose by, the same in every run, their keypoints noisy and none missing."""
        data = self.settings.data
        number, seed = data.validation_hands, data.validation_seed
        batch, options = min(64, number), self._crop_options(missing=0.0)
        if not self.known and data.drawn == "poses":
            return PosedHandBatches(hand=self.hand, batch=batch, seed=seed, **options).fixed(number, batch, place)
        source = _InOrder(self.chosen, number, batch) if self.known else self._frames(batch, seed)
        options["want_image"] = self.settings.network.inputs != "keypoints"
        return HandCropBatches(source, self.hand, seed=seed, **options).fixed(number, batch, place)

    def _crop_options(self, missing: float) -> CropOptions:
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

    def _stills(self, stage: StageRecipe) -> StillBatches:
        return StillBatches(
            self.learned,
            batch=stage.batch,
            seed=self.settings.train.seed,
            workers=loading_workers(self.settings.data.workers),
        )

    def _has_pose(self, sample: HandSample) -> bool:
        return bool(sample["pose_valid"]) and sample["hand_model"] == self.hand.name


@dataclass(frozen=True, eq=False)
class HeldOutHands:
    """Batches that are always the same, kept in memory once made."""

    hands: HandNetData
    _made: list[Batch] = field(default_factory=list)

    def batches(self, place: Place) -> Iterator[Batch]:
        if not self._made:
            self._made.extend(self.hands.validation(place))
        yield from self._made


@dataclass(frozen=True)
class _CutAhead:
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


def find_data(settings: HandNetRecipe) -> HandNetData:
    """Open the recipe's data sets and shards. Raises HandkitError for one that is missing, damaged or too small."""
    hand = load_hand(settings.hand, "right")
    sources = [*settings.data.sources, *(part for folder in settings.data.shards for part in shard_sources(folder))]
    found = HandNetData(settings, hand, words=_drawn_words(settings.data.drawn, settings.data.recipe))
    if not sources:
        return found
    learned, chosen, known = [], [], []
    for source in sources:
        training, held_out, sample = _split(settings, source)
        learned.append((training, source.weight))
        chosen.append(held_out)
        known.append(sample)
    words = ", ".join(dict.fromkeys(f"{source.dataset}={Path(source.root).name}" for source in sources))
    return replace(found, learned=tuple(learned), chosen=tuple(chosen), known=tuple(known), words=words)


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


def _split(settings: HandNetRecipe, source: StillSource) -> tuple[HandCrops, HandCrops, HandSample]:
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


def _drawn_words(drawn: Drawn, recipe: str) -> str:
    return "drawn poses" if drawn == "poses" else f"drawn frames ({recipe})"
