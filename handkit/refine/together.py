"""Whose hand is whose in calibrated views: matched by picture and side, and by where their keypoints meet in space."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from scipy.optimize import linear_sum_assignment

from handkit.conventions import BONES
from handkit.demo.inputs import kind_of
from handkit.errors import HandkitError
from handkit.export.predictions import Predictions
from handkit.refine.rig import Rig
from handkit.refine.seen import Seen

# How far keypoints may lie from where the views' rays meet, in parts of the hand's larger side, and where that is
# suspicious for all of them: good detections lie 0.013 apart on the median, 0.04 at the worst.
FAR_APART, _DOUBT = 0.08, 0.03
_MIN_SCORE: Final = 0.05
_MIN_JOINTS: Final = 8
# How far the rig's unit may be from what the hands say before it is taken for an error.
_UNIT_DOUBT: Final = 1.5
# Videos whose frames last as long but for this part keep step.
_SAME_STEP: Final = 0.01

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Group:
    """One hand at one time: its row in each view that saw it; with several, where its keypoints are in the world.

    apart: how far the keypoints lie from where these points are seen, in parts of the hand's larger side.
    """

    members: dict[int, int]
    points: np.ndarray | None = None  # [21, 3], NaN where fewer than two views see a keypoint
    apart: float = float("inf")

    def without(self, view: int) -> "Group":
        """The hand as the other views saw it; the points stay while two are left."""
        members = {v: row for v, row in self.members.items() if v != view}
        return replace(self, members=members, points=self.points if len(members) > 1 else None)


@dataclass(frozen=True, eq=False)
class Matched:
    """The views and the hands they saw, in metres; `keys`: of each view's rows (see `picture_keys`)."""

    views: list[Seen]
    keys: list[np.ndarray]
    groups: list[Group]
    unit_m: float | None = None


def match_views(views: Sequence[Seen], rig: Rig | None) -> Matched:
    """Whose rows are of one hand; raises HandkitError where no hand of one view is seen by another."""
    rows = [seen.rows for seen in views]
    keys = picture_keys(rows)
    groups = match_hands(rows, keys, [seen.projection for seen in views])
    if rig is None:
        return Matched(list(views), keys, groups)
    found = estimate_unit(groups, rows)
    if found is None:
        what = "no hand of one view is where another view sees one"
        fix = "check the rig, that the predictions are in the order of its views, and that the views are synchronous"
        raise HandkitError(what, fix)
    unit_m = settle_unit(rig, found)
    apart = float(np.median([group.apart for group in groups if group.points is not None]))
    if apart > _DOUBT:
        log.warning(
            "the views agree badly, to %.0f %% of a hand's size: check the rig, the order of its views, and that they "
            "are synchronous",
            100 * apart,
        )
    groups = [group if group.points is None else replace(group, points=group.points * unit_m) for group in groups]
    return Matched([replace(seen, T=seen.T * unit_m) for seen in views], keys, groups, unit_m)


def settle_unit(rig: Rig, found: float) -> float:
    """The rig's own unit, else that of `estimate_unit`; logged where there is none, or the two do not agree."""
    if rig.unit_m is None:
        log.warning("the rig does not say its unit_m: by the size of the hands it is %.3g m", found)
        return found
    if not 1 / _UNIT_DOUBT < found / rig.unit_m < _UNIT_DOUBT:
        log.warning("the rig's unit_m is %g, but by the size of the hands it would be %.3g m", rig.unit_m, found)
    return rig.unit_m


def picture_keys(views: Sequence[Predictions]) -> list[np.ndarray]:
    """A number per row, the same for what was seen at one time: stills go by name where views share names, else frame.

    Videos whose frames of one number are of different times go by those, to half a frame of the faster one. Raises
    HandkitError where a view's rows are of several videos.
    """
    names = [dict.fromkeys(rows.image.tolist()) for rows in views]
    has_video = [any(kind_of(Path(name)) == "video" for name in own) for own in names]
    for own, is_video in zip(names, has_video, strict=True):
        if is_video and len(own) > 1:
            raise HandkitError(f"a view has {len(own)} inputs, {', '.join(own)}", "give one video per camera")
    if len(views) > 1 and not any(has_video) and set.intersection(*map(set, names)):
        order = {name: i for i, name in enumerate(sorted(set().union(*names)))}
        return [np.array([order[name] for name in rows.image.tolist()], np.int64) for rows in views]
    return _keys_by_time(views) if all(has_video) else [rows.frame for rows in views]


def _keys_by_time(views: Sequence[Predictions]) -> list[np.ndarray]:
    """The frames of the first view that the others' are nearest to; numbers of their own where none is near.

    Frames where videos keep step.
    """
    steps = [_seconds_per_frame(rows) for rows in views]
    known = [step for step in steps if step > 0]
    limit = min(known, default=0.0) / 2 + 1e-6
    if not known or max(known) - min(known) <= _SAME_STEP * min(known):
        return [rows.frame for rows in views]
    first, step = views[0], steps[0] or max(known)
    start = float(np.median(first.time_s - step * first.frame)) if len(first) else 0.0
    keys = []
    for i, rows in enumerate(views):
        nearest = np.rint((rows.time_s - start) / step).astype(np.int64)
        is_near = np.abs(start + step * nearest - rows.time_s) <= limit
        keys.append(rows.frame if i == 0 else np.where(is_near, nearest, -1 - i - len(views) * rows.frame))
    return keys


