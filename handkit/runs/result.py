"""How a training command ends, and what it prints."""

import sys
from dataclasses import dataclass
from typing import Any, TypedDict

from rich.console import Console
from rich.table import Table

from handkit.synth.threads import cores
from handkit.train import TrainResult

INTERRUPTED = 130


class RunOptions(TypedDict, total=False):
    """How any training is run, as `handkit.train.train` takes it."""

    device: str
    force: bool
    show_progress: bool


@dataclass(frozen=True)
class RunResult:
    """How a run ended; `summary` is what `--json` prints."""

    train: TrainResult
    summary: dict[str, Any]

    @property
    def exit_code(self) -> int:
        return INTERRUPTED if self.train.interrupted else 0


def summarize(ended: TrainResult, **known: Any) -> dict[str, Any]:
    """The summary's keys that all runs have, and `known` after them."""
    return {
        "out": str(ended.out),
        "steps": ended.step,
        "of": ended.steps,
        "seconds": round(ended.seconds, 1),
        "interrupted": ended.interrupted,
        **known,
    }


def loading_workers(given: int | str) -> int:
    """Loading processes: one for every core that training leaves idle, none on two cores."""
    return given if isinstance(given, int) else max(0, min(12, cores() - 2))


def report_console() -> Console:
    """stdout, of a fixed width where it is no terminal."""
    return Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else 120)


def report_table(title: str, *columns: str) -> Table:
    """A table without lines: names on the left, figures on the right."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(title, overflow="fold")
    for column in columns:
        table.add_column(column, justify="right")
    return table


def print_interrupted(console: Console, run: TrainResult) -> None:
    """Where the run stands, and how it goes on."""
    console.print(f"stopped after step {run.step} of {run.steps}, which {run.out} holds", soft_wrap=True)
    console.print("interrupted: the same command again goes on from there")


def print_written(console: Console, run: TrainResult) -> None:
    """How long it took, and what was written."""
    console.print(f"{run.steps} steps in {run.seconds:.0f} s, best at step {run.best_step}", soft_wrap=True)
    console.print(f"wrote {run.weights}, recipe.json, log.jsonl, train.csv, validation.csv beside it", soft_wrap=True)
