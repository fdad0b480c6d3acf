"""Batches of windows of sequences: [M, n, ...] crops of n frames of each of M hands, without end.

Beside the keys of the schema a batch has `key`, who its M windows are, and `places` int64 [M, n], the samples that they
are in the data set. The frames of a window are turned, stretched, shifted and coloured alike, each about its own hand,
so that no motion is made here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from handkit.data.batch_numbers import Batch, check_batch, load_numbered
from handkit.data.color_jitter import ColorJitter
from handkit.data.crops import HandCrops
from handkit.data.detected import DetectedHands
from handkit.data.sample import collate, stack_samples
from handkit.detect.crop import CROP_SCALE
from handkit.errors import HandkitError

if TYPE_CHECKING:
    from handkit.train import Place

# What random numbers of one seed are for.
_WINDOWS, _CROPS = range(2)


class WindowBatches:
    """Batches of windows of `frames` frames, `interval` apart, one of each of `sequences` sequences drawn at random.

    Each sequence with a window is equally likely, and each window in it (S2HAND(V), 4.2: first m sequences, then n
    frames in each). A number always gives the same batch, whatever the number of `workers` and processes. Crops vary
    as `HandCrops` says. Raises HandkitError where no run of the data is long enough for a window.
    """

    def __init__(
        self,
        dataset: DetectedHands,
        *,
        sequences: int,
        frames: int,
        interval: int,
        size: int,
        seed: int = 0,
        workers: int = 0,
        box_scale: float = CROP_SCALE,
        reposition: float = 1.0,
        rotate_deg: float = 0.0,
        scale_jitter: float = 0.0,
        color_jitter: ColorJitter | None = None,
    ) -> None:
        check_batch(sequences, None, "sequences")
        windows = find_windows(dataset, frames=frames, interval=interval)
        crops = HandCrops(
            dataset,
            size=size,
            box_scale=box_scale,
            reposition=reposition,
            rotate_deg=rotate_deg,
            scale_jitter=scale_jitter,
            color_jitter=color_jitter,
        )
        self.batch, self.workers = sequences, workers
        self.usable_frames = len(np.unique(windows))
        self.length = max(self.usable_frames // (sequences * frames), 1)
        self._reader = _Reader(crops, windows, dataset.sequences[windows[:, 0]], seed)

    def __len__(self) -> int:
        """Windows in the data."""
        return len(self._reader.windows)

    def batches(self, start: int, place: Place) -> Iterator[Batch]:
        """This process's rows of the batches from number `start` on; an epoch has `length` of them."""
        pin = torch.device(place.device).type == "cuda"
        return load_numbered(
            self._reader, batch=self.batch, start=start, place=place, workers=self.workers, pin_memory=pin
        )


class _Reader:
    """Makes a batch of what is at some places of the endless row."""

    def __init__(self, crops: HandCrops, windows: NDArray[np.int64], sequences: NDArray[np.int64], seed: int) -> None:
        self.crops, self.windows, self.seed = crops, windows, seed
        self.firsts = np.flatnonzero(np.diff(sequences, prepend=-1))
        self.ends = np.append(self.firsts[1:], len(windows))

    def __call__(self, places: Sequence[int]) -> Batch:
        return stack_samples([self._window(place) for place in places])

    def _window(self, place: int) -> dict[str, Any]:
        rng = np.random.default_rng((self.seed, _WINDOWS, place))
        sequence = rng.integers(len(self.firsts))
        window = self.windows[rng.integers(self.firsts[sequence], self.ends[sequence])]
        return _cut(self.crops, window, (self.seed, _CROPS, place))


def find_windows(dataset: DetectedHands, *, frames: int, interval: int) -> NDArray[np.int64]:
    """`DetectedHands.windows`; HandkitError, with what there is, where there is none."""
    windows = dataset.windows(frames, interval)
    if not len(windows):
        longest = max((int(np.ptp(dataset.frames[run])) + 1 for run in dataset.runs()), default=0)
        what = (
            f"no {frames} frames, {interval} apart, show one hand without a jump: of {len(dataset)} usable hands the "
            f"longest run spans {longest} frame{'s' * (longest != 1)}, and {(frames - 1) * interval + 1} are needed"
        )
        raise HandkitError(what, "give longer videos, or lower --set data.interval or --set data.frames")
    return windows


def fixed_windows(
    dataset: DetectedHands,
    *,
    count: int,
    frames: int,
    interval: int,
    size: int,
    batch: int,
    box_scale: float = CROP_SCALE,
    place: Place | None = None,
) -> Iterator[Batch]:
    """Batches of `count` windows as centred crops, always the same, spread evenly; the last batch is smaller.

    With a `place` only this process's share of the batches. Raises HandkitError as `WindowBatches` does.
    """
    crops = HandCrops(dataset, size=size, box_scale=box_scale)
    windows = find_windows(dataset, frames=frames, interval=interval)
    chosen = windows[np.linspace(0, len(windows) - 1, min(count, len(windows))).round().astype(int)]
    firsts = range(0, len(chosen), batch)
    for first in firsts if place is None else place.own(firsts):
        yield collate([_cut(crops, window) for window in chosen[first : first + batch]])


def _cut(crops: HandCrops, window: NDArray[np.int64], seed: tuple[int, ...] | None = None) -> dict[str, Any]:
    """The crops of a window, all varied by the same numbers where there is a `seed`."""
    rngs = (None if seed is None else np.random.default_rng(seed) for _ in window)
    samples = [crops.crop(int(row), rng) for row, rng in zip(window, rngs, strict=True)]
    key = f"{samples[0]['dataset']}/{samples[0]['name']}"
    return {**stack_samples(samples), "places": window, "key": key}
