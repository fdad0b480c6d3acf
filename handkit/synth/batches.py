"""Batches of sequences made while they are needed, without end: by workers, or painted where the network is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor

from handkit.ahead import ahead
from handkit.data.batch_numbers import Batch, EpochOrder, as_tensors, check_batch, load_numbered
from handkit.data.color_jitter import ColorJitter
from handkit.data.mask_distances import mask_distances
from handkit.data.sample import stack_samples
from handkit.data.seqhand import FrameDecoder
from handkit.data.sequence_batches import Finish
from handkit.errors import HandkitError
from handkit.labels import HAND
from handkit.recipe import load_recipe
from handkit.synth.job import SequenceJob
from handkit.synth.paint_groups import group_drawings, paint_groups
from handkit.synth.recipe import SequenceRecipe
from handkit.synth.sequence import HandSequence, SequenceMaker, Split
from handkit.synth.stream import build_sequence, draw_sequence

if TYPE_CHECKING:
    from handkit.train import Place

_KEPT_BYTES: Final = 2**29  # of a finite set that is kept in memory, together
_PAINTED: Final = 2  # batches that wait on the device


class SyntheticBatches:
    """Batch n holds the sequences numbered [n B, (n + 1) B) of `SyntheticSequences`, B = `batch`, without end.

    `recipe` is a name, a file or settings, of which `size` (pixels) and `frames` are replaced where they are given;
    `poses`, `backgrounds` and `hand_model` as `handkit generate seqhand` takes them. With `sequences` there are only so
    many: again and again in turn, or with `shuffle` in an order by (seed, epoch); small sets are kept in memory.
    On CUDA workers draw and the device paints, unless the set is kept. `maker` is used in this process where given.
    """

    def __init__(
        self,
        *,
        seed: int,
        batch: int,
        recipe: str | SequenceRecipe = "seqhand",
        split: Split = "train",
        size: int | None = None,
        frames: int | None = None,
        sequences: int | None = None,
        shuffle: bool = False,
        poses: str = "builtin",
        backgrounds: Path | None = None,
        hand_model: str = "open",
        workers: int = 0,
        mask_distance: bool = False,
        color_jitter: ColorJitter | None = None,
        maker: SequenceMaker | None = None,
    ) -> None:
        settings = load_recipe(SequenceRecipe, recipe) if isinstance(recipe, str) else recipe
        given = {name: value for name, value in (("size", size), ("frames", frames)) if value is not None}
        self.recipe = SequenceRecipe.model_validate({**settings.model_dump(), **given})
        check_batch(batch, sequences, "sequences")
        job = SequenceJob(
            out=Path(),  # nothing is written
            recipe=self.recipe,
            seed=seed,
            split=split,
            sequences=sequences or 0,
            poses=poses,
            backgrounds=backgrounds,
            hand_model=hand_model,
        )
        self.batch, self.workers = batch, workers
        order = None if sequences is None else EpochOrder(sequences, seed=seed if shuffle else None)
        self._finish = Finish(mask_distance=mask_distance, color_jitter=color_jitter, seed=seed)
        self.kept = sequences is not None and sequences * self._bytes() * max(1, workers) <= _KEPT_BYTES
        self._drawer = _Drawer(job, order, maker)
        self._maker = _Maker(self._drawer, self._finish, keep=self.kept)

    def batches(self, start: int, place: Place) -> Iterator[Batch]:
        """This process's rows of the batches from number `start` on; the keys of `collate` and `key`, who they are."""
        on_cuda = place.device.type == "cuda"
        if on_cuda and not self.kept:
            return self.painted(start, place)
        return load_numbered(
            self._maker, batch=self.batch, start=start, place=place, workers=self.workers, pin_memory=on_cuda
        )

    def painted(self, start: int, place: Place) -> Iterator[Batch]:
        """The same batches, painted on the device by a thread; pictures up to rounding and the sensor's noise."""
        on_cuda = place.device.type == "cuda"
        drawn = load_numbered(
            self._drawer, batch=self.batch, start=start, place=place, workers=self.workers, pin_memory=on_cuda
        )
        return _painted_ahead(drawn, _Painter(place.device, self.recipe.supersample, self._finish))

    def make(self, places: Sequence[int]) -> Batch:
        """What stands at some places of the endless row, made here."""
        return as_tensors(self._maker(places))

    def _bytes(self) -> int:
        """Of a sequence in memory: pictures and mask, and vertices, which outweigh all else."""
        pixels = 4 + 4 * self._finish.mask_distance
        return self.recipe.frames * (pixels * self.recipe.size**2 + 25_000)


