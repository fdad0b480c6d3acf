"""Files of 3D joints as input: npy or json, [T, 21, 3] in metres, our joint order."""

import logging
import time
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import orjson
import torch
from jaxtyping import Float

from handkit.conventions import JOINT_NAMES
from handkit.demo.camera import matrix_from_intrinsics
from handkit.demo.hands import Sighting, rows_from_fit
from handkit.demo.inputs import Unit
from handkit.demo.options import stamp_of
from handkit.demo.posed import Posed
from handkit.demo.results import HANDS, write_hands, write_track_meshes
from handkit.demo.summary import InputRecord, Settled, earlier_record, write_marker
from handkit.demo.tools import Tools
from handkit.detect.detection import HandDetection
from handkit.errors import HandkitError
from handkit.export.predictions import Predictions
from handkit.fit import HandParameters, fit_joints

log = logging.getLogger(__name__)

_SHAPE_FIX = "joints are [T, 21, 3] numbers in metres: wrist, then thumb to little, base to tip"
# Wrist to middle knuckle of children to large adults, with slack.
_PALM_M = (0.04, 0.16)
_BATCH = 512
_FPS = 30.0
_MIDDLE_BASE = JOINT_NAMES.index("middle1")


def read_joints(path: Path) -> Float[np.ndarray, "T 21 3"]:
    """The joints of a file; frames with missing values (NaN, null) stay NaN."""
    values = _read_npy(path) if path.suffix.lower() == ".npy" else _read_json(path)
    try:
        joints = np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
        raise HandkitError(f"{path}: not one array of numbers ({error})", _SHAPE_FIX) from error
    if joints.shape == (21, 3):
        joints = joints[None]
    if joints.ndim != 3 or joints.shape[1:] != (21, 3) or len(joints) == 0:
        raise HandkitError(f"{path}: holds an array of shape {list(joints.shape)}", _SHAPE_FIX)
    if not np.isfinite(joints).all((1, 2)).any():
        raise HandkitError(f"{path}: no frame has all 21 joints", _SHAPE_FIX)
    return joints


def warn_if_suspicious(name: str, joints: Float[np.ndarray, "T 21 3"], *, is_right: bool) -> None:
    """Log a warning when the joints look like other units or the other side."""
    whole = joints[np.isfinite(joints).all((1, 2))]
    palm = float(np.median(np.linalg.norm(whole[:, _MIDDLE_BASE] - whole[:, 0], axis=1)))
    if not _PALM_M[0] <= palm <= _PALM_M[1]:
        unit = next(
            (u for u, scale in (("millimetres", 1e-3), ("centimetres", 1e-2)) if 0.05 < palm * scale < 0.15), None
        )
        guess = f"these look like {unit}" if unit else "these are not metres"
        log.warning("%s: wrist to middle knuckle is %.4g m; %s; handkit reads metres", name, palm, guess)
    if _bends_to(whole, is_right=is_right) < -0.1:
        side = "right" if is_right else "left"
        log.warning(
            "%s: the fingers bend to the back of a %s hand; mirrored, or of the other side (--hands)?", name, side
        )


def _bends_to(joints: Float[np.ndarray, "T 21 3"], *, is_right: bool) -> float:
    """How far the fingers bend to the palm of such a hand: the mean sine between tips and the palm's plane."""
    across_index, across_little = joints[:, 5] - joints[:, 0], joints[:, 17] - joints[:, 0]
    palmward = np.cross(across_index, across_little) * (1 if is_right else -1)
    palmward /= np.linalg.norm(palmward, axis=1, keepdims=True).clip(1e-12)
    fingers = joints[:, [8, 12, 16, 20]] - joints[:, [6, 10, 14, 18]]
    fingers /= np.linalg.norm(fingers, axis=2, keepdims=True).clip(1e-12)
    return float(np.einsum("tfc,tc->tf", fingers, palmward).mean())


def _read_npy(path: Path) -> object:
    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise HandkitError(f"{path}: not a readable .npy file ({error})", _SHAPE_FIX) from error


def _read_json(path: Path) -> object:
    try:
        values = orjson.loads(path.read_bytes())
    except (orjson.JSONDecodeError, OSError) as error:
        raise HandkitError(f"{path}: not readable JSON ({error})", _SHAPE_FIX) from error
    if isinstance(values, dict):
        named = [values[key] for key in ("joints_3d", "joints", "keypoints_3d") if key in values]
        if not named:
            raise HandkitError(f"{path}: no key joints_3d among {sorted(values)[:5]}", _SHAPE_FIX)
        values = named[0]
    return values


def process_joints(unit: Unit, tools: Tools) -> InputRecord:
    """Fit the hand to every frame of a joints file; with `--K` the joints are projected, else there is no camera."""
    (path,) = unit.paths
    folder = tools.out / unit.name
    fingerprint = tools.options.fingerprint()
    if not tools.force and (earlier := earlier_record(folder, fingerprint, path)) is not None:
        return earlier
    started = time.monotonic()
    stamp = stamp_of(path)
    joints = read_joints(path)
    is_right = tools.options.hands != "left"
    warn_if_suspicious(str(path), joints, is_right=is_right)
    whole = np.flatnonzero(np.isfinite(joints).all((1, 2)))
    rows, error_m = _fit_file(path, joints, whole, is_right, tools)
    record = InputRecord(
        input=str(path),
        kind="joints",
        status="done",
        seconds=round(time.monotonic() - started, 3),
        frames=len(joints),
        hands=len(whole),
        tracks=1,
        fit_error_mm=round(1000 * error_m, 3),
        camera_source="--K" if tools.options.K else "none (joints only)",
        output=f"{unit.name}/{HANDS}",
    )
    write_track_meshes(folder, Posed(rows), tools.hands, tools.options.export)
    write_hands(folder, Posed(rows), [record], tools.hands, tools.options, "fit to 3D joints")
    write_marker(folder, fingerprint, [Settled(path.resolve(), record, stamp)])
    return record


def _fit_file(
    path: Path, joints: Float[np.ndarray, "T 21 3"], whole: np.ndarray, is_right: bool, tools: Tools
) -> tuple[Predictions, float]:
    """Rows of the frames that have all joints, and the mean joint error in metres."""
    parts: list[HandParameters] = []
    for begin in range(0, len(whole), _BATCH):
        chosen = torch.from_numpy(joints[whole[begin : begin + _BATCH]])
        parts.append(fit_joints(chosen, tools.hands.model(is_right), is_right))
    fitted = HandParameters(*(torch.cat([getattr(part, f.name) for part in parts]) for f in fields(HandParameters)))
    error_m = float(np.linalg.norm(fitted.joints.numpy() - joints[whole], axis=-1).mean())
    nowhere = np.full((21, 2), np.nan)
    seen = HandDetection(nowhere, np.ones(21), is_right, 1.0, np.full(4, np.nan))
    K = np.eye(3) if tools.options.K is None else matrix_from_intrinsics(*tools.options.K)
    # Files of joints carry no times.
    sightings = [Sighting(seen, path.name, (0, 0), K, frame=int(t), time_s=int(t) / _FPS) for t in whole]
    rows = rows_from_fit(sightings, fitted)
    return (rows if tools.options.K else replace(rows, joints_2d=np.full((len(rows), 21, 2), np.nan))), error_m
