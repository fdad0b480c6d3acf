"""`handkit selfsup s2hand` and `handkit selfsup s2hand-video`: stages, one run of `train` each, in OUT/<stage>."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from typing_extensions import Unpack

from handkit.data.window_batches import find_windows
from handkit.errors import HandkitError
from handkit.hand.model import load_hand
from handkit.methods.s2hand import S2HandMethod
from handkit.methods.s2hand_loss import STAGE_TERMS, S2HandLoss
from handkit.methods.s2hand_recipe import S2HandRecipe, stage_training, term_weights
from handkit.nets.s2hand_system import S2HandSystem, build_system, load_system
from handkit.recipe import load_recipe
from handkit.runs.previews import PreviewWriter
from handkit.runs.result import RunOptions, report_console, report_table
from handkit.runs.s2hand_data import GatheredData, gather_data
from handkit.runs.stages import (
    StagesResult,
    digest_weights,
    print_end,
    print_planned,
    resolve_stage,
    run_until_interrupted,
)
from handkit.train import TrainRecipe, TrainResult, seed_all, train
from handkit.train.place import done_once

logger = logging.getLogger(__name__)

ALL: Final = "all"
WEIGHTS: Final = "s2hand.safetensors"


@dataclass(frozen=True, kw_only=True)
class SelfsupOptions:
    """What is run: `together` is the stage that follows the two branches, "images" or "video"; `stage` one, or all.

    With `init` and all stages, the branches are those of that checkpoint: only `together` is trained.
    """

    together: str
    stage: str = ALL
    init: Path | None = None
    dry_run: bool = False


class SelfsupResult(StagesResult[GatheredData]):
    """As all runs in stages; which terms each learns with is told besides."""

    @property
    def exit_code(self) -> int:
        """0 done, 1 a part of the data could not be read, 130 interrupted."""
        return super().exit_code or int(self.data.has_failures)

    @property
    def about(self) -> dict[str, dict[str, list[str]]]:
        return {"terms": {stage: list(STAGE_TERMS[stage]) for stage in self.planned}}


def selfsup_s2hand(
    out: Path,
    asked: SelfsupOptions,
    *,
    recipe: str = "s2hand",
    changes: Sequence[str] = (),
    **options: Unpack[RunOptions],
) -> SelfsupResult:
    """Gather the data, then train the asked stages, or go on with those in `out`.

    A stage starts from what the ones before left in `out`, or from `init`. Raises HandkitError where no usable hand is
    found, a stage has nothing to start from, and for weights of another kind.
    """
    settings = load_recipe(S2HandRecipe, recipe, changes)
    stages = stages_of(settings, asked)
    data = _gathered_once(out, settings, options)
    if "video" in stages:
        # Told before the hours of the other stages.
        find_windows(data.learned, frames=settings.data.frames, interval=settings.data.interval)
    planned = {stage: _training_of(settings, stage, data).steps for stage in stages}
    runs = run_until_interrupted(
        stages if not asked.dry_run else (),
        lambda stage: run_stage(out, stage, settings, data, init=asked.init, **options),
    )
    return SelfsupResult(out=out, data=data, stages=runs, planned=planned, is_dry=asked.dry_run)


def _gathered_once(out: Path, settings: S2HandRecipe, options: RunOptions) -> GatheredData:
    """The data, found by the first of the processes that torchrun started."""
    shown = options.get("show_progress", False)
    return done_once(
        lambda: gather_data(out, settings, show_progress=shown),
        options.get("device", "auto"),
        settings.train.precision,
    )


def stages_of(settings: S2HandRecipe, asked: SelfsupOptions) -> list[str]:
    """The stages to run, in order. Raises HandkitError for a stage that the recipe or the command has not."""
    known = ["hand", *(["keypoints"] if learns_keypoints(settings) else []), asked.together]
    if asked.stage == ALL:
        return [asked.together] if asked.init is not None else known
    if asked.stage not in known:
        why = "the recipe has no 2D keypoint estimator" if asked.stage == "keypoints" else "it is the other command's"
        raise HandkitError(f"there is no stage {asked.stage!r} here: {why}", f"stages are all, {', '.join(known)}")
    return [asked.stage]


def learns_keypoints(settings: S2HandRecipe) -> bool:
    """Whether a 2D keypoint estimator takes part: a recipe, and a term of weight above 0."""
    weights = term_weights(settings.loss, settings.data.frames)
    return settings.keypoints is not None and weights["estimated"] > 0


def _training_of(settings: S2HandRecipe, stage: str, data: GatheredData) -> TrainRecipe:
    batch = _frames_a_step(settings, stage)
    return stage_training(settings.train, settings.stage(stage), frames=data.training, batch=batch)


def run_stage(
    out: Path,
    stage: str,
    settings: S2HandRecipe,
    data: GatheredData,
    *,
    init: Path | Sequence[Path] | None = None,
    **options: Unpack[RunOptions],
) -> TrainResult:
    """Train one stage into OUT/<stage>, or go on with it; `init` may be several files, each of some of the parts."""
    recipe = _training_of(settings, stage, data)
    windows = stage == "video"
    data = data.with_windows(settings.data) if windows else data
    seed_all(recipe.seed)
    network, before = begun_network(out, stage, settings, init)
    hand = load_hand(settings.hand, "right")
    objective = S2HandLoss(
        settings.loss,
        hand,
        stage=stage,
        frames=settings.data.frames if windows else 1,
        supervision=settings.data.supervision,
        landmarks=data.landmarks,
        has_keypoints=network.keypoints is not None,
        without=settings.stage(stage).without,
    )
    batch = _frames_a_step(settings, stage)
    method = S2HandMethod(
        network,
        hand,
        stage=stage,
        objective=objective,
        render=settings.loss.render,
        source=data.windows(settings, batch) if windows else data.stills(settings, batch),
        held_out=data.held_out(settings, batch, windows=windows),
        learned_from={
            "size": settings.network.size,
            "box_scale": settings.data.crop.box_scale,
            "source": data.words,
            "landmarks": data.landmarks,
            "supervision": settings.data.supervision,
            **({"before": before} if before else {}),
        },
    )
    folder = out / stage
    return train(
        method,
        recipe,
        out=folder,
        resolved={
            **resolve_stage(settings, stage, settings.stage(stage), recipe),
            "stage": stage,
            "data_key": data.key,
            "init": before,
        },
        on_validated=PreviewWriter(method, folder),
        **options,
    )


def _frames_a_step(settings: S2HandRecipe, stage: str) -> int:
    """The frames of a batch: of windows the most whole ones that it holds, at least one."""
    batch = settings.stage(stage).batch
    return max(1, batch // settings.data.frames) * settings.data.frames if stage == "video" else batch


def new_network(settings: S2HandRecipe, *, hand: bool = True, keypoints: bool = True) -> S2HandSystem:
    """Untrained parts; of the keypoint estimator none where the recipe has none."""
    network = settings.network
    new_hand = {
        "backbone": network.backbone,
        "camera": network.camera,
        "drop_path": network.drop_path,
        "mean_shape": network.mean_shape,
    }
    estimator = settings.keypoints if keypoints and learns_keypoints(settings) else None
    return build_system(
        hand=new_hand if hand else None,
        keypoints=None if estimator is None else estimator.model_dump(),
        backbone_weights=network.backbone_weights,
    )


def begun_network(
    out: Path, stage: str, settings: S2HandRecipe, init: Path | Sequence[Path] | None
) -> tuple[S2HandSystem, dict[str, str]]:
    """What a stage begins with, and the digests of the files it comes from."""
    if init is None and stage in ("hand", "keypoints"):
        return new_network(settings, hand=stage == "hand", keypoints=stage == "keypoints"), {}
    given = [out / name / WEIGHTS for name in ("hand", "keypoints")]
    if init is not None:
        given = [init] if isinstance(init, Path) else list(init)
    found = [path for path in given if path.is_file()]
    parts = [load_system(path)[0] for path in found]
    hand = next((part.hand for part in parts if part.hand is not None), None)
    keypoints = next((part.keypoints for part in parts if part.keypoints is not None), None)
    if (hand is None and stage != "keypoints") or (keypoints is None and stage == "keypoints"):
        what = "keypoint estimator" if stage == "keypoints" else "3D network"
        raise HandkitError(
            f"stage {stage} has no {what} to start from in {given[0]}",
            f"run --stage {'keypoints' if stage == 'keypoints' else 'hand'} first, or give --init CHECKPOINT",
        )
    if stage in ("hand", "keypoints"):
        hand, keypoints = (hand, None) if stage == "hand" else (None, keypoints)
    elif not learns_keypoints(settings):
        keypoints = None
    elif keypoints is None:
        logger.warning("no keypoint estimator to start from: a new one learns together with the 3D network")
        keypoints = new_network(settings, hand=False).keypoints
    network = S2HandSystem(hand, keypoints)
    return network.train(), digest_weights(*found)


_TITLES: Final = {
    "projected_px": "projected, px of 224",
    "projected_percent": "% of the hand",
    "estimated_px": "estimated, px of 224",
    "joints_3d_pa_mm": "PA-MPJPE, mm",
}


def print_report(result: SelfsupResult) -> None:
    """Print to stdout."""
    console = report_console()
    for line in result.data.lines():
        console.print(line, soft_wrap=True)
    if result.is_dry:
        print_planned(console, result.planned)
        return
    table = report_table("held out: mean", *_TITLES.values())
    for stage, run in result.stages.items():
        if not run.interrupted:
            table.add_row(stage, *(f"{run.metrics[key]:.2f}" if key in run.metrics else "-" for key in _TITLES))
    console.print(table)
    print_end(console, result, beside="previews, recipe.json and logs", following=_next(result))


def _next(result: SelfsupResult) -> str:
    how = "--keypoint-source hourglass" if list(result.stages) == ["keypoints"] else "--method s2hand"
    return f"handkit demo YOUR_VIDEO.mp4 {how} --checkpoint {result.last.weights}"
