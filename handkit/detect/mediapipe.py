"""Hands in RGB images by MediaPipe Hands 0.10.21, whose models come inside its wheel (extra `handkit[mediapipe]`).

Convention: MediaPipe names the side as if the image were a mirrored selfie; here the image is what the camera saw, so
its label is turned round. Its depth already grows away from the camera.
"""

from collections.abc import Iterable
from dataclasses import replace
from types import TracebackType

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from handkit.detect.detection import HandDetection, box_around, remove_duplicates
from handkit.detect.mediapipe_graph import HandGraph, RawHand, Region
from handkit.detect.views import VIEWS, SeenHand, View, look_again, region_from_landmarks
from handkit.errors import HandkitError

# The palm network misses a hand that fills the frame: it was taught with room around hands.
_PADDING = 0.25
# Weak palms are worth a try in a still without hands, if the landmark network is sure: what it called a hand in photos
# without hands scored up to 0.58, hands found this way 0.88 to 0.99.
_EAGER_PALM_SCORE = 0.2
_EAGER_SCORE = 0.8
# In a video without hands the padded look would double the time of every frame.
_EMPTY_FRAMES_PER_LOOK = 6
# Looks that differ by this part of the hand's larger side halve a joint's score.
_HALVING_SPREAD = 0.03
# A given box is tight around the joints: the landmark network wants this much more, and a hand about upright.
_BOX_SCALE, _BOX_TURNS = 1.3, 8
_UPRIGHT = View(2.0, 0, False)


class MediaPipeDetector:
    """Up to `max_hands` hands per image, each at least `min_score` sure; a context manager.

    tracking: the images are the frames of one video and hands are followed from frame to frame (one detector a video).
    thorough: a still in which nothing is found, even padded, is searched again for weak palms (two passes of about
    12 ms more).
    augment: further looks at every hand that are averaged with the first, 0 to 5, about 6 ms each. On real crops 1, 3
    and 5 looks lower the 3D joint error by 4, 6 and 7 %.
    """

    def __init__(
        self,
        *,
        max_hands: int = 2,
        min_score: float = 0.5,
        tracking: bool = False,
        thorough: bool = True,
        augment: int = 0,
    ) -> None:
        if not 0 <= augment <= len(VIEWS):
            raise HandkitError(f"augment is {augment}", f"give a number of looks from 0 to {len(VIEWS)}")
        if max_hands < 1:
            raise HandkitError(f"max_hands is {max_hands}", "ask for at least one hand")
        self._max_hands = max_hands
        self._min_score = min_score
        self._tracking = tracking
        self._thorough = thorough
        self._views = VIEWS[:augment]
        self._empty_frames = 0
        self._graphs: dict[str, HandGraph] = {}
        self._graph("main")

    def __enter__(self) -> "MediaPipeDetector":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the networks; safe to call twice."""
        for graph in self._graphs.values():
            graph.close()

    def detect(self, image: UInt8[np.ndarray, "H W 3"]) -> list[HandDetection]:
        """The hands of an RGB image, best first; an empty list where there are none."""
        check_image(image)
        raw = self._graph("main").detect(image)
        if raw:
            self._empty_frames = 0
        elif self._tracking:
            raw = self._rescue_frame(image)
        else:
            raw = self._rescue_still(image)
        seen = look_again(self._graph("regions"), image, raw, self._views) if self._views else map(SeenHand, raw)
        height, width = image.shape[:2]
        return remove_duplicates([_detection(hand, width, height) for hand in seen])[: self._max_hands]

    def detect_in_box(
        self, image: UInt8[np.ndarray, "H W 3"], bbox: Float[np.ndarray, "4"], is_right: bool | None = None
    ) -> HandDetection | None:
        """The hand in a box (x0, y0, x1, y1 in pixels) that someone is sure of; the palm network is not asked.

        Where the side is known too, answers of that side go before others.

        The landmark network looks at the box in eight turns, and again upright where it is surest; None where it is
        nowhere `min_score` sure. About 50 ms.
        """
        check_image(image)
        graph = self._graph("regions")
        (x, y), side = (bbox[:2] + bbox[2:]) / 2, float((bbox[2:] - bbox[:2]).max()) * _BOX_SCALE
        turns = np.linspace(0, 2 * np.pi, _BOX_TURNS, endpoint=False)
        looks = graph.landmarks(image, [Region(float(x), float(y), side, float(turn)) for turn in turns])
        known = [look for look in looks if look is not None and is_right in (None, look.label == "Left")]
        best = _surest(known or looks)
        if best is None:
            return None
        upright = graph.landmarks(image, [region_from_landmarks(best.image[:, :2], _UPRIGHT)])
        best = _surest([best, *upright]) or best
        seen = look_again(graph, image, [best], self._views)[0]
        return _detection(seen, image.shape[1], image.shape[0])

    def _rescue_frame(self, image: np.ndarray) -> list[RawHand]:
        """A padded look at every frame while it finds hands, and at one in a few once it does not."""
        due = self._empty_frames % _EMPTY_FRAMES_PER_LOOK == 0
        raw = self._padded_look("still", image) if due else []
        self._empty_frames = 0 if raw else self._empty_frames + 1
        return raw

    def _rescue_still(self, image: np.ndarray) -> list[RawHand]:
        """Padded; then weak palms, plain and padded."""
        raw = self._padded_look("still", image)
        if not raw and self._thorough:
            raw = self._graph("eager").detect(image) or self._padded_look("eager", image)
        return raw

    def _padded_look(self, graph: str, image: np.ndarray) -> list[RawHand]:
        padded, offset = pad(image)
        hands = self._graph(graph).detect(padded)
        return [replace(hand, image=hand.image - (*offset, 0)) for hand in hands]

    def _graph(self, name: str) -> HandGraph:
        """The graphs by use: main, still (no memory of other frames), eager (weak palms too), regions."""
        if name == "still" and not self._tracking:
            name = "main"
        if name not in self._graphs:
            self._graphs[name] = HandGraph(
                max_hands=self._max_hands,
                min_score=max(_EAGER_SCORE, self._min_score) if name == "eager" else self._min_score,
                min_palm_score=min(_EAGER_PALM_SCORE, self._min_score) if name == "eager" else None,
                tracking=self._tracking and name == "main",
                regions_only=name == "regions",
            )
        return self._graphs[name]


def _surest(looks: Iterable[RawHand | None]) -> RawHand | None:
    return max((look for look in looks if look is not None), key=lambda look: look.presence, default=None)


def check_image(image: np.ndarray) -> None:
    """Raise HandkitError unless the image is RGB uint8 of shape [H, W, 3] with pixels in it."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise HandkitError(
            f"the detector was given an image of shape {image.shape} and type {image.dtype}",
            "give RGB of shape [height, width, 3] as uint8",
        )


