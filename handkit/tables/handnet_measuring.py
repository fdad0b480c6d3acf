"""What the rows of a table are that are measured of a single network: segmenters, views, iterations."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any, Final

from handkit.errors import HandkitError
from handkit.evaluate.iterations import annotated, measure
from handkit.evaluate.options import EvaluateOptions
from handkit.evaluate.pairs import score_pairs
from handkit.evaluate.run import run_evaluate
from handkit.hand.stereo import CAMERA_FUSIONS
from handkit.runs.result import RunOptions
from handkit.tables.figures import with_means
from handkit.tables.handnet_recipe import HandNetTable
from handkit.tables.measuring import MEASURED, measured_before, remember, set_key
from handkit.tables.sets import OpenSet
from handkit.tables.training import Figures, RowTraining


@dataclass(frozen=True)
class Subject:
    """The network that a table's rows are measured of, and the name of its hand."""

    table: HandNetTable
    weights: Path
    hand: str
    how: RunOptions


Measure = Callable[[Subject, OpenSet, Path], dict[str, Figures]]
"""Figures by row on a set that has a folder; reports go to the path."""


def masks(subject: Subject, one: OpenSet, scores: Path) -> dict[str, Figures]:
    """HSV and the network, as `handkit evaluate --protocol segmentation` scores them."""
    options = EvaluateOptions(
        protocol=one.recipe.protocol,
        dataset=one.recipe.dataset,
        split=one.recipe.split,
        data=one.root,
        methods=("hsv", "handnet"),
        checkpoints=(("handnet", subject.weights),),
        device=subject.how["device"],
        hand_model=subject.hand,
    )
    scored = run_evaluate({}, None, scores, options, show_progress=subject.how["show_progress"])
    return {
        one.method: {key: value for key, value in one.summary.items() if value is not None} for one in scored.scores
    }


def pairs(subject: Subject, one: OpenSet, scores: Path) -> dict[str, Figures]:
    """The right view alone, and both fused by Eq. 6 with either camera."""
    assert one.root is not None
    found = score_pairs(subject.weights, one.root, of_all=True, device=subject.how["device"])
    published, ours = CAMERA_FUSIONS
    return {"mono": found["mono"], "stereo": found[published], f"stereo-{ours}": found[ours]}


def iterations(subject: Subject, one: OpenSet, scores: Path) -> dict[str, Figures]:
    """Hands of `handkit demo` refined against the network's masks, for as many iterations as the row's name says."""
    assert one.root is not None
    assert one.recipe.dataset is not None
    table, device = subject.table, subject.how["device"]
    counts = [int(row.name) for row in table.rows if row.name.isdecimal() and row.name != "0"]
    with tempfile.TemporaryDirectory() as folder:
        known = annotated(
            one.recipe.dataset, one.root, table.samples, Path(folder) / "pictures", split=one.recipe.split
        )
        work, weights = Path(folder), subject.weights
        found = measure(known, work, "handnet", weights, "handnet", counts, device, subject.hand)
    if not found[0]:
        raise HandkitError(f"{one.recipe.name}: no hand was found in {len(known.masks)} pictures", "give another set")
    return {
        str(count): {"mask_iou": mean(values.values()), "count": float(len(values))} for count, values in found.items()
    }


MEASURES: Final[dict[str, Measure]] = {"masks": masks, "pairs": pairs, "iterations": iterations}


def measure_rows(
    weights: Path, sets: list[OpenSet], out: Path, training: RowTraining[Any], table: HandNetTable, how: RunOptions
) -> dict[str, Figures]:
    """Figures by row and "set.measure"; those of sets that are the mean of others too.

    Kept in `out`/measured.json for as long as weights and sets are the same.
    """
    assert table.measured is not None
    path = out / MEASURED
    kept = measured_before(path, weights, training)
    subject = Subject(table, weights, str(kept["hand"]), how)
    found: dict[str, Figures] = {}
    for one in sets:
        if one.root is None:
            continue
        name = f"{table.measured}.{one.recipe.name}"
        key = "/".join([set_key(one), *([str(table.samples)] if table.measured == "iterations" else [])])
        if kept["sets"].get(name, {}).get("key") != key:
            rows = MEASURES[table.measured](subject, one, out / "scores" / one.recipe.name)
            kept["sets"][name] = {"key": key, "rows": rows}
            remember(path, kept)
        for row, figures in kept["sets"][name]["rows"].items():
            own = {f"{one.recipe.name}.{key}": value for key, value in figures.items()}
            found[row] = {**found.get(row, {}), **own}
    return {row: with_means([one.recipe for one in sets], figures) for row, figures in found.items()}
