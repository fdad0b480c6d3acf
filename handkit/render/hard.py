"""Hard rasterisation: which face each pixel shows, how far away, and where on the face.

Convention: pixel (x, y) = (column, row) has its centre at (x + 0.5, y + 0.5); depth is the camera's z in metres.
"""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from handkit.render.jit import compiled

NEAR_M = 1e-3
_CULL_CODES = {None: 0, "back": 1}


class Raster(NamedTuple):
    """What `rasterize` found, [H, W] of the region it was asked for."""

    face_ids: NDArray[np.int32]  # -1 where no face is
    depth: NDArray[np.float32]  # metres, inf where no face is
    barycentric: NDArray[np.float32]  # [H, W, 3], perspective-correct, zeros where no face is


def rasterize(
    vertices_px: ArrayLike,
    faces: ArrayLike,
    *,
    size: tuple[int, int],
    cull: Literal["back"] | None = None,
    region: tuple[int, int, int, int] | None = None,
) -> Raster:
    """The nearest face under every pixel centre.

    vertices_px [V, 3] holds pixel x, y and depth z in metres; size is (H, W). Depth and barycentrics are
    perspective-correct (1/z is linear on screen). Faces with a vertex nearer than 1 mm or not finite are skipped;
    of faces equally near the first wins. cull="back" drops faces whose outer side (counter-clockwise in the hand's
    frame) looks away from the camera. With region (x0, y0, x1, y1) only those pixels are computed and returned, as
    [y1 - y0, x1 - x0]; it is cut to the image.
    """
    height, width = size
    x0, y0, x1, y1 = clip_region(region or (0, 0, width, height), size)
    shape = (y1 - y0, x1 - x0)
    face_ids = np.full(shape, -1, np.int32)
    depth = np.full(shape, np.inf, np.float32)
    barycentric = np.zeros((*shape, 3), np.float32)
    corners = np.ascontiguousarray(vertices_px, np.float64).reshape(-1, 3)
    triangles = np.ascontiguousarray(faces, np.int32).reshape(-1, 3)
    if len(triangles) and (triangles.min() < 0 or triangles.max() >= len(corners)):
        raise ValueError(f"faces index {triangles.min()}..{triangles.max()} of {len(corners)} vertices")
    _fill(corners, triangles, x0, y0, _CULL_CODES[cull], face_ids, depth, barycentric)
    return Raster(face_ids, depth, barycentric)


def clip_region(region: tuple[int, int, int, int], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """(x0, y0, x1, y1) cut to an image of size (H, W); never of negative width or height."""
    height, width = size
    x0, y0 = (min(max(int(low), 0), limit) for low, limit in zip(region[:2], (width, height), strict=True))
    x1, y1 = (min(max(int(high), 0), limit) for high, limit in zip(region[2:], (width, height), strict=True))
    return x0, y0, max(x0, x1), max(y0, y1)


@compiled
def _fill(
    vertices: NDArray[np.float64],
    faces: NDArray[np.int32],
    left: int,
    top: int,
    cull: int,
    face_ids: NDArray[np.int32],
    depth: NDArray[np.float32],
    barycentric: NDArray[np.float32],
) -> None:
    height, width = face_ids.shape
    for f in range(faces.shape[0]):
        i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
        # Shifted so that pixel centres are whole numbers.
        ax, ay, az = vertices[i, 0] - left - 0.5, vertices[i, 1] - top - 0.5, vertices[i, 2]
        bx, by, bz = vertices[j, 0] - left - 0.5, vertices[j, 1] - top - 0.5, vertices[j, 2]
        cx, cy, cz = vertices[k, 0] - left - 0.5, vertices[k, 1] - top - 0.5, vertices[k, 2]
        if not (az > NEAR_M and bz > NEAR_M and cz > NEAR_M):
            continue
        # y points down: a face that is counter-clockwise from outside has a negative area when its outside shows.
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if not (area > 1e-12 or area < -1e-12) or (cull == 1 and area > 0.0):
            continue
        # Clamped before the conversion to integers: far off-screen corners would overflow it.
        x_first = int(np.ceil(min(max(min(ax, bx, cx), 0.0), width)))
        x_last = int(np.floor(max(min(max(ax, bx, cx), width - 1.0), -1.0)))
        y_first = int(np.ceil(min(max(min(ay, by, cy), 0.0), height)))
        y_last = int(np.floor(max(min(max(ay, by, cy), height - 1.0), -1.0)))
        ux, vx = (by - cy) / area, (cy - ay) / area
        uy, vy = (cx - bx) / area, (ax - cx) / area
        per_a, per_b, per_c = 1.0 / az, 1.0 / bz, 1.0 / cz
        for y in range(y_first, y_last + 1):
            for x in range(x_first, x_last + 1):
                u = ux * (x - cx) + uy * (y - cy)
                v = vx * (x - cx) + vy * (y - cy)
                w = 1.0 - u - v
                # The slack keeps rounding from opening cracks between neighbouring faces.
                if u < -1e-9 or v < -1e-9 or w < -1e-9:
                    continue
                z = 1.0 / (u * per_a + v * per_b + w * per_c)
                if z < depth[y, x]:
                    face_ids[y, x] = f
                    depth[y, x] = z
                    barycentric[y, x, 0] = u * per_a * z
                    barycentric[y, x, 1] = v * per_b * z
                    barycentric[y, x, 2] = w * per_c * z
