"""`handkit pretrain pose-encoder`: the pose encoder's training, and what is told of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from typing_extensions import Unpack

from handkit.hand.model import load_hand
from handkit.machine import single_thread
from handkit.methods.pose_encoder import PoseEncoderMethod, PoseEncoderRecipe
from handkit.metrics import mpjpe_mm
from handkit.nets.pose_encoder import encoder_name, load_pose_encoder
from handkit.recipe import load_recipe
from handkit.runs.result import (
    RunOptions,
    RunResult,
    print_interrupted,
    print_written,
    report_console,
    report_table,
    summarize,
)
from handkit.train import seed_all, train

# Held-out hands, by what differs from the mean shape's natural poses without noise.
_SETS: dict[str, dict[str, float]] = {
    "natural": {},
    "shapes": {"mean_shape": 0.0},
    "noisy": {"noisy": 1.0, "noise_mm": 2.0},
    "uniform": {"uniform": 1.0},
}
_FLOOR_SAMPLES, _FLOOR_STEPS = 500, 150


def pretrain_pose_encoder(
    out: Path,
    *,
    recipe: str = "pose-encoder",
    changes: Sequence[str] = (),
    **options: Unpack[RunOptions],
) -> RunResult:
    """Train the pose encoder, or go on with the run in `out`, and measure its best weights on held-out hands.

    On one thread of the CPU: its many small products gain nothing from more.
    """
    settings = load_recipe(PoseEncoderRecipe, recipe, changes)
    hand = load_hand(settings.hand, "right")
    seed_all(settings.train.seed)
    method = PoseEncoderMethod(settings, hand)
    with single_thread():
        ended = train(
            method,
            settings.train,
            out=out,
            resolved=settings.model_dump(mode="json"),
            **options,
        )
        summary = summarize(ended, hand=settings.hand)
        if not ended.interrupted:
            summary |= {"weights": str(ended.weights), "held_out": measure_pose_encoder(method, ended.weights)}
    return RunResult(ended, summary)


def measure_pose_encoder(method: PoseEncoderMethod, weights: Path) -> dict[str, Any]:
    """Both read-outs of stored weights on held-out hands, and what the best 10 coefficients could reach."""
    method.network = load_pose_encoder(45, weights, hand=method.hand.name).network
    result: dict[str, Any] = {"samples": method.recipe.data.held_out}
    for name, changes in _SETS.items():
        batch = method.held_out(**changes)
        with torch.no_grad():
            found = method.network(batch["seen"])
            measured = method.validate(batch)
        result[name] = {key: float(measured[key].mean()) for key in ("joints_45_mm", "joints_10_mm")}
        read_outs = {"45": found.angles, "10": method.angles_of(found.coefficients)}
        for values, angles in read_outs.items():
            beyond = method.beyond_limits(angles).rad2deg()
            result[name][f"beyond_limits_{values}_share"] = float((beyond > 1e-3).double().mean())
            result[name][f"beyond_limits_{values}_worst_deg"] = float(beyond.max())
    result["floor_10"] = _floor(method, method.held_out())
    return result


def _floor(method: PoseEncoderMethod, batch: dict[str, Tensor]) -> dict[str, float]:
    """What 10 coefficients can say of the true poses: projected on them, and fitted to their joints."""
    angles, joints, betas = (batch[key][:_FLOOR_SAMPLES] for key in ("angles", "joints", "betas"))
    projected = method.project(angles)
    fitted = projected.clone().requires_grad_()
    optimizer = torch.optim.Adam([fitted], lr=0.03)
    for _ in range(_FLOOR_STEPS):
        gap = method.pose(method.angles_of(fitted), betas) - joints
        loss = (gap.square().sum(-1) + 1e-10).sqrt().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    errors = {}
    with torch.no_grad():
        for name, coefficients in (("projected_mm", projected), ("fitted_mm", fitted)):
            errors[name] = float(mpjpe_mm(method.pose(method.angles_of(coefficients), betas), joints).mean())
    return errors


def print_report(result: RunResult) -> None:
    """Print to stdout."""
    console, run, summary = report_console(), result.train, result.summary
    if run.interrupted:
        print_interrupted(console, run)
        return
    held_out = summary["held_out"]
    columns = ("natural", "other shapes", "2 mm noise", "any pose", "past a limit", "worst")
    table = report_table("held out: mean joint error, mm", *columns)
    for values in ("45", "10"):
        figures = [f"{held_out[name][f'joints_{values}_mm']:.2f}" for name in _SETS]
        limits = held_out["natural"]
        share, worst = (limits[f"beyond_limits_{values}_{what}"] for what in ("share", "worst_deg"))
        label = {"45": "45 angles", "10": "10 coefficients"}[values]
        table.add_row(label, *figures, f"{100 * share:.2f} %", f"{worst:.1f} deg")
    floor = held_out["floor_10"]
    table.add_row("10 fitted to the joints", f"{floor['fitted_mm']:.2f}")
    table.add_row("10 projected from the pose", f"{floor['projected_mm']:.2f}")
    console.print(table)
    print_written(console, run)
    name = encoder_name(summary["hand"])
    console.print(f"next: HANDKIT_WEIGHTS={run.out} lets every verb find {name}, where none is shipped", soft_wrap=True)
