from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.io

from handkit.conventions import JOINT_ORDERS
from handkit.data.sample import check_sample
from handkit.data.stb import BASELINE_M, K_BB, K_SK, K_SK_DEPTH, SPLITS, Stb, StbPairs, decode_depth, with_root
from handkit.errors import HandkitError
from tests.data.posing import plain, posed, seen_at, write_image

FRAMES = 3
SEQUENCES = ("B1Counting", "B1Random", "B2Counting")
COLOURS = {"BB_left": (250, 0, 0), "BB_right": (0, 250, 0), "SK_color": (0, 0, 250)}


def palmed(seed: int) -> np.ndarray:
    """A left hand in our order whose joint 0 is the palm centre, halfway from wrist to ring finger."""
    joints = posed(seed, side="left")["joints"].copy()
    joints[0] = (joints[0] + joints[13]) / 2
    return joints


def hand_para(joints: np.ndarray) -> np.ndarray:
    """[N, 21, 3] of ours in metres as the files have them: [3, 21, N] mm, palm, then little to thumb."""
    return 1000 * joints[:, list(JOINT_ORDERS["stb"])].transpose(2, 1, 0)


def in_depth_camera(joints: np.ndarray) -> np.ndarray:
    R = cv2.Rodrigues(np.array([0.00531, -0.01196, 0.00301]))[0]
    moved = [R @ point + np.array([-0.0240381, -0.0004563, -0.0012326]) for point in joints.reshape(-1, 3)]
    return np.reshape(moved, joints.shape)


@pytest.fixture(scope="module", params=["images", ""], ids=["images", "flat"])
def root(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("STB")
    (folder / "labels").mkdir()
    for number, sequence in enumerate(SEQUENCES):
        joints = np.stack([palmed(FRAMES * number + frame) for frame in range(FRAMES)])
        scipy.io.savemat(folder / "labels" / f"{sequence}_BB.mat", {"handPara": hand_para(joints)})
        scipy.io.savemat(folder / "labels" / f"{sequence}_SK.mat", {"handPara": hand_para(in_depth_camera(joints))})
        for frame in range(FRAMES):
            for name, colour in COLOURS.items():
                write_image(folder / request.param / sequence / f"{name}_{frame}.png", plain((48, 64), colour))
    return folder


def test_order_units_and_side(root: Path) -> None:
    dataset = Stb(root)
    assert len(dataset) == 2 * FRAMES
    for index in range(len(dataset)):
        sample, wanted = dataset[index], posed(index, side="left")["joints"]
        check_sample(sample)
        assert not sample["is_right"]
        # the fixture's palm is halfway to the ring finger, so that this wrist is the true one
        np.testing.assert_allclose(sample["joints_3d"], wanted, atol=1e-6)
        np.testing.assert_allclose(sample["joints_2d"], seen_at(wanted, K_BB), atol=1e-3)
        assert sample["image"][0].mean() > 240
    names = [(dataset[i]["name"], dataset[i]["sequence"], int(dataset[i]["frame"])) for i in (0, 4)]
    assert names == [("B1Counting/BB_left_0", "B1Counting/BB_left", 0), ("B1Random/BB_left_1", "B1Random/BB_left", 1)]


def test_the_right_view_is_a_baseline_away(root: Path) -> None:
    dataset = Stb(root, views=("left", "right"))
    assert len(dataset) == 4 * FRAMES
    left, right = dataset[1], dataset[FRAMES + 1]
    check_sample(right)
    assert right["name"] == "B1Counting/BB_right_1"
    assert right["image"][1].mean() > 240
    np.testing.assert_allclose(left["joints_3d"] - right["joints_3d"], np.tile([0.120054, 0, 0], (21, 1)), atol=1e-6)
    disparity = left["joints_2d"][:, 0] - right["joints_2d"][:, 0]
    np.testing.assert_allclose(disparity, 822.79041 * 0.120054 / left["joints_3d"][:, 2], rtol=1e-4)
    np.testing.assert_allclose(left["joints_2d"][:, 1], right["joints_2d"][:, 1], atol=1e-3)
    truth = dataset.truth()
    assert truth.ids == tuple(dataset[i]["name"] for i in range(len(dataset)))
    assert truth.sequences == tuple(dataset[i]["sequence"] for i in range(len(dataset)))
    np.testing.assert_allclose(truth.joints, [dataset[i]["joints_3d"] for i in range(len(dataset))], atol=1e-6)
    np.testing.assert_allclose(truth.joints_2d, [dataset[i]["joints_2d"] for i in range(len(dataset))], atol=1e-3)


def test_sk_labels_are_turned_from_the_depth_into_the_colour_camera(root: Path) -> None:
    dataset = Stb(root, camera="SK")
    sample, wanted = dataset[2], posed(2, side="left")["joints"]
    check_sample(sample)
    assert sample["image"][2].mean() > 240
    np.testing.assert_allclose(sample["joints_3d"], wanted, atol=1e-6)
    np.testing.assert_allclose(sample["joints_2d"], seen_at(wanted, K_SK), atol=1e-3)
    assert K_SK_DEPTH[0, 0] == 475.62768
    with pytest.raises(HandkitError, match="no such view of SK: 'left'"):
        Stb(root, camera="SK", views=["left"])
    with pytest.raises(HandkitError, match="has one view"):
        dataset.pair(0)


def test_pairs(root: Path) -> None:
    pairs = StbPairs(root, sequences=["B2Counting"])
    assert len(pairs) == FRAMES
    pair = pairs[1]
    for view in (pair["left"], pair["right"]):
        check_sample(view)
    R, t = pair["right_from_left"][:, :3], pair["right_from_left"][:, 3]
    np.testing.assert_allclose(pair["left"]["joints_3d"] @ R.T + t, pair["right"]["joints_3d"], atol=1e-6)
    assert t[0] == np.float32(-BASELINE_M)
    with pytest.raises(IndexError):
        pairs[FRAMES]


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("palm", {0: 1.0}),
        ("wrist-from-ring", {0: 2.0, 13: -1.0}),
        ("wrist-from-middle", {0: 2.2, 9: -1.2}),
        ("wrist-from-four", {0: 2.25, **dict.fromkeys((5, 9, 13, 17), -1.25 / 4)}),
    ],
)
def test_joint_0_by_name(root: Path, name: str, weights: dict[int, float]) -> None:
    palm = palmed(0)
    wanted = sum(weight * palm[joint] for joint, weight in weights.items())
    found = Stb(root, root_joint=name)[0]["joints_3d"]
    np.testing.assert_allclose(found[0], wanted, atol=1e-6)
    np.testing.assert_allclose(found[1:], palm[1:], atol=1e-6)
    np.testing.assert_allclose(with_root(palm, name)[0], wanted, atol=1e-12)


