"""Which hands of the left view are which of the right one, and what is said where they are of no pair."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment

from handkit.demo.stereo.finding import FoundInView, in_order
from handkit.demo.stereo.views import View, ViewPair
from handkit.errors import HandkitError
from handkit.refine.together import FAR_APART, meet

# A hand's depths against the detector's own: correlations from here on are no accident.
_INSIDE_OUT: Final = 0.3


@dataclass(frozen=True, eq=False)
class Met:
    """A hand that both views saw: its places among their sightings, and its keypoints in the rig's world and unit."""

    left: int
    right: int
    points: Float[np.ndarray, "21 3"]


def match_sightings(
    found: tuple[FoundInView, FoundInView], pairs: Sequence[tuple[int, int]], views: ViewPair
) -> list[Met]:
    """The hands of both views, frame pair by frame pair, whatever side each view takes them for.

    Their rays meet within `FAR_APART` of the hand's size in front of both cameras: in rectified views, on one row and
    with a positive disparity. Raises HandkitError where only exchanging the views, or nothing, makes hands meet.
    """
    xy = [_straight(view, own) for view, own in zip(views.views, found, strict=True)]
    projections = np.stack([view.projection for view in views.views])
    met = _match(found, pairs, (xy[0], xy[1]), projections)
    both = sum(1 for i, j in pairs if found[0].places(i) and found[1].places(j))
    agreement = _depth_agreement(found[0], met, views.left, views.left)
    is_doubtful = 2 * len({found[0].sightings[one.left].frame for one in met}) < both
    if not is_doubtful and agreement > -_INSIDE_OUT:
        return met
    crossed = _match(found, pairs, _as_other_camera(views, found), projections[::-1])
    other_agreement = _depth_agreement(found[0], crossed, views.left, views.right)
    if len(crossed) > 2 * len(met):
        _raise_swapped(
            f"{len(crossed)} hands have a positive disparity with left and right exchanged, {len(met)} as they are"
        )
    # Cameras turned towards a hand show it in front of both even if they are exchanged, but inside out.
    if agreement <= -_INSIDE_OUT and other_agreement >= _INSIDE_OUT and 2 * len(crossed) > len(met):
        _raise_swapped(f"by disparity {len(met)} hands are inside out, and not with left and right exchanged")
    if both and not met:
        what = f"no hand of one view is where the other sees one, in {both} pairs of pictures with hands in both"
        raise HandkitError(what, "check the rig, that its first view is LEFT, and that the views are synchronous")
    return met


def _raise_swapped(why: str) -> None:
    what = f"the views seem to be swapped: {why}"
    raise HandkitError(what, "give --stereo RIGHT LEFT, or exchange the views of the rig")


def _depth_agreement(found: FoundInView, met: Sequence[Met], looked: View, taken: View) -> float:
    """How what is nearer of the left view's hands goes with the detector's own 3D landmarks: a correlation, or 0.

    looked: the view whose axes the landmarks are in. taken: the rig's camera that the pictures are supposed to be of.
    """
    found_out = []
    for one in met:
        landmarks = found.sightings[one.left].detection.keypoints_3d
        depth = (one.points @ taken.own.R.T + taken.own.T)[:, 2]
        seen = np.isfinite(depth)
        if landmarks is not None and seen.sum() > 2:
            own = (landmarks @ looked.turn)[seen, 2]
            found_out.append(float(np.corrcoef(own, depth[seen])[0, 1]))
    return float(np.nanmean(found_out)) if found_out and np.isfinite(found_out).any() else 0.0


def _straight(view: View, found: FoundInView) -> list[np.ndarray]:
    return [view.straight_points(sighting.detection.keypoints_2d) for sighting in found.sightings]


def _as_other_camera(
    views: ViewPair, found: tuple[FoundInView, FoundInView]
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Straight pixels as the other camera of the rig would have taken the pictures."""
    parts = []
    for view, other, own in zip(views.views, views.views[::-1], found, strict=True):
        raw = [view.own_points(sighting.detection.keypoints_2d) for sighting in own.sightings]
        lens = other.own.lens
        parts.append(raw if lens is None else [lens.straight_points(points) for points in raw])
    return parts[0], parts[1]


def _match(
    found: tuple[FoundInView, FoundInView],
    pairs: Sequence[tuple[int, int]],
    xy: tuple[list[np.ndarray], list[np.ndarray]],
    projections: Float[np.ndarray, "2 3 4"],
) -> list[Met]:
    scores = [[sighting.detection.keypoint_scores for sighting in own.sightings] for own in found]
    met = []
    for left_frame, right_frame in pairs:
        left, right = found[0].places(left_frame), found[1].places(right_frame)
        if not (left and right):
            continue
        tried = [
            [meet(np.stack([xy[0][i], xy[1][j]]), np.stack([scores[0][i], scores[1][j]]), projections) for j in right]
            for i in left
        ]
        cost = np.array([[apart for _, apart in line] for line in tried])
        for i, j in zip(*linear_sum_assignment(np.minimum(cost, 1e6)), strict=True):
            if cost[i, j] < FAR_APART:
                met.append(Met(left[i], right[j], tried[i][j][0]))
    return met


def agree_on_hands(
    found: tuple[FoundInView, FoundInView], met: Sequence[Met]
) -> tuple[tuple[FoundInView, FoundInView], list[Met]]:
    """One number and one side for a hand in both views; places of the matches follow.

    A right track is the left one that it was most often matched with. Of two sides the one with more, and surer,
    sightings counts.
    """
    left, right = found
    numbers = _numbers(left, right, met)
    renamed = [
        [replace(sighting, track_id=number) for sighting, number in zip(own.sightings, row, strict=True)]
        for own, row in zip(found, numbers, strict=True)
    ]
    votes: dict[int, float] = {}
    for sighting in (*renamed[0], *renamed[1]):
        hand = sighting.detection
        vote = hand.side_score if hand.is_right else -hand.side_score
        votes[sighting.track_id] = votes.get(sighting.track_id, 0.0) + vote
    parts, places = [], []
    for own, sightings in zip(found, renamed, strict=True):
        sided = [replace(s, detection=replace(s.detection, is_right=votes[s.track_id] >= 0)) for s in sightings]
        ordered = in_order(sided)
        where = {id(sighting): place for place, sighting in enumerate(ordered)}
        places.append([where[id(sighting)] for sighting in sided])
        parts.append(replace(own, sightings=ordered))
    moved = [Met(places[0][one.left], places[1][one.right], one.points) for one in met]
    return (parts[0], parts[1]), moved


def _numbers(left: FoundInView, right: FoundInView, met: Sequence[Met]) -> tuple[list[int], list[int]]:
    """The track numbers of both views' sightings."""
    together = Counter((right.sightings[one.right].track_id, left.sightings[one.left].track_id) for one in met)
    partner: dict[int, int] = {}
    taken: dict[int, set[int]] = {}
    unused = 1 + max((sighting.track_id for sighting in left.sightings), default=-1)
    for (own, other), _ in together.most_common():
        frames = {sighting.frame for sighting in right.sightings if sighting.track_id == own}
        if own not in partner and not frames & taken.setdefault(other, set()):
            partner[own] = other
            taken[other] |= frames
    for sighting in right.sightings:
        if sighting.track_id not in partner:
            partner[sighting.track_id] = unused
            unused += 1
    return [s.track_id for s in left.sightings], [partner[s.track_id] for s in right.sightings]
