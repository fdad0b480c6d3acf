"""Videos in and out: orientation, true times, damage, and files that browsers play."""

import gc
import struct
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from handkit.errors import HandkitError
from handkit.video import VideoReader, VideoWriter, WebcamReader

PICTURE = np.zeros((48, 80, 3), np.uint8)
PICTURE[:24, :40], PICTURE[:24, 40:], PICTURE[24:, :40], PICTURE[24:, 40:] = (220, 0, 0), (0, 220, 0), (0, 0, 220), 128

# The (a, b, c, d) of an MP4 track's matrix, and how the shown picture follows from the stored one: in turn upright,
# turned 90, 180, 270 degrees clockwise, then the four with a mirror, as front cameras write them.
SHOWN: dict[tuple[int, int, int, int], Callable[[np.ndarray], np.ndarray]] = {
    (1, 0, 0, 1): lambda p: p,
    (0, 1, -1, 0): lambda p: np.rot90(p, -1),
    (-1, 0, 0, -1): lambda p: np.rot90(p, 2),
    (0, -1, 1, 0): lambda p: np.rot90(p, 1),
    (-1, 0, 0, 1): lambda p: p[:, ::-1],
    (1, 0, 0, -1): lambda p: p[::-1],
    (0, 1, 1, 0): lambda p: p.swapaxes(0, 1),
    (0, -1, -1, 0): lambda p: np.rot90(p, 2).swapaxes(0, 1),
}


def _numbered(index: int) -> np.ndarray:
    """A frame that tells its number by its brightness."""
    return np.full((48, 64, 3), 20 + 4 * index, np.uint8)


def _number(image: np.ndarray) -> int:
    return round((float(image.mean()) - 20) / 4)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """40 numbered frames, 20 a second."""
    path = tmp_path / "clip.mp4"
    with VideoWriter(path, fps=20, crf=1) as writer:
        for index in range(40):
            writer.write(_numbered(index))
    return path


def _set_track_matrix(path: Path, matrix: tuple[int, int, int, int]) -> None:
    """Write a display matrix where phones do, into the track header."""
    a, b, c, d = (value << 16 for value in matrix)
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 4 + 40
    content[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)


@pytest.mark.parametrize("matrix", SHOWN)
def test_stored_rotation_and_mirroring(tmp_path: Path, matrix: tuple[int, int, int, int]) -> None:
    path = tmp_path / "phone.mp4"
    with VideoWriter(path, crf=1) as writer:
        for _ in range(3):
            writer.write(PICTURE)
    _set_track_matrix(path, matrix)
    reader = VideoReader(path)
    wanted = SHOWN[matrix](PICTURE)
    for frame in reader:
        assert frame.image.shape == wanted.shape
        assert frame.image.flags.c_contiguous
        difference = np.abs(frame.image.astype(int) - wanted)
        assert np.median(difference) <= 4
        assert (difference > 40).mean() < 0.1  # colour bleeds along the borders
    assert reader.size == (wanted.shape[1], wanted.shape[0])


