"""Triton kernels of the soft rasteriser's colour and depth; layouts are those of `triton_kernels`.

Values are [pairs, 3 corners, 3 channels]: colours, or (u, v, unused) where TEXTURED. Textures are [B, 3, Ht, Wt].
Planes of a pixel are [B, planes, H, W]: forward writes 3 colours, the background's weight, alpha, depth, the nearest
inverse depth `top` and the sum of weights; backward reads 7 made of their gradients (see `triton_soft`).
"""

from typing import no_type_check

import triton
import triton.language as tl

from handkit.render.triton_kernels import from_triangle, load_triangle, sigmoid, softplus
from handkit.render.triton_shading import (
    interpolate,
    load_corners,
    normalised,
    normalised_backward,
    perspective_backward,
    screen_barycentric,
    shade,
    texture_backward,
)


@no_type_check
@triton.jit
def color_forward(
    corners,
    values,
    texture,
    starts,
    members,
    planes,
    face_count,
    tiles_x,
    tiles,
    height,
    width,
    pixels,
    texels_y,
    texels_x,
    texel_count,
    inverse_sigma,
    cut,
    inverse_gamma,
    near,
    far,
    farthest,
    least,
    TEXTURED: tl.constexpr,
    TILE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One program a slot. Every lane of BLOCK keeps its own nearest depth and sums below it; they join at the end."""
    slot = tl.program_id(0)
    tile = slot % tiles
    image = (slot // tiles).to(tl.int64)
    lane = tl.arange(0, TILE * TILE)
    column = (tile % tiles_x) * TILE + lane % TILE
    row = (tile // tiles_x) * TILE + lane // TILE
    px = column[None, :] + 0.5
    py = row[None, :] + 0.5
    hidden = tl.zeros([BLOCK, TILE * TILE], tl.float32)
    top = tl.zeros([BLOCK, TILE * TILE], tl.float32) + farthest
    total = tl.zeros([BLOCK, TILE * TILE], tl.float32)
    total_z = tl.zeros([BLOCK, TILE * TILE], tl.float32)
    total_0 = tl.zeros([BLOCK, TILE * TILE], tl.float32)
    total_1 = tl.zeros([BLOCK, TILE * TILE], tl.float32)
    total_2 = tl.zeros([BLOCK, TILE * TILE], tl.float32)
    plane = texture + image * 3 * texel_count
    last = tl.load(starts + slot + 1)
    for first in range(tl.load(starts + slot), last, BLOCK):
        entry = first + tl.arange(0, BLOCK)[:, None]
        listed = entry < last
        # Past the end the last face again, so that all arithmetic is on faces that count.
        pair = image * face_count + tl.load(members + tl.minimum(entry, last - 1))
        ax, ay, bx, by, cx, cy = load_triangle(corners, pair)
        _, _, squared, inside, _, _, _ = from_triangle(px, py, ax, ay, bx, by, cx, cy)
        logit = tl.where(inside, squared, -squared) * inverse_sigma
        counted = listed & (inside | (squared <= cut))
        hidden += tl.where(counted, softplus(logit), 0.0)

        az, bz, cz = load_corners(corners, pair, 2)
        u, v, w, _ = screen_barycentric(px, py, ax, ay, bx, by, cx, cy)
        u, v, w, _ = normalised(u, v, w)
        u = u / az
        v = v / bz
        w = w / cz
        z = 1.0 / (u + v + w)
        seen = counted & (z >= near) & (z <= far)
        inverse_depth = tl.where(seen, (far - z) / (far - near), farthest)
        nearest = tl.maximum(top, inverse_depth)
        fade = tl.exp((top - nearest) * inverse_gamma)
        top = nearest
        weight = tl.where(seen, sigmoid(logit) * tl.exp((inverse_depth - top) * inverse_gamma), 0.0)
        u *= z
        v *= z
        w *= z
        value_0 = interpolate(values, pair, 0, u, v, w)
        value_1 = interpolate(values, pair, 1, u, v, w)
        value_2 = interpolate(values, pair, 2, u, v, w)
        color_0, color_1, color_2 = shade(
            plane, texel_count, value_0, value_1, value_2, texels_x, texels_y, seen, TEXTURED
        )
        total = total * fade + weight
        total_z = total_z * fade + tl.where(seen, weight * z, 0.0)
        total_0 = total_0 * fade + tl.where(seen, weight * color_0, 0.0)
        total_1 = total_1 * fade + tl.where(seen, weight * color_1, 0.0)
        total_2 = total_2 * fade + tl.where(seen, weight * color_2, 0.0)

    nearest = tl.max(top, 0)
    fade = tl.exp((top - nearest[None, :]) * inverse_gamma)
    weight = tl.sum(total * fade, 0)
    behind = tl.exp((farthest - nearest) * inverse_gamma)
    share = 1.0 / (weight + behind)
    anything = weight > least
    depth = tl.where(anything, tl.sum(total_z * fade, 0) / tl.where(anything, weight, 1.0), 0.0)
    shown = (column < width) & (row < height)
    at = planes + image * 8 * pixels + row * width + column
    tl.store(at, tl.sum(total_0 * fade, 0) * share, mask=shown)
    tl.store(at + pixels, tl.sum(total_1 * fade, 0) * share, mask=shown)
    tl.store(at + 2 * pixels, tl.sum(total_2 * fade, 0) * share, mask=shown)
    tl.store(at + 3 * pixels, behind * share, mask=shown)
    tl.store(at + 4 * pixels, 1.0 - tl.exp(-tl.sum(hidden, 0)), mask=shown)
    tl.store(at + 5 * pixels, depth, mask=shown)
    tl.store(at + 6 * pixels, nearest, mask=shown)
    tl.store(at + 7 * pixels, weight, mask=shown)


@no_type_check
@triton.jit
def color_backward(
    corners,
    values,
    texture,
    reach,
    planes,
    corner_grads,
    value_grads,
    texture_grads,
    pairs,
    face_count,
    width,
    pixels,
    texels_y,
    texels_x,
    texel_count,
    inverse_sigma,
    cut,
    inverse_gamma,
    near,
    far,
    TEXTURED: tl.constexpr,
    PATCH: tl.constexpr,
):
    """One program a pair: the gradients of its corners [9] and values [9]; those of a texture by atomic adds."""
    pair = tl.program_id(0)
    image = (pair // face_count).to(tl.int64)
    right = tl.load(reach + pairs + pair)
    bottom = tl.load(reach + 3 * pairs + pair)
    ax, ay, bx, by, cx, cy = load_triangle(corners, pair)
    az, bz, cz = load_corners(corners, pair, 2)
    a0, b0, c0 = load_corners(values, pair, 0)
    a1, b1, c1 = load_corners(values, pair, 1)
    a2, b2, c2 = load_corners(values, pair, 2)
    plane = texture + image * 3 * texel_count
    plane_grad = texture_grads + image * 3 * texel_count
    lane = tl.arange(0, PATCH * PATCH)
    out = corner_grads + pair.to(tl.int64) * 9
    value_out = value_grads + pair.to(tl.int64) * 9
    grad_ax = 0.0
    grad_ay = 0.0
    grad_az = 0.0
    grad_a0 = 0.0
    grad_a1 = 0.0
    grad_a2 = 0.0
    grad_bx = 0.0
    grad_by = 0.0
    grad_bz = 0.0
    grad_b0 = 0.0
    grad_b1 = 0.0
    grad_b2 = 0.0
    grad_cx = 0.0
    grad_cy = 0.0
    grad_cz = 0.0
    grad_c0 = 0.0
    grad_c1 = 0.0
    grad_c2 = 0.0
    for top in range(tl.load(reach + 2 * pairs + pair), bottom, PATCH):
        for left in range(tl.load(reach + pair), right, PATCH):
            column = left + lane % PATCH
            row = top + lane // PATCH
            shown = (column < right) & (row < bottom)
            at = planes + image * 7 * pixels + row * width + column
            to_0 = tl.load(at, mask=shown, other=0.0)
            to_1 = tl.load(at + pixels, mask=shown, other=0.0)
            to_2 = tl.load(at + 2 * pixels, mask=shown, other=0.0)
            to_z = tl.load(at + 3 * pixels, mask=shown, other=0.0)
            level = tl.load(at + 4 * pixels, mask=shown, other=0.0)
            to_alpha = tl.load(at + 5 * pixels, mask=shown, other=0.0)
            nearest = tl.load(at + 6 * pixels, mask=shown, other=0.0)

            px = column + 0.5
            py = row + 0.5
            qx, qy, squared, inside, share_a, share_b, share_c = from_triangle(px, py, ax, ay, bx, by, cx, cy)
            sign = tl.where(inside, 1.0, -1.0)
            chance = sigmoid(sign * squared * inverse_sigma)
            u, v, w, area = screen_barycentric(px, py, ax, ay, bx, by, cx, cy)
            clipped_u, clipped_v, clipped_w, clipped_sum = normalised(u, v, w)
            z = 1.0 / (clipped_u / az + clipped_v / bz + clipped_w / cz)
            counted = shown & (inside | (squared <= cut))
            seen = counted & (z >= near) & (z <= far)
            exponent = tl.where(seen, (far - z) / (far - near) - nearest, 0.0)
            weight = tl.where(seen, chance * tl.exp(exponent * inverse_gamma), 0.0)
            p = clipped_u / az * z
            q = clipped_v / bz * z
            r = clipped_w / cz * z
            value_0 = p * a0 + q * b0 + r * c0
            value_1 = p * a1 + q * b1 + r * c1
            value_2 = p * a2 + q * b2 + r * c2

            grad_0 = weight * to_0
            grad_1 = weight * to_1
            grad_2 = weight * to_2
            color_0, color_1, color_2 = shade(
                plane, texel_count, value_0, value_1, value_2, texels_x, texels_y, seen, TEXTURED
            )
            # After this grad_* belong to the interpolated values.
            if TEXTURED:
                grad_0, grad_1 = texture_backward(
                    plane, plane_grad, texel_count, value_0, value_1, grad_0, grad_1, grad_2, texels_x, texels_y, seen
                )
                grad_2 = tl.zeros_like(grad_0)
            to_weight = to_0 * color_0 + to_1 * color_1 + to_2 * color_2 + to_z * z - level
            to_weight = tl.where(seen, weight * to_weight, 0.0)
            to_logit = tl.where(counted, to_weight * (1.0 - chance) + to_alpha * chance, 0.0)
            grad_z = weight * to_z - to_weight * inverse_gamma / (far - near)

            to_p = grad_0 * a0 + grad_1 * a1 + grad_2 * a2
            to_q = grad_0 * b0 + grad_1 * b1 + grad_2 * b2
            to_r = grad_0 * c0 + grad_1 * c1 + grad_2 * c2
            to_u, to_v, to_w, depth_a, depth_b, depth_c = perspective_backward(
                to_p, to_q, to_r, grad_z, p, q, r, z, clipped_u, clipped_v, clipped_w, az, bz, cz
            )
            to_u, to_v, to_w = normalised_backward(
                to_u, to_v, to_w, clipped_u, clipped_v, clipped_w, clipped_sum, u, v, w
            )
            # Moving corner k by s moves the barycentrics as moving the pixel by -b_k s does.
            along_x = -(to_u * (by - cy) + to_v * (cy - ay) + to_w * (ay - by)) / area
            along_y = -(to_u * (cx - bx) + to_v * (ax - cx) + to_w * (bx - ax)) / area
            along_x = tl.where(seen, along_x, 0.0)
            along_y = tl.where(seen, along_y, 0.0)
            push = -2.0 * inverse_sigma * sign * to_logit
            qx *= push
            qy *= push
            grad_ax += tl.sum(qx * share_a + along_x * u, 0)
            grad_ay += tl.sum(qy * share_a + along_y * u, 0)
            grad_az += tl.sum(tl.where(seen, depth_a, 0.0), 0)
            grad_bx += tl.sum(qx * share_b + along_x * v, 0)
            grad_by += tl.sum(qy * share_b + along_y * v, 0)
            grad_bz += tl.sum(tl.where(seen, depth_b, 0.0), 0)
            grad_cx += tl.sum(qx * share_c + along_x * w, 0)
            grad_cy += tl.sum(qy * share_c + along_y * w, 0)
            grad_cz += tl.sum(tl.where(seen, depth_c, 0.0), 0)
            grad_a0 += tl.sum(tl.where(seen, grad_0 * p, 0.0), 0)
            grad_a1 += tl.sum(tl.where(seen, grad_1 * p, 0.0), 0)
            grad_a2 += tl.sum(tl.where(seen, grad_2 * p, 0.0), 0)
            grad_b0 += tl.sum(tl.where(seen, grad_0 * q, 0.0), 0)
            grad_b1 += tl.sum(tl.where(seen, grad_1 * q, 0.0), 0)
            grad_b2 += tl.sum(tl.where(seen, grad_2 * q, 0.0), 0)
            grad_c0 += tl.sum(tl.where(seen, grad_0 * r, 0.0), 0)
            grad_c1 += tl.sum(tl.where(seen, grad_1 * r, 0.0), 0)
            grad_c2 += tl.sum(tl.where(seen, grad_2 * r, 0.0), 0)
    tl.store(out + 0, grad_ax)
    tl.store(out + 1, grad_ay)
    tl.store(out + 2, grad_az)
    tl.store(out + 3, grad_bx)
    tl.store(out + 4, grad_by)
    tl.store(out + 5, grad_bz)
    tl.store(out + 6, grad_cx)
    tl.store(out + 7, grad_cy)
    tl.store(out + 8, grad_cz)
    tl.store(value_out + 0, grad_a0)
    tl.store(value_out + 1, grad_a1)
    tl.store(value_out + 2, grad_a2)
    tl.store(value_out + 3, grad_b0)
    tl.store(value_out + 4, grad_b1)
    tl.store(value_out + 5, grad_b2)
    tl.store(value_out + 6, grad_c0)
    tl.store(value_out + 7, grad_c1)
    tl.store(value_out + 8, grad_c2)
