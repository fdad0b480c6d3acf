"""Pairs of views with a known truth, priors that are not trained, and batches that are always the same."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from handkit.checkpoint import CheckpointInfo, save_checkpoint
from handkit.data.handnet_batches import StereoCropBatches
from handkit.data.lixel_targets import lixel_targets
from handkit.hand.model import HandModel, load_hand
from handkit.nets.lixel import LixelNetwork, LixelOutput
from handkit.nets.lixel_system import build_lixel
from handkit.recipe import load_recipe
from handkit.synth.generate import run_generate
from handkit.synth.stereo import StereoRecipe
from handkit.synth.stereo_job import StereoJob
from handkit.train import Place

SIZE = 64


def make_shards(folder: Path, pairs: int, *, hand: str = "open") -> Path:
    recipe = load_recipe(
        StereoRecipe, "stereo", ["width=320", "height=180", "supersample=1", "forearm.bare=0.0", "forearm.sleeve=0.0"]
    )
    job = StereoJob(
        out=folder,
        recipe=recipe,
        seed=0,
        split="train",
        sequences=pairs,
        shard_size=pairs,
        backgrounds=None,
        hand_model=hand,
    )
    run_generate(job, workers=1)
    return folder


def batch_of(shards: Path, pairs: int) -> dict[str, Any]:
    """The first pairs, each a sequence of its own."""
    source = StereoCropBatches(shards, load_hand("open"), batch=pairs, size=SIZE, box_scale=1.5, noise=None)
    return {**source.fixed(pairs, pairs, Place())[0], "sequence": torch.arange(pairs)}


def truth_of(batch: dict[str, Any]) -> LixelOutput:
    targets = lixel_targets(batch, size=SIZE)
    return LixelOutput(targets["vertices"], targets["vertices_depth"])


def small_prior(hand: HandModel | None = None) -> LixelNetwork:
    torch.manual_seed(0)
    return build_lixel(backbone="plain-slim", features=16).eval()


def write_prior(path: Path, *, method: str = "hand-prior", hand: str = "open", depth: int | None = 64) -> Path:
    torch.manual_seed(0)
    network = build_lixel(backbone="plain-slim", features=16, depth=depth)
    known = {"hand": hand, "size": SIZE, "box_scale": 1.5}
    save_checkpoint(
        path, network, CheckpointInfo(method, network.describe(), {"network": {"size": SIZE}}, 3, data=known)
    )
    return path


def apart(pred: Tensor, target: Tensor) -> float:
    return float((pred - target).norm(dim=-1).mean())
