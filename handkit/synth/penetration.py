"""How deep the fingers of a pose sink into each other or into the palm, by capsules about its 21 joints.

Capsules lie along the finger bones, and along the metacarpals where they are pushed towards the palm so that their
palmar side lies on the skin; radii are those of the open hand's mean shape, by its skin weights. Flesh gives way, so
contact up to some millimetres counts as none: `COMPRESSION_M` between fingers, more against the ball of the thumb.
"""

from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from handkit.conventions import FINGERS, MANO_FINGERS
from handkit.hand.model import HandModel, load_hand
from handkit.render.jit import compiled
from handkit.synth.threads import in_threads

COMPRESSION_M: Final = 0.002
_PALM_COMPRESSION_M: Final = 0.004  # the palm's and the thenar's flesh is thick
_NEIGHBOUR_COMPRESSION_M: Final = 0.003  # closed fingers press their sides flat
_TIP_SHARE: Final = 0.75  # of the last bone's radius, by which its capsule ends before the tip vertex
_CHUNK: Final = 4096  # poses a thread takes at once

# Capsules 0-14 are the bones of thumb to little, base to tip; 15-18 the metacarpals of index to little.


class Capsules(NamedTuple):
    """Sizes in metres of the 19 capsules, and which pairs must stay how far apart."""

    radii: np.ndarray  # [19]
    palmar: np.ndarray  # [4] how far the metacarpals' axes are pushed towards the palm
    pairs: np.ndarray  # [P, 2] int64
    apart: np.ndarray  # [P] least distance of the axes
    starts: np.ndarray  # [P] share of both axes, from the base, that does not count
    fingers: np.ndarray  # [P] uint8, bit f for finger f (thumb 0) of either capsule that can move away


