"""Optimisers and their rates."""

import numpy as np
import pytest
import torch

from handkit.train import TrainRecipe, learning_rate
from handkit.train.optimizer import build_optimizer, depends_on_steps


def test_schedule() -> None:
    recipe = TrainRecipe(steps=110, warmup_steps=10, final_lr=0.1)
    rates = [learning_rate(step, recipe) for step in range(110)]
    assert rates[:10] == pytest.approx(np.arange(1, 11) / 10)
    assert rates[10] == 1.0
    assert rates[60] == pytest.approx(0.55)
    assert rates[-1] == pytest.approx(0.1, abs=1e-3)
    assert np.all(np.diff(rates[10:]) < 0)
    assert learning_rate(50, TrainRecipe(steps=100, schedule="constant")) == 1.0


def test_rates_in_a_line_and_by_milestones() -> None:
    recipe = TrainRecipe(steps=12, warmup_steps=2, schedule="linear", final_lr=0.2)
    rates = [learning_rate(step, recipe) for step in range(12)]
    assert rates[1:3] == [1.0, 1.0]
    assert np.diff(rates[2:]) == pytest.approx(-0.08)
    recipe = TrainRecipe(steps=12, warmup_steps=2, schedule="milestones", milestones=(8, 5), factor=0.5)
    assert [learning_rate(step, recipe) for step in (0, 1, 4, 5, 7, 8, 11)] == [0.5, 1, 1, 0.5, 0.5, 0.25, 0.25]


def test_rates_that_trail_off() -> None:
    recipe = TrainRecipe(steps=20, warmup_steps=2, schedule="trailing", decay_steps=10, final_lr=0.1)
    rates = [learning_rate(step, recipe) for step in range(20)]
    assert rates[:2] == [0.5, 1.0]
    assert rates[2:11] == [1.0] * 9
    assert np.diff(rates[10:]) == pytest.approx(-0.09)
    assert learning_rate(20, recipe) == pytest.approx(0.1)


def test_trailing_off_without_decay_or_from_the_warm_up_on() -> None:
    recipe = TrainRecipe(steps=12, warmup_steps=2, schedule="trailing")
    assert [learning_rate(step, recipe) for step in range(1, 12)] == [1.0] * 11
    recipe = TrainRecipe(steps=12, warmup_steps=2, schedule="trailing", decay_steps=100, final_lr=0.2)
    line = TrainRecipe(steps=12, warmup_steps=2, schedule="linear", final_lr=0.2)
    assert [learning_rate(step, recipe) for step in range(12)] == [learning_rate(step, line) for step in range(12)]
    assert depends_on_steps(recipe)


def test_optimisers_and_their_groups() -> None:
    value = torch.nn.Parameter(torch.ones(1))
    groups = [{"params": [value], "lr": 0.5}]
    sgd = build_optimizer(groups, TrainRecipe(steps=1, optimizer="sgd", momentum=0.25, weight_decay=0.1))
    assert type(sgd) is torch.optim.SGD
    assert {key: sgd.param_groups[0][key] for key in ("lr", "momentum", "weight_decay")} == {
        "lr": 0.5,
        "momentum": 0.25,
        "weight_decay": 0.1,
    }
    groups = [{"params": [value], "weight_decay": 0.0}]
    for name, kind in (("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)):
        recipe = TrainRecipe.model_validate({"steps": 1, "optimizer": name, "betas": (0.5, 0.6), "weight_decay": 0.1})
        adam = build_optimizer(groups, recipe)
        assert type(adam) is kind
        assert (adam.param_groups[0]["betas"], adam.param_groups[0]["weight_decay"]) == ((0.5, 0.6), 0.0)
