"""Known hands to be found again."""

import numpy as np
import torch

from handkit.geometry import axis_angle_to_matrix
from handkit.hand import load_hand
from handkit.hand.layer import ManoLayer
from handkit.hand.limits import angles_to_pose, joint_frames, sample_angles

K = np.array([[600.0, 0.0, 320.0], [0.0, 610.0, 240.0], [0.0, 0.0, 1.0]])


def known_hands(n, seed=0, side="right", shape_scale=1.0):
    """Natural poses turned at random half a metre away: parameters, joints [n,21,3], points [n,21,2] in pixels."""
    rng = np.random.default_rng(seed)
    hand = load_hand("open", side)
    angles = torch.tensor(sample_angles(n, rng, "natural"))
    pose = angles_to_pose(angles, joint_frames(hand))
    orient = torch.tensor(rng.normal(0, 1.2, (n, 3)))
    betas = torch.tensor(rng.normal(0, shape_scale, (n, 10)))
    transl = torch.tensor(rng.uniform([-0.1, -0.08, 0.45], [0.1, 0.08, 0.6], (n, 3)))
    out = ManoLayer(hand)(global_orient=orient, hand_pose=pose, betas=betas, transl=transl)
    joints = out.joints.numpy()
    projected = joints @ K.T
    return {
        "angles": angles,
        "orient": orient,
        "pose": pose,
        "betas": betas,
        "transl": transl,
        "joints": joints,
        "vertices": out.vertices.numpy(),
        "points": projected[..., :2] / projected[..., 2:],
    }


def moving_hand(frames, fps=30.0, seed=0):
    """One hand that waves and closes smoothly: as `known_hands`, with `time_s`."""
    known = known_hands(2, seed, shape_scale=0.5)
    time = torch.arange(frames, dtype=torch.float64) / fps
    blend = (0.5 - 0.5 * torch.cos(2 * np.pi * time / 1.6))[:, None, None]
    angles = (1 - blend) * known["angles"][0] + blend * known["angles"][1]
    hand = load_hand("open")
    turn = 0.4 * torch.sin(2 * np.pi * time / 1.3)
    orient = torch.stack([turn + np.pi, 0 * turn, 0.5 * turn], -1)
    transl = torch.stack([0.06 * torch.sin(2 * np.pi * time / 2), 0 * time, 0.55 + 0.05 * torch.cos(2 * time)], -1)
    betas = known["betas"][:1].expand(frames, 10)
    pose = angles_to_pose(angles, joint_frames(hand))
    out = ManoLayer(hand)(global_orient=orient, hand_pose=pose, betas=betas, transl=transl)
    joints = out.joints.numpy()
    projected = joints @ K.T
    return {
        "time_s": time.numpy(),
        "joints": joints,
        "points": projected[..., :2] / projected[..., 2:],
        "rotation": axis_angle_to_matrix(orient),
    }
