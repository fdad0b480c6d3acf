"""SeqHAND's tables: rows are networks that are pretrained, and finetuned on stills."""

from pydantic import model_validator

from handkit.data.registry import TRAINING
from handkit.nets import NETWORKS
from handkit.recipe import Recipe
from handkit.tables.recipe import DrawnRecipe, RowRecipe, TableRecipe, check_name


class StillsRecipe(Recipe):
    """Single pictures that rows are moved to where none are given: frames of drawn sequences."""

    dataset: str = "seqhand"
    drawn: DrawnRecipe

    @model_validator(mode="after")
    def _exists(self) -> "StillsRecipe":
        check_name(self.dataset, TRAINING, "data set to learn from")
        return self


class StageRecipe(Recipe):
    """A recipe of `handkit pretrain seqhand` or `handkit finetune seqhand`, and changes to it for every row."""

    recipe: str
    changes: tuple[str, ...] = ()


class SeqHandRow(RowRecipe):
    """A network that is pretrained, or with `starts_from` an earlier row that is finetuned, `changes` to it.

    `single_frames` pretrains on as many frames a step, each of them alone.
    """

    network: str | None = None
    starts_from: str | None = None
    single_frames: bool = False

    @model_validator(mode="after")
    def _has_one_origin(self) -> "SeqHandRow":
        if (self.network is None) == (self.starts_from is None):
            raise ValueError("a row should have network or starts_from, not both")
        if self.network is not None:
            check_name(self.network, NETWORKS, "network")
        return self


class SeqHandTable(TableRecipe):
    """A table of SeqHAND's: by what rows are pretrained and finetuned."""

    pretrain: StageRecipe
    finetune: StageRecipe | None = None
    stills: StillsRecipe | None = None
    rows: tuple[SeqHandRow, ...]

    @model_validator(mode="after")
    def _starts_are_known(self) -> "SeqHandTable":
        for number, row in enumerate(self.rows):
            if row.starts_from is not None:
                check_name(row.starts_from, [earlier.name for earlier in self.rows[:number]], "earlier row")
                if self.finetune is None or self.stills is None:
                    raise ValueError(f"the row {row.name} should have finetune and stills to learn by")
        return self

    def row(self, name: str) -> SeqHandRow:
        """The row of that name."""
        return next(row for row in self.rows if row.name == name)
