"""The command line: parse, call, print. Nothing heavy is imported before the options are known to be right."""

import json
import math
import sys
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from handkit import __version__
from handkit.cli_evaluate import EVALUATE_HELP, evaluate
from handkit.cli_generate import app as generate_app
from handkit.cli_options import RUN, AsJson, Debug, Device, Quiet
from handkit.cli_pretrain import app as pretrain_app
from handkit.demo.options import EXPORT_FORMATS, ROTATIONS, DemoOptions
from handkit.refine.options import PARTS, TERMS, RefineOptions
from handkit.terminal import log_to_stderr, say, told_errors

app = typer.Typer(
    name="handkit",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(generate_app, name="generate")
app.add_typer(pretrain_app, name="pretrain")
app.command(help=EVALUATE_HELP)(evaluate)

_DEMO_HELP = """Turn images and videos of hands into 3D hands: pose, shape, mesh, camera and pictures of them.

INPUT is an image, a video, a folder, a quoted glob, webcam:0, or 3D joints (.npy or .json, [T, 21, 3], metres).
Without any, a short built-in clip is made, run, and compared with its known truth.

[bold]Examples[/bold]

    handkit demo
    handkit demo video.mp4 photos/ --out hands
    handkit demo video.mp4 --start 2 --end 10 --view side --export glb
    handkit demo photo.jpg --focal 1200 --json
"""


_REFINE_HELP = """Refine hands against their outlines in the pictures: pose, shape, vertices and camera.

PREDICTIONS is a hands.npz of [bold]handkit demo[/bold], or a folder with some below it. Their pictures are found where
they were, or by --images; the outlines come from mask files (--masks), or from a segmenter seeded by the hand itself.
What was done before with the same options is skipped, and what was interrupted goes on.

With --rig, PREDICTIONS are one per synchronous, calibrated camera, in the order of the rig's views: a hand that several
see is refined against all of them, and every camera gets its hands.npz in its own frame. The rig is JSON,
{"unit_m": 0.001, "views": \\[{"name", "K", "R", "T", "distortion"}, ...]}: x_cam = R x_world + T with T in units of
unit_m metres (without it, by the size of the hands); or OpenCV's file of a calibrated pair, K1, D1, K2, D2, R, T.
--images and --masks may hold a folder per view, of its name. Results are of pictures without lens distortion.

[bold]Examples[/bold]

    handkit refine handkit_out --out refined
    handkit refine hands/video/hands.npz --images video.mp4 --convergence --out refined
    handkit refine hands --masks masks/ --free pose,camera --iterations 15 --out refined
    handkit refine hands --settings published-sums --set normal=off --out refined
    handkit refine left/hands.npz right/hands.npz --rig rig.json --out refined
"""


class Hands(str, Enum):
    LEFT = "left"
    RIGHT = "right"
    BOTH = "both"


class View(str, Enum):
    FRONT = "front"
    SIDE = "side"


class Rotation(str, Enum):
    R0, R90, R180, R270 = (str(angle) for angle in ROTATIONS)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"handkit {__version__}")
        raise typer.Exit


def _parse_K(text: str | None) -> str | None:
    if text is not None:
        _intrinsics(text)
    return text


