"""`handkit demo`: images and videos to 3D hands."""

import json
import math
import sys
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from handkit.cli.options import RUN, AsJson, Debug, Device, Quiet, Rotation
from handkit.cli.terminal import log_to_stderr, say, told_errors
from handkit.demo.options import (
    EXPORT_FORMATS,
    KEYPOINT_SOURCES,
    METHODS,
    ONLY_PAIRS,
    PAIR_METHODS,
    STEREO_CAMERAS,
    DemoOptions,
)

DEMO_HELP = """Turn images and videos of hands into 3D hands: pose, shape, mesh, camera and pictures of them.

INPUT is an image, a video, a folder, a quoted glob, webcam:0, or 3D joints (.npy or .json, [T, 21, 3], metres).
Without any, a short built-in clip is made, run, and compared with its known truth.

Each video or folder of images gets hands.npz and an overlay in OUT/NAME. --stereo, of --method handnet and binocular,
takes the two views of a calibrated pair instead: OUT/LEFT_RIGHT has hands.npz of each, in its own camera, rig.json,
stereo.json (what became of every pair), and of binocular meshes.npz, the meshes that the hands were fitted to.

[bold]Examples[/bold]

    handkit demo
    handkit demo video.mp4 photos/ --out hands
    handkit demo video.mp4 --start 2 --end 10 --view side --export glb
    handkit demo photo.jpg --focal 1200 --json
    handkit demo video.mp4 --method seqhand --checkpoint runs/seqhand --refine-keypoints
    handkit demo video.mp4 --method s2hand --checkpoint runs/s2hand --export glb
    handkit demo video.mp4 --method handnet --refine-keypoints
    handkit demo video.mp4 --keypoint-source hourglass --checkpoint runs/s2hand
    handkit demo --stereo left.mp4 right.mp4 --rig rig.json --method handnet --checkpoint runs/handnet-stereo
    handkit demo --stereo left/ right/ --rig rig.json --method binocular --checkpoint runs/binocular --export glb
"""

_INPUT = "Which hands"
_CAMERA = "Camera"
_STEREO = "Two views"
_FIT = "Hand and fit"
_OUTPUT = "Output"


class Hands(str, Enum):
    LEFT = "left"
    RIGHT = "right"
    BOTH = "both"


class Method(str, Enum):
    FIT, SEQHAND, S2HAND, HANDNET, BINOCULAR = METHODS


class KeypointSource(str, Enum):
    MEDIAPIPE, HOURGLASS = KEYPOINT_SOURCES


class StereoCamera(str, Enum):
    AVERAGE, TRIANGULATED = STEREO_CAMERAS


class View(str, Enum):
    FRONT = "front"
    SIDE = "side"


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


def _positive(value: float | None) -> float | None:
    if value is not None and not (math.isfinite(value) and value > 0):
        raise typer.BadParameter(f"{value:g} is not above 0")
    return value


