"""The pairs that HandNet's stereo stages learn from: a folder of `handkit generate stereo`, given or made first."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from handkit.checkpoint import CheckpointInfo
from handkit.data.handnet_batches import StereoCropBatches
from handkit.data.staged_batches import Batch
from handkit.data.stereo import StereoDataset
from handkit.errors import HandkitError
from handkit.hand.model import HandModel, load_hand
from handkit.inference.trained import box_scale, crop_size
from handkit.methods.handnet_stereo_recipe import HandNetStereoRecipe
from handkit.nets.handnet import HandNet
from handkit.runs.made_pairs import MADE, make_pairs
from handkit.runs.result import loading_workers
from handkit.train import Place

logger = logging.getLogger(__name__)

_AT_ONCE: Final = 32  # pairs that are chosen by


@dataclass(frozen=True, eq=False)
class PairData:
    """Pairs to learn from and others to choose by; `pairs` is None where they are still to be made (a dry run)."""

    settings: HandNetStereoRecipe
    hand: HandModel
    size: int
    box_scale: float
    want_image: bool
    folder: Path
    pairs: StereoDataset | None = None
    _made: list[Batch] = field(default_factory=list)

    @property
    def count(self) -> int:
        """All pairs there are."""
        return self.settings.data.pairs if self.pairs is None else len(self.pairs)

    @property
    def learned(self) -> NDArray[np.int64]:
        """The first ones, all but the share that is held out."""
        return np.arange(self.count - round(self.settings.data.held_out * self.count))

    @property
    def epoch(self) -> int:
        """How many make an epoch."""
        return self.settings.data.epoch or len(self.learned)

    @property
    def words(self) -> str:
        return f"{len(self.learned)} of {self.count} in {self.folder}"

    @property
    def held_out(self) -> "HeldOutPairs":
        return HeldOutPairs(self)

    def training(self, batch: int) -> StereoCropBatches:
        """Varied crops, endless; a batch has so many pairs."""
        data = self.settings.data
        noise = None if data.noise is None else data.noise.model_copy(update={"missing": data.missing})
        if noise is None and data.missing:
            raise HandkitError("data.noise is off, so no keypoints can be missing", "set data.missing=0")
        crop = data.crop.model_dump()
        return self._batches(
            self.learned, batch, self.settings.train.seed, noise=noise, workers=loading_workers(data.workers), **crop
        )

    def validation(self, place: Place) -> Iterator[Batch]:
        """Centred crops of held-out pairs, their keypoints as noisy as in use, none missing."""
        data = self.settings.data
        noise = None if data.noise is None else data.noise.model_copy(update={"missing": 0.0})
        rows = np.arange(len(self.learned), self.count)[: data.validation_pairs]
        source = self._batches(rows, min(_AT_ONCE, len(rows)), 0, noise=noise)
        return iter(source.fixed(len(rows), _AT_ONCE, place))

    def to_json(self) -> dict[str, Any]:
        held_out = self.count - len(self.learned)
        chosen = min(held_out, self.settings.data.validation_pairs)
        return {
            "source": str(self.folder),
            "learned_from": len(self.learned),
            "held_out": held_out,
            "chosen_by": chosen,
            "epoch": self.epoch,
        }

    def _batches(self, rows: NDArray[np.int64], batch: int, seed: int, **options: Any) -> StereoCropBatches:
        if self.pairs is None:
            raise ValueError("the pairs are not made yet")
        return StereoCropBatches(
            self.pairs,
            self.hand,
            batch=batch,
            seed=seed,
            rows=rows,
            size=self.size,
            box_scale=self.box_scale,
            want_image=self.want_image,
            **options,
        )


@dataclass(frozen=True, eq=False)
class HeldOutPairs:
    """Batches that are always the same, kept in memory once made."""

    data: PairData

    def batches(self, place: Place) -> Iterator[Batch]:
        if not self.data._made:
            self.data._made.extend(self.data.validation(place))
        yield from self.data._made


def find_pairs(
    out: Path,
    settings: HandNetStereoRecipe,
    network: HandNet,
    info: CheckpointInfo,
    *,
    dry_run: bool = False,
    device: str = "auto",
    force: bool = False,
    show_progress: bool = False,
) -> PairData:
    """Open the recipe's pairs, or make them in OUT/pairs as far as they are not there, by the first process.

    Crops are those of the network `info` is of. Raises HandkitError for shards that are missing, damaged or too few,
    and KeyboardInterrupt where the making was interrupted.
    """
    hand = load_hand(str(info.data.get("hand", "open")), "right")
    given = settings.data.shards
    folder = out / MADE if given is None else Path(given)
    found = PairData(
        settings,
        hand,
        size=crop_size(info),
        box_scale=box_scale(info),
        want_image=network.inputs != "keypoints",
        folder=folder,
    )
    if given is None and dry_run:
        return found
    if given is None:
        make_pairs(
            folder,
            recipe=settings.data.recipe,
            pairs=settings.data.pairs,
            hand=str(info.data.get("hand", "open")),
            seed=settings.train.seed,
            precision=settings.train.precision,
            device=device,
            force=force,
            show_progress=show_progress,
        )
    pairs = StereoDataset(folder)
    learned = len(pairs) - round(settings.data.held_out * len(pairs))
    if not 0 < learned < len(pairs):
        raise HandkitError(f"{folder} has {len(pairs)} pairs, too few to hold some out", "make more of them")
    own = pairs[0]["right"]["hand_model"]
    if own != hand.name:
        raise HandkitError(
            f"{folder} holds hands of the model {own!r}, and the network was trained with {hand.name!r}",
            f"make pairs by `handkit generate stereo --hand-model {hand.name}`",
        )
    return PairData(settings, hand, found.size, found.box_scale, found.want_image, folder, pairs)
