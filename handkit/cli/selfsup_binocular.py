"""`handkit selfsup binocular`: the command line of binocular transfer; imports nothing heavy."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from handkit.cli.options import RUN, AsJson, ComputeOn, Debug, Device, Quiet, changes_option, recipe_option
from handkit.cli.training import (
    DATA,
    WHAT,
    ForceRun,
    PairShards,
    Seed,
    run_training,
    settings_given,
    still_source,
    text_of,
)

BINOCULAR_HELP = """Move a hand prior to the pictures of a pair of cameras, without labels: both views must agree.

A network that says where a picture shows the vertices of a hand starts as the prior; where the rays of both views
meet, the vertices are, in metres. It learns from the views' agreement, colours, shape and outlines, and is held to
the prior less and less. Labels are not learned from: where there are some, errors before and after are measured.

Pairs are those of --stereo and --rig, your own views (in folders, pictures of one name belong together), in which
hands are found once by MediaPipe and kept in OUT/gathered; STB's of --data; those of --shards; or else made in
OUT/pairs. The run's folder holds binocular.safetensors, the recipe, the log and previews; a run that was stopped goes
on where it was by the same command. Recipes: binocular as published, binocular-small for a CPU.

[bold]Examples[/bold]

    handkit selfsup binocular --init runs/hand-prior --stereo left.mp4 right.mp4 --rig rig.json --out runs/mine
    handkit selfsup binocular --init runs/hand-prior --stereo a/l a/r --stereo b/l b/r --rig a.json --rig b.json
    handkit selfsup binocular --init runs/hand-prior --data stb=STB
    handkit selfsup binocular --init runs/hand-prior --shards stereo --recipe binocular-small --set loss.edges=0
    handkit selfsup binocular --init runs/hand-prior --stereo left right --rig rig.json --dry-run
"""


Prior = Annotated[
    Path,
    typer.Option("--init", metavar="FILE|DIR", rich_help_panel=WHAT, help="A prior of handkit pretrain hand-prior."),
]
PairSet = Annotated[
    str | None,
    typer.Option("--data", metavar="stb=DIR", rich_help_panel=DATA, help="A data set that has pairs; stb:SPLIT=DIR."),
]


def binocular(
    init: Prior,
    # Typer has no option of two values that may be repeated: the second ones are what is left of the command line.
    rights: Annotated[list[Path] | None, typer.Argument(hidden=True, metavar="--stereo LEFT RIGHT")] = None,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the run goes.")] = Path("runs/binocular"),
    stereo: Annotated[
        list[Path] | None,
        typer.Option(
            "--stereo",
            metavar="LEFT RIGHT",
            rich_help_panel=DATA,
            help="Two pictures, folders of them, or synchronous videos of the same hands; as often as wanted.",
        ),
    ] = None,
    rig: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            rich_help_panel=DATA,
            help="Their cameras, left first, as in demo: one for all --stereo, or one for each.",
        ),
    ] = None,
    data: PairSet = None,
    shards: PairShards = None,
    recipe: Annotated[str, recipe_option(WHAT)] = "binocular",
    changes: Annotated[list[str] | None, changes_option(WHAT)] = None,
    seed: Seed = None,
    device: ComputeOn = Device.AUTO,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", rich_help_panel=RUN, help="Find and count the pairs, train nothing.")
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    force: ForceRun = False,
    debug: Debug = False,
) -> None:
    views = _views(stereo or [], rights or [], rig or [])
    given = settings_given(
        train__seed=seed,
        data__stereo=views or None,
        data__dataset=None if data is None else still_source(data),
        data__shards=text_of(shards),
    )

    def load() -> tuple[Any, Any]:
        from handkit.runs.binocular import BinocularOptions, print_report, selfsup_binocular

        asked = BinocularOptions(init=init, dry_run=dry_run)
        return partial(selfsup_binocular, asked=asked), print_report

    run_training(
        load,
        out,
        recipe=recipe,
        changes=[*given, *(changes or [])],
        device=device.value,
        force=force,
        as_json=as_json,
        quiet=quiet,
        debug=debug,
    )


def _views(lefts: list[Path], rights: list[Path], rigs: list[Path]) -> list[dict[str, str]]:
    """Every pair of views with its rig. Raises BadParameter where something of a pair is missing."""
    if len(rights) > len(lefts):
        raise typer.BadParameter(f"what is {rights[len(lefts)]}? Views are given as --stereo LEFT RIGHT")
    if len(rights) < len(lefts):
        raise typer.BadParameter(f"--stereo {lefts[-1]} names one view: give --stereo LEFT RIGHT")
    if rigs and not lefts:
        raise typer.BadParameter("--rig is of --stereo LEFT RIGHT")
    if lefts and not rigs:
        raise typer.BadParameter("--stereo without --rig: the cameras are not calibrated; give --rig FILE")
    if len(rigs) not in (0, 1, len(lefts)):
        raise typer.BadParameter(f"{len(rigs)} rigs of {len(lefts)} pairs of views: give one of all, or one of each")
    each = rigs if len(rigs) == len(lefts) else rigs * len(lefts)
    return [
        {"left": str(left), "right": str(right), "rig": str(own)}
        for left, right, own in zip(lefts, rights, each, strict=True)
    ]
