"""What became of every pair of pictures: stereo.json, its figures in summary.json, and the log.

`pairs` of stereo.json lists the pairs of pictures by their frames, or places, in either view: their time, `without` the
views that show no hand, and the hands: their number, their side, and whose estimate they are, "both", "left" or
"right". Of those of both, the mean distances in straight pixels (see `Reprojection`). Hands that both views saw and the
method refused are each view's own, with `why`; `refused` of the figures counts them by their reasons.
"""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson

from handkit.demo.stereo.figures import Reprojection, reprojection
from handkit.demo.stereo.solving import Solved
from handkit.demo.stereo.views import ViewPair
from handkit.files import atomic_path

log = logging.getLogger(__name__)

TOLD: Final = "stereo.json"
SIDES: Final = ("left", "right")
_WORDS: Final = {"both": "both views", "left": "left view alone", "right": "right view alone"}


@dataclass(frozen=True)
class ToldHand:
    """One hand of a pair of pictures; `of` says whose estimate it is, `why` why it is not that of both views."""

    track_id: int
    is_right: bool
    of: str
    fused_px: float | None = None
    alone_left_px: float | None = None
    why: str | None = None

    def to_json(self) -> dict[str, Any]:
        side = "right" if self.is_right else "left"
        known = {"track_id": self.track_id, "hand": side, "of": self.of} | ({"why": self.why} if self.why else {})
        return known | ({"fused_px": self.fused_px, "alone_left_px": self.alone_left_px} if self.of == "both" else {})


@dataclass(frozen=True)
class ToldPair:
    """One pair of pictures by their frames in either view, and its hands."""

    left: int
    right: int
    time_s: float
    hands: list[ToldHand]
    without: list[str]

    @property
    def words(self) -> str:
        """What is written over it."""
        kinds = list(dict.fromkeys(hand.of for hand in self.hands))
        return ", ".join(_WORDS[kind] for kind in kinds) or "no hand"

    def to_json(self) -> dict[str, Any]:
        hands = [hand.to_json() for hand in self.hands]
        known = {"left": self.left, "right": self.right, "time_s": self.time_s}
        return known | {"without": self.without, "hands": hands}


@dataclass(frozen=True, eq=False)
class Told:
    """All pairs; `frames` counts the pictures of either view, those without a partner too.

    `refused` counts by their reasons hands that both views saw and the method said nothing of.
    """

    pairs: list[ToldPair]
    frames: tuple[int, int]
    errors: Reprojection
    refused: dict[str, int] = field(default_factory=dict)

    def figures(self) -> dict[str, Any]:
        """The counts and the means over the hands of both views."""
        alone = Counter("both" if len(pair.without) == 2 else pair.without[0] for pair in self.pairs if pair.without)
        hands = Counter(hand.of for pair in self.pairs for hand in pair.hands if hand.why is None)
        return {
            "pairs": len(self.pairs),
            "unpaired_left": self.frames[0] - len(self.pairs),
            "unpaired_right": self.frames[1] - len(self.pairs),
            "pairs_without_hand_in_left": alone["left"],
            "pairs_without_hand_in_right": alone["right"],
            "pairs_without_hand": alone["both"],
            "hands_of_both": hands["both"],
            "hands_of_left_alone": hands["left"],
            "hands_of_right_alone": hands["right"],
            "refused": self.refused,
            "reprojection": self.errors.summary(),
        }

    def log(self) -> None:
        """Warn of pairs in which a view shows no hand, and of hands that found no partner."""
        for missing, other in (SIDES, SIDES[::-1]):
            frames = [pair.left for pair in self.pairs if pair.without == [missing]]
            if frames:
                log.warning(
                    "%d of %d pairs show no hand in the %s view: there hands are the %s view's own (first: %d)",
                    len(frames),
                    len(self.pairs),
                    missing,
                    other,
                    frames[0],
                )
        lone = sum(
            hand.of != "both" and hand.why is None for pair in self.pairs if not pair.without for hand in pair.hands
        )
        if lone:
            log.warning("%d hands are of one view alone: the other does not show them at their place", lone)
        if self.refused:
            reasons = ", ".join(f"{count} {why}" for why, count in self.refused.items())
            log.warning("hands of both views that make no mesh, each view's own stands: %s", reasons)


def tell(
    pairs: Sequence[tuple[int, int]],
    solved: Solved,
    views: ViewPair,
    times: tuple[Mapping[int, float], Mapping[int, float]],
) -> Told:
    """What became of the pairs of pictures whose hands are solved; times are of all pictures of either view."""
    fused, refused = solved.fused, solved.fused.refused
    places = [np.array([getattr(one, side) for one in fused.met], np.int64) for side in SIDES]
    seen = [rows.rows(own) for rows, own in zip(solved.rows, places, strict=True)]
    alone = solved.alone[1].rows(places[1])
    errors = reprojection((seen[0], seen[1]), fused.rows, alone, views)
    hands: list[dict[int, list[ToldHand]]] = [{}, {}]
    for i, side in enumerate(SIDES):
        rows, together = solved.rows[i], {place: number for number, place in enumerate(places[i].tolist())}
        why = {getattr(one, side): reason for one, reason in refused}
        for place, (frame, track) in enumerate(zip(rows.frame.tolist(), rows.track_id.tolist(), strict=True)):
            number = together.get(place)
            known = (track, bool(rows.is_right[place]))
            alone_hand = ToldHand(*known, side, why=why.get(place))
            hand = alone_hand if number is None else ToldHand(*known, "both", *_of_pair(errors, number))
            hands[i].setdefault(frame, []).append(hand)
    told = []
    for left, right in pairs:
        own, other = hands[0].get(left, []), hands[1].get(right, [])
        lone = [hand for hand in other if hand.of != "both"]
        without = [side for side, here in zip(SIDES, (own, other), strict=True) if not here]
        told.append(ToldPair(left, right, times[0][left], own + lone, without))
    counts = dict(Counter(reason for _, reason in refused))
    return Told(told, (len(times[0]), len(times[1])), errors, counts)


def _of_pair(errors: Reprojection, number: int) -> tuple[float | None, float | None]:
    fused = (errors.fused_left[number] + errors.fused_right[number]) / 2
    return _rounded(fused), _rounded(errors.alone_left[number])


def _rounded(value: float) -> float | None:
    return round(float(value), 3) if value == value else None


def write_told(folder: Path, told: Told, views: ViewPair) -> dict[str, Any]:
    """Write stereo.json; gives its figures."""
    figures = {"views": views.how, "unit_m": views.unit_m, **told.figures()}
    _write(folder / TOLD, {"figures": figures, "pairs": [pair.to_json() for pair in told.pairs]})
    return figures


def read_told(folder: Path) -> dict[str, Any] | None:
    """The figures that an earlier run wrote, None where there are none."""
    try:
        return dict(orjson.loads((folder / TOLD).read_bytes())["figures"])
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return None


def write_rig(path: Path, views: ViewPair) -> None:
    """The own cameras as handkit's rig file, in metres; without a unit where none is known."""
    unit = views.unit_m
    entries = [
        {
            "name": side,
            "K": view.own.K.tolist(),
            "R": view.own.R.tolist(),
            "T": (view.own.T * (unit or 1.0)).tolist(),
            "distortion": [] if view.own.lens is None else view.own.lens.distortion.tolist(),
            "size": list(view.size),
        }
        for side, view in zip(SIDES, views.views, strict=True)
    ]
    _write(path, {**({"unit_m": 1.0} if unit else {}), "views": entries})


def _write(path: Path, content: dict[str, Any]) -> None:
    with atomic_path(path) as partial:
        partial.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2) + b"\n")
