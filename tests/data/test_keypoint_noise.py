import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from handkit.data.keypoint_noise import ALONG, FINGERS, KeypointNoise, landmarks_of, noisy_keypoints
from handkit.errors import HandkitError
from handkit.fit.landmarks import LANDMARKS
from handkit.hand import ManoLayer, load_hand
from handkit.hand.limits import angles_to_pose, joint_frames, sample_angles
from handkit.recipe import build_recipe

OFF = KeypointNoise(
    shift=0.0,
    log_scale=0.0,
    shrink=0.0,
    turn=0.0,
    finger=(0.0,) * 5,
    sway=(0.0,) * 5,
    shorten=0.0,
    joint=(0.0,) * 21,
    hand_spread=0.0,
    similarity_spread=0.0,
    finger_spread=0.0,
    rendered=(0.0, 0.0),
    missing=0.0,
)


def hands(count: int = 3000) -> np.ndarray:
    """Joints of natural hands in all views, weak perspective, in pixels of a picture of about 200."""
    rng = np.random.default_rng(0)
    hand = load_hand("open")
    pose = angles_to_pose(torch.from_numpy(sample_angles(count, rng)), joint_frames(hand))
    joints = ManoLayer(hand)(hand_pose=pose, betas=torch.from_numpy(rng.normal(size=(count, 10)))).joints.numpy()
    turned = np.einsum("nab,njb->nja", Rotation.random(count, random_state=1).as_matrix(), joints)
    return 800 * turned[..., :2] + 100


JOINTS = hands()
SIZE = np.ptp(JOINTS, axis=1).max(-1)[:, None]


def off(noise: KeypointNoise, seed: int = 0) -> np.ndarray:
    """What keypoints are off by [N, 21, 2], over the hand's size."""
    points, scores = noisy_keypoints(JOINTS, np.random.default_rng(seed), noise)
    assert (scores > 0).all()
    return (points - landmarks_of(JOINTS, 0.0)) / SIZE[..., None]


def changed(**changes: object) -> KeypointNoise:
    return KeypointNoise.model_validate({**OFF.model_dump(), **changes})


def test_without_noise_keypoints_are_landmarks() -> None:
    matrix = LANDMARKS["mediapipe"].matrix("open")
    assert matrix is not None
    points, _ = noisy_keypoints(JOINTS, np.random.default_rng(0), OFF)
    np.testing.assert_allclose(points, matrix.numpy() @ JOINTS, atol=1e-9)


def test_errors_are_as_measured_on_generated_frames() -> None:
    """Figures of `benchmarks/keypoint_noise.py`: 1133 hands that MediaPipe found in 1200 generated frames."""
    noise = KeypointNoise(missing=0.0, rendered=(1.0, 1.0))
    far = np.linalg.norm(off(noise), axis=-1)
    assert far.mean() == pytest.approx(0.065, rel=0.1)
    assert np.percentile(far, (50, 90)) == pytest.approx([0.043, 0.145], rel=0.15)
    assert np.percentile(far, 99) == pytest.approx(0.34, rel=0.25)
    assert np.percentile(far.mean(1), (10, 50, 90, 99)) == pytest.approx([0.032, 0.053, 0.116, 0.197], rel=0.2)
    each = far.mean(0)
    assert each[0] == pytest.approx(0.117, rel=0.15)  # the wrist is furthest off
    assert each[[4, 8, 12, 16, 20]].mean() == pytest.approx(0.079, rel=0.2)


def test_parts_have_their_sizes() -> None:
    spread = np.array([0.3, 0.4, 0.2])
    common = {"hand_spread": 0.3, "similarity_spread": 0.4, "finger_spread": 0.2}
    of_similarity, of_finger = np.exp(spread[0] ** 2 + spread[1] ** 2), np.exp(spread[0] ** 2 + spread[2] ** 2)
    shifted = off(changed(shift=0.02, **common))
    np.testing.assert_allclose(shifted, shifted[:, :1] * np.ones((1, 21, 1)), atol=1e-9)
    assert shifted.std() == pytest.approx(0.02 * of_similarity, rel=0.06)
    fingers = off(changed(finger=(0.0, 0.03, 0.0, 0.0, 0.0), sway=(0.0, 0.0, 0.05, 0.0, 0.0), **common))
    assert fingers[:, 5:9].std() == pytest.approx(0.03 * of_finger, rel=0.06)
    middle = fingers[:, 9:13]
    assert middle.std(axis=(0, 2)) == pytest.approx(0.05 * of_finger * np.abs(ALONG), rel=0.08)
    np.testing.assert_allclose(middle.mean(1), 0, atol=1e-9)
    np.testing.assert_allclose(fingers[:, [0, *range(1, 5), *range(13, 21)]], 0, atol=1e-9)
    single = off(changed(joint=tuple(0.001 * j for j in range(21)), hand_spread=0.3))
    assert single.std(axis=(0, 2))[1:] == pytest.approx(0.001 * np.arange(1, 21) * np.exp(0.09), rel=0.08)


