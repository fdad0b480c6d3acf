import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from handkit.data.sample import check_sample
from handkit.data.youtube3d import YouTube3D
from handkit.errors import HandkitError
from tests.data.posing import plain, posed, write_image

SCALE = 1500.0  # pixels a metre
SHIFT = np.array([320.0, 180, 0])
# Video, frame, left or right, by annotation; both hands of one frame, and a video that is not there.
ROWS = [("abc", 12, False), ("abc", 12, True), ("xyz", 3, False), ("gone", 7, True)]


def vertices_px(row: int) -> np.ndarray:
    _, _, is_left = ROWS[row]
    return posed(row, side="left" if is_left else "right", depth=0.0)["vertices"] * SCALE + SHIFT


def joints_px(row: int) -> np.ndarray:
    _, _, is_left = ROWS[row]
    hand = posed(row, side="left" if is_left else "right", depth=0.0)["regressed"].copy()
    hand[[4, 8, 12, 16, 20]] = posed(row, side="left" if is_left else "right", depth=0.0)["vertices"][
        [744, 320, 443, 554, 671]
    ]
    return hand * SCALE + SHIFT


def write_set(root: Path, rows: range = range(3)) -> Path:
    names = sorted({(video, frame) for video, frame, _ in ROWS})
    images = [
        {"name": f"youtube/{video}/video/frames/{frame}.png", "width": 640, "height": 360, "id": 100 + i}
        for i, (video, frame) in enumerate(names)
    ]
    annotations = [
        {"vertices": vertices_px(i).tolist(), "is_left": int(left), "image_id": 100 + names.index((v, f)), "id": 40 + i}
        for i, (v, f, left) in enumerate(ROWS)
    ]
    (root / "youtube_test.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    for i in rows:
        video, frame, _ = ROWS[i]
        write_image(root / "data" / "youtube" / video / "video" / "frames" / f"{frame}.png", plain((360, 640)))
    return root


def test_meshes_in_pixels_become_weak_perspective_samples(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        dataset = YouTube3D(write_set(tmp_path), hand="open")
    assert "frames of 1 of 4 annotations are not there, of videos such as gone (1)" in caplog.text
    assert dict(dataset.missing) == {"gone": 1}
    assert len(dataset) == 3
    for i in range(3):
        sample = dataset[i]
        check_sample(sample)
        assert sample["is_right"] != ROWS[i][2]
        np.testing.assert_allclose(sample["vertices_2d"], vertices_px(i)[:, :2], atol=1e-3)
        np.testing.assert_allclose(sample["joints_2d"], joints_px(i)[:, :2], atol=1e-3)
        again = sample["weak_scale"] * sample["vertices"][:, :2] + sample["weak_transl"]
        np.testing.assert_allclose(again, sample["vertices_2d"], atol=1e-2)
    assert [dataset[i]["name"] for i in range(3)] == ["abc_000012_40", "abc_000012_41", "xyz_000003_42"]


def test_metres_are_those_of_the_hand_model(tmp_path: Path) -> None:
    sample = YouTube3D(write_set(tmp_path), hand="open")[0]
    # The hand of row 0 has betas of its own, so its bones are those of the model only roughly.
    assert 0.8 < sample["weak_scale"] / SCALE < 1.25
    points = joints_px(0) - joints_px(0)[0]
    np.testing.assert_allclose(sample["joints_3d"] * sample["weak_scale"], points, atol=1e-2)


def test_truth_agrees_with_samples(tmp_path: Path) -> None:
    dataset = YouTube3D(write_set(tmp_path), hand="open")
    truth = dataset.truth()
    for i in range(3):
        sample = dataset[i]
        assert truth.ids[i] == sample["name"]
        np.testing.assert_allclose(truth.joints[i], sample["joints_3d"], atol=1e-5)
        np.testing.assert_allclose(truth.vertices[i], sample["vertices"], atol=1e-5)
        np.testing.assert_allclose(truth.joints_2d[i], sample["joints_2d"], atol=1e-3)
    assert truth.sequences[1] == "abc/left"
    assert truth.frames[2] == 3


def test_without_a_mano_file_only_tips_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handkit.data.youtube3d.find_hand_file", lambda side: None)
    dataset = YouTube3D(write_set(tmp_path))
    sample = dataset[1]
    check_sample(sample)
    assert sample["joints_2d_valid"].nonzero()[0].tolist() == [4, 8, 12, 16, 20]
    np.testing.assert_allclose(sample["joints_2d"][8], vertices_px(1)[320, :2], atol=1e-3)
    assert not sample["vertices_valid"]
    assert sample["vertices_2d_valid"]
    assert dataset.truth().joints is None


def test_missing_frames_can_be_kept_and_none_at_all_is_an_error(tmp_path: Path) -> None:
    root = write_set(tmp_path, range(0))
    with pytest.raises(HandkitError, match="frames of 4 of 4 annotations are not there"):
        YouTube3D(root, hand="open")
    (root / "one").mkdir()
    kept = YouTube3D(write_set(root / "one"), hand="open", missing="keep")
    assert (len(kept), len(kept.truth())) == (4, 4)
    with pytest.raises(HandkitError, match=r"7\.png does not exist"):
        kept[3]


def test_damage_is_told(tmp_path: Path) -> None:
    path = write_set(tmp_path) / "youtube_test.json"
    text = path.read_text()

    def told(content: str, match: str) -> None:
        path.write_text(content)
        with pytest.raises(HandkitError, match=match):
            YouTube3D(tmp_path, hand="open")

    told(text[: len(text) * 2 // 3], "is cut off")
    told(text[: text.rindex("}, {")] + "}", "is cut off")
    told("", "is empty")
    whole: dict[str, Any] = json.loads(text)
    whole["images"] = whole["images"][1:]
    told(json.dumps(whole), "lacks image 100")
    whole = json.loads(text)
    whole["annotations"][0]["vertices"] = [[0, 0, 0]]
    told(json.dumps(whole), r"annotation 40 has vertices of shape \(1, 3\)")
    whole = json.loads(text)
    whole["images"][0]["name"] = "../../secret.png"
    told(json.dumps(whole), "is called '../../secret.png'")
