"""One video: found frame by frame and followed, posed track by track, then read again to be drawn on.

Between the readings (a network has one of its own) only keypoints are kept, so memory does not grow with the pictures.
"""

import logging
import time
from contextlib import closing
from dataclasses import replace

import numpy as np

from handkit.ahead import ahead
from handkit.demo.camera import Camera
from handkit.demo.drawing import write_overlay_video
from handkit.demo.following import Followed, follow_hands
from handkit.demo.hands import OUTSIDE_FIX, Sighting, fit_over_time, outside_words
from handkit.demo.inputs import OVERLAY_VIDEO, RECORDING, WEBCAM_PREFIX, Unit
from handkit.demo.options import stamp_of
from handkit.demo.posed import Posed, join_posed
from handkit.demo.results import HANDS, write_hands, write_track_meshes
from handkit.demo.summary import InputRecord, Settled, earlier_record, write_marker
from handkit.demo.tools import Tools
from handkit.errors import HandkitError
from handkit.video import VideoReader, VideoWriter, WebcamReader

log = logging.getLogger(__name__)


def process_video(unit: Unit, tools: Tools, camera: Camera | None = None) -> InputRecord:
    """Do one video file; `camera` overrides the choice. Raises HandkitError when nothing of it can be read."""
    (path,) = unit.paths
    folder = tools.out / unit.name
    fingerprint = tools.options.fingerprint()
    if not tools.force and (earlier := earlier_record(folder, fingerprint, path)) is not None:
        return earlier
    started = time.monotonic()
    options = tools.options
    reader = VideoReader(path, start_s=options.start, end_s=options.end, stride=options.stride, rotate=options.rotate)
    stamp = stamp_of(path)
    camera = camera or tools.cameras.choose(path, reader.size)
    frames = ahead(tools.progress(reader, f"{unit.name}: finding hands", reader.frame_count))
    with tools.sources.for_video(path) as source:
        followed = follow_hands(
            reader,
            frames,
            source,
            camera.K,
            hands=options.hands,
            max_hands=options.max_hands,
            in_picture=tools.network is not None,
        )
    if not followed.frames:
        raise HandkitError(f"{path}: no frame from {options.start:g} s on", "check --start and --end")
    damage = reader.damaged
    if followed.outside:
        log.warning("%s: %s: left out", path, outside_words(followed.outside))
    posed = _pose(unit, reader, followed, tools)
    if options.overlay:
        shown = tools.progress(reader, f"{unit.name}: drawing", reader.frame_count)
        fps = reader.fps / options.stride
        write_overlay_video(folder / OVERLAY_VIDEO, shown, posed, tools.hands, side_by_side=options.side_view, fps=fps)
    write_track_meshes(folder, posed, tools.hands, options.export)
    why, fix = _reason(damage, 0 if len(posed) else followed.outside)
    record = InputRecord(
        input=str(path),
        kind=unit.kind,
        status="damaged" if damage else "done" if len(posed) else "no hand",
        why=why,
        fix=fix,
        seconds=round(time.monotonic() - started, 3),
        frames=followed.frames,
        hands=len(posed),
        tracks=len(followed.tracks),
        camera_source=camera.source,
        output=f"{unit.name}/{HANDS}",
    )
    if damage and why and fix:
        tools.on_error(HandkitError(why, fix))
    write_hands(folder, posed, [record], tools.hands, options, tools.method)
    write_marker(folder, fingerprint, [Settled(path.resolve(), record, stamp)])
    return record


def _reason(damage: str | None, outside: int) -> tuple[str | None, str | None]:
    """Why a video is not done or has no hands, and what to do; `outside` hands were left out."""
    if damage:
        return damage, "the frames that could be read are done; copy the file again for the rest"
    return (outside_words(outside), OUTSIDE_FIX) if outside else (None, None)


def process_webcam(unit: Unit, tools: Tools) -> InputRecord:
    """Record a webcam, then do the recording like any video; it stays beside the result."""
    folder = tools.out / unit.name
    recording = folder / RECORDING
    if recording.exists() and not tools.force:
        raise HandkitError(f"{recording} holds an earlier recording", "choose another --out, or replace it by --force")
    number = int(str(unit.paths[0]).removeprefix(WEBCAM_PREFIX))
    options = tools.options
    webcam = WebcamReader(number, duration_s=options.duration, rotate=options.rotate)
    with closing(webcam), VideoWriter(recording, fps=webcam.fps) as writer:
        try:
            for frame in tools.progress(webcam, f"{unit.name}: recording, Ctrl-C ends", webcam.frame_count):
                writer.write(frame.image, frame.time_s)
        except KeyboardInterrupt:
            # The way to end a recording without --duration; a second one ends the run.
            if not writer.frames_written:
                raise
    again = replace(tools, options=replace(options, rotate=0), force=True)
    record = process_video(Unit("video", unit.name, (recording,)), again)
    return replace(record, input=str(unit.paths[0]), kind="webcam")


def _pose(unit: Unit, reader: VideoReader, followed: Followed, tools: Tools) -> Posed:
    """Hands of all tracks, by frame and then by track: by the network, by the fit, or by one after the other."""
    tracks, options = followed.tracks, tools.options
    parts: list[Posed] | None = None
    if tools.network is not None and tracks:
        # Sides are known for certain only now, so that the pictures are read again.
        frames = tools.progress(reader, f"{unit.name}: posing hands", reader.frame_count)
        parts = tools.network.over_time(tracks, ahead(frames))
    if parts is None or options.refine_keypoints:
        starts: list[Posed | None] = [None] * len(tracks) if parts is None else [*parts]
        parts = [_fit(track, followed.landmarks, tools, start) for track, start in zip(tracks, starts, strict=True)]
    posed = join_posed(parts, has_appearance=tools.has_appearance)
    return posed.pick(np.lexsort((posed.rows.track_id, posed.rows.frame)))


def _fit(track: list[Sighting], landmarks: str, tools: Tools, start: Posed | None) -> Posed:
    """A track fitted to its keypoints; what a network said of its looks stays."""
    rows = fit_over_time(track, tools.hands, landmarks, tools.options.smooth, None if start is None else start.rows)
    return Posed(rows, None if start is None else start.appearance)