def test_similarities_keep_the_hand_s_shape() -> None:
    landmarks = landmarks_of(JOINTS, 0.0)
    shrunk, _ = noisy_keypoints(JOINTS, np.random.default_rng(0), changed(shrink=0.1))
    centre = (JOINTS.min(1, keepdims=True) + JOINTS.max(1, keepdims=True)) / 2
    np.testing.assert_allclose(shrunk, centre + np.exp(-0.1) * (landmarks - centre), atol=1e-9)
    turned, _ = noisy_keypoints(JOINTS, np.random.default_rng(0), changed(turn=0.1))
    before, after = (points @ [1, 1j] for points in (landmarks - landmarks[:, :1], turned - turned[:, :1]))
    ratio = after[:, 9] / before[:, 9]
    np.testing.assert_allclose(after, ratio[:, None] * before, atol=1e-6)
    np.testing.assert_allclose(abs(ratio), 1, atol=1e-9)
    assert np.angle(ratio).std() == pytest.approx(0.1, rel=0.06)
    shortened = off(changed(shorten=0.1))
    landmarks_over = landmarks / SIZE[..., None]
    length = landmarks_over[:, FINGERS[:, 3]] - landmarks_over[:, FINGERS[:, 0]]
    np.testing.assert_allclose(shortened[:, FINGERS[:, 3]] - shortened[:, FINGERS[:, 0]], -0.1 * length, atol=1e-9)


def test_errors_come_together() -> None:
    """A hand that is read badly is so in all joints, and its scores say so."""
    far = np.linalg.norm(off(KeypointNoise(missing=0.0)), axis=-1)
    _, scores = noisy_keypoints(JOINTS, np.random.default_rng(0), KeypointNoise(missing=0.0, single=0.0))
    assert np.corrcoef(np.log(far[:, 5]), np.log(far[:, 18]))[0, 1] > 0.2
    surest = scores.mean(1) > np.median(scores.mean(1))
    assert far[surest].mean() < 0.75 * far[~surest].mean()
    assert np.percentile(scores, (10, 50, 90)) == pytest.approx([0.25, 0.68, 0.88], abs=0.07)
    _, alone = noisy_keypoints(JOINTS, np.random.default_rng(0), KeypointNoise(missing=0.0, single=1.0))
    assert np.ptp(alone, axis=1).max() == 0
    assert np.median(alone) > 0.95


def test_the_same_numbers_for_a_seed() -> None:
    first, again, other = (noisy_keypoints(JOINTS, np.random.default_rng(s), KeypointNoise()) for s in (3, 3, 4))
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])
    halved = JOINTS.copy()
    halved[: len(halved) // 2] = np.nan
    later, scores = noisy_keypoints(halved, np.random.default_rng(3), KeypointNoise())
    np.testing.assert_array_equal(later[len(halved) // 2 :], first[0][len(halved) // 2 :])
    assert not scores[: len(halved) // 2].any()


def test_hands_and_joints_that_are_not_found() -> None:
    noise = KeypointNoise(missing=0.2, dropped=0.1)
    points, scores = noisy_keypoints(JOINTS, np.random.default_rng(0), noise)
    assert not points[scores == 0].any()
    without = (scores == 0).all(1)
    assert without.mean() == pytest.approx(0.2, abs=0.03)
    assert (scores[~without] == 0).mean() == pytest.approx(0.1, abs=0.01)
    assert scores.max() <= 1
    unknown = JOINTS[:2].copy()
    unknown[0, 8], unknown[1] = np.nan, np.nan
    points, scores = noisy_keypoints(unknown.astype(np.float32), np.random.default_rng(0), OFF)
    assert points.dtype == np.float32
    assert np.isfinite(points).all()
    assert np.flatnonzero(scores[0] == 0).tolist() == [8]
    assert not scores[1].any()


def test_a_recipe_may_hold_it() -> None:
    assert build_recipe(KeypointNoise, {"missing": 0.1}, source="here").missing == 0.1
    with pytest.raises(HandkitError, match="joint"):
        build_recipe(KeypointNoise, {"joint": [0.1]}, source="here")
    with pytest.raises(HandkitError, match="here is"):
        build_recipe(KeypointNoise, {"rendered": [1.0, 0.0]}, source="here")
    with pytest.raises(HandkitError, match="missing"):
        build_recipe(KeypointNoise, {"missing": 1.5}, source="here")


def test_scores_may_be_those_of_other_hands() -> None:
    joints = hands(2000)

    def correlation(told: float) -> float:
        points, scores = noisy_keypoints(joints, np.random.default_rng(4), KeypointNoise(told=told, missing=0.0))
        size = (joints.max(1) - joints.min(1)).max(-1)
        off = np.linalg.norm(points - landmarks_of(joints, 0.0), axis=-1).mean(1) / size
        return float(np.corrcoef(off.argsort().argsort(), scores.mean(1).argsort().argsort())[0, 1])

    assert correlation(1.0) < -0.3
    assert abs(correlation(0.0)) < 0.1
    assert correlation(1.0) + 0.1 < correlation(0.5) < -0.1
