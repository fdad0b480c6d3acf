"""Made-up surfaces to put behind hands: plain, mottled, wooden, woven, tiled.

Convention: every family is `(rng, side) -> float32 [side, side, 3]` in display RGB, about 0..1.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.float32]


def noise(rng: np.random.Generator, side: int, cells: float, octaves: int, *, gain: float = 0.5) -> Picture:
    """Smooth noise [side, side] in 0..1: octaves of random grids, the first of `cells` across."""
    total = np.zeros((side, side), np.float32)
    weight, reach = 1.0, 0.0
    for octave in range(octaves):
        count = max(2, round(cells * 2**octave)) + 3
        if count > side and octave:
            break
        count = min(count, side)
        grid = rng.random((count, count), np.float32)
        total += np.float32(weight) * cv2.resize(grid, (side, side), interpolation=cv2.INTER_CUBIC)
        reach += weight
        weight *= gain
    return np.clip(total / np.float32(reach), 0, 1)


def color(rng: np.random.Generator) -> Picture:
    """One colour [3] as rooms have them: mostly pale, more often warm or blue, seldom like skin."""
    while True:
        kind = rng.random()
        low, high = (0.05, 0.18) if kind < 0.35 else (0.5, 0.68) if kind < 0.6 else (0.0, 1.0)
        hue, saturation, value = rng.uniform(low, high), rng.beta(1.1, 3.0), rng.uniform(0.01, 0.98) ** 0.7
        like_skin = hue < 0.12 and 0.15 < saturation < 0.65 and value > 0.25
        if not like_skin or rng.random() < 0.25:
            return hsv(hue, saturation, value)


def hsv(hue: float, saturation: float, value: float) -> Picture:
    """Red, green and blue [3] of hue, saturation and value in 0..1."""
    wheel = np.abs((hue * 6 + np.array([0, 4, 2])) % 6 - 3) - 1
    return (value * (1 - saturation * (1 - np.clip(wheel, 0, 1)))).astype(np.float32)


def palette(rng: np.random.Generator, values: Picture, colors: int = 3) -> Picture:
    """Values [...] in 0..1 as a ramp of random colours [..., 3]."""
    stops = np.stack([color(rng) for _ in range(colors)])
    table = cv2.resize(stops[None], (256, 1), interpolation=cv2.INTER_LINEAR)[0]
    return table[(np.clip(values, 0, 1) * 255).astype(np.uint8)]


def grid(side: int) -> tuple[Picture, Picture]:
    """x and y of pixels, 0..1."""
    line = (np.arange(side, dtype=np.float32) + np.float32(0.5)) / np.float32(side)
    return np.broadcast_to(line, (side, side)), np.broadcast_to(line[:, None], (side, side))


def turned(rng: np.random.Generator, side: int, *, bend: float = 0.0) -> tuple[Picture, Picture]:
    """x and y of `grid` about its middle, turned by a random angle and bent by noise."""
    x, y = grid(side)
    angle = rng.uniform(0, 2 * np.pi)
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    u, v = c * (x - 0.5) - s * (y - 0.5), s * (x - 0.5) + c * (y - 0.5)
    if bend:
        u = u + np.float32(bend) * (noise(rng, side, 3, 2) - np.float32(0.5))
    return u, v


def gradient(rng: np.random.Generator, side: int) -> Picture:
    """A plain surface under uneven light."""
    u, v = turned(rng, side)
    ramp = u + 0.5 if rng.random() < 0.6 else np.sqrt(u * u + v * v) * np.float32(1.4)
    relief = noise(rng, side, float(rng.uniform(20, 80)), 2) - np.float32(0.5)
    return palette(rng, ramp, int(rng.integers(2, 4))) + (relief * np.float32(rng.uniform(0, 0.12)))[..., None]


def clouds(rng: np.random.Generator, side: int) -> Picture:
    """Marble, plaster, stone: octaves of noise through a ramp of colours."""
    values = noise(rng, side, float(rng.uniform(2, 12)), 6, gain=float(rng.uniform(0.45, 0.8)))
    if rng.random() < 0.5:
        u, _ = turned(rng, side)
        values = np.float32(0.5) + np.float32(0.5) * np.sin(u * np.float32(rng.uniform(5, 40)) + values * np.float32(9))
    else:
        values = (values - np.float32(0.5)) * np.float32(rng.uniform(1, 2.5)) + np.float32(0.5)
    return palette(rng, values, int(rng.integers(2, 5)))


def wood(rng: np.random.Generator, side: int) -> Picture:
    """Boards with grain along them, stained or painted."""
    u, v = turned(rng, side)
    boards = np.float32(rng.uniform(2, 9))
    board = np.floor(u * boards)
    shift = rng.random(64, np.float32)[board.astype(int) % 64]
    bent = u + np.float32(0.02) * noise(rng, side, 3, 2) * (1 + shift)
    rings = np.sin((bent * np.float32(rng.uniform(25, 70)) + shift * 40) * 3 + v * 2)
    fibre = rng.random(256, np.float32)[((bent + shift) * np.float32(0.6 * side)).astype(int) % 256]
    shade = np.float32(0.85) + np.float32(0.35) * (shift - np.float32(0.5)) + np.float32(rng.uniform(0.02, 0.1)) * rings
    shade += np.float32(rng.uniform(0.05, 0.15)) * (fibre - np.float32(0.5))
    gap = np.abs(u * boards - board - np.float32(0.5)) > 0.5 - 0.004 * boards
    shade = np.where(gap, shade * np.float32(0.5), shade)
    stained = rng.random() < 0.6
    body = hsv(rng.uniform(0.05, 0.1), rng.uniform(0.25, 0.7), rng.uniform(0.15, 0.75)) if stained else color(rng)
    return body * shade[..., None]


def fabric(rng: np.random.Generator, side: int) -> Picture:
    """Stripes, plaids and weaves with folds."""
    u, v = turned(rng, side, bend=float(rng.uniform(0, 0.12)))
    base, across = color(rng), color(rng)
    picture = np.broadcast_to(base, (side, side, 3)).astype(np.float32)
    for axis in (u, v)[: 1 + int(rng.random() < 0.5)]:
        wave = axis * np.float32(rng.uniform(3, 25))
        hard = np.clip(np.sin(wave * np.float32(2 * np.pi)) * np.float32(rng.choice([1, 6])) + np.float32(0.5), 0, 1)
        picture = picture + (np.float32(rng.uniform(0.3, 0.9)) * hard)[..., None] * (across - picture)
        across = color(rng)
    thread = np.float32(side / rng.uniform(2.5, 6) * 2 * np.pi)
    weave = np.sin(u * thread) * np.sin(v * thread)
    folds = noise(rng, side, 4, 2) - np.float32(0.5)
    return picture * (1 + np.float32(rng.uniform(0, 0.15)) * weave + np.float32(rng.uniform(0, 0.8)) * folds)[..., None]


def tiles(rng: np.random.Generator, side: int) -> Picture:
    """Checkers, tiles and bricks with joints."""
    u, v = turned(rng, side, bend=float(rng.choice([0, 0.01])))
    rows = np.float32(rng.uniform(3, 14))
    long = np.float32(rng.choice([1, 1, 2, 3]))
    b = v * rows
    row = np.floor(b)
    a = u * rows / long + np.float32(0.5) * (row % 2 if rng.random() < 0.6 else 0)
    column = np.floor(a)
    number = (row.astype(int) * 31 + column.astype(int) * 57) % 97
    if rng.random() < 0.35:
        number = (row + column).astype(int) % 2
    shades = rng.uniform(1 - rng.uniform(0.05, 0.4), 1.1, 97).astype(np.float32)
    body, other, joint = color(rng), color(rng), color(rng)
    mixes = rng.random(97, np.float32) * np.float32(rng.choice([0, 0.3, 1]))
    mixes[:2] = 0, 1
    table = (body + mixes[:, None] * (other - body)) * shades[:, None]
    edge = np.minimum(np.float32(0.5) - np.abs(b - row - np.float32(0.5)),
                      long * (np.float32(0.5) - np.abs(a - column - np.float32(0.5))))  # fmt: skip
    width = np.float32(rng.uniform(0.0, 0.08))
    solid = np.clip((edge - width) * np.float32(20), 0, 1)[..., None]
    rough = noise(rng, side, 30, 3) - np.float32(0.5)
    return (joint + solid * (table[number] - joint)) * (1 + np.float32(rng.uniform(0, 0.4)) * rough)[..., None]
