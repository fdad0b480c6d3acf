"""Batches of crops and keypoints for HandNet, of any source of samples.

A batch is flat rows, one for each hand: of sequences frame after frame, of pairs all right views and then all left
ones.

| key | shape, type | unit, meaning |
|---|---|---|
| image | [N, 3, S, S] uint8 | RGB; with `want_image` |
| mask, mask_valid | [N, S, S] uint8, [N] bool | 1 where a pixel shows this hand; with `want_image` |
| keypoints, keypoint_scores | [N, 21, 2], [N, 21] | what a detector finds, widths; zeros where it finds nothing |
| pose, pose_valid | [N, 48], [N] | see `handkit.hand.weak.encode_pose`; of parameters of the own hand model |
| betas, betas_valid | [N, 10], [N] | the same |
| joints_2d, joints_2d_valid | [N, 21, 2], [N, 21] | widths |
| joints_3d, joints_3d_valid | [N, 21, 3], [N, 21] | m, about the wrist, crop axes |
| vertices, vertices_valid | [N, 778, 3], [N] | the same; not of another hand model |
| K, wrist, K_valid | [N, 3, 3], [N, 3], [N] | px of the crop; m, where the wrist is in that camera; both are known |
| key | list of N str | who it is |
| right_from_left | [N / 2, 3, 4] | of pairs: x_right = R x_left + t, m, in the cameras of the crops |

Convention: every hand is a right one; pictures of left hands are mirrored, and everything with them. The mirror image
of a left hand's right picture is what a left camera would see of a right hand: it is that pair's left view. Crops are
cut about the keypoints that were found, as demo cuts them, about the true joints where none were.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import Unpack

from handkit.data.batch_numbers import Batch, EpochOrder, as_tensors, check_batch, load_numbered
from handkit.data.handnet_crops import CropOptions, CropSettings
from handkit.data.handnet_rows import RowCutter, flat_rows
from handkit.data.sample import stack_samples
from handkit.data.staged_batches import BatchSource
from handkit.data.stereo import StereoDataset
from handkit.hand.model import HandModel

if TYPE_CHECKING:
    from handkit.train import Place


class HandCropBatches:
    """Crops of the samples of a `source`, as `settings` say (`CropSettings`); every batch of the source is one.

    The same number gives the same batch, whatever the number of processes.
    """

    def __init__(
        self,
        source: BatchSource,
        hand: HandModel,
        *,
        seed: int = 0,
        **settings: Unpack[CropOptions],
    ) -> None:
        self.source = source
        self._cutter = RowCutter(hand, seed, CropSettings(**settings))

    def batches(self, start: int, place: Place) -> Iterator[Batch]:
        """This process's rows of the batches from number `start` on."""
        for number, batch in zip(count(start), self.source.batches(start, place), strict=False):
            yield self._cutter(flat_rows(batch, place.device), number, place, varied=True)[0]

    def fixed(self, number: int, batch: int, place: Place) -> list[Batch]:
        """The source's first `number` hands, centred, in batches in their order, the last one smaller.

        Only this process's share of the batches; their keypoints are as noisy as others'.
        """
        alone, made, left = replace(place, rank=0, ranks=1), [], number
        for index, one in enumerate(self.source.batches(0, alone)):
            hands, _ = self._cutter(flat_rows(one, place.device), index, alone, varied=False)
            made.append(_part(hands, slice(left)))
            left -= len(made[-1]["key"])
            if left <= 0:
                break
        every = _joined(made)
        return list(place.own(_part(every, slice(first, first + batch)) for first in range(0, number, batch)))


