"""SeqHAND's networks as a method: frames of a sequence in order, the hidden state carried along."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from handkit.data.annotations import AnnotatedDataset
from handkit.data.hands import HandSet
from handkit.data.sample import HandSample
from handkit.demo.network import rows_by_side
from handkit.detect.detection import HandDetection
from handkit.evaluate.looking import UNSEEN, WEAK, Looked, LookingEngine, Place, Sight
from handkit.evaluate.rows import OwnRows
from handkit.images import RgbImage
from handkit.inference.load import load_predictor, warn_of_other_hand, words_of
from handkit.inference.looks import square_of_picture
from handkit.inference.placing import hands_about_origin, hands_in_camera, weak_K
from handkit.inference.predictor import SequencePredictor


class NetworkEngine(LookingEngine):
    """The network of a checkpoint.

    The state starts anew where the sequence changes, a frame number is skipped, or the hand's square jumps. What a weak
    camera annotates is a generated picture: networks are trained on those whole, so they are shown whole, and their
    rows stand about the hand's own origin, projected by the weak camera that is K's first two rows.
    """

    def __init__(
        self, dataset: AnnotatedDataset, truth: HandSet | None, *, checkpoint: Path, hand: str, device: str
    ) -> None:
        super().__init__(dataset, truth, checkpoint=checkpoint, hand=hand)
        self._device = device
        self._predictor: SequencePredictor | None = None

    def _begin(self) -> Sight:
        predictor = self._load()
        predictor.forget()
        return Sight(predictor.size, predictor.box_scale)

    def _load(self) -> SequencePredictor:
        if self._predictor is None:
            # Frame numbers stand for seconds: the next one goes on, a skipped one does not.
            self._predictor = load_predictor(self._checkpoint, device=self._device, max_gap_s=1.0)
            self.words = words_of(self._predictor, self._checkpoint)
            warn_of_other_hand(self._predictor, self._checkpoint, self._hands.name)
        return self._predictor

    def _generated(
        self, sample: HandSample, image: RgbImage, box_scale: float
    ) -> tuple[Place, Float[np.ndarray, "3 3"]]:
        square = square_of_picture(image)
        return Place(HandDetection(UNSEEN, np.zeros(21), bool(sample["is_right"]), 1.0, square), square), np.eye(3)

    def _rows(self, looked: Sequence[Looked]) -> list[OwnRows]:
        found = self._load().step([one.look for one in looked if one.look is not None])
        sightings = [one.sighting for one in looked if one.sighting is not None]
        is_weak = torch.tensor([one.camera == WEAK for one in looked], dtype=torch.bool)
        parts = []
        if bool(is_weak.any()):
            weak = found.rows(is_weak)
            K = weak_K(weak)
            seen = [replace(sightings[i], K=k) for i, k in zip(np.flatnonzero(is_weak), K, strict=True)]
            rows = rows_by_side(seen, weak, self._hands, hands_about_origin)
            flat = K[:, None, [0, 1], [0, 1]] * rows.joints_3d[..., :2] + K[:, None, :2, 2]
            parts.append(OwnRows(replace(rows, joints_2d=flat)))
        if not bool(is_weak.all()):
            seen = [sightings[i] for i in np.flatnonzero(~is_weak)]
            parts.append(OwnRows(rows_by_side(seen, found.rows(~is_weak), self._hands, hands_in_camera)))
        return parts
