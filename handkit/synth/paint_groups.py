"""Sequences painted on a device, those of the same faces together; what needs no device is done beforehand.

Convention: as `handkit.synth.paint_batch`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int, UInt8
from numpy.typing import NDArray
from torch import Tensor

from handkit.synth.appearance import Appearance
from handkit.synth.paint import Layer
from handkit.synth.paint_batch import paint_batch


class Drawing(NamedTuple):
    """What one sequence is painted from; `seed` is that of the sensor's noise."""

    layers: list[Layer]
    background: UInt8[np.ndarray, "T H W 3"]
    look: Appearance
    seed: int


@dataclass(frozen=True, eq=False)
class PaintGroup:
    """N sequences of T frames whose meshes, joined into one, have the same faces; `rows` are their places."""

    rows: list[int]
    backgrounds: UInt8[np.ndarray, "N T H W 3"]
    points_px: Float64[np.ndarray, "N T V 3"]
    normals: Float32[np.ndarray, "N T V 3"]
    colors: Float32[np.ndarray, "N V 3"]
    faces: Int[np.ndarray, "F 3"]
    face_labels: UInt8[np.ndarray, " F"]
    looks: list[Appearance]
    seeds: list[int]


def group_drawings(drawings: Sequence[Drawing]) -> list[PaintGroup]:
    """The drawings by their faces."""
    rows: dict[bytes, list[int]] = {}
    for row, drawing in enumerate(drawings):
        rows.setdefault(b"".join(layer.faces.tobytes() for layer in drawing.layers), []).append(row)
    return [_group(some, [drawings[row] for row in some]) for some in rows.values()]


def _group(rows: list[int], drawings: list[Drawing]) -> PaintGroup:
    layers = drawings[0].layers
    starts = np.cumsum([0, *(layer.points_px.shape[1] for layer in layers[:-1])])

    def joined(part: str, kind: type[np.floating]) -> NDArray[np.floating]:
        return np.stack(
            [np.concatenate([getattr(layer, part) for layer in one.layers], -2, dtype=kind) for one in drawings]
        )

    return PaintGroup(
        rows=rows,
        backgrounds=np.stack([one.background for one in drawings]),
        points_px=joined("points_px", np.float64),
        normals=joined("normals", np.float32),
        colors=joined("colors", np.float32),
        faces=np.concatenate([layer.faces + start for layer, start in zip(layers, starts, strict=True)]),
        face_labels=np.repeat([layer.label for layer in layers], [len(layer.faces) for layer in layers]).astype(
            np.uint8
        ),
        looks=[one.look for one in drawings],
        seeds=[one.seed for one in drawings],
    )


def paint_groups(
    groups: Sequence[PaintGroup], device: torch.device, *, supersample: int
) -> tuple[UInt8[Tensor, "B T H W 3"], UInt8[Tensor, "B T H W"]]:
    """Pictures and mask labels on a device, in the order of the drawings."""
    painted: dict[int, tuple[Tensor, Tensor]] = {}
    for group in groups:
        frames = group.points_px.shape[1]
        images, labels = paint_batch(
            _on(device, group.backgrounds).flatten(0, 1),
            _on(device, group.points_px).flatten(0, 1),
            _on(device, group.normals).flatten(0, 1),
            _on(device, group.colors).repeat_interleave(frames, 0),
            _on(device, group.faces),
            _on(device, group.face_labels),
            lights=[look.light for look in group.looks for _ in range(frames)],
            supersample=supersample,
        )
        for place, row in enumerate(group.rows):
            part = slice(place * frames, (place + 1) * frames)
            painted[row] = develop_on(images[part], group.looks[place], group.seeds[place]), labels[part]
    in_order = [painted[row] for row in range(len(painted))]
    return torch.stack([images for images, _ in in_order]), torch.stack([labels for _, labels in in_order])


def _on(device: torch.device, array: NDArray[np.generic]) -> Tensor:
    return torch.from_numpy(array).to(device, non_blocking=True)


def develop_on(images: UInt8[Tensor, "T H W 3"], look: Appearance, seed: int) -> UInt8[Tensor, "T H W 3"]:
    """`handkit.synth.appearance.develop` where the pictures are; the noise is the device's own."""
    if look.blur_px <= 0 and look.noise <= 0:
        return images
    values = images.permute(0, 3, 1, 2).float()
    if look.blur_px > 0:
        at = torch.arange(-1, 2, device=images.device)
        kernel = torch.exp(-0.5 * (at / look.blur_px) ** 2)
        kernel = (kernel / kernel.sum()).expand(3, 1, 1, 3)
        padded = torch.nn.functional.pad(values, (1, 1, 1, 1), mode="reflect")
        values = torch.nn.functional.conv2d(padded, kernel, groups=3)
        values = torch.nn.functional.conv2d(values, kernel.transpose(2, 3), groups=3)
    if look.noise > 0:
        generator = torch.Generator(images.device).manual_seed(seed)
        noise = torch.randn(values.shape, device=images.device, generator=generator)
        values = values + 255 * look.noise * noise
    return values.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
