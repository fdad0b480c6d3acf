"""`handkit demo`: inputs to units, units to results, one after the other."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch

from handkit.demo.camera import CameraChoice
from handkit.demo.clip import ClipScore, clip_camera, clip_unit, score_clip
from handkit.demo.hands import HandPair
from handkit.demo.inputs import Failure, Unit, find_units
from handkit.demo.joints import process_joints
from handkit.demo.network import NETWORKS
from handkit.demo.options import DemoOptions
from handkit.demo.sources import SourceChoice
from handkit.demo.stereo.binocular import BinocularPairs
from handkit.demo.stereo.run import check_stereo, run_stereo
from handkit.demo.stills import process_stills
from handkit.demo.summary import InputRecord, build_summary, failed, read_marker, write_summary
from handkit.demo.tools import Tools
from handkit.demo.videos import process_video, process_webcam
from handkit.errors import HandkitError
from handkit.files import check_writable
from handkit.inference.load import BINOCULAR, HANDNET_STEREO, KEYPOINTS, find_checkpoint

log = logging.getLogger(__name__)

FAILED: Final = 1
INTERRUPTED: Final = 130


@dataclass(frozen=True, eq=False)
class DemoResult:
    """What a run did: a record per input, summary.json's object, and how the built-in clip compares with its truth."""

    out: Path
    records: list[InputRecord]
    summary: dict[str, Any]
    clip_score: ClipScore | None = None
    interrupted: bool = False

    @property
    def exit_code(self) -> int:
        """0 done, 1 something failed, 130 interrupted."""
        if self.interrupted:
            return INTERRUPTED
        return FAILED if any(record.is_bad for record in self.records) else 0


def run_demo(
    inputs: Sequence[str],
    out: Path,
    options: DemoOptions,
    *,
    force: bool = False,
    show_progress: bool = False,
    on_error: Callable[[HandkitError], None] = lambda error: None,
    debug: bool = False,
) -> DemoResult:
    """Do all inputs; without any, the built-in clip.

    An input's error is given to `on_error` and ends in its record. Raises HandkitError for what concerns all of them:
    an output that cannot be written, a hand model, camera or box file that cannot be read.
    """
    started = time.monotonic()
    check_writable(out)
    check_device(options)
    check_stereo(options)
    hands = HandPair(options.hand_model)
    network = pairs = None
    if options.method in NETWORKS:
        kind = NETWORKS[options.method]
        weights = kind.weights if options.stereo is None else HANDNET_STEREO
        options = replace(options, checkpoint=find_checkpoint(options.checkpoint, weights))
        network = kind(options.checkpoint, hands, device=options.device)
    elif options.method == "binocular":
        options = replace(options, checkpoint=find_checkpoint(options.checkpoint, BINOCULAR))
        pairs = BinocularPairs(options.checkpoint, hands, device=options.device)
    if options.keypoint_source == "hourglass":
        found = find_checkpoint(options.estimator_checkpoint, KEYPOINTS)
        checkpoint = found if options.method == "fit" else options.checkpoint
        options = replace(options, checkpoint=checkpoint, keypoint_checkpoint=found)
    tools = Tools(
        options=options,
        out=out,
        hands=hands,
        cameras=CameraChoice(K=options.K, camera=options.camera, focal=options.focal),
        sources=SourceChoice(options),
        force=force,
        show_progress=show_progress,
        on_error=on_error,
        debug=debug,
        network=network,
        pairs=pairs,
    )
    tools.hands.model(options.hands != "left")
    records: list[InputRecord] = []
    interrupted = False
    clip_score = None
    units: list[Unit] = []
    reached = 0
    stereo = None
    try:
        if options.stereo is not None:
            records, stereo = run_stereo(tools)
        elif inputs:
            units, failures = find_units(inputs, out)
            records += [_report(failure, on_error) for failure in failures]
        else:
            units = [clip_unit(out, options.seed)]
        for unit in units:
            records += _do(unit, tools, is_clip=not inputs)
            reached += 1
        if not inputs and units and not records[0].is_bad:
            clip_score = score_clip(out / units[0].name)
    except KeyboardInterrupt:
        interrupted = True
        records += [record for unit in units[reached:] for record in _so_far(unit, tools)]
        records += [InputRecord(input=str(path), kind="view", status="not done") for path in options.stereo or ()]
    finally:
        tools.sources.close()
    summary = build_summary(
        options=options, out=out, records=records, seconds=time.monotonic() - started, interrupted=interrupted
    )
    if clip_score is not None:
        summary["clip"] = clip_score.to_json()
    if stereo is not None:
        summary["stereo"] = stereo
    write_summary(out, summary)
    return DemoResult(out, records, summary, clip_score, interrupted)


def check_device(options: DemoOptions) -> None:
    """Raise HandkitError where CUDA is asked for and not there; detection and fit are made for the CPU anyway."""
    if options.device == "cuda" and not torch.cuda.is_available():
        raise HandkitError(
            "--device cuda: no CUDA device is available", "leave --device out, or install a CUDA build of torch"
        )
    if options.device == "cuda" and options.method == "fit" and options.keypoint_source == "mediapipe":
        log.warning("--device cuda: detection and fit run on the CPU all the same")


def _report(failure: Failure, on_error: Callable[[HandkitError], None]) -> InputRecord:
    on_error(failure.error)
    return failed(failure.name, "unknown", failure.error)


def _do(unit: Unit, tools: Tools, *, is_clip: bool) -> list[InputRecord]:
    """The records of one unit; what goes wrong with it as a whole fails all its inputs."""
    started = time.monotonic()
    with tools.catching(unit.name) as caught:
        if unit.kind == "image":
            return process_stills(unit, tools)
        if unit.kind == "joints" and tools.network is not None:
            raise HandkitError(f"{unit.paths[0]} holds joints and no pictures", "leave --method out to fit joints")
        if unit.kind == "joints":
            return [process_joints(unit, tools)]
        if unit.kind == "webcam":
            return [process_webcam(unit, tools)]
        return [process_video(unit, tools, clip_camera() if is_clip and not _has_camera(tools.options) else None)]
    assert caught.error is not None
    seconds = round(time.monotonic() - started, 3)
    return [
        failed(record.input, unit.kind, caught.error, seconds) if record.status == "not done" else record
        for record in _so_far(unit, tools)
    ]


def _so_far(unit: Unit, tools: Tools) -> list[InputRecord]:
    """Records of a unit that was interrupted or not reached: what of it is done, now or before."""
    settled = read_marker(tools.out / unit.name, tools.options.fingerprint())
    return [
        settled[path.resolve()].record
        if path.resolve() in settled
        else InputRecord(input=str(path), kind=unit.kind, status="not done")
        for path in unit.paths
    ]


def _has_camera(options: DemoOptions) -> bool:
    return any(value is not None for value in (options.K, options.focal, options.camera))
