"""The literal numbers of every convention: a change here is a change of meaning."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from handkit import conventions
from handkit.conventions import JOINT_NAMES, JOINT_ORDERS, MANO_JOINT_NAMES, check_order, order_indices, reorder_joints

ORDERS = {
    "ours": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20],
    "freihand": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20],
    "openpose": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20],
    "mediapipe": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20],
    "mano": [0, 5, 6, 7, 9, 10, 11, 17, 18, 19, 13, 14, 15, 1, 2, 3, 4, 8, 12, 16, 20],
    "ho3d": [0, 5, 6, 7, 9, 10, 11, 17, 18, 19, 13, 14, 15, 1, 2, 3, 4, 8, 12, 16, 20],
    "s2hand": [0, 5, 6, 7, 8, 9, 10, 11, 12, 17, 18, 19, 20, 13, 14, 15, 16, 1, 2, 3, 4],
    "stb": [0, 17, 18, 19, 20, 13, 14, 15, 16, 9, 10, 11, 12, 5, 6, 7, 8, 1, 2, 3, 4],
    "rhd": [0, 4, 3, 2, 1, 8, 7, 6, 5, 12, 11, 10, 9, 16, 15, 14, 13, 20, 19, 18, 17],
    "bighand": [0, 1, 5, 9, 13, 17, 2, 3, 4, 6, 7, 8, 10, 11, 12, 14, 15, 16, 18, 19, 20],
    "interhand": [4, 3, 2, 1, 8, 7, 6, 5, 12, 11, 10, 9, 16, 15, 14, 13, 20, 19, 18, 17, 0],
}
TIPS = {
    "smplx": (744, 320, 443, 554, 671),
    "youtube3d": (744, 320, 443, 554, 671),
    "freihand": (744, 320, 443, 555, 672),
    "s2hand": (744, 320, 443, 555, 672),
    "manopth": (745, 317, 444, 556, 673),
    "manopth_left": (745, 317, 445, 556, 673),
    "ho3d": (744, 333, 444, 555, 672),
    "boukhayma": (745, 333, 444, 555, 672),
    "handoccnet": (728, 353, 442, 576, 694),
}


def test_convention_joint_orders():
    assert {name: list(order) for name, order in JOINT_ORDERS.items()} == ORDERS


def test_convention_fingertip_vertices():
    assert conventions.FINGERTIP_VERTICES == TIPS
    assert conventions.PALM_VERTICES == (95, 22)


def test_convention_our_skeleton():
    names = (
        *("wrist", "thumb1", "thumb2", "thumb3", "thumb4", "index1", "index2", "index3", "index4"),
        *("middle1", "middle2", "middle3", "middle4", "ring1", "ring2", "ring3", "ring4"),
        *("little1", "little2", "little3", "little4"),
    )
    assert names == JOINT_NAMES
    assert conventions.JOINT_PARENTS == (-1, 0, 1, 2, 3, 0, 5, 6, 7, 0, 9, 10, 11, 0, 13, 14, 15, 0, 17, 18, 19)
    assert conventions.FINGERTIPS == (4, 8, 12, 16, 20)
    assert conventions.FINGERS == ("thumb", "index", "middle", "ring", "little")
    assert conventions.BONES[:6] == ((0, 1), (1, 2), (2, 3), (3, 4), (0, 5), (5, 6))
    assert len(conventions.BONES) == 20


def test_convention_mano_skeleton():
    names = (
        *("wrist", "index1", "index2", "index3", "middle1", "middle2", "middle3", "little1", "little2", "little3"),
        *("ring1", "ring2", "ring3", "thumb1", "thumb2", "thumb3"),
    )
    assert names == MANO_JOINT_NAMES
    assert conventions.MANO_PARENTS == (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14)
    assert (conventions.NUM_VERTICES, conventions.NUM_FACES, conventions.NUM_JOINTS) == (778, 1538, 21)


def test_convention_published_reorderings():
    freihand_from_mano = [0, 13, 14, 15, 16, 1, 2, 3, 17, 4, 5, 6, 18, 10, 11, 12, 19, 7, 8, 9, 20]
    assert list(conventions.OURS_FROM_MANO_AND_TIPS) == freihand_from_mano
    assert list(order_indices("ho3d", "freihand")) == freihand_from_mano
    hamer_to_ho3d = [0, 5, 6, 7, 9, 10, 11, 17, 18, 19, 13, 14, 15, 1, 2, 3, 4, 8, 12, 16, 20]
    assert list(order_indices("openpose", "ho3d")) == hamer_to_ho3d


def test_the_order_tables_agree_with_the_names():
    mano = np.array([*MANO_JOINT_NAMES, "thumb4", "index4", "middle4", "ring4", "little4"])[:, None]
    assert reorder_joints(mano, "mano")[:, 0].tolist() == list(JOINT_NAMES)
    names = np.array(JOINT_NAMES)
    assert names[list(JOINT_ORDERS["stb"])][1:5].tolist() == ["little1", "little2", "little3", "little4"]
    assert names[list(JOINT_ORDERS["interhand"])][[0, 3, 20]].tolist() == ["thumb4", "thumb1", "wrist"]


@given(st.sampled_from(sorted(ORDERS)), st.sampled_from(sorted(ORDERS)), st.sampled_from(sorted(ORDERS)))
def test_reordering_round_trips_and_composes(a, b, c):
    joints = np.arange(2 * 21 * 3).reshape(2, 21, 3)
    assert np.array_equal(reorder_joints(reorder_joints(joints, a, b), b, a), joints)
    assert np.array_equal(reorder_joints(reorder_joints(joints, a, b), b, c), reorder_joints(joints, a, c))
    assert np.array_equal(reorder_joints(torch.from_numpy(joints), a, b).numpy(), reorder_joints(joints, a, b))


@pytest.mark.parametrize("name", sorted(ORDERS))
def test_orders_are_permutations(name):
    check_order(JOINT_ORDERS[name])
    parents = [conventions.JOINT_PARENTS[j] for j in JOINT_ORDERS[name]]
    assert sorted(parents) == sorted(conventions.JOINT_PARENTS)


def test_a_repeated_joint_is_refused():
    with pytest.raises(ValueError, match="not a permutation"):
        check_order([0, *range(20)])
