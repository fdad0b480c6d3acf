"""handkit's own predictions, hands.npz, as hands to be scored."""

import logging
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from handkit.data.hands import HandSet
from handkit.errors import HandkitError
from handkit.evaluate.matching import ReadHands
from handkit.evaluate.rows import read_own
from handkit.export.predictions import Predictions
from handkit.geometry.rotations import axis_angle_to_matrix

logger = logging.getLogger(__name__)


def from_predictions(files: list[Path], path: Path, *, with_vertices: bool, about_origin: bool = False) -> ReadHands:
    """handkit's own predictions; hands of a video are named by its file and their frame.

    What lies beside the files is read with them. `about_origin` gives hands about their own origin, turned by their
    global_orient, not in the camera frame.
    """
    own = read_own(files)
    predictions = own.hands
    if not len(predictions):
        raise HandkitError(f"{path} holds no hands", "check what the run found: its summary.json says")
    names = predictions.image.tolist()
    frames: dict[str, set[int]] = {}
    for name, frame in zip(names, predictions.frame.tolist(), strict=True):
        frames.setdefault(name, set()).add(frame)
    ids = tuple(
        f"{Path(name).stem}_{frame:06d}" if len(frames[name]) > 1 else name
        for name, frame in zip(names, predictions.frame.tolist(), strict=True)
    )
    vertices = _meshes(predictions) if with_vertices else predictions.vertices
    shift = _from_camera_to_origin(predictions) if about_origin else np.zeros((len(predictions), 1, 3), np.float32)
    hands = HandSet(
        ids=ids,
        joints=predictions.joints_3d + shift,
        vertices=None if vertices is None else vertices + shift,
        joints_2d=predictions.joints_2d,
        K=predictions.K,
        source=str(path),
    )
    return ReadHands(hands, True, confidence=predictions.score.astype(np.float64), own=own)


def _from_camera_to_origin(predictions: Predictions) -> Float[np.ndarray, "N 1 3"]:
    """What takes camera points R (x - J0) + J0 + transl, as the hand layer makes them, to R x; J0 is the rest wrist."""
    wrist = predictions.joints_3d[:, 0]
    rest = (wrist - predictions.transl).astype(np.float64)
    R = axis_angle_to_matrix(torch.from_numpy(predictions.global_orient.astype(np.float64))).numpy()
    shift: np.ndarray = (R @ rest[..., None])[..., 0] - wrist
    return shift[:, None].astype(np.float32)


def _meshes(predictions: Predictions) -> np.ndarray | None:
    if predictions.vertices is not None:
        return predictions.vertices
    from handkit.demo.hands import HandPair

    try:
        return np.stack(HandPair(predictions.hand_model).vertices(predictions, range(len(predictions))))
    except HandkitError as error:
        logger.warning("vertices are not scored: %s (%s)", error.what, error.fix)
        return None
