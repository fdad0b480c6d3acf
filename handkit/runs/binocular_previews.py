"""Pictures of how a binocular run goes: the same held-out pairs at every validation."""

from pathlib import Path
from typing import Final

import cv2
import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray
from torch import Tensor

from handkit.data.staged_batches import Batch
from handkit.images import write_image
from handkit.methods.binocular import BinocularMethod, PairEstimate
from handkit.methods.binocular_measures import true_pair
from handkit.methods.binocular_views import place_pairs
from handkit.render.overlay import Mesh, side_view
from handkit.runs.handnet_previews import draw_outline

_PAIRS: Final = 6
_CELL: Final = 192
_MASK: Final = (80, 220, 255)
_FOUND, _TRUE = (120, 170, 250), (140, 215, 140)
_REACH_M: Final = 0.12


class PairPreviews:
    """Writes OUT/previews/step_000500.jpg: a row of pictures for each of the first held-out pairs.

    From left to right: of the left view and then of the right one the crop with its mask and the prior's outline, and
    with the outline that was found; the triangulated hand from its side, and the true one in green where there is one.
    """

    def __init__(self, method: BinocularMethod, out: Path) -> None:
        self.method, self.folder = method, out / "previews"

    def __call__(self, step: int) -> None:
        if self.method.shown is not None:
            sheet = preview(*self.method.shown, np.asarray(self.method.hand.faces), size=self.method.size)
            write_image(self.folder / f"step_{step:06d}.jpg", sheet)


def preview(batch: Batch, found: PairEstimate, faces: NDArray[np.integer], *, size: int) -> UInt8[np.ndarray, "H W 3"]:
    """The sheet of a batch of pairs of crops of `size` px and what was said of it: the first pairs."""
    pair, true = place_pairs(found.said.points, batch, size=size), true_pair(batch)
    views, rows, has_truth = len(batch["image"]) // 2, [], bool(true.vertices_known.any())
    for i in range(min(_PAIRS, views)):
        cells = [cell for row in (views + i, i) for cell in _crops(batch, found, faces, row)]
        found_cam, true_cam = _array(pair.found.right[i]), _array(true.vertices[i])
        sides = [[Mesh(found_cam, faces, _FOUND)]]
        if has_truth:
            sides.append([Mesh(true_cam, faces, _TRUE)] if bool(true.vertices_known[i].all()) else [])
        centre = sides[-1][0].vertices_cam.mean(0) if sides[-1] else found_cam.mean(0)
        cells += [side_view(meshes, size=(_CELL, _CELL), centre=centre, radius=_REACH_M) for meshes in sides]
        rows.append(np.concatenate(cells, axis=1))
    return np.concatenate(rows, axis=0)


def _crops(batch: Batch, found: PairEstimate, faces: NDArray[np.integer], row: int) -> list[UInt8[np.ndarray, "S S 3"]]:
    """A view's crop with mask and prior, and with what was found."""
    crop = np.ascontiguousarray(batch["image"][row].permute(1, 2, 0).cpu().numpy())
    before = cv2.resize(crop, (_CELL, _CELL), interpolation=cv2.INTER_LINEAR)
    after = before.copy()
    inside = cv2.resize(batch["mask"][row].cpu().numpy(), (_CELL, _CELL), interpolation=cv2.INTER_NEAREST) > 0
    before[inside] = (0.5 * before[inside] + 0.5 * np.array(_MASK)).astype(np.uint8)
    draw_outline(before, _CELL * _array(found.prior.points[row]), faces)
    draw_outline(after, _CELL * _array(found.said.points[row]), faces)
    return [before, after]


def _array(values: Tensor) -> NDArray[np.float64]:
    return values.detach().double().cpu().numpy()
