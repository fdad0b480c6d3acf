"""The default validation set: 1,000 sequences of the recipe "seqhand" from seed 0, known by its annotations' hash."""

from pathlib import Path
from typing import Any, Final

import orjson

from handkit.recipe import load_recipe
from handkit.synth.recipe import SequenceRecipe

SEQUENCES: Final = 1000
_RECORD = Path(__file__).with_name("validation.json")


def validation_record() -> dict[str, Any]:
    """What is recorded: `annotations`, the hash of the whole set, and `first`, those of its first sequences."""
    record: dict[str, Any] = orjson.loads(_RECORD.read_bytes())
    return record


def recorded_digest(recipe: SequenceRecipe, sequences: int) -> str | None:
    """The hash that so many sequences of the default poses and hand must have; None if another recipe or number."""
    same = _annotated(recipe) == _annotated(load_recipe(SequenceRecipe, "seqhand"))
    return str(validation_record()["annotations"]) if same and sequences == SEQUENCES else None


def _annotated(recipe: SequenceRecipe) -> dict[str, Any]:
    """The settings that annotations depend on."""
    return recipe.model_dump(include={"frames", "size", "theta", "theta_source", "flow", "camera"})
