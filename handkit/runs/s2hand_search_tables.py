"""The tables of a search of loss weights: the supplement's 11 and 12 (initial), its groups, and 10 (sensitivity)."""

import json
import math
from collections.abc import Iterator
from typing import Final, NamedTuple

from handkit.files import atomic_path
from handkit.runs.result import report_console, report_table
from handkit.runs.s2hand_search_plan import SYMBOLS, Grid, Outcome, Variation, Walk, Weights
from handkit.runs.s2hand_search_result import FOLDER, SearchResult

_METRICS: Final = {
    "joints_3d_pa_mm": ("PA-MPJPE, mm", 2),
    "auc_j": ("AUC_J", 3),
    "projected_px": ("2D, px of 224", 2),
    "quaternion_rad": ("rotation, rad", 4),
    "texture_sd": ("texture S.D.", 4),
}
_ABSENT: Final = "-"


class Sheet(NamedTuple):
    """A table of texts; the first column is a name."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]


def print_report(result: SearchResult) -> None:
    """Print to stdout."""
    console = report_console()
    for line in result.data.lines():
        console.print(line, soft_wrap=True)
    if result.dry_run:
        for phase, counts in result.planned.items():
            console.print(f"{phase}: {_count(counts)} trials")
        console.print("a dry run: nothing was trained; leave --dry-run out to begin")
        return
    for sheet in _sheets(result):
        table = report_table(sheet.title, *sheet.columns)
        for row in sheet.rows:
            table.add_row(*row)
        console.print(table)
        console.print()
    for line in _lines(result):
        console.print(line, soft_wrap=True)
    if result.interrupted:
        console.print("interrupted: the same command again goes on from there")
    elif result.best is not None:
        console.print(f"next: handkit selfsup {_command(result)} --recipe {result.best} --out DIR", soft_wrap=True)


def write_tables(result: SearchResult) -> None:
    """tables.md and search.json into OUT/search."""
    with atomic_path(result.out / FOLDER / "tables.md") as partial:
        partial.write_text("\n".join(_markdown(result)) + "\n", encoding="utf-8")
    with atomic_path(result.out / FOLDER / "search.json") as partial:
        partial.write_text(json.dumps(result.summary, indent=2) + "\n", encoding="utf-8")


def _sheets(result: SearchResult) -> Iterator[Sheet]:
    for walk in result.walks:
        yield _walk_sheet(walk, _columns(list(walk.trials.values())))
    if result.grids:
        yield _grid_sheet(result)
    if result.variations:
        yield _variation_sheet(result.variations)


def _walk_sheet(walk: Walk, metrics: tuple[str, ...]) -> Sheet:
    """Table 11 or 12: the sum is that of the losses whose weights were determined before."""
    rows = []
    for weight, found in sorted(walk.trials.items()):
        own = _number(weight * found.losses.get(walk.term, math.inf), 3)
        kept = "kept" if weight == walk.kept else ""
        rows.append((f"{weight:g}", own, _number(walk.determined_sum(found), 3), *_measured(found, metrics), kept))
    name = SYMBOLS[walk.term]
    return Sheet(f"weight of {name}", (f"weighted {name}", "sum of the others", *map(_title, metrics), ""), rows)


def _grid_sheet(result: SearchResult) -> Sheet:
    """A group a row: how far its combinations are apart, and what is kept of the weights."""
    rows = []
    for grid in result.grids:
        found = [outcome.performance for _, outcome in grid.trials]
        before = next((outcome.performance for weights, outcome in grid.trials if weights == grid.before), math.inf)
        digits = _METRICS[result.performance][1]
        figures = [_number(value, digits) for value in (before, min(found), _worst(grid))]
        rows.append((grid.name, str(len(found)), *figures, _kept(grid)))
    title = _title(result.performance)
    return Sheet("refinement", ("trials", f"{title}: before", "best", "worst", "kept, times before"), rows)


def _variation_sheet(variations: list[tuple[Variation, Outcome]]) -> Sheet:
    """Table 10, a changed weight a row."""
    metrics = _columns([found for _, found in variations])
    rows = [(_varied(row), *_measured(found, metrics)) for row, found in variations]
    return Sheet("sensitivity, held out", tuple(map(_title, metrics)), rows)


def _markdown(result: SearchResult) -> Iterator[str]:
    yield "# Loss weights of S2HAND"
    for sheet in _sheets(result):
        yield ""
        yield f"| {sheet.title} | {' | '.join(sheet.columns)} |"
        yield f"|---|{'---:|' * len(sheet.columns)}"
        for row in sheet.rows:
            yield f"| {' | '.join(row)} |"
    yield ""
    yield from _lines(result)


def _lines(result: SearchResult) -> Iterator[str]:
    """What is to be known of the tables, and the weights."""
    assert result.trials is not None
    made, known, failed = result.trials.made, result.trials.known, result.trials.failed
    search = result.settings.search
    yield (
        f"trials: {search.samples} samples, {search.epochs} epochs of batches of {search.batch}, Adam, "
        f"{search.lr:g}; {made} made, {known} already known"
        + (f", {failed} of losses that were not finite" if failed else "")
    )
    kind = "the truth of the joints" if result.has_truth else "the detected keypoints, as the samples have no 3D truth"
    yield f"compared by {_title(result.performance)}, from {kind}"
    yield f"weights, of E_loc's: {_told(result.weights)}"
    if result.best is not None:
        changes = " ".join(f"--set loss.factors.{term}={factor:g}" for term, factor in result.factors.items())
        yield f"the same as settings: {changes}"
    yield f"in {result.out / FOLDER}: trials.jsonl, tables.md, search.json" + (", best.toml" if result.best else "")


def _columns(found: list[Outcome]) -> tuple[str, ...]:
    return tuple(name for name in _METRICS if any(name in one.metrics for one in found))


def _measured(found: Outcome, metrics: tuple[str, ...]) -> list[str]:
    return [_number(found.metrics.get(name, math.inf), _METRICS[name][1]) for name in metrics]


def _title(metric: str) -> str:
    return _METRICS[metric][0]


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else _ABSENT


def _worst(grid: Grid) -> float:
    """Of the finite ones."""
    found = [outcome.performance for _, outcome in grid.trials if math.isfinite(outcome.performance)]
    return max(found, default=math.inf)


def _kept(grid: Grid) -> str:
    return ", ".join(f"{SYMBOLS[term]} x {grid.best[0][term] / grid.before[term]:g}" for term in grid.terms)


def _varied(row: Variation) -> str:
    if not row.terms:
        return "selected weights"
    return f"{', '.join(SYMBOLS[term] for term in row.terms)} x {row.factor:g}"


def _told(weights: Weights) -> str:
    return ", ".join(f"{SYMBOLS[term]} {value:g}" for term, value in weights.items())


def _count(counts: tuple[int, int]) -> str:
    low, high = counts
    return str(low) if low == high else f"{low} to {high}"


def _command(result: SearchResult) -> str:
    return "s2hand-video" if result.stage == "video" else "s2hand"
