"""Shaded hand meshes drawn over a picture, and the same hands seen from the side.

Convention: images are RGB uint8 [H, W, 3] and drawn on in place; colours are (r, g, b) in 0..255; meshes are in the
camera frame (metres, x right, y down, z forward).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from handkit.render.hard import NEAR_M, clip_region, rasterize
from handkit.render.jit import compiled

Color = tuple[int, int, int]

TRACK_COLORS: tuple[Color, ...] = (
    (120, 170, 250),
    (250, 160, 110),
    (140, 215, 140),
    (235, 150, 205),
    (240, 210, 110),
    (175, 150, 240),
)
# Towards the light, in camera axes: from above, a little left, from behind the camera.
_LIGHT = np.array([-0.35, -0.6, -0.72])


@dataclass(frozen=True, eq=False)
class Mesh:
    """One hand to draw: vertices [V, 3] in metres in the camera frame, faces [F, 3] counter-clockwise from outside."""

    vertices_cam: NDArray[np.floating]
    faces: NDArray[np.integer]
    color: Color = TRACK_COLORS[0]


def track_color(track_id: int) -> Color:
    """The same colour for the same track; they repeat after six."""
    return TRACK_COLORS[track_id % len(TRACK_COLORS)]


def draw_mesh(
    image: NDArray[np.uint8],
    vertices_cam: ArrayLike,
    faces: ArrayLike,
    K: ArrayLike,
    *,
    color: Color = TRACK_COLORS[0],
    opacity: float = 0.85,
) -> None:
    """Draw one shaded hand; vertices_cam [V, 3] in metres, K [3, 3]."""
    draw_meshes(image, [Mesh(np.asarray(vertices_cam), np.asarray(faces), color)], K, opacity=opacity)


def draw_meshes(image: NDArray[np.uint8], meshes: Sequence[Mesh], K: ArrayLike, *, opacity: float = 0.85) -> None:
    """Draw shaded hands, nearer ones over farther ones; edges are smoothed, faces nearer than 1 mm left out."""
    if not meshes:
        return
    vertices, faces = joined([(mesh.vertices_cam, mesh.faces) for mesh in meshes])
    colors = np.repeat(
        np.array([mesh.color for mesh in meshes], np.float64), [len(mesh.vertices_cam) for mesh in meshes], axis=0
    )
    vertices_px = to_pixels(vertices, np.asarray(K, np.float64))
    region = box_of(vertices_px, image.shape[:2])
    if region is None:
        return
    raster = rasterize(vertices_px, faces, size=(image.shape[0], image.shape[1]), region=region)
    light = _LIGHT / np.linalg.norm(_LIGHT)
    normals, turned_away = vertex_normals(vertices, faces)
    shaded = _shade(*raster, faces, turned_away, vertices, normals, colors, light)
    paint(image, region, raster.face_ids, shaded, opacity)


def joined(
    parts: Sequence[tuple[NDArray[np.floating], NDArray[np.integer]]],
) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Vertices and faces of several meshes as of one."""
    starts = np.cumsum([0, *(len(vertices) for vertices, _ in parts[:-1])])
    faces = np.concatenate([own + start for (_, own), start in zip(parts, starts, strict=True)]).astype(np.int32)
    return np.concatenate([vertices for vertices, _ in parts]).astype(np.float64), faces


def paint(
    image: NDArray[np.uint8],
    region: tuple[int, int, int, int],
    face_ids: NDArray[np.int32],
    shaded: NDArray[np.float32],
    opacity: float,
) -> None:
    """Blend the colours [h, w, 3] (0..255) of a region's faces into the image, silhouettes smoothed."""
    canvas = np.ascontiguousarray(image)
    _blend(canvas, region[:2], face_ids, shaded, float(opacity))
    if canvas is not image:
        image[...] = canvas


def side_view(
    meshes: Sequence[Mesh],
    *,
    size: tuple[int, int],
    centre: ArrayLike | None = None,
    radius: float | None = None,
    background: Color = (245, 245, 245),
) -> NDArray[np.uint8]:
    """The hands seen from the camera's right, [H, W, 3] of size (H, W): near is left, far is right, up stays up.

    The view turns 90 degrees about the vertical axis through `centre` [3] and shows `radius` metres around it; by
    default both fit the hands. Give both to hold the view still over a video.
    """
    height, width = size
    image = np.full((height, width, 3), background, np.uint8)
    if not meshes:
        return image
    points = np.concatenate([mesh.vertices_cam for mesh in meshes]).astype(np.float64)
    middle = (points.min(0) + points.max(0)) / 2 if centre is None else np.asarray(centre, np.float64)
    reach = np.abs(points - middle).max(0)
    if radius is None:
        radius = max(0.05, 1.2 * float(reach[1:].max()))
    # From far enough that the hands keep their relative sizes and none is cut by the nearer ones' perspective.
    distance = 8 * max(radius, float(reach.max()))
    focal = 0.5 * min(size) * distance / radius
    K = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    turn = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])
    turned = [Mesh((mesh.vertices_cam - middle) @ turn.T + [0, 0, distance], mesh.faces, mesh.color) for mesh in meshes]
    draw_meshes(image, turned, K, opacity=1.0)
    return image


