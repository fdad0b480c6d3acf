"""What a row's weights are worth on every set; what was measured before is read, not measured again."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from handkit.evaluate.options import EvaluateOptions
from handkit.evaluate.run import run_evaluate
from handkit.files import atomic_path
from handkit.runs.result import RunOptions
from handkit.tables.sets import OpenSet
from handkit.tables.training import Figures, RowTraining

MEASURED: Final = "measured.json"


def measure(
    weights: Path, sets: Sequence[OpenSet], out: Path, training: RowTraining[Any], how: RunOptions
) -> dict[str, Figures]:
    """What weights are worth on each set, by its name; and `{"network": {"params_m": ...}}`.

    Kept in `out`/measured.json for as long as weights and sets are the same. Raises HandkitError for weights or sets
    that cannot be read.
    """
    path = out / MEASURED
    kept = measured_before(path, weights, training)
    found: dict[str, Figures] = {"network": {"params_m": kept["params_m"]}}
    for one in sets:
        name, known = one.recipe.name, kept["sets"]
        key = "/".join([set_key(one), *one.recipe.beside.values()])
        if known.get(name, {}).get("key") != key:
            options = _options(one, weights, out, method=training.method, hand=kept["hand"], device=how["device"])
            scored = run_evaluate({}, None, out / "scores" / name, options, show_progress=how["show_progress"])
            summaries = zip(("", *one.recipe.beside), scored.scores, strict=True)
            figures = {prefix + key: value for prefix, scores in summaries for key, value in scores.summary.items()}
            known[name] = {"key": key, "figures": figures}
            remember(path, kept)
        found[name] = {key: value for key, value in known[name]["figures"].items() if value is not None}
    return found


def measured_before(path: Path, weights: Path, training: RowTraining[Any]) -> dict[str, Any]:
    """What a file says of these weights: "params_m", "hand", and "sets" by name; none where it is of others.

    Raises HandkitError for weights of another kind than the training's.
    """
    kept, digest = _kept(path), hashlib.sha256(weights.read_bytes()).hexdigest()
    if kept.get("weights") == digest:
        return kept
    described = training.describe(weights)
    return {"weights": digest, "params_m": described.parameters / 1e6, "hand": described.hand, "sets": {}}


def remember(path: Path, kept: dict[str, Any]) -> None:
    """Write what was measured of weights."""
    with atomic_path(path) as partial:
        partial.write_text(json.dumps(kept, indent=2) + "\n")


def set_key(one: OpenSet) -> str:
    """Changes with what is measured."""
    recipe = one.recipe
    return "/".join([one.key, recipe.protocol, recipe.split or "", recipe.root_joint or ""])


def _options(one: OpenSet, weights: Path, out: Path, *, method: str, hand: str, device: str) -> EvaluateOptions:
    """Several methods are told apart by the row's name before theirs."""
    recipe = one.recipe
    name = out.parent.name if recipe.beside else weights.stem
    return EvaluateOptions(
        protocol=recipe.protocol,
        root_joint=recipe.root_joint,
        dataset=recipe.dataset,
        split=recipe.split,
        data=one.root,
        methods=(method, *recipe.beside.values()),
        checkpoints=((name, weights),),
        device=device,
        hand_model=hand,
    )


def _kept(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}
