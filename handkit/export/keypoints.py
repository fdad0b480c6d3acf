"""The file `keypoints.npz` beside a hands.npz: where a trained 2D estimator sees each of its hands' joints."""

import os
import zipfile
from pathlib import Path

import numpy as np

from handkit.errors import HandkitError
from handkit.files import atomic_path
from handkit.inference.keypoints import SeenKeypoints

_FIX = "make it again with handkit evaluate --method s2hand"
_ROWS = {"points": (np.float32, (21, 2)), "scores": (np.float32, (21,))}


def save_seen(path: str | os.PathLike[str], seen: SeenKeypoints) -> None:
    """Write full-image pixels and scores, rows equal to those of hands.npz, atomically."""
    with atomic_path(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, points=seen.points.astype(np.float32), scores=seen.scores.astype(np.float32))


def load_seen(path: str | os.PathLike[str]) -> SeenKeypoints:
    """Read the file; HandkitError where it is missing, damaged or of other shapes."""
    if not Path(path).is_file():
        raise HandkitError(f"{path} does not exist", _FIX)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            seen = SeenKeypoints(arrays["points"], arrays["scores"])
    except (ValueError, TypeError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise HandkitError(f"{path} is no keypoints file: {error}", _FIX) from error
    for (name, (dtype, row)), values in zip(_ROWS.items(), seen, strict=True):
        if values.shape != (len(seen.points), *row) or values.dtype != dtype:
            raise HandkitError(f"{path}: {name} are {values.dtype} of shape {values.shape}", _FIX)
    return seen
