"""`handkit evaluate`: the command line of scores. Nothing heavy is imported before the options are right."""

import math
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from handkit.cli.evaluate_texts import (
    parse_files,
    parse_key_value,
    parse_names,
    parse_pair,
    parse_requirements,
    parse_thresholds,
)
from handkit.cli.options import RUN, AsJson, Debug, Device
from handkit.cli.terminal import log_to_stderr, told_errors
from handkit.errors import HandkitError
from handkit.evaluate.options import AXES, SEGMENTERS, SUBMISSIONS, UNITS_M, EvaluateOptions, ReadOptions

EVALUATE_HELP = """Score predicted hands against the truth as the official evaluations do, and write a report.

--pred takes pred.json of the FreiHAND and HO-3D servers, hands.npz of [bold]handkit demo[/bold] or a folder with some,
an .npz (joints, vertices, joints_2d, ids, ...) or an .npy; --gt the folder of evaluation_xyz.json and
evaluation_verts.json, the official ref/ and res/ layout too, or one of the other forms. hands.npz is matched by image
name, the surest of several hands; what has no names by its place.

--method runs over --dataset first: fit is MediaPipe and the fit of the hand, keypoints the fit of the data set's own
2D keypoints, seqhand, s2hand, handnet and binocular the network of each --checkpoint, seqhand's frames of a sequence
in order, other hands each alone, s2hand's with texture, light and 2D keypoints. handnet is told of MediaPipe's
keypoints, handnet-given of the data set's, handnet-image of none. binocular sees both views of a pair (data sets stb,
and stereo of generate stereo); its figures without alignment are of hands as they stand before the camera, and its
--checkpoint may be a hand prior, before it learned from pairs.

hands.npz with tracks is scored for steadiness too: turning, shape, and lighted texture where appearance.npz lies
beside it; --protocol steadiness does so without any truth. The report then draws shapes, texture S.D. and 2D
keypoints. --protocol segmentation scores masks over a data set that has some: --method hsv, grabcut, and handnet's
--checkpoint.

Results: metrics.json, per_sample.csv, pck.csv, pck.png, pck.pdf and report.html in --out.

[bold]Examples[/bold]

    handkit evaluate --protocol freihand --pred pred.json --gt FreiHAND_pub_v2 --out scores
    handkit evaluate --protocol ho3d --pred ours=a.json --pred theirs=b.json --gt HO3D_v3 --out scores
    handkit evaluate --protocol custom --pred hands.npz --gt truth.npz --align root,procrustes --thresholds 20:50:31
    handkit evaluate --protocol freihand --pred pred.json --gt DIR --require pa_mpjpe_mm=8.0 --json
    handkit evaluate --protocol ho3d --pred hands.npz --submission ho3d --out submission
    handkit evaluate --protocol stb --dataset stb --data STB --method fit --out scores
    handkit evaluate --protocol custom --dataset images --data photos --gt truth.npz --method fit --out scores
    handkit evaluate --protocol seqhand --dataset seqhand --data val --method seqhand --checkpoint runs/seqhand
    handkit evaluate --protocol ho3d --dataset ho3d --data HO3D_v2 --method s2hand --checkpoint runs/s2hand
    handkit evaluate --protocol freihand --dataset freihand --data DIR --method handnet,handnet-image --out scores
    handkit evaluate --protocol stb --dataset stb --data STB --method binocular --checkpoint runs/binocular
    handkit evaluate --protocol custom --dataset stereo --data stereo-val --method binocular \\
        --checkpoint before=runs/hand-prior --checkpoint after=runs/binocular --out scores
    handkit evaluate --protocol steadiness --pred a=demo_a --pred b=demo_b --out scores
    handkit evaluate --protocol segmentation --dataset stereo --data val --method hsv,handnet --checkpoint runs/handnet
    handkit evaluate --list-protocols
"""

_PROTOCOLS = (
    *("freihand", "ho3d", "stb", "rhd", "egodexter", "dexter-object"),
    *("seqhand", "steadiness", "segmentation", "custom"),
)
_ALIGNMENTS = ("none", "root", "scale-translation", "centroid-scale", "procrustes", "procrustes-rotation")
_ROOT_JOINTS = ("wrist-from-ring", "wrist-from-four", "wrist-from-middle", "palm", "palm-vertices", "as-is")
_NETWORKS = ("seqhand", "s2hand", "handnet", "handnet-image", "handnet-given", "binocular")
_METHODS = ("fit", "keypoints", *_NETWORKS)
_WITHOUT_TRUTH = "steadiness"
_OF_MASKS = "segmentation"
_READ = "How files are read"
_DEFINITION = "Definition"
_OUTPUT = "Output"

