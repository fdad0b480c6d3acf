"""How a metric's key is read: its name on paper, unit, digits, and which way is better."""

import math
import re
from collections.abc import Iterable, Sequence
from typing import Final, Literal, NamedTuple

import numpy as np

from handkit.evaluate.scores import Curve, Scores

Better = Literal["lower", "higher"]

ARROWS: Final[dict[Better | None, str]] = {"lower": "↓", "higher": "↑", None: ""}
# What samples are ranked by where that is not the first distance that a protocol gives.
_RANKED_BY: Final = {"freihand": "pa_mpjpe_mm", "ho3d": "pa_mpjpe_mm"}

_ALIGNMENTS: Final = {"pa_": "PA-", "pr_": "PA (rotation)-", "st_": "ST-", "ra_": "RA-", "cs_": "CS-"}
_UNITS: Final = {
    "_mm_per_frame2": "mm/frame²",
    "_mm_per_s2": "mm/s²",
    "_mm": "mm",
    "_cm": "cm",
    "_px": "px",
    "_deg": "°",
    "_rad": "rad",
    "_s": "s",
}
_WORDS: Final = {
    "mpjpe": "MPJPE",
    "mpvpe": "MPVPE",
    "epe": "EPE",
    "epe_2d": "2D EPE",
    "auc": "AUC",
    "auc_j": "AUC, joints",
    "auc_v": "AUC, vertices",
    "auc_2d": "AUC, 2D",
    "acc": "ACC",
    "acc_err": "ACC-ERR",
    "acc_true": "ACC of the truth",
    "iou": "mask IoU",
    "mask_iou": "mask IoU",
    "pixel_accuracy": "pixel accuracy",
    "quaternion": "quaternion loss",
    "shape_sd": "shape S.D.",
    "texture_sd": "texture S.D.",
    "detections": "2D distance to detections",
}
_HIGHER: Final = ("auc", "f_score", "pck", "iou", "accuracy", "within", "rate")
_NO_VALUE: Final = "–"
_NEITHER: Final = ("acc_true",)


class Metric(NamedTuple):
    """`label` without the unit; `better` is None for what is neither good nor bad."""

    label: str
    unit: str
    better: Better | None
    decimals: int

    @property
    def title(self) -> str:
        return f"{self.label} [{self.unit}]" if self.unit else self.label


def metric(key: str) -> Metric:
    """The metric that a summary's key names; an unknown key keeps its own words."""
    if key.startswith("count") or key.endswith("_count"):
        return Metric("samples" if key == "count" else key.replace("_", " "), "", None, 0)
    prefix = alignment_prefix(key)
    rest, alignment = key[len(prefix) :], _ALIGNMENTS.get(prefix, "")
    if found := re.fullmatch(r"f_score_([\d.]+)mm", rest):
        return Metric(f"{alignment}F @ {found[1]} mm", "", "higher", 3)
    unit = ""
    for suffix, name in _UNITS.items():
        if rest.endswith(suffix):
            rest, unit = rest[: -len(suffix)], name
            break
    better: Better | None = "higher" if any(word in rest for word in _HIGHER) else "lower"
    better = None if rest in _NEITHER else better
    decimals = 3 if unit in ("", "rad") else 2
    return Metric(alignment + _WORDS.get(rest, rest.replace("_", " ")), unit, better, decimals)


def number(value: object, decimals: int) -> str:
    """A value as it is printed; a dash where there is none."""
    if not isinstance(value, int | float | np.number) or not math.isfinite(value):
        return _NO_VALUE
    return f"{value:,.{decimals}f}"


def best(values: Sequence[object], better: Better | None) -> set[int]:
    """Which of several methods' values is the best; none where there is nothing to choose."""
    finite = {i: float(v) for i, v in enumerate(values) if isinstance(v, int | float | np.number) and math.isfinite(v)}
    if better is None or len(finite) < 2:
        return set()
    top = (min if better == "lower" else max)(finite.values())
    return {i for i, value in finite.items() if value == top}


def alignment_prefix(key: str) -> str:
    """What the key of an aligned metric begins with; empty for the others."""
    return next((prefix for prefix in _ALIGNMENTS if key.startswith(prefix)), "")


def ranking_key(scores: Sequence[Scores]) -> str | None:
    """The per-sample metric by which the report ranks: one that every method has, a distance before all others."""
    shared = [key for key in scores[0].per_sample if all(key in score.per_sample for score in scores)]
    usable = [key for key in shared if all(np.isfinite(score.per_sample[key]).any() for score in scores)]
    distances = [key for key in usable if key.endswith(("_mm", "_px"))]
    for key in (_RANKED_BY.get(scores[0].protocol), *distances, *usable):
        if key in usable:
            return key
    return None


def has_value(scores: Sequence[Scores], key: str) -> bool:
    """Whether the mean of a metric is known for any of the methods."""
    return any(number(score.summary.get(key), 0) != _NO_VALUE for score in scores)


def badness(key: str, values: np.ndarray) -> np.ndarray:
    """The values turned so that the largest is the worst, NaN kept."""
    return -values if metric(key).better == "higher" else values


def auc_range(curve: Curve) -> str:
    """The range of a curve's AUC, as "0–50 mm"."""
    low, high = curve.thresholds[0], curve.thresholds[-1]
    return f"{low:g}–{high:g} {curve.unit}"


def unique(keys: Iterable[str]) -> list[str]:
    """The keys in their first order, once each."""
    return list(dict.fromkeys(keys))
