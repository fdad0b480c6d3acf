"""The fit as a method: every sample's hand is found and fitted alone."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from handkit.data.annotations import AnnotatedDataset
from handkit.data.hands import HandSet
from handkit.demo.hands import HandPair, Sighting, fit_stills, is_fittable
from handkit.errors import HandkitError
from handkit.evaluate.engine import DONE, NO_HAND, Read, camera_of, pieced
from handkit.evaluate.finders import FINDERS, Finder, build_finder
from handkit.evaluate.rows import OwnRows

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class _Found(Read):
    """With the kind of its keypoints for the fit."""

    landmarks: str = ""


class FitEngine:
    """One of `FINDERS`, then the fit, in batches."""

    def __init__(
        self, dataset: AnnotatedDataset, truth: HandSet | None, *, method: str, hand: str, batch_size: int
    ) -> None:
        self._dataset, self._truth, self._method, self._batch_size = dataset, truth, method, batch_size
        self._hands = HandPair(hand)
        self._finder: Finder | None = None
        self.words = FINDERS[method].words
        self.key: Sequence[Any] = ()

    def pieces(self) -> list[range]:
        count, size = len(self._dataset), self._batch_size
        return [range(first, min(first + size, count)) for first in range(0, count, size)]

    def predict(self, chosen: range, on_read: Callable[[], None]) -> OwnRows:
        if self._finder is None:
            self._finder = build_finder(self._method, sides_known=getattr(self._dataset, "sides_known", True))
        read = []
        for index in chosen:
            read.append(self._look(index, self._finder))
            on_read()
        parts = []
        for landmarks in sorted({one.landmarks for one in read if one.sighting is not None}):
            sightings = [one.sighting for one in read if one.sighting is not None and one.landmarks == landmarks]
            parts.append(OwnRows(fit_stills(sightings, self._hands, landmarks)))
        return pieced(parts, read, hand=self._hands.name, words=self.words)

    def close(self) -> None:
        if self._finder is not None:
            self._finder.close()

    def _look(self, index: int, finder: Finder) -> _Found:
        """Look for the hand of one sample; its picture is let go of."""
        try:
            sample = self._dataset[index]
            found = finder.find(sample)
        except HandkitError as error:
            name = str(index) if self._truth is None else self._truth.ids[index]
            logger.warning("%s: %s", name, error.what)
            return _Found(name, f"failed: {error.what}")
        if found is None or not is_fittable(found.hand):
            return _Found(sample["name"], NO_HAND)
        height, width = sample["image"].shape[1:]
        K, camera = camera_of(sample)
        sighting = Sighting(found.hand, sample["name"], (width, height), K, frame=index)
        return _Found(sample["name"], DONE, sighting, camera, found.landmarks)
