"""HandNets on disk: checkpoints that give them again, and files of other kinds."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision.models import regnet_x_400mf

from handkit.checkpoint import CheckpointInfo, save_checkpoint
from handkit.errors import HandkitError
from handkit.nets import (
    build_handnet,
    build_network,
    build_system,
    extend_with_stereo,
    load_handnet,
    load_network,
    load_system,
)
from handkit.nets.pose_encoder import PoseEncoderNetwork, load_pose_encoder

SMALL = {"backbone": "regnet_x_400mf"}


def info(**network: object) -> CheckpointInfo:
    return CheckpointInfo(method="handnet", network=network, recipe={}, step=7)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("handnet") / "handnet.safetensors"
    torch.manual_seed(0)
    network = build_handnet(**SMALL)
    save_checkpoint(path, network, info(**network.describe()))
    return path


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize(
    "arguments", [{}, {"inputs": "image"}, {"inputs": "keypoints", "sigma": 0.03}, {"stereo": True}]
)
def test_checkpoint_gives_the_network_again(arguments: dict[str, Any], half: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = build_handnet(**SMALL, **arguments)
    images = None if network.inputs == "keypoints" else torch.rand(4, 3, 64, 64)
    heatmaps = None if network.inputs == "image" else torch.rand(4, 21, 64, 64)
    with torch.no_grad():
        network.train()(images, heatmaps)  # statistics of some crops
    path = tmp_path / "handnet.safetensors"
    save_checkpoint(path, network, info(**network.describe()), half=half)
    loaded, what = load_handnet(path)
    assert what.step == 7
    described = {"name": "handnet", "inputs": "both", "stereo": False, "sigma": 0.02, **SMALL, **arguments}
    assert loaded.describe() == network.describe() == described
    assert not any(module.training for module in loaded.modules())
    assert {value.dtype for value in loaded.parameters()} == {torch.float32}
    with torch.no_grad():
        expected, found = network.eval()(images, heatmaps), loaded(images, heatmaps)
    for part, wanted in zip(found, expected, strict=True):
        assert (part is None) == (wanted is None)
        if part is not None:
            scale = wanted.abs().max()  # untrained, features reach thousands
            torch.testing.assert_close(part / scale, wanted / scale, rtol=0, atol=5e-3 if half else 0)


def test_a_stereo_networks_own_weights_come_back(checkpoint: Path, tmp_path: Path) -> None:
    extended = extend_with_stereo(load_handnet(checkpoint)[0])
    with torch.no_grad():
        extended.part("stereo").get_parameter("weight").normal_()
        extended.part("adapted_head").get_parameter("down1.0.weight").normal_()
    path = tmp_path / "stereo.safetensors"
    save_checkpoint(path, extended, info(**extended.describe()))
    loaded, _ = load_handnet(path)
    for name, value in extended.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name


def test_compact_network_fits_in_20_mb_of_fp16(tmp_path: Path) -> None:
    network = build_handnet(**SMALL, stereo=True)
    save_checkpoint(tmp_path / "handnet.safetensors", network, info(**network.describe()), half=True)
    assert (tmp_path / "handnet.safetensors").stat().st_size < 20e6


def test_random_backbone_is_said_and_weights_are_taken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="handkit")
    build_handnet(**SMALL)
    assert ["regnet_x_400mf starts random" in message for message in caplog.messages] == [True]
    caplog.clear()
    torch.save(regnet_x_400mf(weights=None).state_dict(), tmp_path / "regnet.pth")
    network = build_handnet(**SMALL, backbone_weights=tmp_path / "regnet.pth")
    assert ["starts from" in message for message in caplog.messages] == [True]
    assert "backbone_weights" not in network.describe()
    with pytest.raises(HandkitError, match="of another network"):
        build_handnet(backbone="resnet50", backbone_weights=tmp_path / "regnet.pth")


def test_each_loader_says_what_the_others_files_are(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(HandkitError, match="is a HandNet, not one of SeqHAND's") as found:
        load_network(checkpoint)
    assert "--method handnet" in found.value.fix
    with pytest.raises(HandkitError, match="is a HandNet, for --method handnet, no S2HAND network"):
        load_system(checkpoint)
    with pytest.raises(HandkitError, match="'handnet', no pose encoder"):
        load_pose_encoder(path=checkpoint)
    other = tmp_path / "other.safetensors"
    frame = build_network("seqhand-small-frame", latent=8, hidden=4)
    save_checkpoint(other, frame, info(**frame.describe()))
    with pytest.raises(HandkitError, match=r"is a sequence network \(seqhand-small-frame\) .*, no HandNet") as sequence:
        load_handnet(other)
    assert "handkit pretrain handnet --out DIR" in sequence.value.fix
    system = build_system(keypoints={"stacks": 1, "features": 8, "modules": 1})
    save_checkpoint(other, system, info(**system.describe()))
    with pytest.raises(HandkitError, match="is an S2HAND network of `handkit selfsup s2hand`, no HandNet"):
        load_handnet(other)
    encoder = PoseEncoderNetwork(width=8)
    save_checkpoint(other, encoder, info(**encoder.describe()))
    with pytest.raises(HandkitError, match="is a pose encoder, which sees joints and no images, no HandNet"):
        load_handnet(other)
    save_checkpoint(other, encoder, info(name="handnet-next"))
    with pytest.raises(HandkitError, match="is a network 'handnet-next', no HandNet"):
        load_handnet(other)


def test_damaged_files_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / "broken.safetensors"
    path.write_bytes(checkpoint.read_bytes()[:100_000])
    with pytest.raises(HandkitError, match="no readable safetensors file"):
        load_handnet(path)
    network = build_handnet(**SMALL, inputs="keypoints")
    for changed, said in (
        ({"inputs": "sound"}, "no inputs 'sound'"),
        ({"sigma": "wide"}, "cannot be rebuilt"),
        ({"backbone": ["resnet50"]}, "cannot be rebuilt"),
        ({"width": 3}, "no argument 'width'"),
        ({"inputs": "both"}, r"of another network: image_head\.down1"),
        ({"stereo": True}, r"of another network: stereo\.weight is missing"),
        ({"backbone": "resnet50"}, "of another network: keypoint_head"),
    ):
        save_checkpoint(path, network, info(**{**network.describe(), **changed}))
        with pytest.raises(HandkitError, match=said):
            load_handnet(path)
