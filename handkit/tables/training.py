"""What a table asks of the training of its rows; `handkit.tables.seqhand`, `s2hand` and `handnet` answer."""

import csv
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import ClassVar, Generic, NamedTuple, TypeVar

from handkit.runs.result import RunOptions
from handkit.tables.recipe import RowRecipe, TableRecipe
from handkit.train import TrainResult

Figures = dict[str, float]
Say = Callable[[str], None]
Row = TypeVar("Row", bound=RowRecipe)


@dataclass(frozen=True)
class Trained:
    """The weights of a row, and what its training says of itself; `interrupted` where it is not done."""

    weights: Path
    figures: Figures
    interrupted: bool = False


class Described(NamedTuple):
    """What weights are of: how many parameters, and the name of the hand that they were trained with."""

    parameters: int
    hand: str


class RowTraining(ABC, Generic[Row]):
    """How the rows of one kind of tables are trained.

    `method` is that of `handkit evaluate`, `too_big` and `alone` say what to do where memory does not suffice and where
    torchrun starts several processes.
    """

    method: ClassVar[str]
    too_big: ClassVar[str]
    alone: ClassVar[str]
    table: TableRecipe

    def starts_from(self, row: Row) -> str | None:
        """The name of the earlier row whose weights this one starts from."""
        return None

    @property
    def learned(self) -> Path | None:
        """The folder of drawn sequences that all rows learn from, once prepared; None where it is other data."""
        return None

    @property
    def hand_model(self) -> str:
        """The name of the hand that is drawn where sets are not given."""
        return "open"

    @abstractmethod
    def check(self, rows: Sequence[Row]) -> None:
        """Raise HandkitError for what would only be found out after hours of training these rows."""

    @abstractmethod
    def prepare(self, out: Path, rows: Sequence[Row], how: RunOptions, say: Say) -> None:
        """Make what these rows learn from, under the table's folder."""

    @abstractmethod
    def train(self, row: Row, out: Path, *, seed: int, init: Path | None, how: RunOptions) -> Trained:
        """Train a row, or go on with its run in `out`; `init` are the weights of the row it starts from."""

    @abstractmethod
    def describe(self, weights: Path) -> Described:
        """What weights of this kind hold. Raises HandkitError for others."""


def training_figures(run: TrainResult) -> Figures:
    """How fast a run was (median over its rows), and how long."""
    with (run.out / "train.csv").open(newline="", encoding="utf-8") as file:
        rates = [float(row["images_per_s"]) for row in csv.DictReader(file) if row.get("images_per_s")]
    return {"seconds": run.seconds, **({"images_per_s": median(rates)} if rates else {})}
