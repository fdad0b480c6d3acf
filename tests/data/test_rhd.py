import json
import pickle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from handkit.conventions import JOINT_ORDERS
from handkit.data.rhd import Rhd, decode_depth
from handkit.data.sample import check_sample
from handkit.errors import HandkitError
from tests.data.posing import plain, posed, seen_at, silhouette, write_image

K = np.array([[299.0, 0, 160], [0, 299, 160], [0, 0, 1]])
SIZE = (320, 320)
# A picture of both hands, one whose left hand is behind the camera, one in which nothing of the right hand shows.
PICTURES = {7: (1, 2), 11: (3, 4), 40: (5, 6)}


def in_rhd_order(joints: np.ndarray) -> np.ndarray:
    return joints[list(JOINT_ORDERS["rhd"])]


def points(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Both hands' joints in our order, [2, 21, 3], left then right, and which of them show."""
    left, right = PICTURES[number]
    joints = np.stack([posed(left, side="left")["joints"], posed(right, depth=0.9)["joints"]])
    shown = np.ones((2, 21), bool)
    shown[0, [3, 8]] = False
    if number == 11:
        joints[0] *= [1, 1, -1]
        shown[0] = False
    if number == 40:
        shown[1] = False
    return joints, shown


def annotation(number: int) -> dict[str, Any]:
    joints, shown = points(number)
    xyz = np.concatenate([in_rhd_order(hand) for hand in joints])
    uv = seen_at(xyz, K)
    flags = np.concatenate([shown[side][list(JOINT_ORDERS["rhd"])] for side in (0, 1)])
    held = {"uv_vis": np.column_stack([uv, flags]), "xyz": xyz, "K": K}
    return {key: value.astype(np.float32) for key, value in held.items()}


def mask(number: int) -> np.ndarray:
    """Parts by value: the person 1, the left hand 2 to 17, the right 18 to 33."""
    left, right = PICTURES[number]
    labels = np.ones(SIZE, np.uint8)
    labels[:20] = 0
    ramp = (np.arange(SIZE[0])[:, None] + np.arange(SIZE[1])) % 16
    if number != 40:
        seen = silhouette(posed(right, depth=0.9)["vertices"], K, SIZE)
        labels[seen] = 18 + ramp[seen]
    if number != 11:
        seen = silhouette(posed(left, side="left")["vertices"], K, SIZE, "left")
        labels[seen] = 2 + ramp[seen]
    return labels


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("RHD_published_v2")
    for number in PICTURES:
        write_image(folder / "evaluation" / "color" / f"{number:05d}.png", plain(SIZE, (240, number, 0)))
        write_image(folder / "evaluation" / "mask" / f"{number:05d}.png", mask(number))
    held = {number: annotation(number) for number in PICTURES}
    (folder / "evaluation" / "anno_evaluation.pickle").write_bytes(pickle.dumps(held, 2))
    return folder


def test_hands_are_samples_of_their_own(root: Path) -> None:
    dataset = Rhd(root)
    names = [dataset[index]["name"] for index in range(len(dataset))]
    assert names == ["00007_left", "00007_right", "00011_right", "00040_left"]
    for index, name in enumerate(names):
        sample = dataset[index]
        check_sample(sample)
        number, side = int(name[:5]), name.endswith("right")
        assert sample["is_right"] == side
        joints, shown = (held[int(side)] for held in points(number))
        np.testing.assert_allclose(sample["joints_3d"], joints, atol=1e-6)
        assert sample["joints_2d_valid"].tolist() == shown.tolist()
        np.testing.assert_allclose(sample["joints_2d"][shown], seen_at(joints, K)[shown], atol=1e-3)
        assert (sample["image"][0] == 240).all()
        assert (sample["image"][1] == number).all()


def test_masks_by_side(root: Path) -> None:
    dataset = Rhd(root)
    left, right = dataset[0], dataset[1]
    drawn = silhouette(posed(1, side="left")["vertices"], K, SIZE, "left")
    np.testing.assert_array_equal(left["mask"], drawn)
    behind = silhouette(posed(2, depth=0.9)["vertices"], K, SIZE) & ~drawn
    np.testing.assert_array_equal(right["mask"], behind)
    assert not (left["mask"] & right["mask"]).any()


def test_truth_has_hidden_joints_too(root: Path) -> None:
    dataset = Rhd(root)
    truth = dataset.truth()
    assert truth.ids == tuple(dataset[index]["name"] for index in range(len(dataset)))
    assert truth.joints_valid.all()
    np.testing.assert_allclose(truth.joints[0], points(7)[0][0], atol=1e-6)
    np.testing.assert_allclose(truth.joints_2d[2], seen_at(points(11)[0][1], K), atol=1e-3)
    assert all(path is not None and path.is_file() for path in truth.images)


def test_which_hands(root: Path) -> None:
    def names(**options: Any) -> list[str]:
        return list(Rhd(root, **options).truth().ids)

    assert names(hands="right") == ["00007_right", "00011_right"]
    # the nearer left hand covers more pixels; of the others only one hand is drawn
    assert names(hands="dominant") == ["00007_left", "00011_right", "00040_left"]
    assert names(min_visible=20) == ["00007_right", "00011_right"]
    with pytest.raises(HandkitError, match="no such choice of hands: 'both'"):
        names(hands="both")


def test_depth_does_not_overflow(root: Path) -> None:
    steps = np.array([[0, 1, 255], [256, 40000, 65535]])
    stored = np.stack([steps // 256, steps % 256, np.zeros_like(steps)], -1).astype(np.uint8)
    np.testing.assert_allclose(decode_depth(stored), steps * 5 / 65535, rtol=1e-6)
    write_image(root / "evaluation" / "depth" / "00007.png", stored)
    np.testing.assert_allclose(Rhd(root).depth(1), steps * 5 / 65535, rtol=1e-6)


def test_bad_files_are_named(root: Path, tmp_path: Path) -> None:
    with pytest.raises(HandkitError, match=r"anno_training.pickle does not exist"):
        Rhd(root, "training")
    path = tmp_path / "evaluation" / "anno_evaluation.pickle"
    path.parent.mkdir()
    whole = (root / "evaluation" / "anno_evaluation.pickle").read_bytes()
    for content, said in (
        (whole[:-300], "is cut off or damaged"),
        (b"", "is cut off or damaged"),
        (pickle.dumps([1, 2], 2), "holds a list instead of a dictionary"),
        (pickle.dumps({}, 2), "holds no pictures by number"),
        (pickle.dumps({1: {"xyz": np.zeros((42, 3))}}, 2), "picture 1 has no uv_vis"),
        (pickle.dumps({1: {"xyz": np.zeros((21, 3))}}, 2), "xyz is not 2 x 21 x 3 numbers"),
        (b"\x80\x02r\xff\xff\xff\x7f}.", "cut off or damaged"),  # a memo of gigabytes
    ):
        path.write_bytes(content)
        with pytest.raises(HandkitError, match=said):
            Rhd(tmp_path)


def test_real_pictures(realdata: Path, tmp_path: Path) -> None:
    """Three published pictures with one annotated hand each, rewritten into the set's own layout."""
    folder = realdata / "annotated" / "rhd"
    held = json.loads((folder / "test_rhd.json").read_text())
    (tmp_path / "evaluation" / "color").mkdir(parents=True)
    annotations = {}
    for image, entry in zip(held["images"], held["annotations"], strict=True):
        assert image["id"] == entry["image_id"]
        camera = image["cam_param"]
        matrix = np.array(
            [[camera["focal"][0], 0, camera["princpt"][0]], [0, camera["focal"][1], camera["princpt"][1]], [0, 0, 1]]
        )
        at = 21 * (entry["hand_type"] == "right")
        uv_vis, xyz = np.zeros((42, 3), np.float32), np.ones((42, 3), np.float32)
        uv_vis[at : at + 21], xyz[at : at + 21] = entry["keypoints"], np.array(entry["joint_cam"]) / 1000
        annotations[entry["id"]] = {"uv_vis": uv_vis, "xyz": xyz, "K": matrix.astype(np.float32)}
        for kind in ("color", "mask"):
            target = tmp_path / "evaluation" / kind / image["file_name"]
            target.parent.mkdir(exist_ok=True)
            if kind == "color":
                target.symlink_to(folder / image["file_name"])
            else:
                write_image(target, np.zeros(SIZE, np.uint8))
    (tmp_path / "evaluation" / "anno_evaluation.pickle").write_bytes(pickle.dumps(annotations, 2))
    dataset = Rhd(tmp_path)
    assert len(dataset) == 3
    for index in range(3):
        sample = dataset[index]
        check_sample(sample)
        assert sample["image"].shape == (3, 320, 320)
        stored = cv2.imread(str(dataset.truth().images[index]))
        np.testing.assert_array_equal(sample["image"], stored[..., ::-1].transpose(2, 0, 1))
        shown = sample["joints_2d_valid"]
        seen = seen_at(sample["joints_3d"].astype(np.float64), sample["K"])
        np.testing.assert_allclose(seen[shown], sample["joints_2d"][shown], atol=0.5)  # published to half a pixel
        lengths = [
            np.linalg.norm(sample["joints_3d"][j] - sample["joints_3d"][j - 1]) for j in range(1, 21) if j % 4 != 1
        ]
        assert min(lengths) > 0.01
        assert max(lengths) < 0.06  # phalanges, only in the right order