ProtocolName = Enum("ProtocolName", {name: name for name in _PROTOCOLS}, type=str)  # type: ignore[misc]
Submission = Enum("Submission", {name: name for name in SUBMISSIONS}, type=str)  # type: ignore[misc]
RootJoint = Enum("RootJoint", {name: name for name in _ROOT_JOINTS}, type=str)  # type: ignore[misc]


def evaluate(
    protocol: Annotated[
        ProtocolName | None, typer.Option(help="Which definition; --list-protocols prints them.", show_default=False)
    ] = None,
    pred: Annotated[
        list[str] | None,
        typer.Option("--pred", metavar="[NAME=]FILE|DIR", help="Predictions; several are compared with the first."),
    ] = None,
    gt: Annotated[Path | None, typer.Option("--gt", metavar="DIR|FILE", help="The truth.")] = None,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where results go.")] = Path("handkit_scores"),
    list_protocols: Annotated[
        bool, typer.Option("--list-protocols", help="Print every protocol's definition and exit.")
    ] = False,
    dataset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            rich_help_panel=_READ,
            help="The data set, as released, at --data or --gt.",
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option(metavar="NAME", rich_help_panel=_READ, help="Of --dataset; else its evaluation.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            rich_help_panel=_READ,
            help="The root of --dataset; its truth is used unless --gt is given.",
        ),
    ] = None,
    data_option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE", rich_help_panel=_READ, help="Of --dataset's reader, such as camera=cameras.json."
        ),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            rich_help_panel=_READ,
            help=f"Predict over --dataset first, into --out: {', '.join(_METHODS)}; masks: {', '.join(SEGMENTERS)}.",
        ),
    ] = None,
    checkpoint: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]FILE|DIR",
            rich_help_panel=_READ,
            help="Weights, or a run's folder, of a network of --method; else those in weights/. Several are compared.",
        ),
    ] = None,
    hand_model: Annotated[
        str, typer.Option(metavar="NAME|FILE", rich_help_panel=_READ, help='Of --method: "open", "mano" or a file.')
    ] = "open",
    images: Annotated[
        Path | None, typer.Option(metavar="DIR", rich_help_panel=_READ, help="Pictures for the report's worst samples.")
    ] = None,
    units: Annotated[
        str,
        typer.Option(
            metavar="UNIT[,UNIT]", rich_help_panel=_READ, help="Of lists and arrays: m, cm or mm; predictions,truth."
        ),
    ] = "m",
    joint_order: Annotated[
        str | None,
        typer.Option(
            metavar="NAME[,NAME]",
            rich_help_panel=_READ,
            help="Of lists and arrays: ours, mano, ho3d, stb, rhd, ...; by default the protocol's in JSON, else ours.",
        ),
    ] = None,
    axes: Annotated[
        str | None,
        typer.Option(
            metavar="NAME[,NAME]",
            rich_help_panel=_READ,
            help="Of lists and arrays: opencv or opengl; by default the protocol's in JSON, else opencv.",
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME|FILE", rich_help_panel=_DEFINITION, help="Samples to leave out; files list some."),
    ] = None,
    align: Annotated[
        str | None,
        typer.Option(metavar="NAME,...", rich_help_panel=_DEFINITION, help=f"Alignments: {', '.join(_ALIGNMENTS)}."),
    ] = None,
    thresholds: Annotated[
        str | None,
        typer.Option(
            metavar="START:STOP:STEPS", rich_help_panel=_DEFINITION, help="Of PCK and AUC, mm, ends included."
        ),
    ] = None,
    root_joint: Annotated[
        RootJoint | None,
        typer.Option(rich_help_panel=_DEFINITION, help="stb: what point 0, the palm in its labels, is compared as."),
    ] = None,
    fps: Annotated[
        float | None,
        typer.Option(metavar="FPS", rich_help_panel=_DEFINITION, help="Of sequences: accelerations in mm/s^2 too."),
    ] = None,
    submission: Annotated[
        Submission | None,
        typer.Option(rich_help_panel=_OUTPUT, help="Write pred.json and pred.zip as this server took them."),
    ] = None,
    require: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE", rich_help_panel=_OUTPUT, help="Exit 1 where an error is above, an AUC or F below it."
        ),
    ] = None,
    latex: Annotated[bool, typer.Option("--latex", rich_help_panel=_OUTPUT, help="Write table.tex too.")] = False,
    device: Annotated[
        Device, typer.Option(rich_help_panel=RUN, help="Of networks; detection and fit run on the CPU.")
    ] = Device.AUTO,
    as_json: AsJson = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", rich_help_panel=RUN, help="No log; errors and the result stay.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", rich_help_panel=RUN, help="Predict again what is done.")] = False,
    debug: Debug = False,
) -> None:
    if list_protocols:
        _list_protocols(as_json=as_json)
        raise typer.Exit
    is_of_masks = protocol is not None and protocol.value == _OF_MASKS
    known, networks = (SEGMENTERS, SEGMENTERS[-1:]) if is_of_masks else (_METHODS, _NETWORKS)
    methods = () if not method else parse_names("--method", ",".join(method), known)
    if protocol is None or not (pred or methods):
        raise typer.BadParameter("give --protocol and --pred or --method; --list-protocols shows what there is")
    if checkpoint and not set(networks) & set(methods):
        raise typer.BadParameter(f"--checkpoint is of --method {' or '.join(networks)}")
    checkpoints = parse_files("--checkpoint", checkpoint or [])
    if dataset is None and (data is not None or data_option or methods):
        raise typer.BadParameter("--data, --data-option and --method are of a data set: name it by --dataset")
    needs_truth = protocol.value != _WITHOUT_TRUTH and (submission is None or dataset is not None)
    if gt is None and data is None and needs_truth:
        raise typer.BadParameter("give the truth by --gt; without it only --submission can be written")
    if fps is not None and not (math.isfinite(fps) and fps > 0):
        raise typer.BadParameter(f"--fps {fps:g} is not above 0")
    read = [
        ReadOptions(unit=unit or "m", joint_order=order, axes=frame)
        for unit, order, frame in zip(
            parse_pair("--units", units, tuple(UNITS_M)),
            parse_pair("--joint-order", joint_order, _joint_orders()),
            parse_pair("--axes", axes, AXES),
            strict=True,
        )
    ]
    options = EvaluateOptions(
        protocol=protocol.value,
        pred=read[0],
        truth=read[1],
        alignments=None if align is None else parse_names("--align", align, _ALIGNMENTS),
        thresholds=None if thresholds is None else parse_thresholds(thresholds),
        root_joint=None if root_joint is None else root_joint.value,
        exclude=tuple(exclude or ()),
        fps=fps,
        submission=None if submission is None else submission.value,
        require=parse_requirements(require or []),
        latex=latex,
        dataset=dataset,
        split=split,
        data=data,
        data_options=tuple(parse_key_value("--data-option", text) for text in data_option or ()),
        methods=methods,
        checkpoints=tuple(checkpoints.items()),
        device=device.value,
        hand_model=hand_model,
        images=images,
    )
    predictions = parse_files("--pred", pred or [])
    run = [name for name in methods if name not in networks or not checkpoints] + list(checkpoints)
    for name in {name for name in run if name in predictions or run.count(name) > 1}:
        raise typer.BadParameter(f"two methods are called {name!r}; name files by NAME=FILE")
    _run(predictions, gt, out, options, as_json=as_json, quiet=quiet, debug=debug, force=force)


