"""Hard rasterisation of batches on a GPU, the twin of `handkit.render.hard`.

Convention: pixel (x, y) has its centre at (x + 0.5, y + 0.5); vertices are pixel x, y and depth in metres. Faces are
binned to square tiles, then one program a tile and image keeps the nearest of its faces at every pixel. It reckons in
the vertices' type: in float64 coverage is that of `hard.rasterize`, in float32 pixel centres within about 1e-5 px of an
edge may differ. With TRITON_INTERPRET=1 set before Triton is imported, it runs on CPU tensors, for tests.
"""

from typing import Any, NamedTuple, no_type_check

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor

from handkit.errors import HandkitError
from handkit.render.triton_soft import TILE, Optics, bin_faces

BLOCK = 8  # faces a step of a tile
_SLACK = {torch.float32: 1e-6, torch.float64: 1e-9}  # of barycentrics, so that neighbours leave no cracks
_OPTIONS: dict[str, Any] = {"enable_fp_fusion": True}


class BatchRaster(NamedTuple):
    """What `rasterize_batch` found; the values are those of `handkit.render.hard.Raster`."""

    face_ids: Int[Tensor, " B H W"]  # int32, -1 where no face is
    depth: Float[Tensor, " B H W"]  # float32, metres, inf where no face is
    barycentric: Float[Tensor, " B H W 3"]  # float32, perspective-correct, zeros where no face is


def rasterize_batch(
    vertices_px: Float[Tensor, " B V 3"], faces: Int[Tensor, " F 3"], *, size: tuple[int, int]
) -> BatchRaster:
    """The nearest face under every pixel centre of a batch of meshes of the same faces.

    vertices_px: pixel x, y and depth z in metres, float32 or float64; size is (H, W). Faces with a vertex nearer than
    1 mm, not finite or absurdly far off are skipped; of faces equally near the first wins. Raises HandkitError where
    Triton cannot run.
    """
    if not vertices_px.is_cuda and isinstance(_nearest, triton.JITFunction):
        raise HandkitError(
            f"the cuda rasteriser got a tensor on {vertices_px.device}", "move it to a GPU, or use handkit.render.hard"
        )
    corners = vertices_px[:, faces].contiguous()
    batch, face_count = corners.shape[:2]
    face_ids = corners.new_full((batch, *size), -1, dtype=torch.int32)
    depth = corners.new_full((batch, *size), torch.inf, dtype=torch.float32)
    barycentric = corners.new_zeros((batch, *size, 3), dtype=torch.float32)
    if face_ids.numel() and face_count:
        binned = bin_faces(corners, Optics(size, 0.0))
        with torch.cuda.device(corners.device if corners.is_cuda else -1):
            _nearest[(len(binned.starts) - 1,)](
                corners, binned.starts, binned.members, face_ids, depth, barycentric, face_count, binned.tiles_x,
                binned.tiles, *size, _SLACK[corners.dtype], TILE=TILE, BLOCK=BLOCK, **_OPTIONS,
            )  # fmt: skip
    return BatchRaster(face_ids, depth, barycentric)


@no_type_check
@triton.jit
def _shares(corners, pair, column, row):
    """Screen barycentrics of pixel centres in faces, each over its corner's depth, and the depths."""
    at = corners + pair.to(tl.int64) * 9
    # Shifted so that pixel centres are whole numbers, as in the twin.
    ax, ay, az = tl.load(at) - 0.5, tl.load(at + 1) - 0.5, tl.load(at + 2)
    bx, by, bz = tl.load(at + 3) - 0.5, tl.load(at + 4) - 0.5, tl.load(at + 5)
    cx, cy, cz = tl.load(at + 6) - 0.5, tl.load(at + 7) - 0.5, tl.load(at + 8)
    area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
    u = (by - cy) / area * (column - cx) + (cx - bx) / area * (row - cy)
    v = (cy - ay) / area * (column - cx) + (ax - cx) / area * (row - cy)
    return u, v, 1.0 - u - v, az, bz, cz


@no_type_check
@triton.jit
def _nearest(
    corners,
    starts,
    members,
    face_ids,
    depth,
    barycentric,
    face_count,
    tiles_x,
    tiles,
    height,
    width,
    slack,
    TILE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One program a tile of an image: the nearest of its faces, BLOCK at a time; layouts as in `triton_kernels`."""
    slot = tl.program_id(0)
    tile = slot % tiles
    image = (slot // tiles).to(tl.int64)
    lane = tl.arange(0, TILE * TILE)
    column = (tile % tiles_x) * TILE + lane % TILE
    row = (tile // tiles_x) * TILE + lane // TILE
    nearest = tl.full([TILE * TILE], float("inf"), tl.float32)
    winner = tl.full([TILE * TILE], -1, tl.int32)
    begin = tl.load(starts + slot)
    last = tl.load(starts + slot + 1)
    for first in range(begin, last, BLOCK):
        entry = first + tl.arange(0, BLOCK)[:, None]
        # Past the end the last face again, which the first of equals then beats.
        face = tl.load(members + tl.minimum(entry, last - 1))
        u, v, w, az, bz, cz = _shares(corners, image * face_count + face, column[None, :], row[None, :])
        inside = (u >= -slack) & (v >= -slack) & (w >= -slack)
        z = tl.where(inside, 1.0 / (u / az + v / bz + w / cz), float("inf")).to(tl.float32)
        here = tl.min(z, 0)
        number = tl.min(tl.where(z == here[None, :], face, 2147483647), 0)
        winner = tl.where(here < nearest, number, winner)
        nearest = tl.minimum(here, nearest)
    seen = (winner >= 0) & (column < width) & (row < height)
    pair = image * face_count + tl.maximum(winner, 0)
    u, v, w, az, bz, cz = _shares(corners, pair, column, row)
    z = 1.0 / (u / az + v / bz + w / cz)
    at = (image * height + row) * width + column
    tl.store(face_ids + at, winner, mask=seen)
    tl.store(depth + at, nearest, mask=seen)
    tl.store(barycentric + 3 * at, (u / az * z).to(tl.float32), mask=seen)
    tl.store(barycentric + 3 * at + 1, (v / bz * z).to(tl.float32), mask=seen)
    tl.store(barycentric + 3 * at + 2, (w / cz * z).to(tl.float32), mask=seen)
