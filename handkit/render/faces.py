"""Hands with a colour for every face, as S2HAND sees them: a texture under its light, drawn over a picture.

Convention: images are RGB uint8 [H, W, 3] and drawn on in place; face colours are RGB in [0, 1], cut where they leave
it; meshes are in the camera frame (metres, faces counter-clockwise from outside).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import ArrayLike, NDArray

from handkit.render.hard import rasterize
from handkit.render.shaded import box_of, joined, paint, to_pixels
from handkit.render.shading import face_normals, shade


@dataclass(frozen=True, eq=False)
class ColoredMesh:
    """One hand to draw: vertices [V, 3], faces [F, 3], and the colours [F, 3] of the faces."""

    vertices_cam: NDArray[np.floating]
    faces: NDArray[np.integer]
    face_colors: NDArray[np.floating]


def draw_colored(image: NDArray[np.uint8], meshes: Sequence[ColoredMesh], K: ArrayLike, *, opacity: float = 1) -> None:
    """Draw hands in their own colours, nearer ones over farther ones, unshaded but for what the colours hold."""
    if not meshes:
        return
    vertices, faces = joined([(mesh.vertices_cam, mesh.faces) for mesh in meshes])
    vertices_px = to_pixels(vertices, np.asarray(K, np.float64))
    region = box_of(vertices_px, image.shape[:2])
    if region is None:
        return
    raster = rasterize(vertices_px, faces, size=(image.shape[0], image.shape[1]), region=region)
    colors = np.concatenate([mesh.face_colors for mesh in meshes])
    colors = (255 * np.clip(colors, 0, 1)).astype(np.float32)
    # Where no face is, the last colour is picked, and not used.
    paint(image, region, raster.face_ids, colors[raster.face_ids], opacity)


def lit_colors(
    texture: Float[np.ndarray, "F 3"],
    light: Float[np.ndarray, "11"],
    vertices_cam: Float[np.ndarray, "V 3"],
    faces: ArrayLike,
    *,
    is_right: bool,
) -> Float[np.ndarray, "F 3"]:
    """A posed hand's face colours under its light, not cut; a left hand's light is that of the mirror image."""
    vertices, corners = torch.from_numpy(np.asarray(vertices_cam, np.float32)), torch.tensor(np.asarray(faces))
    normals = face_normals(vertices, corners)
    if not is_right:
        normals = normals * torch.tensor([-1.0, 1.0, 1.0])
    lit = shade(torch.from_numpy(texture.astype(np.float32)), normals, torch.from_numpy(light.astype(np.float32)))
    return lit.numpy()
