"""Made-up scenes to put behind hands: lights out of focus, leaves, rooms, heaps of things.

Convention: every family is `(rng, side) -> float32 [side, side, 3]` in display RGB, about 0..1.
"""

import cv2
import numpy as np

from handkit.synth.textures import Picture, color, fabric, gradient, grid, noise, palette, tiles, wood

_SHIFT = 4  # bits of a pixel's fraction in OpenCV's outlines


def bokeh(rng: np.random.Generator, side: int) -> Picture:
    """Lights and things far out of focus."""
    small = side // 2
    picture = palette(rng, noise(rng, small, 2, 3), 4) * np.float32(rng.uniform(0.4, 1))
    for _ in range(int(rng.integers(6, 40))):
        centre = tuple(int(c) for c in rng.integers(0, small, 2))
        disk = np.zeros((small, small), np.float32)
        opacity = (float(rng.uniform(0.15, 0.8)),)
        cv2.circle(disk, centre, int(rng.uniform(0.02, 0.14) * small), opacity, -1, cv2.LINE_AA)
        picture += disk[..., None] * (color(rng) * np.float32(1.2) - picture)
    blurred = cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(0.8, 8)) * small / 168)
    return cv2.resize(blurred, (side, side), interpolation=cv2.INTER_LINEAR).astype(np.float32, copy=False)


def foliage(rng: np.random.Generator, side: int) -> Picture:
    """Leaves, petals or pebbles, the later over the earlier and lighter."""
    picture = palette(rng, noise(rng, side, 4, 3), 2) * np.float32(0.3)
    tones = [color(rng) for _ in range(3)]
    count = int(rng.integers(120, 400))
    size = rng.uniform(0.015, 0.06) * side
    thin = rng.uniform(0.25, 1.0)
    for i in range(count):
        tone = tones[int(rng.integers(3))] * np.float32(0.35 + 0.65 * i / count) * rng.uniform(0.8, 1.2, 3)
        centre = tuple(int(c) for c in rng.integers(0, side, 2))
        axes = (max(1, int(size * rng.uniform(0.6, 1.5))), max(1, int(size * thin * rng.uniform(0.6, 1.2))))
        cv2.ellipse(picture, centre, axes, float(rng.uniform(0, 180)), 0, 360, tuple(map(float, tone)), -1, cv2.LINE_AA)
    return picture


