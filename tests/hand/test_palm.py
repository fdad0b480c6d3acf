"""The palm's centre: the same rule as the wrists that hand3d makes of STB's palms."""

import numpy as np
import torch

from handkit.data.stb import with_root
from handkit.hand import ManoLayer, load_hand
from handkit.hand.palm import palm_center


def test_convention_palm_center() -> None:
    joints = np.zeros((1, 21, 3))
    joints[0, 0], joints[0, 13] = (1, 2, 3), (3, 4, 9)
    np.testing.assert_array_equal(palm_center(joints), [[2, 3, 6]])
    torch.testing.assert_close(palm_center(torch.from_numpy(joints)), torch.tensor([[2.0, 3, 6]]).double())


def test_it_undoes_the_wrist_from_the_ring_finger() -> None:
    labelled = np.random.default_rng(0).normal(size=(4, 21, 3))
    np.testing.assert_allclose(palm_center(with_root(labelled, "wrist-from-ring")), labelled[:, 0])


def test_it_lies_in_the_palm_and_moves_with_it_alone() -> None:
    hand = load_hand("open")
    layer = ManoLayer(hand)
    generator = torch.Generator().manual_seed(0)
    betas = torch.randn(5, 10, generator=generator)
    open_ = layer(betas=betas)
    bent = layer(betas=betas, hand_pose=0.5 * torch.randn(5, 45, generator=generator))
    torch.testing.assert_close(palm_center(bent.joints), palm_center(open_.joints))
    near = (open_.vertices - palm_center(open_.joints)[:, None]).norm(dim=-1).min(1).values
    assert (near < 0.025).all()  # half a palm's thickness below the skin, not outside the hand
    regressor = torch.tensor((hand.J_regressor[0] + hand.J_regressor[10]) / 2, dtype=torch.float32)
    torch.testing.assert_close(torch.einsum("v,bvc->bc", regressor, open_.vertices), palm_center(open_.joints))
