"""`handkit pretrain ...`: the command line of training from synthetic data; imports nothing heavy at the top."""

from enum import Enum
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from handkit.cli.options import AsJson, ComputeOn, Debug, Device, Quiet, changes_option, recipe_option
from handkit.cli.tables import RowNames, RowWeights, Seeds, named, run_a_table, seqhand_training, split_names
from handkit.cli.training import (
    WHAT,
    BackboneWeights,
    DataSets,
    DryRun,
    ForceRun,
    HandModelName,
    Seed,
    ShardFolders,
    Shards,
    run_training,
    settings_given,
    still_source,
    text_of,
)

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


_SEQHAND_HELP = """Train SeqHAND-Net, or a network to compare it with, on synthetic hand motion.

Sequences are drawn as training goes, or read from folders that `handkit generate seqhand` wrote. The run's folder holds
the best weights, the recipe and the log; a run that was stopped goes on where it was by the same command. Started by
torchrun it uses all the processes.

[bold]Examples[/bold]

    handkit pretrain seqhand --out runs/seqhand
    handkit pretrain seqhand --recipe seqhand-small --out runs/small
    handkit pretrain seqhand --shards data/seqhand --network seqhand-lstm --set train.steps=20000
    torchrun --nproc-per-node 4 --no-python handkit pretrain seqhand --out runs/seqhand
"""

_HANDNET_HELP = """Train HandNet (RealisticHands) in its stages: pictures, detected keypoints, both fused, and masks.

Every stage is a run in OUT/STAGE with its own weights, log and previews. It begins with what the one before it left;
some parts learn, the others stay as they are. A run that was stopped goes on where it was by the same command.
Without --data and --shards hands are drawn as training goes. Recipes: handnet as published, handnet-small for a CPU,
handnet-keypoints for keypoints without pictures.

[bold]Examples[/bold]

    handkit pretrain handnet --out runs/handnet
    handkit pretrain handnet --recipe handnet-keypoints --out runs/keypoints
    handkit pretrain handnet --data freihand=FreiHAND --shards data/stereo --hand-model mano --out runs/mano
    handkit pretrain handnet --recipe handnet-small --set stages.image.steps=2000 --out runs/small
    handkit pretrain handnet --stage image --init runs/handnet/image/handnet.safetensors --dry-run
"""

_TABLE2_HELP = """Make SeqHAND's Table 2: networks trained alike, measured, and set beside the published figures.

Each row is a run of [bold]handkit pretrain seqhand[/bold] in OUT/ROW/seedK with one recipe, the same data and steps,
measured on the fixed validation set of [bold]handkit generate seqhand --split val[/bold]; --set changes the recipe of
all rows. What is done is not done again: a run that was stopped goes on by the same command. A row that fails is told
and does not stop the others. Writes table.csv, table.md and table.json.

[bold]Examples[/bold]

    handkit pretrain seqhand-table2 --out runs/table2 --validation data/val
    handkit pretrain seqhand-table2 --seeds 2 --set train.steps=20000 --set network.size=112
    handkit pretrain seqhand-table2 --recipe seqhand-table2-small --shards data/train --set train.steps=500
    handkit pretrain seqhand-table2 --rows seqhand,seqhand-resnet50 --set train.precision=bf16-mixed
"""


class HandNetStage(str, Enum):
    ALL = "all"
    IMAGE = "image"
    KEYPOINT = "keypoint"
    FUSION = "fusion"
    FINALIZE = "finalize"
    SEGMENTATION = "segmentation"


@app.command("pose-encoder", help=_POSE_ENCODER_HELP)
def pose_encoder(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the run goes.")] = Path("runs/pose-encoder"),
    recipe: Annotated[str, recipe_option(WHAT)] = "pose-encoder",
    changes: Annotated[list[str] | None, changes_option(WHAT)] = None,
    hand_model: HandModelName = None,
    seed: Seed = None,
    device: ComputeOn = Device.AUTO,
    as_json: AsJson = False,
    quiet: Quiet = False,
    force: ForceRun = False,
    debug: Debug = False,
) -> None:
    given = settings_given(hand=hand_model, train__seed=seed)

    def load() -> tuple[Any, Any]:
        from handkit.runs.pose_encoder import pretrain_pose_encoder, print_report

        return pretrain_pose_encoder, print_report

    changed = [*given, *(changes or [])]
    run_training(
        load,
        out,
        recipe=recipe,
        changes=changed,
        device=device.value,
        force=force,
        as_json=as_json,
        quiet=quiet,
        debug=debug,
    )


