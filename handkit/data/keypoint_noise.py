"""2D keypoints as a detector would give them, drawn about true joints: what networks that read keypoints learn from.

The defaults are MediaPipe's, measured by `benchmarks/keypoint_noise.py` on generated frames. All sizes are over the
hand's size, the larger side of the box of its joints in the image.
"""

from typing import Annotated, Final, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from pydantic import Field, model_validator

from handkit.fit.landmarks import LANDMARKS, LandmarkSource
from handkit.recipe import Recipe

Share = Annotated[float, Field(ge=0, le=1)]
Size = Annotated[float, Field(ge=0, le=1)]
Spread = Annotated[float, Field(ge=0, le=2)]
Range = tuple[Annotated[float, Field(ge=0, le=2)], Annotated[float, Field(ge=0, le=2)]]
Fingers = tuple[Size, Size, Size, Size, Size]

FINGERS: Final = np.arange(1, 21).reshape(5, 4)
# From a finger's first joint to its tip.
ALONG: Final = np.array([-0.5, -1 / 6, 1 / 6, 0.5])
# A rendered hand's landmarks lie this much further inwards than a real one's: joint i this share of the way to joint k.
RENDERED_SHIFTS: Final = (
    (0, 9, 0.155),
    (1, 2, 0.2),
    (2, 3, 0.085),
    (4, 3, 0.125),
    (5, 6, 0.11),
    (6, 7, 0.05),
    (8, 7, 0.145),
    (11, 10, 0.115),
    (12, 11, 0.19),
    (13, 14, 0.135),
    (15, 14, 0.085),
    (16, 15, 0.23),
    (17, 18, 0.2),
    (20, 19, 0.155),
)
_HALVING: Final = 0.03  # as handkit.detect.mediapipe
_FURTHEST: Final = 3.0  # of the factors, standard deviations
_SMALLEST: Final = 1e-9
_SURE: Final = 0.003  # errors below this say nothing


class KeypointNoise(Recipe):
    """What keypoints are off by, as standard deviations along x and y.

    Errors come large and small: all of a hand have a factor in common, those of its similarity and of each finger one
    of their own besides, exponentials of normals of s.d. `hand_spread`, `similarity_spread` and `finger_spread`. Times
    these go

    - of the whole hand: `shift`; `log_scale` about -`shrink`; `turn` (rad);
    - of the thumb, index, middle, ring and little finger: `finger` as a whole; `sway` of its tip against its first
      joint, and a share `shorten` of its length by which it is too short;
    - of each joint alone: `joint`.

    rendered: of the shifts that rendered hands show and real ones do not, from what to what share a hand has.
    missing: hands without any keypoints. dropped: joints without, of the others (MediaPipe gives all).
    single: hands of one look, whose joints all have the hand's score; the others' are lower where looks differ.
    told: hands whose scores tell of their errors; the others have those of another hand. Of a detector that is sure
    where it is off in ways of its own, a network that believes all scores trusts its keypoints too much.
    """

    shift: Size = 0.009
    log_scale: Size = 0.031
    shrink: Size = 0.016
    turn: Size = 0.014
    finger: Fingers = (0.024, 0.012, 0.008, 0.009, 0.019)
    sway: Fingers = (0.022, 0.017, 0.029, 0.033, 0.026)
    shorten: Size = 0.015
    joint: tuple[Size, ...] = (
        *(0.049, 0.024, 0.004, 0.007, 0.026),
        *(0.031, 0.010, 0.004, 0.022),
        *(0.035, 0.012, 0.004, 0.027),
        *(0.031, 0.016, 0.004, 0.023),
        *(0.036, 0.014, 0.004, 0.023),
    )
    hand_spread: Spread = 0.39
    similarity_spread: Spread = 0.9
    finger_spread: Spread = 0.78
    rendered: Range = (0.0, 1.0)
    missing: Share = 0.056
    dropped: Share = 0.0
    single: Share = 0.25
    told: Share = 1.0

    @model_validator(mode="after")
    def _has_all_joints(self) -> "KeypointNoise":
        if len(self.joint) != 21:
            raise ValueError(f"joint should have 21 numbers, not {len(self.joint)}")
        if self.rendered[0] > self.rendered[1]:
            raise ValueError(f"rendered should be a lower and an upper share, not {self.rendered}")
        return self


