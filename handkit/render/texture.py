"""Textures of the hand: taken from images, averaged over frames, completed, and drawn.

Convention: textures are RGB float32 [H, W, 3] in [0, 1], v down, texel centres at ((i + 0.5) / W, (j + 0.5) / H), read
bilinearly with the border repeated; meshes are in the camera frame (metres, faces counter-clockwise from outside).
"""

import os
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from handkit.errors import HandkitError
from handkit.images import write_image
from handkit.render.hard import rasterize
from handkit.render.shaded import to_pixels, vertex_normals

Texture = NDArray[np.float32]
_MIN_COSINE = 0.15  # steeper views smear
_DEPTH_BIAS_M = 2e-3
_NEAREST_M = 1e-3


class Unprojected(NamedTuple):
    """What one image shows of the texture."""

    texture: Texture  # [size, size, 3], zeros where nothing is seen
    weight: NDArray[np.float32]  # [size, size]: squared cosine of the angle of view, 0 where nothing is seen


class Texels(NamedTuple):
    """The texels whose centres lie on a face."""

    places: NDArray[np.int64]  # [N] into the flattened texture
    faces: NDArray[np.int32]  # [N]
    barycentric: NDArray[np.float32]  # [N, 3]


def texels_of(face_uvs: ArrayLike, size: int) -> Texels:
    """Which face, and where on it, each texel of a size x size texture shows."""
    corners = np.asarray(face_uvs, np.float64).reshape(-1, 2) * size
    flat = np.concatenate([corners, np.ones((len(corners), 1))], axis=1)
    raster = rasterize(flat, np.arange(len(flat)).reshape(-1, 3), size=(size, size))
    places = np.flatnonzero(raster.face_ids >= 0)
    return Texels(places, raster.face_ids.ravel()[places], raster.barycentric.reshape(-1, 3)[places])


def unproject(
    image: NDArray[np.uint8] | NDArray[np.floating],
    vertices_cam: ArrayLike,
    faces: ArrayLike,
    K: ArrayLike,
    face_uvs: ArrayLike,
    *,
    size: int = 1024,
    mask: NDArray[np.bool_] | None = None,
    margin_px: int = 1,
    texels: Texels | None = None,
) -> Unprojected:
    """Read the image [H, W, 3] (uint8, or float in [0, 1]) back onto the surface.

    A texel is seen where it faces the camera, no other part of the hand lies before it, and the four pixels it is read
    from lie in the image, on the hand and in the `mask` [H, W] (true on the hand), `margin_px` away from what is not
    it, since edges are never quite where they should be. K is 3x3, in pixels; `texels` is `texels_of(face_uvs, size)`
    to compute it once for many images.
    """
    texels = texels_of(face_uvs, size) if texels is None else texels
    vertices, triangles = np.asarray(vertices_cam, np.float64), np.asarray(faces, np.int32)
    intrinsics = np.asarray(K, np.float64)
    height, width = image.shape[:2]
    if mask is not None and mask.shape != (height, width):
        raise HandkitError(f"the mask has shape {mask.shape}, the image {(height, width)}", "give masks of its size")
    texture, weight = np.zeros((size * size, 3), np.float32), np.zeros(size * size, np.float32)
    normals, turned_away = vertex_normals(vertices, triangles)
    facing = ~turned_away[texels.faces]
    places, corners = texels.places[facing], triangles[texels.faces[facing]]
    shares = texels.barycentric[facing].astype(np.float64)
    points = np.einsum("nk,nkc->nc", shares, vertices[corners])
    cosine = -_cosine(np.einsum("nk,nkc->nc", shares, _unit(normals)[corners]), points)
    pixels = to_pixels(points, intrinsics)
    nearest, covered = _around(_depth_range(vertices, triangles, intrinsics, (height, width), mask, margin_px), pixels)
    steepness = np.sqrt(1 - cosine.clip(_MIN_COSINE, 1) ** 2) / cosine.clip(_MIN_COSINE, 1)
    slack = _DEPTH_BIAS_M + (1.5 + margin_px) * steepness * pixels[:, 2] / intrinsics[0, 0]
    seen = covered & (cosine > _MIN_COSINE) & (pixels[:, 2] <= nearest + slack)
    values = image.astype(np.float32) / (255 if image.dtype == np.uint8 else 1)
    texture[places[seen]] = _read(values, pixels[seen, :2])
    weight[places[seen]] = cosine[seen] ** 2
    return Unprojected(texture.reshape(size, size, 3), weight.reshape(size, size))


