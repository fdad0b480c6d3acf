"""`handkit pretrain handnet`: stages, one run of `train` each, in OUT/<stage>."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

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
from handkit.runs.result import RunOptions, report_console, report_table
from handkit.runs.stages import (
    LearningResult,
    digest_weights,
    print_end,
    print_planned,
    resolve_stage,
    run_until_interrupted,
)
from handkit.train import TrainResult, seed_all, train

ALL: Final = "all"
WEIGHTS: Final = f"{NAME}.safetensors"

HandNetResult: TypeAlias = LearningResult[HandNetData]


@dataclass(frozen=True, kw_only=True)
class HandNetOptions:
    """What is run: one `stage`, or all of the recipe's; `init` are weights that the first of them begins with."""

    stage: str = ALL
    init: Path | None = None
    dry_run: bool = False


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
    runs = run_until_interrupted(
        names if not asked.dry_run else (),
        lambda name: run_stage(out, name, settings, data, init=asked.init if name == names[0] else None, **options),
    )
    learning = {name: stage.learns for name, stage in stages.items()}
    return HandNetResult(out=out, data=data, stages=runs, planned=planned, learning=learning, is_dry=asked.dry_run)


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
        resolved={**resolve_stage(settings, name, stage, recipe), "stage": name, "init": before},
        on_validated=PreviewWriter(method, folder),
        **options,
    )


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
    return network.train(), digest_weights(path)


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
        print_planned(console, result.planned, result.learning)
        return
    done = {stage: run for stage, run in result.stages.items() if not run.interrupted}
    if done:
        keys = [key for key in _COLUMNS if any(key in run.metrics for run in done.values())]
        table = report_table("held out: mean", *(_COLUMNS[key][0] for key in keys))
        for stage, run in done.items():
            table.add_row(stage, *(_figure(run.metrics.get(key), _COLUMNS[key][1]) for key in keys))
        console.print(table)
    following = f"handkit demo YOUR_VIDEO.mp4 --method handnet --checkpoint {result.last.weights}"
    print_end(console, result, beside="previews, recipe.json and logs", following=following)


def _figure(value: float | None, factor: int) -> str:
    return "-" if value is None else f"{factor * value:.2f}"
