"""The closed-form joints and Jacobian against the layer and finite differences."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from handkit.fit.kinematics import JointModel, Pose, skew
from handkit.geometry import matrix_to_axis_angle
from handkit.hand import load_hand
from handkit.hand.layer import ManoLayer
from handkit.hand.limits import angles_to_pose, sample_angles


@pytest.fixture
def poses():
    rng = np.random.default_rng(1)
    turn = torch.linalg.matrix_exp(skew(torch.tensor(rng.normal(0, 1, (4, 3)))))
    return (
        Pose(turn, torch.tensor(rng.normal(0, 0.3, (4, 3))), torch.tensor(sample_angles(4, rng, "uniform"))),
        torch.tensor(rng.normal(0, 1, (4, 10))),
    )


def test_joints_equal_the_layers(poses):
    pose, betas = poses
    model = JointModel(load_hand("open"))
    out = ManoLayer(load_hand("open"))(
        global_orient=matrix_to_axis_angle(pose.rotation),
        hand_pose=angles_to_pose(pose.angles, model.frames),
        betas=betas,
        transl=pose.transl,
    )
    joints, _, _ = model.forward(pose, betas)
    torch.testing.assert_close(joints, out.joints, atol=1e-9, rtol=0)


def test_jacobian_equals_finite_differences(poses):
    pose, betas = poses
    hand = load_hand("open")
    model = JointModel(replace(hand, posedirs=np.zeros_like(hand.posedirs)))
    _, d_pose, d_betas = model.forward(pose, betas, jacobian=True)
    h = 1e-6
    for k in range(51):
        step = torch.zeros(4, 51, dtype=torch.float64)
        step[:, k] = h
        ahead, behind = model.forward(pose.moved(step), betas)[0], model.forward(pose.moved(-step), betas)[0]
        torch.testing.assert_close((ahead - behind) / (2 * h), d_pose[..., k], atol=1e-7, rtol=0)
    for k in range(10):
        step = torch.zeros(4, 10, dtype=torch.float64)
        step[:, k] = h
        ahead, behind = model.forward(pose, betas + step)[0], model.forward(pose, betas - step)[0]
        torch.testing.assert_close((ahead - behind) / (2 * h), d_betas[..., k], atol=1e-7, rtol=0)
