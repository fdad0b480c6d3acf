"""Hands are found again from their meshes: exactly, with noise, outliers and gaps, of either side and any model."""

import pickle

import numpy as np
import pytest
import torch

from handkit.errors import HandkitError
from handkit.fit import fit_meshes
from handkit.fit.meshes import MIN_VERTICES, ROWS
from handkit.hand import load_hand
from handkit.hand.layer import ManoLayer
from handkit.hand.limits import LIMITS_DEG, angles_to_pose, joint_frames, pose_to_angles, sample_angles

from ..hand.conftest import build_mano_dict
from .hands import known_hands


def meshes(n, seed=0, side="right", shape_scale=1.0):
    return torch.tensor(known_hands(n, seed, side, shape_scale)["vertices"])


def noise_of(like, *metres, seed=0):
    sigma = torch.tensor(metres, dtype=torch.float64).expand_as(like)
    return sigma * torch.randn(like.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def error_mm(found, vertices):
    """Mean distance of vertices of every hand."""
    return 1000 * (found.vertices.double() - vertices).norm(dim=-1).mean(-1)


@pytest.mark.parametrize("side", ["right", "left"])
def test_finds_known_hands_exactly(side):
    vertices = meshes(48, side=side)
    assert error_mm(fit_meshes(vertices, is_right=side == "right"), vertices).max() < 0.01


def test_parameters_are_found_too():
    known = known_hands(8)
    found = fit_meshes(torch.tensor(known["vertices"]))
    torch.testing.assert_close(found.betas.double(), known["betas"], atol=0.05, rtol=0)
    torch.testing.assert_close(found.transl.double(), known["transl"], atol=1e-4, rtol=0)
    angles = pose_to_angles(found.hand_pose.double(), joint_frames(load_hand("open")))
    torch.testing.assert_close(angles, known["angles"], atol=np.deg2rad(0.3), rtol=0)


def test_finds_bent_hands_of_other_shapes():
    rng = np.random.default_rng(1)
    hand = load_hand("open")
    angles = torch.tensor(sample_angles(64, rng, "uniform"))
    angles[:16] = torch.tensor(np.deg2rad(LIMITS_DEG[..., 1]))  # all of it bent to the limits
    vertices = ManoLayer(hand)(
        global_orient=torch.tensor(rng.normal(0, 2, (64, 3))),
        hand_pose=angles_to_pose(angles, joint_frames(hand)),
        betas=torch.tensor(rng.normal(0, 2, (64, 10))),
    ).vertices
    assert error_mm(fit_meshes(vertices), vertices).max() < 0.05


@pytest.mark.parametrize("side", ["right", "left"])
def test_parameters_rebuild_joints_and_vertices(side):
    found = fit_meshes(meshes(5, side=side), is_right=side == "right")
    out = ManoLayer(load_hand("open", side))(
        global_orient=found.global_orient, hand_pose=found.hand_pose, betas=found.betas, transl=found.transl
    )
    torch.testing.assert_close(out.vertices, found.vertices, atol=1e-6, rtol=0)
    torch.testing.assert_close(out.joints, found.joints, atol=1e-6, rtol=0)


def test_left_fit_mirrors_the_right_one():
    vertices, mirror = meshes(4), torch.tensor([-1.0, 1.0, 1.0])
    noisy = vertices + noise_of(vertices, 0.005)
    sigma = torch.tensor([0.005, 0.005, 0.01]).expand_as(noisy)
    right, left = fit_meshes(noisy, sigma=sigma), fit_meshes(noisy * mirror, is_right=False, sigma=sigma)
    torch.testing.assert_close(left.vertices, right.vertices * mirror, atol=1e-5, rtol=0)


def test_noise_is_averaged_out():
    vertices = meshes(64)
    assert error_mm(fit_meshes(vertices + noise_of(vertices, 0.005)), vertices).mean() < 1.3


def test_sigma_tells_the_uncertain_axis():
    vertices = meshes(64)
    noisy = vertices + noise_of(vertices, 0.005, 0.005, 0.015)
    sigma = torch.tensor([0.005, 0.005, 0.015]).expand_as(noisy)
    with_sigma = error_mm(fit_meshes(noisy, sigma=sigma), vertices).mean()
    assert with_sigma < 1.9
    assert with_sigma < 0.95 * error_mm(fit_meshes(noisy), vertices).mean()


def test_a_small_sigma_far_from_the_start_does_no_harm():
    vertices = meshes(16, shape_scale=2.0)
    assert error_mm(fit_meshes(vertices, sigma=torch.full_like(vertices, 1e-4)), vertices).max() < 0.01


@pytest.mark.parametrize("spread_m", [0.2, 10.0])
def test_outliers_count_little(spread_m):
    vertices = meshes(32)
    generator = torch.Generator().manual_seed(0)
    wild = torch.rand(32, 778, 1, generator=generator) < 0.3
    noisy = torch.where(wild, vertices + noise_of(vertices, spread_m), vertices + noise_of(vertices, 0.001, seed=1))
    assert error_mm(fit_meshes(noisy), vertices).max() < 0.5


def test_weights_are_relative_and_leave_vertices_out():
    vertices = meshes(6)
    shifted = vertices + noise_of(vertices, 0.002)
    spoilt = torch.rand(6, 778, generator=torch.Generator().manual_seed(0)) < 0.5
    shifted = torch.where(spoilt[..., None], vertices + torch.tensor([0.0, 0.012, 0.0]), shifted)
    weights = torch.where(spoilt, 0.0, 1.0)
    found = fit_meshes(shifted, weights=weights)
    assert error_mm(found, vertices).max() < 1.0
    torch.testing.assert_close(fit_meshes(shifted, weights=1e6 * weights).vertices, found.vertices, atol=1e-6, rtol=0)
    gone = torch.where(spoilt[..., None], torch.nan, shifted)
    torch.testing.assert_close(fit_meshes(gone).vertices, found.vertices, atol=1e-6, rtol=0)
    sigma = torch.where(spoilt[..., None], torch.inf, torch.full_like(shifted, 0.002))
    assert error_mm(fit_meshes(shifted, sigma=sigma), vertices).max() < 1.0
    assert error_mm(fit_meshes(shifted, weights=weights + 0.01), vertices).max() < 1.5


def test_vertices_that_are_not_finite_are_left_out_one_coordinate_being_enough():
    vertices = meshes(6)
    holed = vertices.clone()
    for row in range(6):
        order = torch.randperm(778, generator=torch.Generator().manual_seed(row))
        holed[row, order[MIN_VERTICES:], row % 3] = torch.nan if row < 3 else torch.inf
    assert error_mm(fit_meshes(holed), vertices).max() < 0.2


def test_a_finger_out_of_sight_is_where_the_prior_has_it():
    vertices = meshes(16)
    holed = vertices.clone()
    index = load_hand("open").lbs_weights[:, 1:4].sum(1) > 0.1
    holed[:, index] = torch.nan
    found = fit_meshes(holed)
    apart = (found.vertices.double() - vertices).norm(dim=-1)
    assert apart[:, ~index].max() < 0.001
    assert apart[:, index].max() < 0.06
    angles = np.rad2deg(pose_to_angles(found.hand_pose.double(), joint_frames(load_hand("open"))).numpy())
    assert (angles[:, :3] < LIMITS_DEG[:3, :, 1] + 1).all()
    assert (angles[:, :3] > LIMITS_DEG[:3, :, 0] - 1).all()


def test_rows_are_independent_and_leading_dimensions_stay():
    vertices = meshes(ROWS + 5)
    noisy = vertices + noise_of(vertices, 0.005)
    noisy[3] = noise_of(noisy[3], 1.0)  # one that never converges well
    noisy[4] = vertices[4]
    whole = fit_meshes(noisy.reshape(1, 3, (ROWS + 5) // 3, 778, 3))
    assert whole.vertices.shape == (1, 3, (ROWS + 5) // 3, 778, 3)
    assert whole.betas.shape == (1, 3, (ROWS + 5) // 3, 10)
    flat = whole.vertices.flatten(0, 2)
    for row in (0, 4, ROWS, ROWS + 4):
        torch.testing.assert_close(fit_meshes(noisy[row]).vertices, flat[row], atol=1e-6, rtol=0)


def test_every_precision_and_no_gradient_and_none_at_all():
    vertices = meshes(2)
    found = fit_meshes(vertices.float().requires_grad_())
    assert not found.vertices.requires_grad
    assert error_mm(found, vertices).max() < 0.01
    assert fit_meshes(torch.zeros(2, 0, 778, 3)).vertices.shape == (2, 0, 778, 3)


@pytest.mark.parametrize("make", ["flat", "noise", "huge"])
def test_what_is_no_hand_gives_finite_hands(make):
    vertices = meshes(4)
    given = {"flat": 0 * vertices + 0.3, "noise": noise_of(vertices, 1.0), "huge": 1e6 * vertices}[make]
    found = fit_meshes(given)
    assert torch.isfinite(found.vertices).all()
    assert torch.isfinite(found.betas).all()


@pytest.mark.parametrize("side", ["right", "left"])
def test_a_mano_file(tmp_path, side):
    """A hand of MANO's layout that is not the open one: other shape directions, correctives ten times as strong."""
    held = build_mano_dict(load_hand("open"))
    held["posedirs"] = 10 * held["posedirs"]
    held["shapedirs"] = held["shapedirs"][..., ::-1]
    path = tmp_path / "MANO_RIGHT.pkl"
    path.write_bytes(pickle.dumps(held, protocol=2))
    hand = load_hand(path)
    hand = hand if side == "right" else hand.mirrored()
    known = known_hands(6, side=side)
    pose = {"global_orient": known["orient"], "hand_pose": known["pose"], "betas": known["betas"]}
    vertices = ManoLayer(hand)(**pose, transl=known["transl"]).vertices
    found = fit_meshes(vertices, hand, is_right=side == "right")
    assert error_mm(found, vertices).max() < 0.05
    by_path = fit_meshes(vertices, str(tmp_path), is_right=side == "right")
    torch.testing.assert_close(by_path.vertices, found.vertices, atol=1e-6, rtol=0)


def test_refuses_rows_with_too_few_vertices():
    vertices = meshes(3)
    vertices[1, MIN_VERTICES - 1 :] = torch.nan
    with pytest.raises(HandkitError, match="1 of 3 meshes have fewer than 100 known vertices"):
        fit_meshes(vertices)
    weights = torch.ones(3, 778)
    weights[:, 50:] = 0
    with pytest.raises(HandkitError, match="3 of 3 meshes"):
        fit_meshes(meshes(3), weights=weights)
    with pytest.raises(HandkitError, match="3 of 3 meshes"):
        fit_meshes(meshes(3), sigma=torch.full((3, 778, 3), torch.inf))


@pytest.mark.parametrize("bad", [0.0, -0.005, float("nan")])
def test_refuses_bad_sigma(bad):
    sigma = torch.full((1, 778, 3), 0.005)
    sigma[0, 7, 2] = bad
    with pytest.raises(HandkitError, match="sigma has values"):
        fit_meshes(meshes(1), sigma=sigma)


@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf")])
def test_refuses_bad_weights(bad):
    weights = torch.ones(1, 778)
    weights[0, 7] = bad
    with pytest.raises(HandkitError, match="weights has values"):
        fit_meshes(meshes(1), weights=weights)
