"""What the command lines of published tables share; imports nothing heavy."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from handkit.cli.terminal import say
from handkit.cli.training import WHAT, run_training

RowNames = Annotated[
    str | None, typer.Option("--rows", metavar="NAME,...", rich_help_panel=WHAT, help="Only these rows of the table.")
]
Seeds = Annotated[
    int, typer.Option("--seeds", min=1, max=100, rich_help_panel=WHAT, help="Runs of each row, of seeds 0, 1, ...")
]
RowWeights = Annotated[
    list[str] | None,
    typer.Option(
        "--weights", metavar="ROW=FILE", rich_help_panel=WHAT, help="A row that is trained; {seed} stands for its seed."
    ),
]


def split_names(text: str | None) -> tuple[str, ...] | None:
    """The names of a list with commas."""
    return None if text is None else tuple(name.strip() for name in text.split(",") if name.strip())


def named(option: str, texts: Sequence[str] | None) -> dict[str, str]:
    """NAME=VALUE options by name."""
    found: dict[str, str] = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise typer.BadParameter(f"{text!r} is not NAME=VALUE", param_hint=option)
        if name in found:
            raise typer.BadParameter(f"{name} is given twice", param_hint=option)
        found[name] = value
    return found


def row_by_row() -> Callable[..., Any]:
    """How tables are made whose rows are trained one after the other."""
    from handkit.tables.run import run_table

    return run_table


def run_a_table(
    out: Path,
    load_training: Callable[[], Any],
    *,
    load_run: Callable[[], Callable[..., Any]] = row_by_row,
    rows: tuple[str, ...] | None,
    seeds: int | None,
    weights: Mapping[str, str],
    data: Mapping[str, Path],
    device: str,
    force: bool,
    as_json: bool,
    quiet: bool,
    debug: bool,
) -> None:
    """Make a table by what `load_training` gives, a RowTraining, and `load_run`, and print it; exits."""

    def load() -> tuple[Any, Any]:
        from handkit.runs.result import RunOptions
        from handkit.tables.printing import print_report, write_table
        from handkit.tables.run import TableOptions

        run_table = load_run()

        def run(out: Path, *, show_progress: bool) -> Any:
            how = RunOptions(device=device, force=force, show_progress=show_progress)
            result = run_table(
                out,
                load_training(),
                TableOptions(rows=rows, seeds=seeds, weights=weights, data=data, how=how),
                say=lambda text: None if quiet else print(text, file=sys.stderr),
                on_error=say,
                on_row=write_table,
            )
            write_table(result)
            return result

        return run, print_report

    run_training(load, out, as_json=as_json, quiet=quiet, debug=debug)


def seqhand_training(
    recipe: str,
    *,
    pretrain: Sequence[str] = (),
    finetune: Sequence[str] = (),
    train: Sequence[tuple[str, str | None, Path]] = (),
) -> Any:
    """How rows of a table of SeqHAND's are trained: changes to both recipes, data sets to finetune on."""
    from handkit.recipe import load_recipe
    from handkit.tables.seqhand import Budget, SeqHandTraining, Stills
    from handkit.tables.seqhand_recipe import SeqHandTable

    budget = Budget(pretrain=tuple(pretrain), finetune=tuple(finetune))
    return SeqHandTraining(load_recipe(SeqHandTable, recipe), budget, Stills(tuple(train)))
