"""Test-time refinement: offsets of pose, shape, vertices and camera that bring a hand's outline to a mask.

RealisticHands 3.2, with its settings as printed and with better ones. A hand whose loss does not fall keeps its
original, and the best iterate is what is returned.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from handkit.errors import HandkitError
from handkit.fit.descent import Metric, Momentum, Scaled, Stepper
from handkit.fit.problem import (
    PARTS,
    Evaluation,
    HandState,
    Keypoints,
    Problem,
    RefineSettings,
    RefineWeights,
    View,
    mesh_edges,
)
from handkit.hand import HandModel

__all__ = [
    "CROP_PX",
    "PARTS",
    "SETTINGS",
    "Evaluation",
    "HandState",
    "Keypoints",
    "RefineSettings",
    "RefineWeights",
    "Refined",
    "View",
    "default_settings",
    "published_sums",
    "refine_hands",
]

CROP_PX: Final = 224


def published_sums(hand: HandModel, crop_px: int = CROP_PX) -> RefineSettings:
    """Eq. 5 with its printed sums and lambda = 1, 1, 1, 1, 0.1; SGD of 0.002 and momentum 0.9.

    The paper names no units. These numbers diverge with metres and radians; they work with lengths in millimetres,
    angles in degrees and shapes in hundredths of a standard deviation.
    """
    mesh, square_mm = mesh_edges(hand), 1e6
    return RefineSettings(
        weights=RefineWeights(
            silhouette=1.0 * crop_px**2,
            vertex_offset=1.0 * len(hand.v_template) * square_mm,
            normal=1.0 * len(mesh.face_pairs),
            laplacian=1.0 * len(hand.v_template) * square_mm,
            edge=0.1 * 2 * len(mesh.edges) * square_mm,
        ),
        sigma_px2=1.25,
        stepper="momentum",
        units={"pose": math.radians(1), "shape": 0.01, "vertices": 1e-3, "camera": 1e-3},
    )


def default_settings(hand: HandModel, crop_px: int = CROP_PX) -> RefineSettings:
    """What works best on rendered open hands and a part of the real crops: see docs/results.md."""
    return RefineSettings(
        weights=RefineWeights(
            silhouette=1.0 * crop_px**2,
            silhouette_coarse=10.0 * crop_px**2,
            vertex_offset=2e6,
            laplacian_of_offsets=2e9,
            pose_offset=6e5,
            shape_offset=5000.0,
            joint_offset=8e7,
        ),
        sigma_px2=0.2,
    )


SETTINGS: Final[dict[str, Callable[[HandModel, int], RefineSettings]]] = {
    "default": default_settings,
    "published-sums": published_sums,
}


@dataclass(frozen=True, eq=False, kw_only=True)
class Refined:
    """The hands after refinement, with their losses; `improved` is False where the original was kept."""

    state: HandState
    vertices: Float[Tensor, "B 778 3"]
    joints: Float[Tensor, "B 21 3"]
    loss_before: Float[Tensor, " B"]
    loss_after: Float[Tensor, " B"]
    improved: Bool[Tensor, " B"]


def refine_hands(
    start: HandState,
    *,
    hand: HandModel,
    views: Sequence[View],
    keypoints: Keypoints | None = None,
    free: Sequence[str] = PARTS,
    iterations: int = 10,
    settings: RefineSettings | None = None,
    on_iteration: Callable[[int, Evaluation], None] = lambda iteration, evaluation: None,
) -> Refined:
    """Refine B hands of one side against their masks in one or several views, all together.

    Every iteration renders once, forward and backward; `on_iteration` is given each evaluation, the start first.
    """
    unknown = sorted(set(free) - set(PARTS))
    if unknown:
        raise HandkitError(f"{', '.join(unknown)} cannot be refined", f"choose among {', '.join(PARTS)}")
    settings = settings or default_settings(hand)
    problem = Problem(hand, start, views, keypoints, settings)
    stepper = _build_stepper(problem, free, iterations)
    offsets = problem.zeros(free)
    for iteration in range(iterations):
        leaves = {name: value.detach().requires_grad_() for name, value in offsets.items()}
        found = problem.evaluate(leaves)
        gradients = torch.autograd.grad(found.loss.sum(), list(leaves.values()), allow_unused=True) if leaves else ()
        slopes = {
            name: torch.zeros_like(offsets[name]) if slope is None else torch.nan_to_num(slope, 0.0, 0.0, 0.0)
            for name, slope in zip(leaves, gradients, strict=True)
        }
        on_iteration(iteration, found)
        offsets = stepper.step(offsets, found, slopes)
    with torch.no_grad():
        found = problem.evaluate(offsets)
    on_iteration(iterations, found)
    return _finish(problem, stepper, offsets, found)


def _build_stepper(problem: Problem, free: Sequence[str], iterations: int) -> Stepper:
    settings = problem.settings
    if settings.stepper == "momentum":
        return Momentum(settings.lr, settings.momentum, settings.units)
    return Scaled(Metric.of(problem, free), iterations)


def _finish(problem: Problem, stepper: Stepper, offsets: dict[str, Tensor], found: Evaluation) -> Refined:
    best, first, last = stepper.finish(offsets, found.loss.detach())
    with torch.no_grad():
        state = problem.state(best)
        vertices, joints = problem.meshes(state)
    return Refined(
        state=state,
        vertices=vertices,
        joints=joints,
        loss_before=first,
        loss_after=last,
        improved=last < first,
    )
