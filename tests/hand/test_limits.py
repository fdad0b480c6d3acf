import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import gradcheck

from handkit.conventions import FINGERTIPS, JOINT_NAMES, MANO_JOINT_NAMES
from handkit.geometry import axis_angle_to_matrix, mirror_axis_angle, rotation_about
from handkit.hand import ManoLayer, load_hand
from handkit.hand.limits import (
    LIMITS_DEG,
    S2HAND_RANGES_RAD,
    angles_to_pose,
    joint_frames,
    pose_to_angles,
    sample_angles,
)

FRAMES = joint_frames(load_hand("open"))
FLEXION, ABDUCTION, TWIST = range(3)
seeds = st.integers(0, 2**32 - 1)


def angles_of(seed, kind="uniform", n=8):
    return torch.from_numpy(sample_angles(n, np.random.default_rng(seed), kind))


def one_angle(joint, kind, degrees):
    angles = torch.zeros(15, 3, dtype=torch.float64)
    angles[MANO_JOINT_NAMES.index(joint) - 1, kind] = np.deg2rad(degrees)
    return angles


def tip_motion(finger, angles, side="right"):
    hand = load_hand("open", side)
    pose = torch.stack([torch.zeros(45, dtype=torch.float64), angles_to_pose(angles, joint_frames(hand))])
    rest, bent = ManoLayer(hand)(hand_pose=pose).joints
    return (bent - rest)[JOINT_NAMES.index(f"{finger}4")]


def test_convention_limits():
    rows = {name: LIMITS_DEG[i].tolist() for i, name in enumerate(MANO_JOINT_NAMES[1:])}
    assert rows["index1"] == [[-30, 95], [-30, 25], [-10, 10]]
    assert rows["little1"] == [[-30, 105], [-25, 30], [-15, 15]]
    assert rows["ring2"] == [[-10, 110], [-10, 10], [-8, 8]]
    assert rows["middle3"] == [[-20, 90], [-8, 8], [-5, 5]]
    assert rows["thumb1"] == [[-25, 60], [-30, 40], [-40, 30]]
    assert (LIMITS_DEG[..., 0] < 0).all()
    assert (LIMITS_DEG[..., 1] > 0).all()


def test_convention_s2hand_ranges():
    straight, base = [[-5, 5], [-5, 5], [-10, 100]], [[-5, 5], [-10, 10], [-10, 100]]
    expected = [base, straight, straight] * 2
    expected += [[[-20, 5], [-10, 20], [-10, 100]], straight, straight]
    expected += [base, straight, straight]
    expected += [[[0, 90], [-22.5, 33.75], [-22.5, 22.5]], [[-5, 5], [-5, 5], [-22.5, 22.5]]]
    expected += [[[-5, 5], [-5, 5], [-20, 100]]]
    assert np.allclose(np.rad2deg(S2HAND_RANGES_RAD), expected)
    assert S2HAND_RANGES_RAD[12, 1, 1] == pytest.approx(3 * np.pi / 16)


def test_frames_are_right_handed_and_follow_the_bones():
    for side in ("right", "left"):
        frames = joint_frames(load_hand("open", side))
        assert torch.allclose(frames.transpose(1, 2) @ frames, torch.eye(3, dtype=torch.float64), atol=1e-12)
        assert torch.allclose(torch.linalg.det(frames), torch.ones(15, dtype=torch.float64))
    hand = load_hand("open")
    joints = hand.J_regressor @ hand.v_template
    bone = joints[2] - joints[1]
    assert np.allclose(FRAMES[0, :, 0], bone / np.linalg.norm(bone))
    # MANO's rest frame: fingers along -x, palm towards -y, the flexion axis towards the thumb
    assert (FRAMES[:12, 0, 0] < -0.8).all()
    assert (FRAMES[:12, 1, 1] < -0.9).all()
    assert (FRAMES[:12, 2, 2] > 0.8).all()


@given(seeds)
def test_angles_round_trip_within_limits(seed):
    angles = angles_of(seed)
    assert (pose_to_angles(angles_to_pose(angles, FRAMES), FRAMES) - angles).abs().max() < 1e-6


@given(seeds)
def test_pose_round_trip(seed):
    pose = torch.from_numpy(np.random.default_rng(seed).normal(0, 0.8, (4, 45)))
    matrices = [axis_angle_to_matrix(p.unflatten(-1, (15, 3))) for p in (pose, rebuilt(pose))]
    assert torch.allclose(*matrices, atol=1e-9)


def rebuilt(pose):
    return angles_to_pose(pose_to_angles(pose, FRAMES), FRAMES)


def test_rotation_is_the_stated_product():
    angles = angles_of(3)
    flexion, abduction, twist = angles.unbind(-1)
    product = rotation_about("z", flexion) @ rotation_about("y", -abduction) @ rotation_about("x", twist)
    expected = FRAMES @ product @ FRAMES.transpose(1, 2)
    pose = angles_to_pose(angles, FRAMES)
    assert torch.allclose(axis_angle_to_matrix(pose.unflatten(-1, (15, 3))), expected, atol=1e-12)


