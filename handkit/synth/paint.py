"""Meshes over pictures: lit or unlit colours with smooth edges, and which kind of mesh every pixel shows.

Convention: pixel (x, y) has its centre at (x + 0.5, y + 0.5); pictures are RGB uint8; colours are display sRGB in
[0, 1]; normals and lights are in camera axes (x right, y down, z forward); light adds up in linear light.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int, UInt8
from numpy.typing import NDArray

from handkit.render.hard import NEAR_M
from handkit.render.jit_paint import DISPLAY, LINEAR, linear_colors, paint_frames

if TYPE_CHECKING:
    from handkit.synth.appearance import Light


@dataclass(frozen=True, eq=False)
class Layer:
    """One mesh to paint; with a leading [T] on points and normals, one for a sequence.

    points_px: pixel x, pixel y and depth in metres, smaller is nearer. normals: outwards, camera axes, only their
    direction counts. faces: counter-clockwise from outside.
    """

    points_px: Float[np.ndarray, "*T V 3"]
    normals: Float[np.ndarray, "*T V 3"]
    faces: Int[np.ndarray, " F 3"]
    colors: Float[np.ndarray, " V 3"]
    label: int


def paint(
    background: UInt8[np.ndarray, " H W 3"],
    layers: Sequence[Layer],
    *,
    light: Light | None,
    supersample: int = 2,
    perspective: bool = False,
) -> tuple[UInt8[np.ndarray, " H W 3"], UInt8[np.ndarray, " H W"]]:
    """The layers over a background, and the label that the centre of every pixel shows (0 where none).

    All layers share one depth buffer. Without a light colours are shown as they are. Depth between vertices is
    linear in 1/z with `perspective` (and faces nearer than 1 mm are left out), else in z, which may have any sign.
    Labels of a layer that nothing hides cover exactly the pixels of `handkit.render.hard.rasterize`.
    """
    whole = [
        Layer(layer.points_px[None], layer.normals[None], layer.faces, layer.colors, layer.label) for layer in layers
    ]
    images, labels = paint_sequence(
        background[None], whole, light=light, supersample=supersample, perspective=perspective
    )
    return images[0], labels[0]


def paint_sequence(
    backgrounds: UInt8[np.ndarray, " T H W 3"],
    layers: Sequence[Layer],
    *,
    light: Light | None,
    supersample: int = 2,
    perspective: bool = False,
) -> tuple[UInt8[np.ndarray, " T H W 3"], UInt8[np.ndarray, " T H W"]]:
    """`paint` for every frame of a sequence: layers of points and normals [T, V, 3], one light."""
    images = np.array(backgrounds, np.uint8, order="C")
    labels = np.zeros(images.shape[:3], np.uint8)
    if not layers or not images.size:
        return images, labels
    counts = [layer.points_px.shape[1] for layer in layers]
    starts = np.cumsum([0, *counts[:-1]])
    # of one memory layout, whatever the layers': the kernel is compiled for each anew
    points = np.concatenate([layer.points_px for layer in layers], axis=1).astype(np.float64, order="C")
    normals = np.concatenate([layer.normals for layer in layers], axis=1).astype(np.float32, order="C")
    colors = np.concatenate([layer.colors for layer in layers])
    faces = np.concatenate([layer.faces + start for layer, start in zip(layers, starts, strict=True)])
    face_labels = np.repeat([layer.label for layer in layers], [len(layer.faces) for layer in layers])
    if len(points) != len(images) or normals.shape != points.shape or len(colors) != points.shape[1]:
        raise ValueError(
            f"{len(images)} backgrounds, points {points.shape}, normals {normals.shape}, colors {colors.shape}"
        )
    if len(faces) and (faces.min() < 0 or faces.max() >= points.shape[1]):
        raise ValueError(f"faces index {faces.min()}..{faces.max()} of {points.shape[1]} vertices")
    if perspective:
        depth = points[..., 2]
        points[..., 2] = np.where(depth > NEAR_M, -1 / np.where(depth > NEAR_M, depth, 1), np.nan)
    paint_frames(
        images, labels, points, normals, linear_colors(colors), faces.astype(np.int32), face_labels.astype(np.uint8),
        light_values(light), light is not None, supersample, LINEAR, DISPLAY,
    )  # fmt: skip
    return images, labels


def light_values(light: Light | None) -> NDArray[np.float32]:
    """A light as `paint_frames` reads it: [12], zeros for none."""
    if light is None:
        return np.zeros(12, np.float32)
    towards = np.asarray(light.direction, np.float64)
    towards = towards / max(float(np.linalg.norm(towards)), 1e-12)
    halfway = towards + np.array([0.0, 0.0, -1.0])
    halfway = halfway / max(float(np.linalg.norm(halfway)), 1e-12)
    parts = ([light.ambient, light.diffuse, light.sheen], towards, np.asarray(light.color, np.float64), halfway)
    return np.concatenate(parts).astype(np.float32)
