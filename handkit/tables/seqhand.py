"""How rows of SeqHAND's tables are trained: pretrained, or finetuned on stills from the weights of an earlier row."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from handkit.errors import HandkitError
from handkit.methods.seqhand_recipe import FinetuneRecipe, SeqHandRecipe
from handkit.nets import load_network
from handkit.recipe import load_recipe
from handkit.runs.result import RunOptions
from handkit.runs.seqhand import finetune_seqhand, pretrain_seqhand
from handkit.tables.seqhand_recipe import SeqHandRow, SeqHandTable
from handkit.tables.sets import draw
from handkit.tables.training import Described, RowTraining, Say, Trained, training_figures


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What the user changed in the two recipes, for every row alike."""

    pretrain: tuple[str, ...] = ()
    finetune: tuple[str, ...] = ()


@dataclass(frozen=True)
class Stills:
    """Data sets to finetune on, as (name, split or None, folder)."""

    sources: tuple[tuple[str, str | None, Path], ...] = field(default_factory=tuple)

    def change(self) -> str:
        """As a change of the recipe."""
        told = [
            f"{{dataset = {json.dumps(name)}, root = {json.dumps(str(root))}"
            + (f", split = {json.dumps(split)}}}" if split else "}")
            for name, split, root in self.sources
        ]
        return f"data.sources=[{', '.join(told)}]"


class SeqHandTraining(RowTraining[SeqHandRow]):
    """Of the table `table`; `stills` are those to finetune on, without them drawn ones."""

    method = "seqhand"
    too_big = "lower data.batch and raise train.accumulate"
    alone = "train single rows by torchrun into OUT/ROW/seed0, then make the table"

    def __init__(self, table: SeqHandTable, budget: Budget, stills: Stills) -> None:
        self.table: SeqHandTable = table
        self._budget, self._stills = budget, stills

    def starts_from(self, row: SeqHandRow) -> str | None:
        return row.starts_from

    def check(self, rows: Sequence[SeqHandRow]) -> None:
        table, sources = self.table, self._stills.sources
        for _, _, root in sources:
            if not root.exists():
                raise HandkitError(f"{root} does not exist", "check the path")
        if sources and table.finetune is None:
            raise HandkitError(f"no row of {table.title} is finetuned", "leave --train out")
        for row in rows:
            if row.starts_from is None:
                load_recipe(SeqHandRecipe, table.pretrain.recipe, self.pretrain_changes(row, seed=0))
            elif table.finetune is not None:
                load_recipe(FinetuneRecipe, table.finetune.recipe, self.finetune_changes(row, seed=0))

    def prepare(self, out: Path, rows: Sequence[SeqHandRow], how: RunOptions, say: Say) -> None:
        stills = self.table.stills
        if self._stills.sources or stills is None or all(row.starts_from is None for row in rows):
            return
        say(f"stills: {stills.drawn.sequences} sequences in {out / 'data' / 'stills'}")
        root = draw(stills.drawn, out / "data" / "stills", show_progress=how["show_progress"])
        self._stills = Stills(((stills.dataset, None, root),))

    def train(self, row: SeqHandRow, out: Path, *, seed: int, init: Path | None, how: RunOptions) -> Trained:
        table = self.table
        if init is None:
            changes = self.pretrain_changes(row, seed=seed)
            run = pretrain_seqhand(out, recipe=table.pretrain.recipe, changes=changes, **how).train
        else:
            assert table.finetune is not None
            changes = [*self.finetune_changes(row, seed=seed), self._stills.change()]
            run = finetune_seqhand(out, init=init, recipe=table.finetune.recipe, changes=changes, **how).train
        if run.interrupted:
            return Trained(run.weights, {}, interrupted=True)
        return Trained(run.weights, training_figures(run))

    def describe(self, weights: Path) -> Described:
        network, info = load_network(weights)
        count = sum(parameter.numel() for parameter in network.parameters())
        return Described(count, str(info.data.get("hand", "open")))

    def finetune_changes(self, row: SeqHandRow, *, seed: int) -> list[str]:
        """All changes to the recipe by which a row is finetuned, but for its data."""
        own = () if self.table.finetune is None else self.table.finetune.changes
        return [*own, *self._budget.finetune, f"train.seed={seed}", *row.changes]

    def pretrain_changes(self, row: SeqHandRow, *, seed: int) -> list[str]:
        """All changes to the recipe by which a row is pretrained, in the order in which they are made."""
        table = self.table
        changes = [*table.pretrain.changes, *self._budget.pretrain, f"network.name={row.network}", f"train.seed={seed}"]
        if row.single_frames:
            data = load_recipe(SeqHandRecipe, table.pretrain.recipe, changes).data
            changes += [
                f"data.batch={data.batch * data.frames}",
                f"data.validation_sequences={data.validation_sequences * data.frames}",
                "data.frames=1",
            ]
        return [*changes, *row.changes]
