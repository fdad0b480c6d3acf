"""A small method whose training the tests look at, and what runs it."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from handkit.recipe import build_recipe
from handkit.train import Place, TrainRecipe, TrainResult, seed_all, train


class Line:
    """Fits y = A x from noisy samples; dropout and noise draw from the global generators, as a network's may."""

    name = "line"
    selection = "error_mm"

    def __init__(self, *, bad_step: int | None = None, interrupt_at: int | None = None) -> None:
        torch.manual_seed(0)
        self.network: nn.Module = nn.Sequential(nn.Linear(3, 16), nn.Dropout(0.1), nn.Linear(16, 2))
        self.truth = torch.tensor([[1.0, -2], [0.5, 0], [0, 1]])
        self.bad_step, self.interrupt_at = bad_step, interrupt_at
        self.started, self.steps_made = -1, 0

    def parameter_groups(self) -> list[dict[str, Any]]:
        first, _, last = self.network
        return [{"params": list(first.parameters()), "lr": 0.01}, {"params": list(last.parameters())}]

    def batches(self, start: int, place: Place) -> Iterator[dict[str, Any]]:
        self.started = start
        return self._batches(start)

    def _batches(self, start: int) -> Iterator[dict[str, Any]]:
        for number in range(start, 10**9):
            x = torch.from_numpy(np.random.default_rng((0, number)).standard_normal((8, 3)).astype(np.float32))
            yield {"x": x, "number": torch.tensor(number), "key": [f"{number}_{row}" for row in range(8)]}

    def step(self, batch: dict[str, Any]) -> tuple[dict[str, Tensor], Tensor]:
        self.steps_made += 1
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

    def validation_batches(self, place: Place) -> Iterator[dict[str, Any]]:
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


def rows(out: Path, kind: str = "train") -> list[dict[str, Any]]:
    """The log's rows of a kind."""
    found = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [row for row in found if row["kind"] == kind]


def losses(out: Path) -> list[float]:
    """The losses of all steps, which are all there, once."""
    found = rows(out)
    assert [row["step"] for row in found] == list(range(1, len(found) + 1))
    return [row["loss"] for row in found]
