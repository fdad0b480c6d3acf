"""Joints of meshes without parameters."""

import numpy as np
import torch

from handkit.hand import ManoLayer, load_hand
from handkit.hand.limits import angles_to_pose, joint_frames, sample_angles
from handkit.hand.mesh_joints import joints_of_mesh


def test_at_rest_they_are_the_layers_joints_in_our_order() -> None:
    hand = load_hand("open", "right")
    rest = ManoLayer(hand)(betas=torch.tensor([[1.0, -2, 0.5, 0, 0, 0, 0, 0, 0, 1.5]]).double())
    torch.testing.assert_close(joints_of_mesh(rest.vertices, hand), rest.joints, atol=1e-6, rtol=0)


def test_of_bent_hands_they_stay_near_the_layers_joints() -> None:
    hand = load_hand("open", "right")
    angles = torch.from_numpy(sample_angles(100, np.random.default_rng(0), "natural"))
    pose = angles_to_pose(angles, joint_frames(hand)).reshape(100, 45)
    posed = ManoLayer(hand)(hand_pose=pose)
    apart = (joints_of_mesh(posed.vertices, hand) - posed.joints).norm(dim=-1)
    assert float(apart.mean()) < 1e-3
    assert float(apart[:, [0, 4, 8, 12, 16, 20]].max()) < 1e-6
    assert float(apart.mean()) > 1e-5


def test_left_hands_and_2d() -> None:
    hand = load_hand("open", "left")
    rest = ManoLayer(hand)().vertices
    torch.testing.assert_close(
        joints_of_mesh(rest[..., :2], hand), joints_of_mesh(rest, hand)[..., :2], atol=1e-7, rtol=0
    )
    assert joints_of_mesh(rest, hand).dtype == rest.dtype
