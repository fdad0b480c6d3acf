"""The stages of the build in order: surface, mesh, skin, shape, pose space, correctives, colours."""

import numpy as np

from handkit.hand.build.colors import vertex_colors
from handkit.hand.build.correctives import NUM_POSES, RestHand, pose_components, pose_directions, sample_poses
from handkit.hand.build.flesh import CUT_MM, build_cones
from handkit.hand.build.implicit import Cones, evaluate
from handkit.hand.build.mesh import (
    NUM_BOUNDARY,
    NUM_VERTICES,
    boundary_loop,
    decimate,
    flip_all,
    marching_hand,
    relax,
    swell,
    vertex_normals,
)
from handkit.hand.build.order import order_vertices
from handkit.hand.build.shape import shape_directions, varied_hands
from handkit.hand.build.skeleton import WRIST_MM, Skeleton, build_skeleton
from handkit.hand.build.skin import PARENTS, joint_regressor, skinning_weights
from handkit.hand.build.triangles import TriangleSet

SEED = 2


def edge_length(cones: Cones, skeleton: Skeleton, points: np.ndarray) -> np.ndarray:
    """The wanted edge length [N] in metres: fine on fingers and finest at their tips."""
    groups = evaluate(cones, points)[1]
    fingerness = 1.0 / (1.0 + np.exp((groups[:, 1:].min(1) - groups[:, 0]) / 0.003))
    to_tip = np.linalg.norm(points[:, None] - skeleton.tips[None], axis=-1).min(1)
    return 0.0095 - 0.0033 * fingerness - 0.0018 * np.exp(-((to_tip / 0.011) ** 2))


def build_mesh(skeleton: Skeleton, cones: Cones) -> tuple[np.ndarray, np.ndarray]:
    """The rest mesh in its final vertex order."""
    mesh = TriangleSet(*marching_hand(cones, 1e-3 * (WRIST_MM[0] + CUT_MM)))
    decimate(mesh, edge_length(cones, skeleton, mesh.arrays()[0]), NUM_BOUNDARY, boundary_only=True)
    mesh = TriangleSet(*mesh.arrays())
    decimate(mesh, edge_length(cones, skeleton, mesh.arrays()[0]), NUM_VERTICES)
    for _ in range(10):
        mesh = TriangleSet(*mesh.arrays())
        flip_all(mesh)
        vertices, faces = mesh.arrays()
        fixed = np.isin(np.arange(len(vertices)), boundary_loop(faces))
        for _ in range(4):
            vertices = relax(vertices, faces, cones, edge_length(cones, skeleton, vertices), fixed)
        mesh = TriangleSet(vertices, faces)
    vertices, faces = mesh.arrays()
    return order_vertices(swell(vertices, faces, cones), faces, skeleton)


def build_hand() -> dict[str, np.ndarray]:
    """All arrays of the hand file."""
    skeleton = build_skeleton()
    cones = build_cones(skeleton)
    vertices, faces = build_mesh(skeleton, cones)
    weights = skinning_weights(vertices, faces, skeleton, cones)
    meshes, skeletons = varied_hands(vertices, evaluate(cones, vertices)[0], boundary_loop(faces), SEED)
    joints = np.stack([s.joints for s in skeletons])
    tips = np.stack([s.tips for s in skeletons])
    directions = shape_directions(meshes, np.concatenate([joints, tips], 1))
    regressor = joint_regressor(meshes, joints, vertices, skeleton.joints)
    rest = RestHand(v_template=vertices, J_regressor=regressor)
    pose_mean, components = pose_components(rest, SEED)
    poses = np.concatenate([sample_poses(rest, NUM_POSES, SEED, kind) for kind in ("natural", "uniform")])
    correctives = pose_directions(vertices, weights, skeleton.joints, cones, poses)
    return {
        "v_template": vertices.astype(np.float32),
        "shapedirs": directions.astype(np.float32),
        "posedirs": correctives.astype(np.float16),
        "J_regressor": regressor.astype(np.float32),
        "lbs_weights": weights.astype(np.float32),
        "parents": PARENTS,
        "faces": faces.astype(np.int16),
        "hands_mean": pose_mean.astype(np.float32),
        "hands_components": components.astype(np.float32),
        "vertex_colors": vertex_colors(vertices, vertex_normals(vertices, faces), skeleton).astype(np.float16),
    }
