"""HandNet's tables and figures: rows are networks that are trained, or what is measured of a single one."""

from typing import Final, Literal, get_args

from pydantic import Field, model_validator

from handkit.tables.recipe import DrawnRecipe, TableRecipe, check_name

NetworkName = Literal["single-stage", "multi-stage", "segmentation", "stereo"]
NETWORKS: Final = get_args(NetworkName)
# Those that begin with the weights of another.
STARTS: Final[dict[str, str]] = {"segmentation": "multi-stage", "stereo": "multi-stage"}
Measured = Literal["masks", "pairs", "iterations"]


class HandNetTable(TableRecipe):
    """A table or figure of HandNet's.

    Without `network` every row is a network that is trained, and scored as `handkit evaluate` scores hands. Else all
    rows are `measured` of that one: "masks" by segmenter, "pairs" of views, hands refined for so many "iterations" (the
    rows whose names are numbers) of the first `samples` of a set. Where no shards are given the last two networks learn
    from drawn `pairs`; `stereo_changes` are made to the recipe of the stereo stages.
    """

    network: NetworkName | None = None
    measured: Measured | None = None
    samples: int = Field(default=200, ge=1)
    pairs: DrawnRecipe | None = None
    stereo_changes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _can_be_made(self) -> "HandNetTable":
        if (self.network is None) != (self.measured is None):
            raise ValueError("a table should have both network and measured, or none")
        if self.network in STARTS and self.pairs is None:
            raise ValueError(f"a table of {self.network} should have pairs to learn from")
        for row in self.rows if self.network is None else ():
            check_name(row.name, NETWORKS, "network")
        return self
