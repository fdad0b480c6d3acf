"""Calibrated cameras that saw the same hands: the rig file of `refine --rig`, and a camera's lens.

handkit's own is JSON: {"unit_m": 0.028, "views": [{"name", "K", "R", "T", "distortion", "size"}, ...]}, with
x_cam = R x_world + T for every view and T in units of `unit_m` metres; size is [width, height] of the calibrated
pictures. OpenCV's storage of a calibrated pair (K1, D1, K2, D2, R, T, also by the names M1 or cameraMatrix1,
distCoeffs1; image_width and image_height) is read too, as YAML, XML or JSON.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import orjson

from handkit.errors import HandkitError

# OpenCV's pixel centres lie on whole numbers.
OPENCV_HALF: Final = np.array([[0.0, 0.0, 0.5], [0.0, 0.0, 0.5], [0.0, 0.0, 0.0]])
_DISTORTION_SIZES: Final = (4, 5, 8, 12, 14)
_FIX: Final = "handkit refine --help shows what a rig file holds"


@dataclass(frozen=True, eq=False)
class Lens:
    """Pictures of a distorting lens as a pinhole camera of the same K sees them; distortion as OpenCV's."""

    K: np.ndarray  # [3, 3]
    distortion: np.ndarray
    _maps: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    def straighten(self, picture: np.ndarray) -> np.ndarray:
        """The picture [H, W] or [H, W, 3] without distortion, in its size."""
        size = (picture.shape[1], picture.shape[0])
        if size not in self._maps:
            K = self.K - OPENCV_HALF
            self._maps[size] = cv2.initUndistortRectifyMap(K, self.distortion, np.eye(3), K, size, cv2.CV_32FC1)
        return cv2.remap(picture, *self._maps[size], cv2.INTER_LINEAR)

    def straight_points(self, xy: np.ndarray) -> np.ndarray:
        """Where points [..., 2] of the picture are in the straightened one."""
        K = self.K - OPENCV_HALF
        flat = np.asarray(xy, np.float64).reshape(-1, 1, 2) - 0.5
        return cv2.undistortPoints(flat, K, self.distortion, P=K).reshape(xy.shape) + 0.5 if flat.size else xy

    def bent_points(self, xy: np.ndarray) -> np.ndarray:
        """Where points [..., 2] of the straightened picture are in the picture itself."""
        flat = np.asarray(xy, np.float64).reshape(-1, 2)
        rays: np.ndarray = np.column_stack([flat, np.ones(len(flat))]) @ np.linalg.inv(self.K).T
        if not flat.size:
            return xy
        none = np.zeros(3)
        return cv2.projectPoints(rays, none, none, self.K - OPENCV_HALF, self.distortion)[0].reshape(xy.shape) + 0.5


@dataclass(frozen=True, eq=False)
class RigView:
    """One camera: x_cam = R x_world + T, T in the rig's unit; `size` (width, height) where the file says it."""

    name: str
    K: np.ndarray
    R: np.ndarray
    T: np.ndarray
    lens: Lens | None = None
    size: tuple[int, int] | None = None


@dataclass(frozen=True, eq=False)
class Rig:
    """The cameras in the order of the predictions; `unit_m` None where the file does not say it."""

    views: list[RigView]
    unit_m: float | None


def load_rig(path: Path, count: int) -> Rig:
    """Read a rig file of `count` cameras; raises HandkitError naming what is missing or wrong in it."""
    if not path.is_file():
        raise HandkitError(f"--rig {path}: no such file", "check the path")
    raw = path.read_bytes()
    try:
        content = orjson.loads(raw)
    except orjson.JSONDecodeError:
        content = None
    if not (isinstance(content, dict) and "views" in content):
        content = _opencv_content(path)
    if not isinstance(content["views"], list) or not all(isinstance(view, dict) for view in content["views"]):
        raise HandkitError(f"{path}: views is not a list of cameras", _FIX)
    if len(content["views"]) != count or count < 2:
        what = f"{path} has {len(content['views'])} cameras, but {count} predictions are given"
        raise HandkitError(what, "name one predictions file per camera, two or more, in the order of the rig's views")
    views = [_view(path, i, view) for i, view in enumerate(content["views"])]
    if len({view.name for view in views}) < count:
        raise HandkitError(f"{path}: two views have one name", "name each differently, or none")
    unit_m = content.get("unit_m")
    if unit_m is not None and not (isinstance(unit_m, int | float) and np.isfinite(unit_m) and unit_m > 0):
        raise HandkitError(f"{path}: unit_m is {unit_m}", "give the metres of one unit of T, as 0.001 for millimetres")
    return Rig(views, unit_m)


