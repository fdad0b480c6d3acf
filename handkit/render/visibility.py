"""Which vertices a camera sees, by the hard rasteriser."""

from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Int

from handkit.render.hard import NEAR_M, rasterize

# A vertex may lie so far behind the nearest surface and still be of it.
_SLACK_M: Final = 2e-3
# Neighbouring pixels differ by no more on one surface.
_STEP_M: Final = 6e-3


def visible_vertices(
    vertices_px: Float[np.ndarray, "*B V 3"], faces: Int[np.ndarray, "F 3"], *, size: tuple[int, int]
) -> Bool[np.ndarray, "*B V"]:
    """Whether each vertex lies in the picture and little behind what is seen there: 2 mm, more on steep surfaces.

    Vertices on an outline may count as hidden: their pixel's centre shows what lies beside them.

    vertices_px: pixel x, y and depth in metres, pixel centres at +0.5; size is (H, W). Vertices that are not finite or
    nearer than 1 mm are not seen.
    """
    height, width = size
    flat = np.asarray(vertices_px, np.float64).reshape(-1, *vertices_px.shape[-2:])
    seen = np.zeros(flat.shape[:2], bool)
    for points, own in zip(flat, seen, strict=True):
        depth = rasterize(points, faces, size=size).depth
        with np.errstate(invalid="ignore"):
            x, y = np.floor(points[:, 0]), np.floor(points[:, 1])
            inside = np.isfinite(points).all(1) & (x >= 0) & (x < width) & (y >= 0) & (y < height)
        columns, rows = x[inside].astype(int), y[inside].astype(int)
        shown = _nearby(depth)[rows, columns]  # -inf where nothing is near
        own[inside] = (points[inside, 2] > NEAR_M) & (points[inside, 2] <= shown + _SLACK_M)
    return seen.reshape(vertices_px.shape[:-1])


def _nearby(depth: Float[np.ndarray, "H W"]) -> Float[np.ndarray, "H W"]:
    """The farthest of a pixel and the eight about it, as far as they are of the same surface.

    A vertex lies somewhere in its pixel, whose centre a steep surface shows elsewhere, or at an outline not at all.
    """
    height, width = depth.shape
    padded = np.pad(depth, 1, constant_values=np.inf)
    around = np.stack([padded[y : y + height, x : x + width] for y in range(3) for x in range(3)])
    nearest = np.where(np.isinf(depth), around.min(0), depth)
    return np.where(np.isfinite(around) & (around <= nearest + _STEP_M), around, -np.inf).max(0)
