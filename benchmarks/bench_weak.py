"""What 160 frames (16 sequences of 10) of SeqHAND's hand and mask term cost, forward plus backward, on one thread.

    pytest -s benchmarks/bench_weak.py

Figures are 20th percentiles, which other work on the machine moves least.
"""

import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from handkit.hand import load_hand
from handkit.hand.weak import WeakHandLayer
from handkit.losses import mask_fitting
from handkit.machine import single_thread

FRAMES = (16, 10)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with single_thread():
        yield


def milliseconds(run: Callable[[], object], rounds: int = 30) -> float:
    run()
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return 1000 * float(np.percentile(taken, 20))


@pytest.mark.parametrize(("want_vertices", "bar_ms"), [(True, 40), (False, 30)])
def test_weak_hand(want_vertices: bool, bar_ms: float) -> None:
    layer = WeakHandLayer(load_hand("open"))
    sizes = {"pca": (10,), "betas": (10,), "scale": (), "shift": (2,), "orient": (3,)}
    inputs = {name: torch.randn((*FRAMES, *size), requires_grad=True) for name, size in sizes.items()}

    def run() -> None:
        found = layer(**inputs, want_vertices=want_vertices)
        torch.autograd.grad(sum(points.square().sum() for points in found), list(inputs.values()))

    taken = milliseconds(run)
    print(f"\nweak hand, vertices {want_vertices}: {taken:.1f} ms")
    assert taken < bar_ms


def test_mask_fitting() -> None:
    points = (140 * torch.rand(*FRAMES, 778, 2) - 14).requires_grad_()
    distance, valid = 30 * torch.rand(*FRAMES, 112, 112), torch.rand(*FRAMES, 778) < 0.9
    taken = milliseconds(lambda: torch.autograd.grad(mask_fitting(points, distance, valid), points))
    print(f"\nmask fitting: {taken:.1f} ms")
    assert taken < 20
