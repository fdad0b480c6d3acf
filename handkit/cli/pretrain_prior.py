"""`handkit pretrain hand-prior`: the command line of binocular transfer's prior; imports nothing heavy."""

from pathlib import Path
from typing import Annotated, Any

import typer

from handkit.cli.options import AsJson, ComputeOn, Debug, Device, Quiet, changes_option, recipe_option
from handkit.cli.training import (
    WHAT,
    BackboneWeights,
    DataSets,
    DryRun,
    ForceRun,
    HandModelName,
    Seed,
    ShardFolders,
    run_training,
    settings_given,
    still_source,
    text_of,
)

HAND_PRIOR_HELP = """Train the hand prior of binocular transfer: single hands to meshes, by heat maps (I2L-MeshNet).

[bold]handkit selfsup binocular[/bold] begins with it. It learns from labelled hands: data sets, folders that
[bold]handkit generate seqhand[/bold] or [bold]stereo[/bold] wrote, or else frames drawn as training goes, by the
recipe of generate seqhand that data.recipe names. The run's folder holds hand-prior.safetensors, the recipe, the log
and previews; a run that was stopped goes on where it was by the same command. Recipes: hand-prior as published,
hand-prior-small for a CPU.

[bold]Examples[/bold]

    handkit pretrain hand-prior --data freihand=FreiHAND --hand-model mano --out runs/prior
    handkit pretrain hand-prior --recipe hand-prior-small --out runs/small
    handkit pretrain hand-prior --recipe hand-prior-small --set data.recipe=hand-prior-source --set learning.steps=2000
    handkit pretrain hand-prior --shards data/stereo --backbone-weights resnet50.pth --dry-run
"""


def hand_prior(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the run goes.")] = Path("runs/hand-prior"),
    data: DataSets = None,
    shards: ShardFolders = None,
    recipe: Annotated[str, recipe_option(WHAT)] = "hand-prior",
    changes: Annotated[list[str] | None, changes_option(WHAT)] = None,
    backbone_weights: BackboneWeights = None,
    hand_model: HandModelName = None,
    seed: Seed = None,
    device: ComputeOn = Device.AUTO,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    force: ForceRun = False,
    debug: Debug = False,
) -> None:
    given = settings_given(
        hand=hand_model,
        train__seed=seed,
        network__backbone_weights=text_of(backbone_weights),
        data__sources=[still_source(text) for text in data] if data else None,
        data__shards=[str(folder) for folder in shards] if shards else None,
    )

    def load() -> tuple[Any, Any]:
        from handkit.runs.hand_prior import pretrain_hand_prior, print_report

        return pretrain_hand_prior, print_report

    run_training(
        load,
        out,
        recipe=recipe,
        changes=[*given, *(changes or [])],
        dry_run=dry_run,
        device=device.value,
        force=force,
        as_json=as_json,
        quiet=quiet,
        debug=debug,
    )
