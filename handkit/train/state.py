"""The random generators of a run: seeded, kept, put back."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def seed_all(seed: int) -> None:
    """Seed what networks are initialised from; to be called before a method is built."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - libraries draw from it


def seed_process(seed: int, rank: int, step: int = 0) -> None:
    """Seed what a process draws from `step` on, so that no two drop out the same; the first's beginning is the seed."""
    if rank or step:
        seed_all(int(np.random.SeedSequence((seed, rank, step)).generate_state(1)[0]))


def random_state(device: torch.device) -> dict[str, Any]:
    """The generators of torch, of its device, and of numpy, as plain values."""
    numpy_state: Any = np.random.get_state(legacy=True)  # noqa: NPY002
    name, keys, position, has_gauss, gauss = numpy_state
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        "numpy": [str(name), torch.from_numpy(keys.astype(np.int64)), int(position), int(has_gauss), float(gauss)],
    }


def set_random_state(state: dict[str, Any], device: torch.device) -> None:
    """Put back what `random_state` gave; a CUDA generator only on CUDA."""
    torch.set_rng_state(state["torch"])
    if device.type == "cuda" and state["cuda"] is not None:
        torch.cuda.set_rng_state(state["cuda"], device)
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002


@contextmanager
def generators_kept() -> Iterator[None]:
    """Leave the CPU's generators as they were: how data are fetched must not change what a network draws."""
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002
    try:
        yield
    finally:
        torch.set_rng_state(torch_state)
        np.random.set_state(numpy_state)  # noqa: NPY002
