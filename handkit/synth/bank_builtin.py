"""The built-in pose bank: a dense core of common motions, and ways from it out to individual poses.

A pose flow (SeqHAND Eq. 5-7) stands still wherever no other pose of the bank is nearer to its next step, so a bank of
independent samples, each a finger's breadth from the next in some twenty ways of moving, freezes most flows. Here
poses lie where flows walk. The core fills the three main ways in which everyday postures differ. Every individual pose
(a posture or a mixture of two, with deviations of its own in all joints) comes with its way back to the core, at
distances that shrink as the steps of a flow do.
"""

from typing import Final

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from tqdm import tqdm

from handkit.hand.limits import angles_to_pose
from handkit.machine import single_thread
from handkit.synth.bank_kinematics import joints_from_angles, open_skeleton
from handkit.synth.bank_postures import POSTURE_KINDS, angles_from_postures, posture_table
from handkit.synth.penetration import penetration
from handkit.synth.threads import in_threads

VERSION: Final = "3"
BUILTIN_KINDS: Final = POSTURE_KINDS

_CORE_SHARE: Final = 0.5  # of the bank
_CORE_WAYS: Final = 3  # principal components of the postures
_MIXED: Final = 3  # postures mixed in a pose of the core
_MIXING: Final = 0.5  # their Dirichlet parameter
_BACK: Final = 0.15  # of the distance to the core, from one pose of a way back to the next
_STEP_M: Final = 0.005  # and at most this, a distance of 63 coordinates
_NEAR_M: Final = 0.006  # at which a way back has arrived
_CHUNK: Final = 4000  # individual poses made at once
_TURNED: Final = 1000  # poses of which the axis-angle is found at once: what the cache holds
_REPAIRS: Final = 24  # steps in which fingers that penetrate are opened
_OPENED: Final = 0.93  # flexion left by one step

# What a unit of each number of a posture moves, roughly: the weights of the principal components.
_WEIGHTS: Final = np.array([1, 1, 1, 1, 1.1, 1.1, 1.1, 1.1, 12, 0.6, 0.6, 0.2, 0.4, 0.4])
# Standard deviations in degrees of what one pose deviates: flexion of MCP and PIP (correlated between neighbouring
# fingers), spread, the thumb's five, DIP beside 2/3 of PIP, and every angle by itself.
_FLEXION_DEG: Final = 5.0
_SPREAD: Final = 0.12
_THUMB_DEG: Final = (4.0, 4.0, 3.0, 4.0, 5.0)
_DIP_DEG: Final = 3.0
_EACH_DEG: Final = 1.0
_NEIGHBOURS: Final = np.linalg.cholesky(0.75 ** np.abs(np.subtract.outer(np.arange(4), np.arange(4))))


