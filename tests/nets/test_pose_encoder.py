"""The pose encoder: what it gives, and how well the shipped weights do on hands of another seed."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from handkit.checkpoint import CheckpointInfo, find_weights, read_checkpoint, save_checkpoint
from handkit.errors import HandkitError
from handkit.hand import ManoLayer, load_hand
from handkit.hand.limits import LIMITS_DEG, angles_to_pose, joint_frames, pose_to_angles, sample_angles
from handkit.nets.pose_encoder import PoseEncoder, PoseEncoderNetwork, load_pose_encoder
from handkit.synth.poses import canonicalize

HAND = load_hand("open")
FRAMES = joint_frames(HAND)
LIMITS = torch.tensor(LIMITS_DEG)


def poses(count: int, kind: str = "natural") -> torch.Tensor:
    """Axis-angle poses that no training run draws: its seeds are longer."""
    angles = torch.from_numpy(sample_angles(count, np.random.default_rng(20_261), kind))
    return angles_to_pose(angles, FRAMES).float()


def about_wrist(joints: torch.Tensor) -> torch.Tensor:
    return joints - joints[..., :1, :]


def test_output_stays_within_the_limits_whatever_goes_in() -> None:
    torch.manual_seed(0)
    encoder = PoseEncoder(PoseEncoderNetwork(width=32), HAND)
    pose = encoder(100 * torch.randn(50, 21, 3)).double()
    angles = pose_to_angles(pose, FRAMES).rad2deg()
    assert (angles > LIMITS[..., 0] - 1e-3).all()
    assert (angles < LIMITS[..., 1] + 1e-3).all()
    assert angles.std(0).max() > 5
    assert encoder(torch.zeros(21, 3)).isfinite().all()


def test_shapes_and_precision() -> None:
    network = PoseEncoderNetwork(width=16)
    for values in (10, 45):
        encoder = PoseEncoder(network, HAND, values=values).double()
        assert encoder(torch.zeros(2, 3, 21, 3, dtype=torch.float64)).shape == (2, 3, values)
        assert encoder(torch.zeros(21, 3, dtype=torch.float64)).dtype == torch.float64
    with pytest.raises(ValueError, match="10 or 45"):
        PoseEncoder(network, HAND, values=6)


def test_state_holds_the_layers_alone() -> None:
    assert {name.split(".")[0] for name in PoseEncoderNetwork().state_dict()} == {"trunk", "angles", "coefficients"}
    encoder = PoseEncoder(PoseEncoderNetwork(), HAND)
    assert {name.split(".")[0] for name in encoder.state_dict()} == {"network"}


@pytest.mark.parametrize(("values", "bar_mm"), [(45, 1.0), (10, 1.7)])
def test_shipped_weights_rebuild_the_joints_of_the_open_hand(values: int, bar_mm: float) -> None:
    pose = poses(1000)
    with torch.no_grad():
        joints = about_wrist(ManoLayer(HAND)(hand_pose=pose).joints)
        theta = load_pose_encoder(values)(torch.from_numpy(canonicalize(joints.numpy())))
        layer = ManoLayer(HAND) if values == 45 else ManoLayer(HAND, num_pca=10, flat_hand_mean=False)
        error = (about_wrist(layer(hand_pose=theta).joints) - joints).norm(dim=-1)
    assert 1000 * error.mean() < bar_mm
    assert 1000 * error.mean(-1).max() < 15


def test_pose_does_not_depend_on_place_turn_size_and_hardly_on_proportions() -> None:
    pose, rng = poses(200), np.random.default_rng(1)
    betas = torch.from_numpy(rng.uniform(-2, 2, (200, 10)).astype(np.float32))
    orient = torch.from_numpy(rng.standard_normal((200, 3)).astype(np.float32))
    encoder, layer = load_pose_encoder(45), ManoLayer(HAND)
    with torch.no_grad():
        plain = encoder(torch.from_numpy(canonicalize(layer(hand_pose=pose).joints.numpy())))
        moved = 2 * layer(hand_pose=pose, global_orient=orient).joints + 0.3
        same = encoder(torch.from_numpy(canonicalize(moved.numpy())))
        shaped = layer(hand_pose=pose, betas=betas).joints
        other = encoder(torch.from_numpy(canonicalize(shaped.numpy())))
        rebuilt = layer(hand_pose=other, betas=betas).joints
    torch.testing.assert_close(same, plain, rtol=0, atol=1e-4)
    assert 1000 * (rebuilt - shaped).norm(dim=-1).mean() < 1.0


def test_shipped_file_is_small_and_says_what_it_is() -> None:
    path = find_weights("pose-encoder.safetensors")
    info, state = read_checkpoint(path)
    assert path.stat().st_size < 2 << 20
    assert (info.method, info.network["name"], info.data["hand"]) == ("pose-encoder", "pose-encoder", "open")
    assert info.recipe["train"]["steps"] == info.step
    assert info.metrics["joints_45_mm"] < 1
    assert {value.dtype for value in state.values()} == {torch.float16}


def test_a_checkpoint_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_checkpoint(path, torch.nn.Linear(2, 2), CheckpointInfo("other", {"name": "other"}, {}, 0))
    with pytest.raises(HandkitError, match="network 'other', no pose encoder"):
        load_pose_encoder(path=path)


def test_another_hand_is_warned_of(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    network = PoseEncoderNetwork(width=8)
    path = tmp_path / "x.safetensors"
    save_checkpoint(path, network, CheckpointInfo("pose-encoder", network.describe(), {}, 0, {}, {"hand": "mano"}))
    with caplog.at_level(logging.WARNING, "handkit"):
        load_pose_encoder(path=path)
    assert "trained with the hand mano, not open" in caplog.text
    assert "--hand-model open" in caplog.text
    caplog.clear()
    load_pose_encoder()
    assert not caplog.text
