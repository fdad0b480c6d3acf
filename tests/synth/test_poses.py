"""The pose bank: what it holds, its canonical form, and the files it is read from."""

import json
import logging
import pickle

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from handkit.conventions import JOINT_ORDERS
from handkit.errors import HandkitError
from handkit.hand import ManoLayer, load_hand
from handkit.hand.limits import LIMITS_DEG, joint_frames, pose_to_angles, sample_angles
from handkit.synth.bank_builtin import free_of_penetration
from handkit.synth.bank_kinematics import joints_from_angles
from handkit.synth.bank_postures import angles_from_postures, posture_table
from handkit.synth.penetration import penetration
from handkit.synth.poses import canonicalize, load_pose_bank

SIZE = 6000


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HANDKIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HANDKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        return load_pose_bank(size=SIZE)


@pytest.fixture(scope="module")
def joints() -> np.ndarray:
    """Natural poses of the open hand [200, 21, 3], somewhere in space, in millimetres."""
    rng = np.random.default_rng(1)
    rest = joints_from_angles(sample_angles(200, rng))
    turns = Rotation.random(200, random_state=2).as_matrix()
    return 1000 * (rest @ turns.transpose(0, 2, 1) + rng.normal(0, 0.5, (200, 1, 3)))


def test_builtin_joints_are_those_of_the_pose(bank):
    out = ManoLayer(load_hand("open"))(hand_pose=torch.from_numpy(bank.hand_pose[::7])).joints.numpy()
    assert np.abs(out - out[:, :1] - bank.joints[::7]).max() < 1e-6


def test_builtin_is_canonical(bank):
    assert np.abs(canonicalize(bank.joints) - bank.joints).max() < 1e-7


def test_builtin_within_limits(bank):
    pose = torch.from_numpy(bank.hand_pose.astype(np.float64))
    degrees = np.rad2deg(pose_to_angles(pose, joint_frames(load_hand("open"))).numpy())
    assert (degrees >= LIMITS_DEG[..., 0] - 1e-3).all()
    assert (degrees <= LIMITS_DEG[..., 1] + 1e-3).all()


def test_builtin_does_not_penetrate(bank):
    depth, _ = penetration(bank.joints)
    assert depth.max() < 1e-7  # metres; single precision


def test_builtin_holds_every_kind(bank):
    assert len(bank) == SIZE
    assert bank.joints.dtype == bank.hand_pose.dtype == np.float32
    assert bank.kind.dtype == np.uint8
    assert np.bincount(bank.kind, minlength=len(bank.kinds)).min() > 0.02 * SIZE


def test_builtin_depends_on_the_seed_alone():
    first, again, other = load_pose_bank(size=500), load_pose_bank(size=500), load_pose_bank(size=500, seed=1)
    assert (first.joints == again.joints).all()
    assert (first.hand_pose == again.hand_pose).all()
    assert (first.kind == again.kind).all()
    assert not (first.joints == other.joints).all()


def test_damaged_cache_is_made_again(tmp_path):
    whole = load_pose_bank(size=300)
    expected = whole.joints.copy(), whole.hand_pose.copy(), whole.kind.copy()
    files = sorted((tmp_path / "cache" / "poses").iterdir())
    assert len(files) == 3
    for file in files:
        cut = file.read_bytes()[:200]
        file.unlink()  # the first bank still maps it
        file.write_bytes(cut)
        again = load_pose_bank(size=300)
        assert all((a == b).all() for a, b in zip((again.joints, again.hand_pose, again.kind), expected, strict=True))


def test_penetration_of_fingers_in_one_place():
    flat = joints_from_angles(np.zeros((1, 15, 3)))
    assert penetration(flat)[0][0] == 0
    crossed = flat.copy()
    crossed[:, 9:13] = crossed[:, 5:9] + [0, -0.004, 0]  # the middle finger inside the index
    depth, fingers = penetration(crossed)
    assert 0.010 < depth[0] < 0.022
    assert fingers[0] & 0b00110 == 0b00110


def test_penetration_of_a_closed_fist_without_room_for_the_thumb():
    table, _ = posture_table()
    angles = angles_from_postures(table)
    assert penetration(joints_from_angles(angles))[0].max() < 0.001
    tight = angles.copy()
    tight[:, [0, 3, 6, 9], 0], tight[:, [1, 4, 7, 10], 0], tight[:, [2, 5, 8, 11], 0] = 1.4, 1.75, 1.2
    assert penetration(joints_from_angles(tight))[0].min() > 0.001
    opened, free = free_of_penetration(tight)
    assert free.mean() > 0.9
    assert penetration(joints_from_angles(opened[free]))[0].max() == 0


