"""The two cameras of a rig: as they are, and as their pictures are looked at.

Convention: x_looked = turn @ x_own, both about the camera's own centre; pixels have centres at +0.5. "Straight" pixels
are the own camera's without its lens's distortion, u = K (R X + T).

A pair whose cameras stand side by side, turned a little, is rectified by OpenCV, as networks that learned from
rectified pairs know hands. Principal points stay apart and the pictures grow as needed, so that nothing of them is
lost. Cameras turned further, or above one another, keep their axes and only the lens's distortion is undone: to rectify
them would put the hand out of the picture or draw it out, and crops, matching, Eq. 6 and 7 hold with any [R|t].
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import cv2
import numpy as np
from jaxtyping import Float

from handkit.errors import HandkitError
from handkit.images import RgbImage
from handkit.refine.rig import OPENCV_HALF, Rig, RigView, load_rig

How = Literal["as given", "rectified", "straightened"]

# Up to this turn a picture is drawn out by no more than 1 / cos^2, 13 %, where its middle was.
_MAX_TURN_DEG: Final = 20.0
# Turns and differences of pixels that calibrations of rectified pairs still show.
_NO_TURN_DEG, _NO_PX = 0.2, 0.5
_LEAST_BASELINE: Final = 1e-6
# A principal point further from the middle, in parts of the picture, is that of other pictures.
_MAX_OFF_CENTRE: Final = 0.25
_BORDER_POINTS: Final = 9
# A rectified picture is at most so many times as large as the own one.
_MAX_GROWTH: Final = 1.6

_SIZE_FIX: Final = 'give a rig of pictures of this size, and say it in its views: "size": [width, height]'


@dataclass(frozen=True, eq=False)
class View:
    """One camera: the rig's own, and K, size and axes of the pictures that are looked at."""

    own: RigView
    size: tuple[int, int]
    turn: Float[np.ndarray, "3 3"]
    K: Float[np.ndarray, "3 3"]
    looked_size: tuple[int, int]
    _maps: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)

    @property
    def is_own(self) -> bool:
        """Whether pictures are looked at as they are."""
        return self.own.lens is None and np.array_equal(self.turn, np.eye(3)) and np.array_equal(self.K, self.own.K)

    def look_at(self, picture: RgbImage) -> RgbImage:
        """The picture as it is looked at."""
        if self.is_own:
            return picture
        if not self._maps:
            distortion = np.zeros(5) if self.own.lens is None else self.own.lens.distortion
            K, looked = self.own.K - OPENCV_HALF, self.K - OPENCV_HALF
            maps = cv2.initUndistortRectifyMap(K, distortion, self.turn, looked, self.looked_size, cv2.CV_32FC1)
            self._maps.append((maps[0], maps[1]))
        return cv2.remap(picture, *self._maps[0], cv2.INTER_LINEAR).astype(np.uint8, copy=False)

    def straighten(self, picture: RgbImage) -> RgbImage:
        """The picture in the own camera, without its lens's distortion."""
        return picture if self.own.lens is None else self.own.lens.straighten(picture).astype(np.uint8, copy=False)

    def straight_points(self, looked: Float[np.ndarray, "*N 2"]) -> Float[np.ndarray, "*N 2"]:
        """Straight pixels of points of the looked-at picture."""
        return move_points(looked, self.own.K @ self.turn.T @ np.linalg.inv(self.K))

    def own_points(self, looked: Float[np.ndarray, "*N 2"]) -> Float[np.ndarray, "*N 2"]:
        """Where points of the looked-at picture are in the picture as given."""
        straight = self.straight_points(looked)
        return straight if self.own.lens is None else self.own.lens.bent_points(straight)

    @property
    def projection(self) -> Float[np.ndarray, "3 4"]:
        """K [R | T]: the rig's world, in its unit, to straight pixels."""
        return self.own.K @ np.column_stack([self.own.R, self.own.T])


@dataclass(frozen=True, eq=False)
class ViewPair:
    """Left and right view; `unit_m` is None until it is known."""

    left: View
    right: View
    how: How
    unit_m: float | None

    @property
    def right_from_left(self) -> Float[np.ndarray, "3 4"]:
        """[R|t] between the looked-at cameras, t in metres; the unit has to be known."""
        assert self.unit_m is not None
        R, t = _between(self.left.own, self.right.own)
        return np.column_stack([self.right.turn @ R @ self.left.turn.T, self.unit_m * self.right.turn @ t])

    @property
    def left_from_right(self) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, "3"]]:
        """R and t between the own cameras, t in metres; the unit has to be known."""
        assert self.unit_m is not None
        R, t = _between(self.left.own, self.right.own)
        return R.T, -self.unit_m * R.T @ t

    @property
    def views(self) -> tuple[View, View]:
        return self.left, self.right

    @property
    def is_crossed(self) -> bool:
        """Whether a rectified pair's second camera stands left of its first, so that disparities are negative."""
        t = self.right.turn @ _between(self.left.own, self.right.own)[1]
        return self.how != "straightened" and bool(t[0] > 0)


def move_points(points: Float[np.ndarray, "*N 2"], H: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "*N 2"]:
    """Pixels through a homography."""
    moved = np.asarray(points, np.float64) @ H[:, :2].T + H[:, 2]
    return moved[..., :2] / moved[..., 2:]


