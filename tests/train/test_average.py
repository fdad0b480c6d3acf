"""The average of weights is the one by hand, and is what is kept."""

from pathlib import Path

import pytest
import torch
from torch import nn

from handkit.checkpoint import load_resume, read_checkpoint
from handkit.train.average import Average
from tests.train.line import Line, losses, run


def test_against_a_slow_twin() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    average = Average(network, 0.6)
    slow = {name: value.clone() for name, value in network.state_dict().items()}
    for step in range(1, 20):
        network(torch.randn(5, 2))
        with torch.no_grad():
            network[0].weight.add_(torch.randn(3, 2))
        average.update(network, step)
        decay = min(0.6, (1 + step) / (10 + step))
        for name, value in network.state_dict().items():
            slow[name] = decay * slow[name] + (1 - decay) * value if value.is_floating_point() else value.clone()
    for name, value in average.network.state_dict().items():
        torch.testing.assert_close(value, slow[name], rtol=1e-5, atol=1e-6)
    assert not average.network.training
    assert not any(parameter.requires_grad for parameter in average.network.parameters())


def test_what_does_not_move_stays_bit_identical() -> None:
    network = nn.Linear(50, 50)
    average = Average(network, 0.7)
    for step in range(30):
        average.update(network, step)
    assert torch.equal(average.network.weight, network.weight)


def test_it_is_validated_and_kept(tmp_path: Path) -> None:
    result, method = run(tmp_path / "average", steps=12, validate_every=12, ema=0.9)
    raw, _ = run(tmp_path / "raw", steps=12, validate_every=12)
    assert losses(tmp_path / "average") == losses(tmp_path / "raw")
    assert result.metrics["error_mm"] != pytest.approx(raw.metrics["error_mm"])
    state, kept = read_checkpoint(result.weights)[1], load_resume(tmp_path / "average" / "resume.pt")
    for name, value in state.items():
        assert torch.equal(value, kept["average"][name])
        assert torch.equal(kept["network"][name], method.network.state_dict()[name])
    assert not torch.equal(state["0.weight"], kept["network"]["0.weight"])


def test_resumed_with_average_accumulation_and_dropout(tmp_path: Path) -> None:
    changes = {"ema": 0.95, "accumulate": 2, "steps": 20}
    whole, _ = run(tmp_path / "whole", **changes)
    run(tmp_path / "parts", Line(interrupt_at=13), **changes)
    assert len(losses(tmp_path / "parts")) == 7
    parts, _ = run(tmp_path / "parts", **changes)
    assert losses(tmp_path / "parts") == pytest.approx(losses(tmp_path / "whole"), rel=0, abs=1e-9)
    assert parts.metrics == pytest.approx(whole.metrics, rel=1e-9)
