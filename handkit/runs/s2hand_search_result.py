"""What a search of S2HAND's loss weights found so far."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from handkit.methods.s2hand_recipe import S2HandRecipe
from handkit.runs.result import INTERRUPTED
from handkit.runs.s2hand_data import GatheredData
from handkit.runs.s2hand_search_plan import (
    Grid,
    Outcome,
    Variation,
    Walk,
    Weights,
    initial_trials,
    refinement_trials,
    vary_weights,
)
from handkit.runs.s2hand_trials import Trials

FOLDER: Final = "search"


@dataclass(eq=False)
class SearchResult:
    """What the phases found so far; `weights` are the last ones, `factors` the same as the recipe's `loss.factors`."""

    out: Path
    stage: str
    settings: S2HandRecipe
    data: GatheredData
    terms: tuple[str, ...]
    weights: Weights
    dry_run: bool
    factors: dict[str, float] = field(default_factory=dict)
    has_truth: bool = False
    walks: list[Walk] = field(default_factory=list)
    grids: list[Grid] = field(default_factory=list)
    variations: list[tuple[Variation, Outcome]] = field(default_factory=list)
    trials: Trials | None = None
    best: Path | None = None
    interrupted: bool = False

    @property
    def exit_code(self) -> int:
        """0 done, 1 a part of the data could not be read, 130 interrupted."""
        return INTERRUPTED if self.interrupted else int(self.data.has_failures)

    @property
    def planned(self) -> dict[str, tuple[int, int]]:
        """The trials of each phase, at least and at most."""
        search, terms = self.settings.search, self.terms
        grid = refinement_trials(terms, len(search.candidates))
        rows = len(vary_weights(dict.fromkeys(terms, 1.0), search.sensitivity))
        counts = {"initial": initial_trials(terms, search.most_steps), "refinement": (grid, grid)}
        counts["sensitivity"] = (rows, rows)
        return {phase: count for phase, count in counts.items() if phase in search.phases}

    @property
    def performance(self) -> str:
        """The metric that trials are compared by."""
        return "joints_3d_pa_mm" if self.has_truth else "projected_px"

    @property
    def summary(self) -> dict[str, Any]:
        trials = self.trials
        return {
            "out": str(self.out / FOLDER),
            "dry_run": self.dry_run,
            "interrupted": self.interrupted,
            "data": self.data.to_json(),
            "terms": list(self.terms),
            "planned_trials": {phase: {"least": low, "most": high} for phase, (low, high) in self.planned.items()},
            "trials": None if trials is None else {"made": trials.made, "known": trials.known, "failed": trials.failed},
            "performance": None if self.dry_run else self.performance,
            **self._phases(),
            "weights": self.weights,
            "factors": self.factors,
            "best": None if self.best is None else str(self.best),
        }

    def _phases(self) -> dict[str, Any]:
        """What each phase found."""
        return {
            "initial": [
                {
                    "term": walk.term,
                    "determined": walk.determined,
                    "kept": walk.kept,
                    "trials": [
                        {"weight": weight, "determined_sum": _finite(walk.determined_sum(found)), **_to_json(found)}
                        for weight, found in sorted(walk.trials.items())
                    ],
                }
                for walk in self.walks
            ],
            "refinement": [
                {
                    "group": grid.name,
                    "kept": {term: grid.best[0][term] for term in grid.terms},
                    "trials": [
                        {"weights": {term: weights[term] for term in grid.terms}, **_to_json(found)}
                        for weights, found in grid.trials
                    ],
                }
                for grid in self.grids
            ],
            "sensitivity": [
                {"terms": list(row.terms), "factor": row.factor, **_to_json(found)} for row, found in self.variations
            ],
        }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _to_json(found: Outcome) -> dict[str, Any]:
    return {"performance": _finite(found.performance), "metrics": found.metrics, "losses": found.losses}
