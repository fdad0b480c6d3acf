"""S2HAND's tables: rows are changes to one recipe of `handkit selfsup`, learned from the same data."""

from typing import Literal

from pydantic import model_validator

from handkit.recipe import Recipe
from handkit.tables.recipe import DrawnRecipe, RowRecipe, TableRecipe


class SyntheticRecipe(Recipe):
    """Changes to the sequences that stand for data: `frames` must hold the longest window of a row."""

    changes: tuple[str, ...] = ()


class S2HandRow(RowRecipe):
    """`changes` to the recipe; after the branches it learns `together` from images or from windows of video.

    With `has_more` it learns from more data: `--more`, else drawn ones.
    """

    together: Literal["images", "video"] = "images"
    has_more: bool = False


class S2HandTable(TableRecipe):
    """A table of S2HAND's.

    `recipe` is that of `handkit selfsup` which rows change, `synthetic` what is changed of its sequences where no data
    are given, `more` the drawn sequences of rows that learn from more.
    """

    recipe: str = "s2hand"
    synthetic: SyntheticRecipe = SyntheticRecipe()
    more: DrawnRecipe | None = None
    rows: tuple[S2HandRow, ...]

    @model_validator(mode="after")
    def _more_is_known(self) -> "S2HandTable":
        if self.more is None and any(row.has_more for row in self.rows):
            raise ValueError("a table with a row that has_more should have more to draw")
        return self
