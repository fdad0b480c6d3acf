"""The soft rasteriser on a GPU: Triton kernels, tiled forward, one pass a face backward.

Convention: pixel (x, y) has its centre at (x + 0.5, y + 0.5); vertices are pixel x, y and depth in metres; float32.
Forward: faces are binned to square tiles, then one program a tile and image runs over that tile's faces. Backward: one
program a face and image runs over the pixels within its reach, so vertex gradients need no atomics and come out the
same every time; those of a texture are summed by atomics. With TRITON_INTERPRET=1 set before Triton is imported, it
runs on CPU tensors, for tests.
"""

import math
from typing import Any, NamedTuple

import torch
import triton
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from handkit.errors import HandkitError
from handkit.render import triton_color, triton_kernels
from handkit.render.reference import CUT, EPS, MAX_PX, MIN_DOUBLE_AREA, MIN_WEIGHT, NEAR_M, Layers

TILE = 16  # pixels a side
BLOCK = 4  # faces a step of a tile
COLOR_BLOCK = 2
BIN_BLOCK = 256
PATCH = 16  # pixels a side of a backward step
CHANNELS = 3
# Said outright because Triton warns where it is left to the default.
_OPTIONS: dict[str, Any] = {"enable_fp_fusion": True}


class Binned(NamedTuple):
    """Faces of a batch of images, ready to draw; the layouts are those of `triton_kernels`."""

    reach: Tensor  # [4, B, F] int32
    starts: Tensor  # [B * tiles + 1] int64: where each slot's faces start in members
    members: Tensor  # [starts[-1]] int32, face numbers in rising order in each slot
    tiles_x: int
    tiles: int


class Optics(NamedTuple):
    """What one rendering is done with."""

    size: tuple[int, int]
    sigma: float
    gamma: float = 1.0
    near: float = 0.0
    far: float = 1.0

    @property
    def cut(self) -> float:
        """Squared distance (px²) from which on a face counts nothing outside itself."""
        return self.sigma * CUT


def silhouette(
    vertices_px: Float[Tensor, " B V 3"], faces: Int[Tensor, " F 3"], *, size: tuple[int, int], sigma: float
) -> Float[Tensor, " B H W"]:
    """1 - prod(1 - D) over the faces, as `reference.silhouette`; in float32, returned in the vertices' type.

    Raises HandkitError where Triton cannot run.
    """
    _check_device(vertices_px)
    corners = vertices_px.float()[:, faces]
    drawn: Tensor = _Silhouette.apply(corners, Optics(size, sigma))
    return drawn.to(vertices_px.dtype)


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
    """Colour and depth, as `reference.layers`; in float32, returned in the vertices' type, three channels at a time.

    Raises HandkitError where Triton cannot run.
    """
    _check_device(vertices_px)
    corners = vertices_px.float()[:, faces]
    optics = Optics(size, sigma, gamma, near, far)
    values, texels = corner_values.float(), None if texture is None else texture.float()
    channels = values.shape[-1] if texels is None else texels.shape[1]
    parts = []
    for first in range(0, max(channels, 1), CHANNELS):
        if texels is None:
            part, planes = values[..., first : first + CHANNELS], values.new_empty(0)
        else:
            part, planes = values, texels[:, first : first + CHANNELS]
            planes = functional.pad(planes, (0, 0, 0, 0, 0, CHANNELS - planes.shape[1]))
        part = functional.pad(part, (0, CHANNELS - part.shape[-1]))
        parts.append(_Color.apply(corners, part.contiguous(), planes.contiguous(), optics))
    foreground = torch.cat([part[0] for part in parts], 1)[:, :channels]
    return Layers(*(layer.to(vertices_px.dtype) for layer in (foreground, *parts[0][1:])))


def _check_device(tensor: Tensor) -> None:
    interpreted = not isinstance(triton_kernels.silhouette_forward, triton.JITFunction)
    if not tensor.is_cuda and not interpreted:
        raise HandkitError(
            f"the cuda renderer got a tensor on {tensor.device}", "move it to a GPU, or use backend='cpu'"
        )


