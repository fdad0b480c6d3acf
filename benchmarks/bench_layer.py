"""The layer's speed beside smplx's on the same arrays, measured in turns within one run, on two threads.

    pytest benchmarks/bench_layer.py

Figures are 20th percentiles, which other work on the machine moves least. Forward plus backward: the gradient of a loss
on the vertices to pose, orientation, shape and translation.
"""

import contextlib
import io
import pickle
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from handkit.hand import ManoLayer, load_hand

pytest.importorskip("smplx")

SIZES = {"global_orient": 3, "hand_pose": 45, "betas": 10, "transl": 3}


@pytest.fixture(scope="module", autouse=True)
def _two_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def layers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    import smplx

    hand = load_hand("open")
    held = {
        "v_template": hand.v_template,
        "shapedirs": hand.shapedirs,
        "posedirs": hand.posedirs,
        "J_regressor": hand.J_regressor,
        "weights": hand.lbs_weights,
        "kintree_table": np.stack([hand.parents, np.arange(16)]),
        "f": hand.faces,
        "hands_mean": hand.hands_mean,
        "hands_components": hand.hands_components,
    }
    path: Path = tmp_path_factory.mktemp("mano") / "MANO_RIGHT.pkl"
    path.write_bytes(pickle.dumps(held))
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        theirs = smplx.create(str(path), model_type="mano", use_pca=False, flat_hand_mean=True, is_rhand=True)
    return {"handkit": ManoLayer(hand), "smplx": theirs}


def forward(layer: Any, inputs: dict[str, Tensor]) -> None:
    with torch.no_grad():
        layer(**inputs)


def forward_backward(layer: Any, inputs: dict[str, Tensor]) -> None:
    torch.autograd.grad(layer(**inputs).vertices.square().sum(), list(inputs.values()))


@pytest.mark.parametrize(
    ("run", "batch", "rounds", "bar"),
    [
        (forward, 1, 300, 1.0),
        (forward_backward, 1, 200, 1.0),
        (forward_backward, 64, 50, 1.5),
        (forward_backward, 512, 15, 1.5),
    ],
)
def test_beside_smplx(
    benchmark: Any,
    capsys: pytest.CaptureFixture,
    layers: dict[str, Any],
    run: Callable[[Any, dict[str, Tensor]], None],
    batch: int,
    rounds: int,
    bar: float,
) -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = {
        name: (0.4 * torch.randn(batch, size, generator=generator)).requires_grad_() for name, size in SIZES.items()
    }
    seconds: dict[str, list[float]] = {name: [] for name in layers}
    for _ in range(rounds):
        for name, layer in layers.items():
            start = time.perf_counter()
            run(layer, inputs)
            seconds[name].append(time.perf_counter() - start)
    ours, theirs = (1000 * float(np.quantile(seconds[name], 0.2)) for name in ("handkit", "smplx"))
    benchmark.extra_info.update(handkit_ms=ours, smplx_ms=theirs, ratio=theirs / ours)
    benchmark.pedantic(run, args=(layers["handkit"], inputs), rounds=rounds, warmup_rounds=2)
    with capsys.disabled():
        print(
            f"\n{run.__name__}, batch {batch}: {ours:.2f} ms, smplx {theirs:.2f} ms, {theirs / ours:.2f} times as fast"
        )
    assert theirs / ours >= bar
