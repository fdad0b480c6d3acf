"""A small method that several processes train; run by `torchrun`, it goes through what the tests compare.

Each process tells what came out for it, and which files it wrote, in files of its own beside the runs' folder.
"""

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from handkit.errors import HandkitError
from handkit.recipe import build_recipe
from handkit.train import Place, TrainRecipe, TrainResult, seed_all, train

ROWS = 6


class Pictures:
    """Learns the brightness and the contrast of noise, by a network with normalisation and perhaps dropout."""

    name = "pictures"
    selection = "error_mm"

    def __init__(self, *, dropout: float = 0.0, bad: str = "", interrupt: tuple[int, int] | None = None) -> None:
        layers = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(dropout), nn.Linear(64, 2)]
        self.network: nn.Module = nn.Sequential(*layers)
        self.bad, self.interrupt = bad, interrupt

    def parameter_groups(self) -> list[dict[str, Any]]:
        return [{"params": list(self.network.parameters())}]

    def batches(self, start: int, place: Place) -> Iterator[dict[str, Any]]:
        rows, number = place.share(ROWS), start
        while True:
            whole = _pictures(0, number, ROWS)
            if (place.rank, number) == self.interrupt:
                os.kill(os.getpid(), signal.SIGINT)
            yield {**{name: value[rows] for name, value in whole.items()}, "key": _keys(number)[rows]}
            number += 1

    def step(self, batch: dict[str, Any]) -> tuple[dict[str, Tensor], Tensor]:
        found = self.network(batch["image"])
        gap = (found - batch["target"]).square().mean(0)
        losses = {"mean": gap[0], "spread": 0.5 * gap[1]}
        if self.bad in batch["key"]:
            losses["spread"] = losses["spread"] * torch.nan
        return losses, found

    def validation_batches(self, place: Place) -> Iterator[dict[str, Any]]:
        return place.own(_pictures(1, number, number + 2) for number in range(3))

    def validate(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        return {"error_mm": (self.network(batch["image"]) - batch["target"]).abs().mean(1)}

    def describe(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return {"name": "pictures"}, {}


def _keys(number: int) -> list[str]:
    return [f"{number}_{row}" for row in range(ROWS)]


def _pictures(split: int, number: int, count: int) -> dict[str, Tensor]:
    rng = np.random.default_rng((split, number))
    image = rng.random((count, 1, 1, 1)) + rng.random((count, 1, 1, 1)) * rng.standard_normal((count, 3, 6, 6))
    image = torch.from_numpy(image.astype(np.float32))
    return {"image": image, "target": torch.stack([image.mean((1, 2, 3)), image.std((1, 2, 3))], 1)}


def go(out: Path, *, dropout: float = 0.0, bad: str = "", interrupt: Any = None, **changes: object) -> TrainResult:
    """Train it, with settings that differ from the tests' usual ones by `changes`."""
    values = {"steps": 8, "lr": 0.05, "log_every": 1, "validate_every": 4, "save_every": 4, "norm": "eval"}
    recipe = build_recipe(TrainRecipe, {**values, **changes}, source="test")
    seed_all(recipe.seed)
    method = Pictures(dropout=dropout, bad=bad, interrupt=interrupt)
    resolved = {"train": recipe.model_dump(mode="json")}
    result = train(method, recipe, out=out, resolved=resolved, device="cpu")
    go.network = method.network  # type: ignore[attr-defined]
    return result


GRADIENT: dict[str, Any] = {"optimizer": "sgd", "lr": 1.0, "momentum": 0.0, "schedule": "constant", "steps": 1}
CURVE: dict[str, Any] = {"clip_norm": 0.5, "ema": 0.5, "warmup_steps": 2, "weight_decay": 0.01}
DROPS: dict[str, Any] = {"dropout": 0.5, "accumulate": 2, "ema": 0.9}


def main(out: Path, told: Path, rank: int) -> None:
    written: list[str] = []
    sys.addaudithook(_note_writes(out, written))
    go(out / "gradient", **GRADIENT)
    go(out / "accumulated", accumulate=2, **GRADIENT)
    go(out / "curve", **CURVE)
    said: dict[str, Any] = {}
    try:
        go(out / "bad", bad="5_4")
    except HandkitError as error:
        said["bad"] = error.what
    go(out / "whole", **DROPS)
    stopped = go(out / "parts", interrupt=(1, 4), **DROPS)
    said["stopped"], said["interrupted"] = stopped.step, stopped.interrupted
    again = go(out / "parts", **DROPS)
    said["again"], said["metrics"] = again.step, again.metrics
    go(out / "statistics", norm="train")
    said["mean"] = go.network.state_dict()["1.running_mean"].tolist()  # type: ignore[attr-defined]
    try:
        go(out / "statistics", norm="eval")
    except HandkitError as error:
        said["other"] = error.what
    said["written"] = list(written)
    (told / f"{rank}.json").write_text(json.dumps(said))


def _note_writes(folder: Path, written: list[str]) -> Callable[[str, tuple[Any, ...]], None]:
    def note(event: str, arguments: tuple[Any, ...]) -> None:
        changes = event in ("os.rename", "os.remove", "os.mkdir", "os.truncate")
        if event == "open" and isinstance(arguments[1], str):
            changes = any(letter in arguments[1] for letter in "wax+")
        if changes and str(arguments[0]).startswith(str(folder)):
            written.append(str(arguments[0]))

    return note


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(os.environ["RANK"]))
    os._exit(0)  # gloo's threads abort one in some dozens of processes at the interpreter's end, all done by then