def test_canonicalize_undoes_similarity(joints):
    canonical = canonicalize(joints)
    assert np.abs(canonical[:, 0]).max() < 1e-12
    turn = Rotation.from_rotvec([0.3, -2.0, 1.0]).as_matrix()
    moved = 0.37 * joints @ turn.T + [5.0, -3.0, 100.0]
    assert np.abs(canonicalize(moved) - canonical).max() < 1e-12
    rest = joints_from_angles(np.zeros((1, 15, 3)))[0]
    assert np.abs(canonical[:, [0, 5, 9, 13, 17]] - rest[[0, 5, 9, 13, 17]]).max() < 1e-12


def test_canonicalize_keeps_shape_and_kind_of_number(joints):
    single = canonicalize(joints[0].astype(np.float32))
    assert single.shape == (21, 3)
    assert single.dtype == np.float32
    assert np.isnan(canonicalize(np.zeros((21, 3)))).all()


def bighand_text(joints: np.ndarray, separator: str = "\t") -> list[str]:
    order = list(JOINT_ORDERS["bighand"])
    return [
        separator.join([f"image_D{i:08d}.png", *(f"{value:.4f}" for value in pose[order].ravel())])
        for i, pose in enumerate(joints)
    ]


@pytest.mark.parametrize("separator", ["\t", " "])
def test_bighand_text(tmp_path, joints, separator):
    path = tmp_path / "Training_Annotation.txt"
    path.write_text("\n".join(bighand_text(joints, separator)) + "\n\n")
    bank = load_pose_bank(str(path))
    assert np.abs(bank.joints - canonicalize(joints)).max() < 2e-6
    assert bank.hand_pose is None
    again = load_pose_bank(str(path))  # from the cache
    assert (again.joints == bank.joints).all()
    assert not again.joints.flags.owndata  # mapped: processes share it
    path.write_text("\n".join(bighand_text(joints[:50], separator)))
    assert len(load_pose_bank(str(path))) == 50


@pytest.mark.parametrize("fault", ["short", "word", "long"])
def test_bighand_broken_line_is_named(tmp_path, joints, fault):
    lines = bighand_text(joints)
    lines.insert(3, "")  # an empty line counts in the number
    parts = lines[41].split("\t")
    lines[41] = "\t".join({"short": parts[:-1], "word": [*parts[:-1], "n/a"], "long": [*parts, "1.0"]}[fault])
    path = tmp_path / "broken.txt"
    path.write_text("\n".join(lines))
    with pytest.raises(HandkitError, match="line 42"):
        load_pose_bank(str(path))


def test_npy_with_missing_poses(tmp_path, joints, caplog):
    holes = joints.copy()
    holes[[3, 8], 4, 0] = np.nan
    np.save(tmp_path / "poses.npy", holes)
    with caplog.at_level(logging.WARNING, "handkit"):
        bank = load_pose_bank(str(tmp_path / "poses.npy"))
    assert "2 of 200" in caplog.text
    assert np.abs(bank.joints - canonicalize(np.delete(joints, [3, 8], 0))).max() < 1e-6


def test_left_hands_are_mirrored(tmp_path, joints, caplog):
    np.save(tmp_path / "left.npy", joints * [-1, 1, 1])
    with caplog.at_level(logging.WARNING, "handkit"):
        bank = load_pose_bank(str(tmp_path / "left.npy"))
    assert "mirrored" in caplog.text
    assert np.abs(bank.joints - canonicalize(joints)).max() < 1e-6


def test_json_lists_in_either_order(tmp_path, joints):
    ours, theirs = tmp_path / "training_xyz.json", tmp_path / "evaluation_xyz.json"
    ours.write_text(json.dumps(joints.tolist()))
    theirs.write_text(json.dumps(joints[:, list(JOINT_ORDERS["ho3d"])].tolist()))
    assert np.abs(load_pose_bank(str(ours)).joints - load_pose_bank(str(theirs)).joints).max() < 1e-6


def test_ho3d_meta_folder(tmp_path, joints):
    folder = tmp_path / "train" / "ABF10" / "meta"
    folder.mkdir(parents=True)
    for i in range(5):
        given = None if i == 2 else joints[i][list(JOINT_ORDERS["ho3d"])]
        content = {"handJoints3D": given, "objName": "021_bleach_cleanser"}
        (folder / f"{i:04d}.pkl").write_bytes(pickle.dumps(content, protocol=2))
    bank = load_pose_bank(str(tmp_path / "train"))
    assert np.abs(bank.joints - canonicalize(joints[[0, 1, 3, 4]])).max() < 1e-6


@pytest.mark.parametrize("name", ["absent.txt", "poses.csv", "shape.npy", "text.npy", "words.json", "empty.txt"])
def test_bad_files_are_refused(tmp_path, name):
    path = tmp_path / name
    if name == "shape.npy":
        np.save(path, np.zeros((4, 20, 3)))
    elif name != "absent.txt":
        path.write_text("" if name == "empty.txt" else '["no", "joints"]')
    with pytest.raises(HandkitError) as caught:
        load_pose_bank(str(path))
    assert str(path) in str(caught.value)
