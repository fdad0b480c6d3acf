"""Recipes: strict values, changes, and what is said of a wrong one."""

import json
from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field

from handkit.errors import HandkitError
from handkit.recipe import Recipe, build_recipe, load_recipe, recipe_names


class Flow(Recipe):
    alpha: float = Field(1.2, gt=0)
    metric: Literal["euclidean", "l1"] = "euclidean"


class Example(Recipe):
    frames: int = Field(ge=1)
    lit: bool = True
    clip: float | None = 1.0
    window: tuple[float, float] = (0.0, 1.0)
    flow: Flow = Flow()
    flows: dict[str, Flow] = Field(default_factory=dict)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "example.toml"
    path.write_text('frames = 10\nclip = "off"\n[flow]\nalpha = 2\n')
    return path


def test_values_of_file_and_changes(file: Path) -> None:
    assert load_recipe(Example, file) == Example(frames=10, clip=None, flow=Flow(alpha=2.0))
    changes = ["frames=3", "flow.metric=l1", "window=[0.5, 2]", "lit = false", "clip=0.5"]
    assert load_recipe(Example, str(file), changes) == Example(
        frames=3, lit=False, clip=0.5, window=(0.5, 2.0), flow=Flow(alpha=2.0, metric="l1")
    )


def test_a_resolved_recipe_is_read_back(file: Path, tmp_path: Path) -> None:
    recipe = load_recipe(Example, file, ["window=[1, 2]"])
    resolved = tmp_path / "recipe.json"
    resolved.write_text(json.dumps(recipe.model_dump(mode="json")))
    assert load_recipe(Example, resolved) == recipe


@pytest.mark.parametrize(
    ("change", "what", "fix"),
    [
        ("flow.alpa=1", "--set flow.alpa is no setting (did you mean flow.alpha?)", "flow.alpha, flow.metric"),
        ("zzz=1", "--set zzz is no setting", "frames, lit, clip, window, flow"),
        ("frames=0", "--set frames is 0", "frames: must be greater than or equal to 1"),
        ("frames=1.5", "--set frames is 1.5", "frames: must be a valid integer"),
        ('frames="3"', '--set frames is "3"', "frames: must be a valid integer"),
        ("lit=1", "--set lit is 1", "lit: must be a valid boolean"),
        ("frames=off", '--set frames is "off"', "valid integer"),
        ("flow.alpha=nan", "--set flow.alpha is NaN", "finite number"),
        ("flow.metric=l2", '--set flow.metric is "l2"', "must be 'euclidean' or 'l1'"),
        ("flows.a.alpa=1", "--set flows.a.alpa is no setting (did you mean flows.a.alpha?)", "flows.a.metric"),
        ("frames", "--set 'frames' is not KEY=VALUE", "train.steps=1000"),
        ("frames.x=1", "--set 'frames.x=1': frames is a value, no table", "set frames itself"),
    ],
)
def test_a_wrong_change_is_told(file: Path, change: str, what: str, fix: str) -> None:
    with pytest.raises(HandkitError) as caught:
        load_recipe(Example, file, [change])
    assert what in caught.value.what
    assert fix in caught.value.fix


def test_all_that_is_wrong_in_a_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text("frame = 10\nlit = 2\n")
    with pytest.raises(HandkitError) as caught:
        load_recipe(Example, path)
    assert caught.value.what == (
        f"recipe {path}: frames is missing; recipe {path}: lit is 2; "
        f"recipe {path}: frame is no setting (did you mean frames?)"
    )
    path.write_text("frames = \n")
    with pytest.raises(HandkitError, match=r"bad.toml is no TOML: .*line 1"):
        load_recipe(Example, path)


def test_a_recipe_that_is_not_there() -> None:
    with pytest.raises(HandkitError, match=r"no recipe is called 'pose-encodr' \(did you mean pose-encoder\?\)"):
        load_recipe(Example, "pose-encodr")
    with pytest.raises(HandkitError, match=r"nowhere\.toml is no file"):
        load_recipe(Example, "nowhere.toml")


def test_recipes_are_in_the_package() -> None:
    assert "pose-encoder" in recipe_names()


def test_built_from_values() -> None:
    assert build_recipe(Example, {"frames": 2}, source="checkpoint") == Example(frames=2)
    with pytest.raises(HandkitError, match="checkpoint: frames is -1"):
        build_recipe(Example, {"frames": -1}, source="checkpoint")
