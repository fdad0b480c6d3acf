"""The soft rasteriser on the CPU: only the pixel-face pairs within reach of the blur, compiled, on torch's threads.

Convention: that of `reference`, which it equals in value and gradient; float32 in and out (other floats are converted).
With x = sign d^2 / sigma, 1 - D = 1 / (1 + e^x): the forward pass multiplies (1 + e^x) up in each pixel, the backward
pass computes every pair again, with dS/dx = (1 - S) D, which needs no division by 1 - D. Rows go round the threads in
the forward pass and faces in the backward pass, so no two write to one place and results do not vary between runs.
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from handkit.render.cpu_color import layers
from handkit.render.jit_soft import (
    add_to_corners,
    along_edge,
    as_float32,
    corners_to_vertices,
    exp32,
    face_setup,
    float32s,
    share,
    vectorized,
)
from handkit.render.reference import CUT

__all__ = ["layers", "silhouette"]


def silhouette(
    vertices_px: Float[Tensor, " B V 3"], faces: Int[Tensor, " F 3"], *, size: tuple[int, int], sigma: float
) -> Float[Tensor, " B H W"]:
    """1 - prod(1 - D) over the faces, as `reference.silhouette`."""
    return _Silhouette.apply(vertices_px, faces, size, sigma)


class _Silhouette(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, vertices_px: Tensor, faces: Tensor, size: tuple[int, int], sigma: float) -> Tensor:
        vertices, triangles = as_float32(vertices_px), faces.numpy()
        product = np.ones((len(vertices), *size), np.float32)
        share(_multiply, vertices, triangles, sigma, product)
        clear = 1 / product
        ctx.save_for_backward(vertices_px, faces)
        ctx.sigma, ctx.clear = sigma, clear
        return torch.from_numpy(1 - clear).to(vertices_px.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        vertices_px, faces = ctx.saved_tensors
        vertices, triangles = as_float32(vertices_px), faces.numpy()
        pull = as_float32(gradients[0]) * ctx.clear
        by_corner = np.zeros((len(vertices), len(triangles), 3, 3), np.float32)
        share(_pull_corners, vertices, triangles, ctx.sigma, pull, by_corner)
        return corners_to_vertices(by_corner, triangles, vertices.shape[1]).to(vertices_px.dtype), None, None, None


@vectorized
def _multiply(
    first: int,
    step: int,
    vertices: NDArray[np.float32],
    faces: NDArray[np.int64],
    sigma: float,
    product: NDArray[np.float32],
) -> None:
    """product[b, y, x] *= 1 + e^x for every pair within reach, in rows first, first + step, ..."""
    zero, one, slack, tiny = np.float32(0), np.float32(1), np.float32(0.99), np.float32(1e-6)
    _, height, width = product.shape
    per_sigma, reach2 = np.float32(1 / sigma), np.float32(sigma * CUT)
    for b in range(vertices.shape[0]):
        for f in range(faces.shape[0]):
            touches, box, edges, _ = face_setup(vertices[b], faces[f], np.sqrt(sigma * CUT), height, width)
            if not touches:
                continue
            left, top, right, bottom = box
            n0, n1, n2 = np.float32(edges[0][4]), np.float32(edges[1][4]), np.float32(edges[2][4])
            u0, u1, u2 = np.float32(edges[0][2]), np.float32(edges[1][2]), np.float32(edges[2][2])
            for y in range(top + (first - top) % step, bottom, step):
                into0, start0, end0 = float32s(along_edge(edges[0], left, y))
                into1, start1, end1 = float32s(along_edge(edges[1], left, y))
                into2, start2, end2 = float32s(along_edge(edges[2], left, y))
                row = product[b, y, left:right]
                for k in range(row.shape[0]):
                    column = np.float32(k)
                    in0, in1, in2 = into0 + column * n0, into1 + column * n1, into2 + column * n2
                    past0 = max(max(-(start0 + column * u0), end0 + column * u0), zero)
                    past1 = max(max(-(start1 + column * u1), end1 + column * u1), zero)
                    past2 = max(max(-(start2 + column * u2), end2 + column * u2), zero)
                    d2 = min(in0 * in0 + past0 * past0, min(in1 * in1 + past1 * past1, in2 * in2 + past2 * past2))
                    depth = min(in0, min(in1, in2))
                    # Beyond the tip of a sliver rounding can make all three positive, but none is the distance.
                    inside = (depth >= zero) & (slack * d2 <= depth * depth + tiny)
                    grown = exp32((d2 if inside else -d2) * per_sigma)
                    row[k] *= one + (grown if inside | (d2 <= reach2) else zero)


@vectorized
def _pull_corners(
    first: int,
    step: int,
    vertices: NDArray[np.float32],
    faces: NDArray[np.int64],
    sigma: float,
    pull: NDArray[np.float32],
    by_corner: NDArray[np.float32],
) -> None:
    """by_corner[b, f] = the sum of pull D by the corners, pull = (1 - S) gradient, in faces first, first + step, ...

    With the edge frozen, d^2 = into^2 + past^2; moving the nearest point of the edge by v changes d^2 by -2 r v, r
    being the vector from that point to the pixel, and the edge's ends share v as 1 - t and t.
    """
    zero, one, slack, tiny = np.float32(0), np.float32(1), np.float32(0.99), np.float32(1e-6)
    _, height, width = pull.shape
    per_sigma, reach2 = np.float32(1 / sigma), np.float32(sigma * CUT)
    for b in range(vertices.shape[0]):
        for f in range(first, faces.shape[0], step):
            touches, box, edges, _ = face_setup(vertices[b], faces[f], np.sqrt(sigma * CUT), height, width)
            if not touches:
                continue
            left, top, right, bottom = box
            n0, n1, n2 = np.float32(edges[0][4]), np.float32(edges[1][4]), np.float32(edges[2][4])
            u0, u1, u2 = np.float32(edges[0][2]), np.float32(edges[1][2]), np.float32(edges[2][2])
            per0, per1, per2 = np.float32(1 / edges[0][6]), np.float32(1 / edges[1][6]), np.float32(1 / edges[2][6])
            # Of each edge: sums of g into (1 - t), g into t, g past its start, g past its end.
            a0, b0, c0, d0 = zero, zero, zero, zero
            a1, b1, c1, d1 = zero, zero, zero, zero
            a2, b2, c2, d2 = zero, zero, zero, zero
            for y in range(top, bottom):
                into0, start0, end0 = float32s(along_edge(edges[0], left, y))
                into1, start1, end1 = float32s(along_edge(edges[1], left, y))
                into2, start2, end2 = float32s(along_edge(edges[2], left, y))
                row = pull[b, y, left:right]
                for k in range(row.shape[0]):
                    column = np.float32(k)
                    in0, in1, in2 = into0 + column * n0, into1 + column * n1, into2 + column * n2
                    along0, along1, along2 = start0 + column * u0, start1 + column * u1, start2 + column * u2
                    before0, before1, before2 = min(along0, zero), min(along1, zero), min(along2, zero)
                    after0, after1 = max(end0 + column * u0, zero), max(end1 + column * u1, zero)
                    after2 = max(end2 + column * u2, zero)
                    square0 = in0 * in0 + before0 * before0 + after0 * after0
                    square1 = in1 * in1 + before1 * before1 + after1 * after1
                    square2 = in2 * in2 + before2 * before2 + after2 * after2
                    square = min(square0, min(square1, square2))
                    depth = min(in0, min(in1, in2))
                    inside = (depth >= zero) & (slack * square <= depth * depth + tiny)
                    g = row[k] / (one + exp32((-square if inside else square) * per_sigma))
                    g = (g if inside else -g) if inside | (square <= reach2) else zero
                    g0 = g if square0 == square else zero
                    g1 = g if (square1 == square) & (square0 != square) else zero
                    g2 = g if (square1 != square) & (square0 != square) else zero
                    t0, t1 = min(max(along0 * per0, zero), one), min(max(along1 * per1, zero), one)
                    t2 = min(max(along2 * per2, zero), one)
                    a0, b0, c0, d0 = a0 + g0 * in0 * (one - t0), b0 + g0 * in0 * t0, c0 + g0 * before0, d0 + g0 * after0
                    a1, b1, c1, d1 = a1 + g1 * in1 * (one - t1), b1 + g1 * in1 * t1, c1 + g1 * before1, d1 + g1 * after1
                    a2, b2, c2, d2 = a2 + g2 * in2 * (one - t2), b2 + g2 * in2 * t2, c2 + g2 * before2, d2 + g2 * after2
            sums = ((a0, b0, c0, d0), (a1, b1, c1, d1), (a2, b2, c2, d2))
            add_to_corners(by_corner[b, f], edges, sums, -2 / sigma)
