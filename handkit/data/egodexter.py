"""EgoDexter (Mueller et al. 2017): four egocentric recordings of left hands, 640 x 480, tips alone annotated.

Convention: the files have millimetres in the depth camera's frame; samples are in the colour camera's, in metres.
"""

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

SEQUENCES: Final = ("Desk", "Fruits", "Kitchen", "Rotunda")
LAYOUT: Final = (
    "EgoDexter: data/{Desk,Fruits,Kitchen,Rotunda}/color/*.png with annotation.txt and annotation.txt_3D.txt beside it"
)
CAMERA: Final = ColorCamera(
    K=np.array([[617.173, 0, 315.453], [0, 617.173, 242.259], [0, 0, 1]]),
    R=np.array([[1.0, 0.00090442, -0.0074], [-0.00071933, 0.9997, 0.0248], [0.0075, -0.0248, 0.9997]]),
    t=np.array([0.0202365, 0.0012846, 0.0057360]),
)


class EgoDexter(TipsDataset):
    """EgoDexter's annotated frames, named "Desk/<picture>"; there is one split, "test".

    With `corrected` the labels are read from `my_annotation.txt_3D.txt`, the copy corrected by Minimal-Hand-pytorch's
    author. `exclude` is a list of names or a text file of them, one a line; `min_tips` the fewest annotated tips.
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
        folders = recording_folders(root, split, sequences, title="EgoDexter", known=SEQUENCES, layout=LAYOUT)
        self.split = split
        read = [_read(folder, corrected=corrected) for folder in folders]
        super().__init__("egodexter", read, CAMERA, layout=LAYOUT, min_tips=min_tips, exclude=exclude)


def _read(folder: Path, *, corrected: bool) -> TipSequence:
    path = folder / ("my_annotation.txt_3D.txt" if corrected else "annotation.txt_3D.txt")
    points = read_tips(path, LAYOUT, dimensions=3)
    flat = folder / "annotation.txt"
    in_depth_image = read_tips(flat, LAYOUT, dimensions=2) if flat.is_file() and not corrected else None
    if in_depth_image is not None and len(in_depth_image) != len(points):
        in_depth_image = None  # the 3D file has codes of its own
    images = list_pictures(folder / "color", len(points), path, LAYOUT)
    return TipSequence(folder.name, images, to_color(points, missing_tips(points, in_depth_image), CAMERA))
