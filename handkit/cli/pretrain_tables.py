"""`handkit pretrain handnet-table`: the command line of RealisticHands' tables; imports nothing heavy."""

from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from handkit.cli.options import AsJson, ComputeOn, Debug, Device, Quiet, changes_option, recipe_option
from handkit.cli.tables import RowNames, named, run_a_table, split_names
from handkit.cli.training import (
    DATA,
    WHAT,
    BackboneWeights,
    ForceRun,
    HandModelName,
    settings_given,
    still_source,
    text_of,
)

_STEREO = "stereo."
# RealisticHands measured on the other poses of FreiHAND's training set.
_SPLITS = {"freihand": "handnet-training"}

HANDNET_TABLE_HELP = """Make a table or figure of RealisticHands: HandNet trained, measured, and set beside the paper.

2: stages against a single one, with and without keypoints. fig8: PCK with and without keypoints (in the report). 3:
masks against HSV. 4: two views against one. fig9: IoU with true masks over the iterations of refine.

Networks are multi-stage (all stages but segmentation), single-stage (what learns in them at once, for as many steps),
segmentation and stereo, which go on with multi-stage; --weights NAME=FILE stands for one. Hands are learned from
--data, else from drawn frames; masks from --data and --shards, two views from --shards, else from drawn pairs. Sets to
measure on are drawn where they are not given, but for FreiHAND, for which drawn frames may stand. What is done is not
done again: a run that was stopped goes on by the same command, and tables with one --out share networks and sets. At
the published budget a table takes days of a GPU: --recipe handnet-table-small is for CPUs, --set scales either
([bold]stereo.[/bold] before settings of --stereo-recipe). Writes .csv, .md and .json of table<N> or fig<N>.

[bold]Examples[/bold]

    handkit pretrain handnet-table --table 2 --data freihand=FreiHAND --measure freihand=FreiHAND --hand-model mano
    handkit pretrain handnet-table --table fig8 --weights multi-stage=runs/handnet/finalize/handnet.safetensors
    handkit pretrain handnet-table --table 3 --weights segmentation=runs/handnet/segmentation/handnet.safetensors
    handkit pretrain handnet-table --table 4 --recipe handnet-table-small --stereo-recipe handnet-stereo-small \\
        --shards data/stereo --set stages.image.steps=500 --set stereo.stages.stereo.steps=200
"""


class HandNetFigure(str, Enum):
    STAGES = "2"
    MASKS = "3"
    VIEWS = "4"
    KEYPOINTS = "fig8"
    ITERATIONS = "fig9"


def handnet_table(
    table: Annotated[
        HandNetFigure, typer.Option(rich_help_panel=WHAT, help="The number of the table, or the figure, in the paper.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the runs and tables go.")] = Path(
        "runs/handnet-tables"
    ),
    data: Annotated[
        list[str] | None,
        typer.Option(
            "--data",
            metavar="NAME=DIR",
            rich_help_panel=DATA,
            help="A data set to learn from, as often as wanted; of FreiHAND 70 of 100 training poses.",
        ),
    ] = None,
    shards: Annotated[
        Path | None,
        typer.Option(metavar="DIR", rich_help_panel=DATA, help="Pairs of generate stereo to learn from; else drawn."),
    ] = None,
    measure: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=DIR",
            rich_help_panel=DATA,
            help="A set to measure on: freihand (the other 30), drawn, synthetic (pairs).",
        ),
    ] = None,
    recipe: Annotated[str, recipe_option(WHAT)] = "handnet",
    stereo_recipe: Annotated[
        str, typer.Option(metavar="NAME|FILE", rich_help_panel=WHAT, help="Settings of finetune handnet-stereo.")
    ] = "handnet-stereo",
    changes: Annotated[list[str] | None, changes_option(WHAT)] = None,
    rows: RowNames = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, max=100, rich_help_panel=WHAT, help="Runs of each network, of seeds 0, 1, ...")
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NETWORK=FILE", rich_help_panel=WHAT, help="One that is trained; {seed} stands for its seed."
        ),
    ] = None,
    backbone_weights: BackboneWeights = None,
    hand_model: HandModelName = None,
    device: ComputeOn = Device.AUTO,
    as_json: AsJson = False,
    quiet: Quiet = False,
    force: ForceRun = False,
    debug: Debug = False,
) -> None:
    sources = [still_source(text) for text in data or []]
    given = settings_given(
        hand=hand_model,
        network__backbone_weights=text_of(backbone_weights),
        data__sources=[_to_learn_from(source) for source in sources] or None,
    )
    of_stereo = [text.removeprefix(_STEREO) for text in changes or [] if text.startswith(_STEREO)]
    others = [text for text in changes or [] if not text.startswith(_STEREO)]

    def load_training() -> Any:
        from handkit.recipe import load_recipe
        from handkit.tables.handnet import HandNetTraining
        from handkit.tables.handnet_recipe import HandNetTable

        name = table.value if table.value.startswith("fig") else f"table{table.value}"
        return HandNetTraining(
            load_recipe(HandNetTable, f"handnet-{name}"),
            recipe=recipe,
            stereo_recipe=stereo_recipe,
            changes=[*given, *others],
            stereo_changes=of_stereo,
            shards=shards,
        )

    def load_run() -> Any:
        from handkit.tables.handnet_run import run_handnet_table

        return run_handnet_table

    run_a_table(
        out,
        load_training,
        load_run=load_run,
        rows=split_names(rows),
        seeds=seeds,
        weights=named("--weights", weights),
        data={name: Path(root) for name, root in named("--measure", measure).items()},
        device=device.value,
        force=force,
        as_json=as_json,
        quiet=quiet,
        debug=debug,
    )


def _to_learn_from(source: dict[str, str]) -> dict[str, str]:
    """A data set, its part that is not measured on unless another was asked for."""
    usual = _SPLITS.get(source["dataset"])
    return {"split": usual, **source} if usual else source
