"""`handkit pretrain handnet`: stages, one run of `train` each, in OUT/<stage>."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from typing_extensions import Unpack

from handkit.errors import HandkitError
from handkit.methods.handnet import HandNetMethod
from handkit.methods.handnet_loss import HandNetLoss
from handkit.methods.handnet_recipe import HandNetRecipe, StageRecipe, stage_training
from handkit.nets.handnet import NAME, HandNet
from handkit.nets.handnet_system import build_handnet, load_handnet
from handkit.recipe import load_recipe
from handkit.runs.handnet_data import HandNetData, find_data
from handkit.runs.handnet_previews import PreviewWriter
from handkit.runs.result import INTERRUPTED, RunOptions, print_interrupted, report_console, report_table
from handkit.train import TrainRecipe, TrainResult, seed_all, train

ALL: Final = "all"
WEIGHTS: Final = f"{NAME}.safetensors"


@dataclass(frozen=True, kw_only=True)
class HandNetOptions:
    """What is run: one `stage`, or all of the recipe's; `init` are weights that the first of them begins with."""

    stage: str = ALL
    init: Path | None = None
    dry_run: bool = False


@dataclass(frozen=True)
class HandNetResult:
    """How the stages ended, in their order; `summary` is what `--json` prints."""

    out: Path
    data: HandNetData
    stages: dict[str, TrainResult]
    planned: dict[str, int]
    learning: Mapping[str, Sequence[str]]
    is_dry: bool = False

    @property
    def interrupted(self) -> bool:
        return any(run.interrupted for run in self.stages.values())

    @property
    def exit_code(self) -> int:
        return INTERRUPTED if self.interrupted else 0

    @property
    def summary(self) -> dict[str, Any]:
        return {
            "out": str(self.out),
            "dry_run": self.is_dry,
            "interrupted": self.interrupted,
            "data": self.data.to_json(),
            "planned_steps": self.planned,
            "learning": {stage: list(parts) for stage, parts in self.learning.items()},
            "stages": {stage: _told(run) for stage, run in self.stages.items()},
        }


def pretrain_handnet(
    out: Path,
    asked: HandNetOptions,
    *,
    recipe: str = "handnet",
    changes: Sequence[str] = (),
    **options: Unpack[RunOptions],
) -> HandNetResult:
    """Train the asked stages, or go on with those in `out`.

    A stage begins with the best weights of the one before it in `out`, the first of those asked for with `init` where
    that is given. Raises HandkitError for a stage that the recipe has not, that has nothing to start from, or that the
    data have no annotations for.
    """
    settings = load_recipe(HandNetRecipe, recipe, changes)
    names = [asked.stage] if asked.stage != ALL else settings.stage_names
    stages = {name: settings.stage(name) for name in names}
    data = find_data(settings)
    planned = {name: stage_training(settings.train, stage, hands=data.hands).steps for name, stage in stages.items()}
    for name, stage in stages.items():
        data.check(name, stage)
    if not asked.dry_run:
        check_start(out, names, stages, asked.init)
    runs: dict[str, TrainResult] = {}
    for name in names if not asked.dry_run else ():
        init = asked.init if name == names[0] else None
        runs[name] = run_stage(out, name, settings, data, init=init, **options)
        if runs[name].interrupted:
            break
    learning = {name: stage.learns for name, stage in stages.items()}
    return HandNetResult(out, data, runs, planned, learning, asked.dry_run)


def check_start(out: Path, names: Sequence[str], stages: dict[str, StageRecipe], init: Path | None) -> None:
    """Raise HandkitError unless every stage will have what it starts from."""
    for name, stage in stages.items():
        if stage.after is None or stage.after in names[: names.index(name)] or (init is not None and name == names[0]):
            continue
        weights = out / stage.after / WEIGHTS
        if not weights.is_file():
            raise HandkitError(
                f"stage {name} starts from what stage {stage.after} learned, and there is no {weights}",
                f"run --stage {stage.after} first, or give --init CHECKPOINT",
            )


