"""Compiled helpers of the soft colour renderer: where a pixel is on a face, and the colour there, forward and back."""

from typing import Any

import numpy as np

from handkit.render.jit_soft import along_edge, vectorized


@vectorized
def locate(edges: Any, x: int, y: int) -> Any:
    """sign d^2 of a pixel to a face, the nearest edge, and the pixel's barycentrics (not clipped)."""
    in0, start0, end0 = along_edge(edges[0], x, y)
    in1, start1, end1 = along_edge(edges[1], x, y)
    in2, start2, end2 = along_edge(edges[2], x, y)
    square0 = in0 * in0 + max(-start0, end0, 0.0) ** 2
    square1 = in1 * in1 + max(-start1, end1, 0.0) ** 2
    square2 = in2 * in2 + max(-start2, end2, 0.0) ** 2
    square = min(square0, square1, square2)
    nearest = 0 if square == square0 else (1 if square == square1 else 2)
    raw = (in1 * edges[1][7], in2 * edges[2][7], in0 * edges[0][7])
    return (square if min(in0, in1, in2) >= 0 else -square), nearest, raw


@vectorized
def on_edge(edges: Any, nearest: int, x: int, y: int, pull: float, sums: Any) -> None:
    """Add a pair's pull on half of -d^2 to the sums of its nearest edge, as `jit_soft.add_to_corners` takes them."""
    edge = edges[0] if nearest == 0 else (edges[1] if nearest == 1 else edges[2])
    into, start, end = along_edge(edge, x, y)
    t = min(max(start / edge[6], 0.0), 1.0)
    sums[nearest, 0] += pull * into * (1 - t)
    sums[nearest, 1] += pull * into * t
    sums[nearest, 2] += pull * min(start, 0.0)
    sums[nearest, 3] += pull * max(end, 0.0)


@vectorized
def interpolate(raw: Any, per_depth: Any) -> Any:
    """Depth, perspective-correct barycentrics, the screen's barycentrics clipped and normalised, and 1 / their sum."""
    a, b, c = min(max(raw[0], 0.0), 1.0), min(max(raw[1], 0.0), 1.0), min(max(raw[2], 0.0), 1.0)
    per_size = 1 / (a + b + c)
    a, b, c = a * per_size, b * per_size, c * per_size
    over_a, over_b, over_c = a * per_depth[0], b * per_depth[1], c * per_depth[2]
    z = 1 / (over_a + over_b + over_c)
    return z, (over_a * z, over_b * z, over_c * z), (a, b, c), per_size


@vectorized
def sample(values: Any, texture: Any, shares: Any, mixed: Any) -> None:
    """The colour at a point of a face into mixed [C]: its corners' values, or the texture at their (u, v)."""
    if texture.shape[0] == 0:
        for c in range(len(mixed)):
            mixed[c] = shares[0] * values[0, c] + shares[1] * values[1, c] + shares[2] * values[2, c]
        return
    x, x0, x1, _ = texel(values, shares, 0, texture.shape[2])
    y, y0, y1, _ = texel(values, shares, 1, texture.shape[1])
    for c in range(len(mixed)):
        above = texture[c, y0, x0] * (1 - x) + texture[c, y0, x1] * x
        below = texture[c, y1, x0] * (1 - x) + texture[c, y1, x1] * x
        mixed[c] = above * (1 - y) + below * y


@vectorized
def pull_sample(values: Any, texture: Any, shares: Any, toward: Any, by_value: Any, by_texel: Any) -> Any:
    """Gradient of toward . colour: added to by_value [3, A] and by_texel [C, Ht, Wt]; by shares, returned."""
    if texture.shape[0] == 0:
        a, b, c = 0.0, 0.0, 0.0
        for i in range(len(toward)):
            a += toward[i] * values[0, i]
            b += toward[i] * values[1, i]
            c += toward[i] * values[2, i]
            for k in range(3):
                by_value[k, i] += shares[k] * toward[i]
        return a, b, c
    x, x0, x1, per_u = texel(values, shares, 0, texture.shape[2])
    y, y0, y1, per_v = texel(values, shares, 1, texture.shape[1])
    u, v = 0.0, 0.0
    for i in range(len(toward)):
        across_above = texture[i, y0, x1] - texture[i, y0, x0]
        across_below = texture[i, y1, x1] - texture[i, y1, x0]
        down_left = texture[i, y1, x0] - texture[i, y0, x0]
        down_right = texture[i, y1, x1] - texture[i, y0, x1]
        u += toward[i] * per_u * (across_above * (1 - y) + across_below * y)
        v += toward[i] * per_v * (down_left * (1 - x) + down_right * x)
        by_texel[i, y0, x0] += toward[i] * (1 - x) * (1 - y)
        by_texel[i, y0, x1] += toward[i] * x * (1 - y)
        by_texel[i, y1, x0] += toward[i] * (1 - x) * y
        by_texel[i, y1, x1] += toward[i] * x * y
    for k in range(3):
        by_value[k, 0] += shares[k] * u
        by_value[k, 1] += shares[k] * v
    return (
        u * values[0, 0] + v * values[0, 1],
        u * values[1, 0] + v * values[1, 1],
        u * values[2, 0] + v * values[2, 1],
    )


@vectorized
def texel(values: Any, shares: Any, axis: int, count: int) -> Any:
    """Weight of the second of two texels along an axis, both their indices, and the position's slope."""
    coordinate = shares[0] * values[0, axis] + shares[1] * values[1, axis] + shares[2] * values[2, axis]
    position = coordinate * count - 0.5
    slope = float(count) if 0 <= position <= count - 1 else 0.0
    position = min(max(position, 0.0), count - 1.0)
    first = int(min(np.floor(position), max(count - 2.0, 0.0)))
    return position - first, first, min(first + 1, count - 1), slope


@vectorized
def add_depth_and_barycentric(
    corners: Any,
    edges: Any,
    per_depth: Any,
    raw: Any,
    shares: Any,
    clipped: Any,
    per_size: float,
    z: float,
    pull_z: float,
    by_share: Any,
) -> None:
    """Add to corners [3, 3] what depth z (pull_z) and the interpolated values (by_share) pull on positions and depths.

    shares = clipped z / depths; clipped = clip(raw) / size; corner j moved by v is the pixel moved by -raw_j v.
    """
    rise = shares[0] * by_share[0] + shares[1] * by_share[1] + shares[2] * by_share[2] + pull_z * z
    p0 = z * per_depth[0] * (by_share[0] - rise)
    p1 = z * per_depth[1] * (by_share[1] - rise)
    p2 = z * per_depth[2] * (by_share[2] - rise)
    corners[0, 2] += shares[0] * per_depth[0] * (rise - by_share[0])
    corners[1, 2] += shares[1] * per_depth[1] * (rise - by_share[1])
    corners[2, 2] += shares[2] * per_depth[2] * (rise - by_share[2])
    level = clipped[0] * p0 + clipped[1] * p1 + clipped[2] * p2
    p0 = (p0 - level) * per_size * edges[1][7] if 0 <= raw[0] <= 1 else 0.0
    p1 = (p1 - level) * per_size * edges[2][7] if 0 <= raw[1] <= 1 else 0.0
    p2 = (p2 - level) * per_size * edges[0][7] if 0 <= raw[2] <= 1 else 0.0
    slope_x = p2 * edges[0][4] + p0 * edges[1][4] + p1 * edges[2][4]
    slope_y = p2 * edges[0][5] + p0 * edges[1][5] + p1 * edges[2][5]
    for k in range(3):
        corners[k, 0] -= raw[k] * slope_x
        corners[k, 1] -= raw[k] * slope_y
