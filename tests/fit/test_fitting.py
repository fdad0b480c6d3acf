"""Fits find known hands again, from joints, from projections with noise, over time, of either side."""

import numpy as np
import pytest
import torch

from handkit.errors import HandkitError
from handkit.fit import fit_images, fit_joints, fit_track
from handkit.fit.fitting import OVERLAP, WINDOW
from handkit.hand import load_hand
from handkit.hand.layer import ManoLayer
from handkit.hand.limits import LIMITS_DEG, joint_frames, pose_to_angles
from handkit.metrics import acceleration_mm_per_frame2, pa_mpjpe_mm

from .hands import K, known_hands, moving_hand


def mpjpe_mm(pred, target):
    return 1000 * np.linalg.norm(np.asarray(pred) - np.asarray(target), axis=-1).mean(-1)


def pa_mm(pred, target):
    return pa_mpjpe_mm(torch.as_tensor(np.asarray(pred)).double(), torch.as_tensor(target)).numpy()


@pytest.mark.parametrize("side", ["right", "left"])
def test_fit_joints_finds_known_hands(side):
    known = known_hands(40, side=side)
    found = fit_joints(torch.tensor(known["joints"]), is_right=side == "right")
    assert mpjpe_mm(found.joints, known["joints"]).mean() < 0.8
    assert np.linalg.norm(found.vertices.numpy() - known["vertices"], axis=-1).mean() < 0.003


@pytest.mark.parametrize("side", ["right", "left"])
def test_parameters_rebuild_joints_and_vertices(side):
    known = known_hands(5, side=side)
    found = fit_joints(torch.tensor(known["joints"]), is_right=side == "right")
    out = ManoLayer(load_hand("open", side))(
        global_orient=found.global_orient, hand_pose=found.hand_pose, betas=found.betas, transl=found.transl
    )
    torch.testing.assert_close(out.vertices, found.vertices, atol=1e-6, rtol=0)
    torch.testing.assert_close(out.joints, found.joints, atol=1e-6, rtol=0)


def test_left_fit_mirrors_the_right_one():
    joints = torch.tensor(known_hands(4)["joints"])
    mirror = torch.tensor([-1.0, 1.0, 1.0])
    right, left = fit_joints(joints), fit_joints(joints * mirror, is_right=False)
    torch.testing.assert_close(left.vertices, right.vertices * mirror, atol=1e-5, rtol=0)


@pytest.mark.parametrize("missing", [(3, 8, 20), (0, 5, 9, 13)])
def test_fit_joints_keeps_leading_dimensions_and_skips_missing_joints(missing):
    known = known_hands(6)
    joints = torch.tensor(known["joints"])
    holed = joints.clone()
    holed[:, missing] = torch.nan
    found = fit_joints(holed.reshape(2, 3, 21, 3))
    assert found.vertices.shape == (2, 3, 778, 3)
    seen = [j for j in range(21) if j not in missing]
    assert mpjpe_mm(found.joints.reshape(6, 21, 3)[:, seen], known["joints"][:, seen]).mean() < 1.0


def test_fit_joints_stays_within_limits_even_for_impossible_joints():
    joints = torch.tensor(known_hands(8)["joints"])
    bent = joints + 0.02 * torch.randn(joints.shape, generator=torch.Generator().manual_seed(0))
    found = fit_joints(bent)
    angles = np.rad2deg(pose_to_angles(found.hand_pose.double(), joint_frames(load_hand("open"))).numpy())
    assert (angles < LIMITS_DEG[..., 1] + 5).all()
    assert (angles > LIMITS_DEG[..., 0] - 5).all()


def test_fit_joints_refuses_rows_with_too_few_joints():
    joints = torch.full((2, 21, 3), torch.nan)
    joints[0] = torch.tensor(known_hands(1)["joints"][0])
    with pytest.raises(HandkitError, match="1 of 2 hands have fewer than 6 finite joints"):
        fit_joints(joints)


@pytest.mark.parametrize(("noise_px", "bound_mm", "bound_px"), [(0, 3.0, 1.0), (1, 3.5, 1.6), (3, 6.0, 3.5)])
def test_fit_images_finds_known_hands_in_their_projections(noise_px, bound_mm, bound_px):
    known = known_hands(48)
    rng = np.random.default_rng(5)
    points = known["points"] + rng.normal(0, noise_px, known["points"].shape)
    centred = known["joints"] - known["joints"].mean(1, keepdims=True)
    landmarks = centred + rng.normal(0, 0.002 * noise_px, centred.shape)
    found = fit_images(
        keypoints_2d=points,
        keypoint_scores=np.ones((48, 21)),
        K=np.tile(K, (48, 1, 1)),
        keypoints_3d=landmarks,
        source="joints",
    )
    assert np.median(pa_mm(found.joints, known["joints"])) < bound_mm
    projected = found.joints.numpy() @ K.T
    error_px = np.linalg.norm(projected[..., :2] / projected[..., 2:] - known["points"], axis=-1)
    assert np.median(error_px) < bound_px


def test_fit_images_without_landmarks_in_3d():
    known = known_hands(48)
    found = fit_images(
        keypoints_2d=known["points"], keypoint_scores=np.ones((48, 21)), K=np.tile(K, (48, 1, 1)), source="openpose"
    )
    assert np.median(pa_mm(found.joints, known["joints"])) < 12
    projected = found.joints.numpy() @ K.T
    assert np.median(np.linalg.norm(projected[..., :2] / projected[..., 2:] - known["points"], axis=-1)) < 3


