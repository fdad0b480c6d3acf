"""HandNet as a method: every hand alone, with or without keypoints (RealisticHands Table 2, Fig. 8)."""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Final, Literal

import numpy as np
from jaxtyping import Float

from handkit.data.sample import HandSample
from handkit.demo.hands import is_in_picture
from handkit.demo.network import keypoints_of
from handkit.detect.detection import HandDetection, box_around
from handkit.errors import HandkitError
from handkit.evaluate.finders import Finder, GivenFinder
from handkit.evaluate.looking import UNSEEN, Looked, LookingEngine, Place
from handkit.evaluate.placed import rows_in_cameras
from handkit.evaluate.rows import OwnRows
from handkit.images import RgbImage
from handkit.inference.handnet import HandNetPredictor, load_handnet_predictor
from handkit.inference.load import HANDNET
from handkit.inference.looks import square_around_joints

KeypointsFrom = Literal["mediapipe", "given", "none"]
_FINDERS: Final = {"mediapipe": "MediaPipe Hands + ", "given": "given keypoints + "}


class HandNetEngine(LookingEngine):
    """HandNet and the keypoints that MediaPipe finds in the data set's box.

    A hand is seen in the square about its keypoints, as demo cuts it. Where there are none in the picture it is the one
    about the annotated joints, else about the outline, and the network makes do with the image; one of keypoints sees
    no hand.
    Rows of pictures that a weak camera annotates stand about the hand's own origin, as in `NetworkEngine`.
    """

    keypoints: ClassVar[KeypointsFrom] = "mediapipe"
    network = "handnet"
    weights = HANDNET
    predictor: HandNetPredictor
    _given: Finder | None = None

    def _open(self) -> HandNetPredictor:
        self.predictor = load_handnet_predictor(self._checkpoint, self._device)
        if self.keypoints == "none" and self.predictor.inputs == "keypoints":
            what = f"{self._checkpoint} sees keypoints alone: without them it sees nothing"
            raise HandkitError(what, "use --method handnet")
        return self.predictor

    def _named(self, words: str) -> str:
        if self.keypoints == "none":
            words = f"{words} without keypoints"
            return words if self._sides_known else _FINDERS["mediapipe"] + words
        return _FINDERS[self.keypoints] + words

    def _generated(
        self, sample: HandSample, image: RgbImage, box_scale: float
    ) -> tuple[Place, Float[np.ndarray, "3 3"]] | None:
        place = self._place(sample, box_scale)
        return None if place is None else (place, np.eye(3))

    def _place(self, sample: HandSample, box_scale: float) -> Place | None:
        hand = None if self.keypoints == "none" else self._find(sample)
        if hand is not None:
            return Place(hand, square_around_joints(hand.bbox, box_scale))
        return None if self.predictor.inputs == "keypoints" else self._unseen(sample, box_scale)

    def _find(self, sample: HandSample) -> HandDetection | None:
        if self.keypoints == "mediapipe":
            found = self._detector().find(sample)
        else:
            self._given = self._given or GivenFinder(sides_known=self._sides_known)
            found = self._given.find(sample)
        height, width = sample["image"].shape[1:]
        return found.hand if found is not None and is_in_picture(found.hand, (width, height)) else None

    def _unseen(self, sample: HandSample, box_scale: float) -> Place | None:
        """Where the hand is, without its keypoints."""
        joints = sample["joints_2d"][sample["joints_2d_valid"]].astype(np.float64)
        if self._sides_known and len(joints) > 1:
            box = box_around(joints)
            hand = HandDetection(UNSEEN, np.zeros(21), bool(sample["is_right"]), 1.0, box)
            return Place(hand, square_around_joints(box, box_scale))
        found = super()._place(sample, box_scale)
        if found is None:
            return None
        return Place(replace(found.hand, keypoints_2d=UNSEEN, keypoint_scores=np.zeros(21)), found.square)

    def _rows(self, looked: Sequence[Looked]) -> list[OwnRows]:
        points, scores = keypoints_of([one.sighting for one in looked if one.sighting is not None])
        found = self.predictor.step([one.look for one in looked if one.look is not None], points, scores)
        return rows_in_cameras(looked, found, self._hands)


class HandNetImageEngine(HandNetEngine):
    """The same network whose keypoints are withheld."""

    keypoints = "none"


class HandNetGivenEngine(HandNetEngine):
    """The same network told of the keypoints that a data set brings, else of its annotated joints."""

    keypoints = "given"
