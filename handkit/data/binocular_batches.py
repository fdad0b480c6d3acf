"""Batches of both views of hands, as a network that learns from pairs without labels takes them.

Keys, rows and conventions are those of `handkit.data.handnet_batches` for pairs: all right views and then all left
ones, pairs of left hands mirrored, their views exchanged. Besides

| key | shape, type | unit, meaning |
|---|---|---|
| sequence | [M] int64 | the same number for pairs of one sequence, of one hand; one of its own without a name |

K is known of every row, also where `K_valid` is False as the wrist is not; where the truth has a palm's centre in place
of the wrist there is none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from typing import TYPE_CHECKING, Final, Literal, cast, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from handkit.data.annotations import check_choice
from handkit.data.batch_numbers import Batch, EpochOrder, as_tensors, check_batch, load_asked
from handkit.data.handnet_batches import pair_after
from handkit.data.handnet_crops import CENTRES, Centre, CropSettings
from handkit.data.handnet_rows import RowCutter, flat_rows
from handkit.data.kept_rows import KeptRows
from handkit.data.keypoint_noise import KeypointNoise
from handkit.data.pair_masks import mask_of_keypoints
from handkit.data.sample import HandSample, StereoSample, stack_samples
from handkit.errors import HandkitError
from handkit.hand.model import HandModel
from handkit.segment import SegmenterName

if TYPE_CHECKING:
    from handkit.train import Place

Masks = Literal["grabcut", "hsv", "given", "off"]
MASKS: Final[tuple[Masks, ...]] = get_args(Masks)


class PairBatches:
    """Crops of both views of the pairs of any `source`, centred and upright; a batch is of so many pairs.

    Crops are of `size` px, `box_scale` and `centre` as `CropSettings` has them, about the keypoints that are found:
    true joints, off by `noise`, or a detector's where the source has no joints. Masks are those "given", labels, or
    made of colours, "grabcut" or "hsv", begun by the keypoints (`pair_masks`); then the source's are not looked at, and
    `mask_valid` is False where too few keypoints are found.

    Crops, keypoints and masks of a pair depend on `seed` and its number in the source alone. Pairs are cut once, by
    `workers` processes if there are any, and stay in memory while there is room in `keep_bytes`. `rows` are the pairs
    to take, all unless told; every epoch gives each once, in an order by (seed, epoch) in which so many neighbours stay
    `together`: of those of one sequence a batch then has several.
    Raises HandkitError for a pair without cameras, or of hands of two sides.
    """

    def __init__(
        self,
        source: Dataset[StereoSample],
        hand: HandModel,
        *,
        batch: int,
        size: int,
        box_scale: float = 1.5,
        centre: Centre = "box",
        masks: Masks = "grabcut",
        noise: KeypointNoise | None = None,
        seed: int = 0,
        together: int = 1,
        rows: Sequence[int] | NDArray[np.integer] | None = None,
        workers: int = 0,
        keep_bytes: int = 2**30,
    ) -> None:
        pairs = len(cast(Sized, source))
        self.rows: NDArray[np.int64] = np.arange(pairs) if rows is None else np.asarray(rows, np.int64)
        check_batch(batch, len(self.rows), "pairs")
        check_choice("centre of crops", centre, CENTRES)
        settings = CropSettings(size=size, box_scale=box_scale, centre=centre, noise=noise)
        check_choice("masks", masks, MASKS)
        check_batch(together, len(self.rows), "neighbours that stay together")
        self._cutter = PairCutter(source, RowCutter(hand, seed, settings), masks)
        self.batch, self.seed, self.workers, self.keep_bytes = batch, seed, workers, keep_bytes
        self.together = together

    def __len__(self) -> int:
        """Pairs in an epoch."""
        return len(self.rows)

    def batches(self, start: int, place: Place) -> Iterator[Batch]:
        """This process's rows of the batches from number `start` on."""
        order, share = EpochOrder(len(self), seed=self.seed, together=self.together), place.share(self.batch)

        def wanted() -> Iterator[list[int]]:
            for number in count(start):
                places = range(number * self.batch, (number + 1) * self.batch)[share]
                yield [int(self.rows[order[at]]) for at in places]

        return self._batches(wanted, place)

    def fixed(self, number: int, batch: int, place: Place) -> list[Batch]:
        """The first `number` pairs, in batches in their order, the last one smaller; only this process's share."""
        first = self.rows[: max(0, number)].tolist()
        own = list(place.own(first[at : at + batch] for at in range(0, len(first), batch)))
        return list(self._batches(lambda: own, place))

    @cached_property
    def _kept(self) -> KeptRows:
        """Begun by a first pair, which says how large they are."""
        first = as_tensors(self._cutter(self.rows[:1].tolist()))
        return KeptRows(first, len(np.unique(self.rows)), self.keep_bytes)

    def _batches(self, wanted: Callable[[], Iterable[Sequence[int]]], place: Place) -> Iterator[Batch]:
        """One for each of the lists of pairs that are `wanted`; what is not in memory is cut ahead of them."""
        missing = self._kept.missing(wanted())
        made = load_asked(self._cutter, missing, workers=self.workers)
        for numbers in wanted():
            fresh: Batch = next(made, {})
            self._kept.add(fresh)
            there = {*self._kept.places, *fresh.get("number", ())}
            lost = [number for number in numbers if number not in there]  # room that was taken meanwhile
            parts = [fresh, as_tensors(self._cutter(lost))] if lost else [fresh]
            batch = self._kept.take(numbers, parts)
            yield {key: value.to(place.device) if isinstance(value, Tensor) else value for key, value in batch.items()}