class _Silhouette(torch.autograd.Function):
    """Corners [B, F, 3, 3] -> [B, H, W]."""

    @staticmethod
    def forward(ctx: Any, corners: Tensor, optics: Optics) -> Tensor:
        corners = corners.contiguous()
        binned = bin_faces(corners, optics)
        drawn = corners.new_empty(len(corners), *optics.size)
        with _device_of(corners):
            triton_kernels.silhouette_forward[(len(binned.starts) - 1,)](
                corners, binned.starts, binned.members, drawn, corners.shape[1], binned.tiles_x, binned.tiles,
                *optics.size, 1 / optics.sigma, optics.cut, TILE=TILE, BLOCK=BLOCK, **_OPTIONS,
            )  # fmt: skip
        ctx.save_for_backward(corners, binned.reach, drawn)
        ctx.optics = optics
        return drawn

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        corners, reach, drawn = ctx.saved_tensors
        grads = torch.zeros_like(corners)
        pairs = reach[0].numel()
        with _device_of(corners):
            triton_kernels.silhouette_backward[(pairs,)](
                corners, reach, drawn, upstream.contiguous(), grads, pairs, corners.shape[1], *drawn.shape[1:],
                1 / ctx.optics.sigma, ctx.optics.cut, PATCH=PATCH, num_warps=2, **_OPTIONS,
            )  # fmt: skip
        return grads, None


class _Color(torch.autograd.Function):
    """Corners and values [B, F, 3, 3], texture [B, 3, Ht, Wt] or [0] -> the four tensors of Layers."""

    @staticmethod
    def forward(
        ctx: Any, corners: Tensor, values: Tensor, texture: Tensor, optics: Optics
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        corners = corners.contiguous()
        binned = bin_faces(corners, optics)
        planes = corners.new_empty(len(corners), 8, *optics.size)
        with _device_of(corners):
            triton_color.color_forward[(len(binned.starts) - 1,)](
                corners, values, texture, binned.starts, binned.members, planes, corners.shape[1], binned.tiles_x,
                binned.tiles, *optics.size, math.prod(optics.size), *_texels(texture), 1 / optics.sigma, optics.cut,
                1 / optics.gamma, optics.near, optics.far, EPS, MIN_WEIGHT, TEXTURED=texture.ndim == 4, TILE=TILE,
                BLOCK=COLOR_BLOCK, **_OPTIONS,
            )  # fmt: skip
        ctx.save_for_backward(corners, values, texture, binned.reach, planes)
        ctx.optics = optics
        return planes[:, :3].clone(), planes[:, 3].clone(), planes[:, 4].clone(), planes[:, 5].clone()

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, to_foreground: Tensor, to_behind: Tensor, to_alpha: Tensor, to_depth: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, None]:
        corners, values, texture, reach, planes = ctx.saved_tensors
        optics: Optics = ctx.optics
        upstream = _per_weight(planes, (to_foreground, to_behind, to_alpha, to_depth), optics.gamma)
        grads = torch.zeros_like(corners), torch.zeros_like(values), torch.zeros_like(texture)
        pairs = reach[0].numel()
        with _device_of(corners):
            triton_color.color_backward[(pairs,)](
                corners, values, texture, reach, upstream, *grads, pairs, corners.shape[1], optics.size[1],
                math.prod(optics.size), *_texels(texture), 1 / optics.sigma, optics.cut, 1 / optics.gamma, optics.near,
                optics.far, TEXTURED=texture.ndim == 4, PATCH=PATCH, num_warps=8, **_OPTIONS,
            )  # fmt: skip
        return *grads, None


