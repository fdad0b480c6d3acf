"""Completing a texture: what no frame has shown is filled from what lies near it on the hand.

Colours spread over the mesh, across the seams of the map, as heat would; the difference between them and the texture at
the border of what was seen fades out inside each chart. Beyond the charts the nearest texel is repeated, so that
filtering and mipmaps read no foreign colour.
"""

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import distance_transform_edt
from scipy.sparse import coo_matrix, diags
from scipy.sparse.linalg import spsolve

from handkit.render.texture import Texels, Texture, texels_of

SKIN = (0.80, 0.62, 0.52)
_FADE = 1 / 40  # of the texture's width: how far detail reaches into what was not seen
_LEAST_SHARE = 0.02  # of a vertex's texels: fewer seen say nothing about it


def fill_texture(
    texture: Texture,
    weight: NDArray[np.floating],
    faces: ArrayLike,
    face_uvs: ArrayLike,
    face_charts: ArrayLike,
    *,
    texels: Texels | None = None,
) -> Texture:
    """The texture [size, size, 3] with all texels set; those with weight > 0 on the hand stay as they are.

    A texture that was never seen becomes plain skin.
    """
    size = len(texture)
    triangles, charts = np.asarray(faces, np.int64), np.asarray(face_charts)
    texels = texels_of(face_uvs, size) if texels is None else texels
    own = texture.reshape(-1, 3)[texels.places]
    seen = weight.ravel()[texels.places] > 0
    corners = triangles[texels.faces]
    colors = _spread(_vertex_colors(texels, corners, own, seen, int(triangles.max()) + 1), triangles)
    smooth = np.einsum("nk,nkc->nc", texels.barycentric, colors[corners]).astype(np.float32)
    chart_map = np.full(size * size, -1, np.int64)
    chart_map[texels.places] = charts[texels.faces]
    detail, known = np.zeros((size * size, 3), np.float32), np.zeros(size * size, bool)
    detail[texels.places[seen]] = own[seen] - smooth[seen]
    known[texels.places[seen]] = True
    shape = (size, size)
    faded = _fade(detail.reshape(*shape, 3), known.reshape(shape), chart_map.reshape(shape))
    filled = np.zeros((size * size, 3), np.float32)
    filled[texels.places] = np.where(seen[:, None], own, smooth + faded.reshape(-1, 3)[texels.places])
    if not len(texels.places):
        return np.broadcast_to(np.array(SKIN, np.float32), (*shape, 3)).copy()
    nearest = distance_transform_edt(chart_map.reshape(shape) < 0, return_distances=False, return_indices=True)
    complete: Texture = filled.reshape(*shape, 3)[nearest[0], nearest[1]].clip(0, 1)
    return complete


def _vertex_colors(
    texels: Texels, corners: NDArray[np.int64], values: Texture, seen: NDArray[np.bool_], count: int
) -> NDArray[np.float64]:
    """The mean colour [V, 3] of the seen texels around each vertex; NaN where too few were seen."""
    shares = texels.barycentric.astype(np.float64)
    every = np.bincount(corners.ravel(), shares.ravel(), count)
    number, part = corners[seen].ravel(), shares[seen]
    total = np.bincount(number, part.ravel(), count)
    sums = [np.bincount(number, (part * values[seen, k, None]).ravel(), count) for k in range(3)]
    colors = np.stack(sums, axis=1) / np.maximum(total, 1e-12)[:, None]
    colors[total <= _LEAST_SHARE * every] = np.nan
    return colors


def _spread(colors: NDArray[np.float64], faces: NDArray[np.int64]) -> NDArray[np.float64]:
    """Colours of all vertices [V, 3]: unknown (NaN) ones are harmonic on the mesh's edges between the known."""
    unknown = np.isnan(colors[:, 0])
    if unknown.all():
        return np.broadcast_to(np.array(SKIN), colors.shape)
    if not unknown.any():
        return colors
    i, j = faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2).T
    edges = coo_matrix((np.ones(len(i)), (i, j)), shape=(len(colors),) * 2).tocsr()
    edges = ((edges + edges.T) > 0).astype(np.float64)
    # A faint pull to the mean keeps the system solvable where no known vertex is connected.
    pull = 1e-6
    laplacian = (diags(np.asarray(edges.sum(1)).ravel() + pull) - edges).tocsr()
    known = colors[~unknown]
    right = -laplacian[unknown][:, ~unknown] @ known + pull * known.mean(0)
    complete = colors.copy()
    complete[unknown] = np.reshape(spsolve(laplacian[unknown][:, unknown].tocsc(), right), (-1, 3))
    return complete


def _fade(detail: Texture, known: NDArray[np.bool_], chart_map: NDArray[np.int64]) -> Texture:
    """The detail beside what is known, blurred and fading with the distance, chart by chart."""
    faded = np.zeros_like(detail)
    reach = max(1.0, _FADE * len(detail))
    for chart in range(int(chart_map.max(initial=-1)) + 1):
        rows, columns = np.nonzero(chart_map == chart)
        if not len(rows):
            continue
        box = np.s_[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        here = known[box] & (chart_map[box] == chart)
        if not here.any():
            continue
        part = here.astype(np.float32)
        blurred = cv2.GaussianBlur(detail[box] * part[..., None], (0, 0), reach / 2)
        total = cv2.GaussianBlur(part, (0, 0), reach / 2)
        distance = cv2.distanceTransform((~here).astype(np.uint8), cv2.DIST_L2, 5)
        share = np.exp(-distance / reach) / np.maximum(total, 1e-4)
        inside = chart_map[box] == chart
        faded[box][inside] = (blurred * share[..., None])[inside]
    return faded
