"""The loop: learns, goes on where it was stopped, keeps what it wrote, and says what is wrong."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from handkit.checkpoint import load_resume, read_checkpoint
from handkit.errors import HandkitError
from handkit.train import Place, TrainRecipe, train
from tests.train.line import Line, losses, run


def test_learns_and_logs(tmp_path: Path) -> None:
    result, _ = run(tmp_path, steps=300, validate_every=50)
    curve = losses(tmp_path)
    assert np.mean(curve[-20:]) < 0.1 * np.mean(curve[:20])
    with (tmp_path / "train.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["loss"]) for row in rows] == curve
    assert float(rows[7]["loss"]) == pytest.approx(float(rows[7]["square"]) + float(rows[7]["size"]))
    with (tmp_path / "validation.csv").open() as file:
        checks = list(csv.DictReader(file))
    assert [row["step"] for row in checks] == ["50", "100", "150", "200", "250", "300"]
    best = min(checks, key=lambda row: float(row["error_mm"]))
    assert result.best_step == int(best["step"])
    assert result.metrics["error_mm"] == float(best["error_mm"])
    assert result.metrics["samples"] == 6
    info, state = read_checkpoint(result.weights)
    assert (info.step, info.network, info.recipe["train"]["steps"]) == (result.best_step, {"name": "line"}, 300)
    assert set(state) == {"0.weight", "0.bias", "2.weight", "2.bias"}


def test_metrics_are_means_over_samples_that_have_them(tmp_path: Path) -> None:
    result, method = run(tmp_path, steps=10)
    method.network.eval()
    with torch.no_grad():
        values = [method.validate(batch) for batch in method.validation_batches(Place())]
    for name in ("error_mm", "undefined_mm"):
        joined = torch.cat([value[name] for value in values]).double()
        assert result.metrics[name] == pytest.approx(float(joined.nanmean()))


def test_interrupted_and_resumed_is_uninterrupted(tmp_path: Path) -> None:
    whole, _ = run(tmp_path / "whole")
    stopped, _ = run(tmp_path / "parts", Line(interrupt_at=16))
    assert stopped.interrupted
    assert stopped.step == 17
    assert len(losses(tmp_path / "parts")) == 17
    again, method = run(tmp_path / "parts")
    assert method.started == 17
    assert not again.interrupted
    np.testing.assert_allclose(losses(tmp_path / "parts"), losses(tmp_path / "whole"), rtol=0, atol=1e-9)
    assert again.metrics == pytest.approx(whole.metrics, rel=1e-9)
    done, _ = run(tmp_path / "parts")
    assert (done.step, done.metrics) == (again.step, again.metrics)


def test_a_killed_run_repeats_the_steps_it_had_not_saved(tmp_path: Path) -> None:
    run(tmp_path / "whole")
    with pytest.raises(HandkitError):
        run(tmp_path / "parts", Line(bad_step=25))
    log = tmp_path / "parts" / "log.jsonl"
    log.write_text(log.read_text() + '{"kind": "train", "st')
    assert len(log.read_text().splitlines()) == 25 + 2 + 1
    run(tmp_path / "parts")
    np.testing.assert_allclose(losses(tmp_path / "parts"), losses(tmp_path / "whole"), rtol=0, atol=1e-9)


def test_accumulated_batches_make_one_gradient(tmp_path: Path) -> None:
    class Whole(Line):
        def _batches(self, start: int) -> Iterator[dict[str, Any]]:
            parts = super()._batches(3 * start)
            while True:
                three = [next(parts) for _ in range(3)]
                yield {"x": torch.cat([part["x"] for part in three]), "number": three[0]["number"]}

    found = []
    for method, accumulate in ((Line(), 3), (Whole(), 1)):
        method.network[1].p = 0.0
        run(tmp_path / str(accumulate), method, steps=6, accumulate=accumulate, clip_norm=None)
        found.append(torch.cat([value.flatten() for value in method.network.state_dict().values()]))
        assert len(losses(tmp_path / str(accumulate))) == 6
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=2e-3)  # the noise differs by less
    _, method = run(tmp_path / "3", steps=6, accumulate=3, clip_norm=None)
    assert method.started == 18


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(HandkitError, match=r"term size is inf at step 13 \(samples 12_0, 12_1") as caught:
        run(tmp_path, Line(bad_step=12))
    assert "lower train.lr" in caught.value.fix
    assert read_checkpoint(tmp_path / "line.safetensors")[0].step == 10


def test_a_folder_of_another_run_is_left_alone(tmp_path: Path) -> None:
    run(tmp_path, steps=10)
    weights = (tmp_path / "line.safetensors").read_bytes()
    with pytest.raises(HandkitError, match=r"another recipe: train\.lr is 0\.02 there, 0\.5 here"):
        run(tmp_path, steps=10, lr=0.5)
    assert (tmp_path / "line.safetensors").read_bytes() == weights
    result, _ = run(tmp_path, steps=10, lr=0.5, force=True)
    assert len(losses(tmp_path)) == 10
    assert read_checkpoint(result.weights)[0].recipe["train"]["lr"] == 0.5
    (tmp_path / "recipe.json").unlink()
    with pytest.raises(HandkitError, match="holds line weights of another run"):
        run(tmp_path, steps=10)


def test_a_resume_file_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    run(tmp_path, steps=10)
    torch.save({"network": {}}, tmp_path / "resume.pt")
    with pytest.raises(HandkitError, match=r"resume\.pt is of another run"):
        run(tmp_path, steps=10)
    (tmp_path / "resume.pt").write_bytes(b"cut")
    with pytest.raises(HandkitError, match=r"resume\.pt cannot be read") as caught:
        run(tmp_path, steps=10)
    assert "--force" in caught.value.fix


def test_no_cuda_is_told(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    recipe = TrainRecipe(steps=1)
    with pytest.raises(HandkitError, match="no CUDA device"):
        train(Line(), recipe, out=tmp_path, resolved={}, device="cuda")


def test_a_full_disk_leaves_the_last_good_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    method, kept = Line(), Path.write_bytes

    def full(self: Path, content: bytes) -> int:
        if method.steps_made > 25:
            raise OSError(28, "No space left on device")
        return kept(self, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(HandkitError, match="the disk is full"):
        run(tmp_path / "parts", method)
    monkeypatch.undo()
    assert load_resume(tmp_path / "parts" / "resume.pt")["step"] == 20
    run(tmp_path / "whole")
    run(tmp_path / "parts")
    np.testing.assert_allclose(losses(tmp_path / "parts"), losses(tmp_path / "whole"), rtol=0, atol=1e-9)


def test_a_gradient_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    class Steep(Line):
        def step(self, batch: dict[str, Any]) -> tuple[dict[str, Tensor], Tensor]:
            found = super().step(batch)[1]
            return {"root": (found - found.detach()).square().sum().sqrt()}, found

    with pytest.raises(HandkitError, match="the gradient of step 1 is not finite"):
        run(tmp_path, Steep(), clip_norm=None)


def test_a_validation_of_nothing_is_told(tmp_path: Path) -> None:
    class Empty(Line):
        def validation_batches(self, place: Place) -> Iterator[dict[str, Any]]:
            yield from ()

    with pytest.raises(HandkitError, match="the validation has no sample with error_mm"):
        run(tmp_path, Empty())