def sample_bank(
    size: int, seed: int, *, show_progress: bool = False
) -> tuple[Float32[np.ndarray, "N 21 3"], Float32[np.ndarray, "N 45"], UInt8[np.ndarray, " N"]]:
    """Canonical joints, axis-angle poses (flat mean) and kinds of `size` poses of the open hand.

    All within `LIMITS_DEG`, none deeper in itself than flesh gives (`penetration`).
    """
    rng = np.random.default_rng(seed)
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    count = 0
    with tqdm(total=size, disable=not show_progress, desc="sampling poses", unit="pose") as bar:
        while count < size:
            wanted = round(size * _CORE_SHARE) - count
            parts.append(
                _core(min(wanted, 10 * _CHUNK), rng)
                if wanted > 0
                else _ways_back(min(_CHUNK, (size - count) // 8 + 64), rng)
            )
            count += len(parts[-1][0])
            bar.update(min(len(parts[-1][0]), size - bar.n))
    angles, joints, kind = (np.concatenate(each)[:size] for each in zip(*parts, strict=True))
    return joints.astype(np.float32), _axis_angles(angles), kind.astype(np.uint8)


def _axis_angles(angles: Float[np.ndarray, "N 15 3"]) -> Float32[np.ndarray, "N 45"]:
    frames, out = torch.from_numpy(open_skeleton().frames), np.empty((len(angles), 45), np.float32)

    def run(part: slice) -> None:
        out[part] = angles_to_pose(torch.from_numpy(angles[part]), frames).float().numpy()

    with single_thread():
        in_threads(run, len(angles), _TURNED)
    return out


def free_of_penetration(
    angles: Float[np.ndarray, "N 15 3"],
) -> tuple[Float[np.ndarray, "N 15 3"], np.ndarray]:
    """Angles whose penetrating fingers are opened until they only touch, and which poses [N] are then free."""
    angles, _, free = _freed(angles)
    return angles, free


def _freed(angles: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`free_of_penetration`, and between them the joints."""
    angles, joints = angles.copy(), np.empty((len(angles), 21, 3))
    bad = np.arange(len(angles))
    for step in range(_REPAIRS + 1):
        joints[bad] = now = joints_from_angles(angles[bad])
        depth, fingers = penetration(now)
        bad, fingers = bad[depth > 0], fingers[depth > 0]
        if not len(bad) or step == _REPAIRS:
            break
        # MANO's fingers: index, middle, little, ring, thumb; bits: thumb to little
        opened = np.stack([(fingers >> bit) & 1 for bit in (1, 2, 4, 3, 0)], axis=1).astype(bool)
        opened = np.repeat(opened, 3, axis=1)
        angles[bad] = np.where(opened[..., None], angles[bad] * [_OPENED, 1.0, 1.0], angles[bad])
    free = np.ones(len(angles), bool)
    free[bad] = False
    return angles, joints, free


def _core(number: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Angles, joints and kinds of mixtures of postures on the core, those that penetrate left out."""
    table, kinds = posture_table()
    weights = rng.dirichlet(np.full(_MIXED, _MIXING), number)
    chosen = rng.integers(len(table), size=(number, _MIXED))
    angles = angles_from_postures(np.einsum("nk,nkp->np", weights, _on_core(table)[chosen]))
    joints = joints_from_angles(angles)
    free = penetration(joints)[0] == 0
    return angles[free], joints[free], kinds[chosen[np.arange(number), weights.argmax(axis=1)]][free]


def _ways_back(number: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Angles, joints and kinds of `number` individual poses and of their ways back to the core."""
    table, kinds = posture_table()
    first, second = rng.integers(len(table), size=(2, number))
    share = rng.beta(0.3, 0.9, number)[:, None]
    flexion = _FLEXION_DEG * rng.standard_normal((number, 2, 4)) @ _NEIGHBOURS.T
    spread = _SPREAD * rng.standard_normal((number, 1))
    thumb = rng.standard_normal((number, 5)) * _THUMB_DEG
    pose = (1 - share) * table[first] + share * table[second]
    pose = pose + np.concatenate([flexion.reshape(number, 8), spread, thumb], axis=1)
    deviation = _EACH_DEG * rng.standard_normal((number, 15, 3))
    deviation[:, [2, 5, 8, 11], 0] += _DIP_DEG * rng.standard_normal((number, 4))
    root = _on_core(pose)
    there = joints_from_angles(angles_from_postures(pose, deviation))
    distance = np.linalg.norm((there - joints_from_angles(angles_from_postures(root))).reshape(number, 63), axis=1)
    which, left = _shares_left(distance)
    angles = angles_from_postures(root[which] + left * (pose - root)[which], left[..., None] * deviation[which])
    angles, joints, free = _freed(angles)
    nearer = np.where(share[:, 0] < 0.5, kinds[first], kinds[second])
    return angles[free], joints[free], nearer[which][free]


def _shares_left(distance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The way [M] that each pose of all ways back belongs to, and the share [M, 1] of its distance [W] that is left."""
    which, left = [], []
    at = distance.copy()
    going = np.arange(len(distance))
    while len(going):
        which.append(going)
        left.append(at[going] / distance[going])
        at[going] -= np.minimum(_BACK * at[going], _STEP_M)
        going = going[at[going] > _NEAR_M]
    return np.concatenate(which), np.concatenate(left)[:, None]


def _on_core(postures: Float[np.ndarray, "N 14"]) -> Float[np.ndarray, "N 14"]:
    """The nearest points of the core's plane."""
    table, _ = posture_table()
    mean = table.mean(axis=0)
    ways = np.linalg.svd((table - mean) * _WEIGHTS, full_matrices=False)[2][:_CORE_WAYS]
    return mean + ((postures - mean) * _WEIGHTS) @ ways.T @ ways / _WEIGHTS
