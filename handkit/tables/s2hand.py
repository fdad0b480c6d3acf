"""How rows of S2HAND's tables are trained: branches that rows share, then each row by itself, from one set of hands.

A branch is in `OUT/branches/seed<k>-<digest>`, the digest of all that decides it; gathered hands are in `OUT/gathered`.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from handkit.data.window_batches import find_windows
from handkit.errors import HandkitError
from handkit.gather.options import NamedDataset, hash_of
from handkit.methods.s2hand_recipe import S2HandRecipe
from handkit.nets.s2hand_system import load_system
from handkit.recipe import load_recipe
from handkit.runs.result import RunOptions
from handkit.runs.s2hand import SelfsupOptions, run_stage, stages_of
from handkit.runs.s2hand_data import GatheredData, gather_data, parse_source
from handkit.tables.recipe import DrawnRecipe
from handkit.tables.s2hand_branches import branch_settings
from handkit.tables.s2hand_recipe import S2HandRow, S2HandTable
from handkit.tables.sets import draw
from handkit.tables.training import Described, RowTraining, Say, Trained, training_figures
from handkit.train import TrainResult

BRANCHES: Final = "branches"


class S2HandTraining(RowTraining[S2HandRow]):
    """Of the table `table`.

    `changes` are made to `recipe` (the table's own, if None) for all rows. `sources` are what they learn from, `more`
    what rows with `has_more` learn from besides, as `handkit selfsup s2hand --data` takes them; without, drawn ones.
    """

    method = "s2hand"
    too_big = "lower stages.hand.batch, stages.images.batch and their like"
    alone = "leave torchrun out, or train single rows by torchrun handkit selfsup s2hand and give them by --weights"

    def __init__(
        self,
        table: S2HandTable,
        *,
        recipe: str | None = None,
        changes: Sequence[str] = (),
        sources: Sequence[str] = (),
        more: Sequence[str] = (),
    ) -> None:
        self.table: S2HandTable = table
        self._recipe, self._changes = recipe or table.recipe, tuple(changes)
        self._sources, self._more = tuple(sources), tuple(more)
        self._learned: Path | None = None
        self._out = Path()
        self._begun: set[Path] = set()
        self._gathered: dict[str, GatheredData] = {}

    @property
    def learned(self) -> Path | None:
        return self._learned

    def settings(self, row: S2HandRow, *, seed: int) -> S2HandRecipe:
        """A row's own, its changes after those for all rows."""
        sources = [*self._sources, *(self._more if row.has_more else ())]
        changes = [*self._changes, f"data.sources={_toml(sources)}", f"train.seed={seed}", *row.changes]
        return load_recipe(S2HandRecipe, self._recipe, changes)

    def check(self, rows: Sequence[S2HandRow]) -> None:
        for text in (*self._sources, *self._more):
            source = parse_source(text)
            path = source.root if isinstance(source, NamedDataset) else Path(source)
            if not path.exists():
                raise HandkitError(f"{path} does not exist", "check the path")
        if self._more and not any(row.has_more for row in rows):
            raise HandkitError(f"no row of {self.table.title} learns from more data", "leave --more out")
        for row in rows:
            stages_of(self.settings(row, seed=0), SelfsupOptions(together=row.together))

    def prepare(self, out: Path, rows: Sequence[S2HandRow], how: RunOptions, say: Say) -> None:
        self._out = out
        if not rows:
            return
        if not self._sources:
            data = self.settings(rows[0], seed=0).data
            drawn = DrawnRecipe(
                recipe=data.synthetic_recipe,
                changes=self.table.synthetic.changes,
                split="train",
                sequences=data.synthetic_sequences,
            )
            self._learned = _drawn(drawn, out / "data" / "learned", how, say)
            self._sources = (f"seqhand={self._learned}",)
        if not self._more and self.table.more is not None and any(row.has_more for row in rows):
            self._more = (f"seqhand={_drawn(self.table.more, out / 'data' / 'more', how, say)}",)

    def train(self, row: S2HandRow, out: Path, *, seed: int, init: Path | None, how: RunOptions) -> Trained:
        settings = self.settings(row, seed=seed)
        data = self._gather(settings, how)
        if row.together == "video":
            find_windows(data.learned, frames=settings.data.frames, interval=settings.data.interval)  # raises early
        runs: list[TrainResult] = []
        for stage in stages_of(settings, SelfsupOptions(together=row.together)):
            if stage == row.together:
                runs.append(run_stage(out, stage, settings, data, init=[run.weights for run in runs], **how))
            else:
                runs.append(self._branch(stage, settings, data, how))
            if runs[-1].interrupted:
                return Trained(runs[-1].weights, {}, interrupted=True)
        figures = training_figures(runs[-1])
        return Trained(runs[-1].weights, {**figures, "seconds": sum(run.seconds for run in runs)})

    def describe(self, weights: Path) -> Described:
        system, info = load_system(weights)
        count = sum(parameter.numel() for parameter in system.parameters())
        return Described(count, str(info.data.get("hand", "open")))

    def _branch(self, stage: str, settings: S2HandRecipe, data: GatheredData, how: RunOptions) -> TrainResult:
        """A stage before the last one, trained once for all rows that would train it alike."""
        own = branch_settings(settings, stage)
        digest = hash_of(stage, own.model_dump(mode="json", exclude={"search"}), data.key, data.landmarks)
        folder = self._out / BRANCHES / f"seed{own.train.seed}-{digest}"
        force = how["force"] and folder not in self._begun
        self._begun.add(folder)
        return run_stage(
            folder, stage, own, data, device=how["device"], force=force, show_progress=how["show_progress"]
        )

    def _gather(self, settings: S2HandRecipe, how: RunOptions) -> GatheredData:
        """The hands of a row's sources, found once."""
        key = settings.data.model_dump_json(exclude={"frames", "interval"})
        if key not in self._gathered:
            self._gathered[key] = gather_data(self._out, settings, show_progress=how["show_progress"])
        return self._gathered[key]


def _drawn(drawn: DrawnRecipe, folder: Path, how: RunOptions, say: Say) -> Path:
    say(f"to learn from: {drawn.sequences} sequences in {folder}")
    return draw(drawn, folder, show_progress=how["show_progress"])


def _toml(texts: Sequence[str]) -> str:
    return "[" + ", ".join(json.dumps(text) for text in texts) + "]"