def noisy_keypoints(
    joints_2d: Float[np.ndarray, "N 21 2"], rng: np.random.Generator, noise: KeypointNoise
) -> tuple[Float[np.ndarray, "N 21 2"], Float[np.ndarray, "N 21"]]:
    """Keypoints in the joints' units, and scores in [0, 1]; joints that are NaN are not found.

    What is not found has score 0 and is zeros. The same numbers for the same state of `rng`, whatever the joints.
    """
    given, count = np.asarray(joints_2d, np.float64), len(joints_2d)
    known = np.isfinite(given).all(-1)
    low, high = (np.nan_to_num(end.reduce(given, axis=1)) for end in (np.fmin, np.fmax))
    size = (high - low).max(-1)[:, None, None].clip(_SMALLEST)
    joints = np.where(known[..., None], given, (low + high)[:, None] / 2)
    factors = _draw_factors(rng, count, noise)
    strength = rng.uniform(*noise.rendered, (count, 1, 1))
    points = landmarks_of(joints, strength)
    points = _similarity(points, (low + high)[:, None] / 2, size, factors, rng, noise)
    points[:, FINGERS] += _fingers(points[:, FINGERS], size[..., None], factors, rng, noise)
    points += size * (np.asarray(noise.joint) * factors.hand)[..., None] * rng.normal(size=(count, 21, 2))
    scores = _draw_scores(np.linalg.norm(points - landmarks_of(joints, 0.0), axis=-1) / size[..., 0], rng, noise)
    untold = rng.random((count, 1)) >= noise.told
    scores = np.where(untold, scores[rng.permutation(count)], scores)
    seen = (rng.random((count, 1)) >= noise.missing) & (rng.random((count, 21)) >= noise.dropped)
    seen &= known
    kept = np.where(seen[..., None], points, 0.0)
    return kept.astype(joints_2d.dtype), np.where(seen, scores, 0.0).astype(joints_2d.dtype)


def landmarks_of(
    joints: Float[np.ndarray, "N 21 2"], rendered: Float[np.ndarray, "N 1 1"] | float = 1.0
) -> Float[np.ndarray, "N 21 2"]:
    """Where MediaPipe's landmarks of joints lie on average; `rendered` is the share of what rendered hands show."""
    return joints + _MEANT @ joints + rendered * (_RENDERED @ joints)


class _Factors(NamedTuple):
    """How far off all of a hand is, [N, 1], and its similarity and fingers, [N, 5], over what is usual."""

    hand: NDArray[np.float64]
    similarity: NDArray[np.float64]
    finger: NDArray[np.float64]


def _draw_factors(rng: np.random.Generator, count: int, noise: KeypointNoise) -> _Factors:
    def draw(spread: float, number: int) -> NDArray[np.float64]:
        return np.exp(spread * rng.normal(size=(count, number)).clip(-_FURTHEST, _FURTHEST))

    hand, similarity = draw(noise.hand_spread, 1), draw(noise.similarity_spread, 1)
    finger = draw(noise.finger_spread, 5)
    return _Factors(hand, hand * similarity, hand * finger)


def _similarity(
    points: NDArray[np.float64],
    centre: NDArray[np.float64],
    size: NDArray[np.float64],
    factors: _Factors,
    rng: np.random.Generator,
    noise: KeypointNoise,
) -> NDArray[np.float64]:
    """All of a hand shifted, scaled and turned about the centre [N, 1, 2] of its box."""
    x, y, scale, turn = (factors.similarity * rng.normal(size=(len(points), 4))).T
    change = np.exp(noise.log_scale * scale - noise.shrink * factors.hand[:, 0] + 1j * noise.turn * turn)
    cos, sin = change.real, change.imag
    matrix = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], -2)
    shift = noise.shift * size * np.stack([x, y], -1)[:, None]
    return (points - centre) @ matrix.swapaxes(1, 2) + centre + shift


def _fingers(
    points: NDArray[np.float64],
    size: NDArray[np.float64],
    factors: _Factors,
    rng: np.random.Generator,
    noise: KeypointNoise,
) -> NDArray[np.float64]:
    """What the fingers [N, 5, 4, 2] are off by, along and across: as a whole, and more the nearer to the tip."""
    sizes = np.array([noise.finger, noise.sway])[:, None, :, None, None]
    whole, sway = sizes * rng.normal(size=(2, len(points), 5, 1, 2))
    along, length = ALONG[:, None], points[:, :, 3:] - points[:, :, :1]
    return factors.finger[..., None, None] * (size * (whole + along * sway) - noise.shorten * along * length)


def _draw_scores(off: NDArray[np.float64], rng: np.random.Generator, noise: KeypointNoise) -> NDArray[np.float64]:
    """Of what each joint [N, 21] is off by: the hand's score, and less where looks differ (as `detect.mediapipe`)."""
    off = off + _SURE
    mean, hand, each = off.mean(1, keepdims=True), rng.normal(size=(2, len(off), 1)), rng.normal(size=off.shape)
    doubt = 0.48 * mean**0.96 * np.exp(0.93 * hand[0])
    beside = (off / np.exp(np.log(off).mean(1, keepdims=True))) ** 0.28
    spread = 0.134 * mean**0.65 * beside * np.exp(0.36 * hand[1] + 0.38 * each)
    spread = np.where(rng.random((len(off), 1)) < noise.single, 0.0, spread)
    return np.clip(1 - doubt, 0.05, 1) / (1 + (spread / _HALVING) ** 2)


def _changes(source: LandmarkSource) -> NDArray[np.float64]:
    """What landmarks add to joints, as a matrix."""
    matrix = source.matrix("open")
    assert matrix is not None
    return matrix.numpy() - np.eye(21)


_MEANT: Final = _changes(LANDMARKS["mediapipe"])
_RENDERED: Final = _changes(LandmarkSource(shifts=RENDERED_SHIFTS))
