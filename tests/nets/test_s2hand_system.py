"""The parts together: checkpoints that give them again, and files of other kinds."""

from pathlib import Path

import pytest
import torch
from torchvision.models import efficientnet_b0

from handkit.checkpoint import CheckpointInfo, save_checkpoint
from handkit.errors import HandkitError
from handkit.nets import build_network, build_system, load_network, load_system
from handkit.nets.pose_encoder import PoseEncoderNetwork, load_pose_encoder

SMALL = {"stacks": 2, "features": 16, "modules": 1}


def info(**network: object) -> CheckpointInfo:
    return CheckpointInfo(method="s2hand", network=network, recipe={}, step=7)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("system") / "s2hand.safetensors"
    torch.manual_seed(0)
    system = build_system(hand={"camera": "orthographic"}, keypoints=SMALL)
    save_checkpoint(path, system, info(**system.describe()))
    return path


@pytest.mark.parametrize(
    ("hand", "keypoints"), [({"drop_path": 0.0}, None), (None, SMALL), ({"backbone": "efficientnet_b3"}, SMALL)]
)
def test_description_rebuilds_the_system(hand: dict | None, keypoints: dict | None) -> None:
    with torch.device("meta"):
        system = build_system(hand=hand, keypoints=keypoints)
        described = system.describe()
        assert described.pop("name") == "s2hand"
        assert set(described) == {"hand", "keypoints"}
        again = build_system(**described)
    assert again.describe() == system.describe()
    assert {name: part.shape for name, part in again.state_dict().items()} == {
        name: part.shape for name, part in system.state_dict().items()
    }
    assert (described["hand"] is None) == (hand is None)
    assert (described["keypoints"] is None) == (keypoints is None)


def test_parts_see_the_same_images() -> None:
    torch.manual_seed(0)
    both = build_system(hand={}, keypoints=SMALL).eval()
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        found = both(images)
        assert torch.equal(found.hand.pca, both.hand(images).pca)
        assert torch.equal(found.keypoints.points, both.keypoints(images).points)
        assert both(images, want_texture=False).hand.texture is None
        assert build_system(keypoints=SMALL).eval()(images).hand is None
        assert build_system(hand={}).eval()(images).keypoints is None


@pytest.mark.parametrize("half", [False, True])
def test_checkpoint_gives_the_system_again(half: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    system = build_system(hand={"camera": "orthographic"}, keypoints=SMALL)
    with torch.no_grad():
        system.train()(torch.rand(4, 3, 64, 64))  # statistics of some images
    path = tmp_path / "s2hand.safetensors"
    save_checkpoint(path, system, info(**system.describe()), half=half)
    loaded, what = load_system(path)
    assert what.step == 7
    assert loaded.describe() == system.describe()
    assert loaded.hand.camera == "orthographic"
    assert not any(module.training for module in loaded.modules())
    assert {value.dtype for value in loaded.parameters()} == {torch.float32}
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        expected, found = system.eval()(images), loaded(images)
    tolerance = {"rtol": 0, "atol": 5e-3 if half else 0}
    for ours, theirs in ((found.hand, expected.hand), (found.keypoints, expected.keypoints)):
        for part, wanted in zip(ours, theirs, strict=True):
            torch.testing.assert_close(part, wanted, **tolerance)


def test_hand_network_fits_in_14_mb_of_fp16(tmp_path: Path) -> None:
    system = build_system(hand={})
    save_checkpoint(tmp_path / "hand.safetensors", system, info(**system.describe()), half=True)
    assert (tmp_path / "hand.safetensors").stat().st_size < 14e6


def test_random_backbone_is_said_and_weights_are_taken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="handkit")
    build_system(keypoints=SMALL)
    assert not caplog.messages
    build_system(hand={})
    assert ["efficientnet_b0 starts random" in message for message in caplog.messages] == [True]
    caplog.clear()
    torch.manual_seed(3)
    stored = efficientnet_b0(weights=None).state_dict()
    torch.save(stored, tmp_path / "b0.pth")
    system = build_system(hand={}, backbone_weights=tmp_path / "b0.pth")
    assert ["starts from" in message for message in caplog.messages] == [True]
    for name, value in system.hand.backbone.state_dict().items():
        assert torch.equal(value, stored[name]), name
    with pytest.raises(HandkitError, match="of another network"):
        build_system(hand={"backbone": "efficientnet_b3"}, backbone_weights=tmp_path / "b0.pth")


def test_wrong_arguments_are_said() -> None:
    with pytest.raises(HandkitError, match="S2HandNetwork has no argument 'drop_paht'") as hand:
        build_system(hand={"drop_paht": 0.1})
    assert "did you mean drop_path?" in hand.value.fix
    assert "backbone_weights" not in hand.value.fix
    with pytest.raises(HandkitError, match="HourglassNetwork has no argument 'stack'") as keypoints:
        build_system(keypoints={"stack": 1})
    assert "did you mean stacks?" in keypoints.value.fix
    with pytest.raises(ValueError, match="or both"):
        build_system()


def test_each_loader_says_what_the_others_files_are(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(HandkitError, match="is an S2HAND network") as found:
        load_network(checkpoint)
    assert "--method s2hand" in found.value.fix
    with pytest.raises(HandkitError, match="'s2hand', no pose encoder"):
        load_pose_encoder(path=checkpoint)
    other = tmp_path / "other.safetensors"
    frame = build_network("seqhand-small-frame", latent=8, hidden=4)
    save_checkpoint(other, frame, info(**frame.describe()))
    with pytest.raises(HandkitError, match=r"is a sequence network \(seqhand-small-frame\)") as sequence:
        load_system(other)
    assert "handkit selfsup s2hand --out DIR" in sequence.value.fix
    encoder = PoseEncoderNetwork(width=8)
    save_checkpoint(other, encoder, info(**encoder.describe()))
    with pytest.raises(HandkitError, match="is a pose encoder, which sees joints"):
        load_system(other)
    save_checkpoint(other, encoder, info(name="seqhand-next"))
    with pytest.raises(HandkitError, match="is a network 'seqhand-next', no S2HAND"):
        load_system(other)


def test_damaged_files_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(checkpoint.read_bytes()[:100_000])
    with pytest.raises(HandkitError, match="no readable safetensors file"):
        load_system(broken)
    small = build_system(keypoints=SMALL)
    for described, said in (
        ({"name": "s2hand"}, "cannot be rebuilt"),
        ({**small.describe(), "keypoints": None}, "cannot be rebuilt"),
        ({**small.describe(), "keypoints": {"features": "many"}}, "cannot be rebuilt"),
        ({**small.describe(), "keypoints": {"width": 3}}, "no argument 'width'"),
        ({**small.describe(), "keypoints": {**SMALL, "features": 32}}, r"of another network: keypoints\.stem\.0"),
        ({**small.describe(), "hand": {}}, "of another network: hand"),
    ):
        save_checkpoint(broken, small, info(**described))
        with pytest.raises(HandkitError, match=said):
            load_system(broken)