def run_stage(
    out: Path,
    name: str,
    settings: HandNetRecipe,
    data: HandNetData,
    *,
    init: Path | None = None,
    **options: Unpack[RunOptions],
) -> TrainResult:
    """Train one stage into OUT/<stage>, or go on with it."""
    stage = settings.stage(name)
    recipe = stage_training(settings.train, stage, hands=data.hands)
    seed_all(recipe.seed)
    network, before = begun_network(out, stage, settings, init)
    method = HandNetMethod(
        network,
        data.hand,
        stage=name,
        settings=stage,
        objective=HandNetLoss(settings.loss, hands=stage.learns_hands, masks=stage.learns_masks),
        size=settings.network.size,
        source=data.training(stage),
        held_out=data.held_out,
        has_vertices=data.has_vertices,
        learned_from={
            "box_scale": settings.data.crop.box_scale,
            "noise": None if settings.data.noise is None else settings.data.noise.model_dump(mode="json"),
            "source": data.words,
            **({"before": before} if before else {}),
        },
    )
    folder = out / name
    return train(
        method,
        recipe,
        out=folder,
        resolved=_resolved(settings, name, recipe, before),
        on_validated=PreviewWriter(method, folder),
        **options,
    )


def _resolved(settings: HandNetRecipe, name: str, recipe: TrainRecipe, before: dict[str, str]) -> dict[str, Any]:
    return {
        **settings.model_dump(mode="json", exclude={"stages"}),
        # Other stages may change and leave this run; how long it is stands in "train".
        "stages": {name: settings.stage(name).model_dump(mode="json", exclude={"steps", "epochs", "decay_epochs"})},
        "train": recipe.model_dump(mode="json"),
        "stage": name,
        "init": before,
    }


def begun_network(
    out: Path, stage: StageRecipe, settings: HandNetRecipe, init: Path | None
) -> tuple[HandNet, dict[str, str]]:
    """What a stage begins with, and the digest of the file it comes from.

    Raises HandkitError for weights of another network than the recipe's.
    """
    asked = {name: getattr(settings.network, name) for name in ("backbone", "inputs", "sigma")}
    path = init or (out / stage.after / WEIGHTS if stage.after is not None else None)
    if path is None:
        return build_handnet(**asked, backbone_weights=settings.network.backbone_weights), {}
    network, _ = load_handnet(path)
    own = network.describe()
    for name, value in {**asked, "stereo": False}.items():
        if own[name] != value:
            raise HandkitError(
                f"{path} is a HandNet of {name} {own[name]!r}, the recipe's has {value!r}",
                f"give weights of the same network, or --set network.{name}={own[name]}"
                if name in asked
                else "give the weights that its stereo stages began with",
            )
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return network.train(), {path.parent.name or path.name: digest}


def _told(run: TrainResult) -> dict[str, Any]:
    """A stage's part of the summary."""
    told = {"steps": run.step, "of": run.steps, "seconds": round(run.seconds, 1)}
    if run.interrupted:
        return told
    return {**told, "weights": str(run.weights), "held_out": run.metrics, "best_step": run.best_step}


# Titles, and what their figures are multiplied by.
_COLUMNS: Final = {
    "pa_mpvpe_mm": ("PA-MPVPE, mm", 1),
    "no_keypoints_pa_mpvpe_mm": ("no keypoints", 1),
    "pa_mpjpe_mm": ("PA-MPJPE, mm", 1),
    "joints_3d_mm": ("about the wrist", 1),
    "joints_2d_px": ("2D, px of 224", 1),
    "mask_iou": ("IoU, %", 100),
    "mask_accuracy": ("accuracy, %", 100),
}


def print_report(result: HandNetResult) -> None:
    """Print to stdout."""
    console = report_console()
    console.print(f"hands: {result.data.words}", soft_wrap=True)
    if result.is_dry:
        for stage, steps in result.planned.items():
            console.print(f"stage {stage}: {steps} steps; learning {', '.join(result.learning[stage])}", soft_wrap=True)
        console.print("a dry run: nothing was trained; leave --dry-run out to begin")
        return
    done = {stage: run for stage, run in result.stages.items() if not run.interrupted}
    if done:
        keys = [key for key in _COLUMNS if any(key in run.metrics for run in done.values())]
        table = report_table("held out: mean", *(_COLUMNS[key][0] for key in keys))
        for stage, run in done.items():
            table.add_row(stage, *(_figure(run.metrics.get(key), _COLUMNS[key][1]) for key in keys))
        console.print(table)
    last = next(reversed(result.stages.values()))
    if last.interrupted:
        print_interrupted(console, last)
        return
    for stage, run in result.stages.items():
        console.print(
            f"{stage}: {run.steps} steps in {run.seconds:.0f} s, best at step {run.best_step}", soft_wrap=True
        )
    console.print(f"wrote {last.weights}, previews, recipe.json and logs beside it", soft_wrap=True)
    console.print(f"next: handkit demo YOUR_VIDEO.mp4 --method handnet --checkpoint {last.weights}", soft_wrap=True)


def _figure(value: float | None, factor: int) -> str:
    return "-" if value is None else f"{factor * value:.2f}"
