"""`handkit refine`: hands against their outlines in the pictures."""

import json
import math
import sys
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from handkit.cli.options import RUN, AsJson, ComputeOn, Debug, Device, Quiet, Rotation
from handkit.cli.terminal import log_to_stderr, say, told_errors
from handkit.refine.options import PARTS, TERMS, RefineOptions

REFINE_HELP = """Refine hands against their outlines in the pictures: pose, shape, vertices and camera.

PREDICTIONS is a hands.npz of [bold]handkit demo[/bold], or a folder with some below it. Their pictures are found where
they were, or by --images. The outlines come from mask files (--masks), from HandNet's segmentation (--checkpoint, of
[bold]handkit pretrain handnet[/bold], or the usual weights), or from a segmenter seeded by the hand itself.
What was done before with the same options is skipped, and what was interrupted goes on.

With --rig, PREDICTIONS are one per synchronous, calibrated camera, in the order of the rig's views: a hand that several
see is refined against all of them, and every camera gets its hands.npz in its own frame. The rig is JSON,
{"unit_m": 0.001, "views": \\[{"name", "K", "R", "T", "distortion", "size"}, ...]}: x_cam = R x_world + T with T in
units of unit_m metres (without it, by the size of the hands), size \\[width, height]; or OpenCV's file of a calibrated
pair, K1, D1, K2, D2, R, T.
--images and --masks may hold a folder per view, of its name. Results are of pictures without lens distortion.

[bold]Examples[/bold]

    handkit refine handkit_out --out refined
    handkit refine hands/video/hands.npz --images video.mp4 --convergence --out refined
    handkit refine hands --segmenter handnet --checkpoint runs/handnet --out refined
    handkit refine hands --masks masks/ --free pose,camera --iterations 15 --out refined
    handkit refine hands --settings published-sums --set normal=off --out refined
    handkit refine left/hands.npz right/hands.npz --rig rig.json --out refined
"""

_TARGET = "Pictures and masks"
_FIT = "Hand and fit"
_OUTPUT = "Output"
_LEARNED = ("auto", "handnet")


class SegmenterName(str, Enum):
    AUTO = "auto"
    HANDNET = "handnet"
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


def refine(
    predictions: Annotated[
        list[str], typer.Argument(metavar="PREDICTIONS", show_default=False, help="hands.npz, or a folder of some.")
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
        SegmenterName,
        typer.Option(
            rich_help_panel=_TARGET,
            help="Makes the masks where none are given; auto: handnet where there are weights, else grabcut.",
        ),
    ] = SegmenterName.AUTO,
    checkpoint: Annotated[
        Path | None,
        typer.Option(metavar="FILE|DIR", rich_help_panel=_TARGET, help="Weights of --segmenter handnet."),
    ] = None,
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
    device: ComputeOn = Device.AUTO,
    as_json: AsJson = False,
    quiet: Quiet = False,
    force: Annotated[
        bool, typer.Option("--force", rich_help_panel=RUN, help="Do again what is done; replace others' files.")
    ] = False,
    debug: Debug = False,
) -> None:
    if checkpoint is not None and (masks is not None or segmenter.value not in _LEARNED):
        raise typer.BadParameter(f"--checkpoint is of --segmenter {' or '.join(_LEARNED)}, without --masks")
    options = RefineOptions(
        images=images,
        rig=rig,
        masks=masks,
        segmenter=segmenter.value,
        checkpoint=checkpoint,
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