@pytest.mark.parametrize("rotate", [0, 90, 180, 270])
def test_rotate_turns_clockwise(tmp_path: Path, rotate: int) -> None:
    with VideoWriter(tmp_path / "a.mp4", crf=1) as writer:
        writer.write(PICTURE)
    reader = VideoReader(tmp_path / "a.mp4", rotate=rotate)
    (frame,) = reader
    wanted = np.rot90(PICTURE, -rotate // 90)
    assert np.median(np.abs(frame.image.astype(int) - wanted)) <= 4
    assert reader.size == (wanted.shape[1], wanted.shape[0])


def test_variable_frame_rate_keeps_its_times(tmp_path: Path) -> None:
    times = [0.0, 0.03, 0.1, 0.11, 0.5, 1.75, 1.8]
    with VideoWriter(tmp_path / "vfr.mp4", fps=30) as writer:
        for index, time_s in enumerate(times):
            writer.write(_numbered(index), time_s)
    frames = list(VideoReader(tmp_path / "vfr.mp4"))
    np.testing.assert_allclose([frame.time_s for frame in frames], times, atol=1e-4)
    assert [_number(frame.image) for frame in frames] == list(range(7))


def test_times_that_stand_still_are_moved_on(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4") as writer:
        for time_s in (0.0, 0.0, 0.1):
            writer.write(PICTURE, time_s)
    times = [frame.time_s for frame in VideoReader(tmp_path / "a.mp4")]
    assert len(times) == 3
    assert (np.diff(times) > 0).all()


def test_whole_clip(clip: Path) -> None:
    reader = VideoReader(clip)
    frames = list(reader)
    assert [frame.index for frame in frames] == list(range(40))
    assert [_number(frame.image) for frame in frames] == list(range(40))
    np.testing.assert_allclose([frame.time_s for frame in frames], np.arange(40) / 20, atol=1e-4)
    assert (reader.size, reader.fps, reader.frame_count) == ((64, 48), 20.0, 40)
    assert reader.duration_s == pytest.approx(2.0, abs=0.05)
    assert reader.damaged is None
    assert len(list(reader)) == 40, "a reader can be read again"


@pytest.mark.parametrize(
    ("start_s", "end_s", "stride", "wanted"),
    [
        (0.5, 1.0, 1, range(10, 20)),
        (0.5, None, 7, range(10, 40, 7)),
        (0.0, 0.26, 2, range(0, 6, 2)),
        (0.51, 0.7, 1, range(11, 14)),
        (5.0, None, 1, range(0)),
    ],
)
def test_start_end_stride(clip: Path, start_s: float, end_s: float | None, stride: int, wanted: range) -> None:
    reader = VideoReader(clip, start_s=start_s, end_s=end_s, stride=stride)
    frames = list(reader)
    assert [frame.index for frame in frames] == list(wanted)
    assert [_number(frame.image) for frame in frames] == list(wanted)
    np.testing.assert_allclose([frame.time_s for frame in frames], np.array(wanted) / 20, atol=1e-4)
    assert reader.frame_count == pytest.approx(len(wanted), abs=1)


def test_bad_options(clip: Path) -> None:
    bad: tuple[dict[str, Any], ...] = ({"rotate": 45}, {"stride": 0}, {"start_s": 2.0, "end_s": 1.0})
    for options in bad:
        with pytest.raises(HandkitError):
            VideoReader(clip, **options)


def test_not_a_video(tmp_path: Path) -> None:
    path = tmp_path / "text.mp4"
    subtitles = b"1\n00:00:01,000 --> 00:00:02,000\nhello\n\n"
    stored = {"is empty": b"", "not a video": b"just text\n" * 99, "no video in it": subtitles}
    for text, content in stored.items():
        path.write_bytes(content)
        with pytest.raises(HandkitError, match=text) as caught:
            VideoReader(path)
        assert "text.mp4" in caught.value.what
    with pytest.raises(HandkitError, match="does not exist"):
        VideoReader(tmp_path / "nowhere.mp4")


def test_truncated_video_gives_what_it_has_and_says_so(tmp_path: Path) -> None:
    noise = np.random.default_rng(0)
    path = tmp_path / "noisy.mp4"
    with VideoWriter(path, fps=20) as writer:
        for _ in range(40):
            writer.write(noise.integers(0, 255, (48, 64, 3), np.uint8))
    content = path.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(content[: len(content) // 2])
    reader = VideoReader(tmp_path / "cut.mp4")
    frames = list(reader)
    assert 5 < len(frames) < 35
    assert reader.damaged is not None
    assert "cut.mp4" in reader.damaged


def test_video_cut_before_its_index(tmp_path: Path, clip: Path) -> None:
    content = clip.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(content[: content.index(b"mdat") - 200])
    with pytest.raises(HandkitError, match="not a video"):
        VideoReader(tmp_path / "cut.mp4")


def test_damage_in_the_middle(tmp_path: Path) -> None:
    noise = np.random.default_rng(0)
    path = tmp_path / "noisy.mp4"
    with VideoWriter(path, fps=20) as writer:
        for _ in range(40):
            writer.write(noise.integers(0, 255, (48, 64, 3), np.uint8))
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4000] = noise.bytes(4000)
    path.write_bytes(content)
    reader = VideoReader(path)
    assert len(list(reader)) > 10
    assert reader.damaged is not None


def test_pixels_that_are_not_square_are_stretched(tmp_path: Path) -> None:
    path = tmp_path / "anamorphic.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(3, 2)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(_numbered(3), format="rgb24")))
        container.mux(stream.encode())
    reader = VideoReader(path)
    (frame,) = reader
    assert (reader.size, frame.image.shape) == ((96, 48), (48, 96, 3))


def test_a_bare_stream_without_times_that_changes_its_size(tmp_path: Path) -> None:
    pieces = []
    for width in (64, 80):
        path = tmp_path / f"{width}.h264"
        with av.open(str(path), "w", format="h264") as container:
            stream = container.add_stream("libx264", rate=25, options={"bf": "0"})
            stream.width, stream.height, stream.pix_fmt = width, 48, "yuv420p"
            for _ in range(5):
                picture = np.full((48, width, 3), 2 * width, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())
        pieces.append(path.read_bytes())
    (tmp_path / "both.h264").write_bytes(b"".join(pieces))
    frames = list(VideoReader(tmp_path / "both.h264"))
    assert {frame.image.shape for frame in frames} == {(48, 64, 3)}
    assert [round(float(frame.image.mean()) / 32) for frame in frames] == [4] * 5 + [5] * 5
    np.testing.assert_allclose([frame.time_s for frame in frames], np.arange(10) / 25, atol=1e-6)


def test_frames_do_not_pile_up_in_memory(clip: Path) -> None:
    def decoded_frames() -> int:
        return sum(type(item) is av.VideoFrame for item in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        before = decoded_frames()
        counts = [decoded_frames() - before for _ in VideoReader(clip)]
    finally:
        gc.enable()
    # The decoder's threads hold some frames; all 40 would mean that none is let go.
    assert 1 <= max(counts) < 30


def test_written_file_plays_in_browsers(clip: Path) -> None:
    content = clip.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat"), "the index stands in front"
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
        assert (stream.width, stream.height) == (64, 48)


@pytest.mark.parametrize("size", [(47, 63), (48, 63), (1, 1)])
def test_odd_sizes_are_padded(tmp_path: Path, size: tuple[int, int]) -> None:
    image = np.full((*size, 3), 180, np.uint8)
    with VideoWriter(tmp_path / "odd.mp4") as writer:
        writer.write(image)
    (frame,) = VideoReader(tmp_path / "odd.mp4")
    assert frame.image.shape[:2] == tuple(side + side % 2 for side in size)
    assert np.abs(frame.image.astype(int) - 180).max() < 6, "the padding repeats the border"


def test_colours_survive(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", crf=5) as writer:
        writer.write(PICTURE)
    (frame,) = VideoReader(tmp_path / "a.mp4")
    for y, x in ((12, 20), (12, 60), (36, 20), (36, 60)):
        np.testing.assert_allclose(frame.image[y, x], PICTURE[y, x], atol=4)


def _write_one_and_fail(path: Path) -> None:
    with VideoWriter(path) as writer:
        writer.write(PICTURE)
        raise RuntimeError("stop")


def test_a_failed_or_empty_video_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="stop"):
        _write_one_and_fail(tmp_path / "a.mp4")
    with VideoWriter(tmp_path / "b.mp4"):
        pass
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(HandkitError, match="cannot write"), VideoWriter(tmp_path / "file" / "a.mp4"):
        pass


def test_a_frame_of_another_size_is_refused(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4") as writer:
        writer.write(PICTURE)
        with pytest.raises(ValueError, match="frame of"):
            writer.write(PICTURE[1:])


class _Camera:
    """Stands in for cv2.VideoCapture: five pictures, then nothing; no camera at other numbers than 0."""

    def __init__(self, device: int) -> None:
        self.left = 5 if device == 0 else 0

    def isOpened(self) -> bool:
        return self.left > 0

    def read(self) -> tuple[bool, np.ndarray | None]:
        self.left -= 1
        return (True, PICTURE[..., ::-1].copy()) if self.left >= 0 else (False, None)

    def get(self, prop: int) -> float:
        return 0.0

    def release(self) -> None:
        self.left = 0


def test_webcam(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cv2.VideoCapture", _Camera)
    with WebcamReader(0, rotate=90) as camera:
        frames = iter(camera)
        got = [next(frames) for _ in range(4)]
        assert [frame.index for frame in got] == [0, 1, 2, 3]
        np.testing.assert_array_equal(got[0].image, np.rot90(PICTURE, -1))
        assert got[0].time_s == 0
        assert all(a.time_s <= b.time_s for a, b in pairwise(got))
        assert camera.size == (48, 80)
        with pytest.raises(HandkitError, match="stopped"):
            next(frames)
    with WebcamReader(0, duration_s=0.0) as camera:
        assert list(camera) == []
    with pytest.raises(HandkitError, match="webcam 3 gives no picture"):
        WebcamReader(3)


def test_real_video(realdata: Path) -> None:
    reader = VideoReader(realdata / "video" / "right_hand_621.mp4", stride=100)
    frames = list(reader)
    assert (reader.size, reader.fps, reader.frame_count, len(frames)) == ((1280, 720), 30.0, 7, 7)
    assert reader.damaged is None
    np.testing.assert_allclose([frame.time_s for frame in frames], np.arange(0, 621, 100) / 30, atol=1e-3)
