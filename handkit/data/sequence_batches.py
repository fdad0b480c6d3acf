"""Batches of sequences from shards of `handkit generate seqhand`, without end."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import ConcatDataset

from handkit.data.batch_numbers import Batch, EpochOrder, check_batch, load_numbered
from handkit.data.color_jitter import ColorJitter
from handkit.data.mask_distances import mask_distances
from handkit.data.resize import resize_batch
from handkit.data.sample import stack_samples
from handkit.data.seqhand import SeqHandDataset
from handkit.data.shards import Source
from handkit.errors import HandkitError

if TYPE_CHECKING:
    from handkit.train import Place


@dataclass(frozen=True, kw_only=True)
class Finish:
    """What is done to a sequence before it goes into a batch: `size` pixels a side, light changes of colour by (seed,
    place), and the distance to the mask of every pixel, `mask_distance` [T, H, W] float32 px."""

    size: int | None = None
    mask_distance: bool = False
    color_jitter: ColorJitter | None = None
    seed: int = 0

    def __call__(self, sample: dict[str, Any], place: int) -> dict[str, Any]:
        """The sequence that stands at a place of the endless row."""
        done = sample if self.size is None else resize_batch(sample, self.size)
        if self.color_jitter is not None:
            done = {**done, "image": self.color_jitter(torch.from_numpy(done["image"]), self.seed, place).numpy()}
        if self.mask_distance:
            done = {**done, "mask_distance": mask_distances(torch.from_numpy(done["mask"])).numpy()}
        return done


class ShardBatches:
    """Batches of `batch` windows of `frames` frames, `stride` apart, of one folder of shards or of several.

    Every epoch gives each window once, in an order by (seed, epoch); batches go on over an epoch's end, so that all are
    full. `hand` as `SeqHandDataset` takes it; without `frames` whole sequences. Raises HandkitError as that does, for
    sources whose pictures or lengths differ (sizes only without `size`), and for a batch larger than the data.
    """

    def __init__(
        self,
        sources: str | os.PathLike[str] | Sequence[Source],
        *,
        batch: int,
        frames: int | None = None,
        stride: int | None = None,
        seed: int = 0,
        workers: int = 0,
        hand: str | Path | None = None,
        size: int | None = None,
        mask_distance: bool = False,
        color_jitter: ColorJitter | None = None,
    ) -> None:
        each = [sources] if isinstance(sources, str | os.PathLike) else sources
        parts = [SeqHandDataset(source, frames=frames, stride=stride, hand=hand) for source in each]
        self.windows: ConcatDataset[dict[str, Any]] = ConcatDataset(parts)
        _check_alike(parts, size)
        check_batch(batch, len(self.windows), "sequences")
        self.batch, self.workers = batch, workers
        finish = Finish(size=size, mask_distance=mask_distance, color_jitter=color_jitter, seed=seed)
        self._reader = _Reader(self.windows, EpochOrder(len(self.windows), seed=seed), finish)

    def __len__(self) -> int:
        """Windows in an epoch."""
        return len(self.windows)

    def batches(self, start: int, place: Place) -> Iterator[Batch]:
        """This process's rows of the batches from number `start` on; the keys of `collate` and `key`, who they are."""
        pin = place.device.type == "cuda"
        return load_numbered(
            self._reader, batch=self.batch, start=start, place=place, workers=self.workers, pin_memory=pin
        )


@dataclass(frozen=True)
class _Reader:
    """Makes a batch of the windows at some places."""

    windows: ConcatDataset[dict[str, Any]]
    order: EpochOrder
    finish: Finish

    def __call__(self, places: Sequence[int]) -> Batch:
        samples = []
        for place in places:
            sample = self.windows[self.order[place]]
            key = f"{sample['dataset'][0]}/{sample['name'][0]}"
            samples.append({**self.finish(sample, place), "key": key})
        return stack_samples(samples)


def _check_alike(parts: Sequence[SeqHandDataset], size: int | None) -> None:
    if not all(len(part) for part in parts):
        raise HandkitError("a source holds no sequences", "take it away, or generate it again")
    firsts = [part[0] for part in parts]
    lengths = sorted({len(first["frame"]) for first in firsts})
    if len(lengths) > 1:
        what = f"the sources' sequences have {' and '.join(map(str, lengths))} frames"
        raise HandkitError(what, f"ask for frames={lengths[0]} or fewer")
    sizes = sorted({np.shape(first["image"])[-2:] for first in firsts})
    if size is None and len(sizes) > 1:
        what = f"the sources' pictures have {' and '.join(f'{w} x {h}' for h, w in sizes)} pixels"
        raise HandkitError(what, "give one size for all")
