"""The result of a `refine` run for people: a table, what was written, and what to do next."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from rich.console import Console
from rich.table import Table

from handkit.refine.records import SourceRecord
from handkit.refine.results import CSV, FILM
from handkit.refine.run import RefineResult

_PLAIN_WIDTH = 120


def print_report(result: RefineResult) -> None:
    """Print to stdout."""
    width = None if sys.stdout.isatty() else _PLAIN_WIDTH
    console = Console(highlight=False, markup=False, emoji=False, width=width)
    if result.records:
        console.print(_table(result.records))
    for line in _lines(result):
        console.print(line, soft_wrap=True)


def _table(records: Sequence[SourceRecord]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("name", overflow="fold")
    table.add_column("status", overflow="fold")
    for title in ("hands", "refined", "kept", "failed", "IoU before", "after", "seconds"):
        table.add_column(title, justify="right")
    table.add_column("masks", overflow="fold")
    for record in records:
        name = PurePosixPath(record.output).parent.as_posix() if record.output else record.predictions
        counts = (str(record.hands), str(record.refined), str(record.kept), str(record.failed))
        ious = (_figure(record.iou_before), _figure(record.iou_after))
        status = f"{record.status} before" if record.skipped else record.status
        table.add_row(name, status, *counts, *ious, f"{record.seconds:.1f}", record.masks or "-")
    return table


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _lines(result: RefineResult) -> Iterator[str]:
    options = result.summary["options"]
    written = [record for record in result.records if record.output]
    files = [
        "hands.npz",
        CSV,
        *(["overlay"] if options["overlay"] else []),
        *([FILM] if options["convergence"] else []),
    ]
    yield f"wrote {result.out}/summary.json" + (f", and for each name above {', '.join(files)}" if written else "")
    if resumed := sum(record.resumed for record in written if not record.skipped):
        yield f"gone on from an interrupted run: {resumed} of them were refined by it"
    if any(record.kept for record in written):
        yield "kept: hands whose loss did not fall have their original"
    if options["rig"]:
        together = ", ".join(f"{record.together} of {record.hands}" for record in written)
        unit_m = next((record.rig_unit_m for record in written if record.rig_unit_m), None)
        unit = "" if unit_m is None else f"; the rig's unit is {unit_m:.3g} m"
        yield f"refined against several views: {together} hands, the others alone, as {CSV} says{unit}"
    if result.interrupted:
        yield "interrupted: the same command again goes on from here"
    elif written:
        yield f"next: open {result.out}/{PurePosixPath(written[0].output or '').parent}/{CSV}"
    else:
        yield "next: handkit demo, which makes predictions to refine"
