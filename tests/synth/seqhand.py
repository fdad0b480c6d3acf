"""A small run of `generate seqhand`, for tests: quick sources, few and short sequences."""

from functools import lru_cache
from pathlib import Path
from typing import Any

from handkit.hand.model import load_hand
from handkit.recipe import load_recipe
from handkit.synth.job import SequenceJob
from handkit.synth.poses import load_pose_bank
from handkit.synth.recipe import SequenceRecipe
from handkit.synth.sequence import SequenceMaker, Split

SMALL = ("frames=3", "size=96", "theta_source=bank")


def small_job(out: Path = Path("unused"), *changes: str, recipe: str = "seqhand", **options: Any) -> SequenceJob:
    """Three short sequences a shard; by default seven sequences."""
    loaded = load_recipe(SequenceRecipe, recipe, [*SMALL, *changes])
    return SequenceJob(out=out, recipe=loaded, **{"sequences": 7, "shard_size": 3, **options})


@lru_cache(maxsize=16)
def small_maker(*changes: str, recipe: str = "seqhand", seed: int = 0, split: Split = "train") -> SequenceMaker:
    """Over a bank of 2,000 poses."""
    loaded = load_recipe(SequenceRecipe, recipe, [*SMALL, *changes])
    bank = load_pose_bank("builtin", size=2000)
    return SequenceMaker(loaded, seed=seed, split=split, bank=bank, hand=load_hand("open"))