def demo(
    context: typer.Context,
    inputs: Annotated[
        list[str] | None, typer.Argument(metavar="INPUT", show_default=False, help="What to read; see above.")
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
    keypoint_source: Annotated[
        KeypointSource,
        typer.Option(
            rich_help_panel=_INPUT, help="hourglass: a trained 2D estimator, in MediaPipe's boxes or --bbox's."
        ),
    ] = KeypointSource.MEDIAPIPE,
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
    stereo: Annotated[
        tuple[Path, Path] | None,
        typer.Option(
            metavar="LEFT RIGHT",
            rich_help_panel=_STEREO,
            help="Two pictures, folders of them, or synchronous videos of the same hands, seen together.",
        ),
    ] = None,
    rig: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            rich_help_panel=_STEREO,
            help="Their cameras, left first: JSON as of handkit refine, or OpenCV's YAML or XML of a pair.",
        ),
    ] = None,
    stereo_camera: Annotated[
        StereoCamera,
        typer.Option(
            rich_help_panel=_STEREO,
            help="Where handnet's hand stands: between both answers, or where its wrist's rays meet.",
        ),
    ] = StereoCamera.AVERAGE,
    method: Annotated[
        Method,
        typer.Option(
            rich_help_panel=_FIT,
            help="A trained network: seqhand over time, s2hand with texture and light, handnet by image and 2D "
            "keypoints, binocular by the disparity of --stereo; else the fit.",
        ),
    ] = Method.FIT,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE|DIR",
            rich_help_panel=_FIT,
            help="Weights, or a run's folder, of the method or the hourglass; else those in weights/.",
        ),
    ] = None,
    keypoint_checkpoint: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE|DIR",
            rich_help_panel=_FIT,
            help="Weights of the hourglass where --checkpoint is of the method; else those in weights/.",
        ),
    ] = None,
    refine_keypoints: Annotated[
        bool,
        typer.Option("--refine-keypoints", rich_help_panel=_FIT, help="The fit to 2D keypoints follows, from there."),
    ] = False,
    smooth: Annotated[
        float,
        typer.Option(
            min=0, metavar="STRENGTH", rich_help_panel=_FIT, help="Of the fit over time; 0 fits every frame alone."
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
        Device, typer.Option(rich_help_panel=RUN, help="Of the network; detection and fit run on the CPU.")
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
    _check_networks(method, keypoint_source, checkpoint, keypoint_checkpoint, refine_keypoints=refine_keypoints)
    if keypoints is not None and keypoint_source is KeypointSource.HOURGLASS:
        raise typer.BadParameter("--keypoints and --keypoint-source hourglass exclude each other")
    is_fitted = method.value in ("fit", *ONLY_PAIRS)  # the latter's views alone
    if not (is_fitted or refine_keypoints) and _is_given(context, "smooth"):
        raise typer.BadParameter(f"--smooth is of the fit: with --method {method.value} give --refine-keypoints too")
    _check_stereo(context, stereo, rig, method, inputs)
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
        keypoint_source=keypoint_source.value,
        K=_intrinsics(K) if K else None,
        focal=focal,
        camera=camera,
        smooth=smooth,
        hand_model=hand_model,
        method=method.value,
        checkpoint=checkpoint,
        keypoint_checkpoint=keypoint_checkpoint,
        refine_keypoints=refine_keypoints,
        overlay=overlay,
        side_view=view is View.SIDE,
        export=_formats(export) if export else (),
        vertices=vertices,
        device=device.value,
        seed=seed,
        stereo=stereo,
        rig=rig,
        stereo_camera=stereo_camera.value,
    )
    _run_demo(inputs or [], out, options, as_json=as_json, quiet=quiet, force=force, debug=debug)


def _check_networks(
    method: Method,
    source: KeypointSource,
    checkpoint: Path | None,
    keypoint_checkpoint: Path | None,
    *,
    refine_keypoints: bool,
) -> None:
    networks = [name for name in METHODS if name != Method.FIT.value]
    is_hourglass = source is KeypointSource.HOURGLASS
    if method is Method.FIT and checkpoint is not None and not is_hourglass:
        raise typer.BadParameter(
            f"--checkpoint is of --method {', '.join(networks)}, and of --keypoint-source hourglass"
        )
    if keypoint_checkpoint is not None and not is_hourglass:
        raise typer.BadParameter("--keypoint-checkpoint is of --keypoint-source hourglass")
    if method is Method.FIT and refine_keypoints:
        of_views = ", ".join(name for name in networks if name not in ONLY_PAIRS)
        raise typer.BadParameter(f"--refine-keypoints is of --method {of_views}")


def _check_stereo(
    context: typer.Context,
    stereo: tuple[Path, Path] | None,
    rig: Path | None,
    method: Method,
    inputs: list[str] | None,
) -> None:
    if stereo is None:
        if rig is not None:
            raise typer.BadParameter("--rig is of --stereo LEFT RIGHT")
        if _is_given(context, "stereo_camera"):
            raise typer.BadParameter("--stereo-camera is of --stereo LEFT RIGHT")
        if method.value in ONLY_PAIRS:
            what = f"--method {method.value} sees two views at once"
            raise typer.BadParameter(f"{what}: give --stereo LEFT RIGHT --rig FILE")
        return
    if rig is None:
        what = "--stereo without --rig: the cameras are not calibrated"
        raise typer.BadParameter(f"{what}; give a file with K, R and T of both, handkit's JSON or OpenCV's YAML")
    if method.value not in PAIR_METHODS:
        what = f"--method {method.value} sees one view at a time: --stereo is of --method {', '.join(PAIR_METHODS)}"
        raise typer.BadParameter(f"{what}; or run demo on each view, then handkit refine LEFT RIGHT --rig")
    if method.value in ONLY_PAIRS and _is_given(context, "stereo_camera"):
        raise typer.BadParameter(f"--stereo-camera is of handnet: --method {method.value} goes by disparity")
    if inputs:
        raise typer.BadParameter(f"--stereo names its own two inputs: leave {inputs[0]} out")
    for name in ("K", "focal", "camera", "bbox", "keypoints", "refine_keypoints"):
        if _is_given(context, name):
            raise typer.BadParameter(f"--stereo and --{name.replace('_', '-')} exclude each other")


def _is_given(context: typer.Context, name: str) -> bool:
    """Whether the user, not the default, says it."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


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
