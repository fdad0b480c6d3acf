"""`handkit selfsup binocular-table`: the command line of the ablation of binocular transfer; imports nothing heavy."""

from pathlib import Path
from typing import Annotated, Any

import typer

from handkit.cli.options import AsJson, ComputeOn, Debug, Device, Quiet, changes_option, recipe_option
from handkit.cli.selfsup_binocular import PairSet, Prior
from handkit.cli.tables import RowNames, RowWeights, named, run_a_table, split_names
from handkit.cli.training import WHAT, ForceRun, PairShards, settings_given, still_source, text_of

BINOCULAR_TABLE_HELP = """Make the ablation of binocular transfer: what each term of self-supervision is worth.

Rows are the prior as it is (before), all terms, all but one (without-NAME; without-shape: edges, normals and one
shape) and one alone with the prior's pull (NAME-alone). All begin with --init and learn for as many steps from the
same pairs: those given, or made once in OUT/pairs. They are measured on the held-out pairs, in the right camera and
aligned, by labels that they did not learn from; without labels the views' gap and the outline remain. There are no
published figures. What is done is not done again: a run that was stopped goes on by the same command. A row that
fails is told and does not stop the others. At the published budget the table takes days of a GPU: --recipe
binocular-ablation-small is for CPUs, --set scales either. Writes ablation.csv, .md and .json.

[bold]Examples[/bold]

    handkit selfsup binocular-table --init runs/hand-prior
    handkit selfsup binocular-table --init runs/hand-prior --recipe binocular-ablation-small --seeds 3
    handkit selfsup binocular-table --init runs/hand-prior --shards stereo --rows before,all,without-epipolar
    handkit selfsup binocular-table --init runs/hand-prior --data stb=STB --set learning.steps=5000
"""


def binocular_table(
    init: Prior,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the runs and the table go.")] = Path(
        "runs/binocular-table"
    ),
    data: PairSet = None,
    shards: PairShards = None,
    recipe: Annotated[str, recipe_option(WHAT)] = "binocular-ablation",
    changes: Annotated[list[str] | None, changes_option(WHAT)] = None,
    rows: RowNames = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, max=100, rich_help_panel=WHAT, help="Runs of each row, of seeds 0, 1, ...")
    ] = None,
    weights: RowWeights = None,
    device: ComputeOn = Device.AUTO,
    as_json: AsJson = False,
    quiet: Quiet = False,
    force: ForceRun = False,
    debug: Debug = False,
) -> None:
    given = settings_given(
        data__dataset=None if data is None else still_source(data),
        data__shards=text_of(shards),
    )

    def load_training() -> Any:
        from handkit.recipe import load_recipe
        from handkit.tables.binocular import BinocularTraining
        from handkit.tables.binocular_recipe import BinocularTable

        return BinocularTraining(load_recipe(BinocularTable, recipe), init, changes=[*given, *(changes or [])])

    def load_run() -> Any:
        from handkit.tables.binocular_run import run_binocular_table

        return run_binocular_table

    run_a_table(
        out,
        load_training,
        load_run=load_run,
        rows=split_names(rows),
        seeds=seeds,
        weights=named("--weights", weights),
        data={},
        device=device.value,
        force=force,
        as_json=as_json,
        quiet=quiet,
        debug=debug,
    )
