"""A plain folder of images, or a video: samples without truth, with keypoints and cameras where files give them.

Convention: pixels of the upright image. Frames of a video are named "<video>_000012" by their number.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from handkit.data.annotations import AnnotatedDataset, box_around, check_choice
from handkit.data.hands import HandSet
from handkit.data.sample import HandSample, build_sample
from handkit.demo.camera import CameraChoice
from handkit.demo.inputs import find_units
from handkit.demo.options import stamps_of
from handkit.demo.sources import GivenHands
from handkit.detect.detection import HandDetection
from handkit.images import RgbImage, image_focal_px, image_size, read_image
from handkit.video import Frame, VideoReader

SPLITS: Final = ("all",)
SIDES: Final = ("unknown", "right", "left")


@dataclass(frozen=True, eq=False)
class _Picture:
    """One picture, and one of the hands that a keypoint file has for it."""

    name: str
    path: Path
    frame: int | None
    size: tuple[int, int]
    hand: HandDetection | None


class Images(AnnotatedDataset):
    """The images below `root` by name, then the frames of its videos; `root` may be one file.

    A picture is one sample, or one for each hand of `keypoints`: OpenPose's JSON by image or frame, or an array with a
    row for each image or frame, see `handkit demo --keypoints`. `camera` is a file of cameras by image, `K` fx, fy, cx,
    cy, `focal` pixels; without them EXIF or a default field of view. `side` is that of all hands where it is known.
    Raises HandkitError where nothing is found, or a file cannot be read.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "all",
        *,
        keypoints: str | Path | None = None,
        camera: str | Path | None = None,
        K: tuple[float, float, float, float] | None = None,
        focal: float | None = None,
        side: str = "unknown",
    ) -> None:
        self.root = Path(root).expanduser()
        self.split = check_choice("split of plain images", split, SPLITS)
        self.side = check_choice("side", side, SIDES)
        self._cameras = CameraChoice(K=K, camera=None if camera is None else Path(camera), focal=focal)
        self._keypoints = None if keypoints is None else Path(keypoints)
        units, failures = find_units([str(self.root)], self.root)
        for failure in failures:
            raise failure.error
        stills = [path for unit in units if unit.kind == "image" for path in unit.paths]
        self._pictures = list(self._stills(sorted(stills)))
        for unit in units:
            if unit.kind == "video":
                self._pictures += self._frames(unit.paths[0])
        self._player: tuple[Path, Iterator[Frame], Frame] | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """What else than pictures and cameras decides the samples."""
        return {"side": self.side, "keypoints": [] if self._keypoints is None else stamps_of(self._keypoints)}

    @property
    def sides_known(self) -> bool:
        """Whether `is_right` says more than the schema's need of a value."""
        return self.side != "unknown" or self._keypoints is not None

    def __len__(self) -> int:
        return len(self._pictures)

    def read(self, index: int) -> HandSample:
        picture = self._pictures[index]
        image = self._image(picture)
        known: dict[str, Any] = {"is_right": self.side != "left"}
        if picture.hand is not None:
            hand, seen = picture.hand, picture.hand.keypoint_scores > 0
            known = {"is_right": hand.is_right, **box_around(hand.keypoints_2d[seen])}
            known |= {"keypoints_2d": hand.keypoints_2d, "keypoint_scores": hand.keypoint_scores}
        return build_sample(
            np.ascontiguousarray(image.transpose(2, 0, 1)),
            dataset="images",
            name=picture.name,
            sequence="" if picture.frame is None else picture.path.stem,
            frame=picture.frame or 0,
            K=self._K(picture),
            **known,
        )

    def truth(self) -> HandSet:
        """Names, pictures and cameras alone."""
        has_videos = any(picture.frame is not None for picture in self._pictures)
        return HandSet(
            ids=tuple(picture.name for picture in self._pictures),
            sequences=tuple("" if p.frame is None else p.path.stem for p in self._pictures) if has_videos else None,
            frames=tuple(picture.frame or 0 for picture in self._pictures) if has_videos else None,
            images=tuple(picture.path if picture.frame is None else None for picture in self._pictures),
            K=np.stack([self._K(picture) for picture in self._pictures]),
            source=str(self.root),
        )

    def _K(self, picture: _Picture) -> np.ndarray:
        focal = image_focal_px(picture.path) if picture.frame is None else None
        return self._cameras.choose(picture.path, picture.size, focal).K

    def _stills(self, paths: list[Path]) -> Iterator[_Picture]:
        folder = self.root if self.root.is_dir() else self.root.parent
        given = self._given(None) if paths else None
        for number, path in enumerate(paths):
            name = path.relative_to(folder).as_posix()
            yield from self._hands(name, path, number, None, image_size(path), given)

    def _frames(self, path: Path) -> Iterator[_Picture]:
        reader = VideoReader(path)
        given = self._given(path)
        # What the header says of their number is an estimate.
        for frame in reader:
            yield from self._hands(f"{path.stem}_{frame.index:06d}", path, frame.index, frame.index, reader.size, given)

    def _given(self, video: Path | None) -> GivenHands | None:
        if self._keypoints is None:
            return None
        return GivenHands(self._keypoints, video=video, is_right=self.side != "left")

    def _hands(
        self,
        name: str,
        path: Path,
        number: int,
        frame: int | None,
        size: tuple[int, int],
        given: GivenHands | None,
    ) -> Iterator[_Picture]:
        nothing = np.empty((0, 0, 3), np.uint8)
        found = [] if given is None else given.find(nothing, number, path if frame is None else None)
        if len(found) < 2:
            yield _Picture(name, path, frame, size, found[0] if found else None)
            return
        for i, hand in enumerate(found):
            yield _Picture(f"{name}_{i}_{'right' if hand.is_right else 'left'}", path, frame, size, hand)

    def _image(self, picture: _Picture) -> RgbImage:
        if picture.frame is None:
            return read_image(picture.path)
        if self._player is None or self._player[0] != picture.path or self._player[2].index > picture.frame:
            frames = iter(VideoReader(picture.path))
            self._player = (picture.path, frames, next(frames))
        path, frames, frame = self._player
        while frame.index < picture.frame:
            frame = next(frames)
        self._player = (path, frames, frame)
        return frame.image
