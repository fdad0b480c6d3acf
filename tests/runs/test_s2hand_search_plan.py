"""The search's plan against the supplement's own tables, and on objectives that are known."""

import itertools
import math
from collections.abc import Callable

import pytest

from handkit.errors import HandkitError
from handkit.runs.s2hand_search_plan import (
    ORDER,
    Outcome,
    Walk,
    Weights,
    groups_of,
    initial_trials,
    refine_groups,
    refinement_trials,
    vary_weights,
    walk_weights,
)

OF_IMAGES = tuple(term for term in ORDER if term not in ("quaternion", "texture_shape"))
FAILED = Outcome({}, {}, math.inf)


class Told:
    """An objective that keeps what it was asked."""

    def __init__(self, answer: Callable[[Weights], Outcome]) -> None:
        self.answer = answer
        self.asked: list[tuple[Weights, str]] = []

    def __call__(self, weights: Weights, told: str) -> Outcome:
        self.asked.append((dict(weights), told))
        return self.answer(weights)


def walks(objective: Told, *terms: str, most: int = 4, **fallback: float) -> list[Walk]:
    return list(walk_weights(objective, terms, fallback=fallback, step=10, most=most))


def outcome(performance: float, **losses: float) -> Outcome:
    return Outcome({"location": 1.0, "orientation": 1.0, **losses}, {}, performance)


# phi, the weighted losses, MPJPE in cm: Tables 11 and 12.
TABLE_11 = {
    10: ((12.313, 0.260), 1.242),
    100: ((10.435, 1.436), 1.015),
    1000: ((13.027, 13.881), 1.241),
    10000: ((26.325, 168.093), 1.647),
}
TABLE_12 = {
    10: ((11.178, 1.916, 0.229), 1.017),
    100: ((9.830, 2.119, 1.596), 0.927),
    1000: ((12.035, 1.556, 4.079), 1.107),
    10000: ((13.632, 1.374, 14.670), 1.243),
}


def of_tables(weights: Weights) -> Outcome:
    phi = weights.get("orientation")
    if phi is None:
        return Outcome({"location": 13.0, "orientation": 0.0139, "limits": 1.0}, {}, 1.3)
    if "limits" not in weights:
        (location, orientation), mpjpe = TABLE_11[int(phi)]
        losses = {"location": location, "orientation": orientation / phi, "limits": 0.009}
        return Outcome(losses, {}, mpjpe)
    (location, orientation, limits), mpjpe = TABLE_12[int(weights["limits"])]
    return Outcome({"location": location, "orientation": orientation / phi, "limits": limits / 1000}, {}, mpjpe)


def test_the_supplements_tables_are_walked_as_they_are_printed() -> None:
    objective = Told(of_tables)
    first, second = walks(objective, "location", "orientation", "limits")
    assert list(first.trials) == [1000, 10000, 100, 10]
    assert list(second.trials) == [1000, 10000, 100, 10]
    assert (first.kept, second.kept) == (100, 100)
    assert second.weights == {"location": 1, "orientation": 100, "limits": 100}
    # "phi_loc E_loc is excluded" is the caption's slip: the printed sums are of the losses determined before.
    assert [first.determined_sum(first.trials[phi]) for phi in TABLE_11] == [12.313, 10.435, 13.027, 26.325]
    sums = [second.determined_sum(second.trials[phi]) for phi in TABLE_12]
    assert sums == pytest.approx([13.094, 11.949, 13.591, 15.006], abs=2e-3)
    assert objective.asked[0] == ({"location": 1.0}, "E_loc alone")


def test_terms_are_determined_in_order_and_then_fixed() -> None:
    objective = Told(lambda weights: Outcome(dict.fromkeys(ORDER, 1.0), {}, 1.0))
    found = walks(objective, *ORDER)
    assert tuple(walk.term for walk in found) == ORDER[1:]
    assert ORDER[:2] == ("location", "orientation")
    for walk, later in itertools.pairwise(found):
        assert later.determined == walk.weights
    low, high = initial_trials(ORDER, 4)
    assert low == len(objective.asked) == 1 + 3 * 11
    assert high == 1 + 9 * 11


