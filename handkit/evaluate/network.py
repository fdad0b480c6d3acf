"""A trained network as a method: frames of a sequence in order, the hidden state carried along."""

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Float

from handkit.ahead import ahead
from handkit.data.annotations import AnnotatedDataset
from handkit.data.crops import hand_outline
from handkit.data.hands import HandSet
from handkit.data.sample import HandSample
from handkit.demo.hands import HandPair, Sighting
from handkit.demo.network import rows_by_side
from handkit.detect.crop import square_box
from handkit.detect.detection import HandDetection, box_around
from handkit.errors import HandkitError
from handkit.evaluate.engine import DONE, NO_HAND, Read, camera_of, pieced
from handkit.evaluate.finders import DetectedFinder, picture_of
from handkit.export.predictions import Predictions
from handkit.images import RgbImage
from handkit.inference.load import load_predictor, warn_of_other_hand, words_of
from handkit.inference.looks import Look, look_at, square_around_joints, square_of_picture
from handkit.inference.placing import hands_about_origin, hands_in_camera, weak_K
from handkit.inference.predictor import SequencePredictor

logger = logging.getLogger(__name__)

WEAK: Final = "weak perspective"
# What is kept together, and what is looked at together: whole sequences as far as they are not longer than the last.
_PIECE, _AT_ONCE, _MOST_AT_ONCE = 512, 320, 1600
_UNSEEN: Final = np.full((21, 2), np.nan)


@dataclass(frozen=True, eq=False)
class _Looked(Read):
    """With what the network is to see of it."""

    look: Look | None = None


