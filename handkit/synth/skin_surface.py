"""What a hand's skin shows where: palm and back, nails, creases, knuckles, fingertips, from the rest geometry alone.

Convention: everything is computed on the right hand at rest (fingers -x, thumb +z, palm -y); a left hand's vertices
have the same numbers. Every mark is a smooth function of a surface point, so that it can be read off at the 778
vertices or at the points of a finer mesh over the same surface.
"""

from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Float

from handkit.conventions import FINGERS, MANO_FINGERS
from handkit.hand.build.mesh import vertex_normals
from handkit.hand.layer import ManoLayer
from handkit.hand.limits import joint_frames
from handkit.hand.model import HandModel

# The palm's three lines as shares of the joints that they pass: (joint, share), ... for each point of a line.
_Point = tuple[tuple[int, float], ...]
_PALM_LINES: Final[tuple[tuple[_Point, ...], ...]] = (
    # heart: from the little finger's side to between index and middle finger
    (((17, 0.86), (0, 0.14)), ((13, 0.84), (0, 0.16)), ((9, 0.87), (0, 0.13)), ((5, 0.56), (9, 0.44))),
    # head: from between thumb and index finger across to the heel below the little finger
    (((5, 0.8), (2, 0.2)), ((9, 0.66), (0, 0.26), (2, 0.08)), ((13, 0.5), (0, 0.5)), ((17, 0.45), (0, 0.55))),
    # thenar: from the same place around the ball of the thumb to the wrist
    (((5, 0.8), (2, 0.2)), ((5, 0.4), (9, 0.25), (0, 0.35)), ((9, 0.38), (0, 0.62)), ((13, 0.06), (1, 0.1), (0, 0.84))),
)


class SkinMarks(NamedTuple):
    """Strength of each mark at N surface points, [N] in [0, 1]."""

    palmar: Float[np.ndarray, " N"]  # 1 on the palm's side, 0 on the back
    nail: Float[np.ndarray, " N"]
    nail_edge: Float[np.ndarray, " N"]  # the free edge, part of the nail
    nail_fold: Float[np.ndarray, " N"]  # the skin around the nail
    crease: Float[np.ndarray, " N"]  # flexion creases of fingers and palm
    knuckle: Float[np.ndarray, " N"]  # wrinkled skin over the joints on the back
    tip: Float[np.ndarray, " N"]  # fingertips
    side: Float[np.ndarray, " N"]  # between fingers, where less light gets


class Surface(NamedTuple):
    """N points of the right hand's rest surface with unit normals and skinning weights."""

    points: Float[np.ndarray, "N 3"]
    normals: Float[np.ndarray, "N 3"]
    weights: Float[np.ndarray, "N 16"]


class _Finger(NamedTuple):
    chain: np.ndarray  # [4, 3] joints, base to tip
    frames: np.ndarray  # [3, 3, 3] columns: towards the tip, palmar, across
    own: np.ndarray  # [N, 3] weights of the three phalanges
    radius: float  # half the thickness of the last phalanx, metres
    end: float  # where the fingertip ends, metres along the last phalanx from its joint


def rest_surface(hand: HandModel) -> Surface:
    """The 778 vertices of the right hand at rest."""
    right = hand if hand.side == "right" else hand.mirrored()
    return Surface(right.v_template, vertex_normals(right.v_template, right.faces), right.lbs_weights)


def skin_marks(hand: HandModel, surface: Surface) -> SkinMarks:
    """All marks at the points of a surface of this hand."""
    right = hand if hand.side == "right" else hand.mirrored()
    joints = ManoLayer(right)().joints.reshape(21, 3).numpy()
    frames = joint_frames(right).numpy()
    zeros = np.zeros(len(surface.points))
    nail, edge, fold, crease, knuckle, tip, side = (zeros.copy() for _ in range(7))
    palmar = np.clip(0.5 - 1.1 * _facing(surface, frames), 0, 1)
    palmar = palmar * palmar * (3 - 2 * palmar)
    for number, name in enumerate(FINGERS):
        first = 3 * MANO_FINGERS.index(name)
        chain, axes = joints[1 + 4 * number : 5 + 4 * number], frames[first : first + 3]
        measures = _last_phalanx(chain, axes[2], right.v_template, right.lbs_weights[:, 3 + first])
        finger = _Finger(chain, axes, surface.weights[:, 1 + first : 4 + first], *measures)
        plate, free, around = _nail(finger, surface)
        nail, edge, fold = np.maximum(nail, plate), np.maximum(edge, free), np.maximum(fold, around)
        lines, bumps = _joint_marks(finger, surface, palmar, thumb=name == "thumb")
        crease, knuckle = np.maximum(crease, lines), np.maximum(knuckle, bumps)
        near = np.linalg.norm(surface.points - finger.chain[3], axis=1) / (1.7 * finger.radius)
        tip = np.maximum(tip, np.exp(-(near**2)))
        across = np.abs(np.einsum("nc,kc,nk->n", surface.normals, finger.frames[:, :, 2], finger.own))
        side = np.maximum(side, across**2 * (name != "thumb") * (1 - tip))
    from_wrist = joints[0, 0] - surface.points[:, 0]  # towards the fingers
    lines = np.maximum(_palm_lines(joints, surface), 0.4 * np.exp(-((from_wrist / 0.0025) ** 2)))
    crease = np.maximum(crease, lines * palmar)
    palmar = palmar * (0.15 + 0.85 * smoothstep(-0.013, 0.03, from_wrist))
    keep = 1 - nail
    return SkinMarks(palmar * keep, nail, edge, fold * keep, crease * keep, knuckle * keep, tip * keep, side * keep)


