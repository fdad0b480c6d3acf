"""Where the pairs of `handkit selfsup binocular` come from: views of one's own, a data set, shards, or made first."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch.utils.data import Dataset
from typing_extensions import Unpack

from handkit.data.annotations import check_choice
from handkit.data.gathered_pairs import GatheredPairs
from handkit.data.handnet_crops import Centre
from handkit.data.sample import StereoSample
from handkit.data.stb import StbPairs
from handkit.data.stereo import StereoDataset
from handkit.errors import HandkitError
from handkit.gather.pairs import gather_pairs
from handkit.geometry.disparity import rectify
from handkit.methods.binocular_recipe import BinocularRecipe, PairedSetRecipe
from handkit.runs.made_pairs import MADE, make_pairs
from handkit.runs.result import RunOptions
from handkit.train.place import done_once

logger = logging.getLogger(__name__)

GATHERED: Final = "gathered"
_STB: Final = "stb"
_STB_OPTIONS: Final = ("camera", "root_joint")
_GIVE: Final = (
    "give --data stb=DIR, --shards DIR of `handkit generate stereo`, or --stereo LEFT RIGHT --rig FILE of your own"
)


@dataclass(frozen=True, eq=False)
class PairSource:
    """Pairs in order, None where they are still to be made (a dry run), and what they are."""

    pairs: Dataset[StereoSample] | None
    count: int
    words: str
    centre: Centre = "box"
    gathered: tuple[GatheredPairs, ...] = ()
    hand_model: str = ""

    def lines(self) -> list[str]:
        """What was found in one's own views."""
        return [line for each in self.gathered for line in each.lines()]

    def to_json(self) -> dict[str, Any]:
        known: dict[str, Any] = {"source": self.words, "pairs": self.count}
        return {**known, **({"gathered": [each.to_json() for each in self.gathered]} if self.gathered else {})}


class JoinedPairs(Dataset[StereoSample]):
    """Several data sets of pairs as one, in order; sequences of different ones stay different."""

    def __init__(self, parts: Sequence[GatheredPairs]) -> None:
        self.parts = list(parts)
        self._ends = np.cumsum([len(part) for part in self.parts])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> StereoSample:
        if not 0 <= index < len(self):
            raise IndexError(index)
        part = int(np.searchsorted(self._ends, index, side="right"))
        pair = self.parts[part][index - (int(self._ends[part - 1]) if part else 0)]
        for view in (pair["left"], pair["right"]):
            if view["sequence"]:
                view["sequence"] = f"{part}/{view['sequence']}"
        return pair


def find_source(
    out: Path, settings: BinocularRecipe, hand: str, *, dry_run: bool = False, **options: Unpack[RunOptions]
) -> PairSource:
    """Open the recipe's pairs; hands of one's own views are found, or pairs made, by the first process into `out`.

    Raises HandkitError for sources that are missing, damaged or of another kind, for cameras between which there is no
    depth, and where there is not one pair; KeyboardInterrupt where the making was interrupted.
    """
    data = settings.data
    given = [name for name in ("stereo", "dataset", "shards") if getattr(data, name)]
    if len(given) > 1:
        raise HandkitError(f"pairs of {' and of '.join(given)} at once", "give one of --stereo, --data and --shards")
    if data.stereo:
        source = _own_views(out / GATHERED, settings, hand, **options)
    elif data.dataset is not None:
        source = _data_set(data.dataset)
    elif data.shards is not None:
        source = _shards(Path(data.shards))
    elif dry_run:
        return PairSource(None, data.pairs, f"to be made in {out / MADE}", hand_model=hand)
    else:
        make_pairs(
            out / MADE,
            recipe=settings.data.recipe,
            pairs=data.pairs,
            hand=hand,
            seed=settings.train.seed,
            precision=settings.train.precision,
            **options,
        )
        source = _shards(out / MADE)
    if not source.count:
        raise HandkitError(f"there are no pairs in {source.words}", _GIVE)
    assert source.pairs is not None
    rectify(torch.from_numpy(source.pairs[0]["right_from_left"]).double())
    return source


def _own_views(folder: Path, settings: BinocularRecipe, hand: str, **options: Unpack[RunOptions]) -> PairSource:
    """Of every pair of views, or the error of one where none has any hand."""
    data = settings.data
    found: list[GatheredPairs] = []
    errors: list[HandkitError] = []
    for place in range(len(data.stereo)):
        try:
            found.append(_gathered(folder, settings, place, hand, **options))
        except HandkitError as error:
            errors.append(error)
    if not found:
        raise errors[0]
    for left_out in errors:
        _warn(left_out)
    pairs = found[0] if len(found) == 1 else JoinedPairs(found)
    words = ", ".join(f"{views.left} and {views.right}" for views in data.stereo)
    return PairSource(pairs, sum(map(len, found)), words, gathered=tuple(found))


def _gathered(
    folder: Path, settings: BinocularRecipe, place: int, hand: str, **options: Unpack[RunOptions]
) -> GatheredPairs:
    data, views = settings.data, settings.data.stereo[place]

    def gather(*, tells: bool) -> GatheredPairs:
        return gather_pairs(
            Path(views.left).expanduser(),
            Path(views.right).expanduser(),
            Path(views.rig).expanduser(),
            folder,
            max_hands=data.max_hands,
            min_score=data.min_score,
            stride=data.stride,
            patch_px=data.patch_px,
            hand_model=hand,
            show_progress=tells and options.get("show_progress", False),
            on_error=_warn if tells else lambda error: None,
        )

    done_once(lambda: gather(tells=True) and None, options.get("device", "auto"), settings.train.precision)
    return gather(tells=False)


def _warn(error: HandkitError) -> None:
    logger.warning("%s; %s", error.what, error.fix)


def _data_set(given: PairedSetRecipe) -> PairSource:
    if given.dataset != _STB:
        raise HandkitError(f"there are no pairs in a data set {given.dataset!r}", _GIVE)
    for option in given.options:
        check_choice("option of stb's pairs", option, _STB_OPTIONS)
    pairs = StbPairs(given.root, given.split or "train", **given.options)
    words = f"stb {given.split or 'train'} of {given.root}"
    return PairSource(pairs, len(pairs), words, centre="middle")


def _shards(folder: Path) -> PairSource:
    pairs = StereoDataset(folder)
    hand = pairs[0]["right"]["hand_model"] if len(pairs) else ""
    return PairSource(pairs, len(pairs), str(folder), hand_model=hand)
