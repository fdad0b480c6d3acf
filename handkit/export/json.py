"""Predictions as JSON for people and for other languages: one line per hand."""

import os
from typing import Any

import numpy as np
import orjson

from handkit.export.predictions import COLUMNS, Predictions
from handkit.files import atomic_path

_CONVENTIONS = {
    "units": "metres, radians, pixels, seconds",
    "camera": "x right, y down, z forward; pixel centres at +0.5",
    "joints": "wrist, then thumb, index, middle, ring, little, base to tip",
    "image_size": "width, height",
    "bbox": "x0, y0, x1, y1",
}
_DIGITS = 6


def write_json(path: str | os.PathLike[str], predictions: Predictions) -> None:
    """Write every column of `hands.npz` but the vertices, rounded to six digits, atomically; NaN becomes null.

    The top object holds hand_model, method, camera_source, conventions, inputs with their status, and `hands`.
    """
    head: dict[str, Any] = {
        "hand_model": predictions.hand_model,
        "method": predictions.method,
        "camera_source": predictions.camera_source,
        "conventions": _CONVENTIONS,
        "inputs": [
            {"input": str(name), "status": str(status)}
            for name, status in zip(predictions.inputs, predictions.status, strict=True)
        ],
    }
    with atomic_path(path) as partial, partial.open("wb") as file:
        file.write(orjson.dumps(head, option=orjson.OPT_INDENT_2).removesuffix(b"\n}"))
        file.write(b',\n  "hands": [')
        for row in range(len(predictions)):
            file.write(b",\n    " if row else b"\n    ")
            file.write(orjson.dumps({name: _plain(getattr(predictions, name)[row]) for name in COLUMNS}))
        file.write(b"\n  ]\n}\n")


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.floating):
        return np.round(np.asarray(value, np.float64), _DIGITS).tolist()
    return value.item() if isinstance(value, np.generic) else value