def pad(image: UInt8[np.ndarray, "H W 3"]) -> tuple[UInt8[np.ndarray, "H2 W2 3"], tuple[int, int]]:
    """The image with a black border of a quarter of its size on each side, and the (x, y) where it now begins."""
    height, width = image.shape[:2]
    dx, dy = round(width * _PADDING), round(height * _PADDING)
    return cv2.copyMakeBorder(image, dy, dy, dx, dx, cv2.BORDER_CONSTANT, value=(0, 0, 0)), (dx, dy)


def _detection(seen: SeenHand, width: int, height: int) -> HandDetection:
    hand = seen.hand
    points = hand.image[:, :2]
    return HandDetection(
        keypoints_2d=points,
        keypoint_scores=_joint_scores(seen, ((points >= 0) & (points <= (width, height))).all(1)),
        is_right=hand.label == "Left",
        score=hand.presence,
        bbox=box_around(points),
        side_score=hand.label_score,
        keypoints_3d=hand.world,
        keypoints_z=hand.image[:, 2],
    )


def _joint_scores(seen: SeenHand, inside: Bool[np.ndarray, "21"]) -> Float[np.ndarray, "21"]:
    """MediaPipe scores no joints: each has its hand's presence, halved outside the image, less where looks differ."""
    scores = seen.hand.presence * np.where(inside, 1.0, 0.5)
    if seen.spread is not None:
        size = float(np.ptp(seen.hand.image[:, :2], axis=0).max())
        scores = scores / (1 + (seen.spread / (_HALVING_SPREAD * size)) ** 2)
    return scores
