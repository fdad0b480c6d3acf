"""Shape directions: principal components of hands built from varied measurements."""

import numpy as np
from scipy.interpolate import RBFInterpolator

from handkit.hand.build.flesh import build_cones
from handkit.hand.build.implicit import project
from handkit.hand.build.skeleton import (
    NUM_FINGERS,
    WRIST_MM,
    Skeleton,
    bone_frame,
    build_skeleton,
    palmar_hint,
    sample_measurements,
)

NUM_SHAPES = 10
NUM_HANDS = 320
JOINT_WEIGHT = 10.0


def control_points(skeleton: Skeleton) -> np.ndarray:
    """Points on and around the bones that carry the mean mesh to another hand."""
    m = skeleton.measurements
    points = [skeleton.joints[0]]
    for x in (0.0, 0.02):
        for y, z in ((1, 0), (-1, 0), (0, 1), (0, -1)):
            radius = 1e-3 * m.size * np.array([19.0 * m.palm_thickness, 27.0 * m.palm_breadth])
            points.append(skeleton.joints[0] + [x, y * radius[0], z * radius[1]])
    for finger in range(NUM_FINGERS):
        chain, radii = skeleton.chain(finger), skeleton.radii[finger]
        for k in range(4):
            bone = chain[min(k + 1, 3)] - chain[min(k, 2)]
            frame = bone_frame(bone, palmar_hint(finger))
            back = frame[0] * radii[3] if k == 3 else 0.0
            points.append(chain[k])
            points += [chain[k] - back + radii[k] * side * frame[axis] for axis in (1, 2) for side in (-1.0, 1.0)]
    return np.array(points)


def varied_hands(
    vertices: np.ndarray, level: np.ndarray, fixed: np.ndarray, seed: int
) -> tuple[np.ndarray, list[Skeleton]]:
    """Meshes [N,778,3] of varied hands in correspondence with the mean one, and their skeletons."""
    rng = np.random.default_rng(seed)
    source = control_points(build_skeleton())
    offset = vertices[fixed, 0] - WRIST_MM[0] * 1e-3
    meshes, skeletons = [], []
    for _ in range(NUM_HANDS):
        skeleton = build_skeleton(sample_measurements(rng))
        carry = RBFInterpolator(source, control_points(skeleton) - source, kernel="linear", degree=1)
        moved = project(build_cones(skeleton), vertices + carry(vertices), level=level, steps=4)
        moved[fixed, 0] = WRIST_MM[0] * 1e-3 + offset * skeleton.measurements.size
        meshes.append(moved)
        skeletons.append(skeleton)
    return np.array(meshes), skeletons


def shape_directions(meshes: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """The first ten principal components, turned among themselves so that the first three have names: [778,3,10].

    Joints and tips [N,21,3] count `JOINT_WEIGHT` vertices each, so that the components explain bone lengths as well as
    skin. Scores are whitened, so any rotation of them keeps them independent and of unit variance: the first is turned
    to follow hand length, the second the fingers' length against the palm's, the third the palm's breadth against the
    hand's length, and the other seven are sorted by what they explain of the rest.
    """
    mean = meshes.mean(0)
    skin = (meshes - mean).reshape(len(meshes), -1)
    bones = (joints - joints.mean(0)).reshape(len(joints), -1)
    both = np.concatenate([skin, JOINT_WEIGHT * bones], 1)
    scores = np.linalg.svd(both, full_matrices=False)[0][:, :NUM_SHAPES] * np.sqrt(len(meshes) - 1)
    scores = scores @ _naming_rotation(scores, named_measures(joints), both)
    directions = (skin.T @ scores / (len(meshes) - 1)).reshape(-1, 3, NUM_SHAPES)
    grows = np.einsum("vad,va->d", directions, mean - joints.mean(0)[0])
    grows[:3] = 1.0
    return directions * np.where(grows < 0, -1.0, 1.0)


def named_measures(joints: np.ndarray) -> np.ndarray:
    """Logarithms [N,3] of hand length, finger over palm length, palm breadth over hand length; tips [N,21,3] last."""
    knuckles, tips = joints[:, [1, 4, 7, 10]], joints[:, 16:20]
    palm = np.linalg.norm(knuckles - joints[:, :1], axis=2).mean(1)
    chains = np.stack([knuckles, joints[:, [2, 5, 8, 11]], joints[:, [3, 6, 9, 12]], tips])
    fingers = np.linalg.norm(np.diff(chains, axis=0), axis=3).sum(0).mean(1)
    breadth = np.linalg.norm(joints[:, 1] - joints[:, 7], axis=1)
    return np.log(np.stack([palm + fingers, fingers / palm, breadth / (palm + fingers)], 1))


def _naming_rotation(scores: np.ndarray, named: np.ndarray, everything: np.ndarray) -> np.ndarray:
    """Orthogonal [10,10] whose first columns predict the named measures, one after the other, with positive sign."""
    towards = scores.T @ (named - named.mean(0))
    basis, upper = np.linalg.qr(towards)
    basis *= np.sign(np.diag(upper))
    rest = np.eye(NUM_SHAPES) - basis @ basis.T
    explained = rest @ (scores.T @ everything)
    others = np.linalg.svd(explained, full_matrices=False)[0][:, : NUM_SHAPES - basis.shape[1]]
    return np.concatenate([basis, others], 1)
