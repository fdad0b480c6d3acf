"""Flat rows of hands, of the samples of any source, and the batches that are made of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from handkit.data.batch_numbers import Batch
from handkit.data.handnet_crops import (
    ROW_KEYS,
    CropSettings,
    cut_crops,
    draw_changes,
    find_keypoints,
    mirrors,
    no_changes,
)
from handkit.hand.model import HandModel

if TYPE_CHECKING:
    from handkit.train import Place

# What random numbers of one seed are for.
_VARIED: Final = 0x8A1D
_FIXED: Final = 0x8A1E


@dataclass(frozen=True)
class RowCutter:
    """Makes a batch of flat rows of the schema."""

    hand: HandModel
    seed: int
    settings: CropSettings

    def __call__(
        self, rows: dict[str, Any], number: int, place: Place, *, varied: bool, views: int = 1
    ) -> tuple[Batch, Float[Tensor, "N 3 3"]]:
        """The batch of a number, and by which matrix each row's points have moved in its camera's frame.

        Rows are those of this process, of `views` one after the other, which are turned alike.
        """
        each = len(rows["key"]) // views
        total = each * place.ranks
        own = np.concatenate([total * view + each * place.rank + np.arange(each) for view in range(views)])
        return self._cut(rows, number, own, views * total, varied=varied, views=views)

    def still(self, rows: dict[str, Any], number: int, *, views: int = 1) -> tuple[Batch, Float[Tensor, "N 3 3"]]:
        """The same, not varied, where no other process has rows of that batch."""
        return self._cut(rows, number, np.arange(len(rows["key"])), len(rows["key"]), varied=False, views=views)

    def _cut(
        self, rows: dict[str, Any], number: int, own: NDArray[np.int64], count: int, *, varied: bool, views: int
    ) -> tuple[Batch, Float[Tensor, "N 3 3"]]:
        """Of the `own` rows of the `count` of a batch."""
        rng = np.random.default_rng((self.seed, number, _VARIED if varied else _FIXED))
        device, each = rows["is_right"].device, len(own) // views
        mirror = mirrors(rows)
        found = find_keypoints(rows, mirror, self.settings.noise, rng, count, own)
        changes = draw_changes(rng, count, own, device) if varied else no_changes(len(own), device)
        changes = replace(changes, turn=changes.turn[:each].repeat(views))
        is_own, is_anothers = self._whose(rows)
        rows = {**rows, "vertices_valid": rows["vertices_valid"] & ~is_anothers}  # a mesh of other vertices
        batch, R = cut_crops(rows, mirror, found, changes, self.settings, hand=self.hand, is_own=is_own)
        return {**batch, "key": rows["key"]}, R

    def _whose(self, rows: dict[str, Any]) -> tuple[Bool[Tensor, " N"], Bool[Tensor, " N"]]:
        """Whether parameters are those of `hand`, and whether of another model; with no name neither."""
        own = torch.tensor([name == self.hand.name for name in rows["hand_model"]])
        named = torch.tensor([bool(name) for name in rows["hand_model"]])
        device = rows["is_right"].device
        return own.to(device), (named & ~own).to(device)


def flat_rows(batch: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """The rows of sequences [M, T, ...], or of samples [M, ...], on the device; a palm's centre is no wrist."""
    is_sequence = batch["is_right"].ndim > 1
    rows: dict[str, Any] = {}
    for key in ROW_KEYS:
        value = batch[key].to(device, non_blocking=True)
        rows[key] = value.flatten(0, 1) if is_sequence else value
    names = batch["hand_model"]
    rows["hand_model"] = [name for row in names for name in row] if is_sequence else list(names)
    rows["key"] = _keys(batch, is_sequence)
    if "root_is_palm" in batch:
        is_palm = batch["root_is_palm"].to(device).reshape(-1)
        for flag in ("joints_2d_valid", "joints_3d_valid"):
            rows[flag] = rows[flag].clone()
            rows[flag][:, 0] &= ~is_palm
    return rows


def _keys(batch: Mapping[str, Any], is_sequence: bool) -> list[str]:
    """Who each row is: a sequence's frames are told apart by their places in it."""
    if not is_sequence:
        return [f"{dataset}/{name}" for dataset, name in zip(batch["dataset"], batch["name"], strict=True)]
    frames = batch["is_right"].shape[1]
    return (
        list(batch["key"]) if frames == 1 else [f"{key}/{frame:03d}" for key in batch["key"] for frame in range(frames)]
    )
