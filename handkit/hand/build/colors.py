"""Vertex colours of the open hand: a middle skin tone, lighter palm, redder tips and knuckles, nails."""

import numpy as np

from handkit.hand.build.skeleton import NUM_FINGERS, Skeleton, bone_frame, palmar_hint

SKIN = np.array([0.80, 0.60, 0.50])
PALM = np.array([0.90, 0.70, 0.62])
RED = np.array([0.86, 0.56, 0.48])
NAIL = np.array([0.93, 0.76, 0.71])


def vertex_colors(vertices: np.ndarray, normals: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """RGB [778,3] in [0,1]."""
    palmar = np.clip(-normals[:, 1:2] * 1.5 + 0.2, 0.0, 1.0)
    colors = SKIN + palmar * (PALM - SKIN)
    for finger in range(NUM_FINGERS):
        chain, radii = skeleton.chain(finger), skeleton.radii[finger]
        frame = bone_frame(chain[3] - chain[2], palmar_hint(finger))
        local = (vertices - chain[3]) @ frame.T
        near = np.linalg.norm(vertices - chain[3], axis=1)
        blush = np.exp(-((near / (1.6 * radii[3])) ** 2))[:, None]
        colors = colors + 0.6 * blush * (RED - colors)
        for k in (0, 1, 2):
            knuckle = chain[k] - frame[1] * radii[k]
            glow = np.exp(-((np.linalg.norm(vertices - knuckle, axis=1) / (0.9 * radii[k])) ** 2))[:, None]
            colors = colors + 0.25 * glow * (RED - colors)
        facing = normals @ -frame[1]
        nail = (
            (local[:, 0] > -1.75 * radii[3])
            & (local[:, 0] < -0.15 * radii[3])
            & (near < 2.0 * radii[3])
            & (facing > 0.7)
        )
        colors = np.where(nail[:, None], NAIL, colors)
    return colors
