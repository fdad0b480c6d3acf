"""The 21 joints of many poses at once: the open hand at its mean shape, its wrist at the origin and not turned.

As the bank needs them: joints only, compiled, some microseconds a pose, equal to `ManoLayer`.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float

from handkit.conventions import MANO_PARENTS, OURS_FROM_MANO_AND_TIPS
from handkit.hand.limits import joint_frames
from handkit.hand.model import load_hand
from handkit.render.jit import compiled
from handkit.synth.threads import in_threads

_CHUNK = 4096  # poses a thread takes at once
_PARENTS = np.array(MANO_PARENTS)
_ORDER = np.array(OURS_FROM_MANO_AND_TIPS)


@dataclass(frozen=True, eq=False)
class Skeleton:
    """What the 21 joints of the open hand's mean shape depend on; metres, float64."""

    frames: np.ndarray  # [15, 3, 3] of the anatomical angles
    rest: np.ndarray  # [16, 3] MANO's joints
    tips: np.ndarray  # [5, 3] tip vertices at rest
    correctives: np.ndarray  # [135, 15], three values for each tip
    weights: np.ndarray  # [5, 16] skin weights of the tip vertices


@lru_cache(maxsize=1)
def open_skeleton() -> Skeleton:
    """The right open hand's skeleton."""
    hand = load_hand("open")
    tips = list(hand.tip_vertices)
    rest = hand.J_regressor @ hand.v_template
    return Skeleton(
        frames=joint_frames(hand).numpy(),
        rest=rest - rest[0],
        tips=hand.v_template[tips] - rest[0],
        correctives=np.ascontiguousarray(hand.posedirs[tips].reshape(15, 135).T),
        weights=np.ascontiguousarray(hand.lbs_weights[tips]),
    )


def joints_from_angles(angles: Float[np.ndarray, "N 15 3"]) -> Float[np.ndarray, "N 21 3"]:
    """Joints in metres, our order, of anatomical angles in rad (`handkit.hand.limits`); wrist at the origin."""
    s = open_skeleton()
    given, out = np.ascontiguousarray(angles, np.float64), np.empty((len(angles), 21, 3))

    def run(part: slice) -> None:
        _pose(given[part], s.frames, s.rest, s.tips, s.correctives, s.weights, out[part])

    in_threads(run, len(given), _CHUNK)
    return out


def _pose_kernel(
    angles: np.ndarray,
    frames: np.ndarray,
    rest: np.ndarray,
    tips: np.ndarray,
    correctives: np.ndarray,
    weights: np.ndarray,
    out: np.ndarray,
) -> None:
    turns, places = np.empty((16, 3, 3)), np.empty((21, 3))
    points, feature = np.empty(15), np.empty(135)
    local, step = np.empty((3, 3)), np.empty((3, 3))
    for a in range(3):
        places[0, a] = rest[0, a]
        for b in range(3):
            turns[0, a, b] = 1.0 if a == b else 0.0
    for n in range(len(angles)):
        for j in range(1, 16):
            _local(angles[n, j - 1], frames[j - 1], step, local)
            parent = _PARENTS[j]
            for a in range(3):
                places[j, a] = places[parent, a]
                for b in range(3):
                    places[j, a] += turns[parent, a, b] * (rest[j, b] - rest[parent, b])
                    turns[j, a, b] = 0.0
                    for c in range(3):
                        turns[j, a, b] += turns[parent, a, c] * local[c, b]
                    feature[9 * (j - 1) + 3 * a + b] = local[a, b] - (1.0 if a == b else 0.0)
        for i in range(15):
            points[i] = tips[i // 3, i % 3]
        for k in range(135):
            for i in range(15):
                points[i] += correctives[k, i] * feature[k]
        for f in range(5):
            for a in range(3):
                places[16 + f, a] = 0.0
            for j in range(16):
                w = weights[f, j]
                if w != 0.0:
                    for a in range(3):
                        moved = places[j, a]
                        for b in range(3):
                            moved += turns[j, a, b] * (points[3 * f + b] - rest[j, b])
                        places[16 + f, a] += w * moved
        for i in range(21):
            for a in range(3):
                out[n, i, a] = places[_ORDER[i], a]


def _local_kernel(angle: np.ndarray, frame: np.ndarray, step: np.ndarray, local: np.ndarray) -> None:
    """F Rz(flexion) Ry(-abduction) Rx(twist) F^T."""
    cf, sf = np.cos(angle[0]), np.sin(angle[0])
    ca, sa = np.cos(angle[1]), -np.sin(angle[1])
    ct, st = np.cos(angle[2]), np.sin(angle[2])
    inner = (
        (cf * ca, -sf * ct + cf * sa * st, sf * st + cf * sa * ct),
        (sf * ca, cf * ct + sf * sa * st, -cf * st + sf * sa * ct),
        (-sa, ca * st, ca * ct),
    )
    for b in range(3):
        for a in range(3):
            step[a, b] = frame[a, 0] * inner[0][b] + frame[a, 1] * inner[1][b] + frame[a, 2] * inner[2][b]
    for a in range(3):
        for b in range(3):
            local[a, b] = step[a, 0] * frame[b, 0] + step[a, 1] * frame[b, 1] + step[a, 2] * frame[b, 2]


_local = compiled(_local_kernel)
_pose = compiled(_pose_kernel)
