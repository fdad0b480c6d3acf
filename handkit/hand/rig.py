"""A personal hand: vertex offsets found on posed hands, carried back to the rest pose and forth again.

Skinning blends its joints' rotations linearly, so an offset d at rest moves a posed vertex by A d, where A is the mean
of the rotations by the vertex's weights. Pose correctives and shape move vertices too, but not their offsets.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.transform import Rotation

from handkit.hand.model import HandModel

# Of the largest: how far a direction may shrink in posing before its offset counts as unseen.
_DAMPING = 1e-6


def skinning_rotations(hand: HandModel, *, global_orient: ArrayLike, hand_pose: ArrayLike) -> np.ndarray:
    """The blended linear maps [T, 778, 3, 3] of poses [T, 3] and [T, 45] (axis-angle, full)."""
    vectors = np.concatenate([np.asarray(global_orient, np.float64), np.asarray(hand_pose, np.float64)], axis=1)
    local = Rotation.from_rotvec(vectors.reshape(-1, 3)).as_matrix().reshape(-1, 16, 3, 3)
    world = local.copy()
    for joint, parent in enumerate(hand.parents):
        if parent >= 0:
            world[:, joint] = world[:, parent] @ local[:, joint]
    return np.einsum("vj,tjab->tvab", hand.lbs_weights, world)


def offsets_to_pose(
    hand: HandModel, rest_offsets: ArrayLike, *, global_orient: ArrayLike, hand_pose: ArrayLike
) -> np.ndarray:
    """What offsets [778, 3] at rest add to the vertices of poses [T, 3] and [T, 45]: [T, 778, 3]."""
    maps = skinning_rotations(hand, global_orient=global_orient, hand_pose=hand_pose)
    return np.einsum("tvab,vb->tva", maps, np.asarray(rest_offsets, np.float64))


def offsets_to_rest(
    hand: HandModel,
    vertex_offsets: ArrayLike,
    *,
    global_orient: ArrayLike,
    hand_pose: ArrayLike,
    weights: ArrayLike | None = None,
) -> np.ndarray:
    """Rest offsets [778, 3] whose posed versions are nearest, over all frames, to `vertex_offsets` [T, 778, 3].

    Poses are [T, 3] and [T, 45]; `weights` [T] or [T, 778] say how much each frame counts. Where skinning is a plain
    rotation this is the mean of the offsets turned back. Without frames, or where all weights are 0, offsets are 0.
    """
    offsets = np.asarray(vertex_offsets, np.float64)
    maps = skinning_rotations(hand, global_orient=global_orient, hand_pose=hand_pose)
    counts = np.ones(offsets.shape[:2])
    if weights is not None:
        given = np.asarray(weights, np.float64)
        counts = counts * given.reshape(*given.shape, *(1,) * (2 - given.ndim))
    squares = np.einsum("tv,tvab,tvac->vbc", counts, maps, maps)
    pulls = np.einsum("tv,tvab,tva->vb", counts, maps, offsets)
    damping = _DAMPING * np.maximum(np.trace(squares, axis1=1, axis2=2), 1e-12)
    rest: np.ndarray = np.linalg.solve(squares + damping[:, None, None] * np.eye(3), pulls[..., None])[..., 0]
    return rest
