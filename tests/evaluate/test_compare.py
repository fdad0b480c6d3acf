"""Paired bootstrap: intervals where theory knows them, sequences drawn whole."""

import numpy as np
import pytest

from handkit.evaluate.compare import compare_methods
from handkit.evaluate.scores import Scores


def scores(method: str, values: np.ndarray, sequences: tuple[str, ...] | None = None) -> Scores:
    ids = tuple(map(str, range(len(values))))
    return Scores(method, "p", "d", ids, {}, {"mpjpe_mm": values}, sequences=sequences)


def test_the_interval_is_that_of_the_differences_not_of_the_methods() -> None:
    rng = np.random.default_rng(0)
    hard = rng.normal(10, 5, 400)  # shared by both, cancels in the pairs
    a, b = scores("a", hard), scores("b", hard + rng.normal(-0.5, 1, 400))
    (row,) = compare_methods([a, b])
    difference = b.per_sample["mpjpe_mm"] - a.per_sample["mpjpe_mm"]
    error = 1.96 * difference.std() / 20
    assert row["difference"] == pytest.approx(difference.mean())
    assert (row["low"], row["high"]) == pytest.approx((difference.mean() - error, difference.mean() + error), abs=0.02)
    assert (row["method"], row["baseline"], row["count"], row["units"]) == ("b", "a", 400, "samples")
    assert compare_methods([a, b]) == compare_methods([a, b])


def test_samples_that_one_lacks_do_not_count() -> None:
    a, b = np.array([1.0, 2, np.nan, 4]), np.array([2.0, np.nan, 9, 5])
    (row,) = compare_methods([scores("a", a), scores("b", b)])
    assert row["difference"] == 1
    assert row["count"] == 2
    assert compare_methods([scores("a", a), scores("b", np.full(4, np.nan))]) == []


def test_sequences_are_drawn_whole() -> None:
    sequences = tuple(name for name in "abcde" for _ in range(50))
    by_sequence = np.repeat([0.0, 1, 2, 3, 4], 50)
    nothing = np.zeros(250)
    (alone,) = compare_methods([scores("a", nothing), scores("b", by_sequence)])
    (whole,) = compare_methods([scores("a", nothing, sequences), scores("b", by_sequence, sequences)])
    assert whole["units"] == "sequences"
    assert whole["count"] == 5
    assert whole["high"] - whole["low"] > 4 * (alone["high"] - alone["low"])