@pytest.mark.parametrize(("total", "begin"), [(3.0, 1.0), (3.3, 10.0), (0.03, 0.01), (2000.0, 1000.0)])
def test_a_walk_begins_where_magnitudes_are_equal(total: float, begin: float) -> None:
    (walk,) = walks(Told(lambda _: outcome(1.0, location=total)), "location", "orientation")
    assert next(iter(walk.trials)) == begin


def test_a_term_that_is_zero_begins_with_the_recipes_weight() -> None:
    (walk,) = walks(Told(lambda _: outcome(1.0, orientation=0.0)), "location", "orientation", orientation=7.0)
    assert list(walk.trials) == [7, 70, 0.7]


def test_a_walk_goes_on_while_the_sum_or_the_performance_improves() -> None:
    # Upwards the performance improves thrice, while the sum rises; downwards the sum falls without end.
    def answer(weights: Weights) -> Outcome:
        phi = weights.get("orientation", 1.0)
        return outcome(-min(phi, 1000.0) if phi >= 1 else 0.0, location=max(1.0, phi) if phi >= 1 else phi)

    (walk,) = walks(Told(answer), "location", "orientation", most=5)
    assert list(walk.trials) == [1, 10, 100, 1000, 10000, 0.1, 0.01, 0.001, 0.0001, 0.00001]
    assert walk.kept == 1000


def test_of_equal_trials_the_first_is_kept() -> None:
    (walk,) = walks(Told(lambda _: outcome(2.0)), "location", "orientation")
    assert (list(walk.trials), walk.kept) == ([1, 10, 0.1], 1)


@pytest.mark.parametrize(
    ("fails_from", "tried", "kept"),
    [(10, [1, 10, 0.1], 1), (1, [1, 10, 0.1, 0.01], 0.1), (0.1, [1, 10, 0.1, 0.01, 0.001], 0.01)],
)
def test_what_is_not_finite_is_passed_over(fails_from: float, tried: list[float], kept: float) -> None:
    objective = Told(lambda weights: FAILED if weights.get("orientation", 0) >= fails_from else outcome(3.0))
    (walk,) = walks(objective, "location", "orientation")
    assert (list(walk.trials), walk.kept) == (tried, kept)


def test_nothing_finite_is_an_error() -> None:
    objective = Told(lambda weights: FAILED if len(weights) > 1 else outcome(1.0))
    with pytest.raises(HandkitError, match="no weight of E_ori"):
        walks(objective, "location", "orientation")


def test_the_published_counts_of_the_refinement() -> None:
    assert refinement_trials(OF_IMAGES, 3) == 105
    assert refinement_trials(ORDER, 3) == 111
    assert [len(group) for group in groups_of(ORDER).values()] == [1, 4, 1, 2, 2, 1, 1]


def test_the_refinement_finds_the_best_of_each_group_and_keeps_it() -> None:
    goal = {term: 2.0 if number % 2 else 0.5 for number, term in enumerate(ORDER)}

    def answer(weights: Weights) -> Outcome:
        return Outcome({}, {}, sum(abs(math.log(weights[term] / goal[term])) for term in ORDER))

    objective = Told(answer)
    grids = list(refine_groups(objective, dict.fromkeys(ORDER, 1.0), (0.5, 1.0, 2.0)))
    assert len(objective.asked) == 111
    assert grids[-1].best[0] == goal
    assert [grid.before for grid in grids[1:]] == [grid.best[0] for grid in grids[:-1]]
    assert grids[1].terms == ("shape", "texture", "scale", "limits")


def test_a_refinement_that_changes_nothing_keeps_the_weights() -> None:
    weights = {"location": 1.0, "orientation": 100.0}
    grids = list(refine_groups(Told(lambda _: outcome(1.0)), weights, (0.5, 1.0, 2.0)))
    assert grids[-1].best[0] == weights


def test_the_sensitivity_has_the_rows_of_table_10() -> None:
    weights = dict.fromkeys(ORDER, 3.0)
    rows = vary_weights(weights, (0.5, 2.0))
    assert len(rows) == 26
    assert rows[0].weights == dict.fromkeys(OF_IMAGES, 3.0)
    assert rows[1].weights == weights
    for row in rows[2:]:
        changed = {term: value for term, value in row.weights.items() if value != 3.0}
        assert changed == {row.terms[0]: 3.0 * row.factor}
    assert len(vary_weights(dict.fromkeys(OF_IMAGES, 3.0), (0.5, 2.0))) == 21
