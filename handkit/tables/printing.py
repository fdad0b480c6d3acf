"""A table for people, and as files: ours above, the published figures below each row."""

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from rich.table import Table

from handkit.files import atomic_path
from handkit.runs.result import report_console, report_table
from handkit.tables.figures import Spread, sentences, spread, spread_of
from handkit.tables.recipe import TRAINING_FIGURES, RowRecipe
from handkit.tables.run import TableResult
from handkit.tables.sets import OpenSet

# In the order in which a key has them.
_PREFIXES: Final = {"median_": "median ", "no_keypoints_": "no KP ", "ra_": "rooted ", "pa_": "PA ", "cs_": "centred "}
_TITLES: Final = {
    "auc_2d": "AUC 2D",
    "auc_j": "AUC 3D",
    "auc_v": "AUC mesh",
    "epe_2d_px": "2D, px",
    "mpjpe_mm": "3D, mm",
    "mpvpe_mm": "mesh, mm",
    "depth_mm": "depth, mm",
    "epipolar_gap_px": "gap, px",
    "f_score_5mm": "F 5 mm",
    "f_score_15mm": "F 15 mm",
    "acc_mm_per_frame2": "acc., mm",
    "acc_err_mm_per_frame2": "acc. error, mm",
    "quaternion_rad": "quaternion, rad",
    "texture_sd": "texture S.D.",
    "shape_sd": "shape S.D.",
    "mask_iou": "IoU",
    "silhouette_iou": "IoU",
    "pixel_accuracy": "accuracy",
    "count": "hands",
    "params_m": "params, M",
    "images_per_s": "images/s",
    "seconds": "s",
}
_DIGITS: Final = {
    **dict.fromkeys(
        ("auc_2d", "auc_j", "auc_v", "f_score_5mm", "f_score_15mm", "mask_iou", "silhouette_iou", "pixel_accuracy"), 3
    ),
    **dict.fromkeys(("quaternion_rad", "texture_sd", "shape_sd"), 4),
    **dict.fromkeys(("images_per_s", "seconds", "count"), 0),
}
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
    files = ", ".join(f"{result.table.files}.{suffix}" for suffix in ("csv", "md", "json"))
    console.print(f"wrote to {result.out}: {files}", soft_wrap=True)
    if (report := _best_report(result)) is not None:
        console.print(f"next: open {report}", soft_wrap=True)
    elif result.following is not None:
        console.print(f"next: {result.following}", soft_wrap=True)


def write_table(result: TableResult) -> None:
    """The table's .csv (a line per row and seed, and the published ones), .md and .json into its folder."""
    names = _figures(result)
    lines = [["row", "seed", *names]]
    for row in result.rows:
        for seed, run in result.runs.get(row.name, {}).items():
            lines.append([row.name, str(seed), *(_exact(run.get(name)) for name in names)])
        lines += _published_lines(result, row, names)
    path = result.out / result.table.files
    with atomic_path(path.with_suffix(".csv")) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(lines)
    with atomic_path(path.with_suffix(".md")) as partial:
        partial.write_text("\n".join(_markdown(result)) + "\n", encoding="utf-8")
    with atomic_path(path.with_suffix(".json")) as partial:
        partial.write_text(json.dumps(result.summary, indent=2) + "\n", encoding="utf-8")


def _published_lines(result: TableResult, row: RowRecipe, names: Sequence[str]) -> Iterator[list[str]]:
    """One for every repetition that was printed."""
    printed = result.table.published(row)
    count = max(map(len, printed.values()), default=0)
    for number in range(count):
        values = (each[number] if number < len(each := printed.get(name, ())) else None for name in names)
        yield [row.name, "published" if count == 1 else f"published {number + 1}", *map(_exact, values)]


def _tables(result: TableResult) -> Iterator[Table]:
    """One per set; the first has what training took."""
    for number, one in enumerate(result.sets):
        columns = _columns(one.recipe.name, one, with_training=_tells_training(result, number))
        has_published = any(_published(result, row, one, number) for row in result.rows)
        title = f"{one.recipe.name}, published below" if has_published else one.recipe.name
        table = report_table(title, *map(_title, columns))
        for row in result.rows:
            table.add_row(row.name, *_ours(result, row, columns))
            for whose, cells in _published(result, row, one, number):
                table.add_row(f"  {row.label}{whose}", *cells, style="dim")
        yield table


def _markdown(result: TableResult) -> Iterator[str]:
    yield f"# {result.table.title}"
    for number, one in enumerate(result.sets):
        columns = _columns(one.recipe.name, one, with_training=_tells_training(result, number))
        yield ""
        yield f"| {one.recipe.name} | {' | '.join(map(_title, columns))} |"
        yield f"|---|{'---|' * len(columns)}"
        for row in result.rows:
            yield f"| {row.label} (`{row.name}`) | {' | '.join(_ours(result, row, columns))} |"
            for whose, cells in _published(result, row, one, number):
                yield f"| published{whose} | {' | '.join(cells)} |"
    yield ""
    yield from _lines(result)


