import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from handkit.data.interhand import InterHand
from handkit.data.sample import check_sample
from handkit.errors import HandkitError
from tests.data.posing import plain, posed, seen_at, write_image

# Every finger from tip to base, thumb first, the wrist last; the right hand's 21 joints, then the left's.
ORDER = [4, 3, 2, 1, 8, 7, 6, 5, 12, 11, 10, 9, 16, 15, 14, 13, 20, 19, 18, 17, 0]
K = np.array([[1261.5, 0, 155.8], [0, 1262.5, 258.8], [0, 0, 1]])
R = cv2.Rodrigues(np.array([0.3, -0.8, 0.2]))[0]
CAMPOS = np.array([350.0, -120, -900])
KINDS = {69148: "interacting", 2017: "right", 3: "left", 4: "interacting"}


def hands(frame: int) -> np.ndarray:
    """Right and left [2, 21, 3] in the camera's frame, metres, our order."""
    return np.stack([posed(frame, depth=1.1)["joints"], posed(frame + 1, side="left", depth=1.2)["joints"]])


def write_set(
    root: Path,
    *,
    kinds: dict[int, str] = KINDS,
    points: dict[int, np.ndarray] | None = None,
    intrinsics: np.ndarray = K,
) -> Path:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    world: dict[str, Any] = {}
    for frame, kind in kinds.items():
        in_camera = (hands(frame) if points is None else points[frame])[:, ORDER].reshape(42, 3) * 1000
        valid = np.zeros((42, 1), int)
        valid[: 21 if kind != "left" else 0] = 1
        valid[21 if kind != "right" else 42 :] = 1
        if frame == 4:
            valid[20] = 0  # the right wrist: nothing of the right hand counts
            valid[21 + 4] = 0  # the left index tip
        name = f"Capture3/0390_dh_touchROM/cam400026/image{frame}.jpg"
        place = {"capture": 3, "seq_name": "0390_dh_touchROM", "camera": "400026", "frame_idx": frame}
        images.append({"id": frame, "file_name": name, "width": 334, "height": 512, "subject": 3, **place})
        entry = {"id": frame, "image_id": frame, "bbox": [0, 0, 9, 9], "joint_valid": valid.tolist()}
        annotations.append({**entry, "hand_type": kind, "hand_type_valid": 1})
        world[str(frame)] = {"world_coord": (in_camera @ R + CAMPOS).tolist(), "hand_type": kind}
        write_image(root / "images" / "test" / name, plain((512, 334)))
    lens = {
        "campos": {"400026": CAMPOS.tolist()},
        "camrot": {"400026": R.tolist()},
        "focal": {"400026": [intrinsics[0, 0], intrinsics[1, 1]]},
        "princpt": {"400026": intrinsics[:2, 2].tolist()},
    }
    folder = root / "annotations" / "test"
    folder.mkdir(parents=True)
    files = {"data": {"images": images, "annotations": annotations}, "camera": {"3": lens}, "joint_3d": {"3": world}}
    for kind, content in files.items():
        (folder / f"InterHand2.6M_test_{kind}.json").write_text(json.dumps(content))
    return root


def test_hands_are_samples_of_their_own_in_the_cameras_frame(tmp_path: Path) -> None:
    dataset = InterHand(write_set(tmp_path))
    sides = [(sample["frame"].item(), bool(sample["is_right"])) for sample in (dataset[i] for i in range(len(dataset)))]
    assert sides == [(69148, True), (69148, False), (2017, True), (3, False), (4, False)]
    for i, (frame, is_right) in enumerate(sides):
        sample, expected = dataset[i], hands(frame)[0 if is_right else 1]
        check_sample(sample)
        valid = sample["joints_3d_valid"]
        np.testing.assert_allclose(sample["joints_3d"][valid], expected[valid], atol=1e-5)
        np.testing.assert_allclose(sample["joints_2d"][valid], seen_at(expected, K)[valid], atol=0.02)
    assert dataset[4]["joints_3d_valid"].sum() == 20
    assert not dataset[4]["joints_3d_valid"][8]
    assert dataset[0]["name"] == "Capture3/0390_dh_touchROM/cam400026/image69148_right"
    assert dataset[1]["sequence"] == "Capture3/0390_dh_touchROM/cam400026/left"


def test_truth_agrees_with_samples_and_hands_can_be_chosen(tmp_path: Path) -> None:
    dataset = InterHand(write_set(tmp_path))
    truth = dataset.truth()
    for i in range(len(dataset)):
        assert truth.ids[i] == dataset[i]["name"]
        np.testing.assert_allclose(truth.joints[i], dataset[i]["joints_3d"], atol=1e-6)
        assert truth.joints_valid[i].tolist() == dataset[i]["joints_3d_valid"].tolist()
    assert len(InterHand(tmp_path, hands="single")) == 2
    assert len(InterHand(tmp_path, hands="interacting")) == 3


def test_older_releases_keep_the_files_by_subset(tmp_path: Path) -> None:
    root = write_set(tmp_path)
    (root / "annotations" / "test").rename(root / "annotations" / "human_annot")
    with pytest.raises(HandkitError, match=r"InterHand2\.6M_test_camera\.json does not exist"):
        InterHand(root)
    assert len(InterHand(root, subset="human_annot")) == 5


def test_damage_is_told(tmp_path: Path) -> None:
    folder = write_set(tmp_path) / "annotations" / "test"
    data, joints = folder / "InterHand2.6M_test_data.json", folder / "InterHand2.6M_test_joint_3d.json"
    whole = data.read_text()
    data.write_text(whole[: len(whole) // 2])
    with pytest.raises(HandkitError, match=r"data\.json is cut off"):
        InterHand(tmp_path)
    data.write_text(whole)
    joints.write_text(json.dumps({"3": {"69148": {"world_coord": []}}}))
    with pytest.raises(HandkitError, match="capture 3, camera 400026, frame 69148"):
        InterHand(tmp_path)
    joints.write_text("{")
    with pytest.raises(HandkitError, match=r"joint_3d\.json is cut off"):
        InterHand(tmp_path)


def test_real_hands_through_the_layout(tmp_path: Path, realdata: Path) -> None:
    """Two real pictures' truth, put into the data set's files: joints land on the hands."""
    samples = json.loads((realdata / "ground_truth_3d.json").read_text())["samples"]
    known = {sample["id"]: sample for sample in samples if sample["id"].startswith("interhand/image69148")}
    pair = np.stack([known[f"interhand/image69148.jpg/{side}"]["joints_cam_m"] for side in ("right", "left")])
    fx, fy, cx, cy = known["interhand/image69148.jpg/right"]["K"]
    intrinsics = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    root = write_set(tmp_path, kinds={69148: "interacting"}, points={69148: pair}, intrinsics=intrinsics)
    picture = root / "images" / "test" / "Capture3" / "0390_dh_touchROM" / "cam400026" / "image69148.jpg"
    shutil.copy(realdata / "annotated" / "interhand" / "image69148.jpg", picture)
    dataset = InterHand(root)
    assert len(dataset) == 2
    for i in range(2):
        sample = dataset[i]
        check_sample(sample)
        np.testing.assert_allclose(sample["joints_3d"], pair[i], atol=1e-5)
        x, y = np.floor(sample["joints_2d"].mean(0)).astype(int)
        red, _, blue = sample["image"][:, y, x].astype(int)
        assert red > blue + 10, "the middle of the joints shows no skin"
