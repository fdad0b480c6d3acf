"""Flattening one chart without folds: a convex map to start, then the least stretched one, freely or inside a box.

The energy of a map with Jacobian J per face (surface to plane) is the area-weighted mean of |J^-1|^2 + c |J|^2: c = 1
is the symmetric Dirichlet energy (Smith and Schaefer 2015), a smaller c lets faces grow. It is infinite for a face that
collapses, and so is that of the outline where it meets itself, so a descent that starts as a bijection stays one.
Convention: x right, y up, faces counter-clockwise.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from handkit.hand.unwrap.cuts import boundary_loop

_MEMORY, _TOLERANCE = 12, 1e-6
_OUTLINE_WEIGHT = 0.01
Energy = Callable[[np.ndarray], tuple[float, np.ndarray]]


class Chart:
    """Vertices [N, 3] and faces [F, 3] of a disc, with what the energy needs of it."""

    def __init__(self, vertices: np.ndarray, faces: np.ndarray) -> None:
        loop = boundary_loop(faces)
        if loop is None:
            raise ValueError("the chart is no disc")
        self.vertices, self.faces, self.loop = vertices, faces, loop
        a, b, c = vertices[faces].transpose(1, 0, 2)
        along = np.linalg.norm(b - a, axis=1)
        double = np.linalg.norm(np.cross(b - a, c - a), axis=1)
        foot = ((c - a) * (b - a)).sum(1) / along
        # Rows of the inverse of the face's own frame, whose columns are b - a and c - a.
        self.inverse = np.stack([1 / along, -foot / double, np.zeros_like(along), along / double], axis=1)
        self.inverse = self.inverse.reshape(-1, 2, 2)
        self.areas = double / 2
        self.area = float(self.areas.sum())
        laplacian = self._laplacian()
        self.inverse_laplacian = np.linalg.inv(laplacian + np.eye(len(vertices)) * 1e-4)

    def _laplacian(self) -> np.ndarray:
        ones = np.zeros((len(self.vertices),) * 2)
        for k in range(3):
            ones[self.faces[:, k], self.faces[:, k - 1]] = ones[self.faces[:, k - 1], self.faces[:, k]] = 1
        return np.diag(ones.sum(1)) - ones

    def jacobians(self, uv: np.ndarray) -> np.ndarray:
        """[F, 2, 2] of the map that sends the vertices to uv [N, 2]."""
        a, b, c = uv[self.faces].transpose(1, 0, 2)
        return np.stack([b - a, c - a], axis=2) @ self.inverse

    def energy(self, uv: np.ndarray, growth: float) -> tuple[float, np.ndarray]:
        """The energy with c = `growth`, and its gradient; infinite where a face is turned over."""
        J = self.jacobians(uv)
        (a, b), (c, d) = J[:, 0].T, J[:, 1].T
        determinant = a * d - b * c
        if not (determinant > 1e-12).all():
            return np.inf, np.zeros_like(uv)
        squares = (J**2).sum((1, 2))
        share = self.areas / self.area
        value = float((share * squares * (determinant**-2 + growth)).sum())
        cofactor = np.stack([d, -c, -b, a], axis=1).reshape(-1, 2, 2)
        by_J = 2 * (determinant**-2 + growth)[:, None, None] * J
        by_J -= 2 * (squares * determinant**-3)[:, None, None] * cofactor
        by_edge = share[:, None, None] * by_J @ self.inverse.transpose(0, 2, 1)
        at_corner = np.stack([-by_edge.sum(2), by_edge[:, :, 0], by_edge[:, :, 1]], axis=1)
        gradient = np.zeros_like(uv)
        np.add.at(gradient, self.faces, at_corner)
        return value, gradient

    def outline_energy(self, uv: np.ndarray, clearance: float) -> tuple[float, np.ndarray]:
        """A barrier between outline points nearer than `clearance` to an outline edge that is not their own.

        Smith and Schaefer 2015, Eq. 6; infinite where the outline crosses itself.
        """
        start = uv[self.loop]
        end = np.roll(start, -1, axis=0)
        gradient = np.zeros_like(uv)
        if _crosses_itself(start, end):
            return np.inf, gradient
        along = end - start
        from_start = start[:, None] - start[None]  # [point, edge, 2]
        share = ((from_start * along).sum(2) / (along**2).sum(1).clip(1e-30)).clip(0, 1)
        apart = from_start - share[..., None] * along
        distance = np.sqrt((apart**2).sum(2))
        number = np.arange(len(start))
        distance[number, number] = distance[number, number - 1] = np.inf
        points, edges = np.nonzero(distance < clearance)
        near = distance[points, edges].clip(1e-12)
        slope = -2 * (clearance / near - 1) * clearance / near**2
        pull = _OUTLINE_WEIGHT * (slope / near)[:, None] * apart[points, edges]
        part = share[points, edges][:, None]
        np.add.at(gradient, self.loop[points], pull)
        np.add.at(gradient, self.loop[edges], (part - 1) * pull)
        np.add.at(gradient, self.loop[(edges + 1) % len(start)], -part * pull)
        return _OUTLINE_WEIGHT * float(((clearance / near - 1) ** 2).sum()), gradient


def flatten(chart: Chart) -> np.ndarray:
    """The chart in the plane [N, 2] at its own scale, least stretched, turned into its smallest upright box."""
    clearance = 0.005 * np.sqrt(chart.area)

    def energy(x: np.ndarray) -> tuple[float, np.ndarray]:
        return _sum(chart.energy(x, 1.0), chart.outline_energy(x, clearance))

    uv = descend(energy, _convex(chart), chart.inverse_laplacian)
    turns = [_turned(uv, angle) for angle in np.deg2rad(np.arange(0, 90, 1.0))]
    uv = min(turns, key=lambda turned: np.ptp(turned, axis=0).prod())
    return uv - uv.min(0)


def fill_box(chart: Chart, uv: np.ndarray, size: tuple[float, float], *, growth: float, clearance: float) -> np.ndarray:
    """The chart spread over the box [0, width] x [0, height], starting from its shape uv.

    `growth` is the energy's c; across notches the outline keeps about `clearance` from itself.
    """
    box = np.array(size)
    scale = np.sqrt(box.prod() / chart.area)
    uv = 0.5 * box + 0.96 * box * ((uv - uv.min(0)) / np.ptp(uv, axis=0) - 0.5)
    loop = chart.loop

    def energy(x: np.ndarray, softness: float) -> tuple[float, np.ndarray]:
        low, high = x[loop] / box, 1 - x[loop] / box
        if not (min(low.min(), high.min()) > 0):
            return np.inf, np.zeros_like(x)
        value, gradient = _sum(chart.energy(x / scale, growth), chart.outline_energy(x / scale, clearance / scale))
        gradient = gradient / scale
        gradient[loop] -= softness * (1 / low - 1 / high) / box
        return value - softness * float(np.log(low).sum() + np.log(high).sum()), gradient

    for softness in (1e-3, 1e-4, 1e-5):
        uv = descend(partial(energy, softness=softness), uv, chart.inverse_laplacian * scale**2)
    return uv


def descend(energy: Energy, start: np.ndarray, first_metric: np.ndarray, *, steps: int = 400) -> np.ndarray:
    """L-BFGS from `start` [N, 2], never leaving finite energy; `first_metric` [N, N] is its first inverse Hessian."""
    x = start
    value, gradient = energy(x)
    history: list[tuple[np.ndarray, np.ndarray, float]] = []
    for _ in range(steps):
        direction = -_two_loops(gradient, history, first_metric)
        slope = float((direction * gradient).sum())
        if slope >= 0:
            history.clear()
            direction = -first_metric @ gradient
            slope = float((direction * gradient).sum())
        length = 1.0
        while length > 1e-12:
            after, after_gradient = energy(x + length * direction)
            if after <= value + 1e-4 * length * slope:
                break
            length *= 0.5
        else:
            break
        step, change = length * direction, after_gradient - gradient
        if (curvature := float((step * change).sum())) > 1e-20:
            history = [*history[1 - _MEMORY :], (step, change, 1 / curvature)]
        gained = value - after
        x, value, gradient = x + step, after, after_gradient
        if gained < _TOLERANCE * abs(value):
            break
    return x


def _two_loops(
    gradient: np.ndarray, history: list[tuple[np.ndarray, np.ndarray, float]], first_metric: np.ndarray
) -> np.ndarray:
    direction, shares = gradient.copy(), []
    for step, change, inverse in reversed(history):
        shares.append(inverse * float((step * direction).sum()))
        direction -= shares[-1] * change
    direction = first_metric @ direction
    if history:
        step, change, inverse = history[-1]
        direction *= 1 / inverse / max(float((change * (first_metric @ change)).sum()), 1e-30)
    for (step, change, inverse), share in zip(history, reversed(shares), strict=True):
        direction += step * (share - inverse * float((change * direction).sum()))
    return direction


def _sum(first: tuple[float, np.ndarray], second: tuple[float, np.ndarray]) -> tuple[float, np.ndarray]:
    return first[0] + second[0], first[1] + second[1]


def _crosses_itself(start: np.ndarray, end: np.ndarray) -> bool:
    """Whether two edges of the closed outline, start [N, 2] to end [N, 2], cross."""
    along = end - start

    def side(points: np.ndarray) -> np.ndarray:
        """Which side of each edge each point lies on, [edge, point]."""
        offset = points[None] - start[:, None]
        return along[:, None, 0] * offset[..., 1] - along[:, None, 1] * offset[..., 0]

    parted = side(start) * side(end) < 0
    return bool((parted & parted.T).any())


def _convex(chart: Chart) -> np.ndarray:
    """Tutte's map to a disc of the chart's area, which has no folds."""
    loop, vertices = chart.loop, chart.vertices
    lengths = np.linalg.norm(vertices[loop] - vertices[np.roll(loop, -1)], axis=1)
    angle = 2 * np.pi * np.concatenate([[0], np.cumsum(lengths)[:-1]]) / lengths.sum()
    uv = np.zeros((len(vertices), 2))
    uv[loop] = np.sqrt(chart.area / np.pi) * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    inner = np.setdiff1d(np.arange(len(vertices)), loop)
    laplacian = chart._laplacian()
    uv[inner] = np.linalg.solve(laplacian[np.ix_(inner, inner)], -laplacian[np.ix_(inner, loop)] @ uv[loop])
    return uv


def _turned(uv: np.ndarray, angle: float) -> np.ndarray:
    return uv @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
