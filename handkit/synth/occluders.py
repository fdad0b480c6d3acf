"""Simple objects that hide part of a hand: held between palm and fingers, or passing in front.

Convention: an object's own frame has its axis along z; metres. "In front" is along -z of the camera, as an
orthographic view sees it.
"""

from typing import Final, Literal, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.spatial import cKDTree

from handkit.hand.model import HandModel, load_hand
from handkit.labels import OCCLUDER
from handkit.render.hard import rasterize
from handkit.synth.extras import ExtraMesh, palm_motion
from handkit.synth.skin_surface import smoothstep

OccluderKind = Literal["front", "held"]

MAX_HIDDEN: Final = 0.5
_AROUND: Final = 28
_HELD_LIMITS_M: Final = (0.005, 0.028)
# Radii at heights, both as shares of the whole, of things turned on a lathe.
_BOTTLE: Final = ((0, 0), (0.9, 0), (1, 0.03), (1, 0.6), (0.9, 0.7), (0.4, 0.82), (0.36, 0.97), (0.3, 1), (0, 1))
_CUP: Final = ((0, 0), (0.72, 0), (0.76, 0.03), (1, 1), (0.93, 1), (0.7, 0.06), (0, 0.06))
_CAN: Final = ((0, 0), (0.9, 0), (1, 0.05), (1, 0.93), (0.9, 0.98), (0.86, 0.97), (0, 0.97))
_ROD: Final = ((0, 0), (0.8, 0), (1, 0.02), (1, 0.96), (0.35, 1), (0, 1))


class Shape(NamedTuple):
    """An object in its own frame, centred."""

    vertices: np.ndarray  # [V, 3]
    faces: np.ndarray  # [F, 3] outward
    colors: np.ndarray  # [V, 3]


def sample_occluder(
    rng: np.random.Generator,
    vertices: Float[np.ndarray, "T V 3"],
    joints: Float[np.ndarray, "T J 3"],
    *,
    kind: OccluderKind,
    hand: HandModel | None = None,
) -> ExtraMesh:
    """An object of a plausible size and colour over all frames.

    "held" moves with the palm, as large as the fingers leave room for in every frame; "front" passes smoothly between
    camera and hand and never hides more than half of it.
    """
    model = hand or load_hand("open")
    if kind == "held":
        shape, placed = _held(rng, np.asarray(vertices, np.float64), np.asarray(joints, np.float64), model)
    else:
        shape, placed = _front(rng, np.asarray(vertices, np.float64), model)
    return ExtraMesh(placed.astype(np.float32), shape.faces, shape.colors.astype(np.float32), OCCLUDER)


def lathe(profile: Float[np.ndarray, "P 2"], around: int = _AROUND) -> tuple[np.ndarray, np.ndarray]:
    """A solid of revolution from (radius, height) pairs, from the bottom's middle over the outside to the top's."""
    angle = np.arange(around) * 2 * np.pi / around
    ring = np.stack([np.cos(angle), np.sin(angle), np.zeros(around)], 1)
    points = profile[:, 0, None, None] * ring + profile[:, 1, None, None] * np.array([0.0, 0.0, 1.0])
    faces = _grid_faces(len(profile), around)
    return points.reshape(-1, 3), faces


