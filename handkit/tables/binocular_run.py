"""The ablation of binocular transfer as a table: rows trained in turn, measured on pairs that none learned from."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from handkit.errors import HandkitError
from handkit.inference.load import BINOCULAR
from handkit.tables.binocular import BinocularTraining
from handkit.tables.binocular_measuring import HeldOutPairs
from handkit.tables.run import TableOptions, TableResult, run_table
from handkit.tables.training import Say

_DEMO: Final = "handkit demo --stereo LEFT.mp4 RIGHT.mp4 --rig rig.json --method binocular --checkpoint"


def run_binocular_table(
    out: Path,
    training: BinocularTraining,
    options: TableOptions,
    *,
    say: Say = lambda _: None,
    on_error: Callable[[HandkitError], None] = lambda _: None,
    on_row: Callable[[TableResult], None] = lambda _: None,
) -> TableResult:
    """Train and measure the rows, as `run_table` does; the prior stands for those that do not learn."""
    still = {row.name: str(training.prior) for row in training.table.rows if not row.learns}
    held_out = HeldOutPairs(training)
    result = run_table(
        out,
        training,
        replace(options, weights={**still, **options.weights}),
        say=say,
        on_error=on_error,
        on_row=on_row,
        open_all=held_out.open_sets,
        measure_row=held_out.measure,
    )
    result.following = _demo_of_best(result)
    return result


def _demo_of_best(result: TableResult) -> str | None:
    """By the measure that rows are ordered by, of those that were trained here."""
    ordered: list[str] = next((order["order"] for order in result.orders() if order["order"]), [])
    files = (result.out / name / f"seed{min(result.runs[name])}" / BINOCULAR.usual for name in ordered)
    return next((f"{_DEMO} {path}" for path in files if path.is_file()), None)
