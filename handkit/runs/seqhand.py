"""`handkit pretrain seqhand` and `handkit finetune seqhand`: recipes to trained weights, and what is told of them."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import Unpack

from handkit.data.color_jitter import ColorJitter
from handkit.data.crops import HandCrops
from handkit.data.registry import build_training_dataset
from handkit.data.sequence_batches import ShardBatches
from handkit.data.staged_batches import Batch, BatchSource, StagedBatches
from handkit.data.still_batches import StillBatches, fixed_stills
from handkit.errors import HandkitError
from handkit.hand.model import load_hand
from handkit.inference.trained import crop_size
from handkit.methods.seqhand import SeqHandMethod
from handkit.methods.seqhand_loss import SeqHandLoss
from handkit.methods.seqhand_recipe import SYNTHETIC, FinetuneRecipe, SeqHandRecipe, StillDataRecipe
from handkit.nets import build_network, load_network
from handkit.recipe import load_recipe
from handkit.runs.result import (
    RunOptions,
    RunResult,
    loading_workers,
    print_interrupted,
    print_written,
    report_console,
    report_table,
    summarize,
)
from handkit.synth.batches import SyntheticBatches, fixed_batches
from handkit.train import Place, TrainResult, seed_all, train


def pretrain_seqhand(
    out: Path,
    *,
    recipe: str = "seqhand-net",
    changes: Sequence[str] = (),
    **options: Unpack[RunOptions],
) -> RunResult:
    """Train a SeqHAND network on synthetic sequences, or go on with the run in `out`."""
    settings = load_recipe(SeqHandRecipe, recipe, changes)
    hand = load_hand(settings.hand, "right")
    seed_all(settings.train.seed)
    weights = settings.network.backbone_weights
    network = build_network(settings.network.name, backbone_weights=weights)
    method = SeqHandMethod(
        network,
        hand,
        objective=SeqHandLoss(settings.loss, from_root=False),
        source=_training_sequences(settings),
        held_out=HeldOutSequences(settings),
        learned_from={"source": settings.data.source, "recipe": settings.data.recipe, "size": settings.network.size},
    )
    ended = train(
        method,
        settings.train,
        out=out,
        resolved=settings.model_dump(mode="json"),
        **options,
    )
    backbone = "random" if weights is None else Path(weights).name
    return _result(ended, network=settings.network.name, backbone=backbone, learned_from=settings.data.source)


def finetune_seqhand(
    out: Path,
    *,
    init: Path,
    recipe: str = "seqhand-finetune",
    changes: Sequence[str] = (),
    **options: Unpack[RunOptions],
) -> RunResult:
    """Train a pretrained network further on annotated stills, or go on with the run in `out`.

    With `freeze_memory` the recurrent layer's parameters and statistics stay as they are in `init`, bit for bit; a
    network that has none is refused. Raises HandkitError without data, and for weights of another kind.
    """
    settings = load_recipe(FinetuneRecipe, recipe, changes)
    network, before = load_network(init)
    if settings.freeze_memory and network.memory is None:
        raise HandkitError(f"{init} holds {before.method}, which has no recurrent layer", "set freeze_memory=false")
    hand_name = str(before.data.get("hand", "open"))
    size = crop_size(before)
    seed_all(settings.train.seed)
    training, held_out = _stills(settings.data, size)
    mask = settings.loss.mask > 0
    method = SeqHandMethod(
        network,
        load_hand(hand_name, "right"),
        objective=SeqHandLoss(settings.loss, from_root=True),
        source=StillBatches(
            training,
            batch=settings.data.batch,
            seed=settings.train.seed,
            workers=loading_workers(settings.data.workers),
            mask_distance=mask,
        ),
        held_out=HeldOutStills(held_out, count=settings.data.validation_stills, batch=settings.data.batch),
        learned_from={
            "size": size,
            "finetuned_on": [f"{source.dataset}={Path(source.root).name}" for source in settings.data.sources],
            "memory_frozen": settings.freeze_memory,
            "before": before.data,
        },
        freeze_memory=settings.freeze_memory,
    )
    ended = train(
        method,
        settings.train,
        out=out,
        resolved={**settings.model_dump(mode="json"), "init": hashlib.sha256(init.read_bytes()).hexdigest()},
        **options,
    )
    return _result(ended, network=before.network["name"], learned_from=", ".join(method.describe()[1]["finetuned_on"]))


def _training_sequences(settings: SeqHandRecipe) -> BatchSource:
    """Windows as the recipe has them; where it asks for that, short ones first."""
    given = settings.data
    late = _windows(settings, batch=given.batch, frames=given.frames)
    short = min(given.short_frames, given.frames)
    count = round(given.short_share * settings.train.steps) * settings.train.accumulate
    if not count or short == given.frames:
        return late
    return StagedBatches(_windows(settings, batch=given.batch * given.frames // short, frames=short), late, count=count)


def _windows(settings: SeqHandRecipe, *, batch: int, frames: int) -> BatchSource:
    given = settings.data
    common: dict[str, Any] = {
        "batch": batch,
        "frames": frames,
        "size": settings.network.size,
        "seed": settings.train.seed,
        "workers": loading_workers(given.workers),
        "mask_distance": settings.loss.mask > 0,
        "color_jitter": ColorJitter() if given.color_jitter else None,
    }
    if given.source != SYNTHETIC:
        return ShardBatches(Path(given.source), hand=settings.hand, **common)
    return SyntheticBatches(**_drawn_from(settings), sequences=given.sequences, **common)


def _drawn_from(settings: SeqHandRecipe) -> dict[str, Any]:
    given = settings.data
    return {
        "recipe": given.recipe,
        "hand_model": settings.hand,
        "poses": given.poses,
        "backgrounds": Path(given.backgrounds) if given.backgrounds else None,
    }


@dataclass(frozen=True)
class HeldOutSequences:
    """Drawn sequences that no training uses, kept in memory once made."""

    settings: SeqHandRecipe
    _made: list[list[Batch]] = field(default_factory=list)

    def batches(self, place: Place) -> Iterator[Batch]:
        if not self._made:
            given = self.settings.data
            self._made.append(
                fixed_batches(
                    seed=given.validation_seed,
                    sequences=given.validation_sequences,
                    batch=given.batch,
                    frames=given.frames,
                    size=self.settings.network.size,
                    place=place,
                    **_drawn_from(self.settings),
                )
            )
        yield from self._made[0]


@dataclass(frozen=True)
class HeldOutStills:
    """Stills that training does not use, centred."""

    crops: Sequence[HandCrops]
    count: int
    batch: int

    def batches(self, place: Place) -> Iterator[Batch]:
        return fixed_stills(self.crops, count=self.count, batch=self.batch, place=place)


def _stills(data: StillDataRecipe, size: int) -> tuple[list[tuple[HandCrops, float]], list[HandCrops]]:
    """Crops to learn from, with their weights, and the held-out ones: the end of every data set."""
    if not data.sources:
        raise HandkitError("no data to finetune on", "give --data NAME=DIR, such as --data freihand=FreiHAND")
    options: dict[str, Any] = {"size": size, "box_scale": data.box_scale, "reposition": data.reposition}
    options |= {"rotate_deg": data.rotate_deg, "scale_jitter": data.scale_jitter}
    options |= {"color_jitter": ColorJitter() if data.color_jitter else None}
    training, held_out = [], []
    for source in data.sources:
        read = build_training_dataset(source.dataset, source.root, source.split, **source.options)
        scenes = np.array([read.scene(row) for row in range(len(read))])
        first = np.quantile(scenes, 1 - data.held_out)
        if not (scenes < first).any():
            raise HandkitError(
                f"{source.root} has {len(np.unique(scenes))} pictures, too few to hold some out", "give more"
            )
        training.append((HandCrops(read, rows=np.flatnonzero(scenes < first), **options), source.weight))
        held_out.append(HandCrops(read, rows=np.flatnonzero(scenes >= first), **options))
    return training, held_out


def _result(ended: TrainResult, **known: Any) -> RunResult:
    found = {} if ended.interrupted else {"weights": str(ended.weights), "held_out": ended.metrics}
    return RunResult(ended, summarize(ended, **known, **found))


def print_report(result: RunResult) -> None:
    """Print to stdout."""
    console, run, summary = report_console(), result.train, result.summary
    if run.interrupted:
        print_interrupted(console, run)
        return
    names = {"joints_3d_mm": "3D, mm", "joints_3d_root_mm": "from joint 0", "joints_3d_pa_mm": "Procrustes"}
    names["joints_2d_px"] = "2D, px"
    shown = {title: run.metrics[key] for key, title in names.items() if key in run.metrics}
    table = report_table("held out: mean joint error", *shown)
    table.add_row(summary["network"], *(f"{value:.2f}" for value in shown.values()))
    console.print(table)
    print_written(console, run)
    console.print(f"next: {_next(run, finetuned='backbone' not in summary)}", soft_wrap=True)


def _next(run: TrainResult, *, finetuned: bool) -> str:
    if finetuned:
        return f"handkit demo YOUR_VIDEO.mp4 --method seqhand --checkpoint {run.weights}"
    measure = "handkit evaluate --protocol seqhand --dataset seqhand --data DIR"
    return f"{measure} --method seqhand --checkpoint {run.weights}"
