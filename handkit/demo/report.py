"""The result of a run for people: a table, what was written, and what to do next."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from rich.console import Console
from rich.table import Table

from handkit.demo.inputs import OVERLAY_FOLDER, OVERLAY_VIDEO
from handkit.demo.run import DemoResult
from handkit.demo.stereo.meshes import PAIR_MESHES
from handkit.demo.summary import InputRecord

_PLAIN_WIDTH = 120


def print_report(result: DemoResult) -> None:
    """Print to stdout."""
    width = None if sys.stdout.isatty() else _PLAIN_WIDTH
    # File names may look like markup.
    console = Console(highlight=False, markup=False, emoji=False, width=width)
    if result.records:
        console.print(_table(result.records))
    for line in _lines(result):
        # Wrapped lines could not be copied into a shell.
        console.print(line, soft_wrap=True)


def _lines(result: DemoResult) -> Iterator[str]:
    if result.clip_score is not None:
        score = result.clip_score
        yield (
            f"against the clip's truth: PA-MPJPE {score.pa_mpjpe_mm:.2f} mm, 2D error {score.error_2d_px:.2f} px, "
            f"found in {score.detection_rate:.0%} of frames, acceleration {score.acceleration_mm_per_frame2:.2f} "
            f"mm/frame^2 (true {score.true_acceleration_mm_per_frame2:.2f})"
        )
    if (stereo := result.summary.get("stereo")) is not None:
        yield from _stereo_lines(stereo)
    written = [record for record in result.records if record.output]
    appearance = ", appearance.npz" if result.summary["options"]["method"] == "s2hand" else ""
    pictures = _pictures(result)
    if stereo is not None and written:
        folder = PurePosixPath(written[0].output or "").parent.parent
        meshes = f", {PAIR_MESHES}" if (result.out / folder / PAIR_MESHES).exists() else ""
        pictures = f", and in {folder} rig.json, stereo.json{meshes}{pictures}"
    files = f", and for each name above hands.npz{appearance}{pictures}" if written else ""
    yield f"wrote {result.out}/summary.json{files}"
    if result.interrupted:
        yield "interrupted: the same command again goes on from here"
    elif next_step := _next_step(result):
        yield f"next: {next_step}"


def _stereo_lines(stereo: Mapping[str, Any]) -> Iterator[str]:
    """What two views together are worth."""
    pairs, both = stereo["pairs"], stereo["hands_of_both"]
    lone = stereo["hands_of_left_alone"] + stereo["hands_of_right_alone"]
    refused = "".join(f", {count} refused: {why}" for why, count in stereo["refused"].items())
    yield f"{pairs} pairs, views {stereo['views']}: {both} hands of both views, {lone} of one view alone{refused}"
    found = stereo["reprojection"]
    if found["fused_px"] is not None and found["alone_left_px"] is not None:
        yield (
            f"from the detections: the hand of both views {found['fused_px']:.1f} px, mean of the views; the right "
            f"view's own {found['alone_left_px']:.1f} px in the left one"
        )


def _table(records: Sequence[InputRecord]) -> Table:
    """A row per result; failures without one are named by their input."""
    groups: dict[str, list[InputRecord]] = {}
    for record in records:
        groups.setdefault(record.output or record.input, []).append(record)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("name", overflow="fold")
    table.add_column("status", overflow="fold")
    for title in ("inputs", "frames", "hands", "seconds"):
        table.add_column(title, justify="right")
    table.add_column("camera", overflow="fold")
    for output, group in groups.items():
        name = PurePosixPath(output).parent.as_posix() if group[0].output else output
        sources = dict.fromkeys(record.camera_source for record in group if record.camera_source)
        table.add_row(
            name,
            _status(group),
            str(len(group)),
            str(sum(record.frames for record in group)),
            str(sum(record.hands for record in group)),
            f"{sum(record.seconds for record in group):.1f}",
            ", ".join(sources) or "-",
        )
    return table


def _status(group: Sequence[InputRecord]) -> str:
    names = [f"{record.status} before" if record.skipped else record.status for record in group]
    counts = {name: names.count(name) for name in dict.fromkeys(names)}
    return next(iter(counts)) if len(group) == 1 else ", ".join(f"{count} {name}" for name, count in counts.items())


def _pictures(result: DemoResult) -> str:
    if not result.summary["options"]["overlay"]:
        return ""
    kinds = {record.kind for record in result.records}
    names = [OVERLAY_VIDEO] if kinds & {"video", "webcam"} else []
    names += [f"{OVERLAY_FOLDER}/"] if "image" in kinds else []
    return f", {', '.join(names)}" if names else ""


def _next_step(result: DemoResult) -> str | None:
    done = [record for record in result.records if record.output and record.hands]
    if not done:
        return "handkit demo, which makes a clip with a hand in it" if result.clip_score is None else None
    if "stereo" in result.summary:
        folder = result.out / PurePosixPath(done[0].output or "").parent.parent
        return f"handkit refine {folder}/left/hands.npz {folder}/right/hands.npz --rig {folder}/rig.json"
    if result.clip_score is not None:
        return "handkit demo YOUR_VIDEO.mp4 --out hands"
    if "glb" not in result.summary["options"]["export"]:
        return f"handkit demo {done[0].input} --out {result.out} --export glb, for Blender and three.js"
    return f"open {result.out}/{PurePosixPath(done[0].output or '').parent}"
