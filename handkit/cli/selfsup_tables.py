"""`handkit selfsup s2hand-table`: the command line of S2HAND's published tables; imports nothing heavy."""

from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from handkit.cli.options import AsJson, ComputeOn, Debug, Device, Quiet, changes_option, recipe_option
from handkit.cli.selfsup import Data
from handkit.cli.tables import RowNames, RowWeights, named, run_a_table, split_names
from handkit.cli.training import DATA, WHAT, BackboneWeights, ForceRun, settings_given, text_of

S2HAND_TABLE_HELP = """Make a table of S2HAND's paper: rows trained, measured, and set beside the published figures.

3: losses. 4: motion terms. 5: how smooth they are. 6: weak against self-supervision. 7: n and the interval. 8: the
orthographic camera, more data. 9: steady looks. 13: three repetitions.

All rows learn from --data, else from synthetic sequences whose labels are not used, and are measured on --measure, else
on drawn sequences that have a truth. Branches that rows train alike are trained once; tables with one --out share them,
their hands and the rows of one name. What is done is not done again: a run that was stopped goes on by the same
command. A row that fails is told and does not stop the others. At the published budget a table takes days of a GPU:
--recipe s2hand-small is for CPUs, --set scales either. Writes table<N>.csv, .md and .json.

[bold]Examples[/bold]

    handkit selfsup s2hand-table --table 3 --data freihand=FreiHAND_pub_v2 --measure freihand=FreiHAND_pub_v2
    handkit selfsup s2hand-table --table 5 --data ho3d=HO3D --measure ho3d=HO3D --measure ho3d-train=HO3D
    handkit selfsup s2hand-table --table 4 --recipe s2hand-small --set stages.hand.steps=500 --out runs/small
    handkit selfsup s2hand-table --table 9 --rows s2hand,video --seeds 2
"""


class Table(str, Enum):
    LOSSES = "3"
    MOTION = "4"
    SMOOTHNESS = "5"
    SUPERVISION = "6"
    WINDOWS = "7"
    MORE_DATA = "8"
    LOOKS = "9"
    REPETITIONS = "13"


def s2hand_table(
    table: Annotated[Table, typer.Option(rich_help_panel=WHAT, help="The number of the table in the paper.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the runs and tables go.")] = Path(
        "runs/s2hand-tables"
    ),
    data: Data = None,
    more: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH|NAME=DIR", rich_help_panel=DATA, help="What Table 8's last row learns from besides."
        ),
    ] = None,
    measure: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=DIR",
            rich_help_panel=DATA,
            help="A set to measure on: freihand, ho3d, ho3d-train, ho3d-validation, drawn.",
        ),
    ] = None,
    recipe: Annotated[str, recipe_option(WHAT)] = "s2hand",
    changes: Annotated[list[str] | None, changes_option(WHAT)] = None,
    rows: RowNames = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=100,
            rich_help_panel=WHAT,
            help="Runs of each row, of seeds 0, 1, ...; else 3 of Table 13, or 1.",
        ),
    ] = None,
    weights: RowWeights = None,
    backbone_weights: BackboneWeights = None,
    device: ComputeOn = Device.AUTO,
    as_json: AsJson = False,
    quiet: Quiet = False,
    force: ForceRun = False,
    debug: Debug = False,
) -> None:
    given = settings_given(network__backbone_weights=text_of(backbone_weights))

    def load_training() -> Any:
        from handkit.recipe import load_recipe
        from handkit.tables.s2hand import S2HandTraining
        from handkit.tables.s2hand_recipe import S2HandTable

        published = load_recipe(S2HandTable, f"s2hand-table{table.value}")
        changed = [*given, *(changes or [])]
        return S2HandTraining(published, recipe=recipe, changes=changed, sources=data or (), more=more or ())

    run_a_table(
        out,
        load_training,
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
