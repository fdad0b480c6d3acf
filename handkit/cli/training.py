"""What the command lines of training share; imports nothing heavy."""

import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from handkit.cli.options import RUN
from handkit.cli.terminal import log_to_stderr, told_errors

WHAT = "What to train"
DATA = "Data"
INTERRUPTED = 130

BackboneWeights = Annotated[
    Path | None,
    typer.Option(metavar="FILE", rich_help_panel=WHAT, help="torchvision's ImageNet weights; else random."),
]
Shards = Annotated[
    Path | None,
    typer.Option(metavar="DIR", rich_help_panel=WHAT, help="Generated sequences; else drawn as training goes."),
]
DataSets = Annotated[
    list[str] | None,
    typer.Option("--data", metavar="NAME=DIR", rich_help_panel=WHAT, help="A data set; as often as wanted."),
]
ShardFolders = Annotated[
    list[Path] | None,
    typer.Option(
        "--shards", metavar="DIR", rich_help_panel=WHAT, help="Of generate seqhand or stereo; as often as wanted."
    ),
]
PairShards = Annotated[
    Path | None,
    typer.Option(
        "--shards", metavar="DIR", rich_help_panel=DATA, help="Pairs of generate stereo; else made in OUT/pairs."
    ),
]
HandModelName = Annotated[
    str | None, typer.Option(metavar="NAME|FILE", rich_help_panel=WHAT, help='"open", "mano" or a file, as in demo.')
]
Seed = Annotated[
    int | None, typer.Option(min=0, rich_help_panel=WHAT, help="Of data and first weights; the recipe's if not given.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", rich_help_panel=RUN, help="Say what would be trained, train nothing.")
]
ForceRun = Annotated[bool, typer.Option("--force", rich_help_panel=RUN, help="Start over; replace what --out holds.")]


def text_of(path: Path | None) -> str | None:
    """A path as a setting."""
    return None if path is None else str(path)


def settings_given(**values: Any) -> list[str]:
    """Options as changes of the recipe, "a.b=value": a double underscore for the dot, those that are None left out."""
    return [f"{key.replace('__', '.')}={_toml(value)}" for key, value in values.items() if value is not None]


def still_source(text: str, option: str = "--data") -> dict[str, str]:
    """NAME=DIR, or NAME:SPLIT=DIR."""
    name, equals, root = text.partition("=")
    name, colon, split = name.partition(":")
    if not (name and equals and root) or bool(colon) != bool(split):
        raise typer.BadParameter(f"{text!r} is not NAME=DIR or NAME:SPLIT=DIR", param_hint=option)
    return {"dataset": name, "root": root, **({"split": split} if split else {})}


def _toml(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(inner)}" for key, inner in value.items()) + "}"
    return json.dumps(value)


def run_training(
    load: Callable[[], tuple[Callable[..., Any], Callable[[Any], None]]],
    out: Path,
    *,
    as_json: bool,
    quiet: bool,
    debug: bool,
    **given: Any,
) -> None:
    """Call what `load` imports, a run and the printing of its result, with what is given; exits.

    Of the processes that torchrun starts the first alone prints; errors are told by each that has one.
    """
    from handkit.train import is_first_process

    tells = is_first_process()
    log_to_stderr(quiet=quiet or not tells, debug=debug)
    with told_errors("more was saved", as_json=as_json and tells, debug=debug):
        run, print_report = load()
        result = run(out, show_progress=tells and not quiet and sys.stderr.isatty(), **given)
    if tells and as_json:
        typer.echo(json.dumps(result.summary, indent=2))
    elif tells:
        print_report(result)
    if tells and result.exit_code == INTERRUPTED:
        typer.echo(f"to go on: {resume_command(sys.argv)}", err=True)
    raise typer.Exit(result.exit_code)


def resume_command(words: list[str]) -> str:
    """The command that goes on with an interrupted run: the same, but for what would start over."""
    return shlex.join([Path(words[0]).name, *(word for word in words[1:] if word != "--force")])
