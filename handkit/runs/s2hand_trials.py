"""The trials of a search of S2HAND's loss weights, each made once and kept in a file."""

import json
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from handkit.errors import HandkitError
from handkit.files import atomic_path
from handkit.gather.options import hash_of
from handkit.methods.s2hand_recipe import term_weights
from handkit.runs.s2hand_overfit import Overfit, Samples
from handkit.runs.s2hand_search_plan import Outcome, Weights

logger = logging.getLogger(__name__)

TRIALS: Final = "trials.jsonl"
_OF_LOGS: Final = {"log_every", "validate_every", "save_every", "tensorboard", "half_weights", "compile"}


class Trials:
    """The trials that `folder` holds; those it lacks are made, and written there at once.

    A trial is another whenever anything that decides it is: `decisive`, the weights, the samples, what is measured.
    """

    def __init__(self, folder: Path, overfit: Overfit, decisive: Any, say: Callable[[str], None]) -> None:
        self.path, self.overfit, self.decisive, self.say = folder / TRIALS, overfit, decisive, say
        self._rows = _read(self.path)
        self._known = {row["key"]: row for row in self._rows}
        self.made = self.known = self.failed = 0

    def attempt(self, weights: Weights, told: str, samples: Samples, *, on_held_out: bool = False) -> Outcome:
        """What a training with these weights comes to."""
        key = self._key(weights, samples, on_held_out)
        if key in self._known:
            self.known += 1
        else:
            row = self._make(weights, told, samples, on_held_out)
            self._known[key] = {"key": key, "told": told, "weights": weights, **row}
            self._rows.append(self._known[key])
            self._write()
            self.made += 1
        row = self._known[key]
        self.failed += row["failed"] is not None
        performance = math.inf if row["performance"] is None else row["performance"]
        return Outcome(row["losses"], row["metrics"], performance)

    def _make(self, weights: Weights, told: str, samples: Samples, on_held_out: bool) -> dict[str, Any]:
        began, failed, found = time.monotonic(), None, Outcome({}, {}, math.inf)
        try:
            network = self.overfit.train(weights, samples)
        except HandkitError as error:
            failed = error.what
        else:
            found = self.overfit.measure(network, samples, on_held_out=on_held_out)
            if not math.isfinite(found.performance) or not all(map(math.isfinite, found.losses.values())):
                failed, found = "the network's answers are not finite", Outcome({}, {}, math.inf)
        seconds = time.monotonic() - began
        ended = f"failed: {failed}" if failed else " ".join(f"{k} {v:.4g}" for k, v in found.metrics.items())
        self.say(f"{told}: {ended} ({seconds:.1f} s)")
        return {
            "losses": found.losses,
            "metrics": found.metrics,
            "performance": found.performance if math.isfinite(found.performance) else None,
            "failed": failed,
            "seconds": round(seconds, 2),
        }

    def _key(self, weights: Weights, samples: Samples, on_held_out: bool) -> str:
        loss = self.overfit.settings.loss.model_copy(update={"factors": self.overfit.factors(weights)})
        effective = {term: f"{value:.6g}" for term, value in term_weights(loss, self.overfit.frames).items() if value}
        training = self.overfit.recipe(samples).model_dump(mode="json", exclude=_OF_LOGS)
        held_out = self.overfit.settings.data.validation_hands if on_held_out else None
        return hash_of(self.decisive, effective, training, len(samples.whole["image"]), held_out)

    def _write(self) -> None:
        with atomic_path(self.path) as partial:
            partial.write_text("".join(json.dumps(row) + "\n" for row in self._rows), encoding="utf-8")


def _read(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(dict(json.loads(line)))
        except ValueError:
            logger.warning("%s: a line that is none of a trial is left out", path)
    return rows
