"""A triangle mesh that can be changed in place: collapse, flip, arrays."""

import numpy as np


class TriangleSet:
    """Vertices, faces and who touches whom; every operation keeps the mesh a manifold."""

    def __init__(self, vertices: np.ndarray, faces: np.ndarray) -> None:
        self.points = [np.array(p) for p in vertices]
        self.faces: dict[int, tuple[int, ...]] = {i: (int(a), int(b), int(c)) for i, (a, b, c) in enumerate(faces)}
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
            self.faces[f] = tuple(keep if v == drop else v for v in self.faces[f])
            self.around[keep].add(f)
        self.points[keep] = target
        self.boundary.discard(drop)

    def _add(self, face: tuple[int, ...]) -> None:
        self.faces[self.next_face] = face
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