def _run(
    predictions: dict[str, Path],
    gt: Path | None,
    out: Path,
    options: EvaluateOptions,
    *,
    as_json: bool,
    quiet: bool,
    debug: bool,
    force: bool,
) -> None:
    log_to_stderr(quiet=quiet, debug=debug)
    with told_errors("file was read", as_json=as_json, debug=debug):
        for path in (*predictions.values(), *dict(options.checkpoints).values(), gt, options.data):
            if path is not None and not path.exists():
                raise HandkitError(f"{path} does not exist", "check the path")
        from handkit.evaluate.run import run_evaluate

        result = run_evaluate(predictions, gt, out, options, show_progress=not quiet, force=force)
    if as_json:
        import orjson

        typer.echo(orjson.dumps(result.summary(), option=orjson.OPT_INDENT_2).decode())
    else:
        from handkit.evaluate.printing import print_report

        print_report(result)
    for sentence in result.missed if as_json else ():
        typer.echo(f"missed: {sentence}", err=True)
    raise typer.Exit(result.exit_code)


def _list_protocols(*, as_json: bool) -> None:
    if as_json:
        import json

        from handkit.evaluate.protocols import PROTOCOLS

        typer.echo(json.dumps({name: protocol.definition() for name, protocol in PROTOCOLS.items()}, indent=2))
    else:
        from handkit.evaluate.printing import print_protocols

        print_protocols()


def _joint_orders() -> tuple[str, ...]:
    return ("ours", "freihand", "openpose", "mediapipe", "mano", "ho3d", "s2hand", "stb", "rhd", "bighand", "interhand")
