"""What the Triton colour kernels do at a pixel of a face: barycentrics, interpolation, texture, and their gradients."""

from typing import no_type_check

import triton
import triton.language as tl


@no_type_check
@triton.jit
def load_corners(values, pair, CHANNEL: tl.constexpr):
    """One channel of the three corners of faces."""
    at = values + pair.to(tl.int64) * 9 + CHANNEL
    return tl.load(at), tl.load(at + 3), tl.load(at + 6)


@no_type_check
@triton.jit
def clip(share):
    return tl.minimum(tl.maximum(share, 0.0), 1.0)


@no_type_check
@triton.jit
def screen_barycentric(px, py, ax, ay, bx, by, cx, cy):
    """Barycentrics on the screen, and twice the area; 1 for a triangle without any."""
    area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
    area = tl.where(area == 0, 1.0, area)
    u = ((cx - bx) * (py - by) - (cy - by) * (px - bx)) / area
    v = ((ax - cx) * (py - cy) - (ay - cy) * (px - cx)) / area
    w = ((bx - ax) * (py - ay) - (by - ay) * (px - ax)) / area
    return u, v, w, area


@no_type_check
@triton.jit
def normalised(u, v, w):
    """Barycentrics clipped to the triangle, and the sum they were divided by."""
    u = clip(u)
    v = clip(v)
    w = clip(w)
    total = tl.maximum(u + v + w, 1e-12)
    return u / total, v / total, w / total, total


@no_type_check
@triton.jit
def texel(coordinate, count):
    """Of a coordinate in [0, 1]: both texels about it, the second one's weight, and the slope of the position."""
    free = coordinate * count - 0.5
    position = tl.minimum(tl.maximum(free, 0.0), count - 1.0)
    low = tl.minimum(tl.floor(position), tl.maximum(count - 2.0, 0.0))
    first = low.to(tl.int32)
    slope = tl.where((free >= 0) & (free <= count - 1.0), count * 1.0, 0.0)
    return first, tl.minimum(first + 1, count - 1), position - low, slope


@no_type_check
@triton.jit
def load_texels(plane, x0, x1, y0, y1, texels_x, mask):
    at_00 = tl.load(plane + y0 * texels_x + x0, mask=mask, other=0.0)
    at_01 = tl.load(plane + y0 * texels_x + x1, mask=mask, other=0.0)
    at_10 = tl.load(plane + y1 * texels_x + x0, mask=mask, other=0.0)
    at_11 = tl.load(plane + y1 * texels_x + x1, mask=mask, other=0.0)
    return at_00, at_01, at_10, at_11


@no_type_check
@triton.jit
def sample(plane, u, v, texels_x, texels_y, mask):
    """Bilinear value of one texture plane."""
    x0, x1, fx, _ = texel(u, texels_x)
    y0, y1, fy, _ = texel(v, texels_y)
    at_00, at_01, at_10, at_11 = load_texels(plane, x0, x1, y0, y1, texels_x, mask)
    return (at_00 * (1.0 - fx) + at_01 * fx) * (1.0 - fy) + (at_10 * (1.0 - fx) + at_11 * fx) * fy


@no_type_check
@triton.jit
def sample_backward(plane, plane_grad, u, v, upstream, texels_x, texels_y, mask):
    """Gradients of `sample` to u and v; the texels' are added to plane_grad."""
    x0, x1, fx, slope_x = texel(u, texels_x)
    y0, y1, fy, slope_y = texel(v, texels_y)
    at_00, at_01, at_10, at_11 = load_texels(plane, x0, x1, y0, y1, texels_x, mask)
    tl.atomic_add(plane_grad + y0 * texels_x + x0, upstream * (1.0 - fx) * (1.0 - fy), mask=mask)
    tl.atomic_add(plane_grad + y0 * texels_x + x1, upstream * fx * (1.0 - fy), mask=mask)
    tl.atomic_add(plane_grad + y1 * texels_x + x0, upstream * (1.0 - fx) * fy, mask=mask)
    tl.atomic_add(plane_grad + y1 * texels_x + x1, upstream * fx * fy, mask=mask)
    grad_u = upstream * slope_x * ((at_01 - at_00) * (1.0 - fy) + (at_11 - at_10) * fy)
    grad_v = upstream * slope_y * ((at_10 - at_00) * (1.0 - fx) + (at_11 - at_01) * fx)
    return grad_u, grad_v


@no_type_check
@triton.jit
def interpolate(values, pair, CHANNEL: tl.constexpr, p, q, r):
    a, b, c = load_corners(values, pair, CHANNEL)
    return p * a + q * b + r * c


@no_type_check
@triton.jit
def shade(plane, texel_count, value_0, value_1, value_2, texels_x, texels_y, mask, TEXTURED: tl.constexpr):
    """The colour of interpolated values: themselves, or the texture there."""
    if TEXTURED:
        color_0 = sample(plane, value_0, value_1, texels_x, texels_y, mask)
        color_1 = sample(plane + texel_count, value_0, value_1, texels_x, texels_y, mask)
        color_2 = sample(plane + 2 * texel_count, value_0, value_1, texels_x, texels_y, mask)
    else:
        color_0 = value_0
        color_1 = value_1
        color_2 = value_2
    return color_0, color_1, color_2


@no_type_check
@triton.jit
def texture_backward(
    plane, plane_grad, texel_count, value_0, value_1, grad_0, grad_1, grad_2, texels_x, texels_y, mask
):
    """Gradients of a texture's three colours to u and v; the texels' are added to plane_grad."""
    u_0, v_0 = sample_backward(plane, plane_grad, value_0, value_1, grad_0, texels_x, texels_y, mask)
    plane += texel_count
    plane_grad += texel_count
    u_1, v_1 = sample_backward(plane, plane_grad, value_0, value_1, grad_1, texels_x, texels_y, mask)
    plane += texel_count
    plane_grad += texel_count
    u_2, v_2 = sample_backward(plane, plane_grad, value_0, value_1, grad_2, texels_x, texels_y, mask)
    return u_0 + u_1 + u_2, v_0 + v_1 + v_2


@no_type_check
@triton.jit
def perspective_backward(to_p, to_q, to_r, to_z, p, q, r, z, u, v, w, az, bz, cz):
    """Through p = (u / az) z and so on, with z = 1 / (u / az + v / bz + w / cz): gradients to u, v, w and depths."""
    common = to_p * p + to_q * q + to_r * r + z * to_z
    to_u = z * (to_p - common) / az
    to_v = z * (to_q - common) / bz
    to_w = z * (to_r - common) / cz
    return to_u, to_v, to_w, -to_u * u / az, -to_v * v / bz, -to_w * w / cz


@no_type_check
@triton.jit
def normalised_backward(to_u, to_v, to_w, clipped_u, clipped_v, clipped_w, total, u, v, w):
    """Gradients of `normalised`, whose outputs are the clipped ones and total, to its inputs u, v, w."""
    common = to_u * clipped_u + to_v * clipped_v + to_w * clipped_w
    to_u = tl.where((u >= 0) & (u <= 1), (to_u - common) / total, 0.0)
    to_v = tl.where((v >= 0) & (v <= 1), (to_v - common) / total, 0.0)
    to_w = tl.where((w >= 0) & (w <= 1), (to_w - common) / total, 0.0)
    return to_u, to_v, to_w
