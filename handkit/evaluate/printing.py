"""The result of a run for people: a table of the metrics, what was written, and what to do next."""

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from handkit.evaluate.protocols import PROTOCOLS

if TYPE_CHECKING:
    from handkit.evaluate.run import EvaluateResult

_PLAIN_WIDTH = 120


def print_report(result: "EvaluateResult") -> None:
    """Print to stdout."""
    console = _console()
    if result.scores:
        console.print(_table(result))
    if result.comparison:
        console.print(_comparison(result))
    for line in _lines(result):
        console.print(line, soft_wrap=True)


def print_protocols() -> None:
    """Every protocol's definition in full."""
    console = _console()
    for protocol in PROTOCOLS.values():
        console.print(protocol.definition(), soft_wrap=True)
        console.print()


def _console() -> Console:
    width = None if sys.stdout.isatty() else _PLAIN_WIDTH
    return Console(highlight=False, markup=False, emoji=False, width=width)


def _lines(result: "EvaluateResult") -> Iterator[str]:
    for scores in result.scores:
        counts = scores.counts
        left_out = {key: counts.get(key, 0) for key in ("missing", "not_finite", "not_annotated", "excluded")}
        reasons = ", ".join(f"{count} {key.replace('_', ' ')}" for key, count in left_out.items() if count)
        name = f"{scores.method}: " if len(result.scores) > 1 else ""
        yield f"{name}{counts['scored']} of {counts['samples']} samples scored{f' ({reasons})' if reasons else ''}"
    if result.scores:
        ranges = dict.fromkeys(curve.definition for scores in result.scores for curve in scores.curves)
        yield from ranges
    yield from (f"missed: {sentence}" for sentence in result.missed)
    names = ", ".join(path.relative_to(result.out).as_posix() for path in result.written)
    yield f"wrote to {result.out}: {names}"
    if result.scores:
        yield f"next: open {result.out}/report.html"


def _table(result: "EvaluateResult") -> Table:
    """A row per metric, a column per method."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(result.protocol.name)
    for scores in result.scores:
        table.add_column(scores.method, justify="right", overflow="fold")
    keys = dict.fromkeys(key for scores in result.scores for key in scores.summary)
    for key in keys:
        table.add_row(key, *(_number(key, scores.summary.get(key)) for scores in result.scores))
    return table


def _comparison(result: "EvaluateResult") -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("difference", "methods"):
        table.add_column(title, overflow="fold")
    for title in ("mean", "95 % interval"):
        table.add_column(title, justify="right")
    for row in result.comparison:
        interval = f"{row['low']:+.4f} .. {row['high']:+.4f}"
        table.add_row(row["metric"], f"{row['method']} - {row['baseline']}", f"{row['difference']:+.4f}", interval)
    return table


def _number(key: str, value: float | int | None) -> str:
    if value is None:
        return "-"
    if isinstance(value, int):
        return str(value)
    return f"{value:.3f}" if key.endswith(("_mm", "_px")) or "_mm_per" in key else f"{value:.4f}"
