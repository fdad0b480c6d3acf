"""The rows of a published table, one after the other: trained, measured, and kept."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch

from handkit.data.annotations import check_choice
from handkit.errors import HandkitError
from handkit.files import check_writable
from handkit.runs.result import RunOptions
from handkit.tables.figures import compare_rows, flat_figures, orders_of, spread, with_means
from handkit.tables.measuring import measure
from handkit.tables.recipe import RowRecipe, SetRecipe, TableRecipe
from handkit.tables.sets import OpenSet, open_set
from handkit.tables.training import Figures, RowTraining, Say
from handkit.train.place import launch

INTERRUPTED: Final = 130
FAILED: Final = 1


@dataclass(frozen=True, kw_only=True)
class TableOptions:
    """How much of a table is made, and how.

    `rows` are the wanted ones (None: all); those that they start from are made too. `seeds` are the runs of each (None:
    as many as the table says). `weights` are files that stand for rows, "{seed}" in them the seed. `data` are folders
    of the sets by name. `how` says where to compute.
    """

    rows: tuple[str, ...] | None = None
    seeds: int | None = None
    weights: Mapping[str, str] = field(default_factory=dict)
    data: Mapping[str, Path] = field(default_factory=dict)
    how: RunOptions = field(default_factory=lambda: RunOptions(device="auto", force=False, show_progress=False))


@dataclass(eq=False)
class TableResult:
    """Figures of every run by row and seed, those that failed and why; `summary` is what --json prints.

    Rows have folders of their own, but for those that `shared` is the name of one network of. `following` is a command
    to go on with.
    """

    table: TableRecipe
    out: Path
    rows: list[RowRecipe]
    sets: list[OpenSet] = field(default_factory=list)
    runs: dict[str, dict[int, Figures]] = field(default_factory=dict)
    failed: dict[str, HandkitError] = field(default_factory=dict)
    interrupted: bool = False
    shared: str | None = None
    following: str | None = None

    @property
    def exit_code(self) -> int:
        """0 done, 1 a row failed, 130 interrupted."""
        return INTERRUPTED if self.interrupted else FAILED if self.failed else 0

    def orders(self) -> list[dict[str, Any]]:
        """The orders of the rows on every set."""
        by_row = {name: list(runs.values()) for name, runs in self.runs.items()}
        return [order for one in self.sets for order in orders_of(self.table, one.recipe, self.rows, by_row)]

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
            printed = self.table.published(row)
            rows[row.name] = {
                "label": row.label,
                "published": {name: list(each) if len(each) > 1 else each[0] for name, each in printed.items()},
                "mean": {name: value.mean for name, value in means.items() if value is not None},
                "sd": {name: value.sd for name, value in means.items() if value is not None},
                "seeds": {str(seed): run for seed, run in runs.items()},
            }
        return {
            "table": self.table.title,
            "note": self.table.note or None,
            "out": str(self.out),
            "rows": rows,
            "sets": {
                one.recipe.name: {"root": None if one.root is None else str(one.root), "note": one.note or None}
                for one in self.sets
            },
            "orders": self.orders(),
            "comparisons": self.comparisons(),
            "failed": {name: {"error": error.what, "try": error.fix} for name, error in self.failed.items()},
            "interrupted": self.interrupted,
        }


def open_sets(out: Path, training: RowTraining[Any], options: TableOptions, say: Say) -> list[OpenSet]:
    """The sets that are given, and drawn where they have to be; means of sets that are all there after those."""
    sets: list[OpenSet] = []
    for recipe in training.table.sets:
        given = options.data.get(recipe.name)
        if recipe.mean_of or (given is None and not _is_wanted(recipe, options)):
            continue
        if given is None and recipe.learned:
            given = training.learned
        if given is None and recipe.drawn is not None:
            unit = "pairs" if recipe.drawn.kind == "stereo" else "sequences"
            say(f"set {recipe.name}: {recipe.drawn.sequences} {unit} in {out / 'data' / recipe.name}")
        found = open_set(
            recipe,
            given,
            out / "data" / recipe.name,
            hand_model=training.hand_model,
            show_progress=options.how["show_progress"],
        )
        if found is not None:
            sets.append(found)
            if found.note:
                say(f"set {recipe.name}: {found.note}")
    names = {one.recipe.name for one in sets}
    means = [recipe for recipe in training.table.sets if recipe.mean_of and names.issuperset(recipe.mean_of)]
    return [*sets, *(OpenSet(one, None, "", f"the mean of {' and '.join(one.mean_of)}") for one in means)]


def _is_wanted(recipe: SetRecipe, options: TableOptions) -> bool:
    """Whether none of the sets that it stands for is given."""
    return not any(name in options.data for name in recipe.stands_for)


OpenSets = Callable[[Path, RowTraining[Any], TableOptions, Say], list[OpenSet]]
"""What rows are measured on, once the training is prepared."""

Measure = Callable[[Path, Sequence[OpenSet], Path, RowTraining[Any], RunOptions], dict[str, Figures]]
"""What weights are worth on sets, by their names; what is kept of it goes to the second path."""


def run_table(
    out: Path,
    training: RowTraining[Any],
    options: TableOptions,
    *,
    say: Say = lambda _: None,
    on_error: Callable[[HandkitError], None] = lambda _: None,
    on_row: Callable[[TableResult], None] = lambda _: None,
    open_all: OpenSets = open_sets,
    measure_row: Measure = measure,
) -> TableResult:
    """Train and measure every row with every seed, or go on where it was; all rows once before the next seed.

    `say` is told what is begun, `on_error` of rows that fail, which do not stop the others, `on_row` is given the table
    so far. `open_all` finds what is measured on, `measure_row` measures a row's weights there. Raises HandkitError for
    what concerns all rows.
    """
    table = training.table
    rows = _chosen(training, options)
    learning = [row for row in rows if row.name not in options.weights]
    check_options(training, options)
    training.check(learning)
    check_writable(out)
    result = TableResult(table, out, rows)
    try:
        training.prepare(out, learning, options.how, say)
        result.sets = open_all(out, training, options, say)
        weights: dict[tuple[str, int], Path] = {}
        for seed in range(table.seeds if options.seeds is None else options.seeds):
            for row in rows:
                name = f"{row.name}, seed {seed}"
                try:
                    done = _run_row(
                        result,
                        training,
                        row,
                        seed=seed,
                        options=options,
                        weights=weights,
                        say=say,
                        measure_row=measure_row,
                    )
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
    training: RowTraining[Any],
    row: RowRecipe,
    *,
    seed: int,
    options: TableOptions,
    weights: dict[tuple[str, int], Path],
    say: Say,
    measure_row: Measure,
) -> bool:
    """Train and measure one row with one seed; False where training was interrupted."""
    out, known = result.out / row.name / f"seed{seed}", {}
    if row.name in options.weights:
        weights[row.name, seed] = Path(options.weights[row.name].replace("{seed}", str(seed)))
        if not weights[row.name, seed].is_file():
            raise HandkitError(f"{weights[row.name, seed]} is no file", "check the path")
    else:
        start = training.starts_from(row)
        init = None if start is None else weights.get((start, seed))
        if start is not None and init is None:
            raise HandkitError(f"there are no weights of {start}, from which it starts", "see its own error")
        say(f"{row.name}, seed {seed}: training")
        try:
            run = training.train(row, out, seed=seed, init=init, how=options.how)
        except (MemoryError, torch.OutOfMemoryError) as error:
            raise HandkitError(f"out of memory ({str(error).splitlines()[0]})", training.too_big) from error
        if run.interrupted:
            return False
        weights[row.name, seed], known = run.weights, run.figures
    say(f"{row.name}, seed {seed}: measuring")
    own = [one for one in result.sets if not one.recipe.mean_of]
    figures = flat_figures(measure_row(weights[row.name, seed], own, out, training, options.how))
    means = with_means([one.recipe for one in result.sets], figures)
    result.runs.setdefault(row.name, {})[seed] = {**means, **known}
    return True


def _chosen(training: RowTraining[Any], options: TableOptions) -> list[RowRecipe]:
    """The wanted rows in the table's order, and those that they start from."""
    rows = training.table.rows
    names = [row.name for row in rows]
    wanted = set(names if options.rows is None else options.rows)
    for name in (*wanted, *options.weights):
        check_choice("row", name, names)
    for row in reversed(rows):
        start = training.starts_from(row)
        if row.name in wanted and start is not None and row.name not in options.weights:
            wanted.add(start)
    return [row for row in rows if row.name in wanted]


def check_options(training: RowTraining[Any], options: TableOptions) -> None:
    """Raise HandkitError for what would only be found out after hours."""
    for name, root in options.data.items():
        check_choice("set to measure on", name, [one.name for one in training.table.sets if not one.mean_of])
        if not root.exists():
            raise HandkitError(f"{root} does not exist", "check the path")
    if torch.distributed.is_torchelastic_launched():
        raise HandkitError("a table is made by one process", training.alone)
    launch(options.how["device"], "32-true")  # tells a missing CUDA device before any work