def _view(path: Path, index: int, entry: Mapping[str, Any]) -> RigView:
    name = str(entry.get("name", f"view{index + 1}"))
    where = f"{path}, view {name}"
    K = _matrix(where, entry, "K", (3, 3))
    if not (K[0, 0] > 0 and K[1, 1] > 0 and np.allclose(K[2], (0, 0, 1))):
        raise HandkitError(f"{where}: K is not a camera's matrix", "its rows are fx 0 cx, 0 fy cy, 0 0 1, in pixels")
    R, T = _matrix(where, entry, "R", (3, 3)), _matrix(where, entry, "T", (3,))
    if not (np.allclose(R @ R.T, np.eye(3), atol=1e-3) and np.linalg.det(R) > 0):
        raise HandkitError(f"{where}: R is not a rotation", "x_cam = R x_world + T")
    u, _, v = np.linalg.svd(R)
    given = entry.get("distortion")
    size = np.size(given) if given is not None else 0
    if size not in (0, *_DISTORTION_SIZES):
        raise HandkitError(f"{where}: distortion has {size} values", "OpenCV's are k1, k2, p1, p2, k3 and so on")
    distortion = _matrix(where, entry, "distortion", (size,)) if size else np.zeros(0)
    picture = _matrix(where, entry, "size", (2,)) if entry.get("size") is not None else None
    if picture is not None and not (picture > 0).all():
        raise HandkitError(f"{where}: size is {picture.tolist()}", "it is the pictures' width and height in pixels")
    size_px = None if picture is None else (round(picture[0]), round(picture[1]))
    return RigView(name, K, u @ v, T, Lens(K, distortion) if distortion.any() else None, size_px)


def _matrix(where: str, entry: Mapping[str, Any], name: str, shape: tuple[int, ...]) -> np.ndarray:
    """One of its matrices; vectors may be given as a column or row."""
    if entry.get(name) is None:
        raise HandkitError(f"{where}: no {name}", _FIX)
    try:
        values = np.asarray(entry[name], np.float64)
    except (TypeError, ValueError):
        raise HandkitError(f"{where}: {name} does not hold numbers", _FIX) from None
    if len(shape) == 1 and values.size == shape[0]:
        values = values.reshape(shape)
    if values.shape != shape:
        wanted = " x ".join(map(str, shape))
        raise HandkitError(f"{where}: {name} has shape {values.shape}, not {wanted}", _FIX)
    if not np.isfinite(values).all():
        raise HandkitError(f"{where}: {name} is not finite", _FIX)
    return values


def _opencv_content(path: Path) -> dict[str, Any]:
    """The pair of OpenCV's storage in our form: the first camera is the world."""
    try:
        storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_READ)
        found = {name: _stored(storage, name) for name in ("R", "T")}
        for i in (1, 2):
            found[f"K{i}"] = _stored(storage, f"K{i}", f"M{i}", f"cameraMatrix{i}", f"camera_matrix_{i}")
            found[f"D{i}"] = _stored(storage, f"D{i}", f"distCoeffs{i}", f"dist_coeffs_{i}")
        size = [storage.getNode(name) for name in ("image_width", "image_height")]
    except (cv2.error, SystemError):
        found, size = {}, []
    missing = [name for name in ("K1", "K2", "R", "T") if found.get(name) is None]
    if missing:
        what = f"{path} is no rig file: neither JSON with views, nor OpenCV's with {', '.join(missing)}"
        raise HandkitError(what, _FIX)
    places = ((np.eye(3), np.zeros(3)), (found["R"], found["T"]))
    views = []
    for i, (R, T) in enumerate(places, 1):
        K = found[f"K{i}"]
        K = K + OPENCV_HALF if K is not None and K.shape == (3, 3) else K
        views.append({"K": K, "R": R, "T": T, "distortion": found[f"D{i}"]})
        if size and not any(node.empty() for node in size):
            views[-1]["size"] = np.array([node.real() for node in size])
    return {"views": views}


def _stored(storage: cv2.FileStorage, *names: str) -> np.ndarray | None:
    nodes = [storage.getNode(name) for name in names]
    return next((node.mat() for node in nodes if not node.empty() and node.isMap()), None)
