"""One run of a row: trained, and measured on every set; what was done before is read, not done again."""

import csv
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from handkit.errors import HandkitError
from handkit.evaluate.options import EvaluateOptions
from handkit.evaluate.run import run_evaluate
from handkit.files import atomic_path
from handkit.methods.seqhand_recipe import FinetuneRecipe, SeqHandRecipe
from handkit.nets import load_network
from handkit.recipe import load_recipe
from handkit.runs.result import RunResult
from handkit.runs.seqhand import finetune_seqhand, pretrain_seqhand
from handkit.tables.recipe import RowRecipe, TableRecipe
from handkit.tables.sets import OpenSet

Figures = dict[str, float]
MEASURED = "measured.json"


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What the user changed in the two recipes, for every row alike, and where to compute."""

    pretrain: tuple[str, ...] = ()
    finetune: tuple[str, ...] = ()
    device: str = "auto"
    force: bool = False
    show_progress: bool = False


@dataclass(frozen=True)
class Stills:
    """Data sets to finetune on, as (name, split or None, folder)."""

    sources: tuple[tuple[str, str | None, Path], ...] = field(default_factory=tuple)

    def change(self) -> str:
        """As a change of the recipe."""
        told = [
            f"{{dataset = {json.dumps(name)}, root = {json.dumps(str(root))}"
            + (f", split = {json.dumps(split)}}}" if split else "}")
            for name, split, root in self.sources
        ]
        return f"data.sources=[{', '.join(told)}]"


def train_row(
    table: TableRecipe, row: RowRecipe, out: Path, *, seed: int, budget: Budget, init: Path | None, stills: Stills
) -> RunResult:
    """Train a row with a seed, or go on with its run in `out`; `init` are the weights of the row it starts from."""
    common: dict[str, Any] = {"device": budget.device, "force": budget.force, "show_progress": budget.show_progress}
    if init is None:
        changes = pretrain_changes(table, row, seed=seed, budget=budget)
        return pretrain_seqhand(out, recipe=table.pretrain.recipe, changes=changes, **common)
    assert table.finetune is not None
    changes = [*finetune_changes(table, row, seed=seed, budget=budget), stills.change()]
    return finetune_seqhand(out, init=init, recipe=table.finetune.recipe, changes=changes, **common)


def check_recipes(table: TableRecipe, rows: Sequence[RowRecipe], budget: Budget) -> None:
    """Raise HandkitError for a change that a row's recipe does not take."""
    for row in rows:
        if row.starts_from is None:
            load_recipe(SeqHandRecipe, table.pretrain.recipe, pretrain_changes(table, row, seed=0, budget=budget))
        elif table.finetune is not None:
            load_recipe(FinetuneRecipe, table.finetune.recipe, finetune_changes(table, row, seed=0, budget=budget))


def finetune_changes(table: TableRecipe, row: RowRecipe, *, seed: int, budget: Budget) -> list[str]:
    """All changes to the recipe by which a row is finetuned, but for its data."""
    own = () if table.finetune is None else table.finetune.changes
    return [*own, *budget.finetune, f"train.seed={seed}", *row.changes]


def pretrain_changes(table: TableRecipe, row: RowRecipe, *, seed: int, budget: Budget) -> list[str]:
    """All changes to the recipe by which a row is pretrained, in the order in which they are made."""
    changes = [*table.pretrain.changes, *budget.pretrain, f"network.name={row.network}", f"train.seed={seed}"]
    if row.single_frames:
        data = load_recipe(SeqHandRecipe, table.pretrain.recipe, changes).data
        changes += [
            f"data.batch={data.batch * data.frames}",
            f"data.validation_sequences={data.validation_sequences * data.frames}",
            "data.frames=1",
        ]
    return [*changes, *row.changes]


def training_figures(run: RunResult) -> Figures:
    """How fast a run was (median over its rows), and how long."""
    with (run.train.out / "train.csv").open(newline="", encoding="utf-8") as file:
        rates = [float(row["images_per_s"]) for row in csv.DictReader(file) if row.get("images_per_s")]
    return {"seconds": run.train.seconds, **({"images_per_s": median(rates)} if rates else {})}


def measure(
    weights: Path, sets: Sequence[OpenSet], out: Path, *, device: str, show_progress: bool = False
) -> dict[str, Figures]:
    """What weights are worth on each set, by its name; and `{"network": {"params_m": ...}}`.

    Kept in `out`/measured.json for as long as weights and sets are the same. Raises HandkitError for weights or sets
    that cannot be read.
    """
    kept, path = _kept(out / MEASURED), out / MEASURED
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    if kept.get("weights") != digest:
        network, info = load_network(weights)
        count = sum(parameter.numel() for parameter in network.parameters())
        kept = {"weights": digest, "params_m": count / 1e6, "hand": str(info.data.get("hand", "open")), "sets": {}}
    found: dict[str, Figures] = {"network": {"params_m": kept["params_m"]}}
    for one in sets:
        name, known = one.recipe.name, kept["sets"]
        if known.get(name, {}).get("key") != one.key:
            options = _options(one, weights, hand=kept["hand"], device=device)
            scored = run_evaluate({}, None, out / "scores" / name, options, show_progress=show_progress)
            known[name] = {"key": one.key, "figures": scored.scores[0].summary}
            with atomic_path(path) as partial:
                partial.write_text(json.dumps(kept, indent=2) + "\n")
        found[name] = {key: value for key, value in known[name]["figures"].items() if value is not None}
    return found


def _options(one: OpenSet, weights: Path, *, hand: str, device: str) -> EvaluateOptions:
    recipe = one.recipe
    return EvaluateOptions(
        protocol=recipe.protocol,
        root_joint=recipe.root_joint,
        dataset=recipe.dataset,
        split=recipe.split,
        data=one.root,
        methods=("seqhand",),
        checkpoints=((weights.stem, weights),),
        device=device,
        hand_model=hand,
    )


def _kept(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def out_of_memory(error: BaseException) -> HandkitError:
    """The way out where a row does not fit."""
    return HandkitError(f"out of memory ({str(error).splitlines()[0]})", "lower data.batch and raise train.accumulate")
