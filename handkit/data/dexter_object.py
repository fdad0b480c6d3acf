"""Dexter+Object (Sridhar et al. 2016): six recordings of a left hand with a box, tips alone annotated.

Convention: the files have millimetres in the depth camera's frame with x to the left and y up, z = 32001 where a tip
is missing; samples are in the colour camera's frame, OpenCV axes, in metres.
"""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from handkit.data.tips import (
    ColorCamera,
    TipsDataset,
    TipSequence,
    list_pictures,
    missing_tips,
    read_tips,
    recording_folders,
    to_color,
)
from handkit.errors import HandkitError

SEQUENCES: Final = ("Grasp1", "Grasp2", "Occlusion", "Rigid", "Pinch", "Rotate")
LAYOUT: Final = (
    "Dexter+Object: data/{Grasp1,Grasp2,Occlusion,Rigid,Pinch,Rotate}/color/*.png with annotations/<name>2D.txt and "
    "annotations/<name>3D.txt"
)
CAMERA: Final = ColorCamera(
    K=np.array([[587.45209, 0, 325], [0, 600.67456, 249], [0, 0, 1]]),
    R=np.array([[0.9999, 0.0034, 0.0161], [-0.0033, 1.0, -0.0079], [-0.0162, 0.0079, 0.9998]]),
    t=np.array([0.0190473, -0.0018514, -0.0047501]),
)
BOXES: Final = "bbox_dexter+object.csv"
_DEPTH_AXES: Final = np.array([-1.0, -1.0, 1.0])


class DexterObject(TipsDataset):
    """Dexter+Object's annotated frames, named "Grasp1/<picture>"; there is one split, "test".

    With `corrected` the labels are read from `my_<name>3D.txt`, the copy corrected by Minimal-Hand-pytorch's author.
    `exclude` is a list of names or a text file of them, one a line; `min_tips` the fewest annotated tips. Boxes
    come from `bbox_dexter+object.csv` where the root has it.
    Raises HandkitError for files that are missing or damaged or do not belong together.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "test",
        *,
        sequences: Sequence[str] = SEQUENCES,
        corrected: bool = False,
        exclude: str | Path | Sequence[str] | None = None,
        min_tips: int = 1,
    ) -> None:
        folders = recording_folders(root, split, sequences, title="Dexter+Object", known=SEQUENCES, layout=LAYOUT)
        self.split = split
        read = [_read(folder, corrected=corrected) for folder in folders]
        super().__init__("dexter-object", read, CAMERA, layout=LAYOUT, min_tips=min_tips, exclude=exclude)
        boxes = Path(root) / BOXES
        self._boxes = _read_boxes(boxes) if boxes.is_file() else {}

    def _box(self, index: int) -> dict[str, np.ndarray]:
        box = self._boxes.get("/".join(self._images[index].parts[-3:]))
        return {} if box is None else {"bbox": box}


def _read(folder: Path, *, corrected: bool) -> TipSequence:
    path = folder / "annotations" / f"{'my_' if corrected else ''}{folder.name}3D.txt"
    points = read_tips(path, LAYOUT, dimensions=3)
    images = list_pictures(folder / "color", len(points), path, LAYOUT)
    return TipSequence(folder.name, images, to_color(points * _DEPTH_AXES, missing_tips(points, None), CAMERA))


def _read_boxes(path: Path) -> dict[str, np.ndarray]:
    """x0, y0, x1, y1 by "<sequence>/color/<picture>"; rows that span no area are left out."""
    boxes: dict[str, np.ndarray] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            for row in csv.DictReader(file):
                x, y, w, h = (float(row[key]) for key in ("x", "y", "w", "h"))
                if w > 0 and h > 0:
                    boxes[row["img_name"].strip()] = np.array([x, y, x + w, y + h], np.float32)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise HandkitError(
            f"{path}: no table of img_name, x, y, w, h ({error!r})", "mend it or take it away"
        ) from error
    return boxes
