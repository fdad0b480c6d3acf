"""`handkit selfsup binocular`: a hand prior moves to the pictures of a pair of cameras, without labels."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from typing_extensions import Unpack

from handkit.checkpoint import CheckpointInfo
from handkit.errors import HandkitError
from handkit.inference.load import HAND_PRIOR, find_checkpoint
from handkit.methods.binocular import BinocularMethod
from handkit.methods.binocular_loss import BinocularLoss
from handkit.methods.binocular_recipe import BinocularRecipe, pull_ends
from handkit.methods.hand_prior_recipe import prior_training
from handkit.nets.lixel import LixelNetwork
from handkit.nets.lixel_system import load_lixel
from handkit.recipe import load_recipe
from handkit.runs.binocular_pairs import BinocularPairs, find_pairs
from handkit.runs.binocular_previews import PairPreviews
from handkit.runs.result import (
    INTERRUPTED,
    RunOptions,
    print_interrupted,
    print_written,
    report_console,
    report_table,
    summarize,
)
from handkit.runs.stages import digest_weights
from handkit.train import TrainRecipe, TrainResult, seed_all, train
from handkit.train.place import launch
from handkit.train.validation import validate

PRIOR: Final = "hand-prior"


@dataclass(frozen=True, kw_only=True)
class BinocularOptions:
    """What is run: `init` holds the hand prior to begin with, a file or a run's folder."""

    init: Path
    dry_run: bool = False


@dataclass(frozen=True, kw_only=True)
class BinocularResult:
    """How the run ended, None of a dry one; `before` are the held-out figures of the prior as it was."""

    out: Path
    data: BinocularPairs
    steps: int
    run: TrainResult | None = None
    before: Mapping[str, float] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        return INTERRUPTED if self.run is not None and self.run.interrupted else 0

    @property
    def after(self) -> Mapping[str, float]:
        """The held-out figures of the best weights; none before the first validation."""
        return {} if self.run is None else self.run.metrics

    @property
    def summary(self) -> dict[str, Any]:
        known = {"data": self.data.to_json(), "planned_steps": self.steps}
        if self.run is None:
            return {"out": str(self.out), "dry_run": True, **known}
        ended = {"before": dict(self.before), "after": dict(self.after), "best_step": self.run.best_step}
        return {**summarize(self.run, weights=str(self.run.weights), dry_run=False), **known, **ended}


def selfsup_binocular(
    out: Path,
    asked: BinocularOptions,
    *,
    recipe: str = "binocular",
    changes: Sequence[str] = (),
    **options: Unpack[RunOptions],
) -> BinocularResult:
    """Train, or go on with the run in `out`; without any source pairs are made in OUT/pairs first.

    The prior is measured on held-out pairs before anything is learned. Raises HandkitError for weights of another kind,
    and as `find_pairs`.
    """
    settings = load_recipe(BinocularRecipe, recipe, changes)
    path = find_checkpoint(asked.init, HAND_PRIOR)
    data = find_pairs(out, settings, load_prior(path)[1], dry_run=asked.dry_run, **options)
    if asked.dry_run:
        steps = prior_training(settings.train, settings.learning, samples=data.epoch).steps
        return BinocularResult(out=out, data=data, steps=steps)
    return learn_pairs(out, settings, path, data, **options)


def learn_pairs(
    out: Path, settings: BinocularRecipe, path: Path, data: BinocularPairs, **options: Unpack[RunOptions]
) -> BinocularResult:
    """Train the prior in a file on pairs that are there, or go on with the run in `out`."""
    training = prior_training(settings.train, settings.learning, samples=data.epoch)
    seed_all(training.seed)
    prior, info = load_prior(path)
    digest = digest_weights(path)
    ends = pull_ends(settings, training.steps)
    method = BinocularMethod(
        prior,
        data.hand,
        objective=BinocularLoss(settings.loss, settings.forms, data.hand, size=data.size),
        pull_ends=ends,
        accumulate=training.accumulate,
        source=data.training(settings.learning.batch),
        held_out=data,
        learned_from={
            "box_scale": data.box_scale,
            "centre": data.centre,
            "source": data.words,
            "prior": digest,
            "prior_data": info.data,
        },
    )
    resolved = {**resolve(settings, training), "network": {"size": data.size}, "init": digest, "pull_ends": ends}
    previews = PairPreviews(method, out)
    before = measure_before(method, training, previews, options.get("device", "auto"))
    run = train(method, training, out=out, resolved=resolved, on_validated=previews, **options)
    return BinocularResult(out=out, data=data, steps=training.steps, run=run, before=before)


def load_prior(path: Path) -> tuple[LixelNetwork, CheckpointInfo]:
    """A hand prior with its depth. Raises HandkitError for any other network, with the command that makes one."""
    make = f"make one by `handkit {HAND_PRIOR.train} --out DIR`, and give DIR"
    network, info = load_lixel(path)
    if info.method != PRIOR or network.depth is None:
        raise HandkitError(f"{path} is of {info.method}, no hand prior", make)
    return network, info


def resolve(settings: BinocularRecipe, training: TrainRecipe) -> dict[str, Any]:
    """What recipe.json says of the settings; how long the run is stands in "train"."""
    length = {"learning": {"steps", "epochs", "drops"}}
    return {**settings.model_dump(mode="json", exclude=length), "train": training.model_dump(mode="json")}


def measure_before(
    method: BinocularMethod, training: TrainRecipe, previews: PairPreviews, device: str
) -> dict[str, float]:
    """The held-out figures of the prior as it is, and a preview of step 0."""
    fabric = launch(device, training.precision)
    figures = validate(method, method.network.to(fabric.device), fabric)
    if fabric.is_global_zero:
        previews(0)
    return figures


# Titles, and what their figures are multiplied by.
_COLUMNS: Final = {
    "mpvpe_mm": ("MPVPE, mm", 1),
    "mpjpe_mm": ("MPJPE, mm", 1),
    "depth_mm": ("depth, mm", 1),
    "pa_mpvpe_mm": ("PA-MPVPE, mm", 1),
    "epipolar_gap_px": ("gap, px of the crop", 1),
    "silhouette_iou": ("IoU, %", 100),
    "unlabelled_loss": ("loss", 1),
}


def print_report(result: BinocularResult) -> None:
    """Print to stdout."""
    console = report_console()
    for line in (*result.data.source.lines(), f"pairs: {result.data.words}"):
        console.print(line, soft_wrap=True)
    if result.run is None:
        console.print(f"{result.steps} steps of {result.data.settings.learning.batch} pairs", soft_wrap=True)
        console.print("a dry run: nothing was made or trained; leave --dry-run out to begin")
        return
    if result.after:
        keys = [key for key in _COLUMNS if not math.isnan(result.before.get(key, math.nan))]
        chosen = int(result.after["samples"])
        table = report_table(f"{chosen} held-out pairs: mean", *(_COLUMNS[key][0] for key in keys))
        for title, figures in (("before: the prior", result.before), ("after", result.after)):
            table.add_row(title, *(f"{_COLUMNS[key][1] * figures[key]:.3g}" for key in keys))
        console.print(table)
    if result.run.interrupted:
        print_interrupted(console, result.run)
        return
    print_written(console, result.run)
    following = "handkit demo --stereo LEFT.mp4 RIGHT.mp4 --rig rig.json --method binocular --checkpoint"
    console.print(f"next: {following} {result.run.weights}", soft_wrap=True)
