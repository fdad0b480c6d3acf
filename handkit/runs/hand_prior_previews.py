"""Pictures of how a hand prior's run goes: the same held-out hands at every validation."""

from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float, UInt8
from numpy.typing import NDArray

from handkit.data.staged_batches import Batch
from handkit.images import write_image
from handkit.methods.hand_prior import Estimate, HandPriorMethod
from handkit.nets.lixel import DEPTH_RANGE_M
from handkit.render.overlay import Mesh, draw_meshes, side_view, track_color
from handkit.runs.handnet_previews import CELL, as_array, crop_cell

_HANDS: Final = 6
_DISTANCE: Final = 20.0  # widths: so far that meshes look as flat as lixels are
_TRUE: Final = track_color(2)
_PREDICTED: Final = track_color(1)
_FURTHEST: Final = 4.0  # widths


class PreviewWriter:
    """Writes OUT/previews/step_000500.jpg: a row of pictures for each of the first held-out hands.

    From left to right: the crop, the true mesh over it, the predicted one, and both from the right side, the true one
    first, where near is left; as wide as the range of depth.
    """

    def __init__(self, method: HandPriorMethod, out: Path) -> None:
        self.method, self.folder = method, out / "previews"

    def __call__(self, step: int) -> None:
        if self.method.shown is not None:
            batch, found = self.method.shown
            write_image(self.folder / f"step_{step:06d}.jpg", preview(batch, found, self.method.hand.faces))


def preview(batch: Batch, found: Estimate, faces: NDArray[np.integer]) -> UInt8[np.ndarray, "H W 3"]:
    """The sheet of a batch and what was said of it: the first hands; a mesh that is not known is not drawn."""
    (points, depth), targets = found
    if depth is None:
        raise ValueError("depth is shown, and this network says none")
    rows = []
    for i in range(min(_HANDS, len(points))):
        crop = crop_cell(batch, i)
        true = _cube(as_array(targets["vertices"][i]), as_array(targets["vertices_depth"][i]))
        said = _cube(as_array(points[i]), as_array(depth[i]))
        meshes = [[Mesh(true, faces, _TRUE)] if targets["vertices_valid"][i] else [], [Mesh(said, faces, _PREDICTED)]]
        rows.append(np.concatenate([crop, *(_over(crop, mesh) for mesh in meshes), *map(_aside, meshes)], axis=1))
    return np.concatenate(rows, axis=0)


def _cube(points: Float[np.ndarray, "V 2"], depth: Float[np.ndarray, " V"]) -> Float[np.ndarray, "V 3"]:
    """Widths from the crop's middle, depth in units of its range."""
    places = np.concatenate([points - 0.5, depth[:, None] / DEPTH_RANGE_M], axis=1).astype(np.float64)
    return np.clip(np.nan_to_num(places), -_FURTHEST, _FURTHEST)


def _over(crop: UInt8[np.ndarray, "S S 3"], meshes: list[Mesh]) -> UInt8[np.ndarray, "S S 3"]:
    """Each vertex at its own place: moved outwards by what its distance takes away."""
    image, focal = crop.copy(), CELL * _DISTANCE
    K = np.array([[focal, 0, CELL / 2], [0, focal, CELL / 2], [0, 0, 1.0]])
    placed = []
    for mesh in meshes:
        away = _DISTANCE + mesh.vertices_cam[:, 2:]
        vertices = np.concatenate([mesh.vertices_cam[:, :2] * away / _DISTANCE, away], axis=1)
        placed.append(Mesh(vertices, mesh.faces, mesh.color))
    draw_meshes(image, placed, K, opacity=0.8)
    return image


def _aside(meshes: list[Mesh]) -> UInt8[np.ndarray, "S S 3"]:
    return side_view(meshes, size=(CELL, CELL), centre=np.zeros(3), radius=0.5)
