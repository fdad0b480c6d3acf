"""SeqHAND's networks as a method: frames of a sequence in order, the hidden state carried along."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from handkit.data.sample import HandSample
from handkit.detect.detection import HandDetection
from handkit.evaluate.looking import UNSEEN, Looked, LookingEngine, Place
from handkit.evaluate.placed import rows_in_cameras
from handkit.evaluate.rows import OwnRows
from handkit.images import RgbImage
from handkit.inference.load import load_predictor
from handkit.inference.looks import square_of_picture
from handkit.inference.predictor import SequencePredictor


class NetworkEngine(LookingEngine):
    """The network of a checkpoint.

    The state starts anew where the sequence changes, a frame number is skipped, or the hand's square jumps. What a weak
    camera annotates is a generated picture: networks are trained on those whole, so they are shown whole, and their
    rows stand about the hand's own origin, projected by the weak camera that is K's first two rows.
    """

    predictor: SequencePredictor

    def _open(self) -> SequencePredictor:
        # Frame numbers stand for seconds: the next one goes on, a skipped one does not.
        self.predictor = load_predictor(self._checkpoint, device=self._device, max_gap_s=1.0)
        return self.predictor

    def _begin(self) -> None:
        self.predictor.forget()

    def _generated(
        self, sample: HandSample, image: RgbImage, box_scale: float
    ) -> tuple[Place, Float[np.ndarray, "3 3"]]:
        square = square_of_picture(image)
        return Place(HandDetection(UNSEEN, np.zeros(21), bool(sample["is_right"]), 1.0, square), square), np.eye(3)

    def _rows(self, looked: Sequence[Looked]) -> list[OwnRows]:
        found = self.predictor.step([one.look for one in looked if one.look is not None])
        return rows_in_cameras(looked, found, self._hands)
