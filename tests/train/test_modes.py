"""What rests does not change by a bit; what learns does."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from handkit.checkpoint import read_checkpoint
from tests.train.line import Line, run


class Frozen(Line):
    """A line behind a block that does not learn."""

    def __init__(self) -> None:
        super().__init__()
        block = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout(0.5))
        head = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.5), nn.Linear(3, 2))
        self.network = nn.Sequential(block, head)
        self.block, self.head = block, head
        self.begun = {name: value.clone() for name, value in self.network.state_dict().items()}
        self.modes: set[tuple[bool, ...]] = set()

    def parameter_groups(self) -> list[dict[str, Any]]:
        return [{"params": list(self.head.parameters())}]

    def step(self, batch: dict[str, Any]) -> tuple[dict[str, Tensor], Tensor]:
        self.modes.add((self.block.training, *(part.training for part in (*self.block, *self.head))))
        return super().step(batch)


def test_frozen_parts_keep_parameters_and_statistics(tmp_path: Path) -> None:
    method = Frozen()
    result, _ = run(tmp_path, method, steps=12, weight_decay=0.1, ema=0.5)
    assert method.modes == {(False, False, False, False, True, True, True)}
    for state in (method.network.state_dict(), read_checkpoint(result.weights)[1]):
        for name, value in method.begun.items():
            assert torch.equal(value, state[name]) == name.startswith("0."), name
    assert not any(parameter.requires_grad for parameter in method.block.parameters())


def test_normalisation_in_evaluation_mode(tmp_path: Path) -> None:
    method = Frozen()
    run(tmp_path, method, steps=12, norm="eval")
    assert method.modes == {(False, False, False, False, False, True, True)}
    state = method.network.state_dict()
    assert torch.equal(state["1.0.running_mean"], method.begun["1.0.running_mean"])
    assert not torch.equal(state["1.0.weight"], method.begun["1.0.weight"])


def test_normalisation_rests_from_a_step_on(tmp_path: Path) -> None:
    method = Frozen()
    run(tmp_path / "all", method, steps=8)
    kept = method.network.state_dict()["1.0.running_mean"]
    late = Frozen()
    run(tmp_path / "late", late, steps=12, norm_rests_from=8, schedule="constant")
    frozen = (False, False, False, False)
    assert late.modes == {(*frozen, True, True, True), (*frozen, False, True, True)}
    assert torch.equal(late.network.state_dict()["1.0.running_mean"], kept)  # it sees the data alone
    with_more = Frozen()
    run(tmp_path / "late", with_more, steps=16, norm_rests_from=8, schedule="constant")  # and after a restart
    assert with_more.modes == {(*frozen, False, True, True)}
    assert torch.equal(with_more.network.state_dict()["1.0.running_mean"], kept)


def test_a_validation_leaves_modes_and_generators(tmp_path: Path) -> None:
    class Careless(Line):
        def validate(self, batch: dict[str, Any]) -> dict[str, Tensor]:
            assert not self.network.training
            torch.rand(3)
            return super().validate(batch)

    curves = []
    for name, every in (("often", 3), ("seldom", 20)):
        method = Careless()
        result, _ = run(tmp_path / name, method, steps=20, validate_every=every)
        assert method.network.training
        curves.append(read_checkpoint(result.weights)[1] if result.best_step == 20 else method.network.state_dict())
    for name in curves[0]:
        assert torch.equal(curves[0][name], curves[1][name])


def test_how_batches_are_fetched_does_not_change_what_is_drawn(tmp_path: Path) -> None:
    class Drawing(Line):
        def _batches(self, start: int) -> Iterator[dict[str, Any]]:
            torch.rand(5)
            yield from super()._batches(start)

    _, plain = run(tmp_path / "plain", steps=6)
    _, drawing = run(tmp_path / "drawing", Drawing(), steps=6)
    for name, value in plain.network.state_dict().items():
        assert torch.equal(value, drawing.network.state_dict()[name])


@pytest.mark.parametrize("changes", [{"precision": "bf16-mixed"}, {"channels_last": True}])
def test_other_arithmetic_learns_as_well(tmp_path: Path, changes: dict[str, Any]) -> None:
    seen: set[torch.dtype] = set()

    class Convolved(Line):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(3, 2, 1)
            self.layer.register_forward_hook(lambda module, given, found: seen.add(found.dtype))
            self.network = nn.Sequential(nn.Unflatten(1, (3, 1, 1)), self.layer, nn.Flatten())

        def parameter_groups(self) -> list[dict[str, Any]]:
            return [{"params": list(self.network.parameters())}]

        def step(self, batch: dict[str, Any]) -> tuple[dict[str, Tensor], Tensor]:
            losses, found = super().step(batch)
            assert found.dtype == torch.float32
            return losses, found

        def validate(self, batch: dict[str, Any]) -> dict[str, Tensor]:
            found = super().validate(batch)
            assert found["error_mm"].dtype == torch.float32
            return found

    results = {}
    for name, settings in (("plain", {}), ("other", changes)):
        result, method = run(tmp_path / name, Convolved(), steps=60, lr=0.2, validate_every=60, **settings)
        results[name] = result.metrics["error_mm"]
    assert results["plain"] < 0.2
    assert results["other"] == pytest.approx(results["plain"], abs=0.05)
    assert (torch.bfloat16 in seen) == ("precision" in changes)
    if "channels_last" in changes:
        assert method.layer.weight.is_contiguous(memory_format=torch.channels_last)
