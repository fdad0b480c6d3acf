"""What the engines of trained networks share: which square of each sample is looked at, and in which order."""

import hashlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, NamedTuple

import numpy as np
from jaxtyping import Float

from handkit.ahead import ahead
from handkit.data.annotations import AnnotatedDataset
from handkit.data.crops import hand_outline
from handkit.data.hands import HandSet
from handkit.data.sample import HandSample
from handkit.demo.hands import HandPair, Sighting
from handkit.detect.crop import square_box
from handkit.detect.detection import HandDetection, box_around
from handkit.errors import HandkitError
from handkit.evaluate.engine import DONE, NO_HAND, Read, camera_of, pieced
from handkit.evaluate.finders import DetectedFinder, picture_of
from handkit.evaluate.rows import OwnRows
from handkit.images import RgbImage
from handkit.inference.load import Weights, warn_of_other_hand, words_of
from handkit.inference.looks import Look, look_at, square_around_joints
from handkit.inference.trained import TrainedPredictor

logger = logging.getLogger(__name__)

WEAK: Final = "weak perspective"
# What is kept together, and what is looked at together: whole sequences as far as they are not longer than the last.
_PIECE, _AT_ONCE, _MOST_AT_ONCE = 512, 320, 1600
UNSEEN: Final = np.full((21, 2), np.nan)


@dataclass(frozen=True, eq=False)
class Looked(Read):
    """With what the network is to see of it."""

    look: Look | None = None


class Place(NamedTuple):
    """The hand to look at, keypoints only where something found them, and the square to look at."""

    hand: HandDetection
    square: Float[np.ndarray, "4"]


class LookingEngine(ABC):
    """A checkpoint's network on a device, shown the squares of hands.

    A hand is seen in the square about its annotated outline, else about the box in which MediaPipe finds it.
    Frames of one sequence and side are one track, in order; pictures of a data set without sequences are each alone.
    `network` is the kind of the checkpoint's, `weights` where it is looked for.
    """

    network: ClassVar[str] = "seqhand"
    weights: ClassVar[Weights | None] = None

    def __init__(
        self, dataset: AnnotatedDataset, truth: HandSet | None, *, checkpoint: Path, hand: str, device: str
    ) -> None:
        self._dataset, self._truth, self._checkpoint, self._device = dataset, truth, checkpoint, device
        self._hands = HandPair(hand)
        self._opened: TrainedPredictor | None = None
        self._finder: DetectedFinder | None = None
        self._sides_known = bool(getattr(dataset, "sides_known", True))
        self.words = ""
        self.key: Sequence[Any] = (checkpoint.name, hashlib.sha256(checkpoint.read_bytes()).hexdigest())

    @abstractmethod
    def _open(self) -> TrainedPredictor:
        """The network of the checkpoint, on the device."""

    @abstractmethod
    def _rows(self, looked: Sequence[Looked]) -> list[OwnRows]:
        """What the network says of looks in order, all of which have a sighting."""

    def _generated(
        self, sample: HandSample, image: RgbImage, box_scale: float
    ) -> tuple[Place, Float[np.ndarray, "3 3"]] | None:
        """Where to look in a picture that a weak camera alone annotates, and its K; None where no hand is seen."""
        return None

    def _begin(self) -> None:  # noqa: B027 - most networks see every picture alone
        """Forget what was seen."""

    def _named(self, words: str) -> str:
        """The words of hands.npz of those of the network."""
        return words

    def pieces(self) -> list[range]:
        """Whole sequences, so that a piece made again starts from the same state."""
        starts = [index for index in range(len(self._dataset)) if self._begins(index)]
        cuts = [0]
        for start in starts:
            if start - cuts[-1] >= _PIECE:
                cuts.append(start)
        return [range(first, end) for first, end in zip(cuts, [*cuts[1:], len(self._dataset)], strict=True)]

    def predict(self, chosen: range, on_read: Callable[[], None]) -> OwnRows:
        self._load()
        self._begin()
        read: list[Read] = []
        waiting: list[Looked] = []
        parts: list[OwnRows] = []
        for index, looked in zip(chosen, ahead(self._looks(chosen), 32), strict=True):
            if len(waiting) >= (_AT_ONCE if self._begins(index) else _MOST_AT_ONCE):
                parts += self._rows(waiting)
                waiting = []
            read.append(Read(looked.name, looked.status, camera=looked.camera))
            if looked.look is not None:
                waiting.append(looked)
            on_read()
        if waiting:
            parts += self._rows(waiting)
        return pieced(parts, read, hand=self._hands.name, words=self.words)

    def close(self) -> None:
        if self._finder is not None:
            self._finder.close()

    def _load(self) -> TrainedPredictor:
        if self._opened is None:
            self._opened = self._open()
            self.words = self._named(words_of(self._opened, self._checkpoint))
            warn_of_other_hand(self._opened, self._checkpoint, self._hands.name)
        return self._opened

    def _sequence(self, index: int) -> str:
        """Empty for a picture that stands alone."""
        if self._truth is None or self._truth.sequences is None:
            return ""
        return self._truth.sequences[index]

    def _begins(self, index: int) -> bool:
        sequence = self._sequence(index)
        return index == 0 or not sequence or sequence != self._sequence(index - 1)

    def _looks(self, chosen: range) -> Iterator[Looked]:
        for index in chosen:
            try:
                yield self._look(index)
            except HandkitError as error:
                name = str(index) if self._truth is None else self._truth.ids[index]
                logger.warning("%s: %s", name, error.what)
                yield Looked(name, f"failed: {error.what}")

    def _look(self, index: int) -> Looked:
        sight = self._load()
        sample = self._dataset[index]
        image = picture_of(sample)
        if sample["weak_valid"] and not sample["K_valid"]:
            seen, camera = self._generated(sample, image, sight.box_scale), WEAK
        else:
            found = self._place(sample, sight.box_scale)
            K, camera = camera_of(sample)
            seen = None if found is None else (found, K)
        if seen is None:
            return Looked(sample["name"], NO_HAND)
        (hand, square), K = seen
        sequence = self._sequence(index)
        frame = index if self._truth is None or self._truth.frames is None else self._truth.frames[index]
        track = f"{sequence}/{'right' if hand.is_right else 'left'}" if sequence else index
        look = look_at(image, square, sight.size, is_right=hand.is_right, track=track, time_s=float(frame))
        sighting = Sighting(hand, sample["name"], (image.shape[1], image.shape[0]), K, frame=index)
        return Looked(sample["name"], DONE, sighting, camera, look)

    def _place(self, sample: HandSample, box_scale: float) -> Place | None:
        """Where the annotations say, else where the detector finds a hand."""
        if self._sides_known:
            try:
                return outlined(sample, box_scale)
            except HandkitError:  # nothing says where it is
                pass
        found = self._detector().find(sample)
        return None if found is None else Place(found.hand, square_around_joints(found.hand.bbox, box_scale))

    def _detector(self) -> DetectedFinder:
        if self._finder is None:
            self._finder = DetectedFinder(sides_known=self._sides_known)
        return self._finder


def outlined(sample: HandSample, box_scale: float) -> Place:
    """The square about a hand's annotated outline, and the keypoints that the data set brings.

    Raises HandkitError where nothing says where the hand is.
    """
    box = box_around(hand_outline(sample))
    points, scores = UNSEEN, np.zeros(21)
    if sample["keypoints_2d_valid"]:
        points, scores = sample["keypoints_2d"].astype(np.float64), sample["keypoint_scores"].astype(np.float64)
    return Place(HandDetection(points, scores, bool(sample["is_right"]), 1.0, box), square_box(box, box_scale))
