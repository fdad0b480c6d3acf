"""Triton kernels of the soft rasteriser: binning faces to tiles, silhouettes and their gradients.

Convention: pixel (x, y) has its centre at (x + 0.5, y + 0.5). A slot is one tile of one image, `image * tiles + tile`;
a pair is one face of one image, `image * face_count + face`. Corners are [pairs, 9]: x, y (px) and depth (m) of the
three vertices. Reach is [4, pairs]: first and past-the-last column, then row, of the pixels a face can touch (all 0
for a face that is skipped).
"""

from typing import no_type_check

import triton
import triton.language as tl


@no_type_check
@triton.jit
def bin_faces(
    reach,
    starts,
    members,
    pairs,
    face_count,
    tiles_x,
    tiles,
    TILE: tl.constexpr,
    BLOCK: tl.constexpr,
    FILL: tl.constexpr,
):
    """One program a slot: count the faces that reach it (into starts), or FILL their numbers into members in order."""
    slot = tl.program_id(0)
    tile = slot % tiles
    left = (tile % tiles_x) * TILE
    top = (tile // tiles_x) * TILE
    first_pair = (slot // tiles) * face_count
    found = tl.load(starts + slot)
    for first in range(0, face_count, BLOCK):
        face = first + tl.arange(0, BLOCK)
        inside = face < face_count
        at = reach + first_pair + face
        hit = inside & (tl.load(at, mask=inside, other=0) < left + TILE)
        hit = hit & (tl.load(at + pairs, mask=inside, other=0) > left)
        hit = hit & (tl.load(at + 2 * pairs, mask=inside, other=0) < top + TILE)
        hit = hit & (tl.load(at + 3 * pairs, mask=inside, other=0) > top)
        ones = hit.to(tl.int32)
        if FILL:
            tl.store(members + found + tl.cumsum(ones, 0) - 1, face, mask=hit)
        found += tl.sum(ones, 0)
    if not FILL:
        tl.store(starts + slot, found)


@no_type_check
@triton.jit
def load_triangle(corners, pair):
    """Pixel x and y of the three vertices of faces."""
    at = corners + pair.to(tl.int64) * 9
    return tl.load(at), tl.load(at + 1), tl.load(at + 3), tl.load(at + 4), tl.load(at + 6), tl.load(at + 7)


@no_type_check
@triton.jit
def from_edge(px, py, ax, ay, bx, by):
    """From the edge a-b to pixels: nearest point's offset, its place on the edge in [0, 1], squared distance, side."""
    ex = bx - ax
    ey = by - ay
    rx = px - ax
    ry = py - ay
    place = (rx * ex + ry * ey) / tl.maximum(ex * ex + ey * ey, 1e-30)
    place = tl.minimum(tl.maximum(place, 0.0), 1.0)
    qx = rx - place * ex
    qy = ry - place * ey
    return qx, qy, place, qx * qx + qy * qy, rx * ey - ry * ex


@no_type_check
@triton.jit
def from_triangle(px, py, ax, ay, bx, by, cx, cy):
    """From a triangle's boundary to pixels: offset and squared distance, inside, the vertices' shares of the offset."""
    x0, y0, t0, d0, s0 = from_edge(px, py, ax, ay, bx, by)
    x1, y1, t1, d1, s1 = from_edge(px, py, bx, by, cx, cy)
    x2, y2, t2, d2, s2 = from_edge(px, py, cx, cy, ax, ay)
    inside = ((s0 >= 0) & (s1 >= 0) & (s2 >= 0)) | ((s0 <= 0) & (s1 <= 0) & (s2 <= 0))
    # Along a sliver the sides are rounding noise: nothing outside the bounding box is inside.
    inside = inside & (px >= tl.minimum(tl.minimum(ax, bx), cx)) & (px <= tl.maximum(tl.maximum(ax, bx), cx))
    inside = inside & (py >= tl.minimum(tl.minimum(ay, by), cy)) & (py <= tl.maximum(tl.maximum(ay, by), cy))
    squared = tl.minimum(tl.minimum(d0, d1), d2)
    on_0 = d0 <= squared
    on_1 = (d1 <= squared) & (d0 > squared)
    qx = tl.where(on_0, x0, tl.where(on_1, x1, x2))
    qy = tl.where(on_0, y0, tl.where(on_1, y1, y2))
    share_a = tl.where(on_0, 1.0 - t0, tl.where(on_1, 0.0, t2))
    share_b = tl.where(on_0, t0, tl.where(on_1, 1.0 - t1, 0.0))
    share_c = tl.where(on_0, 0.0, tl.where(on_1, t1, 1.0 - t2))
    return qx, qy, squared, inside, share_a, share_b, share_c


@no_type_check
@triton.jit
def sigmoid(logit):
    """tl.sigmoid, without overflow on the way."""
    small = tl.exp(-tl.abs(logit))
    return tl.where(logit >= 0, 1.0, small) / (1.0 + small)


@no_type_check
@triton.jit
def softplus(logit):
    """-log(1 - sigmoid(logit))."""
    return tl.maximum(logit, 0.0) + tl.log(1.0 + tl.exp(-tl.abs(logit)))


@no_type_check
@triton.jit
def silhouette_forward(
    corners,
    starts,
    members,
    silhouette,
    face_count,
    tiles_x,
    tiles,
    height,
    width,
    inverse_sigma,
    cut,
    TILE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One program a slot: 1 - prod(1 - sigmoid(x)) = 1 - exp(-sum softplus(x)) over its faces, BLOCK at a time."""
    slot = tl.program_id(0)
    tile = slot % tiles
    image = (slot // tiles).to(tl.int64)
    lane = tl.arange(0, TILE * TILE)
    column = (tile % tiles_x) * TILE + lane % TILE
    row = (tile // tiles_x) * TILE + lane // TILE
    px = column[None, :] + 0.5
    py = row[None, :] + 0.5
    hidden = tl.zeros([BLOCK, TILE * TILE], tl.float32)
    last = tl.load(starts + slot + 1)
    for first in range(tl.load(starts + slot), last, BLOCK):
        entry = first + tl.arange(0, BLOCK)[:, None]
        listed = entry < last
        # Past the end the last face again, so that all arithmetic is on faces that count.
        pair = image * face_count + tl.load(members + tl.minimum(entry, last - 1))
        ax, ay, bx, by, cx, cy = load_triangle(corners, pair)
        _, _, squared, inside, _, _, _ = from_triangle(px, py, ax, ay, bx, by, cx, cy)
        logit = tl.where(inside, squared, -squared) * inverse_sigma
        hidden += tl.where(listed & (inside | (squared <= cut)), softplus(logit), 0.0)
    at = (image * height + row) * width + column
    tl.store(silhouette + at, 1.0 - tl.exp(-tl.sum(hidden, 0)), mask=(column < width) & (row < height))


@no_type_check
@triton.jit
def silhouette_backward(
    corners,
    reach,
    silhouette,
    upstream,
    corner_grads,
    pairs,
    face_count,
    height,
    width,
    inverse_sigma,
    cut,
    PATCH: tl.constexpr,
):
    """One program a pair: the gradient [9] of its corners, summed over the pixels the face can touch."""
    pair = tl.program_id(0)
    image = (pair // face_count).to(tl.int64)
    right = tl.load(reach + pairs + pair)
    bottom = tl.load(reach + 3 * pairs + pair)
    ax, ay, bx, by, cx, cy = load_triangle(corners, pair)
    lane = tl.arange(0, PATCH * PATCH)
    grad_ax = tl.zeros([PATCH * PATCH], tl.float32)
    grad_ay = tl.zeros([PATCH * PATCH], tl.float32)
    grad_bx = tl.zeros([PATCH * PATCH], tl.float32)
    grad_by = tl.zeros([PATCH * PATCH], tl.float32)
    grad_cx = tl.zeros([PATCH * PATCH], tl.float32)
    grad_cy = tl.zeros([PATCH * PATCH], tl.float32)
    for top in range(tl.load(reach + 2 * pairs + pair), bottom, PATCH):
        for left in range(tl.load(reach + pair), right, PATCH):
            column = left + lane % PATCH
            row = top + lane // PATCH
            shown = (column < right) & (row < bottom)
            at = (image * height + row) * width + column
            seen = 1.0 - tl.load(silhouette + at, mask=shown, other=1.0)
            weight = seen * tl.load(upstream + at, mask=shown, other=0.0)
            qx, qy, squared, inside, share_a, share_b, share_c = from_triangle(
                column + 0.5, row + 0.5, ax, ay, bx, by, cx, cy
            )
            sign = tl.where(inside, 1.0, -1.0)
            # d silhouette / d logit = prod(1 - D) D, and the offset q moves against the vertices.
            weight = weight * sign * -2.0 * inverse_sigma * sigmoid(sign * squared * inverse_sigma)
            weight = tl.where(inside | (squared <= cut), weight, 0.0)
            qx *= weight
            qy *= weight
            grad_ax += qx * share_a
            grad_ay += qy * share_a
            grad_bx += qx * share_b
            grad_by += qy * share_b
            grad_cx += qx * share_c
            grad_cy += qy * share_c
    out = corner_grads + pair.to(tl.int64) * 9
    tl.store(out, tl.sum(grad_ax, 0))
    tl.store(out + 1, tl.sum(grad_ay, 0))
    tl.store(out + 3, tl.sum(grad_bx, 0))
    tl.store(out + 4, tl.sum(grad_by, 0))
    tl.store(out + 6, tl.sum(grad_cx, 0))
    tl.store(out + 7, tl.sum(grad_cy, 0))
