from pathlib import Path

import numpy as np
import pytest

from handkit.data.dexter_object import DexterObject
from handkit.data.sample import check_sample
from handkit.errors import HandkitError
from tests.data.posing import plain, posed, write_image

# The published calibration, written out again.
K = np.array([[587.45209, 0, 325], [0, 600.67456, 249], [0, 0, 1]])
R = np.array([[0.9999, 0.0034, 0.0161], [-0.0033, 1.0, -0.0079], [-0.0162, 0.0079, 0.9998]])
T_MM = np.array([19.0473, -1.8514, -4.7501])
NAMES = ("Grasp1", "Grasp2", "Occlusion", "Rigid", "Pinch", "Rotate")


def tips_mm(seed: int) -> np.ndarray:
    return 1000 * posed(seed, side="left", depth=0.5)["joints"][[4, 8, 12, 16, 20]]


def write_set(root: Path) -> Path:
    """Six recordings of two frames, the second without two tips; x and y of the files point left and up."""
    for number, name in enumerate(NAMES):
        folder = root / "data" / name
        (folder / "annotations").mkdir(parents=True)
        flat, deep = [], []
        for frame in range(2):
            points = tips_mm(10 * number + frame) * [-1, -1, 1]
            if frame == 1:
                points[[1, 2]] = [0, 0, 32001]
            deep.append(";".join(",".join(f"{value:.4f}" for value in point) for point in points) + ";")
            flat.append("160,120;" * 5)
            write_image(folder / "color" / f"image_{frame:05d}_color.png", plain((480, 640), (number, frame, 9)))
        (folder / "annotations" / f"{name}2D.txt").write_text("\n".join(flat))
        (folder / "annotations" / f"{name}3D.txt").write_text("\n".join(deep))
    rows = ["img_name,x,y,w,h", "Rigid/color/image_00001_color.png,10,20,100,200", "Rigid/color/nothing.png,0,0,0,0"]
    (root / "bbox_dexter+object.csv").write_text("\n".join(rows))
    return root


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("dexter"))


def test_samples_are_left_hands_in_the_colour_camera(root: Path) -> None:
    dataset = DexterObject(root)
    assert len(dataset) == 12
    for i in range(12):
        check_sample(dataset[i])
        assert not dataset[i]["is_right"]
        assert dataset[i]["image"][:2, 0, 0].tolist() == [i // 2, i % 2]
    sample = dataset[4]
    assert (sample["name"], sample["sequence"]) == ("Occlusion/image_00000_color", "Occlusion")
    expected = (R @ tips_mm(20).T).T + T_MM
    np.testing.assert_allclose(1000 * sample["joints_3d"][[4, 8, 12, 16, 20]], expected, atol=1e-3)
    seen = (K @ expected.T).T
    np.testing.assert_allclose(sample["joints_2d"][[4, 8, 12, 16, 20]], seen[:, :2] / seen[:, 2:], atol=1e-3)


def test_the_code_32001_is_a_missing_tip(root: Path) -> None:
    truth = DexterObject(root).truth()
    assert truth.joints_valid[1].nonzero()[0].tolist() == [4, 16, 20]
    assert truth.joints_valid[0].nonzero()[0].tolist() == [4, 8, 12, 16, 20]
    assert float(np.nanmax(np.abs(truth.joints))) < 1
    assert len(DexterObject(root, min_tips=4)) == 6
    assert len(DexterObject(root, exclude=["Pinch/image_00000_color"], sequences=["Pinch"])) == 1


def test_boxes_come_from_the_table(root: Path, tmp_path: Path) -> None:
    dataset = DexterObject(root)
    assert dataset[7]["bbox"].tolist() == [10, 20, 110, 220]
    assert not dataset[6]["bbox_valid"]
    broken = write_set(tmp_path)
    (broken / "bbox_dexter+object.csv").write_text("img_name,x\nRigid/color/image_00001_color.png,10\n")
    with pytest.raises(HandkitError, match="no table of img_name, x, y, w, h"):
        DexterObject(broken)


def test_corrected_labels_and_missing_files(tmp_path: Path) -> None:
    root = write_set(tmp_path)
    with pytest.raises(HandkitError, match=r"my_Grasp13D\.txt does not exist"):
        DexterObject(root, corrected=True)
    (root / "data" / "Grasp1" / "annotations" / "my_Grasp13D.txt").write_text("1,2,500;" * 5 + "\n" + "1,2,x;" * 5)
    with pytest.raises(HandkitError, match=r"my_Grasp13D.txt, line 2: could not convert"):
        DexterObject(root, corrected=True)
