"""Lixel networks: the supplement's sizes, the read-out, the network without depth, checkpoints and what they refuse."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from handkit.checkpoint import CheckpointInfo, save_checkpoint
from handkit.errors import HandkitError
from handkit.nets import (
    LixelNetwork,
    build_handnet,
    build_lixel,
    build_network,
    load_handnet,
    load_lixel,
    load_network,
    load_system,
    soft_argmax,
    without_depth,
)
from handkit.nets.lixel import DEPTH_RANGE_M

SMALL: dict[str, Any] = {"backbone": "plain-slim", "features": 16}


def gaussian(place: Tensor, size: int, sigma: float) -> Tensor:
    """Logits whose softmax is a Gaussian about a place in lixels, sampled at their centres."""
    centres = torch.arange(size, dtype=place.dtype) + 0.5
    return -0.5 * ((centres - place[..., None]) / sigma) ** 2


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.5])
@pytest.mark.parametrize("size", [24, 64])
def test_soft_argmax_reads_places_between_lixels(sigma: float, size: int) -> None:
    margin = 4 * sigma + 0.5
    place = margin + (size - 2 * margin) * torch.rand(500, generator=torch.Generator().manual_seed(0))
    found = soft_argmax(gaussian(place.double(), size, sigma))
    assert float((found - place).abs().max()) < 0.05


def test_soft_argmax_near_the_border_and_of_two_peaks() -> None:
    edge = soft_argmax(gaussian(torch.tensor([0.5, 63.5]).double(), 64, 0.2))
    torch.testing.assert_close(edge, torch.tensor([0.5, 63.5]).double(), atol=1e-4, rtol=0)
    two = torch.zeros(64)
    two[[10, 50]] = 100.0
    assert float(soft_argmax(two)) == pytest.approx(30.5)
    assert float(soft_argmax(torch.zeros(64))) == pytest.approx(32.0)


def test_read_out_is_precise_under_autocast() -> None:
    logits = gaussian(torch.tensor([20.3]), 64, 1.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert float(soft_argmax(logits)) == pytest.approx(20.3, abs=1e-3)


# Figure 1 of the supplement: the encoder's map, after each upsampling, the two signals, the heat maps.
FIGURE_1 = {
    "encoder": [2048, 8, 8],
    "upsample.0": [256, 16, 16],
    "upsample.1": [256, 32, 32],
    "upsample.2": [256, 64, 64],
    "x": [778, 64],
    "y": [778, 64],
}


def test_sizes_are_those_of_the_supplement() -> None:
    network = LixelNetwork(depth=None).eval()
    shapes: dict[str, list[int]] = {}
    inputs: dict[str, list[int]] = {}
    for name in FIGURE_1:

        def note(_: Any, seen: tuple[Tensor, ...], made: Tensor, name: str = name) -> None:
            shapes[name], inputs[name] = list(made.shape[1:]), list(seen[0].shape[1:])

        network.get_submodule(name).register_forward_hook(note)
    with torch.no_grad():
        said = network(torch.rand(1, 3, 256, 256))
    assert shapes == FIGURE_1
    assert inputs["x"] == inputs["y"] == [256, 64]
    assert list(said.points.shape) == [1, 778, 2]
    assert said.depth is None
    assert network.x.kernel_size == network.y.kernel_size == (1,)


def test_depth_branch_has_64_lixels() -> None:
    network = LixelNetwork().eval()
    with torch.no_grad():
        maps, said = network.heatmaps(torch.rand(1, 3, 64, 64)), network(torch.rand(1, 3, 64, 64))
    assert maps.z is not None
    assert list(maps.z.shape) == [1, 778, 64]
    assert said.depth is not None
    assert float(said.depth.abs().max()) < DEPTH_RANGE_M / 2
    assert 68.1e6 < sum(p.numel() for p in network.parameters()) < 68.3e6
    assert 34.3e6 < sum(p.numel() for p in without_depth(network).parameters()) < 34.5e6


def test_signals_are_means_along_columns_and_rows() -> None:
    torch.manual_seed(0)
    network = build_lixel(**SMALL, context=1).eval()
    images = torch.rand(2, 3, 96, 96)
    with torch.no_grad():
        wide = network.upsample(network.context(network.encoder(images)))
        maps = network.heatmaps(images)
        weight, bias = network.x.weight[:, :, 0], network.x.bias
        assert bias is not None
        column = wide[1, :, :, 5].mean(1)
        torch.testing.assert_close(maps.x[1, :, 5], weight @ column + bias, atol=1e-5, rtol=1e-5)
        row = wide[0, :, 7].mean(1)
        weight, bias = network.y.weight[:, :, 0], network.y.bias
        assert bias is not None
        torch.testing.assert_close(maps.y[0, :, 7], weight @ row + bias, atol=1e-5, rtol=1e-5)


def test_without_depth_says_the_same_places_and_learns_alone() -> None:
    torch.manual_seed(0)
    network = build_lixel(**SMALL).eval()
    flat = without_depth(network)
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(flat(images).points, network(images).points)
        before = network(images).points
        for parameter in flat.parameters():
            parameter.add_(0.1)
        assert torch.equal(network(images).points, before)
    assert flat.describe() == {**network.describe(), "depth": None}
    assert not flat.training


@pytest.mark.parametrize("size", [(64, 96), (80, 80)])
def test_crops_must_be_square_and_of_whole_cells(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="multiples of 32"):
        build_lixel(**SMALL)(torch.rand(1, 3, *size))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"backbone": "resnet5"}, "no backbone"),
        ({"features": 0}, "cannot be built"),
        ({"depth": 1}, "cannot be built"),
        ({"context": -1}, "cannot be built"),
        ({"feature": 16}, "no argument 'feature'"),
    ],
)
def test_arguments_that_make_no_network(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(HandkitError, match=words):
        build_lixel(**{**SMALL, **arguments})


def test_backbone_of_ours_has_no_weights(tmp_path: Path) -> None:
    with pytest.raises(HandkitError, match="not torchvision's"):
        build_lixel(**SMALL, backbone_weights=tmp_path / "weights.pth")


def write(path: Path, network: Any) -> Path:
    save_checkpoint(path, network, CheckpointInfo(method="x", network=network.describe(), recipe={}, step=3))
    return path


@pytest.mark.parametrize("depth", [None, 64])
def test_checkpoint_gives_the_network_again(depth: int | None, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = build_lixel(**SMALL, depth=depth, context=1)
    images = torch.rand(4, 3, 64, 64)
    with torch.no_grad():
        network.train()(images)
    loaded, info = load_lixel(write(tmp_path / "lixel.safetensors", network))
    assert info.step == 3
    assert loaded.describe() == {"name": "lixel", **SMALL, "depth": depth, "context": 1}
    assert not loaded.training
    with torch.no_grad():
        for found, wanted in zip(loaded(images), network.eval()(images), strict=True):
            assert (found is None) == (wanted is None) == (depth is None and wanted is None)
            if wanted is not None:
                torch.testing.assert_close(found, wanted)


def test_other_kinds_of_network_are_told_apart(tmp_path: Path) -> None:
    lixel = write(tmp_path / "lixel.safetensors", build_lixel(**SMALL))
    for load in (load_network, load_handnet, load_system):
        with pytest.raises(HandkitError, match="lixel network"):
            load(lixel)
    handnet = write(tmp_path / "handnet.safetensors", build_handnet(backbone="plain-slim"))
    seqhand = write(tmp_path / "seqhand.safetensors", build_network("seqhand-small"))
    for other, words in ((handnet, "a HandNet"), (seqhand, "a sequence network")):
        with pytest.raises(HandkitError, match=f"{words}.*no lixel network") as caught:
            load_lixel(other)
        assert "pretrain hand-prior" in caught.value.fix
