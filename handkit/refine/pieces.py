"""What an unfinished run has refined so far: a hidden folder beside the result, a file per batch, gone at the end."""

import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from handkit.files import atomic_path
from handkit.refine.results import FIGURES, Outcome

_FOLDER: Final = ".refine.parts"
Place = tuple[int, int]
"""View and row."""


class Pieces:
    """Batches kept under the fingerprint of what they were made from; those of anything else are dropped."""

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self._folder, self._stem, self._count = folder / _FOLDER, f"{fingerprint}_", 0

    def load(self) -> dict[Place, Outcome]:
        """All outcomes of earlier runs that did the same."""
        found: dict[Place, Outcome] = {}
        for path in sorted(self._folder.glob("*.npz")):
            try:
                if not path.name.startswith(self._stem):
                    path.unlink()
                    continue
                with np.load(path, allow_pickle=False) as archive:
                    found |= _outcomes({name: archive[name] for name in archive.files})
                self._count += 1
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
                path.unlink(missing_ok=True)
        return found

    def save(self, places: Sequence[Place], outcomes: Sequence[Outcome]) -> None:
        """Write one batch, whole or not at all."""
        arrays: dict[str, np.ndarray] = {
            "place": np.array(places, np.int64),
            "status": np.array([outcome.status for outcome in outcomes]),
            "why": np.array([outcome.why for outcome in outcomes]),
            "views": np.array([outcome.views for outcome in outcomes], np.int64),
            "figures": np.array([[getattr(outcome, name) for name in FIGURES] for outcome in outcomes]),
        }
        given = [outcome.arrays for outcome in outcomes if outcome.arrays is not None]
        for name in given[0] if given else ():
            arrays[f"hand.{name}"] = np.stack([hand[name] for hand in given])
        with atomic_path(self._folder / f"{self._stem}{self._count:06d}.npz") as partial, partial.open("wb") as file:
            np.savez(file, **arrays)
        self._count += 1

    def remove(self) -> None:
        """The result is written: nothing to resume."""
        shutil.rmtree(self._folder, ignore_errors=True)


def _outcomes(arrays: dict[str, np.ndarray]) -> dict[Place, Outcome]:
    found: dict[Place, Outcome] = {}
    hand = 0
    for i, (view, row) in enumerate(arrays["place"].tolist()):
        values = None
        if arrays["status"][i] == "refined":
            values = {name[5:]: column[hand] for name, column in arrays.items() if name.startswith("hand.")}
            hand += 1
        figures = dict(zip(FIGURES, arrays["figures"][i].tolist(), strict=True))
        status, why, views = str(arrays["status"][i]), str(arrays["why"][i]), int(arrays["views"][i])
        found[view, row] = Outcome(status, why, arrays=values, views=views, **figures)  # type: ignore[arg-type]
    return found
