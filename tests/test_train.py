"""The loop: learns, goes on where it was stopped, keeps what it wrote, and says what is wrong."""

import csv
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from handkit.checkpoint import read_checkpoint
from handkit.errors import HandkitError
from handkit.recipe import build_recipe
from handkit.train import TrainRecipe, TrainResult, learning_rate, seed_all, train


class Line:
    """Fits y = A x from noisy samples; dropout and noise draw from the global generators, as a network's may."""

    name = "line"
    selection = "error_mm"

    def __init__(self, *, bad_step: int | None = None, interrupt_at: int | None = None) -> None:
        torch.manual_seed(0)
        self.network: nn.Module = nn.Sequential(nn.Linear(3, 16), nn.Dropout(0.1), nn.Linear(16, 2))
        self.truth = torch.tensor([[1.0, -2], [0.5, 0], [0, 1]])
        self.bad_step, self.interrupt_at = bad_step, interrupt_at
        self.started = -1

    def parameter_groups(self) -> list[dict[str, Any]]:
        first, _, last = self.network
        return [{"params": list(first.parameters()), "lr": 0.01}, {"params": list(last.parameters())}]

    def batches(self, start: int) -> Iterator[dict[str, Any]]:
        self.started = start
        return self._batches(start)

    def _batches(self, start: int) -> Iterator[dict[str, Any]]:
        for number in range(start, 10**9):
            x = torch.from_numpy(np.random.default_rng((0, number)).standard_normal((8, 3)).astype(np.float32))
            yield {"x": x, "number": torch.tensor(number), "key": [f"{number}_{row}" for row in range(8)]}

    def step(self, batch: dict[str, Any]) -> tuple[dict[str, Tensor], Tensor]:
        found = self.network(batch["x"])
        noise = float(np.random.random()) * 1e-3  # noqa: NPY002 - what a library may do
        gap = found - batch["x"] @ self.truth + noise
        losses = {"square": gap.square().mean(), "size": 1e-3 * found.abs().mean()}
        number = int(batch["number"])
        if number == self.bad_step:
            losses["size"] = losses["size"] * torch.inf
        if number == self.interrupt_at:
            os.kill(os.getpid(), signal.SIGINT)
        return losses, found

    def validation_batches(self) -> Iterator[dict[str, Any]]:
        for number in range(3):
            x = torch.from_numpy(np.random.default_rng((1, number)).standard_normal((number + 1, 3)).astype(np.float32))
            yield {"x": x}

    def validate(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        error = (self.network(batch["x"]) - batch["x"] @ self.truth).norm(dim=-1)
        undefined = torch.where(torch.arange(len(error)) == 0, torch.nan, error)
        return {"error_mm": error, "undefined_mm": undefined}

    def describe(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return {"name": "line"}, {"hand": "none"}


def run(out: Path, method: Line | None = None, *, force: bool = False, **changes: object) -> tuple[TrainResult, Line]:
    values = {"steps": 40, "lr": 0.02, "clip_norm": 1.0, "log_every": 1, "validate_every": 10, "save_every": 10}
    recipe = build_recipe(TrainRecipe, {**values, **changes}, source="test")
    method = method or Line()
    seed_all(recipe.seed)
    resolved = {"train": recipe.model_dump(mode="json")}
    return train(method, recipe, out=out, resolved=resolved, device="cpu", force=force), method


def losses(out: Path) -> list[float]:
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    train_rows = [row for row in rows if row["kind"] == "train"]
    assert [row["step"] for row in train_rows] == list(range(1, len(train_rows) + 1))
    return [row["loss"] for row in train_rows]


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
        values = [method.validate(batch) for batch in method.validation_batches()]
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
    with pytest.raises(HandkitError, match="another recipe"):
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


def test_schedule() -> None:
    recipe = TrainRecipe(steps=110, warmup_steps=10, final_lr=0.1)
    rates = [learning_rate(step, recipe) for step in range(110)]
    assert rates[:10] == pytest.approx(np.arange(1, 11) / 10)
    assert rates[10] == 1.0
    assert rates[60] == pytest.approx(0.55)
    assert rates[-1] == pytest.approx(0.1, abs=1e-3)
    assert np.all(np.diff(rates[10:]) < 0)
    assert learning_rate(50, TrainRecipe(steps=100, schedule="constant")) == 1.0
