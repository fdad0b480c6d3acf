"""`handkit pretrain ...`: the command line of training from synthetic data; imports nothing heavy at the top."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from handkit.cli.options import RUN, AsJson, Debug, Device, Quiet, changes_option, recipe_option
from handkit.cli.terminal import log_to_stderr, told_errors

app = typer.Typer(
    help="Train networks from synthetic data.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_POSE_ENCODER_HELP = """Train the pose encoder: 21 joints of a hand to its pose, by reconstruction through the hand.

Its poses are sampled within the joint limits, so it needs no data. The run's folder holds the best weights, the recipe
and the log; a run that was stopped goes on where it was by the same command.

[bold]Examples[/bold]

    handkit pretrain pose-encoder --out runs/pose-encoder
    handkit pretrain pose-encoder --hand-model mano --out runs/pose-encoder-mano
    handkit pretrain pose-encoder --set train.steps=500 --set network.width=256 --out runs/small
"""


_WHAT = "What to train"


@app.command("pose-encoder", help=_POSE_ENCODER_HELP)
def pose_encoder(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the run goes.")] = Path("runs/pose-encoder"),
    recipe: Annotated[str, recipe_option(_WHAT)] = "pose-encoder",
    changes: Annotated[list[str] | None, changes_option(_WHAT)] = None,
    hand_model: Annotated[
        str | None,
        typer.Option(metavar="NAME|FILE", rich_help_panel=_WHAT, help='"open", "mano" or a file, as in demo.'),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, rich_help_panel=_WHAT, help="Of poses and first weights; the recipe's if not given."),
    ] = None,
    device: Annotated[Device, typer.Option(rich_help_panel=RUN, help="Where to compute.")] = Device.AUTO,
    as_json: AsJson = False,
    quiet: Quiet = False,
    force: Annotated[
        bool, typer.Option("--force", rich_help_panel=RUN, help="Start over; replace what --out holds.")
    ] = False,
    debug: Debug = False,
) -> None:
    given = [f"hand={json.dumps(hand_model)}"] if hand_model is not None else []
    given += [f"train.seed={seed}"] if seed is not None else []
    log_to_stderr(quiet=quiet, debug=debug)
    with told_errors("more was saved", as_json=as_json, debug=debug):
        from handkit.pretrain import pretrain_pose_encoder, print_report

        result = pretrain_pose_encoder(
            out,
            recipe=recipe,
            changes=[*given, *(changes or [])],
            device=device.value,
            force=force,
            show_progress=not quiet and sys.stderr.isatty(),
        )
    if as_json:
        typer.echo(json.dumps(result.summary, indent=2))
    else:
        print_report(result)
    raise typer.Exit(result.exit_code)
