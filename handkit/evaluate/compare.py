"""Two methods on the same samples: differences with paired bootstrap intervals."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from jaxtyping import Float, Int

from handkit.evaluate.scores import Scores

RESAMPLES: Final = 2000
LEVEL: Final = 0.95
# Rows drawn at once; 2,000 draws of 100,000 samples would be 1.6 GB.
_DRAWN_AT_ONCE: Final = 4_000_000


def compare_methods(
    scores: Sequence[Scores], *, resamples: int = RESAMPLES, level: float = LEVEL, seed: int = 0
) -> list[dict[str, Any]]:
    """Every method against the first: one row per metric that both have for some common sample.

    A row holds `metric, method, baseline, difference` (method minus baseline, of means over the samples that both
    have), `low, high` (percentile interval), `level, resamples, units` ("samples" or "sequences", which are drawn
    whole) and `count` (how many of them). An AUC here is the mean over samples, so it may differ from the summary's
    mean over keypoints where not all points are annotated. Methods must have the same samples in the same order.
    """
    baseline = scores[0]
    return [row for other in scores[1:] for row in _against(baseline, other, resamples, level, seed)]


def _against(baseline: Scores, other: Scores, resamples: int, level: float, seed: int) -> list[dict[str, Any]]:
    if baseline.ids != other.ids:
        raise ValueError(f"{baseline.method} and {other.method} were not scored on the same samples")
    by_key = {
        key: other.per_sample[key] - values
        for key, values in baseline.per_sample.items()
        if key in other.per_sample and not key.startswith("acc_true")
    }
    keys = [key for key, values in by_key.items() if np.isfinite(values).any()]
    if not keys:
        return []
    differences = np.stack([by_key[key] for key in keys], axis=1)
    known = np.isfinite(differences)
    groups = _groups(baseline)
    sums, counts = (_grouped(np.where(known, values, 0), groups) for values in (differences, known.astype(np.float64)))
    means = resampled_means(sums, counts, resamples=resamples, seed=seed)
    tail = (1 - level) / 2
    # A resample in which a rare metric does not occur says nothing about it.
    low, high = np.nanquantile(means, (tail, 1 - tail), axis=0)
    return [
        {
            "metric": key,
            "method": other.method,
            "baseline": baseline.method,
            "difference": float(sums[:, i].sum() / counts[:, i].sum()),
            "low": float(low[i]),
            "high": float(high[i]),
            "level": level,
            "resamples": resamples,
            "units": "samples" if baseline.sequences is None else "sequences",
            "count": int((counts[:, i] > 0).sum()),
        }
        for i, key in enumerate(keys)
    ]


def resampled_means(
    sums: Float[np.ndarray, "G M"], counts: Float[np.ndarray, "G M"], *, resamples: int, seed: int
) -> Float[np.ndarray, "R M"]:
    """Means of M values over G units drawn with replacement; NaN where a draw has no value."""
    rng = np.random.default_rng(seed)
    units = len(sums)
    means = np.empty((resamples, sums.shape[1]))
    step = max(1, _DRAWN_AT_ONCE // units)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = rng.integers(units, size=(rows, units)) + units * np.arange(rows)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=rows * units).reshape(rows, units).astype(np.float64)
        total = weights @ counts
        means[start : start + rows] = weights @ sums / np.where(total > 0, total, np.nan)
    return means


def _groups(scores: Scores) -> Int[np.ndarray, " N"]:
    if scores.sequences is None:
        return np.arange(len(scores.ids))
    return np.unique(np.asarray(scores.sequences), return_inverse=True)[1].reshape(-1)


def _grouped(values: Float[np.ndarray, "N M"], groups: Int[np.ndarray, " N"]) -> Float[np.ndarray, "G M"]:
    total = np.zeros((int(groups.max()) + 1, values.shape[1]))
    np.add.at(total, groups, values)
    return total