class NetworkEngine:
    """The network of a checkpoint.

    Frames of one sequence and side follow one another; the state starts anew where the sequence changes, a frame number
    is skipped, or the hand's square jumps. Pictures of a data set without sequences are each alone. A hand is seen in
    the square of 2.2 times its annotated outline, else of the box in which MediaPipe finds it. What a weak camera
    annotates is a generated picture: networks are trained on those whole, so they are shown whole, and their rows
    stand about the hand's own origin, projected by the weak camera that is K's first two rows.
    """

    def __init__(
        self, dataset: AnnotatedDataset, truth: HandSet | None, *, checkpoint: Path, hand: str, device: str
    ) -> None:
        self._dataset, self._truth, self._checkpoint, self._device = dataset, truth, checkpoint, device
        self._hands = HandPair(hand)
        self._finder: DetectedFinder | None = None
        self._predictor: SequencePredictor | None = None
        self._sides_known = bool(getattr(dataset, "sides_known", True))
        self.words = ""
        self.key: Sequence[Any] = (checkpoint.name, hashlib.sha256(checkpoint.read_bytes()).hexdigest())

    def pieces(self) -> list[range]:
        """Whole sequences, so that a piece made again starts from the same state."""
        starts = [index for index in range(len(self._dataset)) if self._begins(index)]
        cuts = [0]
        for start in starts:
            if start - cuts[-1] >= _PIECE:
                cuts.append(start)
        return [range(first, end) for first, end in zip(cuts, [*cuts[1:], len(self._dataset)], strict=True)]

    def predict(self, chosen: range, on_read: Callable[[], None]) -> Predictions:
        predictor = self._load()
        predictor.forget()
        read: list[Read] = []
        waiting: list[_Looked] = []
        parts: list[Predictions] = []
        for index, looked in zip(chosen, ahead(self._looks(chosen, predictor.size), 32), strict=True):
            if len(waiting) >= (_AT_ONCE if self._begins(index) else _MOST_AT_ONCE):
                parts += self._rows(waiting, predictor)
                waiting = []
            read.append(Read(looked.name, looked.status, camera=looked.camera))
            if looked.look is not None:
                waiting.append(looked)
            on_read()
        parts += self._rows(waiting, predictor)
        return pieced(parts, read, hand=self._hands.name, words=self.words)

    def close(self) -> None:
        if self._finder is not None:
            self._finder.close()

    def _load(self) -> SequencePredictor:
        if self._predictor is None:
            # Frame numbers stand for seconds: the next one goes on, a skipped one does not.
            self._predictor = load_predictor(self._checkpoint, device=self._device, max_gap_s=1.0)
            self.words = words_of(self._predictor, self._checkpoint)
            warn_of_other_hand(self._predictor, self._checkpoint, self._hands.name)
        return self._predictor

    def _sequence(self, index: int) -> str:
        """Empty for a picture that stands alone."""
        if self._truth is None or self._truth.sequences is None:
            return ""
        return self._truth.sequences[index]

    def _begins(self, index: int) -> bool:
        sequence = self._sequence(index)
        return index == 0 or not sequence or sequence != self._sequence(index - 1)

    def _looks(self, chosen: range, size: int) -> Iterator[_Looked]:
        for index in chosen:
            try:
                yield self._look(index, size)
            except HandkitError as error:
                name = str(index) if self._truth is None else self._truth.ids[index]
                logger.warning("%s: %s", name, error.what)
                yield _Looked(name, f"failed: {error.what}")

    def _look(self, index: int, size: int) -> _Looked:
        sample = self._dataset[index]
        image = picture_of(sample)
        hand, square = self._place(sample, image)
        if hand is None:
            return _Looked(sample["name"], NO_HAND)
        K, camera = (np.eye(3), WEAK) if sample["weak_valid"] else camera_of(sample)
        sequence = self._sequence(index)
        frame = index if self._truth is None or self._truth.frames is None else self._truth.frames[index]
        track = f"{sequence}/{'right' if hand.is_right else 'left'}" if sequence else index
        look = look_at(image, square, size, is_right=hand.is_right, track=track, time_s=float(frame))
        sighting = Sighting(hand, sample["name"], (image.shape[1], image.shape[0]), K, frame=index)
        return _Looked(sample["name"], DONE, sighting, camera, look)

    def _place(self, sample: HandSample, image: RgbImage) -> tuple[HandDetection | None, Float[np.ndarray, "4"]]:
        """The hand to look at, keypoints only where a detector found it, and the square to look at."""
        is_right = bool(sample["is_right"])
        if sample["weak_valid"]:
            square = square_of_picture(image)
            return HandDetection(_UNSEEN, np.zeros(21), is_right, 1.0, square), square
        if self._sides_known:
            try:
                box = box_around(hand_outline(sample))
            except HandkitError:  # nothing says where it is
                return self._detected(sample)
            return HandDetection(_UNSEEN, np.zeros(21), is_right, 1.0, box), square_box(box)
        return self._detected(sample)

    def _detected(self, sample: HandSample) -> tuple[HandDetection | None, Float[np.ndarray, "4"]]:
        if self._finder is None:
            self._finder = DetectedFinder(sides_known=self._sides_known)
        found = self._finder.find(sample)
        if found is None:
            return None, np.zeros(4)
        return found.hand, square_around_joints(found.hand.bbox)

    def _rows(self, looked: Sequence[_Looked], predictor: SequencePredictor) -> list[Predictions]:
        found = predictor.step([one.look for one in looked if one.look is not None])
        sightings = [one.sighting for one in looked if one.sighting is not None]
        is_weak = torch.tensor([one.camera == WEAK for one in looked], dtype=torch.bool)
        parts = []
        if bool(is_weak.any()):
            weak = found.rows(is_weak)
            K = weak_K(weak)
            seen = [replace(sightings[i], K=k) for i, k in zip(np.flatnonzero(is_weak), K, strict=True)]
            rows = rows_by_side(seen, weak, self._hands, hands_about_origin)
            flat = K[:, None, [0, 1], [0, 1]] * rows.joints_3d[..., :2] + K[:, None, :2, 2]
            parts.append(replace(rows, joints_2d=flat))
        if not bool(is_weak.all()):
            seen = [sightings[i] for i in np.flatnonzero(~is_weak)]
            parts.append(rows_by_side(seen, found.rows(~is_weak), self._hands, hands_in_camera))
        return parts
