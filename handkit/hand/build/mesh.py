"""From the implicit surface to a disc of exactly 778 vertices: marching cubes, edge collapse, relaxation.

A triangulated disc with V vertices and b boundary edges has 2 V - 2 - b faces: 778 and 16 give MANO's 1538.
"""

import heapq

import numpy as np
from skimage.measure import label, marching_cubes

from handkit.hand.build.implicit import Cones, evaluate, gradient
from handkit.hand.build.triangles import TriangleSet

NUM_VERTICES = 778
NUM_BOUNDARY = 16
STEP = 0.002


def marching_hand(cones: Cones, cut_x: float) -> tuple[np.ndarray, np.ndarray]:
    """A fine mesh of the hand, open where the plane x = cut_x cuts the wrist."""
    reach = max(float(cones.radius_start.max()), float(cones.radius_end.max())) + 0.006
    ends = np.concatenate([cones.start, cones.end])
    low, high = ends.min(0) - reach, ends.max(0) + reach
    high[0] = cut_x
    count = np.ceil((high - low) / STEP).astype(int) + 1
    low = high - (count - 1) * STEP
    axes = [low[i] + STEP * np.arange(count[i]) for i in range(3)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    value = evaluate(cones, grid)[0].reshape(count)
    pieces = label(value < 0, connectivity=1)
    biggest = np.argmax(np.bincount(pieces.ravel())[1:]) + 1
    value = np.where((value < 0) & (pieces != biggest), 1e-4, value)
    vertices, faces, _, _ = marching_cubes(value, 0.0, spacing=(STEP,) * 3)
    vertices = vertices.astype(np.float64) + low
    faces = faces.astype(np.int64)
    corner = vertices[faces]
    volume = np.einsum("fi,fi->", corner[:, 0], np.cross(corner[:, 1], corner[:, 2]))
    return vertices, faces if volume > 0 else faces[:, ::-1]


def decimate(mesh: TriangleSet, sizing: np.ndarray, target: int, *, boundary_only: bool = False) -> None:
    """Collapse the edges shortest against the wanted length until `target` vertices (of the boundary) are left."""
    wanted = dict(zip(sorted(mesh.around), sizing, strict=True))
    fixed = set() if boundary_only else set(mesh.boundary)

    def cost(a: int, b: int) -> float:
        return mesh.length(a, b) / (wanted[a] + wanted[b])

    def candidates(edges: list[tuple[int, int]]) -> list[tuple[float, int, int]]:
        rim = mesh.boundary
        if boundary_only:
            edges = [(a, b) for a, b in edges if a in rim and b in rim and len(mesh.around[a] & mesh.around[b]) == 1]
        else:
            edges = [(a, b) for a, b in edges if not (a in fixed and b in fixed)]
        return [(cost(a, b), a, b) for a, b in edges]

    heap = candidates(mesh.edges())
    heapq.heapify(heap)
    while (len(mesh.boundary) if boundary_only else len(mesh.around)) > target:
        if not heap:
            raise RuntimeError("no edge left to collapse")
        value, a, b = heapq.heappop(heap)
        if a not in mesh.around or b not in mesh.around or b not in mesh.neighbours(a) or value != cost(a, b):
            continue
        keep, drop = (a, b) if b not in fixed else (b, a)
        middle = mesh.points[keep] if keep in fixed else 0.5 * (mesh.points[a] + mesh.points[b])
        if not mesh.can_collapse(keep, drop, middle):
            continue
        mesh.collapse(keep, drop, middle)
        for edge in candidates([(min(keep, v), max(keep, v)) for v in sorted(mesh.neighbours(keep))]):
            heapq.heappush(heap, edge)


def flip_all(mesh: TriangleSet) -> int:
    """One pass of flips towards a Delaunay triangulation; the number of flips."""
    return sum(mesh.flip(a, b) for a, b in mesh.edges())


def relax(vertices: np.ndarray, faces: np.ndarray, cones: Cones, sizing: np.ndarray, fixed: np.ndarray) -> np.ndarray:
    """One step of sliding vertices to the weighted centre of their neighbours and back onto the surface."""
    area = np.linalg.norm(
        np.cross(vertices[faces[:, 1]] - vertices[faces[:, 0]], vertices[faces[:, 2]] - vertices[faces[:, 0]]), axis=1
    )
    density = area / sizing[faces].mean(1) ** 2
    total, weight = np.zeros_like(vertices), np.zeros(len(vertices))
    centre = vertices[faces].mean(1) * density[:, None]
    for k in range(3):
        np.add.at(total, faces[:, k], centre)
        np.add.at(weight, faces[:, k], density)
    move = total / weight[:, None] - vertices
    normal = gradient(cones, vertices)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-12
    move -= (move * normal).sum(1, keepdims=True) * normal
    moved = vertices + 0.6 * move
    for _ in range(3):
        value, slope = evaluate(cones, moved)[0], gradient(cones, moved)
        moved = moved - np.clip(value / np.maximum((slope**2).sum(1), 0.1), -0.002, 0.002)[:, None] * slope
    return np.where(fixed[:, None], vertices, moved)


def boundary_loop(faces: np.ndarray) -> np.ndarray:
    """The vertices of the one open boundary, in the direction of the faces beside it."""
    directed = {(int(f[k]), int(f[(k + 1) % 3])) for f in faces for k in range(3)}
    following = {a: b for a, b in directed if (b, a) not in directed}
    start = min(following)
    loop = [start]
    while following[loop[-1]] != start:
        loop.append(following[loop[-1]])
    if len(loop) != len(following):
        raise RuntimeError("more than one boundary")
    return np.array(loop)


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Unit normals [V,3], faces weighted by area."""
    corners = vertices[faces]
    flat = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(normals, faces[:, k], flat)
    return normals / (np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12)


def swell(vertices: np.ndarray, faces: np.ndarray, cones: Cones) -> np.ndarray:
    """Vertices moved outward by half the sagitta of their faces (at most 1 mm), so that flat faces keep the volume."""
    rim = boundary_loop(faces)
    normals = vertex_normals(vertices, faces)
    sagitta, count = np.zeros(len(vertices)), np.zeros(len(vertices))
    depth = evaluate(cones, vertices[faces].mean(1))[0]
    for k in range(3):
        np.add.at(sagitta, faces[:, k], depth)
        np.add.at(count, faces[:, k], 1.0)
    move = np.clip(-0.6 * sagitta / count, -1e-3, 1e-3)[:, None] * normals
    move[rim, 0] = 0.0
    return vertices + move