def test_zero_is_the_rest_pose_with_finite_gradients():
    angles = torch.zeros(2, 15, 3, dtype=torch.float64, requires_grad=True)
    pose = angles_to_pose(angles, FRAMES)
    back = pose_to_angles(pose, FRAMES)
    (gradient,) = torch.autograd.grad(back.sum(), angles)
    assert (pose == 0).all()
    assert torch.allclose(gradient, torch.ones_like(gradient))


def test_gradient():
    angles = angles_of(5, n=1)
    assert gradcheck(lambda a: angles_to_pose(a, FRAMES), angles.requires_grad_())
    pose = angles_to_pose(angles, FRAMES).detach().requires_grad_()
    assert gradcheck(lambda p: pose_to_angles(p, FRAMES), pose)


def test_float32_and_batches():
    angles = angles_of(7, n=6).reshape(2, 3, 15, 3)
    pose = angles_to_pose(angles.float(), FRAMES)
    assert pose.dtype == torch.float32
    assert torch.allclose(pose[1, 2].double(), angles_to_pose(angles[1, 2], FRAMES), atol=1e-5)
    assert torch.allclose(pose_to_angles(pose, FRAMES).double(), angles, atol=1e-5)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("joint", [name for name in MANO_JOINT_NAMES[1:] if "thumb" not in name])
def test_finger_flexion_moves_the_tip_towards_the_palm(joint, side):
    motion = tip_motion(joint[:-1], one_angle(joint, FLEXION, 30), side)
    assert motion[1] < -0.005
    assert motion[1].abs() > 2 * motion[2].abs()


@pytest.mark.parametrize("joint", ["thumb1", "thumb2", "thumb3"])
def test_thumb_flexion_moves_the_tip_across_the_palm(joint):
    motion = tip_motion("thumb", one_angle(joint, FLEXION, 30))
    assert motion[1] < 0
    assert motion[2] < -0.003


def test_abduction_goes_to_the_thumb_side_and_for_the_thumb_to_the_front():
    for finger in ("index", "middle", "ring", "little"):
        motion = tip_motion(finger, one_angle(f"{finger}1", ABDUCTION, 15))
        assert motion[2] > 0.01
        assert motion[1].abs() < 0.3 * motion[2]
    assert tip_motion("thumb", one_angle("thumb1", ABDUCTION, 20))[1] < -0.01


def test_twist_keeps_the_finger_in_place():
    assert tip_motion("index", one_angle("index3", TWIST, 5)).norm() < 0.001


def test_left_hand_is_the_mirror_image():
    angles = angles_of(11)
    right, left = (load_hand("open", side) for side in ("right", "left"))
    poses = [angles_to_pose(angles, joint_frames(hand)) for hand in (right, left)]
    assert torch.allclose(poses[1].unflatten(-1, (15, 3)), mirror_axis_angle(poses[0].unflatten(-1, (15, 3))))
    vertices = [ManoLayer(h)(hand_pose=p).vertices for h, p in zip((right, left), poses, strict=True)]
    mirror = torch.tensor([-1.0, 1, 1], dtype=torch.float64)
    assert torch.allclose(vertices[1], vertices[0] * mirror, atol=1e-9)


@pytest.mark.parametrize("kind", ["natural", "uniform"])
def test_samples_stay_within_limits_and_follow_the_seed(kind):
    angles = sample_angles(2000, np.random.default_rng(0), kind)
    limits = np.deg2rad(LIMITS_DEG)
    assert angles.shape == (2000, 15, 3)
    assert (angles >= limits[..., 0] - 1e-12).all()
    assert (angles <= limits[..., 1] + 1e-12).all()
    assert np.array_equal(angles, sample_angles(2000, np.random.default_rng(0), kind))
    assert not np.array_equal(angles, sample_angles(2000, np.random.default_rng(1), kind))


def test_natural_samples_move_together():
    flexion = sample_angles(4000, np.random.default_rng(0))[..., FLEXION]
    index, middle, little, ring = (3 * np.arange(4) + 1).tolist()

    def correlation(a, b):
        return np.corrcoef(flexion[:, a], flexion[:, b])[0, 1]

    assert correlation(ring, little) > 0.6
    assert correlation(middle, ring) > correlation(index, little)
    for pip in (index, middle, ring, little):
        assert np.polyfit(flexion[:, pip], flexion[:, pip + 1], 1)[0] == pytest.approx(2 / 3, abs=0.05)
    assert np.ptp(np.rad2deg(flexion[:, [index, middle, ring, little]]), axis=0).min() > 90


def test_natural_samples_hold_fists_open_hands_and_pinches():
    pose = angles_to_pose(angles_of(0, "natural", 3000), FRAMES)
    joints = ManoLayer(load_hand("open"))(hand_pose=pose).joints
    tips = joints[:, list(FINGERTIPS)]
    reach = (tips[:, 1:] - joints[:, :1]).norm(dim=-1).mean(1)
    assert reach.min() < 0.11
    assert reach.max() > 0.15
    assert (tips[:, 0] - tips[:, 1]).norm(dim=-1).min() < 0.02


def test_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="natural"):
        sample_angles(1, np.random.default_rng(0), "random")
