"""`handkit finetune handnet-stereo`: a trained HandNet gets a second view, in stages of OUT/<stage>."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

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
from handkit.runs.result import INTERRUPTED, RunOptions, print_interrupted, report_console, report_table
from handkit.train import TrainRecipe, TrainResult, seed_all, train

logger = logging.getLogger(__name__)

ALL: Final = "all"
WEIGHTS: Final = f"{NAME}.safetensors"
_FIRST, _LAST = STAGES


@dataclass(frozen=True, kw_only=True)
class StereoOptions:
    """What is run: one `stage`, or all; `init` holds the HandNet to begin with, or what a stage before left."""

    init: Path
    stage: str = ALL
    dry_run: bool = False


@dataclass(frozen=True)
class StereoResult:
    """How the stages ended, in their order; `summary` is what `--json` prints."""

    out: Path
    data: PairData
    stages: dict[str, TrainResult]
    planned: dict[str, int]
    learning: dict[str, tuple[str, ...]]
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
    runs: dict[str, TrainResult] = {}
    for name in stages if not asked.dry_run else ():
        runs[name] = run_stage(out, name, settings, data, init=asked.init, **options)
        if runs[name].interrupted:
            break
    learning: dict[str, tuple[str, ...]] = {name: stage.learns for name, stage in stages.items()}
    return StereoResult(out, data, runs, planned, learning, asked.dry_run)


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
    return train(method, recipe, out=out / name, resolved=_resolved(settings, name, recipe, data, before), **options)


def _resolved(
    settings: HandNetStereoRecipe, name: str, recipe: TrainRecipe, data: PairData, before: dict[str, str]
) -> dict[str, Any]:
    return {
        **settings.model_dump(mode="json", exclude={"stages"}),
        # Other stages may change and leave this run; how long it is stands in "train".
        "stages": {name: settings.stage(name).model_dump(mode="json", exclude={"steps", "epochs", "decay_epochs"})},
        "train": recipe.model_dump(mode="json"),
        "network": {"size": data.size},
        "stage": name,
        "init": before,
    }


def begun_network(out: Path, stage: str, init: Path) -> tuple[HandNet, CheckpointInfo, dict[str, str]]:
    """What a stage begins with, what its checkpoint says, and the digest of the file it comes from."""
    adapted = out / _FIRST / WEIGHTS
    path = adapted if stage == _LAST and adapted.is_file() else init
    network, info = load_handnet(path)
    if not network.stereo_views:
        network = extend_with_stereo(network)
    if path == init and stage == _LAST and info.data.get("stage") != _FIRST and network.inputs != "keypoints":
        logger.warning("stage %s begins with an image head that was not adapted: run stage %s first", _LAST, _FIRST)
    name = path.parent.name or path.name
    return network.train(), info, {name: hashlib.sha256(path.read_bytes()).hexdigest()}


def _told(run: TrainResult) -> dict[str, Any]:
    """A stage's part of the summary."""
    told = {"steps": run.step, "of": run.steps, "seconds": round(run.seconds, 1)}
    if run.interrupted:
        return told
    return {**told, "weights": str(run.weights), "held_out": run.metrics, "best_step": run.best_step}


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
        for stage, steps in result.planned.items():
            console.print(f"stage {stage}: {steps} steps; learning {', '.join(result.learning[stage])}", soft_wrap=True)
        console.print("a dry run: nothing was made or trained; leave --dry-run out to begin")
        return
    for stage, run in result.stages.items():
        if run.interrupted:
            continue
        table = report_table(f"held out after {stage}: MPVPE", *_ERRORS.values())
        for name, title in _ROWS.items():
            table.add_row(title, *(f"{run.metrics[f'{name}_{error}']:.2f}" for error in _ERRORS))
        console.print(table)
    last = next(reversed(result.stages.values()))
    if last.interrupted:
        print_interrupted(console, last)
        return
    for stage, run in result.stages.items():
        console.print(
            f"{stage}: {run.steps} steps in {run.seconds:.0f} s, best at step {run.best_step}", soft_wrap=True
        )
    console.print(f"wrote {last.weights}, recipe.json and logs beside it", soft_wrap=True)
    rig = "--stereo LEFT.mp4 RIGHT.mp4 --rig rig.json"
    console.print(f"next: handkit demo {rig} --method handnet --checkpoint {last.weights}", soft_wrap=True)
