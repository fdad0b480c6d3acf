"""Where a frame's 2D hands come from: MediaPipe on the whole image or in given boxes, our own estimator, or a file."""

import glob
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np

from handkit.demo.boxes import GivenBox, image_key, read_boxes
from handkit.demo.options import DemoOptions
from handkit.detect.detection import HandDetection
from handkit.detect.mediapipe import MediaPipeDetector
from handkit.detect.openpose import read_keypoints, read_openpose, read_openpose_folder
from handkit.errors import HandkitError
from handkit.images import RgbImage
from handkit.inference.keypoints import KeypointPredictor, load_keypoints
from handkit.inference.load import KEYPOINTS, find_checkpoint
from handkit.inference.looks import look_at, square_around_joints

# Room left around a given box, as a part of its longer side: the palm network wants some.
_BOX_MARGIN = 0.5
# Stills have time for all the further looks that lower the error.
_LOOKS_AT_STILLS = 5


class Source(Protocol):
    """Finds the hands of one image; `landmarks` names the kind of keypoints for the fit."""

    landmarks: str

    def find(self, image: RgbImage, frame: int, path: Path | None = None) -> list[HandDetection]:
        """Hands of a frame of a video, or of a still with its path and its place in its folder."""

    def close(self) -> None:
        """Let go of networks."""


class DetectedHands:
    """MediaPipe on whole images."""

    landmarks = "mediapipe"

    def __init__(self, options: DemoOptions, *, tracking: bool) -> None:
        # A wanted side may be the less certain one: ask for more, and choose after.
        asked = options.max_hands if options.hands == "both" else 2 * options.max_hands
        looks = 0 if tracking else _LOOKS_AT_STILLS
        self._detector = MediaPipeDetector(
            max_hands=asked, min_score=options.min_score, tracking=tracking, augment=looks
        )

    def find(self, image: RgbImage, frame: int, path: Path | None = None) -> list[HandDetection]:
        return self._detector.detect(image)

    def close(self) -> None:
        self._detector.close()


class BoxedHands:
    """MediaPipe in the boxes that the user gave, one hand a box; its side is the box's where it has one."""

    landmarks = "mediapipe"

    def __init__(self, options: DemoOptions, boxes: dict[str, list[GivenBox]]) -> None:
        self._boxes = boxes
        self._detector = MediaPipeDetector(max_hands=2, min_score=options.min_score, augment=_LOOKS_AT_STILLS)

    def find(self, image: RgbImage, frame: int, path: Path | None = None) -> list[HandDetection]:
        found = [self.in_box(image, box) for box in self.boxes_of(frame, path)]
        return [hand for hand in found if hand is not None]

    def close(self) -> None:
        self._detector.close()

    def boxes_of(self, frame: int, path: Path | None = None) -> list[GivenBox]:
        """The boxes of one image, as `find` names it."""
        return self._boxes.get(str(frame) if path is None else image_key(path.name), [])

    def in_box(self, image: RgbImage, box: GivenBox) -> HandDetection | None:
        """The hand in one box, None where none is found."""
        bounds = np.array(box.bounds)
        margin = _BOX_MARGIN * max(bounds[2] - bounds[0], bounds[3] - bounds[1])
        height, width = image.shape[:2]
        x0, y0 = np.floor(np.clip(bounds[:2] - margin, 0, (width, height))).astype(int)
        x1, y1 = np.ceil(np.clip(bounds[2:] + margin, 0, (width, height))).astype(int)
        if x1 - x0 < 2 or y1 - y0 < 2:
            return None
        corner = np.array([x0, y0], float)
        hands = self._detector.detect(np.ascontiguousarray(image[y0:y1, x0:x1]))
        middle = (bounds[:2] + bounds[2:]) / 2 - corner
        hands = [hand for hand in hands if box.is_right in (None, hand.is_right)] or hands
        nearest = min(
            hands, key=lambda hand: float(np.linalg.norm((hand.bbox[:2] + hand.bbox[2:]) / 2 - middle)), default=None
        )
        if nearest is None:
            # The user is sure of the box: no need that the palm network is, too.
            nearest = self._detector.detect_in_box(image, bounds, box.is_right)
            corner = np.zeros(2)
        if nearest is None:
            return None
        return replace(
            nearest,
            keypoints_2d=nearest.keypoints_2d + corner,
            bbox=nearest.bbox + np.tile(corner, 2),
            is_right=nearest.is_right if box.is_right is None else box.is_right,
        )


