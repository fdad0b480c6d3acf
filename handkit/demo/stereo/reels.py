"""The pictures of one view, to be read more than once: a video's, or stills in a list.

Convention: a frame's index is its place in the video, or in the list.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from handkit.ahead import ahead
from handkit.demo.options import DemoOptions
from handkit.demo.stereo.inputs import PairUnit
from handkit.errors import HandkitError
from handkit.images import image_size, read_image
from handkit.video import Frame, VideoReader


class VideoReel:
    """A video's frames."""

    def __init__(self, path: Path, options: DemoOptions) -> None:
        self.reader = VideoReader(
            path, start_s=options.start, end_s=options.end, stride=options.stride, rotate=options.rotate
        )
        self.size, self.count = self.reader.size, self.reader.frame_count
        self.fps = self.reader.fps / options.stride

    @property
    def damaged(self) -> str | None:
        return self.reader.damaged

    def path_of(self, index: int) -> Path:
        return self.reader.path

    def frames(self) -> Iterator[Frame]:
        return iter(ahead(self.reader))


class StillsReel:
    """Pictures, each a frame at its place in the list; all are to be of the first readable one's size.

    `failures` has those that cannot be used, by place, once they were read.
    """

    fps = 1.0
    damaged = None

    def __init__(self, paths: Sequence[Path], options: DemoOptions) -> None:
        self._paths, self._rotate = paths, options.rotate
        self.count: int | None = len(paths)
        self.failures: dict[int, HandkitError] = {}
        self.size = self._first_size()

    def path_of(self, index: int) -> Path:
        return self._paths[index]

    def frames(self) -> Iterator[Frame]:
        for index, path in enumerate(self._paths):
            try:
                picture = np.ascontiguousarray(np.rot90(read_image(path), -self._rotate // 90))
                self._check(path, picture)
            except HandkitError as error:
                self.failures[index] = error
                continue
            yield Frame(index, 0.0, picture)

    def _first_size(self) -> tuple[int, int]:
        for path in self._paths:
            try:
                width, height = image_size(path)
            except HandkitError as error:
                first = error
                continue
            return (height, width) if self._rotate in (90, 270) else (width, height)
        raise first

    def _check(self, path: Path, picture: np.ndarray) -> None:
        size = (picture.shape[1], picture.shape[0])
        if size != self.size:
            what = f"{path} is {size[0]} x {size[1]}, but others of its view are {self.size[0]} x {self.size[1]}"
            raise HandkitError(what, "give pictures of one camera, each view in its own folder")


Reel = VideoReel | StillsReel


def open_reels(unit: PairUnit, options: DemoOptions) -> tuple[Reel, Reel]:
    """The pictures of both views."""
    if unit.kind == "video":
        return VideoReel(unit.left[0], options), VideoReel(unit.right[0], options)
    return StillsReel(unit.left, options), StillsReel(unit.right, options)
