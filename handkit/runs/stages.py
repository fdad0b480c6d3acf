"""Runs in stages, one run of `train` each, in OUT/<stage>: what they are told, how they end and what is printed."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from rich.console import Console

from handkit.recipe import Recipe
from handkit.runs.result import INTERRUPTED, print_interrupted
from handkit.train import TrainRecipe, TrainResult


class DescribedData(Protocol):
    """What a run learns from."""

    def to_json(self) -> dict[str, Any]: ...


Data = TypeVar("Data", bound=DescribedData)


@dataclass(frozen=True, kw_only=True)
class StagesResult(Generic[Data]):
    """How the stages ended, in their order; `summary` is what `--json` prints."""

    out: Path
    data: Data
    stages: dict[str, TrainResult]
    planned: dict[str, int]
    is_dry: bool = False

    @property
    def interrupted(self) -> bool:
        return any(run.interrupted for run in self.stages.values())

    @property
    def exit_code(self) -> int:
        return INTERRUPTED if self.interrupted else 0

    @property
    def last(self) -> TrainResult:
        """The stage that was run last; a dry run has none."""
        return next(reversed(self.stages.values()))

    @property
    def about(self) -> dict[str, dict[str, list[str]]]:
        """What else the summary says of the planned stages."""
        return {}

    @property
    def summary(self) -> dict[str, Any]:
        return {
            "out": str(self.out),
            "dry_run": self.is_dry,
            "interrupted": self.interrupted,
            "data": self.data.to_json(),
            "planned_steps": self.planned,
            **self.about,
            "stages": {stage: _summarize_stage(run) for stage, run in self.stages.items()},
        }


@dataclass(frozen=True, kw_only=True)
class LearningResult(StagesResult[Data]):
    """Stages of which each trains some parts of the network, `learning`."""

    learning: Mapping[str, Sequence[str]]

    @property
    def about(self) -> dict[str, dict[str, list[str]]]:
        return {"learning": {stage: list(parts) for stage, parts in self.learning.items()}}


def _summarize_stage(run: TrainResult) -> dict[str, Any]:
    ended = {"steps": run.step, "of": run.steps, "seconds": round(run.seconds, 1)}
    if run.interrupted:
        return ended
    return {**ended, "weights": str(run.weights), "held_out": run.metrics, "best_step": run.best_step}


def run_until_interrupted(stages: Iterable[str], run: Callable[[str], TrainResult]) -> dict[str, TrainResult]:
    """How the stages ended: all, or those up to the first that was interrupted."""
    runs: dict[str, TrainResult] = {}
    for stage in stages:
        runs[stage] = run(stage)
        if runs[stage].interrupted:
            break
    return runs


def resolve_stage(settings: Recipe, name: str, stage: Recipe, training: TrainRecipe) -> dict[str, Any]:
    """What a stage's recipe.json says of the run's settings, and what a run that goes on may not change.

    Other stages may change and leave this run; how long it is stands in "train".
    """
    length = {"steps", "epochs", "decay_epochs"}
    return {
        **settings.model_dump(mode="json", exclude={"search", "stages"}),
        "stages": {name: stage.model_dump(mode="json", exclude=length)},
        "train": training.model_dump(mode="json"),
    }


def digest_weights(*paths: Path) -> dict[str, str]:
    """The digests of weights that a stage begins with, by the names of their folders: those of stages before."""
    return {path.parent.name or path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def print_planned(
    console: Console,
    planned: Mapping[str, int],
    learning: Mapping[str, Sequence[str]] | None = None,
    *,
    left_undone: str = "trained",
) -> None:
    """What a dry run would have done."""
    for stage, steps in planned.items():
        parts = "" if learning is None else f"; learning {', '.join(learning[stage])}"
        console.print(f"stage {stage}: {steps} steps{parts}", soft_wrap=True)
    console.print(f"a dry run: nothing was {left_undone}; leave --dry-run out to begin")


def print_end(console: Console, result: StagesResult[Any], *, beside: str, following: str) -> None:
    """How long the stages took, what was written and which command follows, or where the run was interrupted."""
    if result.last.interrupted:
        print_interrupted(console, result.last)
        return
    for stage, run in result.stages.items():
        console.print(
            f"{stage}: {run.steps} steps in {run.seconds:.0f} s, best at step {run.best_step}", soft_wrap=True
        )
    console.print(f"wrote {result.last.weights}, {beside} beside it", soft_wrap=True)
    console.print(f"next: {following}", soft_wrap=True)
