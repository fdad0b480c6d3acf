"""Pictures of how a self-supervised run goes: the same held-out hands at every validation."""

from pathlib import Path
from typing import Final

import cv2
import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from handkit.images import write_image
from handkit.methods.s2hand import S2HandMethod
from handkit.methods.s2hand_loss import UNIT, Estimate, target_of
from handkit.methods.s2hand_picture import foreground
from handkit.render.overlay import draw_skeleton

_HANDS: Final = 6
_CELL: Final = 192


class PreviewWriter:
    """Writes OUT/previews/step_000500.jpg: a row of pictures for each of the first held-out hands.

    From left to right: the crop with the keypoints that are learned from, with the hand's projected joints, with the
    2D estimator's, and the hand drawn again with its texture and light; what a stage does not have is left out.
    """

    def __init__(self, method: S2HandMethod, out: Path) -> None:
        self.method, self.folder = method, out / "previews"

    def __call__(self, step: int) -> None:
        if self.method.shown is not None:
            batch, found = self.method.shown
            write_image(self.folder / f"step_{step:06d}.jpg", preview(self.method, batch, found))


def preview(method: S2HandMethod, batch: dict[str, Tensor], found: Estimate) -> UInt8[np.ndarray, "H W 3"]:
    """The sheet of a batch [M, n, ...] and what was said of it: the first frames of the first hands."""
    count = min(_HANDS, len(batch["image"]))
    width = batch["image"].shape[-1]
    target = target_of(batch, method.objective.supervision)
    points = [target.keypoints * (width / UNIT)]
    if found.out is not None:
        points.append(found.out.joints_2d)
    if found.keypoints is not None:
        points.append(width * found.keypoints.points[..., -1, :, :])
    rows = []
    for i in range(count):
        crop = batch["image"][i, 0].permute(1, 2, 0).cpu().numpy()
        cells = [_with_skeleton(crop, one[i, 0].detach().float().cpu().numpy()) for one in points]
        if found.picture is not None:
            drawn = found.picture.rgb[i, 0] * foreground(found.picture)[i, 0]
            cells.append(_enlarged(_picture(drawn)))
        rows.append(np.concatenate(cells, axis=1))
    return np.concatenate(rows, axis=0)


def _with_skeleton(crop: UInt8[np.ndarray, "H W 3"], joints: np.ndarray) -> UInt8[np.ndarray, "S S 3"]:
    cell = _enlarged(crop)
    draw_skeleton(cell, joints * (_CELL / crop.shape[1]))
    return cell


def _picture(rgb: Tensor) -> UInt8[np.ndarray, "H W 3"]:
    shown: np.ndarray = (255 * rgb.detach().float().clamp(0, 1)).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    return shown


def _enlarged(image: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "S S 3"]:
    resized: np.ndarray = cv2.resize(np.ascontiguousarray(image), (_CELL, _CELL), interpolation=cv2.INTER_LINEAR)
    return resized
