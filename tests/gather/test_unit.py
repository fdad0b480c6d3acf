"""The rig's unit from the palms before it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from handkit.conventions import BONES
from handkit.gather.unit import PALM, unit_of_palms
from handkit.hand import HandModel, ManoLayer, load_hand
from tests.demo.two_views import make_scene

UNIT = 0.028


def mean_hands(count: int, *, side: str = "right") -> np.ndarray:
    """The joints of hands of mean shape in several poses, metres."""
    rng = np.random.default_rng(3)
    given = {"global_orient": rng.normal(0, 1, (count, 3)), "hand_pose": rng.normal(0, 0.4, (count, 45))}
    given |= {"betas": np.zeros((count, 10)), "transl": rng.normal(0, 0.2, (count, 3))}
    layer = ManoLayer(load_hand("open", side))  # type: ignore[arg-type]
    return layer(**{name: torch.from_numpy(values) for name, values in given.items()}).joints.double().numpy()


def plain_hand() -> HandModel:
    """The open hand by another name: no shifts of keypoints are known of it, its joints are taken as they are."""
    return replace(load_hand("open"), name="another")


@pytest.mark.parametrize("side", ["right", "left"])
def test_mean_palms_say_the_unit(side: str) -> None:
    joints = mean_hands(12, side=side)
    assert unit_of_palms(joints / UNIT, plain_hand()) == pytest.approx(UNIT, rel=1e-4)
    # MediaPipe's knuckles lie further out than the open hand's: its own joints seem smaller.
    assert 1.01 * UNIT < (unit_of_palms(joints / UNIT, load_hand("open")) or 0) < 1.06 * UNIT


def test_noise_does_not_make_hands_larger() -> None:
    joints, rng = mean_hands(200), np.random.default_rng(0)
    noisy = joints + rng.normal(0, 1, joints.shape) * [0.003, 0.003, 0.018]
    assert unit_of_palms(noisy / UNIT, plain_hand()) == pytest.approx(UNIT, rel=0.04)
    parent, child = np.array(BONES).T
    lengths = [np.linalg.norm(points[:, child] - points[:, parent], axis=-1).sum() for points in (noisy, joints)]
    assert lengths[0] > 1.1 * lengths[1], "bones would"


def test_what_is_not_known_does_not_count() -> None:
    joints = mean_hands(4) / UNIT
    hand = load_hand("open")
    whole = unit_of_palms(joints, hand)
    part = joints.copy()
    part[:, [1, 2, 8, 20]] = np.nan
    assert unit_of_palms(part, hand) == whole
    part[2] *= 50
    part[2, PALM[:2]] = np.nan
    assert unit_of_palms(part, hand) == pytest.approx(whole, rel=1e-6), "that hand's palm is too little of one"
    assert unit_of_palms(np.full((2, 21, 3), np.nan), hand) is None
    assert unit_of_palms(np.zeros((0, 21, 3)), hand) is None


def test_it_does_not_hang_on_the_axes() -> None:
    joints = make_scene(3).hands["joints_3d"].astype(np.float64)
    hand = load_hand("open")
    turned = joints @ Rotation.from_euler("xyz", [0.4, 1.0, -2.0]).as_matrix() + [1.0, 2.0, 3.0]
    assert unit_of_palms(turned, hand) == pytest.approx(unit_of_palms(joints, hand), rel=1e-6)
    assert unit_of_palms(2 * joints, hand) == pytest.approx((unit_of_palms(joints, hand) or 0) / 2, rel=1e-6)
