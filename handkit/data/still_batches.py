"""Batches of single pictures as sequences of one frame, [B, 1, ...], mixed from several data sets, without end.

Beside the keys of the schema a batch has `key`, who its samples are; `root_is_palm` [B, 1], whether joint 0 is the
palm's centre; and, where asked for, `mask_distance` [B, 1, H, W] px, zeros where `mask_valid` is False.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from handkit.data.batch_numbers import Batch, EpochOrder, check_batch, load_numbered
from handkit.data.crops import HandCrops
from handkit.data.sample import HandSample, collate, stack_samples
from handkit.errors import HandkitError
from handkit.losses import mask_distance_px

if TYPE_CHECKING:
    from handkit.train import Place

logger = logging.getLogger(__name__)

_BLOCK: Final = 1024  # places whose sources are drawn at once
_TRIES: Final = 20  # pictures in a row that may fail
# What random numbers of one seed are for.
_SOURCES, _ORDERS, _CROPS = range(3)


class StillBatches:
    """Batches of `batch` varied crops of several data sets, each with its weight, the share of samples it gives.

    Every epoch of a data set gives each picture once, in an order by its own; a number always gives the same batch,
    whatever the number of `workers` and processes. A picture that cannot be read is warned of once and replaced by the
    next of its data set; `skipped` says how often. Raises HandkitError for weights that are not positive, crops of
    different sizes, empty data sets, and after 20 pictures in a row that cannot be read.
    """

    def __init__(
        self,
        sources: Sequence[tuple[HandCrops, float]],
        *,
        batch: int,
        seed: int = 0,
        workers: int = 0,
        mask_distance: bool = False,
    ) -> None:
        crops = [source for source, _ in sources]
        _check_sources(crops, [weight for _, weight in sources])
        check_batch(batch, None, "pictures")
        self.batch, self.workers = batch, workers
        order = MixedOrder([len(each) for each in crops], [weight for _, weight in sources], seed=seed)
        self._reader = _Reader(crops, order, seed, mask_distance)
        self._warned: set[str] = set()
        self.skipped = 0

    def __len__(self) -> int:
        """Pictures in all data sets."""
        return sum(map(len, self._reader.sources))

    def batches(self, start: int, place: Place) -> Iterator[Batch]:
        """This process's rows of the batches from number `start` on."""
        pin = torch.device(place.device).type == "cuda"
        made = load_numbered(
            self._reader, batch=self.batch, start=start, place=place, workers=self.workers, pin_memory=pin
        )
        for batch in made:
            failures = batch.pop("failures")
            self.skipped += len(failures)
            for what in failures:
                if what not in self._warned:
                    self._warned.add(what)
                    logger.warning("left out: %s", what)
            yield batch


class MixedOrder:
    """Which source, and which of its items, stands at each place of the endless row."""

    def __init__(self, counts: Sequence[int], weights: Sequence[float], *, seed: int) -> None:
        self.seed = seed
        self.shares = np.asarray(weights, float) / np.sum(weights)
        seeds = [int(np.random.default_rng((seed, _ORDERS, n)).integers(2**62)) for n in range(len(counts))]
        self._orders = [EpochOrder(count, seed=own) for count, own in zip(counts, seeds, strict=True)]
        self._before = [np.zeros(len(counts), np.int64)]  # how often each source was taken before a block
        self._block = (-1, np.zeros(0, np.int64))

    def __getitem__(self, place: int) -> tuple[int, int]:
        number, within = divmod(place, _BLOCK)
        while len(self._before) <= number:
            taken = np.bincount(self._draw(len(self._before) - 1), minlength=len(self.shares))
            self._before.append(self._before[-1] + taken)
        if self._block[0] != number:
            self._block = (number, self._draw(number))
        sources = self._block[1]
        source = int(sources[within])
        earlier = int(self._before[number][source]) + int(np.count_nonzero(sources[:within] == source))
        return source, self._orders[source][earlier]

    def _draw(self, block: int) -> NDArray[np.int64]:
        rng = np.random.default_rng((self.seed, _SOURCES, block))
        return rng.choice(len(self.shares), _BLOCK, p=self.shares)


def fixed_stills(
    sources: Sequence[HandCrops], *, count: int, batch: int, place: Place | None = None, mask_distance: bool = False
) -> Iterator[Batch]:
    """Batches of `count` centred crops, always the same, spread evenly over each source; the last one is smaller.

    With a `place` only this process's share of the batches. Sources give equal parts, but no picture twice; pictures
    that cannot be read are warned of and left out.
    """
    part = -(-count // len(sources))
    chosen = [
        (crops, int(row))
        for crops in sources
        for row in np.linspace(0, len(crops) - 1, min(part, len(crops))).round().astype(int)
    ][:count]
    firsts = range(0, len(chosen), batch)
    for first in firsts if place is None else place.own(firsts):
        stills = []
        for crops, row in chosen[first : first + batch]:
            try:
                stills.append(_still(crops.crop(row), crops, mask_distance))
            except HandkitError as error:
                logger.warning("left out: %s", error.what)
        if stills:
            yield collate(stills)


class _Reader:
    """Makes a batch of the pictures at some places; in `failures` what could not be read."""

    def __init__(self, sources: Sequence[HandCrops], order: MixedOrder, seed: int, mask_distance: bool) -> None:
        self.sources, self.order, self.seed, self.mask_distance = sources, order, seed, mask_distance

    def __call__(self, places: Sequence[int]) -> Batch:
        failures: list[str] = []
        stills = []
        for place in places:
            source, index = self.order[place]
            crops = self.sources[source]
            rng = np.random.default_rng((self.seed, _CROPS, place))
            stills.append(_still(_readable(crops, index, rng, failures), crops, self.mask_distance))
        return {**collate(stills), "failures": failures}


def _readable(crops: HandCrops, index: int, rng: np.random.Generator, failures: list[str]) -> HandSample:
    """The crop of a picture, or of the first after it that can be read."""
    failed: list[HandkitError] = []
    for step in range(min(_TRIES, len(crops))):
        try:
            sample = crops.crop((index + step) % len(crops), rng)
        except HandkitError as error:
            failed.append(error)
        else:
            failures += [error.what for error in failed]
            return sample
    what = f"{len(failed)} pictures in a row cannot be used; the last: {failed[-1].what}"
    raise HandkitError(what, failed[-1].fix)


def _still(sample: HandSample, crops: HandCrops, mask_distance: bool) -> dict[str, Any]:
    """A sample as a sequence of one frame, with what a batch has beside the schema."""
    extra: dict[str, Any] = {"root_is_palm": np.asarray(crops.root_is_palm)}
    if mask_distance:
        extra["mask_distance"] = mask_distance_px(sample["mask"] > 0)
    return {**stack_samples([{**sample, **extra}]), "key": f"{sample['dataset']}/{sample['name']}"}


def _check_sources(crops: Sequence[HandCrops], weights: Sequence[float]) -> None:
    if not crops or not all(weight > 0 for weight in weights):
        raise HandkitError(f"data sets of weights {list(weights)}", "give at least one, each of a weight above 0")
    if not all(len(each) for each in crops):
        raise HandkitError("a data set has no pictures", "take it away, or choose more of its rows")
    sizes = sorted({each.size for each in crops})
    if len(sizes) > 1:
        raise HandkitError(f"crops of {' and '.join(map(str, sizes))} pixels in one batch", "give one size for all")
