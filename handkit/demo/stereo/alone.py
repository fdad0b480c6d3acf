"""What each view says of its hands without the other: by a network, or by the fit to its keypoints."""

from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np

from handkit.demo.hands import HandPair, Sighting, fit_over_time, fit_stills
from handkit.demo.posed import Posed
from handkit.video import Frame


class ViewMethod(Protocol):
    """Poses the hands of one view, as `NetworkHands` does."""

    def over_time(self, tracks: Sequence[Sequence[Sighting]], frames: Iterable[Frame]) -> list[Posed]:
        """The hands of each track; `frames` are the view's, from its beginning."""


class FittedViews:
    """Hands by the fit to what was detected, of `landmarks` kind; beside methods that say nothing of one view."""

    def __init__(self, hands: HandPair, landmarks: str, smooth: float) -> None:
        self._hands, self._landmarks, self._smooth = hands, landmarks, smooth

    def over_time(self, tracks: Sequence[Sequence[Sighting]], frames: Iterable[Frame]) -> list[Posed]:
        """Tracks of one sighting, which stills have, are fitted together; no frame is looked at."""
        singles = [track[0] for track in tracks if len(track) == 1]
        fitted = fit_stills(singles, self._hands, self._landmarks) if singles else None
        posed, seen = [], 0
        for track in tracks:
            if fitted is not None and len(track) == 1:
                posed.append(Posed(fitted.rows(np.array([seen]))))
                seen += 1
            else:
                posed.append(Posed(fit_over_time(track, self._hands, self._landmarks, self._smooth)))
        return posed
