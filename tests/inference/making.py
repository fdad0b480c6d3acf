"""Small networks and pictures for tests of inference."""

from pathlib import Path

import numpy as np
import torch

from handkit.checkpoint import CheckpointInfo, save_checkpoint
from handkit.inference.looks import Look, look_at
from handkit.nets import SequenceNetwork, build_network

SIZE = 64


def small_network(name: str = "seqhand-small", **arguments: int) -> SequenceNetwork:
    """Seeded weights whose answers differ from picture to picture."""
    torch.manual_seed(0)
    network = build_network(name, **arguments).eval()
    with torch.no_grad():
        head = network.head[-1] if isinstance(network.head, torch.nn.Sequential) else network.head
        head.weight.mul_(20)
    return network


def info_of(network: SequenceNetwork) -> CheckpointInfo:
    return CheckpointInfo(
        method="seqhand", network=network.describe(), recipe={"network": {"size": SIZE}}, step=7, data={"hand": "open"}
    )


def write_small(path: Path, name: str = "seqhand-small") -> Path:
    network = small_network(name, hidden=16, latent=16)
    save_checkpoint(path, network, info_of(network))
    return path


def looks_of(
    count: int, *, track: int | str = 0, seed: int = 0, fps: float = 30.0, is_right: bool = True, begin: int = 0
) -> list[Look]:
    """A hand's worth of noise that drifts."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 255, (begin + count, 100, 120, 3), dtype=np.uint8)
    return [
        look_at(
            images[t],
            np.array([20.0 + t, 10, 80 + t, 70]),
            SIZE,
            is_right=is_right,
            track=track,
            time_s=t / fps,
        )
        for t in range(begin, begin + count)
    ]
