"""The ablation of binocular transfer: rows are runs of `handkit selfsup binocular` whose losses differ."""

from typing import Annotated, Final

from pydantic import Field, model_validator

from handkit.tables.recipe import RowRecipe, SetRecipe, TableRecipe, check_name

_MM: Final = ("mpvpe_mm", "mpjpe_mm", "depth_mm")
# Of every held-out pair: against labels, in the right camera or after the best similarity, and what needs none.
MEASURES: Final = (*_MM, "pa_mpvpe_mm", "pa_mpjpe_mm", "epipolar_gap_px", "silhouette_iou")
MEDIANS: Final = (*_MM, "epipolar_gap_px")  # over hands beside the mean: a few without a disparity weigh much
FIGURES: Final = (*MEASURES, *(f"median_{name}" for name in MEDIANS), "behind", "count")
_LOSS: Final = "loss."


class HeldOutRecipe(SetRecipe):
    """The pairs that no row learns from, of those that are given or made: `handkit.tables.binocular_measuring`."""

    protocol: str = "pairs"

    @model_validator(mode="after")
    def _exists(self) -> "HeldOutRecipe":
        for name in ("dataset", "split", "root_joint", "drawn", "beside", "mean_of"):
            if getattr(self, name):
                raise ValueError(f"held-out pairs have no {name}")
        for key in (*self.columns, self.orders, *self.also):
            check_name(key, FIGURES, "measure")
        return self


class BinocularRow(RowRecipe):
    """A prior that learns by changes to the loss alone, or without `learns` the prior as it is."""

    learns: bool = True

    @model_validator(mode="after")
    def _changes_the_loss(self) -> "BinocularRow":
        for change in self.changes:
            if not (self.learns and change.startswith(_LOSS)):
                raise ValueError(f"rows differ in their loss, not in {change.partition('=')[0]}")
        return self


class BinocularTable(TableRecipe):
    """Rows begin with one prior and share their pairs and budget: `changes` to a `recipe` of `selfsup binocular`."""

    recipe: str = "binocular"
    changes: tuple[str, ...] = ()
    sets: Annotated[tuple[HeldOutRecipe, ...], Field(min_length=1, max_length=1)]
    rows: tuple[BinocularRow, ...]
