"""The hand as an implicit surface: round cones with an elliptical section, joined by smooth minima.

Every cone belongs to the palm (group 0) or to a finger (groups 1 to 5, MANO's order). Cones of one group join first,
then each finger joins the palm, so that neighbouring fingers never melt into each other. A cone's two ends hang on
bones, so the same surface can be posed. Values approximate the signed distance in metres, negative inside.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from handkit.hand.build.skeleton import bone_frame
from handkit.render.jit import compiled

NUM_GROUPS = 6
FAR = 1.0
FINGER_TO_PALM = 0.006
FINGER_TO_FINGER = 0.0015


@dataclass(frozen=True)
class Cones:
    """P round cones: ends [P,3], radii [P], frames [P,3,3] (rows; `flat` squeezes y), bones of both ends [P,16]."""

    group: np.ndarray
    blend: np.ndarray
    start: np.ndarray
    end: np.ndarray
    radius_start: np.ndarray
    radius_end: np.ndarray
    flat: np.ndarray
    frame: np.ndarray
    start_bones: np.ndarray
    end_bones: np.ndarray

    def posed(self, transforms: np.ndarray) -> "Cones":
        """The cones moved by bone transforms [16,4,4] (relative to rest)."""
        start = _skin(self.start, self.start_bones, transforms)
        end = _skin(self.end, self.end_bones, transforms)
        turn = np.einsum("pj,jab->pab", self.start_bones, transforms[:, :3, :3])
        x = np.einsum("pab,pb->pa", turn, self.frame[:, 0])
        hint = np.einsum("pab,pb->pa", turn, self.frame[:, 1])
        apart = np.linalg.norm(end - start, axis=1) > 1e-6
        x = np.where(apart[:, None], end - start, x)
        frame = np.stack([bone_frame(a, b) for a, b in zip(x, hint, strict=True)])
        return Cones(
            group=self.group,
            blend=self.blend,
            start=start,
            end=end,
            radius_start=self.radius_start,
            radius_end=self.radius_end,
            flat=self.flat,
            frame=frame,
            start_bones=self.start_bones,
            end_bones=self.end_bones,
        )


def _skin(points: np.ndarray, weights: np.ndarray, transforms: np.ndarray) -> np.ndarray:
    blended = np.einsum("pj,jab->pab", weights, transforms)
    return np.einsum("pab,pb->pa", blended[:, :3, :3], points) + blended[:, :3, 3]


def _kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile the bare function: run-time type checkers wrap it, which numba cannot read."""
    return compiled(inspect.unwrap(function))


@_kernel
def _cone(dx: float, dy: float, dz: float, length: float, r0: float, r1: float, flat: float) -> float:
    """Distance to a round cone along x; the section is an ellipse with y squeezed by `flat`."""
    y = dy / flat
    radial = np.sqrt(y * y + dz * dz)
    slope = (r0 - r1) / length if length > 1e-6 else 0.0
    rise = np.sqrt(1.0 - slope * slope)
    along = radial * -slope + dx * rise
    if length <= 1e-6 or along < 0.0:
        size = np.sqrt(radial * radial + dx * dx)
        value, nx, ny, nz = size - r0, dx, y, dz
    elif along > rise * length:
        over = dx - length
        size = np.sqrt(radial * radial + over * over)
        value, nx, ny, nz = size - r1, over, y, dz
    else:
        size = max(radial, 1e-9)
        value, nx, ny, nz = radial * rise + dx * slope - r0, slope * size / max(rise, 1e-6), y, dz
        size = np.sqrt(nx * nx + ny * ny + nz * nz)
    size = max(size, 1e-9)
    steep = np.sqrt(nx * nx + (ny / flat) ** 2 + nz * nz) / size
    return value / max(steep, 1.0) if steep > 0.0 else value


@_kernel
def _smooth_min(a: float, b: float, k: float) -> float:
    h = max(k - abs(a - b), 0.0) / k
    return min(a, b) - h * h * k * 0.25


@_kernel
def _field(
    points: np.ndarray,
    allowed: np.ndarray,
    group: np.ndarray,
    blend: np.ndarray,
    start: np.ndarray,
    length: np.ndarray,
    r0: np.ndarray,
    r1: np.ndarray,
    flat: np.ndarray,
    frame: np.ndarray,
    out: np.ndarray,
) -> None:
    groups = np.empty(NUM_GROUPS)
    for i in range(points.shape[0]):
        groups[:] = FAR
        for p in range(group.shape[0]):
            g = group[p]
            if not allowed[i, g]:
                continue
            d0 = points[i, 0] - start[p, 0]
            d1 = points[i, 1] - start[p, 1]
            d2 = points[i, 2] - start[p, 2]
            x = frame[p, 0, 0] * d0 + frame[p, 0, 1] * d1 + frame[p, 0, 2] * d2
            y = frame[p, 1, 0] * d0 + frame[p, 1, 1] * d1 + frame[p, 1, 2] * d2
            z = frame[p, 2, 0] * d0 + frame[p, 2, 1] * d1 + frame[p, 2, 2] * d2
            value = _cone(x, y, z, length[p], r0[p], r1[p], flat[p])
            groups[g] = _smooth_min(groups[g], value, blend[p])
        total = groups[0]
        for g in range(1, NUM_GROUPS):
            if groups[g] < FAR:
                total = _smooth_min(total, _smooth_min(groups[0], groups[g], FINGER_TO_PALM), FINGER_TO_FINGER)
        out[i, 0] = total
        out[i, 1:] = groups


def evaluate(cones: Cones, points: np.ndarray, allowed: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Signed distance [N] of points [N,3] and the distance to every group alone [N,6].

    `allowed` [N,6] leaves groups out per point, so that a fingertip touching the palm does not melt into it.
    """
    points = np.ascontiguousarray(points, np.float64)
    if allowed is None:
        allowed = np.ones((len(points), NUM_GROUPS), np.bool_)
    out = np.empty((len(points), NUM_GROUPS + 1))
    length = np.linalg.norm(cones.end - cones.start, axis=1)
    args = (cones.group, cones.blend, cones.start, length, cones.radius_start, cones.radius_end, cones.flat)
    _field(points, allowed, *args, np.ascontiguousarray(cones.frame), out)
    return out[:, 0], out[:, 1:]


def gradient(cones: Cones, points: np.ndarray, allowed: np.ndarray | None = None) -> np.ndarray:
    """Gradient [N,3] by central differences of 0.1 mm."""
    step = 1e-4
    columns = []
    for axis in np.eye(3):
        ahead = evaluate(cones, points + step * axis, allowed)[0]
        columns.append((ahead - evaluate(cones, points - step * axis, allowed)[0]) / (2 * step))
    return np.stack(columns, -1)


def project(
    cones: Cones,
    points: np.ndarray,
    *,
    allowed: np.ndarray | None = None,
    level: np.ndarray | float = 0.0,
    steps: int = 5,
) -> np.ndarray:
    """Points moved to where the distance is `level`, along the gradient (Newton steps of at most 4 mm)."""
    for _ in range(steps):
        value = evaluate(cones, points, allowed)[0] - level
        slope = gradient(cones, points, allowed)
        move = value / np.maximum((slope**2).sum(1), 0.04)
        points = points - np.clip(move, -0.004, 0.004)[:, None] * slope
    return points
