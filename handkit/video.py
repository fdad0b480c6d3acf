"""Images, videos and webcams in; images and videos out.

Convention: images are RGB uint8 [H, W, 3], upright: EXIF orientation and the rotation stored in a video are applied.
Times are seconds from the video's first frame.
"""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import cast

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.sidedata.sidedata import Type as SideDataType
from av.video.frame import VideoFrame as DecodedFrame

from handkit.errors import HandkitError
from handkit.files import atomic_path
from handkit.images import RgbImage, image_focal_px, image_size, read_image, write_image

__all__ = [
    "Frame",
    "VideoReader",
    "VideoWriter",
    "WebcamReader",
    "image_focal_px",
    "image_size",
    "read_image",
    "write_image",
]

ROTATIONS = (0, 90, 180, 270)
# Ticks a second of written videos: whole for 24, 25, 30, 50 and 60 frames a second.
_CLOCK = 90_000


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture of a video."""

    index: int  # counted over all frames of the source, skipped ones too
    time_s: float
    image: RgbImage


class VideoReader:
    """The frames of a video file, one after the other, in constant memory.

    Yields every `stride`-th frame with start_s <= time < end_s, with true timestamps (variable frame rate included),
    turned upright by the rotation or mirroring stored in the file and then by `rotate` degrees clockwise; all in one
    size, with square pixels. Frames before `start_s` are decoded too, at some 1000 a second for 720p. Damage never
    raises once a frame was read: frames up to it (and after it, where the decoder recovers) are yielded and `damaged`
    says what happened. Raises HandkitError when opened on something that is no video, and from iteration when not one
    frame can be decoded.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        start_s: float = 0.0,
        end_s: float | None = None,
        stride: int = 1,
        rotate: int = 0,
    ) -> None:
        if rotate not in ROTATIONS:
            raise HandkitError(f"rotate is {rotate}", "use 0, 90, 180 or 270 (degrees clockwise)")
        if stride < 1:
            raise HandkitError(f"stride is {stride}", "use 1 or more")
        if end_s is not None and end_s <= start_s:
            raise HandkitError(f"the end, {end_s:g} s, is not after the start, {start_s:g} s", "give a later end")
        self.path = Path(path)
        self.damaged: str | None = None
        self._start_s, self._end_s, self._stride, self._rotate = start_s, end_s, stride, rotate
        with _open(self.path) as container:
            self._read_header(container)

    def _read_header(self, container: InputContainer) -> None:
        stream = container.streams.video[0]
        self.fps = float(stream.average_rate or stream.guessed_rate or 30)
        if stream.duration is not None and stream.time_base is not None:
            self._stated_s: float | None = float(stream.duration * stream.time_base)
        elif container.duration is not None and len(container.streams) == 1:
            self._stated_s = container.duration / av.time_base
        else:
            self._stated_s = None
        whole_s = container.duration / av.time_base if container.duration else None
        self.duration_s: float | None = (
            self._stated_s or whole_s or (stream.frames / self.fps if stream.frames else None)
        )
        total = stream.frames or (round(self.duration_s * self.fps) if self.duration_s else None)
        self.frame_count = self._count_kept(total)
        first = next(self._decoded(container), None)
        if first is None:
            raise HandkitError(f"{self.path}: no frame can be decoded", "check that the file plays, or copy it again")
        # All frames come in the first one's size, stretched where its pixels are not square.
        self._frame_size = (round(first.width * float(stream.sample_aspect_ratio or 1)), first.height)
        # Asked for once: a frame whose side data were looked at stays in memory until the garbage collector runs.
        matrix = cast(Mapping[SideDataType, memoryview], first.side_data).get(SideDataType.DISPLAYMATRIX)
        self._display_matrix = None if matrix is None else np.frombuffer(matrix, np.int32).copy()
        height, width = self._upright(first).shape[:2]
        self.size = (width, height)

    def _count_kept(self, total: int | None) -> int | None:
        """How many frames will be yielded; an estimate from the header, None where that says nothing."""
        if total is None or not self.duration_s:
            return total
        first = self._start_s / self.duration_s * total
        last = total if self._end_s is None else min(self._end_s / self.duration_s, 1.0) * total
        return max(0, -int(-(last - first) // self._stride))

    def __iter__(self) -> Iterator[Frame]:
        self.damaged = None
        with _open(self.path) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            first_s: float | None = None
            last_s = 0.0
            kept = 0
            for index, frame in enumerate(self._decoded(container)):
                at_s = frame.time if frame.time is not None else index / self.fps
                first_s = at_s if first_s is None else first_s
                last_s = at_s - first_s
                if self._end_s is not None and last_s >= self._end_s - 1e-9:
                    return
                if last_s < self._start_s - 1e-9:
                    continue
                if kept % self._stride == 0:
                    yield Frame(index, last_s, self._upright(frame))
                kept += 1
            if first_s is None:
                raise HandkitError(f"{self.path}: no frame can be decoded", "check that the file plays")
            self._check_length(last_s + 1 / self.fps)

    def _decoded(self, container: InputContainer) -> Iterator[DecodedFrame]:
        """Frames in display order, past packets that do not decode; notes them in `damaged`."""
        lost = 0
        packets = container.demux(container.streams.video[0])
        while True:
            try:
                packet = next(packets, None)
            except FFmpegError as error:
                self.damaged = f"the file breaks off or is damaged ({error.strerror})"
                packet = None
            if packet is None:
                break
            try:
                yield from packet.decode()
            except FFmpegError:
                lost += 1
        if self.damaged:
            # The container ended without its flush packet: what the decoder still holds is good.
            try:
                yield from container.streams.video[0].codec_context.decode(None)
            except FFmpegError:
                lost += 1
        if lost and not self.damaged:
            self.damaged = f"{lost} piece{'s' * (lost > 1)} of the video could not be decoded"

    def _check_length(self, seen_s: float) -> None:
        if self.damaged is None and self._stated_s and seen_s < 0.95 * self._stated_s - 0.5:
            self.damaged = f"the file says {self._stated_s:.1f} s but ends after {seen_s:.1f} s"
        if self.damaged:
            self.damaged = f"{self.path}: {self.damaged}; the last frame read ends at {seen_s:.2f} s"

    def _upright(self, frame: DecodedFrame) -> RgbImage:
        width, height = self._frame_size
        image = frame.to_ndarray(format="rgb24", width=width, height=height).astype(np.uint8, copy=False)
        if self._display_matrix is not None:
            image = _apply_display_matrix(image, self._display_matrix)
        return np.ascontiguousarray(np.rot90(image, -self._rotate // 90))


class WebcamReader:
    """Frames of a webcam until `duration_s` is over, or for ever; time runs from the first frame.

    Raises HandkitError where the camera does not open or stops giving pictures.
    """

    def __init__(self, device: int = 0, *, duration_s: float | None = None, rotate: int = 0) -> None:
        import cv2

        # What OpenCV says of every driver it tries is noise: the error below says what matters.
        cv2.setLogLevel(0)
        self.device, self._duration_s, self._rotate = device, duration_s, rotate
        self._capture = cv2.VideoCapture(device)
        found, image = self._capture.read() if self._capture.isOpened() else (False, None)
        if not found or image is None:
            self.close()
            raise HandkitError(
                f"webcam {device} gives no picture", "check the number and that no other program uses it"
            )
        height, width = image.shape[:2]
        self.size = (height, width) if rotate in (90, 270) else (width, height)
        self.fps = float(self._capture.get(cv2.CAP_PROP_FPS)) or 30.0
        self.frame_count = round(duration_s * self.fps) if duration_s is not None else None

    def __iter__(self) -> Iterator[Frame]:
        index, started = 0, time.monotonic()
        while True:
            found, image = self._capture.read()
            at_s = time.monotonic() - started if index else 0.0
            started = started if index else time.monotonic()
            if self._duration_s is not None and at_s >= self._duration_s:
                return
            if not found or image is None:
                raise HandkitError(f"webcam {self.device} stopped after {at_s:.1f} s", "check its cable and try again")
            yield Frame(index, at_s, np.ascontiguousarray(np.rot90(image[..., ::-1], -self._rotate // 90)))
            index += 1

    def close(self) -> None:
        self._capture.release()

    def __enter__(self) -> "WebcamReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class VideoWriter:
    """H.264 MP4 that plays in browsers, with its index in front; a context manager.

    The file appears under its name only when the block ends well and at least one frame was written. Frames carry
    their own times, so a variable frame rate is kept. Odd sizes are padded by one pixel: yuv420p needs even ones.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, fps: float = 30.0, crf: int = 23, preset: str = "superfast"
    ) -> None:
        self.path = Path(path)
        self.frames_written = 0
        self._fps, self._options = fps, {"crf": str(crf), "preset": preset}
        self._last_tick = -1
        self._shape: tuple[int, int] | None = None
        self._exits = ExitStack()

    def __enter__(self) -> "VideoWriter":
        partial = self._exits.enter_context(atomic_path(self.path))
        try:
            self._container = av.open(str(partial), "w", format="mp4", options={"movflags": "+faststart"})
            self._exits.callback(self._container.close)
        except OSError as error:
            self._exits.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def _start_stream(self, image: RgbImage) -> None:
        height, width = image.shape[:2]
        rate = Fraction(self._fps).limit_denominator(1001)
        self._stream = self._container.add_stream("libx264", rate=rate, options=self._options)
        context = self._stream.codec_context
        context.width, context.height, context.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
        context.time_base = Fraction(1, _CLOCK)
        # BT.709, limited range, said in the stream: what browsers assume of HD anyway.
        context.colorspace, context.color_primaries, context.color_trc, context.color_range = 1, 1, 1, 1
        self._shape = (height, width)

    def write(self, image: RgbImage, time_s: float | None = None) -> None:
        """Add a frame shown from `time_s` on, by default one frame time after the last; times must grow."""
        if self._shape is None:
            self._start_stream(image)
        if image.shape[:2] != self._shape:
            raise ValueError(f"frame of {image.shape[:2]} in a video of {self._shape} (height, width)")
        step = round(_CLOCK / self._fps)
        tick = round(time_s * _CLOCK) if time_s is not None else (self._last_tick + step if self.frames_written else 0)
        tick = max(tick, self._last_tick + 1)
        height, width = image.shape[:2]
        if height % 2 or width % 2:
            image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = DecodedFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709")
        frame.pts, frame.time_base, frame.duration = tick, Fraction(1, _CLOCK), step
        self._container.mux(self._stream.encode(frame))
        self._last_tick = tick
        self.frames_written += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self.frames_written:
            self._container.mux(self._stream.encode())
        self._exits.__exit__(kind, error, trace)


def _open(path: Path) -> InputContainer:
    if not path.exists():
        raise HandkitError(f"{path} does not exist", "check the path")
    if path.is_file() and path.stat().st_size == 0:
        raise HandkitError(f"{path} is empty (0 bytes)", "copy it again, or leave it out")
    try:
        container = av.open(str(path))
    except (FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise HandkitError(
            f"{path} is not a video that can be read ({reason})",
            "check that it plays and is complete, or convert it to MP4",
        ) from error
    if not container.streams.video or container.format.name == "tty":
        container.close()
        raise HandkitError(f"{path} has no video in it", "give a video file")
    return container


def _apply_display_matrix(image: RgbImage, matrix: np.ndarray) -> RgbImage:
    """Turn and mirror as the 3x3 display matrix says: (x, y) goes to (a x + c y, b x + d y), to the nearest quarter."""
    a, b, _, c, d = (int(value) for value in matrix[:5])
    if abs(a) + abs(d) < abs(b) + abs(c):
        image, a, d = image.swapaxes(0, 1), c, b
    return image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
