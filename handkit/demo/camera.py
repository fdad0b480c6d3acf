"""The camera of an image: what the user says, else EXIF, else a stated default field of view.

Convention: K is 3x3 in pixels of the image as it is shown (EXIF orientation and `--rotate` applied).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import orjson
from jaxtyping import Float

from handkit.errors import HandkitError
from handkit.geometry.cameras import DEFAULT_FOV_DEG, default_K

DEFAULT_SOURCE: Final = f"default ({DEFAULT_FOV_DEG:g} degrees field of view along the longer side)"

_FILE_FIX: Final = 'a camera file holds {"K": [fx, fy, cx, cy]} or {"K": 3x3}, or one such entry per image name'


@dataclass(frozen=True, eq=False)
class Camera:
    """K [3, 3] in pixels, and where it comes from."""

    K: Float[np.ndarray, "3 3"]
    source: str


def matrix_from_intrinsics(fx: float, fy: float, cx: float, cy: float) -> Float[np.ndarray, "3 3"]:
    """K from its four numbers in pixels."""
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], float)


class CameraChoice:
    """Chooses each image's camera: K, then a camera file, then a focal length, then EXIF, then the default.

    focal: pixels; its principal point is the image's centre. camera: a JSON file for all images or with an entry per
    image name, or a folder with `<image>.json` files or a `cameras.json`. Raises HandkitError when a camera file says
    nothing of an image.
    """

    def __init__(
        self,
        *,
        K: tuple[float, float, float, float] | None = None,
        camera: Path | None = None,
        focal: float | None = None,
    ) -> None:
        self._K = K
        self._focal = focal
        self._path = camera
        self._folder: Path | None = None
        self._entries: object = None
        if camera is not None and camera.is_dir():
            self._folder = camera
            if (camera / "cameras.json").is_file():
                self._entries = _read(camera / "cameras.json")
        elif camera is not None:
            self._entries = _read(camera)

    def choose(self, path: Path, size: tuple[int, int], exif_focal_px: float | None = None) -> Camera:
        """The camera of an image or video of `size` (width, height)."""
        if self._K is not None:
            return Camera(matrix_from_intrinsics(*self._K), "--K")
        if self._path is not None:
            return Camera(self._from_file(path), f"camera file ({self._path.name})")
        width, height = size
        if self._focal is not None:
            return Camera(matrix_from_intrinsics(self._focal, self._focal, width / 2, height / 2), "--focal")
        if exif_focal_px is not None:
            return Camera(matrix_from_intrinsics(exif_focal_px, exif_focal_px, width / 2, height / 2), "EXIF")
        return Camera(default_K(width, height).numpy(), DEFAULT_SOURCE)

    def _from_file(self, path: Path) -> Float[np.ndarray, "3 3"]:
        if self._folder is not None:
            for name in (f"{path.name}.json", f"{path.stem}.json"):
                if (self._folder / name).is_file():
                    return _matrix(_read(self._folder / name), self._folder / name)
        entries = self._entries
        if isinstance(entries, Mapping):
            for name in (path.name, path.stem):
                if name in entries:
                    return _matrix(entries[name], Path(f"{self._path}: {name}"))
            if "K" in entries:
                return _matrix(entries, Path(f"{self._path}"))
        elif entries is not None:
            return _matrix(entries, Path(f"{self._path}"))
        raise HandkitError(f"{self._path}: no camera for {path.name}", _FILE_FIX)


def _read(path: Path) -> object:
    try:
        return orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise HandkitError(f"{path}: not a readable camera file ({error})", _FILE_FIX) from error


def _matrix(entry: object, where: Path) -> Float[np.ndarray, "3 3"]:
    """K from a file's entry: four numbers, nine numbers, or an object with the key K."""
    values = entry["K"] if isinstance(entry, Mapping) and "K" in entry else entry
    try:
        numbers = np.asarray(values, float)
    except (TypeError, ValueError) as error:
        raise HandkitError(f"{where}: K is not numbers", _FILE_FIX) from error
    if numbers.shape == (4,):
        numbers = matrix_from_intrinsics(*numbers)
    if numbers.shape != (3, 3) or not np.isfinite(numbers).all():
        raise HandkitError(f"{where}: K has shape {list(numbers.shape)} or is not finite", _FILE_FIX)
    if not (numbers[0, 0] > 0 and numbers[1, 1] > 0 and np.allclose(numbers[2], (0, 0, 1))):
        raise HandkitError(f"{where}: K = {numbers.tolist()} is no camera matrix", _FILE_FIX)
    return numbers
