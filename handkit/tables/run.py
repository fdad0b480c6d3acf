"""`handkit pretrain seqhand-table2` and `handkit finetune seqhand-table3`: the rows, one after the other."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch

from handkit.data.annotations import check_choice
from handkit.errors import HandkitError
from handkit.files import check_writable
from handkit.recipe import load_recipe
from handkit.tables.figures import compare_rows, flat_figures, order_of, spread
from handkit.tables.recipe import RowRecipe, TableRecipe
from handkit.tables.sets import OpenSet, draw, open_set
from handkit.tables.stages import (
    Budget,
    Figures,
    Stills,
    check_recipes,
    measure,
    out_of_memory,
    train_row,
    training_figures,
)
from handkit.train.place import launch

INTERRUPTED: Final = 130
FAILED: Final = 1

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class TableOptions:
    """What a table is made of and how much of it.

    `rows` are the wanted ones (None: all); those that they start from are made too. `weights` are files that stand for
    rows, "{seed}" in them the seed. `data` are folders of the sets by name; `train` those to finetune on.
    """

    recipe: str
    rows: tuple[str, ...] | None = None
    seeds: int = 1
    weights: Mapping[str, str] = field(default_factory=dict)
    data: Mapping[str, Path] = field(default_factory=dict)
    train: tuple[tuple[str, str | None, Path], ...] = ()
    budget: Budget = field(default_factory=Budget)


@dataclass(eq=False)
class TableResult:
    """Figures of every run by row and seed, those that failed and why; `summary` is what --json prints."""

    table: TableRecipe
    out: Path
    rows: list[RowRecipe]
    sets: list[OpenSet] = field(default_factory=list)
    runs: dict[str, dict[int, Figures]] = field(default_factory=dict)
    failed: dict[str, HandkitError] = field(default_factory=dict)
    interrupted: bool = False

    @property
    def exit_code(self) -> int:
        """0 done, 1 a row failed, 130 interrupted."""
        return INTERRUPTED if self.interrupted else FAILED if self.failed else 0

    def orders(self) -> list[dict[str, Any]]:
        """The order of the rows on every set."""
        by_row = {name: list(runs.values()) for name, runs in self.runs.items()}
        return [order_of(one.recipe, self.rows, by_row) for one in self.sets]

    def comparisons(self) -> list[dict[str, Any]]:
        """The table's claims."""
        return compare_rows(self.table, [one.recipe for one in self.sets], self.runs)

    @property
    def summary(self) -> dict[str, Any]:
        rows = {}
        for row in self.rows:
            runs = self.runs.get(row.name, {})
            names = dict.fromkeys(figure for run in runs.values() for figure in run)
            means = {name: spread(list(runs.values()), name) for name in names}
            rows[row.name] = {
                "label": row.label,
                "published": dict(row.published),
                "mean": {name: value.mean for name, value in means.items() if value is not None},
                "sd": {name: value.sd for name, value in means.items() if value is not None},
                "seeds": {str(seed): run for seed, run in runs.items()},
            }
        return {
            "table": self.table.title,
            "out": str(self.out),
            "rows": rows,
            "sets": {one.recipe.name: {"root": str(one.root), "note": one.note or None} for one in self.sets},
            "orders": self.orders(),
            "comparisons": self.comparisons(),
            "failed": {name: {"error": error.what, "try": error.fix} for name, error in self.failed.items()},
            "interrupted": self.interrupted,
        }


def run_table(
    out: Path,
    options: TableOptions,
    *,
    say: Say = lambda _: None,
    on_error: Callable[[HandkitError], None] = lambda _: None,
    on_row: Callable[[TableResult], None] = lambda _: None,
) -> TableResult:
    """Train and measure every row with every seed, or go on where it was; all rows once before the next seed.

    `say` is told what is begun, `on_error` of rows that fail, which do not stop the others, `on_row` is given the table
    so far. Raises HandkitError for what concerns all rows.
    """
    table = load_recipe(TableRecipe, options.recipe)
    rows = _chosen(table, options)
    _check_options(table, options)
    check_recipes(table, rows, options.budget)
    check_writable(out)
    result = TableResult(table, out, rows)
    try:
        result.sets = _open_sets(out, table, options, say)
        stills = _open_stills(out, table, rows, options, say)
        weights: dict[tuple[str, int], Path] = {}
        for seed in range(options.seeds):
            for row in rows:
                name = f"{row.name}, seed {seed}"
                try:
                    done = _run_row(result, row, seed=seed, options=options, weights=weights, stills=stills, say=say)
                except HandkitError as error:
                    result.failed[name] = error
                    on_error(HandkitError(f"{name}: {error.what}", error.fix))
                    continue
                if not done:
                    result.interrupted = True
                    return result
                on_row(result)
    except KeyboardInterrupt:
        result.interrupted = True
    return result


