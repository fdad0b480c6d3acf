"""Hands as a photograph would show them: vertex colours, ambient and one directional light, smooth edges."""

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from handkit.render.hard import rasterize
from handkit.render.shaded import to_pixels, vertex_normals

# Towards the light, in camera axes: from above, a little left, from behind the camera.
LIGHT = (-0.4, -0.6, -0.7)


def render_lit(
    background: NDArray[np.uint8],
    vertices_cam: NDArray[np.floating],
    faces: NDArray[np.integer],
    K: ArrayLike,
    *,
    colors: ArrayLike = (0.86, 0.66, 0.55),
    light: ArrayLike = LIGHT,
    ambient: float = 0.45,
    diffuse: float = 0.65,
    sheen: float = 0.0,
    supersampling: int = 2,
) -> NDArray[np.uint8]:
    """The mesh over a background [H,W,3] of RGB uint8, as a new picture.

    vertices_cam [V,3] in metres, camera axes; K [3,3] in pixels of the background; colors [V,3] or one colour, RGB in
    [0,1]; light points from the hand to the lamp. Smooth normals; `sheen` is the strength of a Blinn-Phong highlight.
    """
    height, width = background.shape[:2]
    size = (height * supersampling, width * supersampling)
    canvas = cv2.resize(background, size[::-1], interpolation=cv2.INTER_LINEAR).astype(np.float64)
    intrinsics = np.array(K, np.float64)
    intrinsics[:2] *= supersampling
    vertices = np.asarray(vertices_cam, np.float64)
    triangles = np.asarray(faces).astype(np.int32)
    raster = rasterize(to_pixels(vertices, intrinsics), triangles, size=size)
    seen = raster.face_ids >= 0
    corners, shares = triangles[raster.face_ids[seen]], raster.barycentric[seen][..., None]
    normals, _ = vertex_normals(vertices, triangles)
    normal = _unit((_unit(normals)[corners] * shares).sum(1))
    towards = _unit(np.asarray(light, np.float64))
    shade = ambient + diffuse * np.clip(normal @ towards, 0, None)
    highlight = sheen * np.clip(normal @ _unit(towards + np.array([0.0, 0.0, -1.0])), 0, None) ** 25
    albedo = (np.broadcast_to(colors, (len(vertices), 3))[corners] * shares).sum(1)
    canvas[seen] = 255 * np.clip(albedo * shade[:, None] + highlight[:, None], 0, 1)
    return cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA).round().astype(np.uint8)


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True).clip(1e-12)
