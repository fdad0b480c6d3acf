"""What the compiled soft renderers share: threads, which faces count, the pixels within reach, a fast exponential."""

import inspect
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic
from numpy.typing import NDArray
from torch import Tensor

from handkit.render.jit import compiled
from handkit.render.reference import MAX_PX, MIN_DOUBLE_AREA, NEAR_M

_LOG2_E = np.float32(math.log2(math.e))
_LN_2 = np.float32(math.log(2))
_ONE = np.float32(1)
_HALF = np.float32(0.5)
# Beyond these e^x is 0 or 1/0 for every use here.
_LOW, _HIGH = np.float32(-87), np.float32(88)
# 2^f on [-0.5, 0.5]: the Taylor terms ln(2)^k / k!, off by at most 2e-7.
_TERMS = tuple(np.float32(math.log(2) ** k / math.factorial(k)) for k in range(2, 7))
_T2, _T3, _T4, _T5, _T6 = _TERMS


def vectorized(kernel: Callable[..., Any]) -> Callable[..., Any]:
    """As `jit.compiled`, with sums reordered into vector registers and division by zero giving inf."""
    kernel = inspect.unwrap(kernel)  # from checks of its annotations, which numba cannot compile
    return compiled(kernel, error_model="numpy", fastmath={"reassoc", "contract", "nsz", "arcp"})


def as_float32(tensor: Tensor) -> NDArray[np.float32]:
    """The tensor's numbers as a contiguous array, outside autograd."""
    return tensor.detach().to(torch.float32).contiguous().numpy()


def share(kernel: Callable[..., None], *arguments: Any) -> None:
    """Run kernel(first, step, *arguments) on torch's number of threads; each takes every step-th piece from `first`."""
    threads = torch.get_num_threads()
    if threads == 1:
        kernel(0, 1, *arguments)
        return
    with ThreadPoolExecutor(threads - 1) as pool:
        others = [pool.submit(kernel, first, threads, *arguments) for first in range(1, threads)]
        kernel(0, threads, *arguments)
        for other in others:
            other.result()


def corners_to_vertices(by_corner: NDArray[np.float32], triangles: NDArray[np.int64], count: int) -> Tensor:
    """Sum [B, F, 3, A] over the corners that share a vertex: [B, V, A]."""
    batch, _, _, width = by_corner.shape
    total = torch.zeros(batch, count, width)
    return total.index_add_(1, torch.from_numpy(triangles).flatten(), torch.from_numpy(by_corner).flatten(1, 2))


def _bits_to_float(typing_context: Any, bits: Any) -> Any:
    """Code for the float32 with the bits of an int32."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), build


_float_of_bits: Any = intrinsic(inspect.unwrap(_bits_to_float))


@vectorized
def exp32(x: Any) -> Any:
    """e^x of a float32 within 3e-7 of itself, without a call, so that loops over it vectorise."""
    x = min(max(x, _LOW), _HIGH)
    scaled = x * _LOG2_E
    whole = np.floor(scaled + _HALF)
    f = scaled - whole
    power = _ONE + f * (_LN_2 + f * (_T2 + f * (_T3 + f * (_T4 + f * (_T5 + f * _T6)))))
    bits = (np.int32(whole) + np.int32(127)) << np.int32(23)
    return power * _float_of_bits(bits)


@vectorized
def face_setup(vertices: Any, face: Any, reach: float, height: int, width: int) -> Any:
    """Whether a face touches the image, the pixels (left, top, right, bottom) to look at, its edges, 1 / its depths.

    Edges are a to b, b to c, c to a, each (x, y, ux, uy, nx, ny, length, slope) in float64: where it starts, its unit
    direction, its unit normal into the face, its length, and the growth of the opposite corner's barycentric a pixel.
    """
    i, j, k = face[0], face[1], face[2]
    a, b, c = corner(vertices, i), corner(vertices, j), corner(vertices, k)
    double_area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
    valid = sane(a) and sane(b) and sane(c) and abs(double_area) >= MIN_DOUBLE_AREA
    left, right = span(a[0], b[0], c[0], reach, width)
    top, bottom = span(a[1], b[1], c[1], reach, height)
    turn = 1.0 if double_area > 0.0 else -1.0
    per_area = turn / double_area
    edges = (edge_of(a, b, turn, per_area), edge_of(b, c, turn, per_area), edge_of(c, a, turn, per_area))
    touches = valid and left < right and top < bottom
    return touches, (left, top, right, bottom), edges, (1 / a[2], 1 / b[2], 1 / c[2])


@vectorized
def corner(vertices: Any, index: int) -> Any:
    return np.float64(vertices[index, 0]), np.float64(vertices[index, 1]), np.float64(vertices[index, 2])


@vectorized
def sane(point: Any) -> bool:
    """Finite, not absurdly far, in front of the camera; NaN fails every comparison."""
    return abs(point[0]) < MAX_PX and abs(point[1]) < MAX_PX and NEAR_M <= point[2] < MAX_PX


@vectorized
def edge_of(a: Any, b: Any, turn: float, per_area: float) -> Any:
    x, y = b[0] - a[0], b[1] - a[1]
    length = np.sqrt(x * x + y * y)
    ux, uy = x / length, y / length
    return a[0], a[1], ux, uy, -turn * uy, turn * ux, length, length * per_area


@vectorized
def along_edge(edge: Any, x: int, y: int) -> Any:
    """Of a pixel's centre: its distance into the face, and along the edge past the start and past the end, in px."""
    from_x, from_y = x + 0.5 - edge[0], y + 0.5 - edge[1]
    past_start = edge[2] * from_x + edge[3] * from_y
    return edge[4] * from_x + edge[5] * from_y, past_start, past_start - edge[6]


@vectorized
def span(a: float, b: float, c: float, reach: float, count: int) -> Any:
    """First and one past the last pixel whose centre is within reach of [min, max], cut to [0, count)."""
    first = np.ceil(min(max(min(a, b, c) - reach - 0.5, 0.0), float(count)))
    last = np.floor(max(min(max(a, b, c) + reach - 0.5, count - 1.0), -1.0))
    return int(first), int(last) + 1


@vectorized
def float32s(three: Any) -> Any:
    return np.float32(three[0]), np.float32(three[1]), np.float32(three[2])


@vectorized
def add_to_corners(corners: Any, edges: Any, sums: Any, scale: float) -> None:
    """corners [3, >=2] += scale times the edges' sums (into at start, into at end, past the start, past the end)."""
    for e in range(3):
        at_start, at_end, before, after = sums[e]
        _, _, ux, uy, nx, ny, _, _ = edges[e]
        corners[e, 0] += scale * (at_start * nx + before * ux)
        corners[e, 1] += scale * (at_start * ny + before * uy)
        corners[(e + 1) % 3, 0] += scale * (at_end * nx + after * ux)
        corners[(e + 1) % 3, 1] += scale * (at_end * ny + after * uy)
