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
    kept, path = _kept(out / MEASURED), out / MEASURED
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    if kept.get("weights") != digest:
        described = training.describe(weights)
        kept = {"weights": digest, "params_m": described.parameters / 1e6, "hand": described.hand, "sets": {}}
    found: dict[str, Figures] = {"network": {"params_m": kept["params_m"]}}
    for one in sets:
        name, known = one.recipe.name, kept["sets"]
        key = "/".join([one.key, one.recipe.protocol, one.recipe.split or "", one.recipe.root_joint or ""])
        if known.get(name, {}).get("key") != key:
            options = _options(one, weights, method=training.method, hand=kept["hand"], device=how["device"])
            scores = out / "scores" / name
            scored = run_evaluate({}, None, scores, options, show_progress=how["show_progress"])
            known[name] = {"key": key, "figures": scored.scores[0].summary}
            with atomic_path(path) as partial:
                partial.write_text(json.dumps(kept, indent=2) + "\n")
        found[name] = {key: value for key, value in known[name]["figures"].items() if value is not None}
    return found


def _options(one: OpenSet, weights: Path, *, method: str, hand: str, device: str) -> EvaluateOptions:
    recipe = one.recipe
    return EvaluateOptions(
        protocol=recipe.protocol,
        root_joint=recipe.root_joint,
        dataset=recipe.dataset,
        split=recipe.split,
        data=one.root,
        methods=(method,),
        checkpoints=((weights.stem, weights),),
        device=device,
        hand_model=hand,
    )


def _kept(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}
