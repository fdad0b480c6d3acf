"""The folders that a table reads: those the user names, or drawn ones, and whether one is the fixed validation set."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from handkit.recipe import load_recipe
from handkit.synth.card import DATASET, read_dataset
from handkit.synth.generate import run_generate
from handkit.synth.job import SequenceJob
from handkit.synth.recipe import SequenceRecipe
from handkit.synth.sequence import Split
from handkit.synth.shard_job import ShardJob
from handkit.synth.stereo import StereoRecipe
from handkit.synth.stereo_job import StereoJob
from handkit.synth.validation import SEQUENCES, validation_record
from handkit.tables.recipe import DrawnRecipe, SetRecipe

_FREE: Final = ("shard_size",)  # of the settings of shards, what changes no picture


@dataclass(frozen=True)
class OpenSet:
    """A set at hand; `key` changes with what it holds, `note` says what is to be known of it, or nothing.

    One that is the mean of others has no `root`, nor one of held-out pairs.
    """

    recipe: SetRecipe
    root: Path | None
    key: str
    note: str = ""


def open_set(
    recipe: SetRecipe, given: Path | None, folder: Path, *, hand_model: str = "open", show_progress: bool = False
) -> OpenSet | None:
    """The set in the folder that was given, else drawn into `folder`; None where it can be neither."""
    if given is not None:
        root = given
    elif recipe.drawn is not None:
        root = draw(recipe.drawn, folder, hand_model=hand_model, show_progress=show_progress)
    else:
        return None
    card = root / DATASET
    key = hashlib.sha256(card.read_bytes()).hexdigest()[:16] if card.is_file() else str(root.resolve())
    return OpenSet(recipe, root, key, _note(root) if recipe.fixed else "")


def draw(drawn: DrawnRecipe, folder: Path, *, hand_model: str = "open", show_progress: bool = False) -> Path:
    """The folder with these sequences or pairs in it; what is there already stays."""
    job = _job(drawn, folder, hand_model)
    held = read_dataset(folder) or {}
    whole = held.get("finished") and held.get("sequences") == job.sequences and held.get("settings") == job.settings()
    if not whole and run_generate(job, show_progress=show_progress).interrupted:
        raise KeyboardInterrupt
    return folder


def _job(drawn: DrawnRecipe, folder: Path, hand_model: str) -> ShardJob:
    split: Split = "train" if drawn.split == "train" else "val"
    known: dict[str, Any] = {"out": folder, "seed": drawn.seed, "split": split, "sequences": drawn.sequences}
    if drawn.kind == "stereo":
        stereo = load_recipe(StereoRecipe, drawn.recipe, drawn.changes)
        return StereoJob(recipe=stereo, hand_model=hand_model, **known)
    sequences = load_recipe(SequenceRecipe, drawn.recipe, drawn.changes)
    return SequenceJob(recipe=sequences, hand_model=hand_model, **known)


def differences_from_fixed(root: Path) -> str:
    """How a folder's sequences differ from the fixed validation set, in words; empty where they are that set."""
    held = read_dataset(root)
    if held is None or not held.get("finished"):
        return f"{root} does not say what it holds"
    job = SequenceJob(out=root, recipe=load_recipe(SequenceRecipe, "seqhand"), split="val", sequences=SEQUENCES)
    found, wanted = dict(_flat(held.get("settings", {}))), dict(_flat(job.settings()))
    found |= {"sequences": held.get("sequences")}
    wanted |= {"sequences": SEQUENCES}
    told = [
        f"{key} {orjson.dumps(found.get(key)).decode()}, not {orjson.dumps(wanted.get(key)).decode()}"
        for key in dict.fromkeys([*wanted, *found])
        if key not in _FREE and found.get(key) != wanted.get(key)
    ]
    if not told and held.get("annotations") != validation_record()["annotations"]:
        told = ["other annotations than recorded"]
    return "; ".join(told)


def _note(root: Path) -> str:
    differs = differences_from_fixed(root)
    return f"not the fixed validation set: {differs}" if differs else ""


def _flat(settings: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
