"""`handkit finetune handnet-stereo`: a trained HandNet gets a second view, in stages of OUT/<stage>."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from typing_extensions import Unpack

from handkit.checkpoint import CheckpointInfo
from handkit.errors import HandkitError
from handkit.hand.stereo import CAMERA_FUSIONS
from handkit.methods.handnet_loss import HandNetLoss
from handkit.methods.handnet_stereo import MONO, NAME, HandNetStereoMethod
from handkit.methods.handnet_stereo_recipe import (
    STAGES,
    HandNetStereoRecipe,
    StereoStageRecipe,
    check_stage,
    stage_training,
)
from handkit.nets.handnet import HandNet, extend_with_stereo
from handkit.nets.handnet_system import load_handnet
from handkit.recipe import load_recipe
from handkit.runs.handnet_pairs import PairData, find_pairs
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

logger = logging.getLogger(__name__)

ALL: Final = "all"
WEIGHTS: Final = f"{NAME}.safetensors"
_FIRST, _LAST = STAGES

StereoResult: TypeAlias = LearningResult[PairData]


@dataclass(frozen=True, kw_only=True)
class StereoOptions:
    """What is run: one `stage`, or all; `init` holds the HandNet to begin with, or what a stage before left."""

    init: Path
    stage: str = ALL
    dry_run: bool = False


def finetune_handnet_stereo(
    out: Path,
    asked: StereoOptions,
    *,
    recipe: str = "handnet-stereo",
    changes: Sequence[str] = (),
    **options: Unpack[RunOptions],
) -> StereoResult:
    """Train the asked stages, or go on with those in `out`; without shards pairs are made in OUT/pairs first.

    The last stage begins with what the first left in `out`, where it is there, else with `init`. A network of keypoints
    has no image head to adapt: it has the last stage alone. Raises HandkitError for weights of another kind, and for a
    stage that has nothing to learn.
    """
    settings = load_recipe(HandNetStereoRecipe, recipe, changes)
    network, info = load_handnet(asked.init)
    stages = _stages_of(settings, asked.stage, network)
    data = find_pairs(out, settings, network, info, dry_run=asked.dry_run, **options)
    planned = {name: stage_training(settings.train, stage, pairs=data.epoch).steps for name, stage in stages.items()}
    runs = run_until_interrupted(
        stages if not asked.dry_run else (),
        lambda name: run_stage(out, name, settings, data, init=asked.init, **options),
    )
    learning = {name: stage.learns for name, stage in stages.items()}
    return StereoResult(out=out, data=data, stages=runs, planned=planned, learning=learning, is_dry=asked.dry_run)


def _stages_of(settings: HandNetStereoRecipe, asked: str, network: HandNet) -> dict[str, StereoStageRecipe]:
    """The stages to run, in order."""
    if asked not in (ALL, *STAGES):
        raise HandkitError(f"there is no stage {asked!r}", f"stages are all, {', '.join(STAGES)}")
    names: Sequence[str] = STAGES if asked == ALL else (asked,)
    if asked == ALL and network.inputs == "keypoints":
        logger.warning("a network of keypoints has no image head to adapt: stage %s is left out", _FIRST)
        names = (_LAST,)
    stages = {name: settings.stage(name) for name in names}
    for name, stage in stages.items():
        check_stage(name, stage, network.inputs)
    return stages


def run_stage(
    out: Path,
    name: str,
    settings: HandNetStereoRecipe,
    data: PairData,
    *,
    init: Path,
    **options: Unpack[RunOptions],
) -> TrainResult:
    """Train one stage into OUT/<stage>, or go on with it."""
    stage = settings.stage(name)
    recipe = stage_training(settings.train, stage, pairs=data.epoch)
    seed_all(recipe.seed)
    network, info, before = begun_network(out, name, init)
    method = HandNetStereoMethod(
        network,
        data.hand,
        stage=name,
        settings=stage,
        objective=HandNetLoss(settings.loss),
        fused=settings.fused_loss,
        camera=settings.camera,
        size=data.size,
        source=data.training(stage.batch),
        held_out=data.held_out,
        learned_from={
            "box_scale": data.box_scale,
            "noise": None if settings.data.noise is None else settings.data.noise.model_dump(mode="json"),
            "source": data.words,
            "adapted_to": "generated pictures" if "adapted_head" in dict(network.named_children()) else None,
            "before": before,
            "mono": info.data.get("mono", info.data),
        },
    )
    resolved = {
        **resolve_stage(settings, name, stage, recipe),
        "network": {"size": data.size},
        "stage": name,
        "init": before,
    }
    return train(method, recipe, out=out / name, resolved=resolved, **options)


def begun_network(out: Path, stage: str, init: Path) -> tuple[HandNet, CheckpointInfo, dict[str, str]]:
    """What a stage begins with, what its checkpoint says, and the digest of the file it comes from."""
    adapted = out / _FIRST / WEIGHTS
    path = adapted if stage == _LAST and adapted.is_file() else init
    network, info = load_handnet(path)
    if not network.stereo_views:
        network = extend_with_stereo(network)
    if path == init and stage == _LAST and info.data.get("stage") != _FIRST and network.inputs != "keypoints":
        logger.warning("stage %s begins with an image head that was not adapted: run stage %s first", _LAST, _FIRST)
    return network.train(), info, digest_weights(path)


_ERRORS: Final = {
    "pa_mpvpe_mm": "PA-MPVPE, mm",
    "wrist_mpvpe_mm": "about the wrist",
    "camera_mpvpe_mm": "in the camera",
}
_ROWS: Final = {MONO: "right view alone", **{camera: f"both, camera {camera}" for camera in CAMERA_FUSIONS}}


def print_report(result: StereoResult) -> None:
    """Print to stdout."""
    console = report_console()
    console.print(f"pairs: {result.data.words}", soft_wrap=True)
    if result.is_dry:
        print_planned(console, result.planned, result.learning, left_undone="made or trained")
        return
    for stage, run in result.stages.items():
        if run.interrupted:
            continue
        table = report_table(f"held out after {stage}: MPVPE", *_ERRORS.values())
        for name, title in _ROWS.items():
            table.add_row(title, *(f"{run.metrics[f'{name}_{error}']:.2f}" for error in _ERRORS))
        console.print(table)
    rig = "--stereo LEFT.mp4 RIGHT.mp4 --rig rig.json"
    following = f"handkit demo {rig} --method handnet --checkpoint {result.last.weights}"
    print_end(console, result, beside="recipe.json and logs", following=following)
