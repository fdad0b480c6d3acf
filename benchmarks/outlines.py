"""The outlines of hands in real pictures, drawn by hand: hand_outlines.json, and the rows of `handkit demo` that are of
these hands.

Ten hands, each cut off at the wrist's crease: five of Hand Graph CNN's crops (none of the first 60, on which weights
were chosen) and five photographs, with bare arms, one before a face, and sleeves. Every hand was outlined by hand on
the enlarged picture, points 5 to 10 px apart; where hand and background differ in colour GrabCut then moved the outline
by up to 2 px (3 and 4 in the two largest pictures); what it got wrong was put back, and all was looked at again on the
enlarged picture. Outlines lie within about 2 px of the hand's edge, 3 where it is blurred; where a wrist ends is a
matter of a few px more.

An entry: "image" below realdata, its "size" (width, height), the hand's "side", and "polygons" of points (x, y) with
pixel centres at +0.5; the first is the outline, the others are holes.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float
from skimage.draw import polygon2mask

from handkit.evaluate.iterations import row_within
from handkit.export.predictions import Predictions

FILE = Path(__file__).with_name("hand_outlines.json")


@dataclass(frozen=True, eq=False)
class Outline:
    """One hand of a picture."""

    image: str
    size: tuple[int, int]
    is_right: bool
    polygons: tuple[Float[np.ndarray, "N 2"], ...]

    @property
    def name(self) -> str:
        return Path(self.image).name

    def mask(self) -> Bool[np.ndarray, "H W"]:
        """The pixels whose centres are inside."""
        width, height = self.size
        filled = [polygon2mask((height, width), points[:, ::-1] - 0.5) for points in self.polygons]
        return filled[0] & ~np.any(filled[1:], axis=0)


def read_outlines(path: Path = FILE) -> list[Outline]:
    return [
        Outline(
            entry["image"],
            (entry["size"][0], entry["size"][1]),
            entry["side"] == "right",
            tuple(np.array(points) for points in entry["polygons"]),
        )
        for entry in json.loads(path.read_text())
    ]


def copy_pictures(outlines: list[Outline], data: Path, folder: Path) -> Path:
    """The outlined pictures of `data` (realdata) in one folder, as `handkit demo` takes them."""
    folder.mkdir(parents=True, exist_ok=True)
    for outline in outlines:
        shutil.copy(data / outline.image, folder)
    return folder


def row_of(outline: Outline, hands: Predictions) -> int | None:
    return row_within(outline.mask(), outline.is_right, outline.name, hands)