def to_pixels(vertices: NDArray[np.float64], K: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pixel x, y and depth [V, 3]; points nearer than 1 mm keep their depth, which leaves their faces out."""
    depth = vertices[:, 2:]
    return np.concatenate([(vertices @ K.T)[:, :2] / np.maximum(depth, NEAR_M), depth], axis=1)


def box_of(vertices_px: NDArray[np.float64], size: tuple[int, ...]) -> tuple[int, int, int, int] | None:
    """The pixels the hands can touch, with a margin for smoothed edges; None when off-screen."""
    seen = vertices_px[(vertices_px[:, 2] > NEAR_M) & np.isfinite(vertices_px).all(1), :2]
    if not len(seen):
        return None
    low, high = np.clip(seen.min(0), -1e6, 1e6), np.clip(seen.max(0), -1e6, 1e6)
    x0, y0 = (int(v) for v in np.floor(low) - 2)
    x1, y1 = (int(v) for v in np.ceil(high) + 2)
    x0, y0, x1, y1 = clip_region((x0, y0, x1, y1), (size[0], size[1]))
    return (x0, y0, x1, y1) if x1 > x0 and y1 > y0 else None


def vertex_normals(
    vertices: NDArray[np.float64], faces: NDArray[np.int32]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Area-weighted outward vertex normals [V, 3], not of unit length, and which faces [F] show their inner side."""
    a, b, c = vertices[faces[:, 0]], vertices[faces[:, 1]], vertices[faces[:, 2]]
    face_normals = np.cross(b - a, c - a)
    corners = faces.ravel(order="F")
    weighted = [np.bincount(corners, np.tile(face_normals[:, axis], 3), len(vertices)) for axis in range(3)]
    return np.stack(weighted, axis=1), np.einsum("fc,fc->f", face_normals, a) > 0


@compiled
def _shade(
    face_ids: NDArray[np.int32],
    depth: NDArray[np.float32],
    barycentric: NDArray[np.float32],
    faces: NDArray[np.int32],
    turned_away: NDArray[np.bool_],
    vertices: NDArray[np.float64],
    normals: NDArray[np.float64],
    colors: NDArray[np.float64],
    light: NDArray[np.float64],
) -> NDArray[np.float32]:
    """Lambert shading with a slight rim."""
    height, width = face_ids.shape
    shaded = np.zeros((height, width, 3), np.float32)
    for y in range(height):
        for x in range(width):
            f = face_ids[y, x]
            if f < 0:
                continue
            nx, ny, nz, px, py, r, g, b = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
            for k in range(3):
                i, share = faces[f, k], barycentric[y, x, k]
                nx += share * normals[i, 0]
                ny += share * normals[i, 1]
                nz += share * normals[i, 2]
                px += share * vertices[i, 0]
                py += share * vertices[i, 1]
                r += share * colors[i, 0]
                g += share * colors[i, 1]
                b += share * colors[i, 2]
            pz = depth[y, x]
            length = np.sqrt((nx * nx + ny * ny + nz * nz) * (px * px + py * py + pz * pz)) + 1e-30
            facing = max(-(nx * px + ny * py + nz * pz) / length, 0.0)
            length = np.sqrt(nx * nx + ny * ny + nz * nz) + 1e-30
            lit = (nx * light[0] + ny * light[1] + nz * light[2]) / length
            brightness = 0.42 + 0.6 * max(lit, 0.0)
            if turned_away[f]:
                # The inside of the hand, seen through the open wrist.
                brightness, facing = 0.3, 1.0
            rim = 90.0 * (1.0 - facing) ** 3
            shaded[y, x, 0] = min(r * brightness + rim, 255.0)
            shaded[y, x, 1] = min(g * brightness + rim, 255.0)
            shaded[y, x, 2] = min(b * brightness + rim, 255.0)
    return shaded


@compiled
def _blend(
    image: NDArray[np.uint8],
    corner: tuple[int, int],
    face_ids: NDArray[np.int32],
    shaded: NDArray[np.float32],
    opacity: float,
) -> None:
    """Colours into the image; silhouettes smoothed by a 3x3 binomial filter."""
    left, top = corner
    height, width = face_ids.shape
    for y in range(height):
        for x in range(width):
            weight, r, g, b = 0.0, 0.0, 0.0, 0.0
            for dy in range(-1, 2):
                for dx in range(-1, 2):
                    v, u = y + dy, x + dx
                    if 0 <= v < height and 0 <= u < width and face_ids[v, u] >= 0:
                        share = (2 - abs(dy)) * (2 - abs(dx)) / 16.0
                        weight += share
                        r += share * shaded[v, u, 0]
                        g += share * shaded[v, u, 1]
                        b += share * shaded[v, u, 2]
            if weight == 0.0:
                continue
            at_border = y == 0 or x == 0 or y == height - 1 or x == width - 1
            if face_ids[y, x] >= 0 and (weight > 0.999 or at_border):
                r, g, b, cover = shaded[y, x, 0], shaded[y, x, 1], shaded[y, x, 2], 1.0
            else:
                r, g, b, cover = r / weight, g / weight, b / weight, weight
            mix = opacity * cover
            image[top + y, left + x, 0] = int(image[top + y, left + x, 0] * (1.0 - mix) + r * mix + 0.5)
            image[top + y, left + x, 1] = int(image[top + y, left + x, 1] * (1.0 - mix) + g * mix + 0.5)
            image[top + y, left + x, 2] = int(image[top + y, left + x, 2] * (1.0 - mix) + b * mix + 0.5)