def torus(radius: float, thickness: float, around: int = _AROUND, across: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """A ring about z of a round section; radii in metres."""
    a, b = np.arange(around) * 2 * np.pi / around, np.arange(across) * 2 * np.pi / across
    reach = radius + thickness * np.cos(b)[:, None]
    points = np.stack(
        [
            reach * np.cos(a),
            reach * np.sin(a),
            np.broadcast_to(thickness * np.sin(b)[:, None], reach.shape[:1] + a.shape),
        ],
        axis=-1,
    )
    closed = np.concatenate([points, points[:1]])
    return closed.reshape(-1, 3), _grid_faces(across + 1, around)


def box(size: Float[np.ndarray, "3"]) -> tuple[np.ndarray, np.ndarray]:
    """A box about the origin, its corners not shared between sides so that its edges stay sharp."""
    points: list[np.ndarray] = []
    faces: list[list[int]] = []
    for axis in range(3):
        for sign in (-1.0, 1.0):
            u, v = np.eye(3)[(axis + 1) % 3], np.eye(3)[(axis + 2) % 3] * sign
            middle = sign * np.eye(3)[axis]
            start = len(points)
            points += [middle - u - v, middle + u - v, middle + u + v, middle - u + v]
            faces += [[start, start + 1, start + 2], [start, start + 2, start + 3]]
    return np.array(points) * np.asarray(size) / 2, np.array(faces)


def _grid_faces(rings: int, around: int) -> np.ndarray:
    k, i = np.meshgrid(np.arange(rings - 1), np.arange(around), indexing="ij")
    a, b = k * around + i, k * around + (i + 1) % around
    c, d = a + around, b + around
    return np.stack([np.stack([a, b, c], -1), np.stack([b, d, c], -1)], axis=2).reshape(-1, 3)


def _turned(profile: tuple[tuple[float, float], ...], radius: float, length: float) -> tuple[np.ndarray, np.ndarray]:
    points, faces = lathe(np.array(profile) * [radius, length])
    return points - [0, 0, length / 2], faces


def _ball(radius: float) -> tuple[np.ndarray, np.ndarray]:
    angle = np.linspace(-np.pi / 2, np.pi / 2, 15)
    return lathe(np.stack([radius * np.cos(angle).clip(0), radius * np.sin(angle)], axis=1))


def _colored(rng: np.random.Generator, solid: tuple[np.ndarray, np.ndarray]) -> Shape:
    """One colour, for half of the things with a band of another around the axis."""
    points, faces = solid
    value, hue, chroma = rng.uniform(0.12, 0.9), rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.6)
    color = np.clip(value * (1 + chroma * np.cos(hue + np.array([0.0, 2.1, 4.2]))), 0.03, 0.95)
    colors = np.tile(color, (len(points), 1))
    if rng.random() < 0.5:
        height = points[:, 2] / max(np.abs(points[:, 2]).max(), 1e-9)
        middle, half = rng.uniform(-0.4, 0.4), rng.uniform(0.15, 0.5)
        band = np.abs(height - middle) < half
        colors[band] = np.clip(rng.uniform(0.1, 0.95) * np.ones(3) + rng.normal(0, 0.15, 3), 0.03, 0.95)
    return Shape(points, faces, colors)


def _held(
    rng: np.random.Generator, vertices: np.ndarray, joints: np.ndarray, hand: HandModel
) -> tuple[Shape, np.ndarray]:
    """A rod, bottle, can, ball or box along the knuckles, touching the palm."""
    rotation, _ = palm_motion(vertices, hand)
    origin = joints[:, [5, 9, 13, 17]].mean(1)
    local = np.einsum("tvi,tij->tvj", vertices - origin[:, None], rotation)
    knuckles = np.einsum("tji,tik->jk", joints[:, [5, 17]] - origin[:, None], rotation) / len(joints)
    axis = knuckles[0] - knuckles[1]
    axis /= np.linalg.norm(axis)
    # y out of the palm, z along the knuckles
    ahead = np.cross([0.0, -1.0, 0.0], axis)
    ahead /= np.linalg.norm(ahead)
    frame = np.stack([ahead, np.cross(axis, ahead), axis], axis=1)
    turned = local @ frame
    centre, room = _free_place(turned)
    radius = float(np.clip(room, *_HELD_LIMITS_M)) * rng.uniform(0.95, 1.2)
    shape = _colored(rng, _held_solid(rng, radius))
    shift = np.array([centre[0], centre[1], rng.uniform(-0.02, 0.02)])
    placed = np.einsum("tij,vj->tvi", rotation, (shape.vertices + shift) @ frame.T)
    return shape, placed + origin[:, None]


def _held_solid(rng: np.random.Generator, radius: float) -> tuple[np.ndarray, np.ndarray]:
    if radius < 0.011:
        return _turned(_ROD, radius, rng.uniform(0.12, 0.2))
    name = rng.choice(["rod", "bottle", "can", "ball", "box"])
    if name == "rod":
        return _turned(_ROD, radius, rng.uniform(0.14, 0.24))
    if name == "bottle":
        return _turned(_BOTTLE, radius, radius * rng.uniform(4.5, 6.5))
    if name == "can":
        return _turned(_CAN, radius, radius * rng.uniform(3.0, 4.0))
    if name == "ball":
        return _ball(radius)
    return box(np.array([1.4 * radius, 1.4 * radius, rng.uniform(0.08, 0.16)]))


