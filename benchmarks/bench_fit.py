"""Speed of the fits on synthetic keypoints and meshes: `pytest benchmarks/bench_fit.py`."""

import numpy as np
import pytest
import torch

from handkit.fit import fit_images, fit_joints, fit_meshes, fit_track
from handkit.geometry import default_K
from handkit.hand import ManoLayer, load_hand
from handkit.hand.limits import angles_to_pose, joint_frames, sample_angles

K = default_K(1280, 720).numpy()


@pytest.fixture(scope="module")
def joints() -> np.ndarray:
    """A hand moving through natural poses for ten seconds [300,21,3]."""
    rng = np.random.default_rng(0)
    hand = load_hand("open")
    keys = torch.from_numpy(sample_angles(16, rng))
    at = torch.linspace(0, 14.999, 300, dtype=torch.float64)
    share = (0.5 - 0.5 * torch.cos(torch.pi * (at % 1)))[:, None, None]
    angles = (1 - share) * keys[at.long()] + share * keys[at.long() + 1]
    orient = torch.stack([torch.full_like(at, 3.0), 0.3 * at.sin(), 0 * at], -1)
    transl = torch.stack([0.1 * at.sin(), 0 * at, 0.6 + 0 * at], -1)
    pose = angles_to_pose(angles, joint_frames(hand))
    return ManoLayer(hand)(global_orient=orient, hand_pose=pose, transl=transl).joints.numpy()


@pytest.fixture(scope="module")
def meshes() -> torch.Tensor:
    """A batch of natural poses and shapes, float64 [32,778,3]."""
    rng = np.random.default_rng(0)
    hand = load_hand("open")
    pose = angles_to_pose(torch.from_numpy(sample_angles(32, rng)), joint_frames(hand))
    orient, betas = torch.from_numpy(rng.normal(0, 1.2, (32, 3))), torch.from_numpy(rng.normal(0, 1, (32, 10)))
    return ManoLayer(hand)(global_orient=orient, hand_pose=pose, betas=betas).vertices


def image_evidence(joints: np.ndarray) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    points = joints @ K.T
    return {
        "keypoints_2d": points[..., :2] / points[..., 2:] + rng.normal(0, 2, joints[..., :2].shape),
        "keypoint_scores": np.ones(joints.shape[:2]),
        "keypoints_3d": joints - joints.mean(1, keepdims=True) + rng.normal(0, 0.004, joints.shape),
        "K": np.tile(K, (len(joints), 1, 1)),
    }


def test_fit_joints(benchmark, joints):
    benchmark.extra_info["hands"] = len(joints)
    benchmark(fit_joints, torch.from_numpy(joints))


def test_fit_images(benchmark, joints):
    benchmark.extra_info["hands"] = len(joints)
    benchmark(fit_images, **image_evidence(joints))


def test_fit_track(benchmark, joints):
    benchmark.extra_info["frames"] = len(joints)
    benchmark(fit_track, **image_evidence(joints), time_s=np.arange(len(joints)) / 30)


@pytest.mark.parametrize("noise_m", [0.0, 0.005])
def test_fit_meshes(benchmark, meshes, noise_m):
    benchmark.extra_info["hands"] = len(meshes)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(meshes.shape, generator=generator, dtype=torch.float64)
    found = benchmark(fit_meshes, meshes + noise_m * noise)
    benchmark.extra_info["error_mm"] = 1000 * float((found.vertices - meshes).norm(dim=-1).mean())
