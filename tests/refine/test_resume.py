"""What is done is not done again, and what was interrupted goes on to the same result."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from handkit.images import read_image, write_image
from handkit.refine import job
from handkit.refine.options import RefineOptions
from handkit.refine.run import RefineResult, run_refine
from handkit_cli import app

PLAIN = RefineOptions(overlay=False, iterations=2, segmenter="grabcut")


def run(out: Path, *predictions: Path, options: RefineOptions = PLAIN, force: bool = False) -> RefineResult:
    return run_refine([str(path) for path in predictions], out, options, force=force, debug=True)


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> Callable[[int | None], list[int]]:
    """Batches of two hands; called with n, interrupts before the n-th from now. Returns the sizes of those done."""
    real, done, stop = job.refine_batch, [], [None]

    def refine_batch(batch: Any, *arguments: Any) -> Any:
        if stop[0] is not None and len(done) >= stop[0]:
            raise KeyboardInterrupt
        done.append(len(batch))
        return real(batch, *arguments)

    def until(count: int | None) -> list[int]:
        done.clear()
        stop[0] = count
        return done

    monkeypatch.setattr(job, "_BATCH", 2)
    monkeypatch.setattr(job, "refine_batch", refine_batch)
    return until


def same_results(a: Path, b: Path) -> bool:
    assert (a / "refined.csv").read_text() == (b / "refined.csv").read_text()
    with np.load(a / "hands.npz") as one, np.load(b / "hands.npz") as other:
        assert set(one.files) == set(other.files)
        return all(np.array_equal(one[name], other[name], equal_nan=one[name].dtype.kind == "f") for name in one.files)


def test_done_is_skipped_until_something_changes(clip: Path, tmp_path: Path) -> None:
    shutil.copytree(clip / "out/stills", tmp_path / "p/stills")
    shutil.copytree(clip / "masks", tmp_path / "masks")
    hands, out = tmp_path / "p/stills/hands.npz", tmp_path / "out"
    options = replace(PLAIN, masks=tmp_path / "masks")
    (first,) = run(out, hands, options=options).records
    assert not first.skipped
    (again,) = run(out, hands, options=replace(options, device="cpu")).records
    assert again == replace(first, skipped=True)
    assert not run(out, hands, options=options, force=True).records[0].skipped
    assert not run(out, hands, options=replace(options, iterations=3)).records[0].skipped
    write_image(tmp_path / "masks/p0.png", read_image(tmp_path / "masks/p1.png"))
    assert not run(out, hands, options=replace(options, iterations=3)).records[0].skipped
    os.utime(hands, (1, 1))
    assert not run(out, hands, options=replace(options, iterations=3)).records[0].skipped
    (out / "stills/hands.npz").unlink()
    assert not run(out, hands, options=replace(options, iterations=3)).records[0].skipped
    assert run(out, hands, options=replace(options, iterations=3)).records[0].skipped


def test_results_inside_the_folder_are_no_predictions(clip: Path, tmp_path: Path) -> None:
    shutil.copytree(clip / "out/stills", tmp_path / "p/stills")
    assert len(run(tmp_path / "p/refined", tmp_path / "p").records) == 1
    (record,) = run(tmp_path / "p/refined", tmp_path / "p").records
    assert record.skipped


@pytest.mark.parametrize("convergence", [False, True])
def test_an_interrupted_run_goes_on(
    clip: Path, tmp_path: Path, batches: Callable[[int | None], list[int]], convergence: bool
) -> None:
    options = replace(PLAIN, convergence=convergence)
    video, stills = clip / "out/video", clip / "out/stills"
    whole = run(tmp_path / "whole", stills, video, options=options)
    done = batches(2)
    result = run(tmp_path / "out", stills, video, options=options)
    assert result.exit_code == 130
    assert [record.status for record in result.records] == ["done", "not done"]
    assert not (tmp_path / "out/video/hands.npz").exists()
    done = batches(None)
    result = run(tmp_path / "out", stills, video, options=options)
    # A film needs its hands from the first iteration on.
    assert done == ([2, 2] if convergence else [2])
    assert result.exit_code == 0
    assert [record.skipped for record in result.records] == [True, False]
    assert [record.resumed for record in result.records] == [0, 0 if convergence else 2]
    assert [record.refined for record in result.records] == [record.refined for record in whole.records]
    for name in ("stills", "video"):
        assert same_results(tmp_path / "whole" / name, tmp_path / "out" / name)
        assert {path.name for path in (tmp_path / "out" / name).iterdir()} == {
            path.name for path in (tmp_path / "whole" / name).iterdir()
        }


def test_pieces_of_other_options_or_broken_ones_are_dropped(
    clip: Path, tmp_path: Path, batches: Callable[[int | None], list[int]]
) -> None:
    video = clip / "out/video"
    batches(1)
    run(tmp_path / "out", video)
    (piece,) = (tmp_path / "out/video/.refine.parts").iterdir()
    done = batches(1)
    run(tmp_path / "out", video, options=replace(PLAIN, iterations=3))
    assert done == [2]
    assert not piece.exists()
    (piece,) = (tmp_path / "out/video/.refine.parts").iterdir()
    piece.write_bytes(b"half a file")
    done = batches(None)
    assert run(tmp_path / "out", video, options=replace(PLAIN, iterations=3)).exit_code == 0
    assert done == [2, 2]


def test_the_command_says_how_to_go_on(clip: Path, tmp_path: Path, batches: Callable[[int | None], list[int]]) -> None:
    batches(1)
    arguments = ["refine", str(clip / "out/video"), "--out", str(tmp_path), "--no-overlay", "--iterations", "2"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 130
    assert "interrupted: the same command again goes on from here" in result.stdout
    batches(None)
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0
    assert "2 of them" in result.stdout
