"""Samples that are left out of the scores by name."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from handkit.data.hands import HandSet
from handkit.errors import HandkitError
from handkit.evaluate.matching import match_names
from handkit.evaluate.scores import Scores


def kept_rows(truth: HandSet, excluded: tuple[str, ...]) -> np.ndarray | None:
    """Rows that are not excluded by name, or by the names that a file lists, one a line; None where all stay."""
    if not excluded:
        return None
    names: list[str] = []
    for entry in excluded:
        names += _listed(Path(entry)) if Path(entry).is_file() else [entry]
    names = list(dict.fromkeys(names))
    rows = match_names(truth.ids, names)
    unknown = [name for name, row in zip(names, rows.tolist(), strict=True) if row < 0]
    if unknown:
        raise HandkitError(
            f"--exclude {', '.join(unknown[:3])}: {len(unknown)} of {len(names)} names are no sample of the truth",
            f"its names are like {', '.join(truth.ids[:2])}",
        )
    kept: np.ndarray = np.setdiff1d(np.arange(len(truth)), rows)
    if not len(kept):
        raise HandkitError(f"--exclude leaves none of {len(truth)} samples", "leave some in")
    return kept


def with_exclusions(scores: Scores, count: int) -> Scores:
    """The scores, saying how many samples were left out."""
    if not count:
        return scores
    words = f"{scores.definition} {count} samples are left out by an exclusion list."
    return replace(scores, definition=words, counts={**scores.counts, "excluded": count})


def _listed(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise HandkitError(f"--exclude {path}: no list of names: {error}", "write a name a line, as text") from error
