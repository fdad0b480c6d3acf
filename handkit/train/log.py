"""The rows that a training run writes."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Row = Mapping[str, float]


class TrainLog:
    """`log.jsonl` with every row, and `train.csv` and `validation.csv` with those of a kind; TensorBoard's beside them.

    Every row has `step`. Rows that an earlier run wrote after step `after` are dropped, so that a run that goes on from
    there leaves the files of one that was never stopped. Without a folder nothing is written.
    """

    def __init__(self, folder: Path | None, *, after: int, tensorboard: bool = False) -> None:
        self.folder = folder
        self._columns: dict[str, list[str]] = {}
        self._board = _board(folder / "tensorboard", after) if folder is not None and tensorboard else None
        if folder is not None and (folder / "log.jsonl").is_file():
            self._keep(folder, after)

    def write(self, kind: str, row: Row) -> None:
        """Add a row of kind "train" or "validation"."""
        if self.folder is not None:
            self._write(self.folder, kind, row)
        if self._board is not None:
            for name, value in row.items():
                if name != "step":
                    self._board.add_scalar(f"{kind}/{name}", value, row["step"])

    def note(self, step: int, text: str) -> None:
        """Add words, to `log.jsonl` only."""
        if self.folder is not None:
            _append(self.folder, {"kind": "note", "step": step, "text": text})

    def close(self) -> None:
        if self._board is not None:
            self._board.close()

    def _write(self, folder: Path, kind: str, row: Mapping[str, Any]) -> None:
        _append(folder, {"kind": kind, **row})
        if kind == "note":
            return
        starts = kind not in self._columns
        columns = self._columns.setdefault(kind, list(row))
        with (folder / f"{kind}.csv").open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, extrasaction="ignore", restval="")
            if starts:
                writer.writeheader()
            writer.writerow(dict(row))

    def _keep(self, folder: Path, after: int) -> None:
        lines = (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [row for line in lines if (row := _row(line)) is not None and row["step"] <= after]
        for name in ("log.jsonl", "train.csv", "validation.csv"):
            (folder / name).unlink(missing_ok=True)
        for row in rows:
            self._write(folder, row.pop("kind"), row)


def _append(folder: Path, row: Mapping[str, Any]) -> None:
    with (folder / "log.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def _row(line: str) -> dict | None:
    """A row, or None for the half line that a killed run may leave."""
    try:
        return json.loads(line)
    except ValueError:
        return None


def _board(folder: Path, after: int) -> Any:
    """TensorBoard's writer, or None where it is not installed (`pip install tensorboard`)."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=after + 1)