def _run_row(
    result: TableResult,
    row: RowRecipe,
    *,
    seed: int,
    options: TableOptions,
    weights: dict[tuple[str, int], Path],
    stills: Stills,
    say: Say,
) -> bool:
    """Train and measure one row with one seed; False where training was interrupted."""
    out, budget, known = result.out / row.name / f"seed{seed}", options.budget, {}
    if row.name in options.weights:
        weights[row.name, seed] = Path(options.weights[row.name].replace("{seed}", str(seed)))
        if not weights[row.name, seed].is_file():
            raise HandkitError(f"{weights[row.name, seed]} is no file", "check the path")
    else:
        init = None if row.starts_from is None else weights.get((row.starts_from, seed))
        if row.starts_from is not None and init is None:
            raise HandkitError(f"there are no weights of {row.starts_from}, from which it starts", "see its own error")
        say(f"{row.name}, seed {seed}: training")
        try:
            run = train_row(result.table, row, out, seed=seed, budget=budget, init=init, stills=stills)
        except (MemoryError, torch.OutOfMemoryError) as error:
            raise out_of_memory(error) from error
        if run.train.interrupted:
            return False
        weights[row.name, seed], known = run.train.weights, training_figures(run)
    say(f"{row.name}, seed {seed}: measuring")
    measured = measure(
        weights[row.name, seed], result.sets, out, device=budget.device, show_progress=budget.show_progress
    )
    result.runs.setdefault(row.name, {})[seed] = {**flat_figures(measured), **known}
    return True


def _chosen(table: TableRecipe, options: TableOptions) -> list[RowRecipe]:
    """The wanted rows in the table's order, and those that they start from."""
    names = [row.name for row in table.rows]
    wanted = set(names if options.rows is None else options.rows)
    for name in (*wanted, *options.weights):
        check_choice("row", name, names)
    for row in reversed(table.rows):
        if row.name in wanted and row.starts_from is not None and row.name not in options.weights:
            wanted.add(row.starts_from)
    return [row for row in table.rows if row.name in wanted]


def _check_options(table: TableRecipe, options: TableOptions) -> None:
    """Raise HandkitError for what would only be found out after hours."""
    for name in options.data:
        check_choice("set to measure on", name, [one.name for one in table.sets])
    for root in (*options.data.values(), *(root for _, _, root in options.train)):
        if not root.exists():
            raise HandkitError(f"{root} does not exist", "check the path")
    if options.train and table.finetune is None:
        raise HandkitError(f"no row of {table.title} is finetuned", "leave --train out")
    if torch.distributed.is_torchelastic_launched():
        raise HandkitError(
            "a table is made by one process", "train single rows by torchrun into OUT/ROW/seed0, then make the table"
        )
    launch(options.budget.device, "32-true")  # tells a missing CUDA device before any work


def _open_sets(out: Path, table: TableRecipe, options: TableOptions, say: Say) -> list[OpenSet]:
    sets = []
    for recipe in table.sets:
        given = options.data.get(recipe.name)
        if given is None and recipe.drawn is not None:
            say(f"set {recipe.name}: {recipe.drawn.sequences} sequences in {out / 'data' / recipe.name}")
        show_progress = options.budget.show_progress
        found = open_set(recipe, given, out / "data" / recipe.name, show_progress=show_progress)
        if found is not None:
            sets.append(found)
            if found.note:
                say(f"set {recipe.name}: {found.note}")
    return sets


def _open_stills(out: Path, table: TableRecipe, rows: Sequence[RowRecipe], options: TableOptions, say: Say) -> Stills:
    if options.train:
        return Stills(options.train)
    learns = any(row.starts_from is not None and row.name not in options.weights for row in rows)
    if table.stills is None or not learns:
        return Stills()
    drawn = table.stills.drawn
    say(f"stills: {drawn.sequences} sequences in {out / 'data' / 'stills'}")
    root = draw(drawn, out / "data" / "stills", show_progress=options.budget.show_progress)
    return Stills(((table.stills.dataset, None, root),))