def _lines(result: TableResult) -> Iterator[str]:
    """What is to be known of the table, the sets, the units, the orders and claims, and what failed."""
    if result.table.note:
        yield result.table.note
    for one in result.sets:
        if one.root is None:
            yield f"{one.recipe.name}: {one.note}"
            continue
        yield f"{one.recipe.name}: {one.root}{f', {one.note}' if one.note else _fixed(one)}{_in_place(one)}"
    if result.table.printed_in_cm:
        yield f"published in cm, shown in mm: {', '.join(map(_title, result.table.printed_in_cm))}"
    seeds = max((len(runs) for runs in result.runs.values()), default=0)
    if seeds > 1:
        yield f"mean ± standard deviation over {seeds} seeds"
    yield from sentences(result.orders(), result.comparisons())
    for name, error in result.failed.items():
        yield f"failed: {name}: {error.what}"


def _best_report(result: TableResult) -> Path | None:
    """The scores of the row that is first on the first set that is measured by itself; None without a report."""
    own = [one.recipe.name for one in result.sets if one.root is not None]
    first = next((order for order in result.orders() if order["order"] and order["set"] in own), None)
    if first is None:
        return None
    row = first["order"][0]
    scores = result.out / (result.shared or row) / f"seed{min(result.runs[row])}" / "scores"
    report = scores / str(first["set"]) / "report.html"
    return report if report.is_file() else None


def _fixed(one: OpenSet) -> str:
    return ", the fixed validation set" if one.recipe.fixed else ""


def _in_place(one: OpenSet) -> str:
    names = " and ".join(one.recipe.stands_for)
    return f", in the place of {names}, of which the published figures are" if names else ""


def _columns(name: str, one: OpenSet, *, with_training: bool) -> list[str]:
    """The set's columns as figures of the set `name`."""
    own = [f"{name}.{key}" for key in one.recipe.columns]
    return [*own, *TRAINING_FIGURES] if with_training else own


def _tells_training(result: TableResult, number: int) -> bool:
    """Whether the set of that number goes on with figures of the training."""
    return result.table.tells_training and number == 0


def _figures(result: TableResult) -> list[str]:
    """All figures that any run has, the shown ones first, those published beside them next."""
    sets = list(enumerate(result.sets))
    shown = [
        name for i, one in sets for name in _columns(one.recipe.name, one, with_training=_tells_training(result, i))
    ]
    for _, one in sets:
        shown += [name for other in one.recipe.stands_for for name in _columns(other, one, with_training=False)]
    return list(
        dict.fromkeys([*shown, *(name for runs in result.runs.values() for run in runs.values() for name in run)])
    )


def _ours(result: TableResult, row: RowRecipe, columns: Sequence[str]) -> list[str]:
    runs = list(result.runs.get(row.name, {}).values())
    return [_told(name, spread(runs, name)) for name in columns]


def _published(result: TableResult, row: RowRecipe, one: OpenSet, number: int) -> list[tuple[str, list[str]]]:
    """A row's published cells beside a set, for each set whose figures were published; whose, if of several."""
    printed = result.table.published(row)
    lines = []
    for name in one.recipe.printed_as:
        columns = _columns(name, one, with_training=_tells_training(result, number))
        if any(column in printed for column in columns):
            cells = [_printed(result, column, printed.get(column)) for column in columns]
            lines.append((f", {name}" if len(one.recipe.stands_for) > 1 else "", cells))
    return lines


def _printed(result: TableResult, name: str, values: Sequence[float] | None) -> str:
    """With as many decimals as the table prints of this figure, or of several repetitions as ours."""
    if not values:
        return _ABSENT
    if len(values) > 1:
        return _told(name, spread_of(values))
    columns = (result.table.published(row).get(name, ()) for row in result.table.rows)
    decimals = max(len(str(value).partition(".")[2]) for column in columns for value in column)
    return f"{values[0]:.{decimals}f}"


def _told(name: str, value: Spread | None) -> str:
    if value is None:
        return _ABSENT
    digits = _DIGITS.get(_bare(name)[1], 2)
    return f"{value.mean:,.{digits}f}" + ("" if value.sd is None else f" ± {value.sd:,.{digits}f}")


def _exact(value: float | None) -> str:
    return "" if value is None else repr(value)


def _title(name: str) -> str:
    words, key = _bare(name)
    return words + _TITLES.get(key, key)


def _bare(name: str) -> tuple[str, str]:
    """Method and alignment in words, and measure, of "set.method_alignment_measure"."""
    key, words = name.rpartition(".")[2], ""
    for prefix, told in _PREFIXES.items():
        if key.startswith(prefix):
            key, words = key.removeprefix(prefix), words + told
    return words, key
