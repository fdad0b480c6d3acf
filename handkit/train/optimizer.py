"""The optimiser and its rate."""

import math
from bisect import bisect_right
from typing import Any

import torch

from handkit.train.recipe import TrainRecipe


def build_optimizer(groups: list[dict[str, Any]], recipe: TrainRecipe) -> torch.optim.Optimizer:
    """The recipe's optimiser of a method's groups."""
    groups = [{"lr": recipe.lr, **group} for group in groups]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=recipe.momentum, weight_decay=recipe.weight_decay)
    adam = torch.optim.AdamW if recipe.optimizer == "adamw" else torch.optim.Adam
    return adam(groups, betas=recipe.betas, weight_decay=recipe.weight_decay)


def learning_rate(step: int, recipe: TrainRecipe) -> float:
    """The share of a group's rate at a step counted from 0: linear warm-up, then the schedule."""
    if step < recipe.warmup_steps:
        return (step + 1) / recipe.warmup_steps
    if recipe.schedule == "constant":
        return 1.0
    if recipe.schedule == "milestones":
        return recipe.factor ** bisect_right(sorted(recipe.milestones), step)
    start = recipe.warmup_steps
    if recipe.schedule == "trailing":
        start = max(start, recipe.steps - recipe.decay_steps)
    done = max(0, step - start) / max(1, recipe.steps - start)
    left = 0.5 * (1 + math.cos(math.pi * done)) if recipe.schedule == "cosine" else 1 - done
    return recipe.final_lr + (1 - recipe.final_lr) * left


def depends_on_steps(recipe: TrainRecipe) -> bool:
    """Whether another number of steps changes the rate of steps that both have."""
    return recipe.schedule in ("cosine", "linear", "trailing")
