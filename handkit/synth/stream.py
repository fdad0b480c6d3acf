"""Sequences for training without a disk: the same for the same (recipe, seed, split, index) as those in the shards."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from handkit.data.sample import collate
from handkit.data.seqhand import FrameDecoder
from handkit.labels import HAND
from handkit.recipe import load_recipe
from handkit.synth.job import SequenceJob
from handkit.synth.paint_groups import Drawing, group_drawings, paint_groups
from handkit.synth.recipe import SequenceRecipe
from handkit.synth.sequence import HandSequence, SequenceMaker, Split

_AT_ONCE = 16


class SyntheticSequences(IterableDataset[dict[str, Any]]):
    """Yields whole sequences as `handkit.data.seqhand.SeqHandDataset` does, with the pictures as before JPEG.

    `recipe` is a name, a file or settings, `sequences` how many there are (None: without end), `first` the number to
    begin with; `poses`, `backgrounds` and `hand_model` as `handkit generate seqhand` takes them. DataLoader workers and
    ranks (those of torch.distributed, where it runs, unless given) share the numbers out, so that together they yield
    each once. Sources are loaded where it is iterated, unless a `maker` is given.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        recipe: str | SequenceRecipe = "seqhand",
        split: Split = "train",
        sequences: int | None = None,
        first: int = 0,
        poses: str = "builtin",
        backgrounds: Path | None = None,
        hand_model: str = "open",
        rank: int | None = None,
        ranks: int | None = None,
        maker: SequenceMaker | None = None,
    ) -> None:
        super().__init__()
        self.job = SequenceJob(
            out=Path(),  # nothing is written
            recipe=load_recipe(SequenceRecipe, recipe) if isinstance(recipe, str) else recipe,
            seed=seed,
            split=split,
            sequences=sequences or 0,
            poses=poses,
            backgrounds=backgrounds,
            hand_model=hand_model,
        )
        self.first, self.endless = first, sequences is None
        self._rank, self._ranks, self._maker = rank, ranks, maker

    def __iter__(self) -> Iterator[dict[str, Any]]:
        decoder = FrameDecoder(self.job.settings())
        for maker, sequence in self.drawn():
            yield build_sequence(decoder, sequence, *maker.render(sequence))

    def __getstate__(self) -> dict[str, Any]:
        # Workers load the sources themselves: quicker than to send them.
        return {**self.__dict__, "_maker": None}

    def drawn(self) -> Iterator[tuple[SequenceMaker, HandSequence]]:
        """The sequences that fall to this worker of this rank, without their pictures."""
        self._maker = maker = self._maker or self.job.make()
        numbers = self._numbers()
        while some := list(itertools.islice(numbers, _AT_ONCE)):
            for sequence in maker.annotate_many(some):
                yield maker, sequence

    def _numbers(self) -> Iterator[int]:
        share, shares = self._share_of_ranks()
        worker = get_worker_info()
        if worker is not None:
            share, shares = share + shares * worker.id, shares * worker.num_workers
        first = self.first + share
        return itertools.count(first, shares) if self.endless else iter(range(first, self.job.sequences, shares))

    def _share_of_ranks(self) -> tuple[int, int]:
        if self._rank is not None and self._ranks is not None:
            return self._rank, self._ranks
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return torch.distributed.get_rank(), torch.distributed.get_world_size()
        return 0, 1


def build_sequence(
    decoder: FrameDecoder, sequence: HandSequence, images: NDArray[np.uint8], labels: NDArray[np.uint8]
) -> dict[str, Any]:
    """The stacked sample of a sequence, its pictures [T, H, W, 3] and mask labels [T, H, W]."""
    arrays, name = sequence.annotations(), f"{sequence.index:06d}"
    channels = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    return decoder.build_frames(channels, labels, arrays, sequence=name)


class PaintedSequences:
    """Batches of sequences [B, T, ...] with pictures painted on a device, in `batch`es, by `workers` that draw them.

    Annotations are those of `SyntheticSequences`; so are masks, and pictures up to rounding and the sensor's noise,
    which comes of the device's own generator. Batches are the same for the same number of workers.
    """

    def __init__(
        self, sequences: SyntheticSequences, *, device: torch.device | str, batch: int = 32, workers: int = 0
    ) -> None:
        self.sequences, self.device = sequences, torch.device(device)
        context = "spawn" if workers else None
        self._loader: DataLoader[Any] = DataLoader(
            _Drawn(sequences), batch_size=batch, num_workers=workers, collate_fn=list, multiprocessing_context=context
        )

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for drawn in self._loader:
            samples, drawings, supersample = zip(*drawn, strict=True)
            groups = group_drawings(drawings)
            images, labels = paint_groups(groups, self.device, supersample=supersample[0])
            pictures = {"image": images.permute(0, 1, 4, 2, 3).contiguous(), "mask": (labels == HAND).to(torch.uint8)}
            yield {**collate(samples), **pictures}


class _Drawn(IterableDataset[tuple[dict[str, Any], Drawing, int]]):
    """Samples without pictures, and what pictures are painted from."""

    def __init__(self, sequences: SyntheticSequences) -> None:
        super().__init__()
        self.sequences = sequences

    def __iter__(self) -> Iterator[tuple[dict[str, Any], Drawing, int]]:
        decoder = FrameDecoder(self.sequences.job.settings())
        for maker, sequence in self.sequences.drawn():
            yield *draw_sequence(decoder, maker, sequence), maker.recipe.supersample


def draw_sequence(
    decoder: FrameDecoder, maker: SequenceMaker, sequence: HandSequence
) -> tuple[dict[str, Any], Drawing]:
    """The stacked sample without its pictures, and what they are painted from."""
    blank = np.zeros((len(sequence.s), 1, 1, 3), np.uint8)
    layers, background = maker.layers(sequence), maker.background(sequence)
    drawing = Drawing(layers, background, sequence.appearance, sequence.index)
    return build_sequence(decoder, sequence, blank, blank[..., 0]), drawing
