"""What a training run tells: rows in files, and a progress line on a terminal."""

import csv
import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Row = Mapping[str, float]


class TrainLog:
    """`log.jsonl` with every row, and `train.csv` and `validation.csv` with those of a kind.

    Every row has `step`. Rows that an earlier run wrote after step `after` are dropped, so that a run that goes on from
    there leaves the files of one that was never stopped.
    """

    def __init__(self, folder: Path, *, after: int) -> None:
        self.folder = folder
        self._columns: dict[str, list[str]] = {}
        if (folder / "log.jsonl").is_file():
            self._keep(after)

    def write(self, kind: str, row: Row) -> None:
        """Add a row of kind "train" or "validation"."""
        with (self.folder / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"kind": kind, **row}) + "\n")
        path = self.folder / f"{kind}.csv"
        starts = kind not in self._columns
        columns = self._columns.setdefault(kind, list(row))
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, extrasaction="ignore", restval="")
            if starts:
                writer.writeheader()
            writer.writerow(dict(row))

    def _keep(self, after: int) -> None:
        lines = (self.folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [row for line in lines if (row := _row(line)) is not None and row["step"] <= after]
        for name in ("log.jsonl", "train.csv", "validation.csv"):
            (self.folder / name).unlink(missing_ok=True)
        for row in rows:
            self.write(row.pop("kind"), row)


def _row(line: str) -> dict | None:
    """A row, or None for the half line that a killed run may leave."""
    try:
        return json.loads(line)
    except ValueError:
        return None


class TrainView:
    """A progress line on stderr: steps, samples a second, loss terms, time left; nothing where it is not wanted."""

    def __init__(self, steps: int, done: int, *, shown: bool) -> None:
        self._progress = Progress(
            TextColumn("training"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[said]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not shown,
        )
        self._task = self._progress.add_task("", total=steps, completed=done, said="")

    def __enter__(self) -> "TrainView":
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def advance(self) -> None:
        self._progress.advance(self._task)

    def say(self, row: Row) -> None:
        """Show a row's terms; `samples_per_s` first."""
        rate = row.get("samples_per_s", math.nan)
        terms = "  ".join(f"{name} {value:.4g}" for name, value in row.items() if name not in _NOT_TERMS)
        self._progress.update(self._task, said=f"{rate:,.0f}/s  {terms}")


_NOT_TERMS = frozenset({"step", "lr", "gradient_norm", "samples_per_s", "seconds"})
