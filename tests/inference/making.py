"""Small networks and pictures for tests of inference."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from handkit.checkpoint import CheckpointInfo, save_checkpoint
from handkit.inference.looks import Look, look_at
from handkit.nets import HandNet, HourglassNetwork, S2HandNetwork, S2HandSystem, SequenceNetwork, build_network
from handkit.nets.handnet import extend_with_stereo
from handkit.nets.heatmaps import keypoint_heatmaps
from handkit.nets.lixel import LixelNetwork

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


def small_system(*, hand: bool = True, keypoints: bool = False, camera: str = "perspective") -> S2HandSystem:
    """Seeded weights whose answers differ from picture to picture, near a hand in front of the camera."""
    torch.manual_seed(0)
    network = S2HandNetwork(camera=camera, drop_path=0.0) if hand else None
    estimator = HourglassNetwork(stacks=1, features=16, modules=1) if keypoints else None
    system = S2HandSystem(network, estimator)
    coarse = torch.rand(16, 3, 12, 12) * torch.linspace(0, 1, 16)[:, None, None, None]
    coarse[::3, :, :6] = 0
    images = torch.nn.functional.interpolate(coarse, (128, 128), mode="bilinear")
    with torch.no_grad():
        # Without statistics of pictures little of one gets through so deep a network.
        for layer in system.modules():
            if isinstance(layer, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
                layer.momentum = 1.0
        system.train()(images)
        system.eval()
        if network is not None:
            _spread_answers(network, images)
        if estimator is not None:
            for stack in estimator.stacks:
                stack.score.weight.mul_(40)
    return system


def _spread_answers(network: S2HandNetwork, images: torch.Tensor) -> None:
    for layer in network.appearance.modules():
        if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
            torch.nn.init.kaiming_normal_(layer.weight)
    low = network.backbone.features[:3]((images - network.mean) / network.std)
    colors = network.appearance.texture(network.appearance.base(torch.nn.functional.interpolate(low, (56, 56))))
    network.appearance.texture[-1].weight.mul_(0.05 / colors.std(0).max())
    network.appearance.light[-1].weight.mul_(1e-3)  # else some hands are lit by less than nothing
    network.appearance.light[-1].bias[8:].copy_(torch.tensor([-0.4, -0.6, -0.7]))
    pooled = network.backbone.features((images - network.mean) / network.std).mean((-2, -1))
    network.geometry.base.train()(pooled)
    base = network.geometry.base.eval()(pooled)
    # Pictures are tens of times further from each other than the noise: angles may turn round, sizes and places not.
    for name in ("pose", "rotation"):
        head = network.geometry.get_submodule(name)
        head[-1].weight.mul_(0.01 / head(base).std(0).max())
    for name, answer in (
        ("shape", torch.linspace(-1, 1, 10)),
        ("scale", -0.9 if network.camera == "perspective-true" else 0.9),
        ("translation", (-0.15, -0.02, 0.66)),
    ):
        last = network.geometry.get_submodule(name)[-1]
        last.weight.zero_()
        last.bias.copy_(torch.as_tensor(answer))


def write_s2hand(path: Path, system: S2HandSystem | None = None, *, size: int = 128) -> Path:
    system = system or small_system()
    info = CheckpointInfo("s2hand", system.describe(), {"network": {"size": size}}, step=7, data={"hand": "open"})
    save_checkpoint(path, system, info)
    return path


def small_handnet(*, inputs: str = "both", stereo: bool = False) -> HandNet:
    """Seeded weights whose answers differ from hand to hand, near an upright hand that fills the crop."""
    torch.manual_seed(0)
    network = HandNet(backbone="regnet_x_400mf", inputs=inputs, sigma=0.03)
    coarse = torch.rand(16, 3, 8, 8) * torch.linspace(0, 1, 16)[:, None, None, None]
    images = None if inputs == "keypoints" else torch.nn.functional.interpolate(coarse, (SIZE, SIZE))
    maps = (
        None
        if inputs == "image"
        else keypoint_heatmaps(torch.rand(16, 21, 2), torch.ones(16, 21), size=SIZE, sigma=0.03)
    )
    with torch.no_grad():
        # Without statistics of pictures little of one gets through so deep a network.
        for layer in network.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.momentum = 1.0
        network.train()(images, maps)
        said = network.eval()(images, maps, want_mask=False)
        for name, spread in (("pose", 0.3), ("shape", 0.5), ("camera", 0.02)):
            layer = network.regressor.get_submodule(name)
            layer.weight.mul_(spread / layer(said.features).std(0).max())
        if stereo:
            network = extend_with_stereo(network)
            torch.nn.init.normal_(network.stereo.weight, std=0.1)
    return network


def write_handnet(path: Path, network: HandNet | None = None, *, box_scale: float = 1.5, **data: Any) -> Path:
    network = network or small_handnet()
    known = {"hand": "open", "box_scale": box_scale, **data}
    save_checkpoint(
        path, network, CheckpointInfo("handnet", network.describe(), {"network": {"size": SIZE}}, 7, data=known)
    )
    return path


def small_lixel(*, depth: int | None = None) -> LixelNetwork:
    """Seeded weights."""
    torch.manual_seed(0)
    return LixelNetwork(backbone="plain-slim", features=16, depth=depth).eval()


def write_lixel(path: Path, method: str = "binocular", **data: Any) -> Path:
    """Of the method "binocular" without depth, of others with it; `data` adds to what the checkpoint says of itself."""
    network = small_lixel(depth=None if method == "binocular" else 8)
    known = {"hand": "open", "size": SIZE, "box_scale": 1.5, "centre": "box", **data}
    save_checkpoint(path, network, CheckpointInfo(method, network.describe(), {}, 7, data=known))
    return path
