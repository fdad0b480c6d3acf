"""Skinning weights and the joint regressor."""

import numpy as np
from scipy.optimize import nnls
from scipy.sparse import coo_matrix, diags

from handkit.hand.build.implicit import Cones, evaluate
from handkit.hand.build.skeleton import NUM_FINGERS, THUMB, Skeleton

NUM_JOINTS = 16
PARENTS = np.array([-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14])
REGRESSOR_VERTICES = 60


def smoothstep(x: np.ndarray) -> np.ndarray:
    """0 below -1, 1 above 1, smooth between."""
    t = np.clip(0.5 * (x + 1.0), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def mesh_average(faces: np.ndarray, count: int) -> "coo_matrix":
    """The sparse matrix [V,V] that averages a vertex's neighbours."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    edges = np.unique(np.sort(np.concatenate([edges, edges[:, ::-1]]), 1), axis=0)
    both = np.concatenate([edges, edges[:, ::-1]])
    adjacency = coo_matrix((np.ones(len(both)), (both[:, 0], both[:, 1])), (count, count)).tocsr()
    return diags(1.0 / np.asarray(adjacency.sum(1)).ravel()) @ adjacency


def skinning_weights(vertices: np.ndarray, faces: np.ndarray, skeleton: Skeleton, cones: Cones) -> np.ndarray:
    """Weights [V,16]: at most four bones a vertex, summing to 1, smooth across the joints."""
    distance = evaluate(cones, vertices)[1]
    weights = np.zeros((len(vertices), NUM_JOINTS))
    share = _finger_shares(vertices, distance, skeleton)
    for finger in range(NUM_FINGERS):
        weights[:, 1 + 3 * finger : 4 + 3 * finger] = share[:, [finger]] * _along_finger(vertices, skeleton, finger)
    weights[:, 0] = 1.0 - weights[:, 1:].sum(1)
    average = mesh_average(faces, len(vertices))
    for _ in range(2):
        weights = 0.6 * weights + 0.4 * (average @ weights)
    return limit_bones(weights)


def limit_bones(weights: np.ndarray, most: int = 4) -> np.ndarray:
    """Keep the `most` largest weights of every row, drop those below 0.4 %, and make rows sum to 1."""
    cut = np.sort(weights, 1)[:, [-most]]
    kept = np.where((weights >= cut) & (weights >= 0.004), weights, 0.0)
    return kept / kept.sum(1, keepdims=True)


def _finger_shares(vertices: np.ndarray, distance: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """How much of a vertex [V,5] is the finger's: past its first knuckle and nearer to it than to the others."""
    reach = distance[:, 1:] - distance[:, 1:].min(1, keepdims=True)
    share = np.exp(-((reach / 0.003) ** 2))
    share /= share.sum(1, keepdims=True)
    for finger in range(NUM_FINGERS):
        chain = skeleton.chain(finger)
        direction = (chain[1] - chain[0]) / np.linalg.norm(chain[1] - chain[0])
        along = (vertices - chain[0]) @ direction
        if finger == THUMB:
            gate = smoothstep((along - 0.008) / 0.020) * smoothstep((0.016 - distance[:, 5]) / 0.012)
            share[:, finger] = np.maximum(share[:, finger], smoothstep((0.010 - distance[:, 5]) / 0.008)) * gate
        else:
            width = 1.1 * skeleton.radii[finger, 0]
            gate = smoothstep((along - 0.001) / width) * smoothstep((0.010 - distance[:, finger + 1]) / 0.005)
            share[:, finger] *= gate
    return share / np.maximum(share.sum(1, keepdims=True), 1.0)


def _along_finger(vertices: np.ndarray, skeleton: Skeleton, finger: int) -> np.ndarray:
    """Shares [V,3] of the three bones of a finger: smooth steps across the bisecting planes of knuckles 2 and 3."""
    chain = skeleton.chain(finger)
    bones = np.diff(chain, axis=0)
    bones /= np.linalg.norm(bones, axis=1, keepdims=True)
    steps = []
    for k in (1, 2):
        plane = bones[k - 1] + bones[k]
        plane /= np.linalg.norm(plane)
        steps.append(smoothstep(((vertices - chain[k]) @ plane) / (0.85 * skeleton.radii[finger, k])))
    return np.stack([1.0 - steps[0], steps[0] * (1.0 - steps[1]), steps[0] * steps[1]], -1)


def joint_regressor(
    samples: np.ndarray, joints: np.ndarray, mean_vertices: np.ndarray, mean_joints: np.ndarray
) -> np.ndarray:
    """Rows [16,778] of non-negative weights over nearby vertices, summing to 1.

    Exact at the mean and nearest in the least squares to the joints [N,16,3] of varied hands [N,778,3].
    """
    rows = np.zeros((NUM_JOINTS, len(mean_vertices)))
    for j in range(NUM_JOINTS):
        near = np.argsort(np.linalg.norm(mean_vertices - mean_joints[j], axis=1), kind="stable")[:REGRESSOR_VERTICES]
        exact = 1e4
        system = np.concatenate(
            [
                samples[:, near].transpose(0, 2, 1).reshape(-1, len(near)),
                exact * (mean_vertices[near] - mean_joints[j]).T,
                exact * np.ones((1, len(near))),
                1e-3 * np.eye(len(near)),
            ]
        )
        target = np.concatenate([joints[:, j].ravel(), np.zeros(3), [exact], np.zeros(len(near))])
        solution = nnls(system, target, maxiter=50 * len(near))[0]
        rows[j, near] = solution / solution.sum()
    return rows
