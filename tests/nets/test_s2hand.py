"""S2HAND's network: shapes at any size, its first hands, what learns from what."""

import pytest
import torch
from torch import Tensor, nn

from handkit.errors import HandkitError
from handkit.nets.s2hand import MEAN_COLOR, S2HandNetwork
from handkit.nets.weak_hand import PreciseLinear

BACKBONES = ("efficientnet_b0", "efficientnet_b3")
# In all, and of texture and light.
COUNTS = {"efficientnet_b0": (6_668_204, 476_481), "efficientnet_b3": (13_657_432, 514_881)}


def pictures(count: int) -> Tensor:
    """Different from each other as noise, whose means are alike, is not."""
    return nn.functional.interpolate(torch.rand(count, 3, 4, 4), (64, 64), mode="bilinear")


@pytest.fixture(scope="module", params=BACKBONES)
def fresh(request: pytest.FixtureRequest) -> S2HandNetwork:
    torch.manual_seed(0)
    return S2HandNetwork(backbone=request.param)


def trained_a_little(backbone: str = "efficientnet_b0") -> S2HandNetwork:
    """With statistics of some images, and numbers that depend on the image."""
    torch.manual_seed(0)
    network = S2HandNetwork(backbone=backbone, drop_path=0.0)
    for module in (*network.appearance.modules(), *network.geometry.modules()):
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.reset_parameters()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        network.train()(pictures(16))
    return network.eval()


def test_shapes_at_several_sizes(fresh: S2HandNetwork) -> None:
    fresh.eval()
    for height, width in ((224, 224), (128, 128), (96, 96), (64, 80)):
        with torch.no_grad():
            found = fresh(torch.rand(2, 3, height, width))
        shapes = [tuple(part.shape) for part in found]
        assert shapes == [(2, 30), (2, 10), (2,), (2, 3), (2, 3), (2, 1538, 3), (2, 11)]
        assert all(part.isfinite().all() for part in found)


def test_parameter_count(fresh: S2HandNetwork) -> None:
    appearance = sum(part.numel() for part in fresh.appearance_parameters())
    total = sum(part.numel() for part in fresh.parameters())
    assert (total, appearance) == COUNTS[fresh.describe()["backbone"]]
    assert total == appearance + sum(part.numel() for part in fresh.geometry_parameters())


def test_convention_first_hands(fresh: S2HandNetwork) -> None:
    """The mean hand of scale 0.95, 65 cm away, of one colour under a light of ones."""
    with torch.no_grad():
        found = fresh.train()(torch.rand(4, 3, 64, 64))
    for part in (found.pca, found.betas, found.orient, found.transl[:, :2]):
        assert part.abs().max() < 0.05
        assert part.std() > 0
    assert (found.scale - 0.95).abs().max() < 0.01
    assert (found.transl[:, 2] - 0.65).abs().max() < 0.01
    assert found.light is not None
    assert found.texture is not None
    lamp = torch.tensor([1.0] * 8 + [-1.0] * 3)  # before the hand, above and left: normals point outwards here
    assert (found.light - lamp).abs().max() < 1e-3
    mean = torch.tensor([200 / 256, 150 / 256, 150 / 256])
    torch.testing.assert_close(found.texture, mean.tanh().expand(4, 1538, 3), rtol=0, atol=1e-3)
    assert tuple(mean.tolist()) == MEAN_COLOR


@pytest.mark.parametrize("backbone", BACKBONES)
def test_batch_is_a_loop(backbone: str) -> None:
    network, images = trained_a_little(backbone).double(), pictures(3).double()
    with torch.no_grad():
        together = network(images)
        alone = [network(image[None]) for image in images]
    for number, part in enumerate(together):
        assert part.std(0).max() > 1e-3  # they are different hands
        torch.testing.assert_close(part, torch.cat([one[number] for one in alone]), rtol=0, atol=1e-9)


