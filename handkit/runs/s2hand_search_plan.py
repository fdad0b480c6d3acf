"""Which weights the search of S2HAND's supplement (section 1) tries, in which order; how they are tried is given to it.

Weights are the supplement's phi: what multiplies a term, counted so that E_loc begins at 1.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from handkit.errors import HandkitError

Weights = dict[str, float]

SYMBOLS: Final = {
    "location": "E_loc",
    "orientation": "E_ori",
    "shape": "E_beta",
    "scale": "E_s",
    "limits": "E_J",
    "estimated": "E_2d",
    "consistency": "E_cons",
    "pixel": "E_pixel",
    "ssim": "E_SSIM",
    "texture": "E_C",  # with E_beta in the supplement; but no texture is learned before pixels are
    "quaternion": "E_quat",
    "texture_shape": "E_T&S",
}
ORDER: Final = tuple(SYMBOLS)
GROUPS: Final = {
    "E_loc": ("location",),
    "E_regu": ("shape", "texture", "scale", "limits"),
    "E_ori": ("orientation",),
    "E_2d & E_cons": ("estimated", "consistency"),
    "E_photo": ("pixel", "ssim"),
    "E_quat": ("quaternion",),
    "E_T&S": ("texture_shape",),
}
OF_VIDEO: Final = ("quaternion", "texture_shape")


class Outcome(NamedTuple):
    """What a training came to: terms without their weights, metrics, and the one that counts (less is better).

    A training whose loss was not finite has neither, and an infinite `performance`.
    """

    losses: dict[str, float]
    metrics: dict[str, float]
    performance: float


Try = Callable[[Weights, str], Outcome]  # weights, and what they are tried for, in words


@dataclass
class Walk:
    """The search of one term's weight; `trials` by weight in the order in which they were made."""

    term: str
    determined: Weights
    trials: dict[float, Outcome] = field(default_factory=dict)

    def make(self, attempt: Try, weight: float) -> Outcome:
        told = f"{SYMBOLS[self.term]} weighs {weight:g}"
        self.trials[weight] = attempt({**self.determined, self.term: weight}, told)
        return self.trials[weight]

    def determined_sum(self, outcome: Outcome) -> float:
        """The sum of the weighted losses whose weights were determined before."""
        return weighted_sum(self.determined, outcome)

    def improves(self, outcome: Outcome, before: Outcome) -> bool:
        """Whether the sum falls, or the performance improves."""
        falls = self.determined_sum(outcome) < self.determined_sum(before)
        return falls or outcome.performance < before.performance

    @property
    def kept(self) -> float:
        """The weight of the best performance; of equal ones that of the lowest sum, then the one tried first."""
        return min(self.trials, key=lambda weight: self._rank(self.trials[weight]))

    def _rank(self, outcome: Outcome) -> tuple[float, float]:
        return outcome.performance, self.determined_sum(outcome)

    @property
    def weights(self) -> Weights:
        return {**self.determined, self.term: self.kept}


@dataclass
class Grid:
    """All combinations of one group's candidates, in their order; `before` are the weights that they multiply."""

    name: str
    terms: tuple[str, ...]
    before: Weights
    trials: list[tuple[Weights, Outcome]] = field(default_factory=list)

    @property
    def best(self) -> tuple[Weights, Outcome]:
        """The first of the best performance, the weights before where that is theirs."""
        return min(self.trials, key=lambda trial: (trial[1].performance, trial[0] != self.before))


@dataclass(frozen=True)
class Variation:
    """Weights of which one is multiplied by `factor`; the selected ones themselves have no `terms`."""

    terms: tuple[str, ...]
    factor: float
    weights: Weights


def walk_weights(attempt: Try, terms: Sequence[str], *, fallback: Weights, step: float, most: int) -> Iterator[Walk]:
    """Determine one weight after another, the first being 1.

    Each begins where the weighted term is as large as the sum of those determined before (`fallback` where the term is
    zero there), in whole powers of `step`, and goes up, then down, until neither the sum falls nor the performance
    improves from one weight to the next. Raises HandkitError where nothing can be learned with any weight.
    """
    weights = {terms[0]: 1.0}
    last = attempt(weights, f"{SYMBOLS[terms[0]]} alone")
    for term in terms[1:]:
        walk = Walk(term, dict(weights))
        begin = _begin(walk, last, step) or fallback[term]
        walk.make(attempt, begin)
        for direction in (step, 1 / step):
            weight = begin
            for _ in range(most):
                before, weight = walk.trials[weight], tidy(weight * direction)
                found = walk.make(attempt, weight)
                is_too_large = direction < 1 and not math.isfinite(found.performance)
                if not is_too_large and not walk.improves(found, before):
                    break
        last, weights = walk.trials[walk.kept], walk.weights
        if not math.isfinite(last.performance):
            raise HandkitError(f"no weight of {SYMBOLS[term]} gives finite losses", "lower --set search.lr")
        yield walk


def refine_groups(attempt: Try, weights: Weights, candidates: Sequence[float]) -> Iterator[Grid]:
    """Grids of one group of terms after another; the best of each is kept for the next."""
    for name, terms in groups_of(weights).items():
        grid = Grid(name, terms, weights)
        for factors in itertools.product(candidates, repeat=len(terms)):
            changes = {term: tidy(factor * weights[term]) for term, factor in zip(terms, factors, strict=True)}
            told = ", ".join(f"{SYMBOLS[term]} x {factor:g}" for term, factor in zip(terms, factors, strict=True))
            tried = {**weights, **changes}
            grid.trials.append((tried, attempt(tried, told)))
        weights = grid.best[0]
        yield grid


def vary_weights(weights: Weights, factors: Sequence[float]) -> list[Variation]:
    """The rows of Table 10: for video without its own terms, then the weights as they are, then one changed in each."""
    rows = [Variation((), 1.0, weights)]
    own = tuple(term for term in OF_VIDEO if term in weights)
    if own:
        rows.insert(0, Variation(own, 0.0, {term: value for term, value in weights.items() if term not in own}))
    for term in (term for term in ORDER if term in weights):
        rows += [Variation((term,), factor, {**weights, term: tidy(factor * weights[term])}) for factor in factors]
    return rows


def groups_of(terms: Sequence[str] | Weights) -> dict[str, tuple[str, ...]]:
    """The groups with those of their terms that are searched."""
    found = {name: tuple(term for term in group if term in terms) for name, group in GROUPS.items()}
    return {name: group for name, group in found.items() if group}


def refinement_trials(terms: Sequence[str], candidates: int) -> int:
    """105 for S2HAND, 111 for S2HAND(V), of three candidates."""
    return sum(candidates ** len(group) for group in groups_of(terms).values())


def initial_trials(terms: Sequence[str], most: int) -> tuple[int, int]:
    """At least and at most."""
    return 1 + 3 * (len(terms) - 1), 1 + (1 + 2 * most) * (len(terms) - 1)


def weighted_sum(weights: Weights, outcome: Outcome) -> float:
    """Infinite where the training failed."""
    if not outcome.losses:
        return math.inf
    return sum(weight * outcome.losses[term] for term, weight in weights.items())


def tidy(weight: float) -> float:
    """Six digits, so that a weight reached in two ways is one."""
    return float(f"{weight:.6g}")


def _begin(walk: Walk, last: Outcome, step: float) -> float | None:
    """Where the term is as large as the sum of the others; None where it, or the sum, is zero."""
    total, own = walk.determined_sum(last), last.losses.get(walk.term, 0.0)
    if not (0 < total < math.inf and own > 0):
        return None
    return tidy(step ** round(math.log(total / own, step)))
