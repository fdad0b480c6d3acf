"""The target silhouettes: mask files matched by name, or a segmenter seeded by the projected hand."""

from pathlib import Path
from typing import Final

import numpy as np

from handkit.errors import HandkitError
from handkit.export.predictions import Predictions
from handkit.images import read_image
from handkit.refine.rig import Lens, RigView
from handkit.render.hard import rasterize
from handkit.render.shaded import to_pixels
from handkit.segment import SEGMENTERS, forearm_mask

_SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
_FIX: Final = "masks are grey pictures, hand white, of the image's size"


def projected_mask(vertices: np.ndarray, faces: np.ndarray, K: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The pixels [H, W] a mesh [778, 3] covers."""
    pixels = to_pixels(vertices.astype(np.float64), K)
    return rasterize(pixels, faces, size=size).face_ids >= 0


class MaskChoice:
    """Chooses the mask of a hand, from a folder or by a segmenter."""

    def __init__(self, folder: Path | None, segmenter: str, lens: Lens | None = None) -> None:
        if folder is not None and not folder.is_dir():
            raise HandkitError(f"--masks {folder}: no such folder", "give a folder of mask pictures")
        self._folder, self._segment = folder, SEGMENTERS[segmenter]  # type: ignore[index]
        self._segmenter, self._lens = segmenter, lens
        self.name = "given masks" if folder is not None else segmenter

    def of_view(self, view: RigView) -> "MaskChoice":
        """The same for one camera of several: its own folder inside, where there is one, and its lens."""
        own = self._folder / view.name if self._folder is not None else None
        return MaskChoice(own if own is not None and own.is_dir() else self._folder, self._segmenter, view.lens)

    def choose(
        self, image: np.ndarray, rows: Predictions, row: int, projected: np.ndarray, *, is_video: bool
    ) -> np.ndarray:
        """The hand's mask [H, W]; raises HandkitError where there is none, or none of this size."""
        if self._folder is None:
            mask = self._segment(image, projected)
            if not mask.any():
                raise HandkitError("no pixel of it looks like a hand", "give its mask by --masks")
            return mask
        path = self._find(rows, row, is_video=is_video)
        mask = read_mask(path, (image.shape[1], image.shape[0]))
        return mask if self._lens is None else self._lens.straighten(mask.astype(np.uint8) * np.uint8(255)) > 127

    def unsaid(self, mask: np.ndarray, mesh: np.ndarray, faces: np.ndarray, K: np.ndarray) -> np.ndarray:
        """Pixels [H, W] of a mask that may be no hand [778, 3]: a segmenter takes the arm for a part of it."""
        if self._folder is not None:
            return np.zeros_like(mask)
        return mask & forearm_mask(mesh, faces, K, (mask.shape[0], mask.shape[1]))

    def _find(self, rows: Predictions, row: int, *, is_video: bool) -> Path:
        """One for the hand, by track or side, else one for the picture."""
        assert self._folder is not None
        name, frame = str(rows.image[row]), int(rows.frame[row])
        stem = Path(name).stem
        own = f"{rows.track_id[row]}_{'right' if rows.is_right[row] else 'left'}"
        bases = [f"{stem}/{frame:06d}", f"{stem}_{frame:06d}", f"{frame:06d}"] if is_video else [name, stem]
        for base in bases:
            for stem in (f"{base}_{own}", base):
                for suffix in _SUFFIXES:
                    if (self._folder / f"{stem}{suffix}").is_file():
                        return self._folder / f"{stem}{suffix}"
        raise HandkitError(f"no mask in {self._folder}", f"it was looked for as {bases[-1]}.png")


def read_mask(path: Path, size: tuple[int, int]) -> np.ndarray:
    """A mask file as bool [H, W]; raises HandkitError unless it is of `size` (width, height) and not empty."""
    picture = read_image(path)
    height, width = picture.shape[:2]
    if (width, height) != size:
        raise HandkitError(f"{path} is {width} x {height}, but the image {size[0]} x {size[1]} pixels", _FIX)
    # Masks of 0 and 1 are as common as those of 0 and 255.
    top = int(picture.max())
    mask = picture.max(-1) > top / 2 if top else np.zeros((height, width), bool)
    if not mask.any():
        raise HandkitError(f"{path} is empty: no pixel is white", _FIX)
    return mask
