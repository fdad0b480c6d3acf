"""What a table is: its rows, what they are measured on, and the figures that were published.

Figures of a row are named "set.measure", such as "validation.auc_2d", a measure being a key of `handkit evaluate`'s
metrics.json; or they are of the training: `params_m` (millions of parameters), `images_per_s`, `seconds`. How rows are
trained is each kind of table's own: `handkit.tables.seqhand_recipe`, `handkit.tables.s2hand_recipe`.
"""

from collections.abc import Iterable
from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from handkit.data.registry import DATASETS
from handkit.evaluate.protocols import PROTOCOLS, summary_keys
from handkit.recipe import Recipe

TRAINING_FIGURES: Final = ("params_m", "images_per_s", "seconds")
_MM_PER_CM: Final = 10.0

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]


class DrawnRecipe(Recipe):
    """What to generate where no folder is given: by `handkit generate` of this kind with these options.

    `sequences` counts pairs of "stereo".
    """

    kind: Literal["seqhand", "stereo"] = "seqhand"
    recipe: str = "seqhand"
    changes: tuple[str, ...] = ()
    split: Annotated[str, Field(pattern="^(train|val)$")] = "val"
    sequences: Annotated[int, Field(ge=1)] = 1000
    seed: Annotated[int, Field(ge=0)] = 0


class SetRecipe(Recipe):
    """A set to measure on, by a protocol of `handkit evaluate`; skipped without `drawn` unless its folder is given.

    `columns` are the measures that are shown, `orders` the one of them that rows are ordered by, `also` others whose
    order is told too. `fixed` asks for the validation set that `handkit generate` makes by default. A set that
    `stands_for` others is used where none of them is given, and their published figures are shown beside it. One that
    is `learned` is what the rows learn from, where that is drawn. `beside` are other methods of `handkit evaluate` over
    the same weights: their measures have the prefix that they are named by. One that is the `mean_of` others has no
    data set of its own.
    """

    name: Name
    dataset: str | None = None
    protocol: str
    columns: tuple[str, ...]
    orders: str
    also: tuple[str, ...] = ()
    split: str | None = None
    root_joint: str | None = None
    drawn: DrawnRecipe | None = None
    fixed: bool = False
    stands_for: tuple[Name, ...] = ()
    learned: bool = False
    beside: dict[str, str] = Field(default_factory=dict)
    mean_of: tuple[Name, ...] = ()

    @property
    def printed_as(self) -> tuple[str, ...]:
        """The sets whose published figures are shown beside this one."""
        return (self.name, *self.stands_for)

    @model_validator(mode="after")
    def _exists(self) -> "SetRecipe":
        if self.dataset is not None:
            check_name(self.dataset, DATASETS, "data set")
        if (self.dataset is None) != bool(self.mean_of):
            raise ValueError("a set should have dataset or mean_of, not both")
        keys = summary_keys(PROTOCOLS[check_name(self.protocol, PROTOCOLS, "protocol")])
        known = [prefix + key for prefix in ("", *self.beside) for key in keys]
        for key in (*self.columns, self.orders, *self.also):
            check_name(key, known, "measure")
        return self


class RowRecipe(Recipe):
    """One row; `published` are the printed figures, several where repetitions were printed."""

    name: Name
    label: str
    changes: tuple[str, ...] = ()
    published: dict[str, float | tuple[float, ...]] = Field(default_factory=dict)


class CompareRecipe(Recipe):
    """Two rows whose difference is said: a claim that `first` has the smaller error."""

    first: str
    second: str


class TableRecipe(Recipe):
    """A published table, or one of our own, written to files of the name `files`.

    `note` is said below it. `seeds` are the runs of each row unless told otherwise. Measures in `printed_in_cm` are
    printed in cm and are in mm here. With `tells_training` the first set's columns go on with those of the training.
    """

    title: str
    note: str = ""
    files: Name = "table"
    seeds: Annotated[int, Field(ge=1)] = 1
    printed_in_cm: tuple[str, ...] = ()
    tells_training: bool = True
    sets: tuple[SetRecipe, ...]
    rows: tuple[RowRecipe, ...]
    compare: tuple[CompareRecipe, ...] = ()

    @model_validator(mode="after")
    def _fits_together(self) -> "TableRecipe":
        sets, known = [one.name for one in self.sets], [row.name for row in self.rows]
        measures = {one.name: (*one.columns, one.orders, *one.also) for one in self.sets}
        figures = [*TRAINING_FIGURES, *(f"{name}.{key}" for name, keys in measures.items() for key in keys)]
        for number, row in enumerate(self.rows):
            if row.name in known[:number]:
                raise ValueError(f"two rows should not both be called {row.name}")
            for figure in row.published:
                check_name(figure, figures, "figure")
        for pair in self.compare:
            for name in (pair.first, pair.second):
                check_name(name, known, "row")
        for one in self.sets:
            for name in (*one.stands_for, *one.mean_of):
                check_name(name, sets, "set")
        for key in self.printed_in_cm:
            check_name(key, [key for keys in measures.values() for key in keys if key.endswith("_mm")], "length")
        return self

    def row(self, name: str) -> RowRecipe:
        """The row of that name."""
        return next(row for row in self.rows if row.name == name)

    def published(self, row: RowRecipe) -> dict[str, tuple[float, ...]]:
        """A row's printed figures in the columns' units, one for each repetition."""
        found = {}
        for figure, printed in row.published.items():
            each = printed if isinstance(printed, tuple) else (printed,)
            is_in_cm = figure.rpartition(".")[2] in self.printed_in_cm
            found[figure] = tuple(round(_MM_PER_CM * value, 9) for value in each) if is_in_cm else each
        return found


def check_name(name: str, known: Iterable[str], what: str) -> str:
    """`name`, if it is known; ValueError, as pydantic's validators raise it, saying what is."""
    if name not in (listed := list(known)):
        raise ValueError(f"{name!r} should be a {what} among {', '.join(listed)}")
    return name
