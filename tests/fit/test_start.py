"""Starts from the pose encoder."""

import numpy as np
import torch

from handkit.fit import fit_joints
from handkit.fit.objective import Observations
from handkit.fit.start import encode_points
from handkit.geometry import axis_angle_to_matrix
from handkit.hand import ManoLayer, load_hand
from handkit.hand.limits import angles_to_pose, joint_frames, sample_angles

HAND = load_hand("open")


def hands(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Joint angles, and joints of hands of all shapes, turned and moved."""
    rng = np.random.default_rng(5)
    angles = torch.from_numpy(sample_angles(count, rng))
    out = ManoLayer(HAND)(
        hand_pose=angles_to_pose(angles, joint_frames(HAND)),
        betas=torch.from_numpy(rng.uniform(-2, 2, (count, 10))),
        global_orient=torch.from_numpy(rng.standard_normal((count, 3))),
        transl=torch.from_numpy(rng.standard_normal((count, 3))),
    )
    return angles, out.joints


def observe(points: torch.Tensor) -> Observations:
    sigma = torch.where(torch.isfinite(points), 0.002, torch.inf)
    rays = points.new_zeros(len(points), 21, 2)
    return Observations(rays, torch.full_like(rays[..., 0], torch.inf), points.nan_to_num(), sigma, relative=False)


def test_encoded_angles_are_near_the_truth_of_any_shape_turn_and_place() -> None:
    angles, joints = hands(100)
    found, complete = encode_points(observe(joints))
    assert complete.all()
    assert (found - angles).abs().mean() < np.deg2rad(2)
    assert (found - angles).abs()[..., 0].mean() < np.deg2rad(2)


def test_rows_that_lack_a_landmark_or_a_palm_are_told_apart() -> None:
    _, joints = hands(4)
    joints[1, 8] = torch.nan
    joints[2] = 0.0
    found, complete = encode_points(observe(joints))
    assert complete.tolist() == [True, False, False, True]
    assert found.isfinite().all()
    fitted = fit_joints(torch.stack([joints[0], joints[1]]))
    error = (fitted.joints - joints[:2]).norm(dim=-1)
    assert error[error.isfinite()].max() < 0.005


def test_encoded_angles_do_not_depend_on_the_frame() -> None:
    _, joints = hands(20)
    R = axis_angle_to_matrix(torch.tensor([0.4, -1.0, 2.0], dtype=torch.float64))
    turned = 1.3 * joints @ R.mT + 0.2
    torch.testing.assert_close(encode_points(observe(turned))[0], encode_points(observe(joints))[0], rtol=0, atol=1e-6)
