import itertools

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from handkit.metrics import (
    acceleration_error_mm_per_frame2,
    acceleration_error_mm_per_s2,
    acceleration_mm_per_frame2,
    acceleration_mm_per_s2,
    frame_runs,
    mean_change,
    quaternion_smoothness_rad,
    sd_over_time,
)


def test_acceleration_of_known_motion():
    t = torch.arange(6, dtype=torch.float64)[:, None, None]
    step = torch.tensor([0.001, 0, 0], dtype=torch.float64)
    joints = torch.stack([(t**2 * step).expand(6, 21, 3), (t * step).expand(6, 21, 3)])
    assert torch.allclose(acceleration_mm_per_frame2(joints), torch.tensor([2.0, 0.0], dtype=torch.float64))
    assert acceleration_error_mm_per_frame2(joints[0], joints[1]).item() == pytest.approx(2)


def test_acceleration_drops_triples_with_an_invalid_frame():
    generator = torch.Generator().manual_seed(0)
    joints = torch.randn(7, 21, 3, generator=generator, dtype=torch.float64)
    valid = torch.tensor([True, True, True, True, False, True, True])
    expected = acceleration_mm_per_frame2(joints[:4])
    joints[4] = torch.nan
    assert torch.allclose(acceleration_mm_per_frame2(joints, valid), expected)
    assert acceleration_mm_per_frame2(joints).isnan()
    assert acceleration_mm_per_frame2(joints[3:], valid[3:]).isnan()
    assert acceleration_mm_per_frame2(joints[:2]).isnan()


def test_acceleration_per_second_squared():
    generator = torch.Generator().manual_seed(0)
    pred, target = torch.randn(2, 9, 21, 3, generator=generator, dtype=torch.float64)
    valid = torch.arange(9) != 2
    by_frame = acceleration_mm_per_frame2(pred, valid)
    assert acceleration_mm_per_s2(pred, valid, fps=30).item() == pytest.approx(900 * by_frame.item())
    by_frame = acceleration_error_mm_per_frame2(pred, target, valid)
    assert acceleration_error_mm_per_s2(pred, target, valid, fps=25).item() == pytest.approx(625 * by_frame.item())


def eq_17(axis_angle):
    """The equation as printed, for frames [n, J, 3], with scipy's rotations."""
    turns = [Rotation.from_rotvec(frame) for frame in axis_angle]
    path = sum((b * a.inv()).magnitude() for a, b in itertools.pairwise(turns))
    return np.sqrt(np.sum((path - (turns[-1] * turns[0].inv()).magnitude()) ** 2))


def test_quaternion_smoothness_is_eq_17():
    poses = np.random.default_rng(0).normal(size=(7, 16, 3))
    assert quaternion_smoothness_rad(torch.from_numpy(poses), frames=None).item() == pytest.approx(eq_17(poses))
    windows = [eq_17(poses[i : i + 3]) for i in range(5)]
    assert quaternion_smoothness_rad(torch.from_numpy(poses)).item() == pytest.approx(np.mean(windows))
    valid = torch.tensor([True, True, True, False, True, True, True])
    kept = quaternion_smoothness_rad(torch.from_numpy(poses), valid)
    assert kept.item() == pytest.approx(np.mean([windows[0], windows[4]]))


def test_turning_about_a_fixed_axis_at_any_speed_is_smooth():
    angle = torch.tensor([0.0, 0.1, 0.9, 1.0, 2.5], dtype=torch.float64)[:, None, None]
    axis = torch.nn.functional.normalize(torch.randn(16, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    smooth = quaternion_smoothness_rad(angle * axis, frames=None)
    assert smooth.item() == pytest.approx(0, abs=1e-6)
    there_and_back = torch.cat([angle, angle.flip(0)])[..., :1] * torch.tensor([[1.0, 0, 0]])
    assert quaternion_smoothness_rad(there_and_back, frames=None).item() == pytest.approx(5.0)


def test_turning_across_pi_takes_the_short_way():
    angle = torch.tensor([3.0, 3.3, 3.6], dtype=torch.float64)[:, None, None]
    wrapped = (angle - 2 * torch.pi * (angle > torch.pi)) * torch.tensor([[0.0, 1, 0]])
    assert quaternion_smoothness_rad(wrapped).item() == pytest.approx(0, abs=1e-6)


def test_too_few_frames_are_undefined():
    poses = torch.randn(2, 2, 16, 3)
    assert quaternion_smoothness_rad(poses).isnan().tolist() == [True, True]
    assert mean_change(poses.flatten(-2)[:, :1]).isnan().all()
    assert sd_over_time(torch.randn(3, 4), torch.zeros(3, dtype=torch.bool)).isnan()


def test_mean_change_and_sd_against_loops():
    betas = np.random.default_rng(1).normal(size=(6, 10))
    steps = [np.sqrt(((betas[t] - betas[t - 1]) ** 2).sum()) for t in range(1, 6)]
    assert mean_change(torch.from_numpy(betas)).item() == pytest.approx(np.mean(steps))
    assert mean_change(torch.from_numpy(betas), squared=True).item() == pytest.approx(np.mean(np.square(steps)))
    assert sd_over_time(torch.from_numpy(betas)).item() == pytest.approx(np.mean([d.std() for d in betas.T]))
    valid = torch.tensor([True, True, False, True, True, True])
    broken = torch.from_numpy(np.where(valid[:, None], betas, np.nan))
    assert mean_change(broken, valid).item() == pytest.approx(np.mean([steps[0], steps[3], steps[4]]))
    kept = betas[valid.numpy()]
    assert sd_over_time(broken, valid).item() == pytest.approx(np.mean([d.std() for d in kept.T]))


def test_runs_never_cross_a_border_or_a_gap():
    sequences = ["b", "a", "b", "a", "b", "a", "b"]
    frames = [3, 0, 1, 1, 2, 5, 7]
    assert [run.tolist() for run in frame_runs(sequences, frames)] == [[2, 4, 0], [6], [1, 3], [5]]
    assert [run.tolist() for run in frame_runs(sequences)] == [[0, 2, 4, 6], [1, 3, 5]]
    assert [run.tolist() for run in frame_runs(["a", "a"], [4, 4])] == [[0], [1]]
