"""The pose encoder's training: its hands, its losses, and that it learns."""

from pathlib import Path

import pytest
import torch

from handkit.errors import HandkitError
from handkit.hand import ManoLayer, load_hand
from handkit.hand.limits import angles_to_pose, joint_frames
from handkit.methods.pose_encoder import PoseEncoderMethod, PoseEncoderRecipe
from handkit.recipe import load_recipe
from handkit.runs.pose_encoder import pretrain_pose_encoder
from handkit.synth.poses import canonicalize
from handkit.train import Place

HAND = load_hand("open")
SMALL = ["network.width=96", "data.batch=128", "data.held_out=300", "train.warmup_steps=10"]


@pytest.fixture
def method() -> PoseEncoderMethod:
    torch.manual_seed(0)
    return PoseEncoderMethod(load_recipe(PoseEncoderRecipe, "pose-encoder", SMALL), HAND)


def test_joints_are_the_layers(method: PoseEncoderMethod) -> None:
    batch = next(method.batches(3, Place()))
    pose = angles_to_pose(batch["angles"], joint_frames(HAND))
    joints = ManoLayer(HAND)(hand_pose=pose, betas=batch["betas"]).joints
    torch.testing.assert_close(batch["joints"], joints, rtol=0, atol=2e-6)
    coefficients = torch.randn(5, 10) * 0.5
    layer = ManoLayer(HAND, num_pca=10, flat_hand_mean=False)
    found = method.pose(method.angles_of(coefficients), torch.zeros(5, 10))
    torch.testing.assert_close(found, layer(hand_pose=coefficients).joints, rtol=0, atol=5e-6)


def test_batches_follow_from_their_number(method: PoseEncoderMethod) -> None:
    stream = method.batches(0, Place())
    first, second = next(stream), next(stream)
    again = next(method.batches(1, Place()))
    for key, value in second.items():
        torch.testing.assert_close(again[key], value, rtol=0, atol=0)
        assert not torch.equal(first[key], value)


def test_shares_of_a_batch(method: PoseEncoderMethod) -> None:
    batch = method.held_out()
    assert (batch["betas"] == 0).all()
    seen = torch.from_numpy(canonicalize(batch["joints"].numpy()))
    torch.testing.assert_close(batch["seen"], seen, rtol=0, atol=0)
    noisy = method.held_out(noisy=1.0, noise_mm=2.0, mean_shape=0.0)
    torch.testing.assert_close(noisy["angles"], batch["angles"], rtol=0, atol=0)
    assert noisy["betas"].abs().max() > 1.9
    clean = torch.from_numpy(canonicalize(noisy["joints"].numpy()))
    assert 0.001 < (noisy["seen"] - clean).norm(dim=-1).mean() < 0.01


def test_processes_share_batches_and_the_validation(method: PoseEncoderMethod) -> None:
    places = [Place(rank, 3) for rank in range(3)]
    with pytest.raises(HandkitError, match="128 cannot be shared out over 3"):
        next(method.batches(2, places[0]))
    for key, value in next(method.batches(2, Place())).items():
        halves = [next(method.batches(2, Place(rank, 2)))[key] for rank in range(2)]
        torch.testing.assert_close(torch.cat(halves), value, rtol=0, atol=0)
    (whole,) = method.validation_batches(Place())
    parts = [next(method.validation_batches(place))["seen"] for place in places]
    assert sum(map(len, parts)) == len(whole["seen"]) == 300
    assert torch.equal(parts[1][4], whole["seen"][13])


def test_losses_against_slow_twins(method: PoseEncoderMethod) -> None:
    batch = next(method.batches(0, Place()))
    with torch.no_grad():
        losses, found = method.step(batch)
    joints = method.pose(found.angles, batch["betas"])
    distances = [
        float((a - b).norm()) for a, b in zip(joints.flatten(0, 1), batch["joints"].flatten(0, 1), strict=True)
    ]
    assert float(losses["joints_45"]) == pytest.approx(100 * sum(distances) / len(distances), rel=1e-3)
    assert float(losses["angles"]) == pytest.approx(float((found.angles - batch["angles"]).square().mean()), rel=1e-5)
    low = torch.full((1, 15, 3), -10.0)
    assert (method.beyond_limits(low) > 5).all()
    assert method.beyond_limits(torch.zeros(1, 15, 3)).max() == 0


def test_the_truth_costs_nothing_and_projects_on_its_coefficients(method: PoseEncoderMethod) -> None:
    batch = method.held_out()
    assert float(method._distance(batch["angles"], batch)) < 2e-5
    coefficients = torch.randn(20, 10) * 0.3
    again = method.project(method.angles_of(coefficients))
    torch.testing.assert_close(again, coefficients, rtol=0, atol=1e-4)


def test_learns_and_measures(tmp_path: Path) -> None:
    changes = [*SMALL, "train.steps=100", "train.validate_every=100", "train.log_every=10"]
    result = pretrain_pose_encoder(tmp_path, changes=changes, device="cpu")
    held_out = result.summary["held_out"]
    assert result.exit_code == 0
    assert held_out["natural"]["joints_45_mm"] < 8
    assert held_out["natural"]["joints_10_mm"] < 8
    assert held_out["natural"]["beyond_limits_45_share"] == 0
    assert held_out["natural"]["joints_45_mm"] == pytest.approx(result.train.metrics["joints_45_mm"], abs=0.05)
    floor = held_out["floor_10"]
    assert 0.8 < floor["fitted_mm"] < 1.8
    assert floor["fitted_mm"] < floor["projected_mm"] < 3
    assert (tmp_path / "pose-encoder.safetensors").stat().st_size < 150_000
