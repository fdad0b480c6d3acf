"""`handkit selfsup ...`: learning from pictures and videos without labels; imports nothing heavy at the top."""

from enum import Enum
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from handkit.cli.options import RUN, AsJson, ComputeOn, Debug, Device, Quiet, changes_option, recipe_option
from handkit.cli.training import (
    DATA,
    WHAT,
    BackboneWeights,
    ForceRun,
    HandModelName,
    Seed,
    run_training,
    settings_given,
    text_of,
)

app = typer.Typer(
    help="Learn from pictures and videos without labels.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_S2HAND_HELP = """Train S2HAND on your own pictures, from detected keypoints and pixels alone.

Hands are found once (by MediaPipe, or [bold]--keypoints[/bold]) and kept in OUT/gathered. Then the 3D network (pose,
shape, texture, light, camera) and the 2D keypoint estimator learn apart, and together. Every stage is a run in
OUT/STAGE with its own weights, log and previews; a run that was stopped goes on where it was by the same command. With
[bold]--init[/bold] only the last stage is trained unless --stage says otherwise. Without --data synthetic sequences
are made, and their labels are not used. [bold]--search-weights[/bold] finds weights of the loss instead, as the
supplement of the paper does.

[bold]Examples[/bold]

    handkit selfsup s2hand --data photos/ --out runs/mine
    handkit selfsup s2hand --data holiday.mp4 --data photos/ --recipe s2hand-small --dry-run
    handkit selfsup s2hand --stage keypoints --out runs/keypoints
    handkit selfsup s2hand --data freihand=FreiHAND_pub_v2 --supervision weak --out runs/weak
    handkit selfsup s2hand --data photos/ --search-weights --set search.phases='["initial"]' --out runs/weights
"""

_VIDEO_HELP = """Train S2HAND(V) on your own videos: as s2hand, with motion, texture and shape kept consistent.

After the two branches, windows of 3 frames, 3 apart, are learned from (--set data.frames, data.interval). Frames where
the hand jumps or vanishes are left out and counted: see [bold]--dry-run[/bold].

[bold]Examples[/bold]

    handkit selfsup s2hand-video --data videos/ --out runs/mine
    handkit selfsup s2hand-video --data clip.mp4 --recipe s2hand-small --dry-run
    handkit selfsup s2hand-video --data videos/ --init runs/mine/hand/s2hand.safetensors --out runs/video
    handkit selfsup s2hand-video --data ho3d=HO3D_v2 --val stb=STB --set loss.factors.quaternion=0
"""


class ImageStage(str, Enum):
    ALL = "all"
    HAND = "hand"
    KEYPOINTS = "keypoints"
    IMAGES = "images"


class VideoStage(str, Enum):
    ALL = "all"
    HAND = "hand"
    KEYPOINTS = "keypoints"
    VIDEO = "video"


class Supervision(str, Enum):
    SELF = "self"
    WEAK = "weak"


Data = Annotated[
    list[str] | None,
    typer.Option(
        "--data",
        metavar="PATH|NAME=DIR",
        rich_help_panel=DATA,
        help="Pictures, videos, folders of both, or a data set; as often as wanted. Else synthetic sequences.",
    ),
]
Val = Annotated[
    list[str] | None,
    typer.Option(
        "--val", metavar="PATH|NAME=DIR", rich_help_panel=DATA, help="To choose the best weights by; else a part."
    ),
]
Keypoints = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE|DIR", rich_help_panel=DATA, help="2D keypoints in place of the detector: OpenPose JSON or .npy."
    ),
]
HowSupervised = Annotated[
    Supervision, typer.Option(rich_help_panel=DATA, help="weak: a data set's true 2D keypoints, all alike.")
]
Focal = Annotated[
    float | None,
    typer.Option(
        min=1, metavar="PX", rich_help_panel=DATA, help="Focal length of all inputs; else EXIF or 60 degrees."
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", rich_help_panel=RUN, help="Find and count the hands, train nothing.")
]
Init = Annotated[
    Path | None, typer.Option("--init", metavar="FILE", rich_help_panel=WHAT, help="Weights to start from.")
]

SearchWeights = Annotated[
    bool,
    typer.Option(
        "--search-weights", rich_help_panel=WHAT, help="Search the loss weights by short trainings, into OUT/search."
    ),
]


@app.callback()
def verb() -> None:
    pass


@app.command("s2hand", help=_S2HAND_HELP)
def s2hand(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the run goes.")] = Path("runs/s2hand"),
    data: Data = None,
    val: Val = None,
    keypoints: Keypoints = None,
    focal: Focal = None,
    supervision: HowSupervised = Supervision.SELF,
    stage: Annotated[ImageStage, typer.Option(rich_help_panel=WHAT, help="One stage, or all.")] = ImageStage.ALL,
    init: Init = None,
    search_weights: SearchWeights = False,
    recipe: Annotated[str, recipe_option(WHAT)] = "s2hand",
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
    _run(
        out,
        together="images",
        stage=stage.value,
        init=init,
        search_weights=search_weights,
        dry_run=dry_run,
        recipe=recipe,
        given=_given(data, val, keypoints, focal, supervision, backbone_weights, hand_model, seed),
        changes=changes,
        device=device.value,
        as_json=as_json,
        quiet=quiet,
        force=force,
        debug=debug,
    )


@app.command("s2hand-video", help=_VIDEO_HELP)
def s2hand_video(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the run goes.")] = Path("runs/s2hand-video"),
    data: Data = None,
    val: Val = None,
    keypoints: Keypoints = None,
    focal: Focal = None,
    supervision: HowSupervised = Supervision.SELF,
    stage: Annotated[VideoStage, typer.Option(rich_help_panel=WHAT, help="One stage, or all.")] = VideoStage.ALL,
    init: Init = None,
    search_weights: SearchWeights = False,
    recipe: Annotated[str, recipe_option(WHAT)] = "s2hand",
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
    _run(
        out,
        together="video",
        stage=stage.value,
        init=init,
        search_weights=search_weights,
        dry_run=dry_run,
        recipe=recipe,
        given=_given(data, val, keypoints, focal, supervision, backbone_weights, hand_model, seed),
        changes=changes,
        device=device.value,
        as_json=as_json,
        quiet=quiet,
        force=force,
        debug=debug,
    )


def _given(
    data: list[str] | None,
    val: list[str] | None,
    keypoints: Path | None,
    focal: float | None,
    supervision: Supervision,
    backbone_weights: Path | None,
    hand_model: str | None,
    seed: int | None,
) -> list[str]:
    """The options as changes of the recipe; what is not given leaves it as it is."""
    return settings_given(
        data__sources=data,
        data__val=val,
        data__keypoints=text_of(keypoints),
        data__focal=focal,
        data__supervision=None if supervision is Supervision.SELF else supervision.value,
        network__backbone_weights=text_of(backbone_weights),
        hand=hand_model,
        train__seed=seed,
    )


def _run(
    out: Path,
    *,
    together: str,
    stage: str,
    init: Path | None,
    search_weights: bool,
    dry_run: bool,
    recipe: str,
    given: list[str],
    changes: list[str] | None,
    **options: Any,
) -> None:
    settings: dict[str, Any] = {"recipe": recipe, "changes": [*given, *(changes or [])]}
    if search_weights and stage != "all":
        raise typer.BadParameter("--search-weights searches all terms together: leave --stage out")

    def load_search() -> tuple[Any, Any]:
        from handkit.runs.s2hand_search import SearchOptions, search_weights
        from handkit.runs.s2hand_search_tables import print_report

        asked = SearchOptions(together=together, init=init, dry_run=dry_run)

        def run(out: Path, **rest: Any) -> Any:
            say = _say if rest["show_progress"] else lambda _: None
            return search_weights(out, asked, say=say, **settings, **rest)

        return run, print_report

    def load() -> tuple[Any, Any]:
        from handkit.runs.s2hand import SelfsupOptions, print_report, selfsup_s2hand

        asked = SelfsupOptions(together=together, stage=stage, init=init, dry_run=dry_run)
        return partial(selfsup_s2hand, asked=asked, **settings), print_report

    run_training(load_search if search_weights else load, out, **options)


def _say(line: str) -> None:
    typer.echo(line, err=True)
