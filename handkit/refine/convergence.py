"""The convergence as a film: some hands side by side, their target and the mesh's outline at every iteration."""

from pathlib import Path
from typing import Final

import cv2
import numpy as np
import torch

from handkit.fit.refine import CROP_PX, Evaluation
from handkit.images import RgbImage
from handkit.refine.crops import Crop
from handkit.render.overlay import draw_label
from handkit.video import VideoWriter

MAX_HANDS: Final = 12
_COLUMNS: Final = 4
_FPS: Final = 3.0
_TARGET, _OUTLINE = (90, 200, 120), (255, 80, 60)


class Film:
    """Collects the silhouettes of the first hands; frames are iterations."""

    def __init__(self) -> None:
        self._tiles: list[list[RgbImage]] = []

    @property
    def is_full(self) -> bool:
        return len(self._tiles) >= MAX_HANDS

    def record(self, crops: list[Crop], found: Evaluation, first: int) -> None:
        """Add an iteration of a batch whose hands stand at `first` and after it in the film."""
        shown = [i for i, crop in enumerate(crops) if crop.image is not None]
        for place, i in enumerate(shown[: MAX_HANDS - first], first):
            if len(self._tiles) <= place:
                self._tiles.append([])
            self._tiles[place].append(_tile(crops[i], found.silhouette[i]))

    def next_place(self) -> int:
        return len(self._tiles)

    def write(self, path: Path) -> None:
        """An mp4 of the tiles in rows; its last frame stays a second longer."""
        if not self._tiles:
            return
        columns = min(_COLUMNS, len(self._tiles))
        blank = np.zeros((CROP_PX, CROP_PX, 3), np.uint8)
        with VideoWriter(path, fps=_FPS) as writer:
            length = len(self._tiles[0])
            for iteration in [*range(length), *[length - 1] * round(_FPS)]:
                tiles = [tile[iteration] for tile in self._tiles]
                tiles += [blank] * (-len(tiles) % columns)
                lines = [np.concatenate(tiles[i : i + columns], 1) for i in range(0, len(tiles), columns)]
                frame = np.ascontiguousarray(np.concatenate(lines, 0))
                draw_label(frame, f"iteration {iteration}", (4, 22), color=(230, 230, 230))
                writer.write(frame)


def _tile(crop: Crop, silhouette: torch.Tensor) -> RgbImage:
    assert crop.image is not None
    tile = crop.image.copy()
    inside = crop.target > 0.5
    tile[inside] = (0.6 * tile[inside] + 0.4 * np.array(_TARGET)).astype(np.uint8)
    drawn = (silhouette.cpu().numpy() > 0.5).astype(np.uint8)
    outlines, _ = cv2.findContours(drawn, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(tile, outlines, -1, _OUTLINE, 1)
    return tile