def _seconds_per_frame(rows: Predictions) -> float:
    """Of a video's rows, on the median; 0 where all are of one frame."""
    frames, first = np.unique(rows.frame, return_index=True)
    return float(np.median(np.diff(rows.time_s[first]) / np.diff(frames))) if len(frames) > 1 else 0.0


def match_hands(
    views: Sequence[Predictions], keys: Sequence[np.ndarray], projections: Sequence[np.ndarray]
) -> list[Group]:
    """Every row of every view in one group; `projections` are K [R | T], one 3 x 4 per view."""
    if len(views) == 1:
        return [Group({0: row}) for row in range(len(views[0]))]
    groups: list[Group] = []
    for key in np.unique(np.concatenate(keys)).tolist():
        for is_right in (True, False):
            own: list[Group] = []
            for v, rows in enumerate(views):
                chosen = np.flatnonzero((keys[v] == key) & (rows.is_right == is_right)).tolist()
                own = _joined(own, v, chosen, views, projections)
            groups += own
    return groups


def _joined(
    groups: list[Group], v: int, rows: list[int], views: Sequence[Predictions], projections: Sequence[np.ndarray]
) -> list[Group]:
    """The groups with the hands of another view, each joined where the keypoints meet best, or alone."""
    tried = [[_meet({**group.members, v: row}, views, projections) for row in rows] for group in groups]
    cost = np.array([[group.apart for group in line] for line in tried]).reshape(len(groups), len(rows))
    pairs = zip(*linear_sum_assignment(np.minimum(cost, 1e6)), strict=True) if cost.size else ()
    partner = {int(i): int(j) for i, j in pairs if cost[i, j] < FAR_APART}
    joined = [tried[i][partner[i]] if i in partner else group for i, group in enumerate(groups)]
    return joined + [Group({v: row}) for j, row in enumerate(rows) if j not in partner.values()]


def _meet(members: dict[int, int], views: Sequence[Predictions], projections: Sequence[np.ndarray]) -> Group:
    """These rows as one hand; infinitely far apart where too little of it is seen twice, or behind a camera."""
    xy = np.stack([views[v].keypoints_2d[row] for v, row in members.items()]).astype(np.float64)
    scores = np.stack([views[v].keypoint_scores[row] for v, row in members.items()])
    cameras = np.stack([projections[v] for v in members])
    points, apart = meet(xy, scores, cameras)
    return Group(members, points if np.isfinite(apart) else None, apart)


def meet(xy: np.ndarray, scores: np.ndarray, cameras: np.ndarray) -> tuple[np.ndarray, float]:
    """Where the rays of one hand's pixels [V, 21, 2] meet, as `triangulate`, and `Group`'s `apart`.

    Infinitely far apart where too little of it is seen twice, or behind a camera.
    """
    points = triangulate(xy, scores, cameras)
    seen = np.isfinite(points).all(-1)
    pixels = np.einsum("vab,jb->vja", cameras, np.c_[points, np.ones(21)])[:, seen]
    if seen.sum() < _MIN_JOINTS or not (pixels[..., 2] > 0).all():
        return points, float("inf")
    apart = np.linalg.norm(pixels[..., :2] / pixels[..., 2:] - xy[:, seen], axis=-1)
    size = (np.nanmax(xy[:, seen], 1) - np.nanmin(xy[:, seen], 1)).max(-1)
    return points, float((np.nanmean(apart, 1) / size).max())


def triangulate(xy: np.ndarray, scores: np.ndarray, cameras: np.ndarray) -> np.ndarray:
    """Points [J, 3] nearest the rays of pixels [V, J, 2] (linear, weighed by score); NaN where under two see one.

    cameras: [V, 3, 4], world to pixels.
    """
    weight = np.where(np.isfinite(xy).all(-1) & (scores > _MIN_SCORE), scores, 0.0)
    uv = np.where(weight[..., None] > 0, xy, 0.0)
    lines = uv[..., None] * cameras[:, None, 2:] - cameras[:, None, :2]  # [V, J, 2, 4]
    lines = lines / np.linalg.norm(lines[..., :3], axis=-1, keepdims=True) * weight[..., None, None]
    system = lines.transpose(1, 0, 2, 3).reshape(xy.shape[1], -1, 4)
    found = np.linalg.svd(system)[2][:, -1]
    far = np.abs(found[:, 3:]) < 1e-12
    points = found[:, :3] / np.where(far, 1.0, found[:, 3:])
    return np.where(((weight > 0).sum(0) >= 2)[:, None] & ~far, points, np.nan)


def estimate_unit(groups: Sequence[Group], views: Sequence[Predictions]) -> float | None:
    """Metres of one unit of the points, so that bones are as long as the rows' own on the median; None without any."""
    parent, child = np.array(BONES).T
    found = []
    for group in groups:
        if group.points is None:
            continue
        length = np.linalg.norm(group.points[child] - group.points[parent], axis=-1)
        seen = np.isfinite(length)
        for v, row in group.members.items():
            own = views[v].joints_3d[row]
            found.append(np.linalg.norm(own[child] - own[parent], axis=-1)[seen].sum() / max(length[seen].sum(), 1e-9))
    return float(np.median(found)) if found else None
