"""Which vertices a camera sees, by the hard rasteriser."""

from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Int

from handkit.render.hard import rasterize

# A vertex may lie so far behind the nearest surface and still be it: what a pixel's step in depth and rounding come to.
_SLACK_M: Final = 3e-3


def visible_vertices(
    vertices_px: Float[np.ndarray, "*B V 3"], faces: Int[np.ndarray, "F 3"], *, size: tuple[int, int]
) -> Bool[np.ndarray, "*B V"]:
    """Whether each vertex lies in the picture and at most 3 mm behind what its pixel shows.

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
        shown = _nearby(depth)[rows, columns]
        own[inside] = points[inside, 2] <= shown + _SLACK_M
    return seen.reshape(vertices_px.shape[:-1])


def _nearby(depth: Float[np.ndarray, "H W"]) -> Float[np.ndarray, "H W"]:
    """A pixel's depth; where it shows nothing, the farthest of its four neighbours: outlines pass beside centres."""
    padded = np.pad(depth, 1, constant_values=np.inf)
    around = np.stack([padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]])
    farthest = np.where(np.isinf(around), -np.inf, around).max(0)
    return np.where(np.isinf(depth), farthest, depth)
