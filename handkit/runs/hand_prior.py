"""`handkit pretrain hand-prior`: one run of `train` in OUT."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from typing_extensions import Unpack

from handkit.errors import HandkitError
from handkit.hand.model import load_hand
from handkit.methods.hand_prior import HandPriorMethod
from handkit.methods.hand_prior_loss import HandPriorLoss
from handkit.methods.hand_prior_recipe import HandPriorRecipe, prior_training
from handkit.nets.lixel_system import build_lixel
from handkit.recipe import load_recipe
from handkit.runs.crop_data import CropData, with_sources
from handkit.runs.hand_prior_previews import PreviewWriter
from handkit.runs.result import (
    INTERRUPTED,
    RunOptions,
    print_interrupted,
    print_written,
    report_console,
    report_table,
    summarize,
)
from handkit.train import TrainRecipe, TrainResult, seed_all, train

HandPriorData = CropData[HandPriorRecipe]


@dataclass(frozen=True, kw_only=True)
class HandPriorResult:
    """How the run ended, or of a dry one what was planned; `summary` is what `--json` prints."""

    out: Path
    data: HandPriorData
    planned: TrainRecipe
    run: TrainResult | None = None

    @property
    def exit_code(self) -> int:
        return INTERRUPTED if self.run is not None and self.run.interrupted else 0

    @property
    def summary(self) -> dict[str, Any]:
        told = {"dry_run": self.run is None, "planned_steps": self.planned.steps, "data": self.data.to_json()}
        if self.run is None:
            return {"out": str(self.out), **told}
        ended = summarize(self.run, **told)
        if self.run.interrupted:
            return ended
        return {
            **ended,
            "weights": str(self.run.weights),
            "held_out": self.run.metrics,
            "best_step": self.run.best_step,
        }


def pretrain_hand_prior(
    out: Path,
    *,
    recipe: str = "hand-prior",
    changes: Sequence[str] = (),
    dry_run: bool = False,
    **options: Unpack[RunOptions],
) -> HandPriorResult:
    """Train the hand prior, or go on with the run in `out`.

    Raises HandkitError for data without meshes of the hand.
    """
    settings = load_recipe(HandPriorRecipe, recipe, changes)
    data = find_data(settings)
    training = prior_training(settings.train, settings.learning, samples=data.hands)
    source = data.varied(settings.learning.batch)
    if dry_run:
        return HandPriorResult(out=out, data=data, planned=training)
    seed_all(training.seed)
    network = {"backbone", "features", "depth", "context", "backbone_weights"}
    method = HandPriorMethod(
        build_lixel(**settings.network.model_dump(include=network)),
        data.hand,
        objective=HandPriorLoss(settings.loss, data.hand),
        size=settings.network.size,
        source=source,
        held_out=data.held_out,
        learned_from={"box_scale": settings.data.crop.box_scale, "source": data.words},
    )
    run = train(
        method,
        training,
        out=out,
        resolved=resolve(settings, training),
        on_validated=PreviewWriter(method, out),
        **options,
    )
    return HandPriorResult(out=out, data=data, planned=training, run=run)


def find_data(settings: HandPriorRecipe) -> HandPriorData:
    """Open the recipe's data sets and shards.

    Raises HandkitError for one that is missing, damaged or too small, and where none has meshes of the hand: joints
    alone leave a mesh open, and are learned from beside meshes only.
    """
    words = f"drawn frames ({settings.data.recipe})"
    found = with_sources(CropData(settings, load_hand(settings.hand, "right"), words=words))
    if not found.has_vertices:
        raise HandkitError(
            f"nothing in {found.words} is annotated with vertices of the hand {found.hand.name!r}",
            "give --hand-model the hand that the data were annotated with, or data that have meshes besides",
        )
    return found


def resolve(settings: HandPriorRecipe, training: TrainRecipe) -> dict[str, Any]:
    """What recipe.json says of the run, and what a run that goes on may not change; its length stands in "train"."""
    length = {"learning": {"steps", "epochs", "drops"}}
    return {**settings.model_dump(mode="json", exclude=length), "train": training.model_dump(mode="json")}


# Titles of the columns.
_COLUMNS: Final = {
    "pa_mpvpe_mm": "PA-MPVPE, mm",
    "pa_mpjpe_mm": "PA-MPJPE, mm",
    "depth_mm": "depth, mm",
    "points_2d_px": "2D, px of 224",
}


def print_report(result: HandPriorResult) -> None:
    """Print to stdout."""
    console, run = report_console(), result.run
    console.print(f"hands: {result.data.words}", soft_wrap=True)
    if run is None:
        falls = ", ".join(map(str, result.planned.milestones))
        console.print(f"{result.planned.steps} steps" + (f", the rate falls after {falls}" if falls else ""))
        console.print("a dry run: nothing was trained; leave --dry-run out to begin")
        return
    if run.interrupted:
        print_interrupted(console, run)
        return
    table = report_table("held out: mean", *_COLUMNS.values())
    table.add_row("hand-prior", *(f"{run.metrics[key]:.2f}" for key in _COLUMNS))
    console.print(table)
    print_written(console, run)
    console.print(f"next: handkit selfsup binocular --init {run.weights}", soft_wrap=True)
