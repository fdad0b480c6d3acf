import pickle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from handkit.conventions import JOINT_ORDERS
from handkit.data.ho3d import S2HANDV_VALIDATION, Ho3d, decode_depth
from handkit.data.sample import check_sample
from handkit.errors import HandkitError
from handkit.hand import ManoLayer
from tests.data.posing import HANDS, plain, posed, seen_at, silhouette, write_image, write_json

K = np.array([[617.0, 0, 312], [0, 616, 241], [0, 0, 1]])
GL = np.diag([1.0, -1.0, -1.0])  # (x, y, z) of OpenCV as OpenGL has it
TRAIN = ("ABF11/0000", "ABF11/0002", "MC5/0007", "SS1/0010")
EVALUATION = ("SM1/0000", "SM1/0001", "AP13/0003")


def in_ho3d_order(joints: np.ndarray) -> np.ndarray:
    """Our 21 joints, OpenCV axes -> MANO's order with the tips last, OpenGL axes."""
    return joints[list(JOINT_ORDERS["ho3d"])] @ GL


def train_meta(hand: dict[str, np.ndarray]) -> dict[str, Any]:
    """The file of a frame; pose and translation of the hand as MANO poses it in OpenGL axes."""
    rest_wrist = hand["joints"][0] - hand["transl"]
    turn = GL @ rotation(hand["global_orient"])
    return {
        "handPose": np.concatenate([axis_angle(turn), hand["hand_pose"]]),
        "handBeta": hand["betas"],
        "handTrans": GL @ hand["joints"][0] - rest_wrist,
        "handJoints3D": in_ho3d_order(hand["joints"]),
        "camMat": K,
        "objRot": np.zeros((3, 1)),
        "objTrans": np.zeros(3),
        "objName": "021_bleach_cleanser",
        "camIDList": ["0", "1"],
    }


def rotation(vector: np.ndarray) -> np.ndarray:
    return cv2.Rodrigues(vector)[0]


def axis_angle(matrix: np.ndarray) -> np.ndarray:
    return cv2.Rodrigues(matrix)[0].ravel()


def python2_pickle(content: dict[str, Any]) -> bytes:
    """Protocol 2 as numpy under Python 2 wrote it: old module names, array bytes as 8-bit strings."""
    written = pickle.dumps(content, 2).replace(b"numpy._core", b"numpy.core")
    assert b"numpy.core.multiarray" in written
    return written


def write_frame(root: Path, split: str, frame: str, meta: dict[str, Any], suffix: str) -> None:
    sequence, number = frame.split("/")
    folder = root / split / sequence
    write_image(folder / "rgb" / f"{number}{suffix}", plain((48, 64), (10, 100, 240)))
    (folder / "meta").mkdir(exist_ok=True)
    (folder / "meta" / f"{number}.pkl").write_bytes(python2_pickle(meta))