def test_splits() -> None:
    assert SPLITS["test"] == ("B1Counting", "B1Random")
    assert len(SPLITS["train"]) == 10
    assert not set(SPLITS["train"]) & set(SPLITS["test"])


def test_depth_does_not_overflow(root: Path) -> None:
    steps = np.array([[0, 1, 255], [256, 511, 1200]])
    stored = np.stack([steps % 256, steps // 256, np.zeros_like(steps)], -1).astype(np.uint8)
    np.testing.assert_allclose(decode_depth(stored), steps / 1000, rtol=1e-6)
    folder = root / "images" / "B1Counting"
    write_image((folder if folder.is_dir() else root / "B1Counting") / "SK_depth_0.png", stored)
    np.testing.assert_allclose(Stb(root, camera="SK").depth(0), steps / 1000, rtol=1e-6)


def test_bad_files_are_named(root: Path, tmp_path: Path) -> None:
    with pytest.raises(HandkitError, match=r"B1Counting_BB.mat does not exist") as caught:
        Stb(tmp_path)
    assert "labels/B1Counting_BB.mat" in caught.value.fix
    with pytest.raises(HandkitError, match="no such root joint of STB: 'wrist'"):
        Stb(root, root_joint="wrist")
    (tmp_path / "labels").mkdir()
    path = tmp_path / "labels" / "B1Counting_BB.mat"
    whole = (root / "labels" / "B1Counting_BB.mat").read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"no mat file at all" * 20):
        path.write_bytes(content)
        with pytest.raises(HandkitError, match=r"B1Counting_BB.mat is damaged"):
            Stb(tmp_path, sequences=["B1Counting"])
    scipy.io.savemat(path, {"handPara": np.zeros((3, 20, 5))})
    with pytest.raises(HandkitError, match=r"handPara has shape \(3, 20, 5\)"):
        Stb(tmp_path, sequences=["B1Counting"])
    path.write_bytes(whole)
    with pytest.raises(HandkitError, match=r"BB_left_0.png does not exist"):
        Stb(tmp_path, sequences=["B1Counting"])[0]