def _per_weight(planes: Tensor, upstream: tuple[Tensor, ...], gamma: float) -> Tensor:
    """The planes [B, 7, H, W] `color_backward` reads.

    With weights w_i, colours c_i, depths z_i: d loss / d w_i = planes[:3] . c_i + planes[3] z_i - planes[4]; then
    d loss / d log(1 - D) times -1, and the nearest inverse depth that the weights are relative to.
    """
    foreground, behind, alpha, depth, top, weight = torch.split(planes, [3, 1, 1, 1, 1, 1], 1)
    to_foreground, to_behind, to_alpha, to_depth = upstream
    total = weight + torch.exp((EPS - top) / gamma)
    anything = weight > MIN_WEIGHT
    to_color = to_foreground / total
    to_z = torch.where(anything, to_depth[:, None] / torch.where(anything, weight, 1.0), 0.0)
    level = (to_color * foreground).sum(1, keepdim=True) + to_behind[:, None] * behind / total + to_z * depth
    return torch.cat([to_color, to_z, level, to_alpha[:, None] * (1 - alpha), top], 1)


def _texels(texture: Tensor) -> tuple[int, int, int]:
    """Rows, columns and their product; one texel where there is no texture."""
    rows, columns = texture.shape[-2:] if texture.ndim == 4 else (1, 1)
    return rows, columns, rows * columns


def bin_faces(corners: Tensor, optics: Optics) -> Binned:
    """Faces [B, F, 3, 3] within reach of every tile; waits once for the device, to learn how many there are."""
    batch, face_count = corners.shape[:2]
    tiles_x, tiles_y = triton.cdiv(optics.size[1], TILE), triton.cdiv(optics.size[0], TILE)
    tiles = tiles_x * tiles_y
    reach = pixel_reach(corners, optics.size, math.sqrt(optics.cut))
    found = torch.zeros(batch * tiles + 1, dtype=torch.int64, device=corners.device)
    sizes = {"TILE": TILE, "BLOCK": BIN_BLOCK, **_OPTIONS}
    shape = (batch * face_count, face_count, tiles_x, tiles)
    with _device_of(corners):
        # Counted one place late, so that the running sum gives where each slot starts.
        triton_kernels.bin_faces[(batch * tiles,)](reach, found[1:], found, *shape, FILL=False, **sizes)
        starts = found.cumsum(0)
        members = torch.empty(int(starts[-1]), dtype=torch.int32, device=corners.device)
        triton_kernels.bin_faces[(batch * tiles,)](reach, starts, members, *shape, FILL=True, **sizes)
    return Binned(reach, starts, members, tiles_x, tiles)


def pixel_reach(corners: Tensor, size: tuple[int, int], margin: float) -> Tensor:
    """Columns and rows [4, B, F] int32 that faces [B, F, 3, 3] can touch: first x, past the last x, first y, past it.

    All 0 for faces off the image and for those that do not count (see `reference.face_corners`).
    """
    points = corners[..., :2]
    a, b, c = points.unbind(-2)
    area = (b[..., 0] - a[..., 0]) * (c[..., 1] - a[..., 1]) - (b[..., 1] - a[..., 1]) * (c[..., 0] - a[..., 0])
    drawn = (corners.abs() < MAX_PX).flatten(2).all(-1) & (corners[..., 2] >= NEAR_M).all(-1)
    drawn &= area.abs() >= MIN_DOUBLE_AREA
    limit = points.new_tensor(size[::-1])
    first = (points.amin(-2) - margin - 0.5).ceil().clamp(min=0).minimum(limit)
    past = ((points.amax(-2) + margin - 0.5).floor() + 1).clamp(min=0).minimum(limit)
    drawn = drawn & (first < past).all(-1)
    reach = torch.stack([first[..., 0], past[..., 0], first[..., 1], past[..., 1]])
    return torch.where(drawn, reach, 0).to(torch.int32)


def _device_of(tensor: Tensor) -> torch.cuda.device:
    """Launch on the tensor's GPU, whichever one is current; does nothing for a CPU tensor."""
    return torch.cuda.device(tensor.device if tensor.is_cuda else -1)
