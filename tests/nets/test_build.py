"""Networks by name: published counts, and checkpoints that give the same network again."""

from pathlib import Path

import pytest
import torch

from handkit.checkpoint import CheckpointInfo, save_checkpoint
from handkit.errors import HandkitError
from handkit.nets import NETWORKS, build_network, load_network
from handkit.nets.pose_encoder import PoseEncoderNetwork

# Millions: as built here, and as SeqHAND's Table 2 says.
COUNTS = {
    "seqhand": (43.18, 43.2),
    "seqhand-resnet50": (28.77, 28.8),
    "seqhand-resnet101": (47.76, 47.8),
    "seqhand-lstm": (39.26, 39.3),
    "seqhand-i3d": (31.47, 31.5),
    "seqhand-mfnet": (42.00, 41.7),
}


def info(**network: object) -> CheckpointInfo:
    return CheckpointInfo(method="seqhand", network=network, recipe={}, step=3)


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_count_is_the_published_one(name: str) -> None:
    with torch.device("meta"):
        network = build_network(name)
    count = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    exact, published = COUNTS[name]
    assert round(count, 2) == exact
    assert count == pytest.approx(published, rel=0.02)


def test_mano_cnn_is_the_frame_network_on_s2hands_backbone() -> None:
    network = build_network("mano-cnn")
    assert network.describe() == {"name": "mano-cnn", "backbone": "efficientnet_b0"}
    assert sum(parameter.numel() for parameter in network.parameters()) == 7_693_462
    assert (network.sees, network.memory) == ("frame", None)


def test_small_network_fits_in_20_mb_and_comes_back_from_fp16(tmp_path: Path) -> None:
    path = tmp_path / "small.safetensors"
    torch.manual_seed(0)
    network = build_network("seqhand-small").eval()
    save_checkpoint(path, network, info(**network.describe()), half=True)
    assert path.stat().st_size < 20e6
    loaded, what = load_network(path)
    assert what.step == 3
    assert loaded.describe() == network.describe()
    assert not loaded.training
    assert {value.dtype for value in loaded.parameters()} == {torch.float32}
    images = torch.rand(1, 2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(loaded(images).parameters, network(images).parameters, atol=2e-3, rtol=0)


def test_arguments_are_described_and_rebuild_the_network(tmp_path: Path) -> None:
    network = build_network("seqhand-small", latent=24, hidden=8)
    described = network.describe()
    assert described["name"] == "seqhand-small"
    assert described["latent"] == 24
    assert described["hidden"] == 8
    assert "backbone_weights" not in described
    save_checkpoint(tmp_path / "a.safetensors", network, info(**described))
    loaded, _ = load_network(tmp_path / "a.safetensors")
    for name, value in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name


def test_frame_variant_has_the_same_parameters() -> None:
    shapes = [
        {key: value.shape for key, value in build_network(name).state_dict().items()}
        for name in ("seqhand-small", "seqhand-small-frame")
    ]
    assert shapes[0] == shapes[1]


def test_mistyped_names_are_answered_with_the_nearest() -> None:
    with pytest.raises(HandkitError, match="no network 'seqhand-smal'") as unknown:
        build_network("seqhand-smal")
    assert "did you mean seqhand-small?" in unknown.value.fix
    with pytest.raises(HandkitError, match="no argument 'hiden'") as argument:
        build_network("seqhand-small", hiden=3)
    assert "did you mean hidden?" in argument.value.fix
    with pytest.raises(HandkitError, match="no backbone 'resnet49'"):
        build_network("seqhand", backbone="resnet49")
    assert all(name in unknown.value.fix for name in NETWORKS)


def test_checkpoints_of_other_kinds_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    encoder = PoseEncoderNetwork(width=8)
    save_checkpoint(path, encoder, info(**encoder.describe()))
    with pytest.raises(HandkitError, match="is a pose encoder"):
        load_network(path)
    save_checkpoint(path, encoder, info(name="seqhand-big"))
    with pytest.raises(HandkitError, match="no network 'seqhand-big'"):
        load_network(path)
    save_checkpoint(path, encoder, info(name="seqhand-small", hidden="many"))
    with pytest.raises(HandkitError, match="cannot be rebuilt"):
        load_network(path)
    small = build_network("seqhand-small", latent=24, hidden=8)
    save_checkpoint(path, small, info(**{**small.describe(), "hidden": 4}))
    with pytest.raises(HandkitError, match=r"of another network: memory\.gates\.weight is"):
        load_network(path)