def _free_place(turned: np.ndarray) -> tuple[np.ndarray, float]:
    """Where in front of the palm an axis along z is farthest from the hand in all frames, and how far [m]."""
    near = turned[np.abs(turned[..., 2]) < 0.045][:, :2]
    x, y = np.meshgrid(np.linspace(-0.02, 0.022, 15), np.linspace(0.01, 0.042, 17), indexing="ij")
    places = np.stack([x, y], axis=-1).reshape(-1, 2)
    distance, _ = cKDTree(near).query(places)
    best = int(np.argmax(np.minimum(distance, places[:, 1])))  # what is held touches the palm
    return places[best], float(min(distance[best], places[best, 1]))


def _front(rng: np.random.Generator, vertices: np.ndarray, hand: HandModel) -> tuple[Shape, np.ndarray]:
    """A thing that crosses the view in front of the hand from a random start to a random end."""
    nearest = float(vertices[..., 2].min())
    extent = float((vertices.max(1) - vertices.min(1))[:, :2].max())
    shape = _colored(rng, _front_solid(rng, extent))
    start, end = _random_turn(rng), rng.normal(0, 0.3, 3)
    share = smoothstep(0.0, 1.0, np.linspace(0, 1, len(vertices)))
    middle = vertices[..., :2].mean(1)
    angle = rng.uniform(0, 2 * np.pi)
    offset = np.array([np.cos(angle), np.sin(angle)]) * rng.uniform(0.15, 0.5) * extent
    drift = rng.normal(0, 0.12, 2) * extent
    size = 1.0
    for _ in range(12):
        placed = np.empty((len(vertices), len(shape.vertices), 3))
        for t, s in enumerate(share):
            body = size * shape.vertices @ (_rotation(s * end) @ start).T
            xy = middle[t] + offset + s * drift
            placed[t] = body + np.array([*xy, nearest - 0.03 - body[:, 2].max()])
        if max(hidden_share(v, hand.faces, p, shape.faces) for v, p in zip(vertices, placed, strict=True)) < MAX_HIDDEN:
            break
        offset, size = offset * 1.15, size * 0.9
    return shape, placed


def _front_solid(rng: np.random.Generator, extent: float) -> tuple[np.ndarray, np.ndarray]:
    name = rng.choice(["box", "cylinder", "ball", "ring", "bottle", "cup"])
    size = extent * rng.uniform(0.3, 0.6)
    if name == "box":
        return box(size * rng.uniform([0.3, 0.3, 0.6], [0.8, 0.8, 1.4]))
    if name == "cylinder":
        return _turned(_CAN, size * rng.uniform(0.15, 0.35), size * rng.uniform(0.8, 1.6))
    if name == "ball":
        return _ball(size / 2.2)
    if name == "ring":
        thickness = size * rng.uniform(0.08, 0.2)
        return torus(size / 2, thickness)
    return _turned(_BOTTLE if name == "bottle" else _CUP, size / 3.5, size * (1.3 if name == "bottle" else 0.7))


def hidden_share(
    hand_vertices: Float[np.ndarray, "V 3"], hand_faces: np.ndarray, vertices: np.ndarray, faces: np.ndarray
) -> float:
    """The share of a hand's outline, seen along z, that an object nearer to the camera covers, at 64 x 64."""
    low, high = hand_vertices[:, :2].min(0), hand_vertices[:, :2].max(0)
    scale = 62.0 / float((high - low).max())
    masks = []
    for points, triangles in ((hand_vertices, hand_faces), (vertices, faces)):
        flat = np.concatenate([(points[:, :2] - low) * scale + 1.0, np.ones((len(points), 1))], axis=1)
        masks.append(rasterize(flat, triangles, size=(64, 64)).face_ids >= 0)
    return float((masks[0] & masks[1]).sum() / max(masks[0].sum(), 1))


def _random_turn(rng: np.random.Generator) -> np.ndarray:
    q = rng.normal(size=4)
    w, x, y, z = q / np.linalg.norm(q)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def _rotation(vector: np.ndarray) -> np.ndarray:
    angle = float(np.linalg.norm(vector))
    x, y, z = vector / max(angle, 1e-12)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
