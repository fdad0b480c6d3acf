"""How the methods of `predict` find a sample's hand: MediaPipe in its picture, or the keypoints that it brings."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Protocol

import numpy as np

from handkit.data.sample import HandSample
from handkit.demo.boxes import GivenBox
from handkit.demo.options import DemoOptions
from handkit.demo.sources import BoxedHands, DetectedHands
from handkit.detect.detection import HandDetection
from handkit.detect.openpose import hand_from_keypoints
from handkit.images import RgbImage


@dataclass(frozen=True, eq=False)
class Found:
    """A hand, and the kind of its keypoints for the fit."""

    hand: HandDetection
    landmarks: str


class Finder(Protocol):
    """Finds the hand of one sample."""

    def find(self, sample: HandSample) -> Found | None:
        """The hand, None where none is seen."""

    def close(self) -> None:
        """Let go of networks."""


class DetectedFinder:
    """MediaPipe in the sample's box where it has one, else in its whole picture.

    Where the data set knows sides (`sides_known`), the hand of the sample's side is taken before a surer one, and the
    side is the sample's; else both are the detector's.
    """

    def __init__(self, *, sides_known: bool, min_score: float = 0.5) -> None:
        self._sides_known, self._min_score = sides_known, min_score
        self._boxes: dict[str, list[GivenBox]] = {}
        self._boxed: BoxedHands | None = None
        self._whole: DetectedHands | None = None

    def find(self, sample: HandSample) -> Found | None:
        is_right = bool(sample["is_right"]) if self._sides_known else None
        found = self._in_box(sample, is_right) if sample["bbox_valid"] else self._in_picture(sample)
        sure = [hand for hand in found if is_right in (None, hand.is_right)] or found
        if not sure:
            return None
        hand = max(sure, key=lambda hand: hand.score)
        return Found(hand if is_right is None else replace(hand, is_right=is_right), "mediapipe")

    def close(self) -> None:
        for source in (self._boxed, self._whole):
            if source is not None:
                source.close()

    def _in_picture(self, sample: HandSample) -> list[HandDetection]:
        if self._whole is None:
            asked = DemoOptions(max_hands=2 if self._sides_known else 1, min_score=self._min_score)
            self._whole = DetectedHands(asked, tracking=False)
        return self._whole.find(picture_of(sample), 0)

    def _in_box(self, sample: HandSample, is_right: bool | None) -> list[HandDetection]:
        if self._boxed is None:
            self._boxed = BoxedHands(DemoOptions(min_score=self._min_score), self._boxes)
        x0, y0, x1, y1 = map(float, sample["bbox"])
        self._boxes["0"] = [GivenBox((x0, y0, x1, y1), is_right)]
        return self._boxed.find(picture_of(sample), 0)


class GivenFinder:
    """The sample's own keypoints; without them its annotated 2D joints, for what truth in 2D alone would give."""

    def __init__(self, *, sides_known: bool) -> None:
        del sides_known  # keypoints come with a side

    def find(self, sample: HandSample) -> Found | None:
        points, scores, landmarks = sample["keypoints_2d"], sample["keypoint_scores"], "openpose"
        if not sample["keypoints_2d_valid"]:
            points, scores, landmarks = sample["joints_2d"], sample["joints_2d_valid"].astype(np.float32), "joints"
        hand = hand_from_keypoints(
            points.astype(np.float64), scores.astype(np.float64), is_right=bool(sample["is_right"])
        )
        return None if hand is None else Found(hand, landmarks)

    def close(self) -> None:
        pass


@dataclass(frozen=True)
class FinderKind:
    """What finds the hands, and finder and fit in the words of hands.npz."""

    build: Callable[..., Finder]
    words: str


FINDERS: Final[dict[str, FinderKind]] = {
    "fit": FinderKind(DetectedFinder, "MediaPipe Hands + fit"),
    "keypoints": FinderKind(GivenFinder, "given keypoints + fit"),
}


def build_finder(method: str, *, sides_known: bool) -> Finder:
    """The finder of a method; networks are loaded when the first sample needs them."""
    return FINDERS[method].build(sides_known=sides_known)


def picture_of(sample: HandSample) -> RgbImage:
    """RGB [H, W, 3] of a sample."""
    return np.ascontiguousarray(sample["image"].transpose(1, 2, 0))
