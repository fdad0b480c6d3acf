"""What a run's folder lets go on, and what not."""

import json
from pathlib import Path

import pytest

from handkit.errors import HandkitError
from handkit.train.folder import open_folder
from tests.train.line import losses, rows, run


def test_a_run_goes_on_with_more_steps(tmp_path: Path) -> None:
    run(tmp_path, steps=10)
    result, method = run(tmp_path, steps=16, log_every=2, validate_every=4, save_every=16)
    assert (result.step, method.started) == (16, 10)
    assert [row["step"] for row in rows(tmp_path)] == [*range(1, 11), 12, 14, 16]
    assert [row["step"] for row in rows(tmp_path, "validation")] == [10, 12, 16]
    (note,) = rows(tmp_path, "note")
    assert note["step"] == 10
    assert note["text"].startswith("goes on from step 10 with train.steps 10 -> 16, train.log_every 1 -> 2, ")
    assert note["text"].endswith("the cosine schedule now ends at step 16, so the rate jumps")
    assert json.loads((tmp_path / "recipe.json").read_text())["train"]["steps"] == 16
    run(tmp_path, steps=18, log_every=2, validate_every=4, save_every=16)
    assert [row["step"] for row in rows(tmp_path, "note")] == [10, 16]
    assert len((tmp_path / "train.csv").read_text().splitlines()) == 1 + 14


def test_more_steps_of_a_constant_rate_are_the_same_run(tmp_path: Path) -> None:
    run(tmp_path / "whole", steps=20, schedule="constant")
    run(tmp_path / "parts", steps=12, schedule="constant")
    run(tmp_path / "parts", steps=20, schedule="constant")
    assert losses(tmp_path / "parts") == pytest.approx(losses(tmp_path / "whole"), rel=0, abs=1e-9)
    assert "jumps" not in rows(tmp_path / "parts", "note")[0]["text"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"steps": 9}, r"train\.steps is 10 there, 9 here"),
        ({"steps": 20, "seed": 4}, r"train\.seed is 0 there, 4 here"),
        ({"clip_norm": None}, r"train\.clip_norm is 1\.0 there, null here"),
    ],
)
def test_anything_else_is_refused_by_its_key(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    run(tmp_path, steps=10)
    before = (tmp_path / "recipe.json").read_bytes()
    with pytest.raises(HandkitError, match=said):
        run(tmp_path, **{"steps": 10, **changes})
    assert (tmp_path / "recipe.json").read_bytes() == before


def test_keys_that_come_or_go_are_told(tmp_path: Path) -> None:
    path = tmp_path / "recipe.json"
    path.write_text('{"train": {"steps": 5}, "data": {"batch": 3}}')
    with pytest.raises(HandkitError, match=r"data\.size is absent there, 4 here"):
        open_folder(tmp_path, "line", {"train": {"steps": 5}, "data": {"size": 4, "batch": 3}}, force=False)
    with pytest.raises(HandkitError, match=r"data\.batch is 3 there, absent here"):
        open_folder(tmp_path, "line", {"train": {"steps": 5}}, force=False)
    path.write_text("[1")
    with pytest.raises(HandkitError, match=r"recipe\.json cannot be read"):
        open_folder(tmp_path, "line", {"train": {"steps": 5}}, force=False)
    assert open_folder(tmp_path, "line", {"train": {"steps": 5}}, force=True) == (None, "")
