"""The soft rasteriser as its formulas read: dense torch, any dtype, gradients by autograd.

Convention: vertices are (pixel x, pixel y, depth in metres), pixel centres at +0.5; sigma in square pixels.
SoftRas (Liu et al. 2019) with Euclidean distances: D = sigmoid(sign d^2 / sigma) for the distance d from a pixel centre
to a triangle's boundary, sign +1 inside; pairs outside with D < 1e-6 count nothing. Faces that reach nearer than 1 mm,
are not finite (or beyond 1e8 px) or have no area count nothing. Every other implementation is tested against this one.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

NEAR_M = 1e-3
MAX_PX = 1e8
MIN_DOUBLE_AREA = 1e-8
# sigmoid(-CUT) = 1e-6
CUT = math.log(1e6 - 1)
# The normalised inverse depth of the background (SoftRas).
EPS = 1e-3
# Below this sum of weights there is nothing to average a depth over.
MIN_WEIGHT = 1e-30

_CHUNK_ELEMENTS = 1 << 16


class Layers(NamedTuple):
    """What a pixel sees before the background is put behind it: rgb = foreground + background_weight * background."""

    foreground: Float[Tensor, " B C H W"]
    background_weight: Float[Tensor, " B H W"]
    alpha: Float[Tensor, " B H W"]
    depth: Float[Tensor, " B H W"]


class _Pairs(NamedTuple):
    """Faces against pixels [B, f, P]."""

    logit: Tensor  # sign d^2 / sigma
    counted: Tensor  # bool
    barycentric: Tensor | None = None  # [3, B, f, P] perspective-correct, clipped to the triangle
    depth: Tensor | None = None


def silhouette(
    vertices_px: Float[Tensor, " B V 3"], faces: Int[Tensor, " F 3"], *, size: tuple[int, int], sigma: float
) -> Float[Tensor, " B H W"]:
    """1 - prod(1 - D) over the faces."""

    def optical_depth(corners: Tensor, valid: Tensor) -> Tensor:
        return _log_transparency(_pairs(corners, valid, pixels, sigma)).sum(1)

    corners, valid = face_corners(vertices_px, faces)
    pixels = _pixel_centres(size, vertices_px)
    total = vertices_px.new_zeros(len(vertices_px), len(pixels))
    for part in _chunks(len(faces), total.numel()):
        total = total + checkpoint(optical_depth, corners[:, part], valid[:, part], use_reentrant=False)
    return -torch.expm1(-total).unflatten(1, size)


def layers(
    vertices_px: Float[Tensor, " B V 3"],
    faces: Int[Tensor, " F 3"],
    corner_values: Float[Tensor, " B F 3 A"],
    texture: Float[Tensor, " B C Ht Wt"] | None,
    *,
    size: tuple[int, int],
    sigma: float,
    gamma: float,
    near: float,
    far: float,
) -> Layers:
    """Colour and depth as means over the faces, weighted by D exp(zn / gamma), zn = (far - z) / (far - near).

    corner_values are colours at the faces' corners, or with a texture their (u, v). Depth z at a pixel is
    1 / sum(b / z) for the screen barycentrics b, each clipped to [0, 1] and then normalised; faces are interpolated
    with b z / z_corner. Faces with z outside [near, far] have no colour; they do count in alpha.
    """

    def visible(pairs: _Pairs) -> tuple[Tensor, Tensor]:
        assert pairs.depth is not None
        return pairs.counted & (pairs.depth >= near) & (pairs.depth <= far), (far - pairs.depth) / (far - near)

    def nearest(corners: Tensor, valid: Tensor) -> Tensor:
        seen, inverse_depth = visible(_pairs(corners, valid, pixels, sigma, with_depth=True))
        return inverse_depth.masked_fill(~seen, EPS).amax(1)

    def sums(corners: Tensor, valid: Tensor, values: Tensor, texture: Tensor | None, top: Tensor) -> tuple[Tensor, ...]:
        pairs = _pairs(corners, valid, pixels, sigma, with_depth=True)
        assert pairs.barycentric is not None
        assert pairs.depth is not None
        seen, inverse_depth = visible(pairs)
        # The exponent is at most 0 where seen; elsewhere it is replaced before it can overflow.
        exponent = (inverse_depth - top[:, None]).masked_fill(~seen, 0.0) / gamma
        weight = torch.where(seen, torch.sigmoid(pairs.logit) * exponent.exp(), 0.0)
        color = torch.einsum("kbfp,bfka->bfpa", pairs.barycentric, values)
        if texture is not None:
            color = sample_texture(texture, color.flatten(1, 2)).unflatten(1, color.shape[1:3])
        mixed = torch.einsum("bfp,bfpc->bcp", weight, color)
        return _log_transparency(pairs).sum(1), weight.sum(1), (weight * pairs.depth).sum(1), mixed

    corners, valid = face_corners(vertices_px, faces)
    pixels = _pixel_centres(size, vertices_px)
    shape = (len(vertices_px), len(pixels))
    parts = _chunks(len(faces), shape[0] * shape[1])
    top = vertices_px.new_full(shape, EPS)
    with torch.no_grad():
        for part in parts:
            top = torch.maximum(top, nearest(corners[:, part], valid[:, part]))
    channels = corner_values.shape[-1] if texture is None else texture.shape[1]
    transparency, weight, depth = (vertices_px.new_zeros(shape) for _ in range(3))
    color = vertices_px.new_zeros(shape[0], channels, shape[1])
    for part in parts:
        inputs = (corners[:, part], valid[:, part], corner_values[:, part], texture, top)
        found = checkpoint(sums, *inputs, use_reentrant=False)
        transparency, weight = transparency + found[0], weight + found[1]
        depth, color = depth + found[2], color + found[3]
    behind = torch.exp((EPS - top) / gamma)
    total = weight + behind
    anything = weight > MIN_WEIGHT
    depth = torch.where(anything, depth / torch.where(anything, weight, 1.0), 0.0)
    return Layers(
        (color / total[:, None]).unflatten(2, size),
        (behind / total).unflatten(1, size),
        -torch.expm1(-transparency).unflatten(1, size),
        depth.unflatten(1, size),
    )


def sample_texture(texture: Float[Tensor, " B C Ht Wt"], uv: Float[Tensor, " B N 2"]) -> Float[Tensor, " B N C"]:
    """Bilinear; u right and v down in [0, 1], texel centres at (i + 0.5) / n, clamped at the borders."""
    height, width = texture.shape[-2:]
    x, x0, x1 = _texel(uv[..., 0], width)
    y, y0, y1 = _texel(uv[..., 1], height)
    flat = texture.flatten(2)

    def texels(row: Tensor, column: Tensor) -> Tensor:
        index = (row * width + column)[:, None].expand(-1, flat.shape[1], -1)
        return flat.gather(2, index).transpose(1, 2)

    above = texels(y0, x0) * (1 - x) + texels(y0, x1) * x
    below = texels(y1, x0) * (1 - x) + texels(y1, x1) * x
    return above * (1 - y) + below * y


def face_corners(
    vertices_px: Float[Tensor, " B V 3"], faces: Int[Tensor, " F 3"]
) -> tuple[Float[Tensor, " B F 3 3"], Bool[Tensor, " B F"]]:
    """Corners of every face, and which faces count; the others get a harmless triangle, so gradients stay finite."""
    corners = vertices_px[:, faces]
    sane = (corners.abs() < MAX_PX).all(-1).all(-1) & (corners[..., 2] >= NEAR_M).all(-1)
    harmless = corners.new_tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
    corners = torch.where(sane[..., None, None], corners, harmless)
    valid = sane & (_double_area(corners).abs() >= MIN_DOUBLE_AREA)
    return torch.where(valid[..., None, None], corners, harmless), valid


def _pairs(corners: Tensor, valid: Tensor, pixels: Tensor, sigma: float, *, with_depth: bool = False) -> _Pairs:
    # [3, B, f, P]: from each corner, and along the edge from corner k to k + 1.
    x, y, z = (axis[..., None] for axis in corners.permute(3, 2, 0, 1))
    edge_x, edge_y = x.roll(-1, 0) - x, y.roll(-1, 0) - y
    offset_x, offset_y = pixels[:, 0] - x, pixels[:, 1] - y
    along = ((offset_x * edge_x + offset_y * edge_y) / (edge_x.square() + edge_y.square())).clamp(0, 1)
    distance2 = ((offset_x - along * edge_x).square() + (offset_y - along * edge_y).square()).amin(0)
    cross = edge_x * offset_y - edge_y * offset_x  # twice the area of the part opposite corner k + 2
    inside = (cross.amin(0) >= 0) | (cross.amax(0) <= 0)
    logit = torch.where(inside, distance2, -distance2) / sigma
    counted = valid[..., None] & (logit >= -CUT)
    if not with_depth:
        return _Pairs(logit, counted)
    clipped = (cross.roll(-1, 0) / _double_area(corners)[..., None]).clamp(0, 1)
    over_depth = clipped / clipped.sum(0) / z
    depth = 1 / over_depth.sum(0)
    return _Pairs(logit, counted, over_depth * depth, depth)


def _log_transparency(pairs: _Pairs) -> Tensor:
    """-log(1 - D), which stays exact where D rounds to 1."""
    return torch.where(pairs.counted, functional.softplus(pairs.logit, threshold=40), 0.0)


def _double_area(corners: Tensor) -> Tensor:
    first, second = (corners[..., k, :2] - corners[..., 0, :2] for k in (1, 2))
    return first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0]


def _pixel_centres(size: tuple[int, int], like: Tensor) -> Tensor:
    y, x = (torch.arange(n, dtype=like.dtype, device=like.device) + 0.5 for n in size)
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).flatten(0, 1)


def _texel(coordinate: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Weight [..., 1] of the second of the two texels about a coordinate, and both their indices."""
    position = (coordinate * count - 0.5).clamp(0, count - 1)
    first = position.detach().floor().clamp(0, max(count - 2, 0)).long()
    return (position - first)[..., None], first, (first + 1).clamp_max(count - 1)


def _chunks(faces: int, elements_a_face: int) -> list[slice]:
    step = max(1, _CHUNK_ELEMENTS // max(1, elements_a_face))
    return [slice(first, first + step) for first in range(0, faces, step)]