@app.command("seqhand", help=_SEQHAND_HELP)
def seqhand(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the run goes.")] = Path("runs/seqhand"),
    recipe: Annotated[str, recipe_option(WHAT)] = "seqhand-net",
    changes: Annotated[list[str] | None, changes_option(WHAT)] = None,
    network: Annotated[
        str | None,
        typer.Option(metavar="NAME", rich_help_panel=WHAT, help="seqhand, seqhand-small, seqhand-lstm and others."),
    ] = None,
    backbone_weights: BackboneWeights = None,
    shards: Shards = None,
    hand_model: HandModelName = None,
    seed: Seed = None,
    device: ComputeOn = Device.AUTO,
    as_json: AsJson = False,
    quiet: Quiet = False,
    force: ForceRun = False,
    debug: Debug = False,
) -> None:
    given = settings_given(
        hand=hand_model,
        train__seed=seed,
        network__name=network,
        network__backbone_weights=text_of(backbone_weights),
        data__source=text_of(shards),
    )

    def load() -> tuple[Any, Any]:
        from handkit.runs.seqhand import pretrain_seqhand, print_report

        return pretrain_seqhand, print_report

    changed = [*given, *(changes or [])]
    run_training(
        load,
        out,
        recipe=recipe,
        changes=changed,
        device=device.value,
        force=force,
        as_json=as_json,
        quiet=quiet,
        debug=debug,
    )


@app.command("handnet", help=_HANDNET_HELP)
def handnet(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the stages go.")] = Path("runs/handnet"),
    data: DataSets = None,
    shards: ShardFolders = None,
    stage: Annotated[
        HandNetStage, typer.Option(rich_help_panel=WHAT, help="One stage, or all of the recipe's.")
    ] = HandNetStage.ALL,
    init: Annotated[
        Path | None,
        typer.Option("--init", metavar="FILE", rich_help_panel=WHAT, help="Weights that the first stage begins with."),
    ] = None,
    recipe: Annotated[str, recipe_option(WHAT)] = "handnet",
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
        from handkit.runs.handnet import HandNetOptions, pretrain_handnet, print_report

        asked = HandNetOptions(stage=stage.value, init=init, dry_run=dry_run)
        return partial(pretrain_handnet, asked=asked), print_report

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


@app.command("seqhand-table2", help=_TABLE2_HELP)
def seqhand_table2(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the runs and the table go.")] = Path(
        "runs/seqhand-table2"
    ),
    recipe: Annotated[str, recipe_option(WHAT)] = "seqhand-table2",
    changes: Annotated[list[str] | None, changes_option(WHAT)] = None,
    rows: RowNames = None,
    seeds: Seeds = 1,
    weights: RowWeights = None,
    validation: Annotated[
        Path | None,
        typer.Option(metavar="DIR", rich_help_panel=WHAT, help="The generated validation set; else made in --out."),
    ] = None,
    backbone_weights: BackboneWeights = None,
    shards: Shards = None,
    device: ComputeOn = Device.AUTO,
    as_json: AsJson = False,
    quiet: Quiet = False,
    force: ForceRun = False,
    debug: Debug = False,
) -> None:
    given = settings_given(
        network__backbone_weights=text_of(backbone_weights),
        data__source=text_of(shards),
    )
    run_a_table(
        out,
        lambda: seqhand_training(recipe, pretrain=[*given, *(changes or [])]),
        rows=split_names(rows),
        seeds=seeds,
        weights=named("--weights", weights),
        data={"validation": validation} if validation else {},
        device=device.value,
        force=force,
        as_json=as_json,
        quiet=quiet,
        debug=debug,
    )
