from pathlib import Path

import cv2
import numpy as np
import pytest

from handkit.data.bighand import BigHand
from handkit.data.sample import check_sample
from handkit.errors import HandkitError
from tests.data.posing import posed

K = np.array([[475.065948, 0, 315.944855], [0, 475.065857, 245.287079], [0, 0, 1]])
# Ours, in the order of the file: wrist, five MCP joints thumb to little, then three joints a finger.
ORDER = [0, 1, 5, 9, 13, 17, 2, 3, 4, 6, 7, 8, 10, 11, 12, 14, 15, 16, 18, 19, 20]


def write_set(root: Path, *, images: bool = True) -> Path:
    folder = root / "training"
    (folder / "images").mkdir(parents=True)
    lines = []
    for number in range(3):
        name = f"image_D{number + 1:08d}.png"
        values = 1000 * posed(number, depth=0.5)["joints"][ORDER]
        lines.append("\t".join([name, *(f"{value:.4f}" for value in values.ravel())]) + "\t")
        if images:
            depth = np.zeros((480, 640), np.uint16)
            depth[100:200, 300:400] = 300 + number
            assert cv2.imwrite(str(folder / "images" / name), depth)
    (folder / "Training_Annotation.txt").write_text("\n".join(lines[:2]) + "\n\n" + lines[2] + "\n")
    return root


def test_lines_become_samples_in_our_order_and_metres(tmp_path: Path) -> None:
    dataset = BigHand(write_set(tmp_path))
    assert len(dataset) == 3
    for number in range(3):
        sample, joints = dataset[number], posed(number, depth=0.5)["joints"]
        check_sample(sample)
        assert sample["name"] == f"image_D{number + 1:08d}.png"
        np.testing.assert_allclose(sample["joints_3d"], joints, atol=1e-6)
        seen = (K @ joints.T).T
        np.testing.assert_allclose(sample["joints_2d"], seen[:, :2] / seen[:, 2:], atol=1e-2)
        assert sample["is_right"]
    np.testing.assert_allclose(dataset.truth().joints[2], dataset[2]["joints_3d"])
    assert not BigHand(tmp_path, is_right=False)[0]["is_right"]


def test_depth_is_metres_and_the_picture_is_brighter_where_it_is_nearer(tmp_path: Path) -> None:
    dataset = BigHand(write_set(tmp_path))
    depth = dataset.depth(2)
    assert depth[150, 350] == pytest.approx(0.302)
    assert depth[0, 0] == 0
    image = dataset[2]["image"]
    assert image.shape == (3, 480, 640)
    assert image[:, 150, 350].tolist() == 3 * [round(255 * (1 - 0.302 / 1.5))]
    assert not image[:, 0, 0].any(), "nothing measured is not near"


def test_truth_needs_no_pictures(tmp_path: Path) -> None:
    root = write_set(tmp_path, images=False)
    (root / "training" / "images").rmdir()
    dataset = BigHand(root)
    assert dataset.truth().images is None
    with pytest.raises(HandkitError, match=r"image_D00000001.png does not exist"):
        dataset[0]


def test_damage_is_named(tmp_path: Path) -> None:
    root = write_set(tmp_path)
    path = root / "training" / "Training_Annotation.txt"
    cv2.imwrite(str(root / "training" / "images" / "image_D00000001.png"), np.zeros((480, 640, 3), np.uint8))
    with pytest.raises(HandkitError, match="not a 16-bit depth image"):
        BigHand(root)[0]
    path.write_text(path.read_text()[:-100])
    with pytest.raises(HandkitError, match=r"line 4: \d+ columns instead of a name and 63"):
        BigHand(root)
    path.unlink()
    with pytest.raises(HandkitError, match=r"Training_Annotation\.txt does not exist"):
        BigHand(root)
