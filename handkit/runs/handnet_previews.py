"""Pictures of how a HandNet run goes: the same held-out hands at every validation."""

from pathlib import Path
from typing import Final

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from torch import Tensor

from handkit.images import write_image
from handkit.methods.handnet import Batch, Estimate, HandNetMethod
from handkit.render.overlay import draw_skeleton

_HANDS: Final = 6
CELL: Final = 192
_EMPTY: Final = 40  # grey of a cell without a picture
_OUTLINE: Final = (255, 255, 0)
_MASK: Final = (80, 220, 255)
_FAR: Final = 4.0  # image widths


class PreviewWriter:
    """Writes OUT/previews/step_000500.jpg: a row of pictures for each of the first held-out hands.

    From left to right: the crop with the keypoints that are given, with the true joints, with the predicted joints and
    the mesh's outline, and with the predicted mask; where nothing sees pictures, on grey.
    """

    def __init__(self, method: HandNetMethod, out: Path) -> None:
        self.method, self.folder = method, out / "previews"

    def __call__(self, step: int) -> None:
        if self.method.shown is not None:
            faces = self.method.layer.mano.faces.cpu().numpy()
            write_image(self.folder / f"step_{step:06d}.jpg", preview(*self.method.shown, faces))


def preview(batch: Batch, found: Estimate, faces: NDArray[np.integer]) -> UInt8[np.ndarray, "H W 3"]:
    """The sheet of a batch of flat rows and what was said of it: the first hands."""
    hand, mask = found.hand, found.said.mask
    rows = []
    for i in range(min(_HANDS, len(batch["keypoints"]))):
        crop = crop_cell(batch, i)
        given, true, predicted = crop.copy(), crop.copy(), crop.copy()
        draw_skeleton(
            given, CELL * as_array(batch["keypoints"][i]), scores=as_array(batch["keypoint_scores"][i]), min_score=1e-6
        )
        draw_skeleton(
            true, CELL * as_array(batch["joints_2d"][i]), scores=as_array(batch["joints_2d_valid"][i]), min_score=1
        )
        draw_outline(predicted, CELL * as_array(hand.vertices_2d[i]), faces)
        draw_skeleton(predicted, CELL * as_array(hand.joints_2d[i]))
        cells = [given, true, predicted]
        if mask is not None:
            cells.append(_tinted(crop, as_array(mask[i]) > 0))
        rows.append(np.concatenate(cells, axis=1))
    return np.concatenate(rows, axis=0)


def draw_outline(
    image: UInt8[np.ndarray, "H W 3"], vertices_px: Float[np.ndarray, "778 2"], faces: NDArray[np.integer]
) -> None:
    """Draw the outline of a mesh's silhouette in place; a mesh that is not finite has none."""
    size = image.shape[1]
    points = np.clip(np.nan_to_num(vertices_px), -_FAR * size, _FAR * size)
    covered = np.zeros(image.shape[:2], np.uint8)
    for triangle in points[faces].round().astype(np.int32):
        cv2.fillConvexPoly(covered, triangle, (1,))
    outline, _ = cv2.findContours(covered, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(image, outline, -1, _OUTLINE, 1)


def crop_cell(batch: Batch, row: int) -> UInt8[np.ndarray, "S S 3"]:
    """A crop of a batch as a cell of a sheet, grey where there is none."""
    if "image" not in batch:
        return np.full((CELL, CELL, 3), _EMPTY, np.uint8)
    crop = np.ascontiguousarray(batch["image"][row].permute(1, 2, 0).cpu().numpy())
    enlarged: np.ndarray = cv2.resize(crop, (CELL, CELL), interpolation=cv2.INTER_LINEAR)
    return enlarged


def _tinted(crop: UInt8[np.ndarray, "S S 3"], mask: NDArray[np.bool_]) -> UInt8[np.ndarray, "S S 3"]:
    inside = cv2.resize(mask.astype(np.uint8), (CELL, CELL), interpolation=cv2.INTER_NEAREST) > 0
    tinted = crop.copy()
    tinted[inside] = (0.5 * crop[inside] + 0.5 * np.array(_MASK)).astype(np.uint8)
    return tinted


def as_array(values: Tensor) -> np.ndarray:
    """For drawing."""
    found: np.ndarray = values.detach().float().cpu().numpy()
    return found
