"""The picture of a bank."""

import sys

import numpy as np
import pytest

from handkit.errors import HandkitError
from handkit.images import read_image
from handkit.synth.bank_builtin import BUILTIN_KINDS, sample_bank
from handkit.synth.pose_map import draw_pose_map
from handkit.synth.poses import PoseBank


@pytest.fixture(scope="module")
def bank() -> PoseBank:
    joints, hand_pose, kind = sample_bank(300, 0)
    return PoseBank(joints=joints, kind=kind, kinds=BUILTIN_KINDS, hand_pose=hand_pose, source="builtin")


def test_map_shows_the_kinds(bank, tmp_path):
    pytest.importorskip("openTSNE")
    path = draw_pose_map(bank, tmp_path / "map.png", most=120)
    picture = read_image(path)
    assert min(picture.shape[:2]) > 500
    colours = np.unique(picture.reshape(-1, 3) // 64, axis=0)
    assert len(colours) > 6


def test_without_the_library_it_says_how_to_install_it(bank, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "openTSNE", None)
    with pytest.raises(HandkitError) as caught:
        draw_pose_map(bank, tmp_path / "map.png")
    assert "pip install" in caught.value.fix


def test_other_formats_are_refused(bank, tmp_path):
    with pytest.raises(HandkitError, match=r"map\.xyz"):
        draw_pose_map(bank, tmp_path / "map.xyz")
