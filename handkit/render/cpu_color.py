"""Soft colour and depth on the CPU: the pairs within reach only, compiled, with a hand-written backward pass.

Convention: that of `reference.layers`, which it equals in value and gradient; float32 in and out, float64 inside, since
depth differences are divided by a small gamma. With u = D exp(zn / gamma), a pixel's colour sum(u c) / sum(u) changes
with log u by (u / sum u)(c - colour); log u with x = sign d^2 / sigma by 1 - D, and with depth by -1 / (gamma range).
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from handkit.render.jit_soft import (
    add_to_corners,
    as_float32,
    corners_to_vertices,
    face_setup,
    share,
    vectorized,
)
from handkit.render.jit_surface import add_depth_and_barycentric, interpolate, locate, on_edge, pull_sample, sample
from handkit.render.reference import CUT, EPS, MIN_WEIGHT, Layers

# A face this much fainter than the others in a pixel is below float32's resolution.
_FAINT = 1e-14


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
    """Colour and depth over the faces, as `reference.layers`."""
    if texture is None:
        texture = vertices_px.new_zeros(len(vertices_px), 0, 1, 1)
    return Layers(*_Layers.apply(vertices_px, faces, corner_values, texture, size, (sigma, gamma, near, far)))


class _Layers(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        vertices_px: Tensor,
        faces: Tensor,
        corner_values: Tensor,
        texture: Tensor,
        size: tuple[int, int],
        optics: tuple[float, float, float, float],
    ) -> tuple[Tensor, ...]:
        scene = _arrays(vertices_px, faces, corner_values, texture)
        vertices, _, values, texels = scene
        channels = texels.shape[1] or values.shape[3]
        shape = (len(vertices), *size)
        product, weight, depth = np.ones(shape), np.zeros(shape), np.zeros(shape)
        top, color = np.full(shape, EPS), np.zeros((len(vertices), channels, *size))
        share(_accumulate, *scene, optics, product, top, weight, depth, color)
        behind = np.exp((EPS - top) / optics[1])
        total = weight + behind
        color /= total[:, None]
        behind /= total
        anything = weight > MIN_WEIGHT
        depth[anything] /= weight[anything]
        depth[~anything] = 0
        clear = 1 / product
        ctx.save_for_backward(vertices_px, faces, corner_values, texture)
        ctx.optics, ctx.found = optics, (clear, top, weight, total, depth, color, behind)
        found = (color, behind, 1 - clear, depth)
        return tuple(torch.from_numpy(layer.astype(np.float32)).to(vertices_px.dtype) for layer in found)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        scene = _arrays(*ctx.saved_tensors)
        vertices, triangles, values, texels = scene
        batch, threads = len(vertices), torch.get_num_threads()
        by_image = batch >= threads
        by_corner = np.zeros((batch, len(triangles), 3, 3), np.float32)
        by_value = np.zeros_like(values)
        # Images have one writer each; within an image every thread has a texture of its own to add to.
        by_texel = np.zeros((1 if by_image else threads, *texels.shape), np.float32)
        pulls = tuple(as_float32(gradient) for gradient in gradients)
        share(_pull, *scene, ctx.optics, ctx.found, pulls, by_image, by_corner, by_value, by_texel)
        by_vertex = corners_to_vertices(by_corner, triangles, vertices.shape[1])
        pulled = by_vertex, torch.from_numpy(by_value), torch.from_numpy(by_texel.sum(0))
        dtype = ctx.saved_tensors[0].dtype
        to_vertices, to_values, to_texture = (gradient.to(dtype) for gradient in pulled)
        return to_vertices, None, to_values, to_texture, None, None


def _arrays(vertices_px: Tensor, faces: Tensor, corner_values: Tensor, texture: Tensor) -> tuple[NDArray[Any], ...]:
    return as_float32(vertices_px), faces.numpy(), as_float32(corner_values), as_float32(texture)


@vectorized
def _accumulate(
    first: int,
    step: int,
    vertices: NDArray[np.float32],
    faces: NDArray[np.int64],
    values: NDArray[np.float32],
    texture: NDArray[np.float32],
    optics: tuple[float, float, float, float],
    product: NDArray[np.float64],
    top: NDArray[np.float64],
    weight: NDArray[np.float64],
    depth: NDArray[np.float64],
    color: NDArray[np.float64],
) -> None:
    """Sums of u, u z and u c over the pairs, in rows first, first + step, ..., all relative to the nearest so far."""
    sigma, gamma, near, far = optics
    channels, height, width = color.shape[1:]
    mixed = np.empty(channels)
    for b in range(len(vertices)):
        for f in range(len(faces)):
            touches, box, edges, per_depth = face_setup(vertices[b], faces[f], np.sqrt(sigma * CUT), height, width)
            if not touches:
                continue
            corner_values, image = values[b, f], texture[b]
            for y in range(box[1] + (first - box[1]) % step, box[3], step):
                for x in range(box[0], box[2]):
                    square, _, raw = locate(edges, x, y)
                    if square < -sigma * CUT:
                        continue
                    grown = np.exp(min(square / sigma, 700.0))
                    product[b, y, x] *= 1 + grown
                    z, shares, _, _ = interpolate(raw, per_depth)
                    if z < near or z > far:
                        continue
                    zn = (far - z) / (far - near)
                    if zn > top[b, y, x]:
                        fade = np.exp((top[b, y, x] - zn) / gamma)
                        top[b, y, x] = zn
                        weight[b, y, x] *= fade
                        depth[b, y, x] *= fade
                        for c in range(channels):
                            color[b, c, y, x] *= fade
                    u = grown / (1 + grown) * np.exp((zn - top[b, y, x]) / gamma)
                    if u <= _FAINT * weight[b, y, x]:
                        continue
                    weight[b, y, x] += u
                    depth[b, y, x] += u * z
                    sample(corner_values, image, shares, mixed)
                    for c in range(channels):
                        color[b, c, y, x] += u * mixed[c]


@vectorized
def _pull(
    first: int,
    step: int,
    vertices: NDArray[np.float32],
    faces: NDArray[np.int64],
    values: NDArray[np.float32],
    texture: NDArray[np.float32],
    optics: tuple[float, float, float, float],
    found: Any,
    pulls: Any,
    by_image: bool,
    by_corner: NDArray[np.float32],
    by_value: NDArray[np.float32],
    by_texel: NDArray[np.float32],
) -> None:
    """Gradients to corners, their values and texels: of images, or of faces, first, first + step, ..."""
    sigma, gamma, near, far = optics
    clear, top, weight, total, depth, color, behind = found
    pull_color, pull_behind, pull_alpha, pull_depth = pulls
    channels, height, width = color.shape[1:]
    mixed, toward = np.empty(channels), np.empty(channels)
    texels = by_texel[0 if by_image else first]
    image_first, image_step = (first, step) if by_image else (0, 1)
    face_first, face_step = (0, 1) if by_image else (first, step)
    # Summed beside the results: faces of two threads share cache lines there.
    sums, corners, to_values = np.empty((3, 4)), np.empty((3, 3)), np.empty(values.shape[2:])
    for b in range(image_first, len(vertices), image_step):
        for f in range(face_first, len(faces), face_step):
            touches, box, edges, per_depth = face_setup(vertices[b], faces[f], np.sqrt(sigma * CUT), height, width)
            if not touches:
                continue
            sums[:], corners[:], to_values[:] = 0.0, 0.0, 0.0
            corner_values, image, to_image = values[b, f], texture[b], texels[b]
            for y in range(box[1], box[3]):
                for x in range(box[0], box[2]):
                    square, nearest, raw = locate(edges, x, y)
                    if square < -sigma * CUT:
                        continue
                    D = 1 / (1 + np.exp(min(-square / sigma, 700.0)))
                    pull_x = pull_alpha[b, y, x] * clear[b, y, x] * D
                    z, shares, clipped, per_size = interpolate(raw, per_depth)
                    u = 0.0
                    if near <= z <= far:
                        u = D * np.exp(((far - z) / (far - near) - top[b, y, x]) / gamma)
                    if u > _FAINT * weight[b, y, x]:
                        part = u / total[b, y, x]
                        of_depth = u / weight[b, y, x] if weight[b, y, x] > MIN_WEIGHT else 0.0
                        sample(corner_values, image, shares, mixed)
                        pull_u = of_depth * pull_depth[b, y, x] * (z - depth[b, y, x])
                        pull_u -= part * pull_behind[b, y, x] * behind[b, y, x]
                        for c in range(channels):
                            toward[c] = part * pull_color[b, c, y, x]
                            pull_u += toward[c] * (mixed[c] - color[b, c, y, x])
                        pull_x += pull_u * (1 - D)
                        pull_z = of_depth * pull_depth[b, y, x] - pull_u / (gamma * (far - near))
                        by_share = pull_sample(corner_values, image, shares, toward, to_values, to_image)
                        add_depth_and_barycentric(
                            corners, edges, per_depth, raw, shares, clipped, per_size, z, pull_z, by_share
                        )
                    on_edge(edges, nearest, x, y, pull_x if square > 0 else -pull_x, sums)
            add_to_corners(corners, edges, sums, -2 / sigma)
            by_corner[b, f], by_value[b, f] = corners, to_values