class _Drawer:
    """Draws the sequences at some places: what pictures are painted from."""

    def __init__(self, job: SequenceJob, order: EpochOrder | None, maker: SequenceMaker | None) -> None:
        self.job, self.order, self.maker = job, order, maker
        self._decoder = FrameDecoder(job.settings())

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "maker": None}  # workers load the sources themselves: quicker than to send them

    def load(self) -> SequenceMaker:
        self.maker = self.maker or self.job.make()
        return self.maker

    def numbers(self, places: Sequence[int]) -> list[int]:
        return list(places) if self.order is None else [self.order[place] for place in places]

    def sample(self, sequence: HandSequence, images: Any, labels: Any) -> dict[str, Any]:
        return self._named(build_sequence(self._decoder, sequence, images, labels), sequence)

    def _named(self, sample: dict[str, Any], sequence: HandSequence) -> dict[str, Any]:
        return {**sample, "key": f"{self.job.split}/{sequence.index:06d}"}

    def __call__(self, places: Sequence[int]) -> dict[str, Any]:
        maker = self.load()
        samples, drawings = {}, {}
        for sequence in maker.annotate_many(sorted(set(self.numbers(places)))):
            sample, drawings[sequence.index] = draw_sequence(self._decoder, maker, sequence)
            samples[sequence.index] = self._named(sample, sequence)
        numbers = self.numbers(places)
        stacked = stack_samples([samples[number] for number in numbers])
        return {"places": list(places), "samples": stacked, "groups": group_drawings([drawings[n] for n in numbers])}


class _Maker:
    """Makes a batch of the sequences at some places, pictures and all."""

    def __init__(self, drawer: _Drawer, finish: Finish, *, keep: bool) -> None:
        self.drawer, self.finish, self.keep = drawer, finish, keep
        self._made: dict[int, dict[str, Any]] = {}

    def __call__(self, places: Sequence[int]) -> Batch:
        numbers = self.drawer.numbers(places)
        made = dict(self._made)
        missing = sorted(set(numbers) - made.keys())
        if missing:
            maker = self.drawer.load()
            for sequence in maker.annotate_many(missing):
                made[sequence.index] = self.drawer.sample(sequence, *maker.render(sequence))
        if self.keep:
            self._made = made
        return stack_samples([self.finish(made[number], place) for number, place in zip(numbers, places, strict=True)])


def fixed_batches(
    recipe: str | SequenceRecipe,
    seed: int,
    *,
    sequences: int,
    batch: int,
    split: Split = "val",
    place: Place | None = None,
    **options: Any,
) -> list[Batch]:
    """Sequences 0 .. `sequences` - 1 in batches in their order, the last one smaller, to be kept: a run's own check.

    With a `place` only this process's share of the batches. `options` are those of `SyntheticBatches`. Raises
    HandkitError for seed 0 of "val": figures are reported on those.
    """
    if split == "val" and seed == 0:
        raise HandkitError("sequences of seed 0 of val are those that figures are reported on", "take another seed")
    source = SyntheticBatches(seed=seed, batch=1, recipe=recipe, split=split, **options)
    firsts = range(0, sequences, batch)
    own = firsts if place is None else place.own(firsts)
    return [source.make(range(first, min(first + batch, sequences))) for first in own]


def _painted_ahead(drawn: Iterator[Any], painter: _Painter) -> Iterator[Batch]:
    """Painted batches, ready to be read; on CUDA painted on a stream of its own while the last one is used."""
    device = painter.device

    def painted() -> Iterator[Batch]:
        stream: Any = torch.cuda.Stream(device) if device.type == "cuda" else None
        for drawings in drawn:
            with torch.cuda.stream(stream):
                batch = painter(drawings)
            if stream is not None:
                stream.synchronize()
            yield batch

    for batch in ahead(painted(), _PAINTED):
        for value in batch.values():
            if isinstance(value, Tensor) and value.is_cuda:
                # Its memory must not be used anew before what reads it is done.
                value.record_stream(torch.cuda.current_stream(device))
        yield batch


@dataclass(frozen=True)
class _Painter:
    """Makes batches of what `_Drawer` drew."""

    device: torch.device
    supersample: int
    finish: Finish

    def __call__(self, drawn: dict[str, Any]) -> Batch:
        images, labels = paint_groups(drawn["groups"], self.device, supersample=self.supersample)
        images, jitter = images.permute(0, 1, 4, 2, 3).contiguous(), self.finish.color_jitter
        if jitter is not None:
            each = zip(images, drawn["places"], strict=True)
            images = torch.stack([jitter(one, self.finish.seed, place) for one, place in each])
        batch = {
            name: value.to(self.device, non_blocking=True) if isinstance(value, Tensor) else value
            for name, value in drawn["samples"].items()
        }
        batch |= {"image": images, "mask": (labels == HAND).to(torch.uint8)}
        return {**batch, "mask_distance": mask_distances(batch["mask"])} if self.finish.mask_distance else batch
