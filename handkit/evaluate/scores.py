"""What scoring gives: one number per sample, their means with counts, and curves. Reports are written from it."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True, eq=False)
class Curve:
    """Share of points within each threshold in `unit` ("mm" or "px"); `auc` is the area over the range, in [0, 1]."""

    name: str
    thresholds: Float[np.ndarray, " T"]
    pck: Float[np.ndarray, " T"]
    auc: float
    unit: str
    definition: str


@dataclass(frozen=True, eq=False)
class FrameCurve:
    """Share of frames in which no joint of a set of 2D keypoints is farther off than each threshold (S2HAND(V) Fig. 7).

    `keypoints` names the set, `against` what it is compared with. Thresholds, and `mean_px`, the mean distance of all
    joints of the `frames`, are in pixels of a crop of 224 about the hand.
    """

    keypoints: str
    against: str
    thresholds: Float[np.ndarray, " T"]
    share: Float[np.ndarray, " T"]
    mean_px: float
    frames: int


@dataclass(frozen=True, eq=False)
class SequenceLooks:
    """One sequence's shape parameters, and the S.D. over its frames of each face's lighted colour.

    `texture_sd` is the mean over R, G and B in 0..255, None where predictions have no texture.
    """

    name: str
    betas: Float[np.ndarray, "T 10"]
    texture_sd: Float[np.ndarray, " 1538"] | None


@dataclass(frozen=True, eq=False)
class Scores:
    """One method under one protocol.

    `summary` is the flat object of metrics.json (keys end in their unit); `per_sample` holds NaN where a sample has no
    value; `per_joint` mean errors per point; `counts` what entered and what did not; `warnings` suspicions;
    `frame_curves` and `looks` what predictions of handkit's own say beside.
    """

    method: str
    protocol: str
    definition: str
    ids: tuple[str, ...]
    summary: dict[str, float | int | None]
    per_sample: dict[str, Float[np.ndarray, " N"]]
    curves: tuple[Curve, ...] = ()
    per_joint: dict[str, Float[np.ndarray, " J"]] = field(default_factory=dict)
    sequences: tuple[str, ...] | None = None
    counts: dict[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    frame_curves: tuple[FrameCurve, ...] = ()
    looks: tuple[SequenceLooks, ...] = ()
