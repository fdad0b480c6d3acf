"""What hands look like, for drawing and for files: colours under the light, and textures of the unlit hand."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from handkit.demo.hands import HandPair
from handkit.demo.posed import Posed
from handkit.export.appearance import Appearance
from handkit.export.glb import Surface
from handkit.export.predictions import Predictions
from handkit.hand.uv import hand_uv
from handkit.render.baked import bake_faces, face_map
from handkit.render.faces import ColoredMesh, lit_colors

SIZE: Final = 512


def lit_meshes(
    rows: Predictions, vertices: Sequence[Float[np.ndarray, "778 3"]], appearance: Appearance, hands: HandPair
) -> list[ColoredMesh]:
    """Every row's hand in its own texture under its own light."""
    meshes = []
    for i, mesh in enumerate(vertices):
        is_right = bool(rows.is_right[i])
        faces = hands.model(is_right).faces
        lit = lit_colors(appearance.texture[i], appearance.light[i], mesh, faces, is_right=is_right)
        meshes.append(ColoredMesh(mesh, faces, lit))
    return meshes


class Skin(NamedTuple):
    """A hand's unlit look: the colours of its faces in [0, 1], and as a texture."""

    colors: Float[np.ndarray, "F 3"]
    surface: Surface

    def vertex_colors(self, faces: Int[np.ndarray, "F 3"]) -> Float[np.ndarray, "V 3"]:
        """The mean colour of the faces about each vertex."""
        number = np.bincount(faces.ravel())
        total = np.zeros((len(number), 3))
        for corner in range(3):
            np.add.at(total, faces[:, corner], self.colors)
        return np.asarray(total / number.clip(1)[:, None])


class SkinMaker:
    """The mean looks of hands."""

    def __init__(self, hands: HandPair) -> None:
        self._hands = hands
        self._maps: dict[bool, Int[np.ndarray, "S S"]] = {}

    def of(self, appearance: Appearance, *, is_right: bool) -> Skin:
        """The mean of hands of one side."""
        face_uvs = hand_uv(self._hands.model(is_right)).face_uvs
        if is_right not in self._maps:
            self._maps[is_right] = face_map(face_uvs, SIZE)
        colors = appearance.mean_colors()
        return Skin(colors, Surface(bake_faces(colors, self._maps[is_right]), face_uvs))

    def of_tracks(self, posed: Posed) -> dict[int, Skin]:
        """One for each track, which is of one side; none without an appearance."""
        if posed.appearance is None:
            return {}
        skins = {}
        for track in np.unique(posed.rows.track_id).tolist():
            own = np.flatnonzero(posed.rows.track_id == track)
            skins[track] = self.of(posed.appearance.rows(own), is_right=bool(posed.rows.is_right[own[0]]))
        return skins