def _intrinsics(text: str) -> tuple[float, float, float, float]:
    try:
        fx, fy, cx, cy = (float(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not fx,fy,cx,cy: four numbers in pixels") from None
    if not (all(map(math.isfinite, (fx, fy, cx, cy))) and fx > 0 and fy > 0):
        raise typer.BadParameter(f"{text!r}: fx and fy must be above 0")
    return fx, fy, cx, cy


def _parse_export(text: str | None) -> str | None:
    if text is not None:
        _formats(text)
    return text


def _formats(text: str) -> tuple[str, ...]:
    formats = tuple(dict.fromkeys(part.strip().lower() for part in text.split(",")))
    unknown = [name for name in formats if name not in EXPORT_FORMATS]
    if unknown:
        raise typer.BadParameter(f"{', '.join(map(repr, unknown))}: choose among {', '.join(EXPORT_FORMATS)}")
    return formats


class SegmenterName(str, Enum):
    GRABCUT = "grabcut"
    HSV = "hsv"


class SettingsName(str, Enum):
    DEFAULT = "default"
    PUBLISHED_SUMS = "published-sums"


def _parse_free(text: str) -> str:
    _parts(text)
    return text


def _parts(text: str) -> tuple[str, ...]:
    parts = tuple(dict.fromkeys(part.strip().lower() for part in text.split(",")))
    unknown = [name for name in parts if name not in PARTS]
    if unknown:
        raise typer.BadParameter(f"{', '.join(map(repr, unknown))}: choose among {', '.join(PARTS)}")
    return parts


def _parse_weights(texts: list[str] | None) -> list[str] | None:
    _weights(texts or [])
    return texts


def _weights(texts: list[str]) -> dict[str, float | None]:
    """`term=value` and `term=off`."""
    weights: dict[str, float | None] = {}
    for text in texts:
        term, _, value = (part.strip() for part in text.partition("="))
        if term not in TERMS:
            raise typer.BadParameter(f"{text!r}: choose a term among {', '.join(TERMS)}")
        if value == "off" and term != "silhouette":
            weights[term] = None
            continue
        try:
            weights[term] = float(value)
        except ValueError:
            raise typer.BadParameter(f"{text!r} is not {term}=NUMBER or {term}=off") from None
        if not (math.isfinite(weights[term] or 0.0) and (weights[term] or 0.0) >= 0):
            raise typer.BadParameter(f"{text!r}: a weight is a number of at least 0")
    return weights


def _positive(value: float | None) -> float | None:
    if value is not None and not (math.isfinite(value) and value > 0):
        raise typer.BadParameter(f"{value:g} is not above 0")
    return value


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """3D hands from images and video.

    [bold]Example[/bold]

        handkit demo video.mp4 --out hands
    """


_INPUT = "Which hands"
_CAMERA = "Camera"
_FIT = "Hand and fit"
_OUTPUT = "Output"
_TARGET = "Pictures and masks"


@app.command(help=_DEMO_HELP)
def demo(
    inputs: Annotated[
        list[str] | None, typer.Argument(metavar="[INPUT]...", show_default=False, help="What to read; see above.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where results go.")] = Path("handkit_out"),
    max_hands: Annotated[int, typer.Option(min=1, max=20, help="Hands per image.", rich_help_panel=_INPUT)] = 2,
    hands: Annotated[
        Hands, typer.Option(help="Keep these; joints files: their side.", rich_help_panel=_INPUT)
    ] = Hands.BOTH,
    min_score: Annotated[
        float, typer.Option(min=0, max=1, help="How sure the detector must be.", rich_help_panel=_INPUT)
    ] = 0.5,
    start: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", rich_help_panel=_INPUT, help="First time read of a video.")
    ] = 0.0,
    end: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", callback=_positive, rich_help_panel=_INPUT, help="Time to stop at."),
    ] = None,
    stride: Annotated[int, typer.Option(min=1, help="Read every n-th frame.", rich_help_panel=_INPUT)] = 1,
    rotate: Annotated[
        Rotation, typer.Option(help="Turn inputs clockwise, degrees.", rich_help_panel=_INPUT)
    ] = Rotation.R0,
    duration: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            callback=_positive,
            rich_help_panel=_INPUT,
            help="Length of webcam recording; else Ctrl-C ends it.",
        ),
    ] = None,
    bbox: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE|DIR",
            rich_help_panel=_INPUT,
            help="Boxes to look in, JSON: frankmocap's, or {image: \\[\\[x, y, w, h, side?]]}.",
        ),
    ] = None,
    keypoints: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE|DIR",
            rich_help_panel=_INPUT,
            help="2D keypoints in place of the detector: OpenPose JSON or .npy.",
        ),
    ] = None,
    K: Annotated[
        str | None,
        typer.Option(
            "--K",
            metavar="fx,fy,cx,cy",
            callback=_parse_K,
            rich_help_panel=_CAMERA,
            help="Intrinsics in pixels, for all inputs.",
        ),
    ] = None,
    focal: Annotated[
        float | None,
        typer.Option(
            metavar="PX", callback=_positive, rich_help_panel=_CAMERA, help="Focal length in pixels, for all inputs."
        ),
    ] = None,
    camera: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE|DIR",
            rich_help_panel=_CAMERA,
            help="JSON with K, for all images or by image name; or a folder of <image>.json.",
        ),
    ] = None,
    smooth: Annotated[
        float,
        typer.Option(
            min=0, metavar="STRENGTH", rich_help_panel=_FIT, help="Smoothing over time; 0 fits every frame alone."
        ),
    ] = 1.0,
    hand_model: Annotated[
        str,
        typer.Option(
            metavar="NAME|FILE",
            rich_help_panel=_FIT,
            help='"open", "mano" (looked for in ./weights, HANDKIT_MANO) or a file.',
        ),
    ] = "open",
    overlay: Annotated[
        bool, typer.Option("--overlay/--no-overlay", rich_help_panel=_OUTPUT, help="Draw the hands over the input.")
    ] = True,
    view: Annotated[
        View, typer.Option(rich_help_panel=_OUTPUT, help="side: the hands from the side beside the overlay.")
    ] = View.FRONT,
    export: Annotated[
        str | None,
        typer.Option(
            metavar="obj,ply,glb,json",
            callback=_parse_export,
            rich_help_panel=_OUTPUT,
            help="Files for other programs.",
        ),
    ] = None,
    vertices: Annotated[
        bool, typer.Option("--vertices", rich_help_panel=_OUTPUT, help="Store the mesh vertices too (large).")
    ] = False,
    device: Annotated[
        Device, typer.Option(rich_help_panel=RUN, help="Detection and fit run on the CPU either way.")
    ] = Device.AUTO,
    seed: Annotated[int, typer.Option(min=0, rich_help_panel=RUN, help="Of the built-in clip.")] = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
    force: Annotated[bool, typer.Option("--force", rich_help_panel=RUN, help="Do again what is done.")] = False,
    debug: Debug = False,
) -> None:
    if end is not None and end <= start:
        raise typer.BadParameter(f"--end {end:g} is not after --start {start:g}")
    cameras = [name for name, value in (("--K", K), ("--focal", focal), ("--camera", camera)) if value is not None]
    if len(cameras) > 1:
        raise typer.BadParameter(f"{' and '.join(cameras)} exclude each other")
    if bbox is not None and keypoints is not None:
        raise typer.BadParameter("--bbox and --keypoints exclude each other")
    options = DemoOptions(
        max_hands=max_hands,
        hands=hands.value,
        min_score=min_score,
        start=start,
        end=end,
        stride=stride,
        rotate=int(rotate.value),
        duration=duration,
        bbox=bbox,
        keypoints=keypoints,
        K=_intrinsics(K) if K else None,
        focal=focal,
        camera=camera,
        smooth=smooth,
        hand_model=hand_model,
        overlay=overlay,
        side_view=view is View.SIDE,
        export=_formats(export) if export else (),
        vertices=vertices,
        device=device.value,
        seed=seed,
    )
    _run_demo(inputs or [], out, options, as_json=as_json, quiet=quiet, force=force, debug=debug)


