import logging
from pathlib import Path

import numpy as np
import pytest

from handkit.conventions import FINGERTIPS
from handkit.data.egodexter import EgoDexter
from handkit.data.sample import check_sample
from handkit.errors import HandkitError
from tests.data.posing import plain, posed, write_image

# The published calibration, written out again.
K = np.array([[617.173, 0, 315.453], [0, 617.173, 242.259], [0, 0, 1]])
R = np.array([[1.0, 0.00090442, -0.0074], [-0.00071933, 0.9997, 0.0248], [0.0075, -0.0248, 0.9997]])
T_MM = np.array([20.2365, 1.2846, 5.7360])
NAMES = ("Desk", "Fruits", "Kitchen", "Rotunda")
OTHERS = [i for i in range(21) if i not in FINGERTIPS]


def tips_mm(seed: int) -> np.ndarray:
    """Tips [5, 3] of a left hand before the depth camera."""
    return 1000 * posed(seed, side="left", depth=0.45)["joints"][[4, 8, 12, 16, 20]]


def line(points: np.ndarray) -> str:
    return " ".join(", ".join(f"{value:.4f}" for value in point) + ";" for point in points)


def write_set(root: Path) -> Path:
    """Four recordings of three frames: whole; two tips missing (-1 and zeros); nothing annotated."""
    for number, name in enumerate(NAMES):
        folder = root / "EgoDexter" / "data" / name
        flat, deep = [], []
        for frame in range(3):
            points, pixels = tips_mm(10 * number + frame), np.full((5, 2), 100.0)
            lost = {0: [], 1: [0, 3], 2: [0, 1, 2, 3, 4]}[frame]
            points[lost], pixels[lost] = 0.0, -1
            points[lost[:1]] = 1e-9
            deep.append(line(points))
            flat.append(" ".join(f"{u:.0f}, {v:.0f};" for u, v in pixels))
            write_image(folder / "color" / f"image_{frame:05d}_color.png", plain((480, 640), (number, frame, 9)))
        (folder / "annotation.txt").write_text("\n".join(flat) + "\n")
        (folder / "annotation.txt_3D.txt").write_text("\n".join(deep) + "\n")
    return root / "EgoDexter"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("egodexter"))


def test_frames_with_tips_are_samples_of_left_hands(root: Path) -> None:
    dataset = EgoDexter(root)
    assert len(dataset) == 8
    names = [dataset[i]["name"] for i in range(8)]
    assert names[:3] == ["Desk/image_00000_color", "Desk/image_00001_color", "Fruits/image_00000_color"]
    for i in range(8):
        sample = dataset[i]
        check_sample(sample)
        assert not sample["is_right"]
        assert sample["image"].shape == (3, 480, 640)
        assert sample["image"][:2, 0, 0].tolist() == [i // 2, i % 2], "another frame's picture"


def test_tips_are_in_the_colour_cameras_frame(root: Path) -> None:
    sample, truth = EgoDexter(root)[3], EgoDexter(root).truth()
    expected = (R @ tips_mm(11).T).T + T_MM
    assert sample["joints_3d_valid"].nonzero()[0].tolist() == [8, 12, 20]
    np.testing.assert_allclose(1000 * sample["joints_3d"][[8, 12, 20]], expected[[1, 2, 4]], atol=1e-3)
    seen = (K @ expected.T).T
    np.testing.assert_allclose(sample["joints_2d"][8], seen[1, :2] / seen[1, 2], atol=1e-3)
    assert truth.ids[3] == sample["name"]
    assert truth.joints_valid[3].tolist() == sample["joints_3d_valid"].tolist()
    np.testing.assert_allclose(truth.joints[3, [8, 12, 20]], sample["joints_3d"][[8, 12, 20]], atol=1e-6)
    assert np.isnan(truth.joints[3, [4, 16]]).all()
    assert not truth.joints_valid[:, OTHERS].any()
    assert (truth.sequences[3], truth.frames[3]) == ("Fruits", 1)


def test_pixels_of_minus_one_mean_missing_whatever_the_3d_file_says(root: Path, tmp_path: Path) -> None:
    folder = write_set(tmp_path) / "data" / "Desk"
    lines = (folder / "annotation.txt").read_text().splitlines()
    lines[0] = "-1, -1; 5, 5; 5, 5; 5, 5; 5, 5;"
    (folder / "annotation.txt").write_text("\n".join(lines))
    assert EgoDexter(tmp_path / "EgoDexter").truth().joints_valid[0, FINGERTIPS].tolist() == [False] + 4 * [True]


def test_corrected_labels_have_blanks(tmp_path: Path) -> None:
    root = write_set(tmp_path)
    for name in NAMES:
        text = "\n".join([line(tips_mm(1)), " , , ; " + line(tips_mm(2)[1:]), line(tips_mm(3))])
        (root / "data" / name / "my_annotation.txt_3D.txt").write_text(text)
    truth = EgoDexter(root, corrected=True).truth()
    assert len(truth) == 12
    assert truth.joints_valid[1, FINGERTIPS].tolist() == [False] + 4 * [True]


def test_exclusions_and_the_fewest_tips(root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    listing = tmp_path / "bad.txt"
    listing.write_text("# wrong labels\nDesk/image_00000_color\nFruits/color/image_00001_color.png\nNo/where\n")
    with caplog.at_level(logging.WARNING):
        dataset = EgoDexter(root, exclude=listing)
    assert (len(dataset), dataset.excluded) == (6, 2)
    assert "No/where" in caplog.text
    assert "Desk/image_00000_color" not in dataset.truth().ids
    assert len(EgoDexter(root, exclude=["Desk/image_00000_color"])) == 7
    assert len(EgoDexter(root, min_tips=4)) == 4
    with pytest.raises(HandkitError, match="6 annotated tips"):
        EgoDexter(root, min_tips=6)


def test_files_that_do_not_belong_together_are_named(tmp_path: Path) -> None:
    root = write_set(tmp_path)
    (root / "data" / "Kitchen" / "color" / "image_00002_color.png").unlink()
    with pytest.raises(HandkitError, match=r"3 lines for the 2 pictures of .*Kitchen"):
        EgoDexter(root)
    path = root / "data" / "Desk" / "annotation.txt_3D.txt"
    path.write_text(path.read_text()[:200])
    with pytest.raises(HandkitError, match=r"annotation.txt_3D.txt, line \d: not five tips of 3 numbers"):
        EgoDexter(root)
    path.unlink()
    with pytest.raises(HandkitError, match="does not exist"):
        EgoDexter(root)
    with pytest.raises(HandkitError, match="no such split"):
        EgoDexter(root, "train")