class HourglassHands:
    """Our own 2D estimator in the squares about MediaPipe's hands, or about the boxes that the user gave.

    Hands keep the box they were found in, and have no 3D landmarks. A given box with a side needs no detector.
    """

    def __init__(
        self,
        options: DemoOptions,
        estimator: KeypointPredictor,
        *,
        tracking: bool,
        boxes: dict[str, list[GivenBox]] | None = None,
    ) -> None:
        self.landmarks, self._estimator = estimator.landmarks, estimator
        self._boxed = None if boxes is None else BoxedHands(options, boxes)
        self._found = DetectedHands(options, tracking=tracking) if boxes is None else None

    def find(self, image: RgbImage, frame: int, path: Path | None = None) -> list[HandDetection]:
        found = self._found.find(image, frame, path) if self._found is not None else self._in_boxes(image, frame, path)
        size, scale = self._estimator.size, self._estimator.box_scale
        looks = [look_at(image, square_around_joints(hand.bbox, scale), size, is_right=hand.is_right) for hand in found]
        return [
            replace(hand, keypoints_2d=points, keypoint_scores=scores, keypoints_3d=None, keypoints_z=None)
            for hand, points, scores in zip(found, *self._estimator.step(looks), strict=True)
        ]

    def close(self) -> None:
        for source in (self._found, self._boxed):
            if source is not None:
                source.close()

    def _in_boxes(self, image: RgbImage, frame: int, path: Path | None) -> list[HandDetection]:
        """Given hands, keypoints still to come."""
        assert self._boxed is not None
        hands = []
        for box in self._boxed.boxes_of(frame, path):
            found = None if box.is_right is not None else self._boxed.in_box(image, box)
            is_right = box.is_right if found is None else found.is_right
            if is_right is not None:
                score = 1.0 if found is None else found.score
                hands.append(HandDetection(np.zeros((21, 2)), np.zeros(21), is_right, score, np.array(box.bounds)))
        return hands


class GivenHands:
    """Keypoints from files: OpenPose JSON per frame or image, or one array with a row per frame or image."""

    landmarks = "openpose"

    def __init__(self, given: Path, *, video: Path | None, is_right: bool) -> None:
        self._folder = given if given.is_dir() and video is None else None
        if self._folder is not None:
            self._frames: dict[int, list[HandDetection]] = {}
        elif given.is_dir() and video is not None:
            own = given / video.stem
            self._frames = read_openpose_folder(own) if own.is_dir() else _openpose_of(given, video.stem)
        else:
            self._frames = read_keypoints(given, is_right=is_right)

    @property
    def last(self) -> int:
        """The last frame, or place among the images, with keypoints; -1 without any and where files go by names."""
        return -1 if self._folder is not None else max(self._frames, default=-1)

    def find(self, image: RgbImage, frame: int, path: Path | None = None) -> list[HandDetection]:
        if self._folder is None or path is None:
            return self._frames.get(frame, [])
        for name in (f"{path.stem}_keypoints.json", f"{path.stem}.json", f"{path.name}.json"):
            if (self._folder / name).is_file():
                return read_openpose(self._folder / name)
        raise HandkitError(
            f"{path}: no keypoints in {self._folder}", f"it was looked for as {path.stem}_keypoints.json"
        )

    def close(self) -> None:
        pass


def _openpose_of(folder: Path, stem: str) -> dict[int, list[HandDetection]]:
    """The video's own files where they carry its name, else all files of the folder."""
    named = any(folder.glob(f"{glob.escape(stem)}_*_keypoints.json"))
    return read_openpose_folder(folder, stem if named else None)


class SourceChoice:
    """Builds the source that the options ask for; the one for stills is kept, one for a video remembers its frames."""

    def __init__(self, options: DemoOptions) -> None:
        self._options = options
        self._stills: Source | None = None
        if options.keypoints is not None and not options.keypoints.exists():
            what = f"{options.keypoints}: no such file or folder of keypoints"
            raise HandkitError(what, "give OpenPose JSON files, or an array as .npy or .json")
        self._boxes = read_boxes(options.bbox) if options.bbox is not None else None
        self.name = "MediaPipe Hands" if options.keypoints is None else "given keypoints"
        self._estimator: KeypointPredictor | None = None
        if options.keypoint_source == "hourglass":
            checkpoint = find_checkpoint(options.estimator_checkpoint, KEYPOINTS)
            self._estimator = load_keypoints(checkpoint, device=options.device)
            self.name += f" + hourglass ({checkpoint.name}, step {self._estimator.info.step})"

    @property
    def landmarks(self) -> str:
        """The kind of keypoints that its sources find, for the fit."""
        if self._options.keypoints is not None:
            return GivenHands.landmarks
        return DetectedHands.landmarks if self._estimator is None else self._estimator.landmarks

    def for_stills(self) -> Source:
        if self._stills is None:
            self._stills = self._build(None)
        return self._stills

    @contextmanager
    def for_video(self, path: Path) -> Iterator[Source]:
        source = self._build(path)
        try:
            yield source
        finally:
            source.close()

    def _build(self, video: Path | None) -> Source:
        if self._options.keypoints is not None:
            return GivenHands(self._options.keypoints, video=video, is_right=self._options.hands != "left")
        tracking = video is not None
        if self._estimator is not None:
            return HourglassHands(self._options, self._estimator, tracking=tracking, boxes=self._boxes)
        if self._boxes is not None:
            return BoxedHands(self._options, self._boxes)
        return DetectedHands(self._options, tracking=tracking)

    def close(self) -> None:
        if self._stills is not None:
            self._stills.close()
            self._stills = None