class TextureAverage:
    """A texture that gathers frames.

    With `share` each frame enters by that share against all before it (0.5: the published average of the texture with
    the one before, which follows changes of the skin); with None all frames count alike. Either way frames count by
    their weights, and what was never seen takes the first sight of it in full.
    """

    def __init__(self, size: int = 1024, *, share: float | None = 0.5) -> None:
        if share is not None and not 0 < share <= 1:
            raise HandkitError(f"the share of a new frame is {share}", "use a number above 0, up to 1")
        self.share = share
        self.texture: Texture = np.zeros((size, size, 3), np.float32)
        self.weight: NDArray[np.float32] = np.zeros((size, size), np.float32)

    def add(self, seen: Unprojected) -> None:
        """Take in one frame."""
        ours, theirs = (1.0, 1.0) if self.share is None else (1 - self.share, self.share)
        both = (self.weight > 0) & (seen.weight > 0)
        share = np.where(both, np.float32(theirs), np.float32(1)) * seen.weight
        total = np.where(both, np.float32(ours), np.float32(1)) * self.weight + share
        part = share / np.maximum(total, 1e-12)
        self.texture += part[..., None] * (seen.texture - self.texture)
        self.weight = total


def sample_texture(texture: Texture, uvs: ArrayLike) -> NDArray[np.float32]:
    """The texture's values [N, 3] at uvs [N, 2]."""
    height, width = texture.shape[:2]
    return _read(texture, np.asarray(uvs, np.float64) * [width, height])


def render_textured(
    background: NDArray[np.uint8],
    vertices_cam: ArrayLike,
    faces: ArrayLike,
    K: ArrayLike,
    face_uvs: ArrayLike,
    texture: Texture,
    *,
    supersampling: int = 1,
) -> NDArray[np.uint8]:
    """The textured mesh, unlit, over a background [H, W, 3] of RGB uint8, as a new picture."""
    height, width = background.shape[:2]
    size = (height * supersampling, width * supersampling)
    canvas = cv2.resize(background, size[::-1], interpolation=cv2.INTER_NEAREST).astype(np.float32)
    intrinsics = np.array(K, np.float64)
    intrinsics[:2] *= supersampling
    raster = rasterize(to_pixels(np.asarray(vertices_cam, np.float64), intrinsics), faces, size=size)
    seen = raster.face_ids >= 0
    corners = np.asarray(face_uvs, np.float64)[raster.face_ids[seen]]
    uvs = np.einsum("nk,nkc->nc", raster.barycentric[seen], corners)
    canvas[seen] = 255 * np.clip(sample_texture(texture, uvs), 0, 1)
    return cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA).round().astype(np.uint8)


def write_texture(path: str | os.PathLike[str], texture: Texture) -> None:
    """Write the texture as an image file (.png keeps it without loss beyond 8 bits), atomically."""
    write_image(path, (255 * np.clip(texture, 0, 1)).round().astype(np.uint8))


def _depth_range(
    vertices: NDArray[np.float64],
    faces: NDArray[np.int32],
    K: NDArray[np.float64],
    size: tuple[int, int],
    mask: NDArray[np.bool_] | None,
    margin_px: int,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The least and the greatest depth of the hand [H, W] within `margin_px` of each pixel, infinite off the hand."""
    depth = rasterize(to_pixels(vertices, K), faces, size=size).depth
    if mask is not None:
        depth = np.where(mask, depth, np.float32(np.inf))
    window = np.ones((2 * margin_px + 1,) * 2, np.uint8)
    least, greatest = (np.asarray(filtered(depth, window), np.float32) for filtered in (cv2.erode, cv2.dilate))
    return least, greatest


def _around(
    depth_range: tuple[NDArray[np.float32], NDArray[np.float32]], pixels: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The least depth at the four pixels around each point [N, 3], and whether all four are usable."""
    least, greatest = depth_range
    height, width = least.shape
    finite = np.isfinite(pixels).all(1) & (pixels[:, 2] > _NEAREST_M)
    x, y = (np.where(finite, np.floor(pixels[:, k].clip(-2, 1e6) - 0.5), -1).astype(np.int64) for k in range(2))
    usable = (x >= 0) & (y >= 0) & (x < width - 1) & (y < height - 1)
    x, y = x[usable], y[usable]
    nearest = np.full(len(pixels), np.inf, np.float32)
    if len(x):
        corners = [(y, x), (y, x + 1), (y + 1, x), (y + 1, x + 1)]
        nearest[usable] = np.min([least[corner] for corner in corners], axis=0)
        usable[usable] = np.isfinite(np.max([greatest[corner] for corner in corners], axis=0))
    return nearest, usable


def _read(image: NDArray[np.float32], places: NDArray[np.float64]) -> NDArray[np.float32]:
    """Bilinear values [N, 3] at places [N, 2] in pixels, the border repeated."""
    height, width = image.shape[:2]
    x, y = (places - 0.5).clip(0, [width - 1, height - 1]).T
    left, top = (np.minimum(np.floor(v).astype(np.int64), max(n - 2, 0)) for v, n in ((x, width), (y, height)))
    right, low = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    u, v = (x - left)[:, None].astype(np.float32), (y - top)[:, None].astype(np.float32)
    above = image[top, left] * (1 - u) + image[top, right] * u
    below = image[low, left] * (1 - u) + image[low, right] * u
    values: NDArray[np.float32] = (above * (1 - v) + below * v).astype(np.float32)
    return values


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True).clip(1e-30)


def _cosine(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    return (a * b).sum(1) / np.sqrt((a * a).sum(1) * (b * b).sum(1)).clip(1e-30)
