"""`handkit.synth.paint` for batches of tensors, on a GPU by Triton or on the CPU.

Convention: pixel (x, y) has its centre at (x + 0.5, y + 0.5); colours are display sRGB in [0, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from handkit.render.hard import NEAR_M, rasterize
from handkit.render.jit_paint import BOUNCE, INSIDE_SHADE
from handkit.synth.paint import light_values

if TYPE_CHECKING:
    from handkit.synth.appearance import Light

CHUNK = 32  # images painted at once, to bound the memory


class _Samples(NamedTuple):
    """Samples that show a face: image [N], place in the fine image [N], its corners [N, 3], their shares [N, 3]."""

    image: Tensor
    place: Tensor
    corners: Tensor
    shares: Tensor


def paint_batch(
    backgrounds: UInt8[Tensor, " B H W 3"],
    points_px: Float[Tensor, " B V 3"],
    normals: Float[Tensor, " B V 3"],
    colors: Float[Tensor, " B V 3"],
    faces: Int[Tensor, " F 3"],
    face_labels: UInt8[Tensor, " F"],
    *,
    lights: Sequence[Light | None],
    supersample: int = 2,
    perspective: bool = False,
) -> tuple[UInt8[Tensor, " B H W 3"], UInt8[Tensor, " B H W"]]:
    """What `paint` draws, for a batch of meshes of the same faces, each with its own colours and light.

    Several meshes of a picture go in as one. Works where its tensors are: on a GPU through Triton, else through
    `handkit.render.hard`. Labels are reckoned in float64, colours in float32.
    """
    images, labels = backgrounds.clone(), backgrounds.new_zeros(backgrounds.shape[:3])
    light = torch.stack([torch.from_numpy(light_values(one)) for one in lights]).to(backgrounds.device)
    lit = torch.tensor([one is not None for one in lights], device=backgrounds.device)
    for first in range(0, len(backgrounds), CHUNK):
        part = slice(first, first + CHUNK)
        points = _as_pinhole(points_px[part].double(), perspective)
        ids = _raster(points, faces, labels.shape[1:])[0].long()
        labels[part] = torch.where(ids >= 0, face_labels[ids.clamp(min=0)], 0)
        samples = _samples(points, faces, labels.shape[1:], supersample)
        color = _shade(samples, points, normals[part].float(), _linear(colors[part].float()), light[part], lit[part])
        images[part] = _mix(backgrounds[part], samples, color, supersample)
    return images, labels


def _as_pinhole(points: Tensor, perspective: bool) -> Tensor:
    """The points with depths z' of which 1 / z' is linear on screen: so the rasterisers serve a parallel projection."""
    if perspective:
        return points
    key = points[..., 2]
    finite = torch.where(key.isfinite(), key, -torch.inf)
    return torch.cat([points[..., :2], (1 / (finite.amax(-1, keepdim=True) + 1 - key))[..., None]], -1)


def _raster(points: Tensor, faces: Tensor, size: torch.Size | tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Face numbers [B, H, W] int32 and perspective-correct barycentrics [B, H, W, 3]."""
    if points.is_cuda:
        from handkit.render.triton_hard import rasterize_batch

        found = rasterize_batch(points, faces, size=(size[0], size[1]))
        return found.face_ids, found.barycentric
    rasters = [rasterize(one.numpy(), faces.numpy(), size=(size[0], size[1])) for one in points]
    return (
        torch.stack([torch.from_numpy(raster.face_ids) for raster in rasters]),
        torch.stack([torch.from_numpy(raster.barycentric) for raster in rasters]),
    )


def _samples(points: Tensor, faces: Tensor, size: torch.Size, fine: int) -> _Samples:
    """What fine x fine samples a pixel show; shares are linear on screen."""
    scaled = torch.cat([points[..., :2] * fine, points[..., 2:]], -1)
    ids, barycentric = _raster(scaled.float() if scaled.is_cuda else scaled, faces, (size[0] * fine, size[1] * fine))
    image, row, column = torch.nonzero(ids >= 0, as_tuple=True)
    corners = faces[ids[image, row, column].long()]
    depth = points[image[:, None], corners, 2].clamp(min=NEAR_M)
    shares = barycentric[image, row, column] * depth.float()
    return _Samples(image, row * size[1] * fine + column, corners, shares / shares.sum(-1, keepdim=True))


def _shade(
    samples: _Samples, points: Tensor, normals: Tensor, colors: Tensor, light: Tensor, lit: Tensor
) -> Float[Tensor, " N 3"]:
    """Linear light [N, 3] of the samples; the formulas are those of `handkit.render.jit_paint`."""
    image, corners = samples.image[:, None], samples.corners
    shares = samples.shares[..., None]
    albedo = (colors[image, corners] * shares).sum(1)
    normal = torch.nn.functional.normalize((normals[image, corners] * shares).sum(1), dim=-1)
    ambient, diffuse, sheen = light[samples.image, :3].unbind(-1)
    towards, tint, halfway = light[samples.image, 3:].reshape(-1, 3, 3).unbind(1)
    a, b, c = points[image, corners, :2].unbind(1)
    area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    inside = area > 0
    facing = (normal * towards).sum(-1)
    gloss = sheen * (normal * halfway).sum(-1).clamp(min=0) ** 16 * (4 * facing).clamp(0, 1)
    facing = torch.where(inside, -facing, facing)
    shade = ambient * (1 + BOUNCE * facing) + diffuse * facing.clamp(min=0)
    shade = shade * torch.where(inside, INSIDE_SHADE, 1.0)
    gloss = torch.where(inside, 0.0, gloss)
    shown = (albedo * shade[:, None] + gloss[:, None]) * tint
    return torch.where(lit[samples.image, None], shown, albedo).clamp(0, 1)


def _mix(backgrounds: Tensor, samples: _Samples, color: Tensor, fine: int) -> UInt8[Tensor, " B H W 3"]:
    """Samples averaged over each pixel in linear light, the background showing where there are none."""
    batch, height, width = backgrounds.shape[:3]
    row, column = samples.place // (width * fine) // fine, samples.place % (width * fine) // fine
    pixel = (samples.image * height + row) * width + column
    total = torch.zeros(batch * height * width, 4, device=backgrounds.device)
    total.index_add_(0, pixel, torch.cat([color, torch.ones_like(color[:, :1])], 1))
    covered = total[:, 3] > 0
    rest = 1 - total[covered, 3:] / fine**2
    behind = backgrounds.reshape(-1, 3)[covered]
    mixed = total[covered, :3] / fine**2 + rest * _linear(behind.float() / 255)
    images = backgrounds.reshape(-1, 3).clone()
    images[covered] = (255 * _display(mixed.clamp(0, 1)) + 0.5).to(torch.uint8)
    return images.reshape(backgrounds.shape)


def _linear(display: Tensor) -> Tensor:
    low = display.clamp(0, 1)
    return torch.where(low <= 0.04045, low / 12.92, ((low + 0.055) / 1.055) ** 2.4)


def _display(linear: Tensor) -> Tensor:
    return torch.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear.clamp(min=1e-9) ** (1 / 2.4) - 0.055)
