"""Hands by a trained network: `--method seqhand`."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from handkit.demo.hands import HandPair, Sighting, join_rows, rows_from_fit
from handkit.export.predictions import Predictions
from handkit.fit import HandParameters
from handkit.hand import HandModel
from handkit.images import RgbImage
from handkit.inference.load import find_checkpoint, load_predictor, warn_of_other_hand, words_of
from handkit.inference.looks import Look, look_at, square_around_joints
from handkit.inference.placing import HandsInImage, hands_in_camera
from handkit.video import Frame

# So many crops are looked at together: faster than one, and little memory.
_LOOKS_AT_ONCE = 64


class NetworkHands:
    """Rows of what a network says of the hands that the detector found."""

    def __init__(self, checkpoint: Path | None, hands: HandPair, *, device: str = "auto") -> None:
        path = find_checkpoint(checkpoint)
        self._predictor = load_predictor(path, device=device)
        self._hands = hands
        self.words = words_of(self._predictor, path)
        warn_of_other_hand(self._predictor, path, hands.name)

    def stills(self, sightings: Sequence[Sighting], images: Sequence[RgbImage]) -> Predictions:
        """Every hand as a sequence of one frame, in the order of the sightings; `images` are theirs."""
        looks = [self._look(s, image, track=i) for i, (s, image) in enumerate(zip(sightings, images, strict=True))]
        self._predictor.forget()
        return self._rows(sightings, looks)

    def over_time(self, tracks: Sequence[Sequence[Sighting]], frames: Iterable[Frame]) -> list[Predictions]:
        """Rows of each track, the hidden state carried along it; `frames` are the video's, from its beginning."""
        wanted: dict[int, list[Sighting]] = {}
        for sighting in (sighting for track in tracks for sighting in track):
            wanted.setdefault(sighting.frame, []).append(sighting)
        self._predictor.forget()
        parts: list[Predictions] = []
        seen: list[Sighting] = []
        looks: list[Look] = []
        for frame in frames:
            for sighting in wanted.pop(frame.index, []):
                seen.append(sighting)
                looks.append(self._look(sighting, frame.image, track=sighting.track_id))
            if len(looks) >= _LOOKS_AT_ONCE:
                parts.append(self._rows(seen, looks))
                seen, looks = [], []
            if not wanted:
                break
        parts.append(self._rows(seen, looks))
        rows = join_rows(parts)
        return [rows.rows(np.flatnonzero(rows.track_id == track[0].track_id)) for track in tracks]

    def _look(self, sighting: Sighting, image: RgbImage, *, track: int) -> Look:
        return look_at(
            image,
            square_around_joints(sighting.detection.bbox),
            self._predictor.size,
            is_right=sighting.detection.is_right,
            track=track,
            time_s=sighting.time_s,
        )

    def _rows(self, sightings: Sequence[Sighting], looks: Sequence[Look]) -> Predictions:
        return rows_by_side(sightings, self._predictor.step(looks), self._hands, hands_in_camera)


def rows_by_side(
    sightings: Sequence[Sighting],
    found: HandsInImage,
    hands: HandPair,
    place: Callable[[HandsInImage, Float[np.ndarray, "N 3 3"], HandModel], HandParameters],
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