def test_everything_learns_from_a_sum_of_all() -> None:
    torch.manual_seed(0)
    network = S2HandNetwork(drop_path=0.0).train()
    found = network(torch.rand(4, 3, 64, 64))
    sum((part * torch.randn_like(part)).sum() for part in found).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert (parameter.grad != 0).any(), name


def test_without_texture_geometry_alone_learns_and_is_the_same() -> None:
    network, images = trained_a_little(), torch.rand(2, 3, 64, 64)
    found = network(images, want_texture=False)
    assert found.texture is None
    assert found.light is None
    whole = network(images)
    for part, expected in zip(found[:5], whole[:5], strict=True):
        assert torch.equal(part, expected)
    sum((part * torch.randn_like(part)).sum() for part in found[:5]).backward()
    reached = {id(parameter) for parameter in network.parameters() if parameter.grad is not None}
    assert reached == {id(parameter) for parameter in network.geometry_parameters()}


@pytest.mark.parametrize("size", [(16, 16), (32, 20), (75, 75)])
def test_appearance_is_of_one_size_of_map(size: tuple[int, int]) -> None:
    """A map that is the same everywhere has the same texture and light at every size of the image."""
    appearance = trained_a_little().appearance
    even = torch.rand(2, 24, 1, 1)
    with torch.no_grad():
        expected, found = appearance(even.expand(2, 24, 56, 56)), appearance(even.expand(2, 24, *size))
    for part, wanted in zip(found, expected, strict=True):
        assert wanted.std(0).max() > 1e-3
        torch.testing.assert_close(part, wanted, rtol=0, atol=1e-5)


def test_numbers_stay_in_full_precision_under_autocast() -> None:
    network = trained_a_little()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        found = network(torch.rand(2, 3, 64, 64))
    for part in found:
        assert part.dtype == torch.float32
        assert not torch.equal(part, part.bfloat16().float())
    assert sum(isinstance(part, PreciseLinear) for part in network.modules()) == len(found)


def test_images_are_normalised_within() -> None:
    network = trained_a_little()
    assert not {"mean", "std", "appearance.mean_color"} & set(network.state_dict())
    seen = []
    first = network.backbone.get_submodule("features.0")
    first.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.no_grad():
        network(torch.tensor([0.485, 0.456, 0.406])[None, :, None, None].expand(1, 3, 64, 64))
        network(torch.ones(1, 3, 64, 64))
    assert seen[0].abs().max() < 1e-6
    torch.testing.assert_close(seen[1][0, :, 0, 0], torch.tensor([2.2489, 2.4286, 2.6400]), rtol=0, atol=1e-4)


def test_describes_what_rebuilds_it() -> None:
    arguments = {"backbone": "efficientnet_b0", "camera": "orthographic", "drop_path": 0.1, "mean_shape": True}
    network = S2HandNetwork(**arguments)
    assert network.describe() == arguments
    assert network.camera == "orthographic"
    assert S2HandNetwork().describe() == {
        "backbone": "efficientnet_b0",
        "camera": "perspective",
        "drop_path": 0.2,
        "mean_shape": False,
    }


def test_wrong_arguments_and_images_are_said() -> None:
    with pytest.raises(HandkitError, match="no backbone 'resnet50'") as backbone:
        S2HandNetwork(backbone="resnet50")
    assert "efficientnet_b3" in backbone.value.fix
    with pytest.raises(HandkitError, match="no camera 'fisheye'"):
        S2HandNetwork(camera="fisheye")
    with pytest.raises(HandkitError, match="drop_path 1"):
        S2HandNetwork(drop_path=1)
    network = S2HandNetwork().eval()
    with pytest.raises(ValueError, match=r"not torch.uint8 \[1, 3, 64, 64\]"):
        network(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"\[0, 3, 64, 64\]"):
        network(torch.zeros(0, 3, 64, 64))


def test_mean_shape_is_every_hands() -> None:
    network = S2HandNetwork(drop_path=0.0, mean_shape=True).eval()
    with torch.no_grad():
        found = network(torch.rand(2, 3, 64, 64), want_texture=False)
    assert not found.betas.any()
    assert found.pca.any()
