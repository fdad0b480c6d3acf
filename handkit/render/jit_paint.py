"""Compiled kernel of `handkit.synth.paint`: meshes drawn over pictures, one sequence a call.

Convention: pixel (x, y) has its centre at (x + 0.5, y + 0.5). A point is pixel x, pixel y and a key that grows with
distance and is linear on screen (z, or -1/z under perspective); faces with a corner that is not finite are skipped.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from handkit.render.jit import compiled

INSIDE_SHADE = 0.55  # how much of its light the inner side of a mesh keeps
BOUNCE = 0.35  # how unevenly ambient light comes from the light's side and from the other
CODES = 8192  # steps of linear light in the table back to display values


def _linear_from_display(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def _display_from_linear(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(values <= 0.0031308, values * 12.92, 1.055 * values ** (1 / 2.4) - 0.055)


LINEAR = _linear_from_display(np.arange(256) / 255).astype(np.float32)
DISPLAY = (255 * _display_from_linear(np.arange(CODES + 1) / CODES) + 0.5).astype(np.uint8)


def linear_colors(colors: NDArray[np.floating]) -> NDArray[np.float32]:
    """Display sRGB in [0, 1] as linear light; values outside are cut."""
    return _linear_from_display(np.clip(np.asarray(colors, np.float64), 0, 1)).astype(np.float32)


@compiled
def paint_frames(
    images: NDArray[np.uint8],  # [T, H, W, 3], drawn on in place
    labels: NDArray[np.uint8],  # [T, H, W], zeros
    points: NDArray[np.float64],  # [T, V, 3]
    normals: NDArray[np.float32],  # [T, V, 3], of any length, outwards
    colors: NDArray[np.float32],  # [V, 3], linear light
    faces: NDArray[np.int32],  # [F, 3]
    face_labels: NDArray[np.uint8],  # [F]
    light: NDArray[np.float32],  # ambient, diffuse, sheen, towards it (3), its colour (3), halfway to the eye (3)
    lit: bool,
    fine: int,  # samples a pixel, each way
    linear: NDArray[np.float32],
    display: NDArray[np.uint8],
) -> None:
    """Colours from fine x fine samples a pixel, averaged in linear light; labels from pixel centres."""
    height, width = labels.shape[1:]
    coarse_ids = np.empty((height, width), np.int32)
    coarse_depth = np.empty((height, width), np.float32)
    coarse_shares = np.empty((0, 0, 2), np.float32)
    for t in range(len(images)):
        left, top, right, bottom = _box(points[t], width, height)
        if left >= right or top >= bottom:
            continue
        _nearest(points[t], faces, 0, 0, 1, False, coarse_ids, coarse_depth, coarse_shares)
        for y in range(top, bottom):
            for x in range(left, right):
                if coarse_ids[y, x] >= 0:
                    labels[t, y, x] = face_labels[coarse_ids[y, x]]
        rows, columns = (bottom - top) * fine, (right - left) * fine
        ids = np.empty((rows, columns), np.int32)
        depth = np.empty((rows, columns), np.float32)
        shares = np.empty((rows, columns, 2), np.float32)
        _nearest(points[t], faces, left, top, fine, True, ids, depth, shares)
        _resolve(
            images[t], left, top, points[t], normals[t], colors, faces, light, lit, fine, ids, shares, linear, display,
        )  # fmt: skip


@compiled
def _box(points: NDArray[np.float64], width: int, height: int) -> tuple[int, int, int, int]:
    """First x and y, past the last x and y, of the pixels that finite points can touch."""
    x0, y0, x1, y1 = float(width), float(height), 0.0, 0.0
    for i in range(len(points)):
        x, y = points[i, 0], points[i, 1]
        if np.isfinite(x) and np.isfinite(y) and np.isfinite(points[i, 2]):
            x0, x1, y0, y1 = min(x0, x), max(x1, x), min(y0, y), max(y1, y)
    x1, y1 = min(np.ceil(x1), width), min(np.ceil(y1), height)
    return int(max(np.floor(x0), 0)), int(max(np.floor(y0), 0)), int(x1), int(y1)


@compiled
def _nearest(
    points: NDArray[np.float64],
    faces: NDArray[np.int32],
    left: int,
    top: int,
    fine: int,
    with_shares: bool,
    ids: NDArray[np.int32],
    depth: NDArray[np.float32],
    shares: NDArray[np.float32],
) -> None:
    """The nearest face at every sample, -1 where none, by the arithmetic of `render.hard`; the first of equals."""
    height, width = ids.shape
    for y in range(height):
        for x in range(width):
            ids[y, x] = -1
            depth[y, x] = np.inf
    for f in range(len(faces)):
        i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
        ax, ay, az = fine * (points[i, 0] - left) - 0.5, fine * (points[i, 1] - top) - 0.5, points[i, 2]
        bx, by, bz = fine * (points[j, 0] - left) - 0.5, fine * (points[j, 1] - top) - 0.5, points[j, 2]
        cx, cy, cz = fine * (points[k, 0] - left) - 0.5, fine * (points[k, 1] - top) - 0.5, points[k, 2]
        x_first = int(np.ceil(min(max(min(ax, bx, cx), 0.0), width)))
        x_last = int(np.floor(max(min(max(ax, bx, cx), width - 1.0), -1.0)))
        y_first = int(np.ceil(min(max(min(ay, by, cy), 0.0), height)))
        y_last = int(np.floor(max(min(max(ay, by, cy), height - 1.0), -1.0)))
        if x_first > x_last or y_first > y_last:
            continue
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if not (area > 1e-12 or area < -1e-12) or not np.isfinite(az + bz + cz):
            continue
        ux, vx = (by - cy) / area, (cy - ay) / area
        uy, vy = (cx - bx) / area, (ax - cx) / area
        for y in range(y_first, y_last + 1):
            for x in range(x_first, x_last + 1):
                u = ux * (x - cx) + uy * (y - cy)
                v = vx * (x - cx) + vy * (y - cy)
                w = 1.0 - u - v
                if u < -1e-9 or v < -1e-9 or w < -1e-9:
                    continue
                z = np.float32(u * az + v * bz + w * cz)
                if z < depth[y, x]:
                    ids[y, x] = f
                    depth[y, x] = z
                    if with_shares:
                        shares[y, x, 0] = u
                        shares[y, x, 1] = v


@compiled
def _resolve(
    image: NDArray[np.uint8],
    left: int,
    top: int,
    points: NDArray[np.float64],
    normals: NDArray[np.float32],
    colors: NDArray[np.float32],
    faces: NDArray[np.int32],
    light: NDArray[np.float32],
    lit: bool,
    fine: int,
    ids: NDArray[np.int32],
    shares: NDArray[np.float32],
    linear: NDArray[np.float32],
    display: NDArray[np.uint8],
) -> None:
    """Mix the samples of every pixel, from (left, top) on, in linear light."""
    height, width = ids.shape[0] // fine, ids.shape[1] // fine
    steps = np.float32(len(display) - 1)
    one = np.float32(1)
    for y in range(height):
        for x in range(width):
            covered = 0
            r, g, b = np.float32(0), np.float32(0), np.float32(0)
            for row in range(y * fine, (y + 1) * fine):
                for column in range(x * fine, (x + 1) * fine):
                    f = ids[row, column]
                    if f < 0:
                        continue
                    covered += 1
                    i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
                    u, v = shares[row, column, 0], shares[row, column, 1]
                    w = one - u - v
                    red = u * colors[i, 0] + v * colors[j, 0] + w * colors[k, 0]
                    green = u * colors[i, 1] + v * colors[j, 1] + w * colors[k, 1]
                    blue = u * colors[i, 2] + v * colors[j, 2] + w * colors[k, 2]
                    if lit:
                        nx = u * normals[i, 0] + v * normals[j, 0] + w * normals[k, 0]
                        ny = u * normals[i, 1] + v * normals[j, 1] + w * normals[k, 1]
                        nz = u * normals[i, 2] + v * normals[j, 2] + w * normals[k, 2]
                        shade, gloss = _shade(nx, ny, nz, _shows_inside(points, i, j, k), light)
                        red = red * shade * light[6] + gloss * light[6]
                        green = green * shade * light[7] + gloss * light[7]
                        blue = blue * shade * light[8] + gloss * light[8]
                    r += min(red, one)
                    g += min(green, one)
                    b += min(blue, one)
            if covered == 0:
                continue
            pixel = image[top + y, left + x]
            rest = np.float32(fine * fine - covered)
            share = steps / np.float32(fine * fine)
            r += rest * linear[pixel[0]]
            g += rest * linear[pixel[1]]
            b += rest * linear[pixel[2]]
            pixel[0] = display[int(min(max(r * share, 0), steps) + np.float32(0.5))]
            pixel[1] = display[int(min(max(g * share, 0), steps) + np.float32(0.5))]
            pixel[2] = display[int(min(max(b * share, 0), steps) + np.float32(0.5))]


@compiled
def _shows_inside(points: NDArray[np.float64], i: int, j: int, k: int) -> bool:
    """y points down: a face that is counter-clockwise from outside has a negative area when its outside shows."""
    ux, uy = points[j, 0] - points[i, 0], points[j, 1] - points[i, 1]
    vx, vy = points[k, 0] - points[i, 0], points[k, 1] - points[i, 1]
    return bool(ux * vy - uy * vx > 0)


@compiled
def _shade(nx: float, ny: float, nz: float, inside: bool, light: NDArray[np.float32]) -> Any:
    """What a surface gives back of its colour, and its gloss; the inner side is darker, dull and faces the viewer."""
    length = np.sqrt(nx * nx + ny * ny + nz * nz) + np.float32(1e-20)
    lambert = (nx * light[3] + ny * light[4] + nz * light[5]) / length
    # What surroundings throw back depends on the side too, or all in shadow would look flat.
    around = light[0] * (np.float32(1) + np.float32(BOUNCE) * (-lambert if inside else lambert))
    if inside:
        return np.float32(INSIDE_SHADE) * (around + light[1] * max(-lambert, np.float32(0))), np.float32(0)
    gloss = max((nx * light[9] + ny * light[10] + nz * light[11]) / length, np.float32(0))
    for _ in range(4):  # to the 16th power
        gloss *= gloss
    # No highlight where the light does not reach.
    gloss *= light[2] * min(max(np.float32(4) * lambert, np.float32(0)), np.float32(1))
    return around + light[1] * max(lambert, np.float32(0)), gloss