def smoothstep(low: float, high: float, value: np.ndarray) -> np.ndarray:
    """0 below `low`, 1 above `high`, smooth between; the other way round where low > high."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def _facing(surface: Surface, frames: np.ndarray) -> np.ndarray:
    """How far the skin faces away from the palm's side, -1 to 1; fingers by their own frames."""
    palmar = np.concatenate([[[0.0, -1.0, 0.0]], frames[:, :, 1]])
    direction = surface.weights @ palmar
    direction /= np.linalg.norm(direction, axis=1, keepdims=True).clip(1e-9)
    return -(surface.normals * direction).sum(1)


def _last_phalanx(
    chain: np.ndarray, axes: np.ndarray, vertices: np.ndarray, weights: np.ndarray
) -> tuple[float, float]:
    """Mean half thickness of a last phalanx, and where it ends along its bone."""
    own = (vertices - chain[2]) @ axes
    length = np.linalg.norm(chain[3] - chain[2])
    middle = (weights > 0.6) & (own[:, 0] > 0.2 * length) & (own[:, 0] < 0.7 * length)
    return float(np.linalg.norm(own[middle, 1:], axis=1).mean()), float(own[weights > 0.5, 0].max())


def _nail(finger: _Finger, surface: Surface) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The nail plate, its free edge and the fold around it."""
    local = (surface.points - finger.chain[2]) @ finger.frames[2]
    along = (local[:, 0] - (finger.end - 1.02 * finger.radius)) / (0.86 * finger.radius)
    across = local[:, 2] / (0.74 * finger.radius)
    distance = (np.abs(along) ** 3 + np.abs(across) ** 3) ** (1 / 3)
    back = smoothstep(0.0, 0.35, -(surface.normals @ finger.frames[2][:, 1])) * smoothstep(0.3, 0.6, finger.own[:, 2])
    plate = smoothstep(1.12, 0.88, distance) * back
    free = plate * smoothstep(0.62, 0.9, along)
    around = np.exp(-(((distance - 1.18) / 0.22) ** 2)) * back
    return plate, free, around


def _joint_marks(
    finger: _Finger, surface: Surface, palmar: np.ndarray, *, thumb: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Palmar creases and dorsal knuckles at a finger's joints."""
    lines, bumps = np.zeros(len(palmar)), np.zeros(len(palmar))
    near_finger = smoothstep(0.35, 0.6, finger.own.sum(1))
    for k in (1, 2) if thumb else (0, 1, 2):
        length = float(np.linalg.norm(finger.chain[k + 1] - finger.chain[k]))
        local = (surface.points - finger.chain[k]) @ finger.frames[k]
        # the crease at a finger's base lies at the web, half way up the first phalanx
        at = 0.45 * length if k == 0 and not thumb else 0.0
        width = 0.0018 if k else 0.002
        lines = np.maximum(lines, np.exp(-(((local[:, 0] - at) / width) ** 2)) * palmar * near_finger)
        reach = np.array([0.55, 1.0, 0.6]) * (0.0105 if k == 0 else 0.0085 if k == 1 else 0.006)
        spread = (local[:, [0, 2]] / reach[[0, 2]] * [1.0, 0.8]) ** 2
        bumps = np.maximum(bumps, (0.7 if k == 0 else 1.0) * np.exp(-spread.sum(1)) * (1 - palmar))
    return lines, bumps * smoothstep(0.15, 0.5, finger.own.sum(1))


def _palm_lines(joints: np.ndarray, surface: Surface) -> np.ndarray:
    """The palm's lines, seen from the palm's side."""
    flat = surface.points[:, [0, 2]]
    strength = np.zeros(len(flat))
    for line in _PALM_LINES:
        knots = np.array([sum(share * joints[joint] for joint, share in point) for point in line])[:, [0, 2]]
        fine = _smooth_curve(knots)
        distance = np.linalg.norm(flat[:, None] - fine[None], axis=-1)
        nearest = distance.argmin(1)
        # lines thin out towards their ends
        fade = np.sin(np.pi * (0.15 + 0.7 * nearest / (len(fine) - 1)))
        strength = np.maximum(strength, 0.55 * fade * np.exp(-((distance.min(1) / 0.0028) ** 2)))
    on_palm = smoothstep(0.75, 0.95, surface.weights[:, 0] + 0.5 * surface.weights[:, 1:].sum(1))
    return strength * on_palm


def _smooth_curve(knots: np.ndarray, count: int = 60) -> np.ndarray:
    """A cubic Bezier through the ends, pulled by the two middle knots."""
    t = np.linspace(0, 1, count)[:, None]
    a, b, c, d = knots
    # the handles that make the curve pass the middle knots at 1/3 and 2/3
    first, second = (-5 * a + 18 * b - 9 * c + 2 * d) / 6, (2 * a - 9 * b + 18 * c - 5 * d) / 6
    return (1 - t) ** 3 * a + 3 * (1 - t) ** 2 * t * first + 3 * (1 - t) * t**2 * second + t**3 * d
