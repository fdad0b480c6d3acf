"""Vertex numbers: MANO's well-known vertices lie at the same places on the open hand.

Fingertips of every convention, the two palm vertices of manopth's palm root, and the wrist's rim so that the cap faces
used with MANO close it, looking outward.
"""

import numpy as np

from handkit.conventions import FINGERS, FINGERTIP_VERTICES, MANO_FINGERS, PALM_VERTICES
from handkit.hand.build.mesh import boundary_loop
from handkit.hand.build.skeleton import Skeleton

# Faces that close MANO's wrist, as HaMeR adds them for rendering.
CAP_FACES = np.array(
    [
        [92, 38, 234],
        [234, 38, 239],
        [38, 122, 239],
        [239, 122, 279],
        [122, 118, 279],
        [279, 118, 215],
        [118, 117, 215],
        [215, 117, 214],
        [117, 119, 214],
        [214, 119, 121],
        [119, 120, 121],
        [121, 120, 78],
        [120, 108, 78],
        [78, 108, 79],
    ]
)


def order_vertices(vertices: np.ndarray, faces: np.ndarray, skeleton: Skeleton) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and faces renumbered; the rest is sorted from the wrist outward, finger by finger."""
    place: dict[int, int] = {}
    _place_rim(vertices, faces, place)
    _place_tips(vertices, skeleton, place)
    _place_palm(vertices, faces, skeleton, place)
    free_numbers = [i for i in range(len(vertices)) if i not in place]
    taken = set(place.values())
    joints = skeleton.joints
    owner = np.linalg.norm(vertices[:, None] - joints[None], axis=-1).argmin(1)
    rest = sorted(
        (v for v in range(len(vertices)) if v not in taken), key=lambda v: (owner[v], -vertices[v, 0], vertices[v, 2])
    )
    place.update(zip(free_numbers, rest, strict=True))
    old = np.array([place[i] for i in range(len(vertices))])
    number = np.empty(len(old), np.int64)
    number[old] = np.arange(len(old))
    renumbered = number[faces]
    # every face starts at its smallest vertex, and faces are sorted
    first = renumbered.argmin(1)
    renumbered = np.stack([renumbered[np.arange(len(faces)), (first + k) % 3] for k in range(3)], 1)
    return vertices[old], renumbered[np.lexsort(renumbered.T[::-1])]


def _place_rim(vertices: np.ndarray, faces: np.ndarray, place: dict[int, int]) -> None:
    rim = boundary_loop(faces)
    cap = boundary_loop(CAP_FACES)[::-1]
    best, best_cost = 0, np.inf
    for turn in range(len(rim)):
        at = dict(zip(cap, np.roll(rim, turn), strict=True))
        corners = vertices[[[at[v] for v in f] for f in CAP_FACES]]
        cost = np.linalg.norm(corners - np.roll(corners, 1, 1), axis=-1).sum()
        if cost < best_cost - 1e-9:
            best, best_cost = turn, cost
    place.update({int(a): int(b) for a, b in zip(cap, np.roll(rim, best), strict=True)})


def _place_tips(vertices: np.ndarray, skeleton: Skeleton, place: dict[int, int]) -> None:
    taken = set(place.values())
    for f, finger in enumerate(MANO_FINGERS):
        column = FINGERS.index(finger)
        numbers = list(dict.fromkeys(tips[column] for tips in FINGERTIP_VERTICES.values()))
        near = np.argsort(np.linalg.norm(vertices - skeleton.tips[f], axis=1), kind="stable")
        chosen = [int(v) for v in near if int(v) not in taken][: len(numbers)]
        place.update(zip(numbers, chosen, strict=True))
        taken.update(chosen)


def _place_palm(vertices: np.ndarray, faces: np.ndarray, skeleton: Skeleton, place: dict[int, int]) -> None:
    """Two neighbouring vertices in the middle of the palm's skin."""
    normals = np.zeros_like(vertices)
    flat = np.cross(vertices[faces[:, 1]] - vertices[faces[:, 0]], vertices[faces[:, 2]] - vertices[faces[:, 0]])
    for k in range(3):
        np.add.at(normals, faces[:, k], flat)
    centre = 0.5 * (skeleton.joints[0] + skeleton.joints[4])
    distance = np.linalg.norm((vertices - centre)[:, [0, 2]], axis=1) + np.where(normals[:, 1] < 0, 0.0, 1.0)
    first, second = np.argsort(distance, kind="stable")[:2]
    place.update(zip(PALM_VERTICES, (int(first), int(second)), strict=True))