def read_stereo_rig(path: Path) -> Rig:
    """A rig of two cameras that stand apart; raises HandkitError naming what it lacks."""
    rig = load_rig(path, 2)
    left, right = rig.views
    if np.linalg.norm(_between(left, right)[1]) < _LEAST_BASELINE:
        what = f"{path}: both cameras stand in one place, the baseline is 0"
        raise HandkitError(what, "T of the second view says where the first camera is: calibrate the pair")
    return rig


def pair_views(rig: Rig, sizes: tuple[tuple[int, int], tuple[int, int]]) -> ViewPair:
    """The rig's cameras for pictures of two sizes (width, height); raises HandkitError for pictures of other sizes."""
    for view, size in zip(rig.views, sizes, strict=True):
        _check_size(view, size)
    left, right = rig.views
    R, t = _between(left, right)
    turns, how = _turns(left, right, R, t, sizes)
    if how == "rectified":
        views = _rectified(rig.views, sizes, turns)
    else:
        views = [View(own, size, np.eye(3), own.K, size) for own, size in zip(rig.views, sizes, strict=True)]
    return ViewPair(views[0], views[1], how, rig.unit_m)


def _between(left: RigView, right: RigView) -> tuple[np.ndarray, np.ndarray]:
    """R and t that take the left own camera to the right one, t in the rig's unit."""
    R = right.R @ left.R.T
    return R, right.T - R @ left.T


def _check_size(view: RigView, size: tuple[int, int]) -> None:
    width, height = size
    if view.size is not None and view.size != size:
        what = f"pictures of {width} x {height}, but view {view.name} is calibrated for {view.size[0]} x {view.size[1]}"
        raise HandkitError(what, _SIZE_FIX)
    off = np.abs(view.K[:2, 2] / size - 0.5)
    if view.size is None and (off > _MAX_OFF_CENTRE).any():
        cx, cy = view.K[:2, 2]
        what = (
            f"K of view {view.name} has its principal point at ({cx:.0f}, {cy:.0f}), far from the middle of pictures "
            f"of {width} x {height}"
        )
        raise HandkitError(what, _SIZE_FIX)


def _turns(
    left: RigView, right: RigView, R: np.ndarray, t: np.ndarray, sizes: tuple[tuple[int, int], tuple[int, int]]
) -> tuple[tuple[np.ndarray, np.ndarray], How]:
    """What rectifying turns either camera by, and what is to be done about the pair."""
    K1, K2 = (view.K - OPENCV_HALF for view in (left, right))
    none = np.zeros(5)
    turns = cv2.stereoRectify(K1, none, K2, none, sizes[0], R, t, flags=0, alpha=-1)[:2]
    angles = [np.rad2deg(np.linalg.norm(cv2.Rodrigues(turn)[0])) for turn in turns]
    is_beside = abs((turns[1] @ t)[0]) > abs((turns[1] @ t)[1])
    has_lens = left.lens is not None or right.lens is not None
    differs = np.abs(np.delete(left.K - right.K, 2)).max()  # cx may
    if not is_beside or max(angles) > _MAX_TURN_DEG:
        return (turns[0], turns[1]), "straightened"
    if max(angles) < _NO_TURN_DEG and differs < _NO_PX and not has_lens and sizes[0] == sizes[1]:
        return (turns[0], turns[1]), "as given"
    return (turns[0], turns[1]), "rectified"


def _rectified(
    own: list[RigView], sizes: tuple[tuple[int, int], tuple[int, int]], turns: tuple[np.ndarray, np.ndarray]
) -> list[View]:
    """Views of one focal length, one size and one row for the same point, large enough for all of both pictures."""
    focal = float(np.mean([view.K[i, i] for view in own for i in (0, 1)]))
    boxes = [_box(view, size, turn, focal) for view, size, turn in zip(own, sizes, turns, strict=True)]
    top, bottom = min(box[1] for box in boxes), max(box[3] for box in boxes)
    width = max(box[2] - box[0] for box in boxes)
    most = [_MAX_GROWTH * max(size[i] for size in sizes) for i in (0, 1)]
    looked = (int(np.ceil(min(width, most[0]))), int(np.ceil(min(bottom - top, most[1]))))
    cy = looked[1] / 2 - (top + bottom) / 2
    views = []
    for view, size, turn, box in zip(own, sizes, turns, boxes, strict=True):
        cx = looked[0] / 2 - (box[0] + box[2]) / 2
        views.append(View(view, size, turn, np.array([[focal, 0, cx], [0, focal, cy], [0, 0, 1.0]]), looked))
    return views


def _box(view: RigView, size: tuple[int, int], turn: np.ndarray, focal: float) -> np.ndarray:
    """x0, y0, x1, y1 of the turned picture's border, in pixels from the principal point."""
    along = np.linspace(0, 1, _BORDER_POINTS)
    edges = [
        np.column_stack(pair) for end in (0.0, 1.0) for pair in ((along, 0 * along + end), (0 * along + end, along))
    ]
    border = np.concatenate(edges) * size
    straight = border if view.lens is None else view.lens.straight_points(border)
    seen = move_points(straight, np.diag([focal, focal, 1.0]) @ turn @ np.linalg.inv(view.K))
    return np.concatenate([seen.min(0), seen.max(0)])
