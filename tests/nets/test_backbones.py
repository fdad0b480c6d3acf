"""torchvision's state dicts as the start of a backbone, flat and inflated over time."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import get_model, regnet_x_400mf, resnet50
from torchvision.ops import StochasticDepth

from handkit.errors import HandkitError
from handkit.nets import build_network
from handkit.nets.backbones import BACKBONES, build_backbone


@pytest.fixture(scope="module")
def regnet_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "regnet.pth"
    torch.manual_seed(5)
    torch.save(regnet_x_400mf(weights=None).state_dict(), path)
    return path


@pytest.mark.parametrize("name", BACKBONES)
def test_map_is_torchvisions_before_the_pool(name: str) -> None:
    whole = get_model(BACKBONES[name].builder, weights=None).eval()
    backbone = build_backbone(name).eval()
    backbone.load_state_dict(whole.state_dict(), strict=False)
    images = torch.rand(1, 3, 50, 70)
    with torch.no_grad():
        maps = backbone(images)
        assert maps.shape == (1, BACKBONES[name].channels, 2, 3)
        expected = whole(images)
        classifier = whole.classifier if hasattr(whole, "classifier") else whole.fc
        found = classifier(maps.mean((-2, -1)))
        scale = expected.abs().max()  # an untrained ResNet-101 reaches thousands
        torch.testing.assert_close(found / scale, expected / scale, rtol=0, atol=1e-5)
    assert not any(key.startswith(("fc", "classifier")) for key in backbone.state_dict())


def test_options_go_to_torchvision() -> None:
    for share in (0.0, 0.4):
        backbone = build_backbone("efficientnet_b0", stochastic_depth_prob=share)
        left_out = [part.p for part in backbone.modules() if isinstance(part, StochasticDepth)]
        assert left_out[0] == 0
        assert max(left_out) == pytest.approx(share * 15 / 16)


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_weights_are_loaded_without_the_classifier(regnet_file: Path, tmp_path: Path, ending: str) -> None:
    stored = torch.load(regnet_file, weights_only=True)
    path = regnet_file
    if ending == ".safetensors":
        path = tmp_path / "regnet.safetensors"
        save_file(stored, path)
    network = build_network("seqhand-small", latent=8, hidden=4, backbone_weights=path)
    assert "backbone_weights" not in network.describe()
    for name, value in network.backbone.state_dict().items():
        assert torch.equal(value, stored[name]), name


def test_random_backbone_is_said_and_a_loaded_one_too(regnet_file: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="handkit")
    build_network("seqhand-small", latent=8, hidden=4)
    assert ["starts random" in message for message in caplog.messages] == [True]
    caplog.clear()
    build_network("seqhand-small", latent=8, hidden=4, backbone_weights=regnet_file)
    assert ["starts from" in message for message in caplog.messages] == [True]


def test_older_files_lack_the_counts_of_batches(regnet_file: Path, tmp_path: Path) -> None:
    stored = torch.load(regnet_file, weights_only=True)
    old = {name: value for name, value in stored.items() if not name.endswith("num_batches_tracked")}
    torch.save(old, tmp_path / "old.pth")
    backbone = build_backbone("regnet_x_400mf", tmp_path / "old.pth")
    assert torch.equal(backbone.state_dict()["stem.0.weight"], stored["stem.0.weight"])


def test_inflated_network_gives_a_still_clip_what_the_flat_one_gives(tmp_path: Path) -> None:
    torch.manual_seed(5)
    flat = resnet50(weights=None).eval()
    torch.save(flat.state_dict(), tmp_path / "resnet50.pth")
    network = build_network("seqhand-i3d", backbone_weights=tmp_path / "resnet50.pth").eval()
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected = build_backbone("resnet50", tmp_path / "resnet50.pth").eval()(image)
        for frames in (1, 4):
            maps = network.backbone(image[:, :, None].repeat(1, 1, frames, 1, 1))
            assert maps.shape == (1, 2048, frames, 2, 2)
            scale = expected.abs().max()
            torch.testing.assert_close(maps / scale, expected[:, :, None].expand_as(maps) / scale, rtol=0, atol=1e-5)


def test_unfit_files_are_refused_with_the_first_difference(regnet_file: Path, tmp_path: Path) -> None:
    with pytest.raises(HandkitError, match=r"of another network: conv1\.weight is missing") as other:
        build_backbone("resnet50", regnet_file)
    assert "resnet50" in other.value.fix
    with pytest.raises(HandkitError, match="is no file"):
        build_backbone("resnet50", tmp_path / "absent.pth")
    broken = tmp_path / "broken.pth"
    broken.write_bytes(regnet_file.read_bytes()[:100_000])
    with pytest.raises(HandkitError, match="cannot be read"):
        build_backbone("regnet_x_400mf", broken)
    unsafe = tmp_path / "unsafe.pth"
    torch.save({"stem": Path("x")}, unsafe)
    with pytest.raises(HandkitError, match="cannot be read"):
        build_backbone("regnet_x_400mf", unsafe)
    nested = tmp_path / "nested.pth"
    torch.save({"state_dict": {}, "epoch": 3}, nested)
    with pytest.raises(HandkitError, match="holds no state dict"):
        build_backbone("regnet_x_400mf", nested)