@pytest.fixture(scope="module", params=[".png", ".jpg"], ids=["v2", "v3"])
def root(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("HO3D")
    for seed, frame in enumerate(TRAIN):
        meta = train_meta(posed(seed))
        if frame == "SS1/0010":
            meta |= {"objRot": None, "objTrans": None}  # no annotation, whatever else is there
        write_frame(folder, "train", frame, meta, request.param)
    truth = [posed(10 + number)["regressed"] for number in range(len(EVALUATION))]
    for joints, frame in zip(truth, EVALUATION, strict=True):
        meta = {"handJoints3D": GL @ joints[0], "handBoundingBox": [100, 90, 300, 260], "camMat": K, "objRot": 0}
        write_frame(folder, "evaluation", frame, meta, request.param)
    (folder / "train.txt").write_text("\n".join(TRAIN) + "\n")
    (folder / "evaluation.txt").write_text("\n".join(EVALUATION) + "\n")
    write_json(folder / "evaluation_xyz.json", [in_ho3d_order(joints) for joints in truth])
    write_json(folder / "evaluation_verts.json", [posed(10 + n)["vertices"] @ GL for n in range(len(EVALUATION))])
    return folder


def test_training_frames_come_in_our_axes_and_order(root: Path) -> None:
    dataset = Ho3d(root, "train")
    assert len(dataset) == 4
    for seed in range(3):
        sample, hand = dataset[seed], posed(seed)
        check_sample(sample)
        assert sample["image"][2].mean() > 230
        np.testing.assert_allclose(sample["joints_3d"], hand["joints"], atol=1e-6)
        np.testing.assert_allclose(sample["joints_2d"], seen_at(hand["joints"], K), atol=1e-3)
        assert sample["hand_model"] == "mano"
        given = {key: torch.from_numpy(sample[key]) for key in ("global_orient", "hand_pose", "betas", "transl")}
        rebuilt = ManoLayer(HANDS["right"])(**given).vertices.numpy()
        np.testing.assert_allclose(rebuilt, hand["vertices"], atol=5e-6)
    assert [(dataset[i]["sequence"], int(dataset[i]["frame"])) for i in (1, 2)] == [("ABF11", 2), ("MC5", 7)]


def test_frames_without_annotation_are_kept_and_flagged(root: Path) -> None:
    dataset = Ho3d(root, "train")
    sample = dataset[3]
    check_sample(sample)
    assert not sample["joints_3d_valid"].any()
    assert not sample["pose_valid"]
    assert not sample["bbox_valid"]
    truth = dataset.truth()
    assert truth.joints_valid.any(1).tolist() == [True, True, True, False]
    np.testing.assert_allclose(truth.joints[1], posed(1)["joints"], atol=1e-12)
    np.testing.assert_allclose(truth.joints_2d[2], seen_at(posed(2)["joints"], K), atol=1e-9)


def test_evaluation_truth(root: Path) -> None:
    dataset = Ho3d(root)
    truth = dataset.truth()
    assert truth.ids == EVALUATION
    assert truth.sequences == ("SM1", "SM1", "AP13")
    assert truth.frames == (0, 1, 3)
    assert all(path is not None and path.is_file() for path in truth.images)
    for number in range(3):
        hand = posed(10 + number)
        np.testing.assert_array_equal(truth.joints[number], hand["regressed"])
        np.testing.assert_array_equal(truth.vertices[number], hand["vertices"])
        sample = dataset[number]
        check_sample(sample)
        np.testing.assert_allclose(sample["vertices_2d"], seen_at(hand["vertices"], K), atol=1e-3)
        np.testing.assert_allclose(sample["joints_2d"], seen_at(hand["regressed"], K), atol=1e-3)
        assert sample["bbox"].tolist() == [100, 90, 300, 260]
        assert not sample["mask_valid"]


def test_evaluation_without_published_truth_has_the_wrist(root: Path, tmp_path: Path) -> None:
    for part in ("evaluation", "evaluation.txt"):
        (tmp_path / part).symlink_to(root / part)
    dataset = Ho3d(tmp_path)
    sample = dataset[1]
    check_sample(sample)
    assert np.flatnonzero(sample["joints_3d_valid"]).tolist() == [0]
    assert np.flatnonzero(sample["joints_2d_valid"]).tolist() == [0]
    np.testing.assert_allclose(sample["joints_3d"][0], posed(11)["regressed"][0], atol=1e-6)
    with pytest.raises(HandkitError, match=r"evaluation_xyz.json does not exist"):
        dataset.truth()
    np.testing.assert_array_equal(Ho3d(tmp_path, truth=root).truth().joints, Ho3d(root).truth().joints)
    with pytest.raises(HandkitError, match=r"evaluation_xyz.json does not exist"):
        Ho3d(tmp_path, truth=tmp_path)


def test_truth_of_the_other_version_is_refused(root: Path, tmp_path: Path) -> None:
    write_json(tmp_path / "evaluation_xyz.json", [np.zeros((21, 3))] * 2)
    with pytest.raises(HandkitError, match=r"holds 2 frames, evaluation.txt lists 3"):
        Ho3d(root, truth=tmp_path)


def test_the_split_of_s2handv(root: Path) -> None:
    assert len(set(S2HANDV_VALIDATION)) == 10
    assert [sequence for sequence, _ in Ho3d(root, "s2handv-train").frames] == ["ABF11", "ABF11"]
    assert [sequence for sequence, _ in Ho3d(root, "s2handv-validation").frames] == ["MC5", "SS1"]


def test_masks_are_the_blue_pixels_at_full_size(tmp_path: Path) -> None:
    hand = posed(0)
    write_frame(tmp_path, "train", TRAIN[0], train_meta(hand), ".png")
    (tmp_path / "train.txt").write_text(TRAIN[0])
    size = np.diag([0.1, 0.1, 1.0])
    drawn = silhouette(hand["vertices"], size @ K, (48, 64))
    assert drawn.sum() > 50
    halved = np.zeros((24, 32, 3), np.uint8)
    halved[drawn[::2, ::2], 2] = 255
    halved[:4, :4, 1] = 255  # the object, in green
    write_image(tmp_path / "train" / "ABF11" / "seg" / "0000.png", halved)
    sample = Ho3d(tmp_path, "train")[0]
    check_sample(sample)
    assert sample["mask"].shape == (48, 64)
    np.testing.assert_array_equal(sample["mask"][::2, ::2], drawn[::2, ::2])
    assert not sample["mask"][:8, :8].any()


def test_depth_does_not_overflow(root: Path) -> None:
    steps = np.array([[0, 1, 255], [256, 4000, 65535]])
    stored = np.stack([steps % 256, steps // 256, np.zeros_like(steps)], -1).astype(np.uint8)
    np.testing.assert_allclose(decode_depth(stored), steps * 0.00012498664727900177, rtol=1e-6)
    write_image(root / "train" / "ABF11" / "depth" / "0000.png", stored)
    np.testing.assert_allclose(Ho3d(root, "train").depth(0), steps * 0.00012498664727900177, rtol=1e-6)


def test_bad_files_are_named(root: Path, tmp_path: Path) -> None:
    with pytest.raises(HandkitError, match=r"train.txt does not exist"):
        Ho3d(tmp_path, "train")
    (tmp_path / "train.txt").write_text("ABF11/0000\nrubbish\n")
    with pytest.raises(HandkitError, match=r"entry 2 is 'rubbish'"):
        Ho3d(tmp_path, "train")
    write_frame(tmp_path, "train", TRAIN[0], train_meta(posed(0)), ".png")
    (tmp_path / "train.txt").write_text(TRAIN[0])
    path = tmp_path / "train" / "ABF11" / "meta" / "0000.pkl"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(HandkitError, match=r"0000.pkl is cut off or damaged"):
        Ho3d(tmp_path, "train")[0]
    path.write_bytes(python2_pickle({**train_meta(posed(0)), "handJoints3D": np.zeros((16, 3))}))
    with pytest.raises(HandkitError, match=r"handJoints3D is not 21 x 3 numbers"):
        Ho3d(tmp_path, "train")[0]
    path.unlink()
    with pytest.raises(HandkitError, match=r"0000.pkl does not exist"):
        Ho3d(tmp_path, "train")[0]


def test_pickles_run_nothing(tmp_path: Path) -> None:
    write_frame(tmp_path, "train", TRAIN[0], train_meta(posed(0)), ".png")
    (tmp_path / "train.txt").write_text(TRAIN[0])
    path = tmp_path / "train" / "ABF11" / "meta" / "0000.pkl"
    path.write_bytes(b"cos\nsystem\n(S'touch " + str(tmp_path / "ran").encode() + b"'\ntR.")
    with pytest.raises(HandkitError, match=r"refers to os.system"):
        Ho3d(tmp_path, "train")[0]
    assert not (tmp_path / "ran").exists()