def room(rng: np.random.Generator, side: int) -> Picture:
    """Two walls, floor and ceiling around a corner, with frames, boxes, soft shadows and light from one side."""
    corner = np.array([rng.uniform(-0.2, 1.2), rng.uniform(0.35, 0.95)]) * side
    ceiling = corner[1] - rng.uniform(0.5, 1.6) * side
    slope = rng.uniform(0.0, 0.5, 2)
    picture = np.empty((side, side, 3), np.float32)
    picture[:] = gradient(rng, side) if rng.random() < 0.4 else color(rng)
    reach = 3.0 * side
    low = [corner + np.array([-reach, slope[0] * reach]), corner + np.array([reach, slope[1] * reach])]
    top = [[corner[0] - reach, ceiling - slope[0] * reach], [corner[0] + reach, ceiling - slope[1] * reach]]
    wall = picture * np.float32(rng.uniform(0.55, 0.9))
    _fill(picture, [corner, low[1], top[1], [corner[0], ceiling]], wall)
    for _ in range(int(rng.integers(0, 4))):
        _wall_frame(rng, picture, corner, slope)
    floor = wood(rng, side) if rng.random() < 0.4 else tiles(rng, side) if rng.random() < 0.5 else gradient(rng, side)
    _fill(picture, [corner, low[0], [low[0][0], reach], [low[1][0], reach], low[1]], floor)
    skirting = tuple(float(v) for v in color(rng))
    for end in low:
        cv2.line(picture, _point(corner), _point(end), skirting, max(1, side // 80), cv2.LINE_AA)
    _fill(picture, [[corner[0], ceiling], top[0], [top[0][0], -reach], [top[1][0], -reach], top[1]], None)
    for _ in range(int(rng.integers(1, 5))):
        _box(rng, picture, np.array([rng.uniform(0, side), rng.uniform(corner[1], 1.1 * side)]))
    u, _ = grid(side)
    light = np.float32(rng.uniform(0, 0.5)) * (u if rng.random() < 0.5 else 1 - u)
    return picture * (1 - light)[..., None]


def clutter(rng: np.random.Generator, side: int) -> Picture:
    """Things lying on a table: polygons, disks, books, cables, with the shadows they throw."""
    ground = (wood, fabric, gradient, tiles)[int(rng.integers(4))]
    picture = np.ascontiguousarray(ground(rng, side))
    drop = rng.uniform(-0.03, 0.03, 2) * side
    for _ in range(int(rng.integers(5, 22))):
        centre = rng.uniform(0, side, 2)
        outline = _outline(rng, rng.uniform(0.04, 0.28) * side) + centre
        _shadow(picture, outline + drop, 0.02 * side)
        first, second = color(rng), color(rng)
        ramp = palette_between(rng, first, first * np.float32(rng.uniform(0.5, 0.9)), side)
        _fill(picture, outline, ramp)
        for _ in range(int(rng.integers(0, 4))):
            inner = (outline - centre) * rng.uniform(0.15, 0.8, 2) + centre
            _fill(picture, inner, np.broadcast_to(second * np.float32(rng.uniform(0.6, 1.2)), picture.shape))
    for _ in range(int(rng.integers(0, 4))):
        points = np.cumsum(rng.normal(0, 0.12 * side, (6, 2)), 0) + rng.uniform(0, side, 2)
        width = max(1, int(rng.uniform(0.004, 0.015) * side))
        cv2.polylines(picture, [_curve(points)], False, tuple(map(float, color(rng))), width, cv2.LINE_AA)
    return picture


def palette_between(rng: np.random.Generator, first: Picture, second: Picture, side: int) -> Picture:
    """A ramp [side, side, 3] from one colour to another, across or down."""
    u, v = grid(side)
    share = u if rng.random() < 0.5 else v
    return first + share[..., None] * (second - first)


def _outline(rng: np.random.Generator, radius: float) -> np.ndarray:
    """Corners [N, 2] about (0, 0) of a rectangle, an ellipse or an irregular polygon."""
    kind = rng.random()
    angle = rng.uniform(0, 2 * np.pi)
    if kind < 0.45:
        corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * [1, rng.uniform(0.08, 1)]
    else:
        count = 32 if kind < 0.75 else int(rng.integers(3, 9))
        turns = np.sort(rng.uniform(0, 2 * np.pi, count)) if count < 32 else np.linspace(0, 2 * np.pi, count)
        corners = np.column_stack([np.cos(turns), np.sin(turns) * rng.uniform(0.3, 1)])
    c, s = np.cos(angle), np.sin(angle)
    return radius * corners @ np.array([[c, s], [-s, c]])


def _wall_frame(rng: np.random.Generator, picture: Picture, corner: np.ndarray, slope: np.ndarray) -> None:
    """A window, a picture or a door on one of the walls, running with the wall's perspective."""
    side = len(picture)
    right = rng.random() < 0.5
    sign, lean = (1, slope[1]) if right else (-1, slope[0])
    near, wide = rng.uniform(0.05, 0.9) * side, rng.uniform(0.1, 0.6) * side
    up, tall = rng.uniform(0.1, 0.5) * side, rng.uniform(0.15, 0.6) * side

    def at(along: float, height: float) -> np.ndarray:
        open_up = 1 + 0.6 * lean * along / side
        return corner + np.array([sign * along, lean * along - height * open_up])

    outer = np.array([at(near, up), at(near + wide, up), at(near + wide, up + tall), at(near, up + tall)])
    _fill(picture, outer, np.broadcast_to(color(rng), picture.shape))
    inner = (outer - outer.mean(0)) * rng.uniform(0.8, 0.95) + outer.mean(0)
    seen = palette(rng, noise(rng, side, 6, 3), 4) if rng.random() < 0.5 else gradient(rng, side)
    _fill(picture, inner, seen)


def _box(rng: np.random.Generator, picture: Picture, foot: np.ndarray) -> None:
    """A box on the floor seen from above one of its edges, with its shadow."""
    side = len(picture)
    tall, left, right = rng.uniform(0.06, 0.5) * side, rng.uniform(0.05, 0.3) * side, rng.uniform(0.05, 0.3) * side
    depth = rng.uniform(0.1, 0.5)
    a, b = np.array([-left, -depth * left]), np.array([right, -depth * right])
    high = np.array([0, -tall])
    _shadow(picture, np.array([foot, foot + a, foot + a + b, foot + b * 1.6]) + 0.02 * side, 0.03 * side)
    tone = color(rng)
    for corners, shade in (
        ([foot, foot + a, foot + a + high, foot + high], 0.65),
        ([foot, foot + b, foot + b + high, foot + high], 0.9),
        ([foot + high, foot + a + high, foot + a + b + high, foot + b + high], 1.15),
    ):
        _fill(picture, corners, np.broadcast_to(tone * np.float32(shade), picture.shape))


def _fill(picture: Picture, corners: list | np.ndarray, source: Picture | None) -> None:
    """Copy source, or a lighter shade of what is there, into a polygon [N, 2], with smooth edges."""
    side = len(picture)
    points = np.asarray(corners, np.float64)
    x0, y0 = np.clip(np.floor(points.min(0)) - 1, 0, side).astype(int)
    x1, y1 = np.clip(np.ceil(points.max(0)) + 1, 0, side).astype(int)
    if x0 >= x1 or y0 >= y1:
        return
    mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
    cv2.fillPoly(mask, [_fixed(points - [x0, y0])], (255,), cv2.LINE_AA, _SHIFT)
    window = picture[y0:y1, x0:x1]
    wanted = np.minimum(window * np.float32(1.15), 1) if source is None else source[y0:y1, x0:x1]
    window += (mask * np.float32(1 / 255))[..., None] * (wanted - window)


def _shadow(picture: Picture, corners: np.ndarray, blur: float) -> None:
    """Darken a polygon with a soft edge."""
    side, pad = len(picture), int(3 * blur) + 1
    x0, y0 = np.clip(np.floor(corners.min(0)) - pad, 0, side).astype(int)
    x1, y1 = np.clip(np.ceil(corners.max(0)) + pad, 0, side).astype(int)
    if x0 >= x1 or y0 >= y1:
        return
    mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
    cv2.fillPoly(mask, [_fixed(corners - [x0, y0])], (115,), cv2.LINE_AA, _SHIFT)
    size = int(2 * blur) | 1
    soft = cv2.blur(cv2.blur(mask, (size, size)), (size, size))
    picture[y0:y1, x0:x1] *= (1 - soft * np.float32(1 / 255))[..., None]


def _fixed(points: np.ndarray) -> np.ndarray:
    """Pixels as OpenCV's fixed-point numbers, kept within their range."""
    return np.clip(np.round(points * (1 << _SHIFT)), -(2**24), 2**24).astype(np.int32)


def _point(point: np.ndarray | list) -> tuple[int, int]:
    x, y = np.clip(point, -16000, 16000)
    return int(x), int(y)


def _curve(points: np.ndarray) -> np.ndarray:
    """A smooth line [64, 2] int32 near points [N, 2]."""
    line = cv2.resize(points.astype(np.float32), (2, 64), interpolation=cv2.INTER_CUBIC)
    return line.round().astype(np.int32)
