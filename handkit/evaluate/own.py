"""handkit's own predictions, hands.npz, as hands to be scored."""

import logging
from pathlib import Path

import numpy as np

from handkit.errors import HandkitError
from handkit.evaluate.hands import HandSet
from handkit.evaluate.matching import ReadHands
from handkit.export.predictions import Predictions, concatenate, load_finite_rows

logger = logging.getLogger(__name__)


def from_predictions(files: list[Path], path: Path, *, with_vertices: bool) -> ReadHands:
    """handkit's own predictions; hands of a video are named by its file and their frame."""
    parts = []
    for file in files:
        rows, bad = load_finite_rows(file)
        if bad:
            logger.warning("%s: %d hands are left out, they hold numbers that are not finite", file, len(bad))
        parts.append(rows)
    predictions = concatenate(parts) if len(parts) > 1 else parts[0]
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
    hands = HandSet(
        ids=ids,
        joints=predictions.joints_3d,
        vertices=_meshes(predictions) if with_vertices else predictions.vertices,
        joints_2d=predictions.joints_2d,
        K=predictions.K,
        source=str(path),
    )
    return ReadHands(hands, True, confidence=predictions.score.astype(np.float64))


def _meshes(predictions: Predictions) -> np.ndarray | None:
    if predictions.vertices is not None:
        return predictions.vertices
    from handkit.demo.hands import HandPair

    try:
        return np.stack(HandPair(predictions.hand_model).vertices(predictions, range(len(predictions))))
    except HandkitError as error:
        logger.warning("vertices are not scored: %s (%s)", error.what, error.fix)
        return None
