"""Hands to be compared: what predictions and truth are read into, whatever file they come from."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from handkit.errors import HandkitError


@dataclass(frozen=True, eq=False)
class HandSet:
    """N hands in one order: metres, OpenCV camera axes, our 21 joints (or the points a protocol names).

    `ids` name the samples, `sequences` (with `frames` in them) what belongs together in time. `joints_valid` says which
    points are annotated; a prediction that is not finite is left as it is, to be counted.
    """

    ids: tuple[str, ...]
    joints: Float[np.ndarray, "N J 3"] | None = None
    vertices: Float[np.ndarray, "N V 3"] | None = None
    joints_2d: Float[np.ndarray, "N J 2"] | None = None
    joints_valid: Bool[np.ndarray, "N J"] | None = None
    sequences: tuple[str, ...] | None = None
    frames: tuple[int, ...] | None = None
    images: tuple[Path | None, ...] | None = None
    K: Float[np.ndarray, "N 3 3"] | None = None
    source: str = ""

    def __len__(self) -> int:
        return len(self.ids)

    def __post_init__(self) -> None:
        for name in ("joints", "vertices", "joints_2d", "joints_valid", "sequences", "frames", "images", "K"):
            value = getattr(self, name)
            if value is not None and len(value) != len(self.ids):
                raise HandkitError(
                    f"{self.source or 'hands'}: {len(value)} {name} for {len(self.ids)} samples",
                    "give one entry per sample",
                )
