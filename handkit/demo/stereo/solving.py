"""From sightings of both views to hands: each view alone, then both together where both saw the hand."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from handkit.demo.hands import join_rows
from handkit.demo.posed import join_posed
from handkit.demo.stereo.alone import ViewMethod
from handkit.demo.stereo.finding import FoundInView
from handkit.demo.stereo.method import PairHands, PairMeshes, PairMethod, SeenTwice
from handkit.demo.stereo.pairing import Met
from handkit.demo.stereo.rows import in_own_camera, moved_rows, with_hands_of
from handkit.demo.stereo.views import ViewPair
from handkit.export.predictions import Predictions
from handkit.refine.together import Group, estimate_unit
from handkit.video import Frame

# So many pairs are looked at together: faster than one, and little memory.
_PAIRS_AT_ONCE = 32


@dataclass(frozen=True, eq=False)
class Fused:
    """The one hand of both views of those that met in them: `met` has their places, in the order of the rows.

    meshes: of methods that recover them. refused: hands of which the method says nothing, and why.
    """

    rows: Predictions
    met: list[Met]
    refused: list[tuple[Met, str]] = field(default_factory=list)
    meshes: PairMeshes | None = None


@dataclass(frozen=True, eq=False)
class Solved:
    """Rows of the left and the right view in their own cameras, by frame and then track.

    alone: each view's own estimates. rows: the same with the one hand of both views where there is one, which is
    `fused`, with its meshes, in the right camera.
    """

    alone: tuple[Predictions, Predictions]
    rows: tuple[Predictions, Predictions]
    fused: Fused


def pose_alone(found: FoundInView, frames: Iterable[Frame], method: ViewMethod) -> Predictions:
    """Each sighting by its view alone, in looked-at cameras, in the order of the sightings."""
    if not found.sightings:
        return join_rows([])
    posed = join_posed(method.over_time(found.tracks(), frames), has_appearance=False)
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
) -> Fused:
    """The matched hands in the right looked-at camera; `frames` are looked-at pairs in order, as `met` are."""
    parts = [method.pose(batch, views.right_from_left) for batch in _batches(_seen_twice(found, met, frames))]
    why = _reasons(parts)
    return Fused(
        join_rows([part.rows for part in parts]),
        [one for place, one in enumerate(met) if place not in why],
        [(met[place], reason) for place, reason in why.items()],
        _join_meshes([part.meshes for part in parts if part.meshes is not None]),
    )


def _reasons(parts: Sequence[PairHands]) -> dict[int, str]:
    """Why hands are refused, by their places among those of all parts."""
    why: dict[int, str] = {}
    first = 0
    for part in parts:
        why |= {first + place: reason for place, reason in part.refused.items()}
        first += len(part.rows) + len(part.refused)
    return why


def _join_meshes(parts: Sequence[PairMeshes]) -> PairMeshes | None:
    if not parts:
        return None
    vertices, gaps = ([getattr(part, name) for part in parts] for name in ("vertices", "gap_px"))
    return PairMeshes(np.concatenate(vertices), np.concatenate(gaps))


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


def solve(alone: tuple[Predictions, Predictions], fused: Fused, views: ViewPair) -> Solved:
    """Everything in the own cameras; `alone` and `fused` are in looked-at ones."""
    left, right = (in_own_camera(rows, view) for rows, view in zip(alone, views.views, strict=True))
    meshes = fused.meshes
    if meshes is not None:
        meshes = replace(meshes, vertices=meshes.vertices @ views.right.turn)
    fused = replace(fused, rows=in_own_camera(fused.rows, views.right), meshes=meshes)
    if not fused.met:
        return Solved((left, right), (left, right), fused)
    in_left = moved_rows(fused.rows, *views.left_from_right, views.left.own.K)
    rows = (
        _replaced(left, in_left, [one.left for one in fused.met]),
        _replaced(right, fused.rows, [one.right for one in fused.met]),
    )
    return Solved((left, right), rows, fused)


def _replaced(rows: Predictions, hands: Predictions, places: Sequence[int]) -> Predictions:
    """The rows with other hands at some places."""
    if not places:
        return rows
    chosen = np.array(places, np.int64)
    others = np.setdiff1d(np.arange(len(rows)), chosen)
    joined = join_rows([with_hands_of(rows.rows(chosen), hands), rows.rows(others)])
    return joined.rows(np.argsort(np.concatenate([chosen, others])).astype(np.int64))
