"""What the command lines of training share; imports nothing heavy."""

import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from handkit.cli.options import RUN
from handkit.cli.terminal import log_to_stderr, told_errors

if TYPE_CHECKING:
    from handkit.runs.result import RunResult

WHAT = "What to train"

HandModelName = Annotated[
    str | None, typer.Option(metavar="NAME|FILE", rich_help_panel=WHAT, help='"open", "mano" or a file, as in demo.')
]
Seed = Annotated[
    int | None, typer.Option(min=0, rich_help_panel=WHAT, help="Of data and first weights; the recipe's if not given.")
]
ForceRun = Annotated[bool, typer.Option("--force", rich_help_panel=RUN, help="Start over; replace what --out holds.")]


def settings_given(**values: Any) -> list[str]:
    """Options as changes of the recipe, "a.b=value": a double underscore for the dot, those that are None left out."""
    return [f"{key.replace('__', '.')}={_toml(value)}" for key, value in values.items() if value is not None]


def _toml(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(inner)}" for key, inner in value.items()) + "}"
    return json.dumps(value)


def run_training(
    run: Callable[[bool], "tuple[RunResult, Callable[[Any], None]]"], *, as_json: bool, quiet: bool, debug: bool
) -> None:
    """Run, told whether to show progress, and print its result by the function that comes with it; exits."""
    log_to_stderr(quiet=quiet, debug=debug)
    with told_errors("more was saved", as_json=as_json, debug=debug):
        result, print_report = run(not quiet and sys.stderr.isatty())
    if as_json:
        typer.echo(json.dumps(result.summary, indent=2))
    else:
        print_report(result)
    raise typer.Exit(result.exit_code)