def test_a_missing_keypoint_is_ignored():
    known = known_hands(4)
    scores = np.ones((4, 21))
    scores[:, 12] = 0
    points = known["points"].copy()
    points[:, 12] = 9999
    args = {"keypoint_scores": scores, "K": np.tile(K, (4, 1, 1)), "source": "joints"}
    centred = known["joints"] - known["joints"].mean(1, keepdims=True)
    found = fit_images(keypoints_2d=points, keypoints_3d=centred, **args)
    again = fit_images(keypoints_2d=known["points"], keypoints_3d=centred, **args)
    torch.testing.assert_close(found.joints, again.joints, atol=1e-6, rtol=0)


def fit_moving(known, rng, smooth, noise_px=1.5):
    T = len(known["time_s"])
    centred = known["joints"] - known["joints"].mean(1, keepdims=True)
    return fit_track(
        keypoints_2d=known["points"] + rng.normal(0, noise_px, known["points"].shape),
        keypoint_scores=np.ones((T, 21)),
        K=np.tile(K, (T, 1, 1)),
        keypoints_3d=centred + rng.normal(0, 0.003, centred.shape),
        time_s=known["time_s"],
        source="joints",
        smooth=smooth,
    )


def test_smoothing_lowers_error_and_acceleration_and_keeps_the_motion():
    known = moving_hand(90)
    alone = fit_moving(known, np.random.default_rng(0), smooth=0.0)
    smoothed = fit_moving(known, np.random.default_rng(0), smooth=1.0)

    def acceleration(joints):
        return float(np.nanmean(np.asarray(acceleration_mm_per_frame2(torch.as_tensor(joints).double()))))

    truth = acceleration(known["joints"])
    assert acceleration(smoothed.joints) - truth < 0.35 * (acceleration(alone.joints) - truth)
    assert mpjpe_mm(smoothed.joints, known["joints"]).mean() < mpjpe_mm(alone.joints, known["joints"]).mean()
    x_true, x = known["joints"][:, 0, 0], smoothed.joints[:, 0, 0].numpy()
    assert np.ptp(x) > 0.95 * np.ptp(x_true)
    assert (smoothed.betas == smoothed.betas[0]).all()


def test_windows_leave_no_seam():
    known = moving_hand(WINDOW + 100)
    found = fit_moving(known, np.random.default_rng(0), smooth=1.0).joints.numpy()
    jerk = np.linalg.norm(np.diff(found, n=3, axis=0), axis=-1).mean(-1)
    seam = jerk[WINDOW - OVERLAP - 8 : WINDOW + 8]
    assert seam.max() < 1.5 * np.quantile(jerk, 0.99)


def test_a_track_of_one_frame_and_too_few_keypoints():
    known = moving_hand(1)
    args = {"K": K[None], "time_s": known["time_s"], "source": "openpose"}
    found = fit_track(keypoints_2d=known["points"], keypoint_scores=np.ones((1, 21)), **args)
    assert found.joints.shape == (1, 21, 3)
    assert torch.isfinite(found.vertices).all()
    with pytest.raises(HandkitError, match="fewer than 4 keypoints"):
        fit_track(keypoints_2d=known["points"], keypoint_scores=np.zeros((1, 21)), **args)


@pytest.mark.parametrize("spread", [0.0, 1e-3, 1.0, 1e4])
@pytest.mark.parametrize("with_landmarks", [True, False])
def test_garbage_keypoints_give_finite_hands_in_front_of_the_camera(spread, with_landmarks):
    rng = np.random.default_rng(0)
    points = rng.uniform(100, 500, (6, 1, 2)) + spread * rng.normal(0, 100, (6, 21, 2))
    args = {
        "keypoints_2d": points,
        "keypoint_scores": np.ones((6, 21)),
        "K": np.tile(K, (6, 1, 1)),
        "keypoints_3d": rng.normal(0, 0.05, (6, 21, 3)) if with_landmarks else None,
    }
    for found in (fit_images(**args), fit_track(**args, time_s=np.zeros(6))):
        assert torch.isfinite(found.vertices).all()
        assert (found.joints[..., 2] > 0).all()


def test_no_hands_at_all():
    nothing = {
        "keypoints_2d": np.zeros((0, 21, 2)),
        "keypoint_scores": np.zeros((0, 21)),
        "K": np.zeros((0, 3, 3)),
    }
    assert fit_images(**nothing).vertices.shape == (0, 778, 3)
    assert fit_track(**nothing, time_s=np.zeros(0)).vertices.shape == (0, 778, 3)
    assert fit_joints(torch.zeros(2, 0, 21, 3)).vertices.shape == (2, 0, 778, 3)


def test_rows_with_and_without_landmarks_in_3d_together():
    known = known_hands(12)
    centred = known["joints"] - known["joints"].mean(1, keepdims=True)
    centred[::2] = np.nan
    found = fit_images(
        keypoints_2d=known["points"],
        keypoint_scores=np.ones((12, 21)),
        K=np.tile(K, (12, 1, 1)),
        keypoints_3d=centred,
        source="joints",
    )
    assert np.median(pa_mm(found.joints, known["joints"])[::2]) < 12
    assert np.median(pa_mm(found.joints, known["joints"])[1::2]) < 3