class StereoCropBatches:
    """Crops of both views of the pairs of `source`, shards of `handkit generate stereo`; a batch is of so many pairs.

    `rows` are the pairs to take, all unless told; every epoch gives each once, in an order by (seed, epoch). The views
    are cut and moved each on its own, but turned alike: a turn of a picture is one of its camera about its axis, and
    turns `right_from_left` with it, which then is no longer along x. All else as for `HandCropBatches`.
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | StereoDataset,
        hand: HandModel,
        *,
        batch: int,
        seed: int = 0,
        rows: Sequence[int] | NDArray[np.integer] | None = None,
        workers: int = 0,
        **settings: Unpack[CropOptions],
    ) -> None:
        pairs = source if isinstance(source, StereoDataset) else StereoDataset(source)
        chosen = np.arange(len(pairs)) if rows is None else np.asarray(rows, np.int64)
        check_batch(batch, len(chosen), "pairs")
        self.batch, self.workers, self.pairs = batch, workers, len(chosen)
        self._reader = _PairReader(pairs, chosen, EpochOrder(len(chosen), seed=seed))
        self._cutter = RowCutter(hand, seed, CropSettings(**settings))

    def __len__(self) -> int:
        """Pairs in an epoch."""
        return self.pairs

    def batches(self, start: int, place: Place) -> Iterator[Batch]:
        """This process's rows of the batches from number `start` on."""
        pin = place.device.type == "cuda"
        made = load_numbered(
            self._reader, batch=self.batch, start=start, place=place, workers=self.workers, pin_memory=pin
        )
        for number, batch in zip(count(start), made, strict=False):
            yield self._cut(batch, number, place, varied=True)

    def fixed(self, number: int, batch: int, place: Place) -> list[Batch]:
        """The first `number` pairs, centred, in batches in their order, the last one smaller; as `HandCropBatches`."""
        read = replace(self._reader, order=EpochOrder(self.pairs, seed=None))
        alone, number = replace(place, rank=0, ranks=1), min(number, self.pairs)
        parts = [range(first, min(first + batch, number)) for first in range(0, number, batch)]
        own = place.own(enumerate(parts))
        return [self._cut(as_tensors(read(part)), index, alone, varied=False) for index, part in own]

    def _cut(self, batch: Batch, number: int, place: Place, *, varied: bool) -> Batch:
        right, left = (flat_rows(one, place.device) for one in (batch["right"], batch["left"]))
        own_side = right["is_right"]
        rows = {key: _views(own_side, right[key], left[key]) for key in right}
        made, R = self._cutter(rows, number, place, varied=varied, views=2)
        between = batch["right_from_left"].to(place.device).double()
        return {**made, "right_from_left": pair_after(between, ~own_side, *R.chunk(2)).float()}


def pair_after(
    right_from_left: Float[Tensor, "M 3 4"],
    exchanged: Bool[Tensor, " M"],
    right_axes: Float[Tensor, "M 3 3"],
    left_axes: Float[Tensor, "M 3 3"],
) -> Float[Tensor, "M 3 4"]:
    """[R|t] of pairs whose views have changed places where `exchanged`, and then moved points by x -> axes x."""
    R, t = right_from_left[..., :3], right_from_left[..., 3:]
    other = torch.cat([R.mT, -R.mT @ t], -1)
    between = torch.where(exchanged[:, None, None], other, right_from_left)
    return torch.cat([right_axes @ between[..., :3] @ left_axes.mT, right_axes @ between[..., 3:]], -1)


@dataclass(frozen=True)
class _PairReader:
    """Makes a batch of the pairs at some places."""

    pairs: StereoDataset
    chosen: NDArray[np.int64]
    order: EpochOrder

    def __call__(self, places: Sequence[int]) -> Batch:
        return stack_samples([self.pairs[int(self.chosen[self.order[place]])] for place in places])


def _views(is_right: Bool[Tensor, " M"], right: Any, left: Any) -> Any:
    """Right views and then left ones, which left hands have the other way round."""
    if isinstance(right, list):
        each = list(zip(is_right.tolist(), right, left, strict=True))
        return [a if side else b for side, a, b in each] + [b if side else a for side, a, b in each]
    own = is_right[(..., *(None,) * (right.ndim - 1))]
    return torch.cat([torch.where(own, right, left), torch.where(own, left, right)])


def _part(batch: Batch, rows: slice) -> Batch:
    return {key: value[rows] for key, value in batch.items()}


def _joined(batches: Sequence[Batch]) -> Batch:
    def join(values: Sequence[Any]) -> Any:
        return torch.cat(list(values)) if isinstance(values[0], Tensor) else [one for value in values for one in value]

    return {key: join([batch[key] for batch in batches]) for key in batches[0]}