@dataclass(frozen=True)
class PairCutter:
    """Cuts the pairs of some numbers: tensors [2, M, ...], right views first, and [1, M, ...] of what is of a pair."""

    source: Dataset[StereoSample]
    cutter: RowCutter
    masks: Masks

    def __call__(self, numbers: Sequence[int]) -> Batch:
        made = [self._pair(int(number)) for number in numbers]
        if not made:
            return {}
        stacked: Batch = {key: torch.stack([each[key] for each in made], 1) for key in made[0] if key != "key"}
        return {**stacked, "key": [each["key"] for each in made], "number": list(numbers)}

    def _pair(self, number: int) -> Batch:
        pair = self.source[number]
        is_right = bool(pair["right"]["is_right"])
        right, left = (pair["right"], pair["left"]) if is_right else (pair["left"], pair["right"])
        _check(right, left)
        stacked = as_tensors(stack_samples([right, left]))
        palm = torch.full((2,), getattr(self.source, "root_joint", None) == "palm")
        rows = flat_rows({**stacked, "root_is_palm": palm}, torch.device("cpu"))
        by_colour = self.masks in ("grabcut", "hsv")
        if self.masks != "given":  # all of the picture in place of the truth
            rows |= {"mask": torch.ones_like(rows["mask"]), "mask_valid": torch.full((2,), by_colour)}
        made, R = self.cutter.still(rows, number, views=2)
        if by_colour:
            made |= self._masks(made)
        between = torch.from_numpy(pair["right_from_left"]).double()[None]
        between = pair_after(between, torch.tensor([not is_right]), *R.chunk(2)).float()
        return {**made, "right_from_left": between, "sequence": torch.tensor([_sequence(pair["left"], number)])}

    def _masks(self, made: Batch) -> Batch:
        """By the colours of both crops, within the picture."""
        images = np.ascontiguousarray(made["image"].numpy().transpose(0, 2, 3, 1))
        points, scores = made["keypoints"].numpy() * images.shape[1], made["keypoint_scores"].numpy()
        name = cast(SegmenterName, self.masks)
        found = np.stack([mask_of_keypoints(*view, name) for view in zip(images, points, scores, strict=True)])
        mask = torch.from_numpy(found) & (made["mask"] > 0)
        return {"mask": mask.to(torch.uint8), "mask_valid": mask.flatten(1).any(1)}


def _check(right: HandSample, left: HandSample) -> None:
    who = f"{right['dataset']}/{right['name']}"
    if not (right["K_valid"] and left["K_valid"]):
        raise HandkitError(f"{who}: a view has no camera", "give pairs of calibrated cameras")
    if right["is_right"] != left["is_right"]:
        raise HandkitError(f"{who}: one view shows a right hand, the other a left one", "give pairs of one hand")


def _sequence(sample: HandSample, number: int) -> int:
    """A number of the sequence's name, the same wherever it is met; one below zero of the pair where it has none."""
    if not sample["sequence"]:
        return -1 - number
    name = f"{sample['dataset']}/{sample['sequence']}".encode()
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "big") >> 1
