"""`handkit finetune ...`: moving trained networks to other data; imports nothing heavy at the top."""

from enum import Enum
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from handkit.cli.options import AsJson, ComputeOn, Debug, Device, Quiet, changes_option, recipe_option
from handkit.cli.tables import RowNames, RowWeights, Seeds, named, run_a_table, seqhand_training, split_names
from handkit.cli.training import (
    WHAT,
    DataSets,
    DryRun,
    ForceRun,
    PairShards,
    Seed,
    run_training,
    settings_given,
    still_source,
    text_of,
)

app = typer.Typer(
    help="Move trained networks to other data.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_SEQHAND_HELP = """Move a pretrained SeqHAND-Net to annotated stills, its recurrent layer frozen.

Every still is a sequence of one frame. What a data set does not annotate is left out of the loss.

[bold]Examples[/bold]

    handkit finetune seqhand --init runs/seqhand/seqhand.safetensors --data freihand=FreiHAND --data stb=STB
    handkit finetune seqhand --init seqhand-small.safetensors --data images=photos --set train.steps=2000
    handkit finetune seqhand --init seqhand.safetensors --recipe seqhand-finetune-unfrozen --data freihand=FreiHAND
"""

_TABLE3_HELP = """Make SeqHAND's Table 3: rows pretrained, finetuned on stills, and finetuned with the memory frozen.

Rows are measured on hands in motion. The published figures are of EgoDexter, Dexter+Object and STB after finetuning on
FreiHAND and STB: give their folders. Without any, stills and sequences of a second kind of synthetic pictures stand for
them, so that the question (frozen against not frozen) can be asked on any machine.

Runs are in OUT/ROW/seedK; what is done is not done again. --set changes the recipe that rows are finetuned by,
--set pretrain.KEY=VALUE the one that they are pretrained by. --weights takes rows from files. Writes table.csv,
table.md and table.json.

[bold]Examples[/bold]

    handkit finetune seqhand-table3 --train freihand=FreiHAND --train stb=STB --data egodexter=ED --data stb=STB
    handkit finetune seqhand-table3 --recipe seqhand-table3-small --weights memory=runs/small/seqhand-small.safetensors
    handkit finetune seqhand-table3 --rows memory-finetuned,memory-frozen --set train.steps=500 \\
        --set pretrain.train.steps=4000
"""


_STEREO_HELP = """Give a trained HandNet a second view (RealisticHands 3.3): what both say of a hand becomes one.

Stage adaption moves a second image head to generated pictures; stage stereo learns the weights that fuse the poses.
All else stays as it is, bit for bit. Pairs are read from a folder of [bold]handkit generate stereo[/bold], or made in
OUT/pairs first; the last 30 of 100 are held out. Every stage is a run in OUT/STAGE; a run that was stopped goes on
where it was by the same command. A HandNet of keypoints has no image head, and the last stage alone.

[bold]Examples[/bold]

    handkit finetune handnet-stereo --init runs/handnet/segmentation/handnet.safetensors --out runs/stereo
    handkit finetune handnet-stereo --init handnet.safetensors --shards stereo --recipe handnet-stereo-small
    handkit finetune handnet-stereo --init handnet.safetensors --set camera=triangulated --set fused_loss.frame=camera
    handkit finetune handnet-stereo --init runs/stereo/adaption/handnet-stereo.safetensors --stage stereo --dry-run
"""


class StereoStage(str, Enum):
    ALL = "all"
    ADAPTION = "adaption"
    STEREO = "stereo"


@app.callback()
def verb() -> None:
    pass


@app.command("seqhand", help=_SEQHAND_HELP)
def seqhand(
    init: Annotated[Path, typer.Option("--init", metavar="FILE", rich_help_panel=WHAT, help="The pretrained weights.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the run goes.")] = Path(
        "runs/seqhand-finetune"
    ),
    data: DataSets = None,
    recipe: Annotated[str, recipe_option(WHAT)] = "seqhand-finetune",
    changes: Annotated[list[str] | None, changes_option(WHAT)] = None,
    seed: Seed = None,
    device: ComputeOn = Device.AUTO,
    as_json: AsJson = False,
    quiet: Quiet = False,
    force: ForceRun = False,
    debug: Debug = False,
) -> None:
    sources = [still_source(text) for text in data or []]
    given = settings_given(train__seed=seed) + (settings_given(data__sources=sources) if sources else [])

    def load() -> tuple[Any, Any]:
        from handkit.runs.seqhand import finetune_seqhand, print_report

        return finetune_seqhand, print_report

    changed = [*given, *(changes or [])]
    run_training(
        load,
        out,
        init=init,
        recipe=recipe,
        changes=changed,
        device=device.value,
        force=force,
        as_json=as_json,
        quiet=quiet,
        debug=debug,
    )


@app.command("seqhand-table3", help=_TABLE3_HELP)
def seqhand_table3(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the runs and the table go.")] = Path(
        "runs/seqhand-table3"
    ),
    train: Annotated[
        list[str] | None,
        typer.Option("--train", metavar="NAME=DIR", rich_help_panel=WHAT, help="A data set to finetune on."),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            "--data",
            metavar="NAME=DIR",
            rich_help_panel=WHAT,
            help="A set to measure on: egodexter, dexter-object, stb, moving, validation.",
        ),
    ] = None,
    recipe: Annotated[str, recipe_option(WHAT)] = "seqhand-table3",
    changes: Annotated[list[str] | None, changes_option(WHAT)] = None,
    rows: RowNames = None,
    seeds: Seeds = 1,
    weights: RowWeights = None,
    shards: Annotated[
        Path | None,
        typer.Option(metavar="DIR", rich_help_panel=WHAT, help="Of pretraining; else drawn as training goes."),
    ] = None,
    device: ComputeOn = Device.AUTO,
    as_json: AsJson = False,
    quiet: Quiet = False,
    force: ForceRun = False,
    debug: Debug = False,
) -> None:
    sources = [still_source(text, option="--train") for text in train or []]
    pretrain, finetune = _by_stage(changes or [])
    run_a_table(
        out,
        lambda: seqhand_training(
            recipe,
            pretrain=[*settings_given(data__source=str(shards) if shards else None), *pretrain],
            finetune=finetune,
            train=[(source["dataset"], source.get("split"), Path(source["root"])) for source in sources],
        ),
        rows=split_names(rows),
        seeds=seeds,
        weights=named("--weights", weights),
        data={name: Path(root) for name, root in named("--data", data).items()},
        device=device.value,
        force=force,
        as_json=as_json,
        quiet=quiet,
        debug=debug,
    )


@app.command("handnet-stereo", help=_STEREO_HELP)
def handnet_stereo(
    init: Annotated[
        Path, typer.Option("--init", metavar="FILE", rich_help_panel=WHAT, help="Weights of a trained HandNet.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the stages go.")] = Path(
        "runs/handnet-stereo"
    ),
    shards: PairShards = None,
    stage: Annotated[StereoStage, typer.Option(rich_help_panel=WHAT, help="One stage, or both.")] = StereoStage.ALL,
    recipe: Annotated[str, recipe_option(WHAT)] = "handnet-stereo",
    changes: Annotated[list[str] | None, changes_option(WHAT)] = None,
    seed: Seed = None,
    device: ComputeOn = Device.AUTO,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    force: ForceRun = False,
    debug: Debug = False,
) -> None:
    given = settings_given(train__seed=seed, data__shards=text_of(shards))

    def load() -> tuple[Any, Any]:
        from handkit.runs.handnet_stereo import StereoOptions, finetune_handnet_stereo, print_report

        asked = StereoOptions(init=init, stage=stage.value, dry_run=dry_run)
        return partial(finetune_handnet_stereo, asked=asked), print_report

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


def _by_stage(changes: list[str]) -> tuple[list[str], list[str]]:
    """Changes of pretraining, which begin by "pretrain.", and of finetuning."""
    stage = "pretrain."
    first = [change.removeprefix(stage) for change in changes if change.startswith(stage)]
    return first, [change for change in changes if not change.startswith(stage)]
