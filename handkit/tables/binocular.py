"""How the rows of the ablation of binocular transfer learn: one prior, the same pairs, other losses.

Pairs are made or gathered once, in OUT/pairs or OUT/gathered, and rows of one seed share the crops cut of them.
"""

import csv
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from handkit.errors import HandkitError
from handkit.inference.load import HAND_PRIOR, find_checkpoint
from handkit.methods.binocular_recipe import PULL, TERMS, BinocularRecipe
from handkit.nets.lixel_system import load_lixel
from handkit.recipe import load_recipe
from handkit.runs.binocular import learn_pairs, load_prior
from handkit.runs.binocular_pairs import BinocularPairs, find_pairs
from handkit.runs.made_pairs import MADE
from handkit.runs.result import RunOptions
from handkit.tables.binocular_recipe import BinocularRow, BinocularTable
from handkit.tables.training import Described, RowTraining, Say, Trained, training_figures

logger = logging.getLogger(__name__)

_SILHOUETTE: Final = "silhouette"


class BinocularTraining(RowTraining[BinocularRow]):
    """Of the table `table`: `init` holds the prior that all rows begin with, `changes` are made for all of them.

    Rows that do not learn are the prior, as weights that are given.
    """

    method = "binocular"
    too_big = "lower learning.batch"
    alone = "leave torchrun out, or train single rows by torchrun handkit selfsup binocular and give them by --weights"

    def __init__(self, table: BinocularTable, init: Path, *, changes: Sequence[str] = ()) -> None:
        self.table: BinocularTable = table
        self._init, self._changes = init, (*table.changes, *changes)
        self._out = Path()
        self._pairs: dict[int, BinocularPairs] = {}
        self._told = set[str]()

    @property
    def prior(self) -> Path:
        """The file. Raises HandkitError where there is none."""
        return find_checkpoint(self._init, HAND_PRIOR)

    def settings(self, row: BinocularRow | None = None, *, seed: int) -> BinocularRecipe:
        """A row's own, or what all have in common."""
        own = () if row is None else row.changes
        return load_recipe(BinocularRecipe, self.table.recipe, [*self._changes, f"train.seed={seed}", *own])

    def check(self, rows: Sequence[BinocularRow]) -> None:
        info, common = load_prior(self.prior)[1], self.settings(seed=0)
        if not common.data.stereo:  # hands are found in those, which takes its time
            find_pairs(Path(), common, info, dry_run=True)
        usual, void = _teaching(common), list[BinocularRow]()
        for row in rows:
            own = _teaching(self._own(row))
            if row.changes and (own == usual or not any(own[name] for name in TERMS)):
                void.append(row)
        if void:
            others = [row.name for row in self.table.rows if not row.learns or (row in rows and row not in void)]
            what = f"by these settings {', '.join(row.name for row in void)} would learn as all terms do, or from none"
            raise HandkitError(what, f"leave them out: --rows {','.join(others)}")

    def prepare(self, out: Path, rows: Sequence[BinocularRow], how: RunOptions, say: Say) -> None:
        self._out = out
        common = self.settings(seed=0)
        is_made = not (common.data.stereo or common.data.dataset or common.data.shards)
        if is_made:
            say(f"to learn from: {common.data.pairs} pairs in {out / MADE}")
        find_pairs(out, common, load_prior(self.prior)[1], **how)
        if is_made:
            self._changes = (*self._changes, f"data.shards={json.dumps(str(out / MADE))}")

    def pairs(self, *, seed: int, how: RunOptions) -> BinocularPairs:
        """What rows of a seed learn from, and are chosen by; crops of the seed before are forgotten."""
        if seed not in self._pairs:
            self._pairs = {seed: find_pairs(self._out, self.settings(seed=seed), load_prior(self.prior)[1], **how)}
        return self._pairs[seed]

    def train(self, row: BinocularRow, out: Path, *, seed: int, init: Path | None, how: RunOptions) -> Trained:
        settings, pairs = self.settings(row, seed=seed), self.pairs(seed=seed, how=how)
        run = learn_pairs(out, settings, self.prior, pairs, **how).run
        assert run is not None
        if run.interrupted:
            return Trained(run.weights, {}, interrupted=True)
        for name in idle_terms(run.out / "train.csv"):
            if name not in self._told:
                self._told.add(name)
                said = "%s, seed %d: %s was 0 in all steps that are logged: rows that differ in it say nothing of it"
                logger.warning(said, row.name, seed, name)
        return Trained(run.weights, {**training_figures(run), "best_step": float(run.best_step)})

    def describe(self, weights: Path) -> Described:
        network, info = load_lixel(weights)
        count = sum(parameter.numel() for parameter in network.parameters())
        return Described(count, str(info.data.get("hand", "open")))

    def _own(self, row: BinocularRow) -> BinocularRecipe:
        try:
            return self.settings(row, seed=0)
        except HandkitError as error:
            raise HandkitError(f"{row.name}: {error.what}", f"{error.fix}, or leave it out by --rows") from error


def _teaching(settings: BinocularRecipe) -> dict[str, Any]:
    """What decides what a row learns: weights of terms, without a mask none of silhouettes, and the pull's end."""
    weights = {name: getattr(settings.loss, name) for name in (*TERMS, PULL)}
    if settings.data.masks is None:
        weights[_SILHOUETTE] = 0.0
    return {**weights, "decay": settings.loss.prior_decay}


def idle_terms(log: Path) -> list[str]:
    """The terms of a run that were 0 all the time, such as that of one shape where every hand is seen once."""
    with log.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [name for name in TERMS if rows and name in rows[0] and all(float(row[name]) == 0 for row in rows)]
