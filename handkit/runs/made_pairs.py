"""Pairs of views that a run makes for itself where none are given: `handkit generate stereo` into a folder."""

from pathlib import Path
from typing import Any, Final

from typing_extensions import Unpack

from handkit.recipe import load_recipe
from handkit.runs.result import RunOptions
from handkit.synth.generate import run_generate
from handkit.synth.stereo import StereoRecipe
from handkit.synth.stereo_job import StereoJob
from handkit.train.place import done_once

MADE: Final = "pairs"
_SHARD: Final = 250


def make_pairs(
    folder: Path, *, recipe: str, pairs: int, hand: str, seed: int, precision: Any, **options: Unpack[RunOptions]
) -> None:
    """Make those that are not there, by the first of the processes that train together.

    Raises KeyboardInterrupt where the making was interrupted; the same call goes on.
    """
    job = StereoJob(
        out=folder,
        recipe=load_recipe(StereoRecipe, recipe),
        seed=seed,
        split="train",
        sequences=pairs,
        shard_size=_SHARD,
        backgrounds=None,
        hand_model=hand,
    )
    force, shown = options.get("force", False), options.get("show_progress", False)

    def make() -> bool:
        return run_generate(job, force=force, show_progress=shown).interrupted

    if done_once(make, options.get("device", "auto"), precision):
        raise KeyboardInterrupt
