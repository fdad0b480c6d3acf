"""Hands by a trained network: `--method seqhand`, `--method s2hand` and `--method handnet`."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, Protocol, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from handkit.demo.hands import HandPair, Sighting, join_rows, rows_from_fit
from handkit.demo.posed import Posed, join_posed
from handkit.export.predictions import Predictions
from handkit.fit import HandParameters
from handkit.hand import HandModel
from handkit.images import RgbImage
from handkit.inference.handnet import HandNetPredictor, load_handnet_predictor
from handkit.inference.load import (
    HANDNET,
    S2HAND,
    Weights,
    find_checkpoint,
    load_predictor,
    warn_of_other_hand,
    words_of,
)
from handkit.inference.looks import Look, look_at, square_around_joints
from handkit.inference.placing import hands_in_camera
from handkit.inference.predictor import SequencePredictor
from handkit.inference.s2hand import S2HandPredictor, hands_in_front, load_s2hand
from handkit.inference.trained import TrainedPredictor
from handkit.video import Frame

# So many crops are looked at together: faster than one, and little memory.
_LOOKS_AT_ONCE = 64


class NetworkHands(ABC):
    """What a network says of the hands that the detector found; `checkpoint` as in `find_checkpoint`.

    `words` are its words in hands.npz; `has_appearance` says whether it gives hands a texture and a light.
    """

    weights: ClassVar[Weights | None] = None
    has_appearance: ClassVar[bool] = False
    predictor: TrainedPredictor

    def __init__(self, checkpoint: Path | None, hands: HandPair, *, device: str = "auto") -> None:
        path = find_checkpoint(checkpoint, self.weights)
        self.predictor = self._load(path, device)
        self.words = words_of(self.predictor, path)
        self._hands = hands
        warn_of_other_hand(self.predictor, path, hands.name)

    def stills(self, sightings: Sequence[Sighting], images: Sequence[RgbImage]) -> Posed:
        """Every hand alone, in the order of the sightings; `images` are theirs."""
        looks = [self._look(s, image, track=i) for i, (s, image) in enumerate(zip(sightings, images, strict=True))]
        self._forget()
        return self._pose(sightings, looks)

    def over_time(self, tracks: Sequence[Sequence[Sighting]], frames: Iterable[Frame]) -> list[Posed]:
        """The hands of each track; `frames` are the video's, from its beginning."""
        wanted: dict[int, list[Sighting]] = {}
        for sighting in (sighting for track in tracks for sighting in track):
            wanted.setdefault(sighting.frame, []).append(sighting)
        self._forget()
        parts: list[Posed] = []
        seen: list[Sighting] = []
        looks: list[Look] = []
        for frame in frames:
            for sighting in wanted.pop(frame.index, []):
                seen.append(sighting)
                looks.append(self._look(sighting, frame.image, track=sighting.track_id))
            if len(looks) >= _LOOKS_AT_ONCE:
                parts.append(self._pose(seen, looks))
                seen, looks = [], []
            if not wanted:
                break
        if looks:
            parts.append(self._pose(seen, looks))
        posed = join_posed(parts, has_appearance=self.has_appearance)
        return [posed.pick(np.flatnonzero(posed.rows.track_id == track[0].track_id)) for track in tracks]

    def _look(self, sighting: Sighting, image: RgbImage, *, track: int) -> Look:
        return look_at(
            image,
            square_around_joints(sighting.detection.bbox, self.predictor.box_scale),
            self.predictor.size,
            is_right=sighting.detection.is_right,
            track=track,
            time_s=sighting.time_s,
        )

    @abstractmethod
    def _load(self, path: Path, device: str) -> TrainedPredictor:
        """The network of a checkpoint, on a device."""

    @abstractmethod
    def _pose(self, sightings: Sequence[Sighting], looks: Sequence[Look]) -> Posed:
        """The hands of at least one look, in their order; those of one track in order of time."""

    def _forget(self) -> None:  # noqa: B027 - most networks see every frame alone
        """What comes does not go on with what was before."""


class SeqHandHands(NetworkHands):
    """A sequence network, its hidden state carried along each track."""

    predictor: SequencePredictor

    def _load(self, path: Path, device: str) -> SequencePredictor:
        return load_predictor(path, device=device)

    def _pose(self, sightings: Sequence[Sighting], looks: Sequence[Look]) -> Posed:
        return Posed(rows_by_side(sightings, self.predictor.step(looks), self._hands, hands_in_camera))

    def _forget(self) -> None:
        self.predictor.forget()


class S2HandHands(NetworkHands):
    """S2HAND's network: every frame alone, with what the hand looks like."""

    weights = S2HAND
    has_appearance = True
    predictor: S2HandPredictor

    def _load(self, path: Path, device: str) -> S2HandPredictor:
        return load_s2hand(path, device)

    def _pose(self, sightings: Sequence[Sighting], looks: Sequence[Look]) -> Posed:
        K = np.stack([sighting.K for sighting in sightings])
        found = self.predictor.step(looks, K, want_keypoints=False)
        rows = rows_by_side(sightings, found, self._hands, lambda part, _, hand: hands_in_front(part, hand))
        return Posed(rows, found.appearance)


class HandNetHands(NetworkHands):
    """HandNet: every frame alone, by its pixels and the keypoints that were found in it."""

    weights = HANDNET
    predictor: HandNetPredictor

    def _load(self, path: Path, device: str) -> HandNetPredictor:
        return load_handnet_predictor(path, device)

    def _pose(self, sightings: Sequence[Sighting], looks: Sequence[Look]) -> Posed:
        points, scores = keypoints_of(sightings)
        return Posed(rows_by_side(sightings, self.predictor.step(looks, points, scores), self._hands, hands_in_camera))


NETWORKS: Final[dict[str, type[NetworkHands]]] = {
    "seqhand": SeqHandHands,
    "s2hand": S2HandHands,
    "handnet": HandNetHands,
}


def keypoints_of(sightings: Sequence[Sighting]) -> tuple[Float[np.ndarray, "N 21 2"], Float[np.ndarray, "N 21"]]:
    """The keypoints of what was seen, pixels, and their scores."""
    found = [sighting.detection for sighting in sightings]
    return np.stack([hand.keypoints_2d for hand in found]), np.stack([hand.keypoint_scores for hand in found])


class _Sided(Protocol):
    """Found hands of both sides."""

    @property
    def is_right(self) -> Bool[Tensor, " N"]: ...

    def rows(self, index: Tensor) -> Any: ...


Found = TypeVar("Found", bound=_Sided)


def rows_by_side(
    sightings: Sequence[Sighting],
    found: Found,
    hands: HandPair,
    place: Callable[[Found, Float[np.ndarray, "N 3 3"], HandModel], HandParameters],
) -> Predictions:
    """Hands of either side placed before their sightings' cameras, in the order of the sightings."""
    order: list[int] = []
    parts = []
    for is_right in (True, False):
        chosen = torch.nonzero(found.is_right == is_right)[:, 0]
        if len(chosen):
            side = [sightings[i] for i in chosen.tolist()]
            K = np.stack([sighting.K for sighting in side])
            parts.append(rows_from_fit(side, place(found.rows(chosen), K, hands.model(is_right))))
            order += chosen.tolist()
    return join_rows(parts).rows(np.argsort(order).astype(np.int64))
