"""Rows of the log: rates, waits, TensorBoard's, and the line on a terminal."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from handkit.train.log import TrainLog
from handkit.train.view import Pace, TrainView
from tests.train.line import Line, rows, run


class Slow(Line):
    """Waits for its batches, which hold pictures."""

    def _batches(self, start: int) -> Iterator[dict[str, Any]]:
        for batch in super()._batches(start):
            time.sleep(0.03)
            yield {**batch, "image": torch.zeros(8, 5, 3, 2, 2, dtype=torch.uint8)}


def test_pictures_a_second_and_the_share_waited(tmp_path: Path) -> None:
    began = time.monotonic()
    run(tmp_path / "slow", Slow(), steps=8, log_every=4)
    seconds = time.monotonic() - began
    for row in rows(tmp_path / "slow"):
        assert 8 * 5 * 8 / seconds / 4 < row["images_per_s"] < 40 / 0.03
        assert 0.5 < row["data_wait"] <= 1
        assert "samples_per_s" not in row
    run(tmp_path / "quick", steps=8, log_every=8)
    (row,) = rows(tmp_path / "quick")
    assert row["samples_per_s"] > 0
    assert 0 < row["data_wait"] < 0.9
    assert list(row) == [
        "kind", "step", "loss", "square", "size", "gradient_norm", "lr", "samples_per_s", "data_wait",
    ]  # fmt: skip


def test_pace_begins_again_with_every_row() -> None:
    pace = Pace()
    pace.add(images=30, samples=3, seconds=2.0, waited=0.5)
    pace.add(images=10, samples=3, seconds=2.0, waited=1.5)
    assert pace.row() == {"images_per_s": 10, "data_wait": 0.5}
    pace.add(images=0, samples=3, seconds=0.5, waited=0.0)
    assert pace.row() == {"samples_per_s": 6, "data_wait": 0.0}


def test_the_gradient_norm_is_that_before_clipping(tmp_path: Path) -> None:
    run(tmp_path / "clipped", steps=1, clip_norm=1e-3)
    run(tmp_path / "free", steps=1, clip_norm=None)
    clipped, free = (rows(tmp_path / name)[0]["gradient_norm"] for name in ("clipped", "free"))
    assert clipped == pytest.approx(free)
    assert free > 0.1


def test_without_a_folder_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    log = TrainLog(None, after=0, tensorboard=True)
    log.write("train", {"step": 1, "loss": 2.0})
    log.note(1, "words")
    log.close()
    assert not list(tmp_path.iterdir())


def test_the_line_names_terms_rate_and_notes(capsys: pytest.CaptureFixture[str]) -> None:
    row = {"step": 3, "loss": 0.5, "joints_3d": 0.25, "lr": 1e-3, "images_per_s": 1234.0, "data_wait": 0.1}
    with TrainView(10, 0, shown=True) as view:
        view.note("goes on")
        view.say(row)
        view.advance()
    said = capsys.readouterr()
    assert "1,234 images/s  loss 0.5  joints_3d 0.25" in said.err.replace("\n", " ")
    assert "goes on" in said.err
    assert said.out == ""
    with TrainView(10, 0, shown=False) as view:
        view.note("goes on")
        view.say(row)
    assert capsys.readouterr().err == ""


def test_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run(tmp_path, steps=6, validate_every=3)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("train/loss")] == list(range(1, 7))
    assert [event.value for event in events.Scalars("train/loss")] == pytest.approx(
        [row["loss"] for row in rows(tmp_path)]
    )
    assert [event.step for event in events.Scalars("validation/error_mm")] == [3, 6]
    run(tmp_path / "off", steps=6, tensorboard=False)
    assert not (tmp_path / "off" / "tensorboard").exists()
