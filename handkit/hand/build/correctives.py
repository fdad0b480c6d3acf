"""Pose space: natural poses and their components, and correctives that keep the posed skin on the implicit surface."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from handkit.conventions import FINGERTIP_VERTICES
from handkit.hand.build.implicit import Cones, evaluate, project
from handkit.hand.build.skin import NUM_JOINTS, PARENTS
from handkit.hand.limits import angles_to_pose, joint_frames, sample_angles

NUM_NATURAL = 6000
NUM_POSES = 900
RIDGE = 4.0
# Groups of cones further than this from a vertex at rest do not shape it.
REACH = 0.012
MOST = 0.008


@dataclass(frozen=True)
class RestHand:
    """What the joint frames need of a hand."""

    v_template: np.ndarray
    J_regressor: np.ndarray
    side: Literal["right", "left"] = "right"
    tip_vertices: tuple[int, int, int, int, int] = FINGERTIP_VERTICES["smplx"]


def sample_poses(hand: RestHand, count: int, seed: int, kind: str) -> np.ndarray:
    """Axis-angle poses [count,15,3] within the limits."""
    angles = sample_angles(count, np.random.default_rng(seed), kind)
    return angles_to_pose(torch.from_numpy(angles), joint_frames(hand)).numpy().reshape(count, 15, 3)


def pose_components(hand: RestHand, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The mean natural pose [45] and orthonormal components [45,45], one a row, by falling variance."""
    poses = sample_poses(hand, NUM_NATURAL, seed, "natural").reshape(NUM_NATURAL, 45)
    mean = poses.mean(0)
    _, rows = np.linalg.eigh(np.cov((poses - mean).T))
    rows = rows.T[::-1]
    largest = np.take_along_axis(rows, np.abs(rows).argmax(1)[:, None], 1)
    return mean, rows * np.sign(largest)


def bone_transforms(joints: np.ndarray, rotations: np.ndarray) -> np.ndarray:
    """Transforms [16,4,4] from rest to a pose given rest joints [16,3] and the 15 finger rotations [15,3,3]."""
    world = np.tile(np.eye(4), (NUM_JOINTS, 1, 1))
    world[0, :3, 3] = joints[0]
    for j in range(1, NUM_JOINTS):
        local = np.eye(4)
        local[:3, :3] = rotations[j - 1]
        local[:3, 3] = joints[j] - joints[PARENTS[j]]
        world[j] = world[PARENTS[j]] @ local
    world[:, :3, 3] -= np.einsum("jab,jb->ja", world[:, :3, :3], joints)
    return world


def pose_directions(
    vertices: np.ndarray, weights: np.ndarray, joints: np.ndarray, cones: Cones, poses: np.ndarray
) -> np.ndarray:
    """Correctives [778,3,135] for the entries of R - I, by ridge least squares over poses [N,15,3].

    Every skinned vertex is moved onto the posed implicit surface (at the level it has at rest) and pulled back to rest;
    a vertex answers only to the joints whose bone, or whose parent's bone, moves it.
    """
    level, groups = evaluate(cones, vertices)
    allowed = groups < REACH
    rotations = Rotation.from_rotvec(poses.reshape(-1, 3)).as_matrix().reshape(-1, 15, 3, 3)
    pulled = np.empty((len(poses), *vertices.shape))
    for n, rotation in enumerate(rotations):
        transforms = bone_transforms(joints, rotation)
        blended = np.einsum("vj,jab->vab", weights, transforms)
        skinned = np.einsum("vab,vb->va", blended[:, :3, :3], vertices) + blended[:, :3, 3]
        moved = project(cones.posed(transforms), skinned, allowed=allowed, level=level, steps=4) - skinned
        moved *= np.minimum(1.0, MOST / np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-9))
        pulled[n] = np.linalg.solve(blended[:, :3, :3], moved[..., None])[..., 0]
    features = (rotations - np.eye(3)).reshape(len(poses), 15, 9)
    return _fit(features, pulled, weights)


def _fit(features: np.ndarray, pulled: np.ndarray, weights: np.ndarray) -> np.ndarray:
    directions = np.zeros((weights.shape[0], 3, 15, 9))
    near = weights[:, 1:] > 0.01
    for j in range(1, NUM_JOINTS):
        if PARENTS[j] > 0:
            near[:, j - 1] |= weights[:, PARENTS[j]] > 0.25
    kinds, which = np.unique(near, axis=0, return_inverse=True)
    for kind, row in enumerate(kinds):
        if not row.any():
            continue
        chosen = np.flatnonzero(which.ravel() == kind)
        design = features[:, row].reshape(len(features), -1)
        target = pulled[:, chosen].reshape(len(features), -1)
        gram = design.T @ design + RIDGE * np.eye(design.shape[1])
        solution = np.linalg.solve(gram, design.T @ target).reshape(int(row.sum()), 9, len(chosen), 3)
        directions[np.ix_(chosen, np.arange(3), np.flatnonzero(row))] = solution.transpose(2, 3, 0, 1)
    return directions.reshape(-1, 3, 135)
