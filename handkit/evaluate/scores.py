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
class Scores:
    """One method under one protocol.

    `summary` is the flat object of metrics.json (keys end in their unit); `per_sample` holds NaN where a sample has no
    value; `per_joint` mean errors per point; `counts` what entered and what did not; `warnings` suspicions.
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
