"""Colours of faces as a UV texture: each face's texels have its colour, those beyond the charts their nearest one's."""

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike
from scipy.ndimage import distance_transform_edt

from handkit.render.texture import Texture, texels_of


def face_map(face_uvs: ArrayLike, size: int) -> Int[np.ndarray, "S S"]:
    """The face that each texel of a size x size texture shows, or is nearest to."""
    texels = texels_of(face_uvs, size)
    faces = np.full(size * size, -1, np.int64)
    faces[texels.places] = texels.faces
    grid = faces.reshape(size, size)
    nearest = distance_transform_edt(grid < 0, return_distances=False, return_indices=True)
    return grid[nearest[0], nearest[1]]


def bake_faces(colors: Float[np.ndarray, "F 3"], faces_of_texels: Int[np.ndarray, "S S"]) -> Texture:
    """The texture of face colours in [0, 1]."""
    texture: Texture = colors.astype(np.float32)[faces_of_texels]
    return texture
