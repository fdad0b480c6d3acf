"""From sightings of both views to hands: each view alone, then both together where both saw the hand."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from handkit.demo.hands import join_rows
from handkit.demo.network import NetworkHands
from handkit.demo.posed import join_posed
from handkit.demo.stereo.finding import FoundInView
from handkit.demo.stereo.method import PairMethod, SeenTwice
from handkit.demo.stereo.pairing import Met
from handkit.demo.stereo.rows import in_own_camera, moved_rows, with_hands_of
from handkit.demo.stereo.views import ViewPair
from handkit.export.predictions import Predictions
from handkit.refine.together import Group, estimate_unit
from handkit.video import Frame

# So many pairs are looked at together: faster than one, and little memory.
_PAIRS_AT_ONCE = 32


@dataclass(frozen=True, eq=False)
class Solved:
    """Rows of the left and the right view in their own cameras, by frame and then track.

    alone: each view's own estimates. rows: the same with the one hand of both views where there is one. `met` are the
    places of those in either view; `fused` that hand in the right camera, in the order of `met`.
    """

    alone: tuple[Predictions, Predictions]
    rows: tuple[Predictions, Predictions]
    fused: Predictions
    met: list[Met]


def pose_alone(found: FoundInView, frames: Iterable[Frame], network: NetworkHands) -> Predictions:
    """Each sighting by the network alone, in looked-at cameras, in the order of the sightings."""
    if not found.sightings:
        return join_rows([])
    posed = join_posed(network.over_time(found.tracks(), frames), has_appearance=False)
    return posed.rows.rows(np.lexsort((posed.rows.track_id, posed.rows.frame)))


def unit_of_hands(met: Sequence[Met], alone: tuple[Predictions, Predictions]) -> float | None:
    """Metres of the rig's unit so that triangulated bones are as long as the views' own; None without any."""
    return estimate_unit([Group({0: one.left, 1: one.right}, one.points) for one in met], alone)


def pose_pairs(
    found: tuple[FoundInView, FoundInView],
    met: Sequence[Met],
    frames: Iterable[tuple[Frame, Frame]],
    views: ViewPair,
    method: PairMethod,
) -> Predictions:
    """The matched hands in the right looked-at camera, in the order of `met`; `frames` are looked-at pairs in order."""
    parts = [method.pose(batch, views.right_from_left) for batch in _batches(_seen_twice(found, met, frames))]
    return join_rows(parts)


def _seen_twice(
    found: tuple[FoundInView, FoundInView], met: Sequence[Met], frames: Iterable[tuple[Frame, Frame]]
) -> Iterator[SeenTwice]:
    wanted: dict[int, list[Met]] = {}
    for one in met:
        wanted.setdefault(found[0].sightings[one.left].frame, []).append(one)
    for left, right in frames:
        for one in wanted.get(left.index, []):
            sightings = found[0].sightings[one.left], found[1].sightings[one.right]
            yield SeenTwice(*sightings, left.image, right.image)


def _batches(pairs: Iterable[SeenTwice]) -> Iterator[list[SeenTwice]]:
    batch: list[SeenTwice] = []
    for pair in pairs:
        batch.append(pair)
        if len(batch) >= _PAIRS_AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch


def solve(alone: tuple[Predictions, Predictions], fused: Predictions, met: list[Met], views: ViewPair) -> Solved:
    """Everything in the own cameras; `alone` and `fused` are in looked-at ones."""
    left, right = (in_own_camera(rows, view) for rows, view in zip(alone, views.views, strict=True))
    fused = in_own_camera(fused, views.right)
    if not met:
        return Solved((left, right), (left, right), fused, met)
    in_left = moved_rows(fused, *views.left_from_right, views.left.own.K)
    rows = (
        _replaced(left, in_left, [one.left for one in met]),
        _replaced(right, fused, [one.right for one in met]),
    )
    return Solved((left, right), rows, fused, met)


def _replaced(rows: Predictions, hands: Predictions, places: Sequence[int]) -> Predictions:
    """The rows with other hands at some places."""
    if not places:
        return rows
    chosen = np.array(places, np.int64)
    others = np.setdiff1d(np.arange(len(rows)), chosen)
    joined = join_rows([with_hands_of(rows.rows(chosen), hands), rows.rows(others)])
    return joined.rows(np.argsort(np.concatenate([chosen, others])).astype(np.int64))
