"""From the implicit surface to a disc of exactly 778 vertices: marching cubes, edge collapse, relaxation.

A triangulated disc with V vertices and b boundary edges has 2 V - 2 - b faces: 778 and 16 give MANO's 1538.
"""

import heapq

import numpy as np
from skimage.measure import label, marching_cubes

from handkit.hand.build.implicit import Cones, evaluate, gradient

NUM_VERTICES = 778
NUM_BOUNDARY = 16
STEP = 0.002


class TriangleSet:
    """A mutable manifold triangle mesh with edge collapse, split and flip."""

    def __init__(self, vertices: np.ndarray, faces: np.ndarray) -> None:
        self.points = [np.array(p) for p in vertices]
        self.faces: dict[int, tuple[int, int, int]] = {i: (int(a), int(b), int(c)) for i, (a, b, c) in enumerate(faces)}
        self.around: dict[int, set[int]] = {i: set() for i in range(len(vertices))}
        for i, f in self.faces.items():
            for v in f:
                self.around[v].add(i)
        self.next_face = len(self.faces)
        self.boundary = self._boundary_vertices()

    def neighbours(self, v: int) -> set[int]:
        return {u for f in self.around[v] for u in self.faces[f]} - {v}

    def edges(self) -> list[tuple[int, int]]:
        """Every edge once, sorted."""
        found = {(min(a, b), max(a, b)) for f in self.faces.values() for a, b in zip(f, f[1:] + f[:1], strict=True)}
        return sorted(found)

    def _boundary_vertices(self) -> set[int]:
        return {v for e in self.edges() if len(self.around[e[0]] & self.around[e[1]]) == 1 for v in e}

    def length(self, a: int, b: int) -> float:
        return float(np.linalg.norm(self.points[a] - self.points[b]))

    def _normal(self, face: tuple[int, ...]) -> np.ndarray:
        a, b, c = (self.points[v] for v in face)
        return np.cross(b - a, c - a)

    def can_collapse(self, keep: int, drop: int, target: np.ndarray) -> bool:
        """Link condition, and no face turns by more than about 75 degrees."""
        shared = self.around[keep] & self.around[drop]
        if len(self.neighbours(keep) & self.neighbours(drop)) != len(shared):
            return False
        if drop in self.boundary and (keep not in self.boundary or len(shared) != 1):
            return False
        for v in (keep, drop):
            for f in self.around[v] - shared:
                face = self.faces[f]
                before = self._normal(face)
                old, self.points[v] = self.points[v], target
                after = self._normal(face)
                self.points[v] = old
                if before @ after < 0.25 * np.linalg.norm(before) * np.linalg.norm(after) + 1e-16:
                    return False
        return True

    def collapse(self, keep: int, drop: int, target: np.ndarray) -> None:
        for f in self.around[keep] & self.around[drop]:
            for v in self.faces.pop(f):
                self.around[v].discard(f)
        for f in self.around.pop(drop):
            self.faces[f] = tuple(keep if v == drop else v for v in self.faces[f])  # type: ignore[assignment]
            self.around[keep].add(f)
        self.points[keep] = target
        self.boundary.discard(drop)

    def split(self, a: int, b: int) -> int:
        """Put a vertex in the middle of an inner edge; returns it."""
        middle = len(self.points)
        self.points.append(0.5 * (self.points[a] + self.points[b]))
        self.around[middle] = set()
        for f in sorted(self.around[a] & self.around[b]):
            face = self.faces.pop(f)
            for v in face:
                self.around[v].discard(f)
            for gone in (a, b):
                self._add(tuple(middle if v == gone else v for v in face))
        return middle

    def _add(self, face: tuple[int, ...]) -> None:
        self.faces[self.next_face] = face  # type: ignore[assignment]
        for v in face:
            self.around[v].add(self.next_face)
        self.next_face += 1

    def flip(self, a: int, b: int) -> bool:
        """Turn the edge a-b of two faces if that is nearer to Delaunay and folds nothing; whether it was turned."""
        shared = sorted(self.around[a] & self.around[b])
        if len(shared) != 2:
            return False
        first, second = (self.faces[f] for f in shared)
        i = first.index(a)
        if first[(i + 1) % 3] != b:
            first, second = second, first
        c = next(v for v in first if v not in (a, b))
        d = next(v for v in second if v not in (a, b))
        if d in self.neighbours(c):
            return False
        made = ((c, a, d), (c, d, b))
        normals = [self._normal(f) for f in (first, second)]
        for f in made:
            n = self._normal(f)
            if min(n @ m / (np.linalg.norm(n) * np.linalg.norm(m) + 1e-18) for m in normals) < 0.3:
                return False
        if self._angle(a, b, c) + self._angle(a, b, d) <= np.pi + 0.05:
            return False
        for gone in shared:
            for v in self.faces.pop(gone):
                self.around[v].discard(gone)
        for face in made:
            self._add(face)
        return True

    def _angle(self, a: int, b: int, at: int) -> float:
        u, v = self.points[a] - self.points[at], self.points[b] - self.points[at]
        return float(np.arccos(np.clip(u @ v / (np.linalg.norm(u) * np.linalg.norm(v) + 1e-18), -1, 1)))

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Vertices [V,3] and faces [F,3] without the gaps."""
        used = sorted(self.around)
        number = {v: i for i, v in enumerate(used)}
        faces = np.array([[number[v] for v in self.faces[f]] for f in sorted(self.faces)])
        return np.array([self.points[v] for v in used]), faces


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
