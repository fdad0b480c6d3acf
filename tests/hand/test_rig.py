"""Offsets carried to the rest pose and back."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from handkit.hand import load_hand
from handkit.hand.layer import ManoLayer
from handkit.hand.rig import offsets_to_pose, offsets_to_rest, skinning_rotations


def _poses(count: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {"global_orient": rng.normal(size=(count, 3)), "hand_pose": rng.normal(size=(count, 45)) * 0.4}


@pytest.mark.parametrize("side", ["right", "left"])
def test_offsets_at_rest_pose_like_the_layer(side: str) -> None:
    """A template moved by offsets, with joints held still, poses to the mesh moved by the carried offsets."""
    hand = load_hand("open", side)
    offsets = np.random.default_rng(1).normal(size=(778, 3)) * 2e-3
    # The regressor sees a constant vertex sum, so that moving the template moves no joint.
    offsets -= np.linalg.pinv(hand.J_regressor) @ (hand.J_regressor @ offsets)
    poses = _poses(5)
    tensors = {key: torch.from_numpy(value) for key, value in poses.items()}
    plain = ManoLayer(hand)(**tensors).vertices.numpy()
    moved = ManoLayer(replace(hand, v_template=hand.v_template + offsets))(**tensors).vertices.numpy()
    np.testing.assert_allclose(plain + offsets_to_pose(hand, offsets, **poses), moved, atol=1e-12)
    np.testing.assert_allclose(offsets_to_rest(hand, moved - plain, **poses), offsets, atol=1e-7)


def test_frames_are_averaged() -> None:
    hand = load_hand("open")
    rng = np.random.default_rng(0)
    offsets, poses = rng.normal(size=(778, 3)) * 2e-3, _poses(20)
    noise = rng.normal(size=(20, 778, 3)) * 1e-3
    posed = offsets_to_pose(hand, offsets, **poses) + noise
    found = offsets_to_rest(hand, posed, **poses)
    assert np.sqrt(((found - offsets) ** 2).mean()) < 0.3 * 1e-3
    rigid = np.flatnonzero(hand.lbs_weights.max(1) > 1 - 1e-9)
    turned_back = np.einsum("tvab,tva->tvb", skinning_rotations(hand, **poses), posed).mean(0)
    np.testing.assert_allclose(found[rigid], turned_back[rigid], atol=1e-7)


def test_weights_choose_frames() -> None:
    hand, poses = load_hand("open"), _poses(2)
    first, second = np.full((778, 3), 1e-3), np.full((778, 3), -2e-3)
    posed = np.stack([offsets_to_pose(hand, o, **poses)[k] for k, o in enumerate((first, second))])
    np.testing.assert_allclose(offsets_to_rest(hand, posed, **poses, weights=[1, 0]), first, atol=1e-7)
    per_vertex = np.zeros((2, 778))
    per_vertex[1, :700] = 1
    found = offsets_to_rest(hand, posed, **poses, weights=per_vertex)
    np.testing.assert_allclose(found[:700], second[:700], atol=1e-7)
    assert (found[700:] == 0).all()


def test_no_frames() -> None:
    found = offsets_to_rest(load_hand("open"), np.zeros((0, 778, 3)), **_poses(0))
    np.testing.assert_array_equal(found, np.zeros((778, 3)))
