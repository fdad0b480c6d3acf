"""What a table is: its rows, what they learn from, what they are measured on, and the figures that were published.

Figures of a row are named "set.measure", such as "validation.auc_2d", a measure being a key of `handkit evaluate`'s
metrics.json; or they are of the training: `params_m` (millions of parameters), `images_per_s`, `seconds`.
"""

from collections.abc import Iterable
from typing import Annotated, Final

from pydantic import Field, model_validator

from handkit.data.registry import DATASETS, TRAINING
from handkit.evaluate.protocols import PROTOCOLS, summary_keys
from handkit.nets import NETWORKS
from handkit.recipe import Recipe

TRAINING_FIGURES: Final = ("params_m", "images_per_s", "seconds")

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]


class DrawnRecipe(Recipe):
    """Sequences to generate where no folder is given: those of `handkit generate seqhand` with these options."""

    recipe: str = "seqhand"
    changes: tuple[str, ...] = ()
    split: Annotated[str, Field(pattern="^(train|val)$")] = "val"
    sequences: Annotated[int, Field(ge=1)] = 1000
    seed: Annotated[int, Field(ge=0)] = 0


class SetRecipe(Recipe):
    """A set to measure on, by a protocol of `handkit evaluate`; skipped without `drawn` unless its folder is given.

    `columns` are the measures that are shown, `orders` the one of them, an error, that rows are ordered by. `fixed`
    asks for the validation set that `handkit generate` makes by default.
    """

    name: Name
    dataset: str
    protocol: str
    columns: tuple[str, ...]
    orders: str
    split: str | None = None
    root_joint: str | None = None
    drawn: DrawnRecipe | None = None
    fixed: bool = False

    @model_validator(mode="after")
    def _exists(self) -> "SetRecipe":
        _check(self.dataset, DATASETS, "data set")
        for key in (*self.columns, self.orders):
            _check(key, summary_keys(PROTOCOLS[_check(self.protocol, PROTOCOLS, "protocol")]), "measure")
        return self


class StillsRecipe(Recipe):
    """Single pictures that rows are moved to where none are given: frames of drawn sequences."""

    dataset: str = "seqhand"
    drawn: DrawnRecipe

    @model_validator(mode="after")
    def _exists(self) -> "StillsRecipe":
        _check(self.dataset, TRAINING, "data set to learn from")
        return self


class StageRecipe(Recipe):
    """A recipe of `handkit pretrain seqhand` or `handkit finetune seqhand`, and changes to it for every row."""

    recipe: str
    changes: tuple[str, ...] = ()


class RowRecipe(Recipe):
    """One row: a network that is pretrained, or with `starts_from` an earlier row that is finetuned, `changes` to it.

    `single_frames` pretrains on as many frames a step, each of them alone.
    """

    name: Name
    label: str
    network: str | None = None
    starts_from: str | None = None
    single_frames: bool = False
    changes: tuple[str, ...] = ()
    published: dict[str, float] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _has_one_origin(self) -> "RowRecipe":
        if (self.network is None) == (self.starts_from is None):
            raise ValueError("a row should have network or starts_from, not both")
        if self.network is not None:
            _check(self.network, NETWORKS, "network")
        return self


class CompareRecipe(Recipe):
    """Two rows whose difference is said: a claim that `first` has the smaller error."""

    first: str
    second: str


class TableRecipe(Recipe):
    """A published table."""

    title: str
    pretrain: StageRecipe
    finetune: StageRecipe | None = None
    stills: StillsRecipe | None = None
    sets: tuple[SetRecipe, ...]
    rows: tuple[RowRecipe, ...]
    compare: tuple[CompareRecipe, ...] = ()

    @model_validator(mode="after")
    def _fits_together(self) -> "TableRecipe":
        known: list[str] = []
        figures = [*TRAINING_FIGURES, *(f"{one.name}.{key}" for one in self.sets for key in (*one.columns, one.orders))]
        for row in self.rows:
            if row.name in known:
                raise ValueError(f"two rows should not both be called {row.name}")
            if row.starts_from is not None:
                _check(row.starts_from, known, "earlier row")
                if self.finetune is None or self.stills is None:
                    raise ValueError(f"the row {row.name} should have finetune and stills to learn by")
            for figure in row.published:
                _check(figure, figures, "figure")
            known.append(row.name)
        for pair in self.compare:
            for name in (pair.first, pair.second):
                _check(name, known, "row")
        return self

    def row(self, name: str) -> RowRecipe:
        """The row of that name."""
        return next(row for row in self.rows if row.name == name)


def _check(name: str, known: Iterable[str], what: str) -> str:
    if name not in (listed := list(known)):
        raise ValueError(f"{name!r} should be a {what} among {', '.join(listed)}")
    return name
