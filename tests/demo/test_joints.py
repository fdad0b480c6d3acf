import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from handkit.demo.joints import read_joints, warn_if_suspicious
from handkit.errors import HandkitError
from handkit.hand import ManoLayer, load_hand
from handkit.hand.limits import angles_to_pose, joint_frames, sample_angles


@pytest.fixture(scope="module")
def joints() -> np.ndarray:
    hand = load_hand("open")
    pose = angles_to_pose(torch.from_numpy(sample_angles(20, np.random.default_rng(3))), joint_frames(hand))
    return ManoLayer(hand)(hand_pose=pose).joints.numpy()


def test_forms_of_files(tmp_path: Path, joints: np.ndarray) -> None:
    np.save(tmp_path / "a.npy", joints)
    np.save(tmp_path / "one.npy", joints[0])
    (tmp_path / "a.json").write_text(json.dumps(joints.tolist()))
    (tmp_path / "b.json").write_text(json.dumps({"joints_3d": joints.tolist()}))
    for name in ("a.npy", "a.json", "b.json"):
        np.testing.assert_array_equal(read_joints(tmp_path / name), joints)
    assert read_joints(tmp_path / "one.npy").shape == (1, 21, 3)


def test_missing_values_stay_missing(tmp_path: Path, joints: np.ndarray) -> None:
    values = joints[:2].tolist()
    values[0][3][1] = None
    (tmp_path / "a.json").write_text(json.dumps(values))
    assert np.isnan(read_joints(tmp_path / "a.json")[0, 3, 1])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", b"{"),
        ("a.json", b'{"points": []}'),
        ("a.json", b"[[1, 2], [3]]"),
        ("a.json", b"[[1, 2, 3]]"),
        ("a.npy", b"no array"),
        ("a.npy", b""),
        ("a.json", json.dumps([[[None] * 3] * 21]).encode()),
    ],
)
def test_bad_files_are_errors(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(HandkitError, match=name) as caught:
        read_joints(tmp_path / name)
    assert "[T, 21, 3]" in caught.value.fix


@pytest.mark.parametrize(
    ("scale", "said"), [(1, None), (1000, "millimetres"), (100, "centimetres"), (30, "not metres")]
)
def test_suspicious_units_are_warned_of(
    joints: np.ndarray, caplog: pytest.LogCaptureFixture, scale: float, said: str | None
) -> None:
    with caplog.at_level(logging.WARNING):
        warn_if_suspicious("file", joints * scale, is_right=True)
    assert (said is None and not caplog.messages) or (said is not None and said in caplog.text)


def test_the_other_side_is_warned_of(joints: np.ndarray, caplog: pytest.LogCaptureFixture) -> None:
    mirrored = joints * (-1, 1, 1)
    with caplog.at_level(logging.WARNING):
        warn_if_suspicious("file", mirrored, is_right=False)
        assert not caplog.messages
        warn_if_suspicious("file", mirrored, is_right=True)
    assert "mirrored" in caplog.text