def _run_demo(
    inputs: list[str], out: Path, options: DemoOptions, *, as_json: bool, quiet: bool, force: bool, debug: bool
) -> None:
    log_to_stderr(quiet=quiet, debug=debug)
    with told_errors("input was read", as_json=as_json, debug=debug):
        from handkit.demo.run import run_demo

        result = run_demo(
            inputs,
            out,
            options,
            force=force,
            show_progress=not quiet and sys.stderr.isatty(),
            on_error=say,
            debug=debug,
        )
    if as_json:
        typer.echo(json.dumps(result.summary, indent=2))
    else:
        from handkit.demo.report import print_report

        print_report(result)
    raise typer.Exit(result.exit_code)


@app.command(help=_REFINE_HELP)
def refine(
    predictions: Annotated[
        list[str], typer.Argument(metavar="PREDICTIONS...", show_default=False, help="hands.npz, or a folder of some.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where results go.")] = Path("handkit_refined"),
    images: Annotated[
        Path | None,
        typer.Option(metavar="FILE|DIR", rich_help_panel=_TARGET, help="The pictures or video, where they have moved."),
    ] = None,
    rotate: Annotated[
        Rotation, typer.Option(help="As the predictions were made with.", rich_help_panel=_TARGET)
    ] = Rotation.R0,
    masks: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            rich_help_panel=_TARGET,
            help="Mask pictures: <image>.png, <video>_<frame, 6 digits>.png; <...>_<track>_<side>.png for one hand.",
        ),
    ] = None,
    rig: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", rich_help_panel=_TARGET, help="The cameras, where PREDICTIONS are one per calibrated view."
        ),
    ] = None,
    segmenter: Annotated[
        SegmenterName, typer.Option(rich_help_panel=_TARGET, help="Makes the masks where none are given.")
    ] = SegmenterName.GRABCUT,
    free: Annotated[
        str,
        typer.Option(metavar=",".join(PARTS), callback=_parse_free, rich_help_panel=_FIT, help="What may change."),
    ] = ",".join(PARTS),
    iterations: Annotated[int, typer.Option(min=1, max=1000, rich_help_panel=_FIT, help="Renderings per hand.")] = 10,
    settings: Annotated[
        SettingsName,
        typer.Option(
            rich_help_panel=_FIT, help="published-sums: RealisticHands' losses, weights and steps as printed."
        ),
    ] = SettingsName.DEFAULT,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="TERM=WEIGHT|off",
            callback=_parse_weights,
            rich_help_panel=_FIT,
            help=f"Change a term: {', '.join(TERMS)}.",
        ),
    ] = None,
    overlay: Annotated[
        bool, typer.Option("--overlay/--no-overlay", rich_help_panel=_OUTPUT, help="Draw the hands over the input.")
    ] = True,
    convergence: Annotated[
        bool,
        typer.Option("--convergence", rich_help_panel=_OUTPUT, help="Film the first hands, iteration by iteration."),
    ] = False,
    texture: Annotated[
        bool,
        typer.Option(
            "--texture", rich_help_panel=_OUTPUT, help="Take the hand's texture: texture.png, texture.obj, rig.glb."
        ),
    ] = False,
    texture_share: Annotated[
        float,
        typer.Option(min=0.01, max=1, rich_help_panel=_OUTPUT, help="How much of each new frame enters the texture."),
    ] = 0.5,
    vertices: Annotated[
        bool, typer.Option("--vertices", rich_help_panel=_OUTPUT, help="Store the mesh vertices too (large).")
    ] = False,
    device: Annotated[Device, typer.Option(rich_help_panel=RUN, help="Where to compute.")] = Device.AUTO,
    as_json: AsJson = False,
    quiet: Quiet = False,
    force: Annotated[
        bool, typer.Option("--force", rich_help_panel=RUN, help="Do again what is done; replace others' files.")
    ] = False,
    debug: Debug = False,
) -> None:
    options = RefineOptions(
        images=images,
        rig=rig,
        masks=masks,
        segmenter=segmenter.value,
        free=_parts(free),
        iterations=iterations,
        settings=settings.value,
        weights=_weights(changes or []),
        rotate=int(rotate.value),
        overlay=overlay,
        convergence=convergence,
        vertices=vertices,
        texture=texture,
        texture_share=texture_share,
        device=device.value,
    )
    _run_refine(predictions, out, options, as_json=as_json, quiet=quiet, force=force, debug=debug)


def _run_refine(
    predictions: list[str], out: Path, options: RefineOptions, *, as_json: bool, quiet: bool, force: bool, debug: bool
) -> None:
    log_to_stderr(quiet=quiet, debug=debug)
    with told_errors("predictions were read", as_json=as_json, debug=debug):
        from handkit.refine.run import run_refine

        result = run_refine(
            predictions,
            out,
            options,
            force=force,
            show_progress=not quiet and sys.stderr.isatty(),
            on_error=say,
            debug=debug,
        )
    if as_json:
        typer.echo(json.dumps(result.summary, indent=2))
    else:
        from handkit.refine.report import print_report

        print_report(result)
    raise typer.Exit(result.exit_code)
