"""A table for people, and as files: ours above, the published figures below each row."""

import csv
import json
from collections.abc import Iterator, Sequence
from typing import Final

from rich.table import Table

from handkit.files import atomic_path
from handkit.runs.result import report_console, report_table
from handkit.tables.figures import Spread, sentences, spread
from handkit.tables.recipe import TRAINING_FIGURES, RowRecipe
from handkit.tables.run import TableResult
from handkit.tables.sets import OpenSet

_PREFIXES: Final = {"ra_": "rooted ", "pa_": "Procrustes ", "cs_": "centred "}
_TITLES: Final = {
    "auc_2d": "AUC 2D",
    "auc_j": "AUC 3D",
    "epe_2d_px": "2D, px",
    "mpjpe_mm": "3D, mm",
    "acc_err_mm_per_frame2": "acc. error, mm",
    "params_m": "params, M",
    "images_per_s": "images/s",
    "seconds": "s",
}
_DIGITS: Final = {"auc_2d": 3, "auc_j": 3, "params_m": 2, "images_per_s": 0, "seconds": 0}
_ABSENT: Final = "-"


def print_report(result: TableResult) -> None:
    """Print to stdout."""
    console = report_console()
    for table in _tables(result):
        console.print(table)
        console.print()
    for line in _lines(result):
        console.print(line, soft_wrap=True)
    if result.interrupted:
        console.print("interrupted: the same command again goes on from there")
    console.print(f"wrote to {result.out}: table.csv, table.md, table.json", soft_wrap=True)
    if (report := _best_report(result)) is not None:
        console.print(f"next: open {report}", soft_wrap=True)


def write_table(result: TableResult) -> None:
    """table.csv (a line per row and seed, and the published ones), table.md and table.json into the table's folder."""
    names = _figures(result)
    lines = [["row", "seed", *names]]
    for row in result.rows:
        for seed, run in result.runs.get(row.name, {}).items():
            lines.append([row.name, str(seed), *(_exact(run.get(name)) for name in names)])
        if row.published:
            lines.append([row.name, "published", *(_exact(row.published.get(name)) for name in names)])
    with atomic_path(result.out / "table.csv") as partial, partial.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(lines)
    with atomic_path(result.out / "table.md") as partial:
        partial.write_text("\n".join(_markdown(result)) + "\n", encoding="utf-8")
    with atomic_path(result.out / "table.json") as partial:
        partial.write_text(json.dumps(result.summary, indent=2) + "\n", encoding="utf-8")


def _tables(result: TableResult) -> Iterator[Table]:
    """One per set; the first has what training took."""
    for number, one in enumerate(result.sets):
        columns = _columns(one, with_training=number == 0)
        has_published = any(name in row.published for row in result.rows for name in columns)
        title = f"{one.recipe.name}, published below" if has_published else one.recipe.name
        table = report_table(title, *map(_title, columns))
        for row in result.rows:
            table.add_row(row.name, *_ours(result, row, columns))
            if any(name in row.published for name in columns):
                table.add_row(f"  {row.label}", *_published(row, columns), style="dim")
        yield table


def _markdown(result: TableResult) -> Iterator[str]:
    yield f"# {result.table.title}"
    for number, one in enumerate(result.sets):
        columns = _columns(one, with_training=number == 0)
        yield ""
        yield f"| {one.recipe.name} | {' | '.join(map(_title, columns))} |"
        yield f"|---|{'---|' * len(columns)}"
        for row in result.rows:
            yield f"| {row.label} (`{row.name}`) | {' | '.join(_ours(result, row, columns))} |"
            if any(name in row.published for name in columns):
                yield f"| published | {' | '.join(_published(row, columns))} |"
    yield ""
    yield from _lines(result)


def _lines(result: TableResult) -> Iterator[str]:
    """What is to be known of the sets, the orders and claims, and what failed."""
    for one in result.sets:
        yield f"{one.recipe.name}: {one.root}{f', {one.note}' if one.note else _fixed(one)}"
    seeds = max((len(runs) for runs in result.runs.values()), default=0)
    if seeds > 1:
        yield f"mean ± standard deviation over {seeds} seeds"
    yield from sentences(result.orders(), result.comparisons())
    for name, error in result.failed.items():
        yield f"failed: {name}: {error.what}"


def _best_report(result: TableResult) -> str | None:
    """The scores of the row that is first on the first set."""
    first = next((order for order in result.orders() if order["order"]), None)
    if first is None:
        return None
    row = first["order"][0]
    return f"{result.out / row / f'seed{min(result.runs[row])}'}/scores/{first['set']}/report.html"


def _fixed(one: OpenSet) -> str:
    return ", the fixed validation set" if one.recipe.fixed else ""


def _columns(one: OpenSet, *, with_training: bool) -> list[str]:
    own = [f"{one.recipe.name}.{key}" for key in one.recipe.columns]
    return [*own, *TRAINING_FIGURES] if with_training else own


def _figures(result: TableResult) -> list[str]:
    """All figures that any run has, the shown ones first."""
    shown = [name for i, one in enumerate(result.sets) for name in _columns(one, with_training=i == 0)]
    return list(
        dict.fromkeys([*shown, *(name for runs in result.runs.values() for run in runs.values() for name in run)])
    )


def _ours(result: TableResult, row: RowRecipe, columns: Sequence[str]) -> list[str]:
    runs = list(result.runs.get(row.name, {}).values())
    return [_told(name, spread(runs, name)) for name in columns]


def _published(row: RowRecipe, columns: Sequence[str]) -> list[str]:
    return [str(row.published[name]) if name in row.published else _ABSENT for name in columns]


def _told(name: str, value: Spread | None) -> str:
    if value is None:
        return _ABSENT
    digits = _DIGITS.get(_bare(name)[1], 2)
    return f"{value.mean:,.{digits}f}" + ("" if value.sd is None else f" ± {value.sd:,.{digits}f}")


def _exact(value: float | None) -> str:
    return "" if value is None else repr(value)


def _title(name: str) -> str:
    prefix, key = _bare(name)
    return _PREFIXES.get(prefix, "") + _TITLES.get(key, key)


def _bare(name: str) -> tuple[str, str]:
    """Alignment and measure of "set.alignment_measure"."""
    key = name.rpartition(".")[2]
    prefix = next((prefix for prefix in _PREFIXES if key.startswith(prefix)), "")
    return prefix, key.removeprefix(prefix)
