"""Hands a second that S2HAND's network sees, and seconds a training step, on two threads.

    pytest -s benchmarks/bench_s2hand.py

Images are 224 px, eight a batch. Figures are 20th percentiles, which other work on the machine moves least.
"""

import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from handkit.nets import HourglassNetwork, S2HandNetwork

BATCH, SIZE, THREADS = 8, 224, 2
BAR_HANDS_PER_S = 25


@pytest.fixture(autouse=True)
def _two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    yield
    torch.set_num_threads(before)


def seconds(run: Callable[[], object], rounds: int) -> float:
    run()
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return float(np.percentile(taken, 20))


@pytest.mark.parametrize("want_texture", [True, False])
@pytest.mark.parametrize("backbone", ["efficientnet_b0", "efficientnet_b3"])
def test_hands_a_second(backbone: str, want_texture: bool) -> None:
    network, images = S2HandNetwork(backbone=backbone).eval(), torch.rand(BATCH, 3, SIZE, SIZE)
    with torch.inference_mode():
        taken = seconds(lambda: network(images, want_texture), rounds=15)
    print(f"\n{backbone}, texture {want_texture}: {BATCH / taken:.1f} hands/s")
    if backbone == "efficientnet_b0":
        assert BATCH / taken > BAR_HANDS_PER_S


@pytest.mark.parametrize("arguments", [{}, {"features": 64, "modules": 1}])
def test_keypoints_a_second(arguments: dict[str, int]) -> None:
    network, images = HourglassNetwork(**arguments).eval(), torch.rand(BATCH, 3, SIZE, SIZE)
    with torch.inference_mode():
        taken = seconds(lambda: network(images), rounds=5)
    print(f"\nhourglass {arguments or 'as released'}: {BATCH / taken:.1f} hands/s")


@pytest.mark.parametrize("size", [128, 224])
def test_training_step(size: int) -> None:
    network, images = S2HandNetwork(), torch.rand(BATCH, 3, size, size)
    optimizer = torch.optim.Adam(network.parameters())

    def step() -> None:
        optimizer.zero_grad()
        sum(part.square().mean() for part in network(images)).backward()
        optimizer.step()

    print(f"\ntraining step of {BATCH} at {size} px: {seconds(step, rounds=5):.2f} s")
