"""The file `appearance.npz` beside a hands.npz: what each of its hands looks like, and the light on it.

Convention: `texture` is as S2HAND's network gives it: one colour a face, in (-1, 1); as RGB it is cut to [0, 1].
`light` is 11 numbers as in `handkit.render.shading`, in camera axes; that of a left hand is as in the mirror image.
"""

import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from handkit.conventions import NUM_FACES
from handkit.errors import HandkitError
from handkit.files import atomic_path

_FIX = "make it again with handkit demo --method s2hand"
_ROWS = {"texture": (np.float16, (NUM_FACES, 3)), "light": (np.float32, (11,))}


@dataclass(frozen=True, eq=False)
class Appearance:
    """N hands' textures and lights. Raises HandkitError for other shapes and values that are not finite."""

    texture: Float[np.ndarray, "N 1538 3"]
    light: Float[np.ndarray, "N 11"]

    def __post_init__(self) -> None:
        for name, (dtype, row) in _ROWS.items():
            values = np.asarray(getattr(self, name)).astype(dtype)
            if values.shape != (len(self.texture), *row):
                raise HandkitError(f"{name} has shape {values.shape}, not {(len(self.texture), *row)}", _FIX)
            if not np.isfinite(values).all():
                raise HandkitError(f"{name} holds values that are not finite", "leave those hands out")
            object.__setattr__(self, name, values)

    def __len__(self) -> int:
        return len(self.texture)

    def rows(self, index: np.ndarray | slice) -> "Appearance":
        """The hands that a mask, indices or a slice picks."""
        return Appearance(self.texture[index], self.light[index])

    def mean_colors(self) -> Float[np.ndarray, "1538 3"]:
        """The mean texture as RGB in [0, 1], unlit."""
        return self.texture.astype(np.float64).mean(0).clip(0, 1)


def join_appearances(parts: Sequence[Appearance]) -> Appearance:
    """All hands, in order; no parts give no hands."""
    if not parts:
        return Appearance(*(np.zeros((0, *row), dtype) for dtype, row in _ROWS.values()))
    return Appearance(np.concatenate([part.texture for part in parts]), np.concatenate([part.light for part in parts]))


def save_appearance(path: str | os.PathLike[str], appearance: Appearance) -> None:
    """Write the file, atomically; 9 KB a hand, which hardly shrink."""
    with atomic_path(path) as partial, partial.open("wb") as file:
        np.savez(file, texture=appearance.texture, light=appearance.light)


def load_appearance(path: str | os.PathLike[str]) -> Appearance:
    """Read the file; HandkitError where it is missing or damaged."""
    if not Path(path).is_file():
        raise HandkitError(f"{path} does not exist", _FIX)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return Appearance(arrays["texture"], arrays["light"])
    except (ValueError, TypeError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise HandkitError(f"{path} is no appearance file: {error}", _FIX) from error
