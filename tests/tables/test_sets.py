"""Which folder of sequences is the fixed validation set."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from handkit.data.registry import build_dataset
from handkit.recipe import load_recipe
from handkit.synth.job import SequenceJob
from handkit.synth.recipe import SequenceRecipe
from handkit.synth.validation import validation_record
from handkit.tables.recipe import DrawnRecipe, SetRecipe
from handkit.tables.sets import differences_from_fixed, draw, open_set


def write_card(folder: Path, *changes: str, sequences: int = 1000, **settings: Any) -> Path:
    """A folder that says it holds the validation set, or what the changes make of it."""
    recipe = load_recipe(SequenceRecipe, "seqhand", changes)
    job = SequenceJob(out=folder, recipe=recipe, split="val", sequences=sequences, shard_size=7)
    card = {
        "finished": True,
        "sequences": sequences,
        "settings": {**job.settings(), **settings},
        "annotations": validation_record()["annotations"],
    }
    (folder / "dataset.json").write_bytes(orjson.dumps(card))
    return folder


def test_the_fixed_set_is_known(tmp_path: Path) -> None:
    assert differences_from_fixed(write_card(tmp_path)) == ""


@pytest.mark.parametrize(
    ("changes", "options", "said"),
    [
        (["shading=false"], {}, "recipe.shading false, not true"),  # annotations are the same
        (["size=112"], {}, "recipe.size 112, not 224"),
        ([], {"sequences": 10}, "sequences 10, not 1000"),
        ([], {"seed": 1}, "seed 1, not 0"),
        ([], {"split": "train"}, 'split "train", not "val"'),
    ],
)
def test_other_sets_are_told_apart(tmp_path: Path, changes: list[str], options: dict, said: str) -> None:
    assert differences_from_fixed(write_card(tmp_path, *changes, **options)) == said


def test_other_annotations_and_silence_are_told(tmp_path: Path) -> None:
    assert "does not say" in differences_from_fixed(tmp_path)
    card = orjson.loads((write_card(tmp_path) / "dataset.json").read_bytes())
    (tmp_path / "dataset.json").write_bytes(orjson.dumps({**card, "annotations": "0" * 64}))
    assert "other annotations" in differences_from_fixed(tmp_path)


def test_a_set_without_folder_or_recipe_is_left_out(tmp_path: Path) -> None:
    recipe = SetRecipe(name="stb", dataset="stb", protocol="stb", columns=("ra_mpjpe_mm",), orders="ra_mpjpe_mm")
    assert open_set(recipe, None, tmp_path) is None
    found = open_set(recipe, tmp_path, tmp_path)
    assert found is not None
    assert found.note == ""


def test_pairs_are_drawn_once(tmp_path: Path) -> None:
    drawn = DrawnRecipe(kind="stereo", recipe="stereo", changes=("width=160", "height=120"), sequences=2)
    folder = draw(drawn, tmp_path)
    card = orjson.loads((folder / "dataset.json").read_bytes())
    assert (card["settings"]["split"], card["sequences"]) == ("val", 2)
    stamp = (folder / "dataset.json").stat().st_mtime_ns
    assert len(build_dataset("stereo", draw(drawn, tmp_path))) == 2
    assert (folder / "dataset.json").stat().st_mtime_ns == stamp
