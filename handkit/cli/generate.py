"""`handkit generate ...`: the command line of what makes data; imports nothing heavy at the top."""

import json
import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from handkit.cli.options import RUN, AsJson, Debug, Device, Quiet, changes_option, recipe_option
from handkit.cli.terminal import log_to_stderr, told_errors
from handkit.errors import HandkitError

if TYPE_CHECKING:
    from handkit.synth.shard_job import ShardJob

app = typer.Typer(
    help="Make synthetic data: hands in motion, stereo pairs.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_SEQHAND_HELP = """Make sequences of moving hands (SeqHAND): pictures, masks and what is known of them, in tar shards.

Of the recipe's settings, skin=[1,10] is from which to which of the Monk tones skin is drawn, background is all,
photographs or patterns. A run that was stopped goes on where it was by the same command; with the same recipe and
seed the files are the same, however many workers make them. Recipes: seqhand, seqhand-published, seqhand-released, and
hand-prior-source, plain light hands that a hand prior may learn from.

[bold]Examples[/bold]

    handkit generate seqhand --out seqhand --sequences 6 --preview --pose-map
    handkit generate seqhand --out seqhand-train --dry-run
    handkit generate seqhand --out seqhand-val --split val
    handkit generate seqhand --out published --recipe seqhand-published --backgrounds VOC2012/JPEGImages
    handkit generate seqhand --out static --frames 1 --set camera.in_frame=false
    handkit generate seqhand --out dark --set skin=[7,10] --set background=photographs
    handkit generate seqhand --out source --recipe hand-prior-source --sequences 5000
"""

_STEREO_HELP = """Make stereo pairs of hands (RealisticHands): pictures, masks and what is known of them, in tar shards.

The cameras are like the ZED's: 120 mm apart, focal length 700 px at a width of 1280; rig.json beside the shards says
so to --rig of other commands. Of the recipe's settings, skin=[1,10] is from which to which of the Monk tones skin is
drawn, background is all, photographs or patterns, same_hand is how many pairs in a row show one hand. A run that was
stopped goes on where it was by the same command. Recipes: stereo, and stereo-target, darker hands before other
cameras, where a hand prior may move to.

[bold]Examples[/bold]

    handkit generate stereo --out stereo --pairs 20 --preview
    handkit generate stereo --out stereo --dry-run
    handkit generate stereo --out stereo-val --split val --pairs 1000
    handkit generate stereo --out large --set width=1280 --set height=720
    handkit generate stereo --out target --recipe stereo-target --pairs 1000
"""


class Split(str, Enum):
    TRAIN = "train"
    VAL = "val"


class Forearm(str, Enum):
    NONE = "none"
    BARE = "bare"
    SLEEVE = "sleeve"
    BOTH = "both"


class Occluders(str, Enum):
    NONE = "none"
    FRONT = "front"
    HELD = "held"
    BOTH = "both"


_SEQUENCES = {Split.TRAIN: 40_000, Split.VAL: 1_000}
_PAIRS = 15_082
_WHAT = "What to make"
_LOOK = "Sources and looks"

Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Where shards and dataset.json go.")]
Recipe = Annotated[str, recipe_option(_WHAT)]
Changes = Annotated[list[str] | None, changes_option(_WHAT)]
Seed = Annotated[int, typer.Option(min=0, rich_help_panel=_WHAT, help="Train and val never share draws.")]
Poses = Annotated[
    str,
    typer.Option(
        metavar="builtin|FILE", rich_help_panel=_LOOK, help="BigHand2.2M text, .npy of [N, 21, 3], or FreiHAND json."
    ),
]
BackgroundFolder = Annotated[
    Path | None,
    typer.Option(metavar="DIR", rich_help_panel=_LOOK, help="Pictures; else textures and photographs."),
]
HandName = Annotated[
    str, typer.Option(metavar="NAME|FILE", rich_help_panel=_LOOK, help='"open", "mano" or a file, as in demo.')
]
Workers = Annotated[
    int | None, typer.Option(min=1, max=512, rich_help_panel=RUN, help="Processes; by default one a core.")
]
ShardSize = Annotated[int, typer.Option(min=1, rich_help_panel=RUN, help="Sequences a shard.")]
DryRun = Annotated[bool, typer.Option("--dry-run", rich_help_panel=RUN, help="Only say how large and how long.")]
Force = Annotated[bool, typer.Option("--force", rich_help_panel=RUN, help="Replace what --out holds of another run.")]


@app.command(help=_SEQHAND_HELP)
def seqhand(
    out: Out = Path("seqhand"),
    split: Annotated[Split, typer.Option(rich_help_panel=_WHAT, help="Which set; their draws differ.")] = Split.TRAIN,
    sequences: Annotated[
        int | None,
        typer.Option(
            min=1, max=1_000_000, rich_help_panel=_WHAT, help="How many; 40000 for train, 1000 for val as published."
        ),
    ] = None,
    frames: Annotated[
        int | None, typer.Option(min=1, max=1000, rich_help_panel=_WHAT, help="A sequence; 1 for single pictures.")
    ] = None,
    size: Annotated[
        int | None, typer.Option(min=32, max=2048, rich_help_panel=_WHAT, help="Width and height, pixels.")
    ] = None,
    seed: Seed = 0,
    recipe: Recipe = "seqhand",
    changes: Changes = None,
    poses: Poses = "builtin",
    backgrounds: BackgroundFolder = None,
    hand_model: HandName = "open",
    shading: Annotated[
        bool | None, typer.Option("--shading/--no-shading", rich_help_panel=_LOOK, help="Light, or plain colours.")
    ] = None,
    forearm: Annotated[Forearm | None, typer.Option(rich_help_panel=_LOOK, help="Behind the wrist.")] = None,
    occluders: Annotated[Occluders | None, typer.Option(rich_help_panel=_LOOK, help="Objects in the way.")] = None,
    workers: Workers = None,
    device: Annotated[Device, typer.Option(rich_help_panel=RUN, help="Shards are painted on the CPU.")] = Device.AUTO,
    shard_size: ShardSize = 100,
    preview: Annotated[
        bool, typer.Option("--preview", rich_help_panel=RUN, help="Show the first ones: preview.mp4, preview.png.")
    ] = False,
    pose_map: Annotated[
        bool, typer.Option("--pose-map", rich_help_panel=RUN, help="Draw the poses as a map: poses.png.")
    ] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    force: Force = False,
    debug: Debug = False,
) -> None:
    given: dict[str, object] = {"frames": frames, "size": size, "shading": _toml(shading)}
    if forearm is not None:
        given |= _shares("forearm", forearm.value, ("bare", "sleeve"))
    if occluders is not None:
        given |= _shares("occluders", occluders.value, ("front", "held"))
    settings = [f"{key}={value}" for key, value in given.items() if value is not None] + (changes or [])
    log_to_stderr(quiet=quiet, debug=debug)
    show_progress = not quiet and sys.stderr.isatty()
    with told_errors("sequence was made", as_json=as_json, debug=debug):
        from handkit.recipe import load_recipe
        from handkit.synth.job import SequenceJob
        from handkit.synth.recipe import SequenceRecipe

        job = SequenceJob(
            out=out,
            recipe=load_recipe(SequenceRecipe, recipe, settings),
            seed=seed,
            split=split.value,
            sequences=sequences or _SEQUENCES[split],
            shard_size=shard_size,
            poses=poses,
            backgrounds=backgrounds,
            hand_model=hand_model,
        )
        _check_device(device)
        summary, code = _make(
            job, workers=workers, dry_run=dry_run, preview=preview, force=force, show_progress=show_progress
        )
        if pose_map and not dry_run and code == 0:
            summary["preview"].append(_draw_poses(poses, out))
    _print_summary(summary, as_json=as_json)
    raise typer.Exit(code)


@app.command(help=_STEREO_HELP)
def stereo(
    out: Out = Path("stereo"),
    split: Annotated[Split, typer.Option(rich_help_panel=_WHAT, help="Which set; their draws differ.")] = Split.TRAIN,
    pairs: Annotated[
        int, typer.Option(min=1, max=1_000_000, rich_help_panel=_WHAT, help="How many; by default as published.")
    ] = _PAIRS,
    seed: Seed = 0,
    recipe: Recipe = "stereo",
    changes: Changes = None,
    backgrounds: BackgroundFolder = None,
    hand_model: HandName = "open",
    workers: Workers = None,
    shard_size: Annotated[int, typer.Option(min=1, rich_help_panel=RUN, help="Pairs a shard.")] = 250,
    preview: Annotated[
        bool, typer.Option("--preview", rich_help_panel=RUN, help="Show the first ones: preview.png.")
    ] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    force: Force = False,
    debug: Debug = False,
) -> None:
    log_to_stderr(quiet=quiet, debug=debug)
    show_progress = not quiet and sys.stderr.isatty()
    with told_errors("pair was made", as_json=as_json, debug=debug):
        from handkit.recipe import load_recipe
        from handkit.synth.stereo import StereoRecipe
        from handkit.synth.stereo_job import StereoJob

        job = StereoJob(
            out=out,
            recipe=load_recipe(StereoRecipe, recipe, changes or []),
            seed=seed,
            split=split.value,
            sequences=pairs,
            shard_size=shard_size,
            backgrounds=backgrounds,
            hand_model=hand_model,
        )
        summary, code = _make(
            job, workers=workers, dry_run=dry_run, preview=preview, force=force, show_progress=show_progress
        )
    _print_summary(summary, as_json=as_json)
    raise typer.Exit(code)


def _make(
    job: "ShardJob", *, workers: int | None, dry_run: bool, preview: bool, force: bool, show_progress: bool
) -> tuple[dict[str, Any], int]:
    """The summary and the exit code of a run, or of what it would take."""
    from handkit.synth.generate import measure_run, run_generate

    if dry_run:
        return measure_run(job, workers=workers, show_progress=show_progress), 0
    result = run_generate(job, workers=workers, preview=preview, force=force, show_progress=show_progress)
    return result.summary, result.exit_code


def _print_summary(summary: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(summary, indent=2))
        return
    from handkit.synth.report import print_report

    print_report(summary)


def _draw_poses(poses: str, out: Path) -> str:
    from handkit.synth.pose_map import draw_pose_map
    from handkit.synth.poses import load_pose_bank

    return str(draw_pose_map(load_pose_bank(poses), out / "poses.png"))


def _toml(value: bool | None) -> str | None:
    return None if value is None else str(value).lower()


def _shares(table: str, chosen: str, kinds: tuple[str, str]) -> dict[str, object]:
    """All sequences have the chosen kind; with "both" half of them either."""
    share = {"none": 0.0, "both": 0.5}.get(chosen)
    return {f"{table}.{kind}": float(kind == chosen) if share is None else share for kind in kinds}


def _check_device(device: Device) -> None:
    if device is Device.CUDA:
        import torch

        if not torch.cuda.is_available():
            raise HandkitError("--device cuda: no CUDA device is available", "leave --device out")
