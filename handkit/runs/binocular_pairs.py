"""The pairs that a binocular network learns from, and others by which it is chosen."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Unpack

from handkit.checkpoint import CheckpointInfo
from handkit.data.binocular_batches import PairBatches
from handkit.data.handnet_crops import Centre
from handkit.data.staged_batches import Batch
from handkit.errors import HandkitError
from handkit.hand.model import HandModel, load_hand
from handkit.inference.trained import box_scale, crop_size
from handkit.methods.binocular_recipe import BinocularRecipe
from handkit.runs.binocular_sources import PairSource, find_source
from handkit.runs.result import RunOptions, loading_workers
from handkit.train import Place

logger = logging.getLogger(__name__)

_AT_ONCE: Final = 16  # pairs that are chosen by
_MIB: Final = 2**20


@dataclass(frozen=True, eq=False)
class BinocularPairs:
    """Pairs of a source as crops of `size` px, `box_scale` times the hand's longer side, about its `centre`.

    Crops stay in memory, as far as they may, for all runs that learn from the same object.
    """

    settings: BinocularRecipe
    source: PairSource
    hand: HandModel
    size: int
    box_scale: float
    _made: list[Batch] = field(default_factory=list)
    _learned: dict[int, PairBatches] = field(default_factory=dict)

    @property
    def centre(self) -> Centre:
        return self.settings.data.centre or self.source.centre

    @property
    def learned(self) -> NDArray[np.int64]:
        """The first ones, all but the share that is held out."""
        return np.arange(self.source.count - round(self.settings.data.held_out * self.source.count))

    @property
    def chosen_by(self) -> NDArray[np.int64]:
        """Of the held-out ones as many as are wanted, spread over all, in their order."""
        first, count = len(self.learned), self.source.count - len(self.learned)
        wanted = min(count, self.settings.data.validation_pairs)
        return first + np.arange(wanted) * count // max(1, wanted)

    @property
    def epoch(self) -> int:
        """How many make an epoch."""
        return self.settings.data.epoch or len(self.learned)

    @property
    def words(self) -> str:
        return f"{len(self.learned)} of {self.source.count} pairs, {self.source.words}"

    def training(self, batch: int) -> PairBatches:
        """Endless; a batch has so many pairs."""
        if batch not in self._learned:
            workers = loading_workers(self.settings.data.workers)
            self._learned[batch] = self._batches(self.learned, batch, workers=workers)
        return self._learned[batch]

    def batches(self, place: Place) -> Iterator[Batch]:
        """Held-out pairs, always the same, kept in memory once made."""
        if not self._made:
            rows = self.chosen_by
            source = self._batches(rows, min(_AT_ONCE, len(rows)))
            self._made.extend(source.fixed(len(rows), _AT_ONCE, place))
        yield from self._made

    def to_json(self) -> dict[str, Any]:
        return {
            **self.source.to_json(),
            "learned_from": len(self.learned),
            "held_out": self.source.count - len(self.learned),
            "chosen_by": len(self.chosen_by),
            "epoch": self.epoch,
            "centre": self.centre,
            "masks": self.settings.data.masks,
        }

    def _batches(self, rows: NDArray[np.int64], batch: int, *, workers: int = 0) -> PairBatches:
        if self.source.pairs is None:
            raise ValueError("the pairs are not made yet")
        data = self.settings.data
        return PairBatches(
            self.source.pairs,
            self.hand,
            batch=batch,
            size=self.size,
            box_scale=self.box_scale,
            centre=self.centre,
            masks=data.masks or "off",
            noise=data.noise,
            seed=self.settings.train.seed,
            together=min(data.together, len(rows)),
            rows=rows,
            workers=workers,
            keep_bytes=data.keep_mib * _MIB,
        )


def find_pairs(
    out: Path, settings: BinocularRecipe, info: CheckpointInfo, *, dry_run: bool = False, **options: Unpack[RunOptions]
) -> BinocularPairs:
    """The recipe's pairs as the prior `info` is of sees hands; some are held out.

    Raises HandkitError as `find_source`, and where there are too few pairs.
    """
    hand = load_hand(str(info.data.get("hand", "open")), "right")
    source = find_source(out, settings, hand.name, dry_run=dry_run, **options)
    found = BinocularPairs(settings, source, hand, size=crop_size(info), box_scale=box_scale(info))
    learned, batch = len(found.learned), settings.learning.batch
    if not batch <= learned < source.count:
        what = f"{source.words} has {source.count} pairs, of which {learned} are learned from, {batch} at a time"
        raise HandkitError(what, "give more pairs, a smaller learning.batch or another data.held_out")
    if source.hand_model and source.hand_model != hand.name:
        said = "pairs are of the hand %r, the prior of %r: vertices are not measured against labels"
        logger.warning(said, source.hand_model, hand.name)
    return found
