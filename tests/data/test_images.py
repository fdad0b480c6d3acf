import json
from pathlib import Path

import numpy as np
import pytest

from handkit.data.images import Images
from handkit.data.sample import check_sample
from handkit.errors import HandkitError
from handkit.video import VideoWriter
from tests.data.posing import plain, write_image


def points(number: int) -> np.ndarray:
    return np.random.default_rng(number).uniform(5, 60, (21, 2))


def write_folder(root: Path) -> Path:
    write_image(root / "b.png", plain((48, 64), (1, 0, 0)))
    write_image(root / "a.jpg", plain((48, 64), (200, 0, 0)))
    write_image(root / "deep" / "a.png", plain((40, 80), (2, 0, 0)))
    (root / "notes.txt").write_text("not a picture")
    return root


def write_video(path: Path, frames: int = 6) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with VideoWriter(path, fps=30.0) as writer:
        for number in range(frames):
            writer.write(plain((48, 64), (40 * number, 128, 128)), number / 30)
    return path


def openpose(hands: list[tuple[str, np.ndarray]]) -> str:
    table = {f"hand_{side}_keypoints_2d": np.column_stack([xy, np.ones(21)]).ravel().tolist() for side, xy in hands}
    return json.dumps({"people": [table]})


def test_every_picture_is_a_sample_by_its_place_in_the_folder(tmp_path: Path) -> None:
    dataset = Images(write_folder(tmp_path))
    assert [dataset[i]["name"] for i in range(len(dataset))] == ["a.jpg", "b.png", "deep/a.png"]
    assert dataset[2]["image"].shape == (3, 40, 80)
    assert dataset[1]["image"][0, 0, 0] == 1
    for i in range(3):
        check_sample(dataset[i])
    truth = dataset.truth()
    assert truth.ids == ("a.jpg", "b.png", "deep/a.png")
    assert truth.joints is None
    assert truth.images == (tmp_path / "a.jpg", tmp_path / "b.png", tmp_path / "deep" / "a.png")
    assert not dataset.sides_known
    left = Images(tmp_path / "b.png", side="left")
    assert len(left) == 1
    assert not left[0]["is_right"]
    assert left.sides_known


def test_cameras_by_number_by_file_and_by_default(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "pictures")
    camera = tmp_path / "cameras.json"
    camera.write_text(json.dumps({"a.jpg": {"K": [50, 51, 30, 20]}, "b.png": [60, 60, 31, 21], "K": [70, 70, 40, 20]}))
    sample = Images(root, camera=camera)[1]
    assert sample["K"].tolist() == [[60, 0, 31], [0, 60, 21], [0, 0, 1]]
    assert Images(root, K=(9, 8, 7, 6))[2]["K"].tolist() == [[9, 0, 7], [0, 8, 6], [0, 0, 1]]
    K = Images(root)[0]["K"]
    assert (K[0, 2], K[1, 2]) == (32, 24)
    np.testing.assert_allclose(Images(root).truth().K[0], K, rtol=1e-6)


def test_keypoints_of_an_array_and_of_openpose(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "pictures")
    np.save(tmp_path / "points.npy", np.stack([points(0), points(1), points(2)]))
    dataset = Images(root, keypoints=tmp_path / "points.npy", side="left")
    np.testing.assert_allclose(dataset[2]["keypoints_2d"], points(2), rtol=1e-6)
    assert not dataset[2]["is_right"]
    assert dataset[2]["bbox_valid"]
    found = tmp_path / "openpose"
    found.mkdir()
    for name, hands in {"a": [("left", points(3)), ("right", points(4))], "b": [("left", points(5))]}.items():
        (found / f"{name}_keypoints.json").write_text(openpose(hands))
    dataset = Images(tmp_path / "pictures" / "b.png", keypoints=found)
    assert len(dataset) == 1
    assert not dataset[0]["is_right"]
    dataset = Images(root, keypoints=found)
    names = [dataset[i]["name"] for i in range(len(dataset))]
    assert names == ["a.jpg_0_left", "a.jpg_1_right", "b.png", "deep/a.png_0_left", "deep/a.png_1_right"]
    np.testing.assert_allclose(dataset[1]["keypoints_2d"], points(4), rtol=1e-6)
    for i in range(len(dataset)):
        check_sample(dataset[i])


def test_a_video_is_read_in_any_order(tmp_path: Path) -> None:
    dataset = Images(write_video(tmp_path / "clip.mp4"))
    assert len(dataset) == 6
    assert dataset[3]["name"] == "clip_000003"
    assert (dataset[3]["sequence"], dataset[3]["frame"].item()) == ("clip", 3)
    for i in (5, 0, 4, 4, 2, 3):
        assert abs(int(dataset[i]["image"][0, 24, 32]) - 40 * i) < 12, "another frame"
        check_sample(dataset[i])
    truth = dataset.truth()
    assert truth.frames == (0, 1, 2, 3, 4, 5)
    assert truth.images == 6 * (None,)
    np.save(tmp_path / "points.npy", np.stack([points(i) for i in range(6)]))
    np.testing.assert_allclose(
        Images(tmp_path / "clip.mp4", keypoints=tmp_path / "points.npy")[4]["keypoints_2d"], points(4), rtol=1e-6
    )


def test_nothing_to_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(HandkitError, match="no such file or folder"):
        Images(tmp_path / "nowhere")
    with pytest.raises(HandkitError, match="no images or videos"):
        Images(tmp_path)
    write_folder(tmp_path)
    with pytest.raises(HandkitError, match="no such side: 'lft'"):
        Images(tmp_path, side="lft")
    with pytest.raises(HandkitError, match=r"none\.json"):
        Images(tmp_path, keypoints=tmp_path / "none.json")