@lru_cache(maxsize=1)
def open_capsules() -> Capsules:
    """The capsules of the open hand's mean shape."""
    hand = load_hand("open")
    fingers = _finger_radii(hand)
    palm, palmar = _palm_sizes(hand)
    radii = np.concatenate([fingers.ravel(), palm])
    rows = [(*row, radii[row[0]] + radii[row[1]] - row[2]) for row in _pairs()]
    pairs = np.array([row[:2] for row in rows])
    bits = [sum(1 << f for f in {capsule // 3 for capsule in pair if capsule < 15 and capsule != 0}) for pair in pairs]
    return Capsules(
        radii=radii,
        palmar=palmar,
        pairs=pairs,
        apart=np.array([row[4] for row in rows]),
        starts=np.array([row[3] for row in rows]),
        fingers=np.array(bits, np.uint8),
    )


def penetration(
    joints: Float[np.ndarray, "N 21 3"],
) -> tuple[Float[np.ndarray, " N"], UInt8[np.ndarray, " N"]]:
    """Depth [N] in metres of the deepest contact beyond what flesh gives (0 without), and the fingers in any (bits).

    Joints in metres, canonical (the hand's own frame and size); bit f of the second result stands for finger f, thumb
    first.
    """
    depth, touching = np.zeros(len(joints)), np.zeros(len(joints), np.uint8)
    c = open_capsules()
    given = np.ascontiguousarray(joints, np.float64)

    def run(part: slice) -> None:
        _scan(given[part], c.radii, c.palmar, c.pairs, c.apart, c.starts, c.fingers, depth[part], touching[part])

    in_threads(run, len(given), _CHUNK)
    return depth, touching


def _pairs() -> list[tuple[int, int, float, float]]:
    """(capsule, capsule, compression m, share of the axes left out at the base) of all pairs that count."""
    rows: list[tuple[int, int, float, float]] = []
    for first in range(1, 5):
        for second in range(first + 1, 5):
            neighbours = second == first + 1
            give = _NEIGHBOUR_COMPRESSION_M if neighbours else COMPRESSION_M
            for a in range(3):
                for b in range(3):
                    both_base = neighbours and a == 0 and b == 0
                    rows.append((3 * first + a, 3 * second + b, give, 0.5 if both_base else 0.0))
        # the fingertip bones against the palm, and the last against the first of the same finger
        rows += [(3 * first + a, 15 + k, _PALM_COMPRESSION_M, 0.0) for a in (1, 2) for k in range(4)]
        rows += [(3 * first, 3 * first + 2, _PALM_COMPRESSION_M, 0.0)]
        # the thumb's two phalanges, and its ball, which the fingers press in
        rows += [(a, 3 * first + b, COMPRESSION_M, 0.0) for a in (1, 2) for b in range(3)]
        rows += [(0, 3 * first + b, 1.5 * _PALM_COMPRESSION_M, 0.0) for b in (1, 2)]
    rows += [(2, 15 + k, _PALM_COMPRESSION_M, 0.0) for k in range(4)]
    rows += [(1, 15 + k, _PALM_COMPRESSION_M, 0.0) for k in range(1, 4)]
    return rows


def _finger_radii(hand: HandModel) -> np.ndarray:
    """Radius [5, 3] of the bones of thumb to little: median distance of the skin that follows the bone most."""
    joints, owner = hand.J_regressor @ hand.v_template, hand.lbs_weights.argmax(axis=1)
    radii = np.empty((5, 3))
    for row, finger in enumerate(MANO_FINGERS):
        f = FINGERS.index(finger)
        chain = np.vstack([joints[1 + 3 * row : 4 + 3 * row], hand.v_template[hand.tip_vertices[f]]])
        for k in range(3):
            bone, skin = chain[k + 1] - chain[k], hand.v_template[owner == 1 + 3 * row + k] - chain[k]
            along = skin @ bone / (bone @ bone)
            away = np.linalg.norm(skin - along[:, None] * bone, axis=1)
            radii[f, k] = np.median(away[(along > 0) & (along < 0.9)])
    return radii


def _palm_sizes(hand: HandModel) -> tuple[np.ndarray, np.ndarray]:
    """Radius [4] and palmar shift [4] of the metacarpals of index to little, from the skin above and below each."""
    joints = hand.J_regressor @ hand.v_template
    radii, shifts = np.empty(4), np.empty(4)
    for k, row in enumerate((1, 4, 10, 7)):
        bone, skin = joints[row] - joints[0], hand.v_template - joints[0]
        along = skin @ bone / (bone @ bone)
        off = skin - along[:, None] * bone
        near = (along > 0.3) & (along < 1) & (np.abs(off[:, 2]) < 0.008)
        palm, back = np.median(off[near & (off[:, 1] < -0.005), 1]), np.median(off[near & (off[:, 1] > 0.005), 1])
        radii[k], shifts[k] = (back - palm) / 2, -(back + palm) / 2
    return radii, shifts


def _scan_kernel(
    joints: np.ndarray,
    radii: np.ndarray,
    palmar: np.ndarray,
    pairs: np.ndarray,
    apart: np.ndarray,
    starts: np.ndarray,
    fingers: np.ndarray,
    depth: np.ndarray,
    touching: np.ndarray,
) -> None:
    low, high = np.empty((19, 3)), np.empty((19, 3))
    p, q = np.empty(3), np.empty(3)
    for n in range(len(joints)):
        for f in range(5):
            for k in range(3):
                for a in range(3):
                    low[3 * f + k, a] = joints[n, 1 + 4 * f + k, a]
                    high[3 * f + k, a] = joints[n, 2 + 4 * f + k, a]
            tip = 3 * f + 2
            length = 0.0
            for a in range(3):
                length += (high[tip, a] - low[tip, a]) ** 2
            cut = min(_TIP_SHARE * radii[tip] / np.sqrt(max(length, 1e-12)), 0.9)
            for a in range(3):
                high[tip, a] -= cut * (high[tip, a] - low[tip, a])
        for k in range(4):
            for a in range(3):
                shift = -palmar[k] if a == 1 else 0.0
                low[15 + k, a] = joints[n, 0, a] + shift
                high[15 + k, a] = joints[n, 5 + 4 * k, a] + shift
        for i in range(len(pairs)):
            one, two = pairs[i, 0], pairs[i, 1]
            for a in range(3):
                p[a] = low[one, a] + starts[i] * (high[one, a] - low[one, a])
                q[a] = low[two, a] + starts[i] * (high[two, a] - low[two, a])
            limit = apart[i]
            reach = limit + 0.12  # no bone is longer: centres further apart cannot touch
            if abs(p[0] - q[0]) > reach or abs(p[1] - q[1]) > reach or abs(p[2] - q[2]) > reach:
                continue
            sunk = limit - np.sqrt(_between(p, high[one], q, high[two]))
            if sunk > 0:
                depth[n] = max(depth[n], sunk)
                touching[n] |= fingers[i]


def _between_kernel(p: np.ndarray, p_end: np.ndarray, q: np.ndarray, q_end: np.ndarray) -> float:
    """Squared distance of two segments."""
    uu = uv = vv = uw = vw = 0.0
    for a in range(3):
        u, v, w = p_end[a] - p[a], q_end[a] - q[a], p[a] - q[a]
        uu += u * u
        uv += u * v
        vv += v * v
        uw += u * w
        vw += v * w
    uu, vv = max(uu, 1e-18), max(vv, 1e-18)
    det = uu * vv - uv * uv
    s = min(max((uv * vw - vv * uw) / det, 0.0), 1.0) if det > 1e-9 * uu * vv else 0.0
    t = (uv * s + vw) / vv
    if t < 0.0 or t > 1.0:
        t = min(max(t, 0.0), 1.0)
        s = min(max((uv * t - uw) / uu, 0.0), 1.0)
    total = 0.0
    for a in range(3):
        gap = p[a] + s * (p_end[a] - p[a]) - q[a] - t * (q_end[a] - q[a])
        total += gap * gap
    return total


_between = compiled(_between_kernel)
_scan = compiled(_scan_kernel)
