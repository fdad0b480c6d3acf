"""Where the camera is while a hand moves: rotation, scale and place from a random start towards a random end.

Convention: x_cam = R x about the hand model's origin, in OpenCV axes (x right, y down, z forward); a vertex shows at
pixel s * x_cam[:2] + t. Rest frame of the hand: fingers -x, thumb +z, palm -y (right hand).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

View = Literal["third-person", "egocentric"]
CameraRecipe = Literal["paper", "released"]
Array = NDArray[np.float64]

MARGIN = 0.02  # of the frame's side, left free around the hand
FILL = (1.7, 2.1)  # the frame's side over the hand's longer side
PALM_SHARE = 0.3  # of egocentric views
# Shares of the way to the end that the released generator makes each frame, times 1 / frames.
RELEASED_SCALE_RATE = 0.5
RELEASED_PLACE_RATE = 0.2
RELEASED_TURN_RATE = 0.6  # at most
_ATTEMPTS = 16
_SHRINK = 0.95
# The released generator turns every hand by this before its own rotation.
_RELEASED_ROOT = Rotation.from_rotvec([np.pi, 0, 0])
# Fingers up in the image, back of the hand towards the camera, thumb on the left.
_BACK_VIEW = Rotation.from_matrix([[0.0, 0.0, -1.0], [1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


@dataclass(frozen=True, eq=False)
class CameraTrack:
    """A camera for every frame: axis-angle r [T, 3], s [T] in pixels per metre, t [T, 2] in pixels."""

    r: Float[np.ndarray, " T 3"]
    s: Float[np.ndarray, " T"]
    t: Float[np.ndarray, " T 2"]
    view: View


def sample_camera(
    rng: np.random.Generator,
    vertices: Float[np.ndarray, " T V 3"],
    *,
    size: int,
    recipe: CameraRecipe,
    alpha: float,
    in_frame: bool = True,
) -> CameraTrack:
    """A track for a sequence of hands, third-person or egocentric with equal chances.

    vertices: metres, hand frame, before R; size: side of the square frame in pixels. "paper": each frame goes
    alpha / T of what is left of the way to the end (Eq. 6), R along the geodesic. "released": the rates, rotations and
    places of the published code: R / T times one U(0, 0.6) a sequence on the axis-angle values, s 0.5 / T, t 0.2 / T.
    With `in_frame` all vertices of all frames are MARGIN inside the frame: places are drawn again where they must,
    at last the scale shrinks.
    """
    points = np.asarray(vertices, np.float64)
    frames = len(points)
    view: View = "egocentric" if rng.random() < 0.5 else "third-person"
    if recipe == "paper":
        rates = (alpha / frames, alpha / frames)
        start, end = (_random_turn(rng, view) for _ in range(2))
        turns = _geodesic(start, end, alpha / frames, frames)
    else:
        rates = (RELEASED_SCALE_RATE / frames, RELEASED_PLACE_RATE / frames)
        begin, finish = (_released_turn(rng, view) for _ in range(2))
        rate = rng.uniform(0, RELEASED_TURN_RATE) / frames
        turns = Rotation.from_rotvec(_approach(begin, finish, rate, frames)) * _RELEASED_ROOT
        end = Rotation.from_rotvec(finish) * _RELEASED_ROOT
    boxes = _boxes(points, turns.as_matrix())
    last = _boxes(points[-1:], end.as_matrix()[None])[0]
    scales = [size / (rng.uniform(*FILL) * float((box[1] - box[0]).max())) for box in (boxes[0], last)]
    while True:
        s = _approach(np.array(scales[:1]), np.array(scales[1:]), rates[0], frames)[:, 0]
        spans, end_span = s[:, None, None] * boxes, scales[1] * last
        if recipe == "released":
            t = _released_place(rng, spans, end_span, size, rates[1], in_frame)
        else:
            t = None if in_frame else _loose_place(rng, spans, end_span, size, rates[1])
        if t is None:
            t = _place_inside(rng, spans, end_span, size, rates[1])
        if t is not None:
            return CameraTrack(turns.as_rotvec().reshape(frames, 3), s, t, view)
        scales = [_SHRINK * scale for scale in scales]


def project_orthographic(
    points_cam: Float[np.ndarray, "T N 3"], s: Float[np.ndarray, " T"], t: Float[np.ndarray, " T 2"]
) -> Float[np.ndarray, "T N 3"]:
    """Pixel x, y and depth (metres, about the hand's origin) of points already turned by R."""
    return np.concatenate([s[:, None, None] * points_cam[..., :2] + t[:, None], points_cam[..., 2:]], axis=-1)


def _random_turn(rng: np.random.Generator, view: View) -> Rotation:
    """A rotation of a hand, seen by someone else or by its owner."""
    if view == "third-person":
        return Rotation.from_rotvec(_random_axis(rng) * rng.uniform(-np.pi, np.pi)) * _RELEASED_ROOT
    # The owner looks from behind the wrist and above: fingers away and, of a right hand, a little to the left.
    palm = rng.random() < PALM_SHARE
    lean, tilt, twist = np.deg2rad([rng.normal(-20, 20), rng.uniform(5, 55), rng.normal(0, 25) + 180 * palm])
    about_fingers = Rotation.from_rotvec([twist, 0, 0])
    return Rotation.from_rotvec([0, 0, lean]) * Rotation.from_rotvec([-tilt, 0, 0]) * _BACK_VIEW * about_fingers


def _released_turn(rng: np.random.Generator, view: View) -> Array:
    """Axis-angle of the published generator, to be applied after its root rotation."""
    if view == "third-person":
        return _random_axis(rng) * rng.uniform(-np.pi, np.pi)
    return np.array([-1.0, -1.0, 1.0]) * (np.pi / 3 + rng.uniform(0.1, 0.3, 3))


def _random_axis(rng: np.random.Generator) -> Array:
    """Unit vector [3]; one coordinate is the largest and positive, as published."""
    axis = rng.uniform(-1, 1, 3)
    axis[rng.integers(3)] = 1
    return axis / np.linalg.norm(axis)


def _approach(start: Array, end: Array, rate: float, frames: int) -> Array:
    """x_k = x_{k-1} - rate (x_{k-1} - end) from x_0 = start [N], as [T, N]."""
    left = (1 - rate) ** np.arange(frames)[:, None]
    return end + left * (start - end)


def _geodesic(start: Rotation, end: Rotation, rate: float, frames: int) -> Rotation:
    """The same on rotations: each frame turns by `rate` of the shortest turn that is left."""
    whole = (start.inv() * end).as_rotvec()
    done = 1 - (1 - rate) ** np.arange(frames)[:, None]
    return start * Rotation.from_rotvec(done * whole)


def _boxes(points: Array, turns: Array) -> Array:
    """Least and greatest x and y [T, 2, 2] of points [T, V, 3] turned by [T, 3, 3]."""
    flat = np.einsum("tij,tvj->tvi", turns[:, :2], points)
    return np.stack([flat.min(1), flat.max(1)], axis=1)


def _place_inside(rng: np.random.Generator, spans: Array, end_span: Array, size: int, rate: float) -> Array | None:
    """Places t [T, 2] that keep every frame's span [T, 2, 2] inside the frame; None where no draw did.

    t_k is a mix of start and end, so that each frame bounds the end once the start is drawn.
    """
    low, high = _bounds(spans, size)
    low_end, high_end = _bounds(end_span[None], size)
    if (low > high).any() or (low_end > high_end).any():
        return None
    starts = rng.uniform(low[0], high[0], (_ATTEMPTS, 2))
    shares = rng.uniform(0, 1, (_ATTEMPTS, 2))
    left = (1 - rate) ** np.arange(1, len(spans))[:, None, None]
    lows = np.concatenate([(low[1:, None] - left * starts) / (1 - left), np.broadcast_to(low_end, (1, _ATTEMPTS, 2))])
    highs = np.concatenate(
        [(high[1:, None] - left * starts) / (1 - left), np.broadcast_to(high_end, (1, _ATTEMPTS, 2))]
    )
    from_, to = lows.max(0), highs.min(0)
    chosen = (from_ <= to).argmax(0), [0, 1]
    if (from_[chosen] > to[chosen]).any():
        return None
    end = from_[chosen] + shares[chosen] * (to[chosen] - from_[chosen])
    return _approach(starts[chosen], end, rate, len(spans))


def _bounds(spans: Array, size: int) -> tuple[Array, Array]:
    """Least and greatest t [T, 2] with which spans [T, 2, 2] lie inside the frame."""
    margin = MARGIN * size
    return margin - spans[:, 0], size - margin - spans[:, 1]


def _loose_place(rng: np.random.Generator, spans: Array, end_span: Array, size: int, rate: float) -> Array:
    """The middle of the hand anywhere in the frame, at the start and at the end."""
    start, end = (rng.uniform(0, size, 2) - span.mean(0) for span in (spans[0], end_span))
    return _approach(start, end, rate, len(spans))


def _released_place(
    rng: np.random.Generator, spans: Array, end_span: Array, size: int, rate: float, in_frame: bool
) -> Array | None:
    """Places of the published generator; None where in_frame is asked for and no draw was."""
    low, high = _bounds(spans, size)
    for _ in range(_ATTEMPTS):
        ends = []
        for span in (spans[0], end_span):
            across = size / 2 + span[0, 0] + 15 / 224 * size
            ends.append([across, size / 2 + span[0, 1] + rng.uniform(-50, 45) / 224 * size])
        t = _approach(np.array(ends[0]), np.array(ends[1]), rate, len(spans))
        if not in_frame or ((t >= low) & (t <= high)).all():
            return t
    return None
