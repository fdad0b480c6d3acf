"""Inputs that cannot be used, or only in part: said, counted, and the rest is done."""

from pathlib import Path

import numpy as np
import pytest

from handkit.data.window_batches import WindowBatches
from handkit.errors import HandkitError
from handkit.gather.options import NamedDataset
from handkit.train import Place
from tests.gather.making import gathered, points, write_clip, write_keypoints, write_openpose, write_stills, write_video

STILL = [(45.0, 30.0)] * 6


def test_a_folder_without_hands(tmp_path: Path) -> None:
    videos = write_clip(tmp_path, "a", [None] * 4)[0].parent
    write_clip(tmp_path, "b", [None] * 3)
    with pytest.raises(HandkitError, match=r"no usable hand \(videos: 7 pictures, 0 hands found, 0 usable \(7 no hand"):
        gathered(tmp_path / "out", videos, keypoints=tmp_path / "keypoints")


def test_a_folder_without_pictures(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(HandkitError, match="no images or videos in this folder"):
        gathered(tmp_path / "out", tmp_path / "empty")
    with pytest.raises(HandkitError, match=r"no usable hand \(no sources\)"):
        gathered(tmp_path / "out")
    np.save(tmp_path / "joints.npy", np.zeros((3, 21, 3)))
    with pytest.raises(HandkitError, match=r"joints\.npy holds no pictures"):
        gathered(tmp_path / "out", tmp_path / "joints.npy")


def test_one_image_has_no_windows(tmp_path: Path) -> None:
    folder = write_stills(tmp_path / "photos", ["a.png"])
    np.save(tmp_path / "k.npy", points((50, 30))[None])
    result, errors = gathered(tmp_path / "out", folder / "a.png", keypoints=tmp_path / "k.npy")
    assert errors == []
    assert result.total.usable == len(result.dataset) == 1
    with pytest.raises(HandkitError, match="of 1 usable hands the longest run spans 1 frame, and 7 are needed"):
        WindowBatches(result.dataset, sequences=1, frames=3, interval=3, size=32)


def test_videos_of_several_sizes_and_rates(tmp_path: Path) -> None:
    write_clip(tmp_path, "small", STILL)
    write_clip(tmp_path, "wide", [(100.0, 40.0)] * 9, size=(201, 83), fps=12.5)
    result, errors = gathered(tmp_path / "out", tmp_path / "videos", keypoints=tmp_path / "keypoints")
    assert errors == []
    assert len(result.dataset) == 15
    np.testing.assert_allclose(np.unique(np.diff(result.dataset.times_s).round(3)), [-0.167, 0.033, 0.08], atol=1e-3)
    batches = WindowBatches(result.dataset, sequences=4, frames=2, interval=3, size=32)
    batch = next(batches.batches(0, Place()))
    assert batch["image"].shape == (4, 2, 3, 32, 32)
    widths = {name: result.dataset[n]["K"][0, 0] for n, name in ((0, "small"), (14, "wide"))}
    np.testing.assert_allclose(widths["wide"] / widths["small"], 202 / 96, rtol=1e-3)  # written with an even width


def test_a_damaged_video_beside_a_good_one(tmp_path: Path) -> None:
    good, keypoints = write_clip(tmp_path, "good", STILL)
    write_keypoints(keypoints, "bad", {0: []})
    (good.parent / "bad.mp4").write_bytes(good.read_bytes()[:200])
    result, errors = gathered(tmp_path / "out", good.parent, keypoints=keypoints)
    assert len(errors) == 1
    assert "bad.mp4" in errors[0]
    assert result.total.left_out["failed"] == 1
    assert len(result.dataset) == 6
    again, repeated = gathered(tmp_path / "out", good.parent, keypoints=keypoints)
    assert repeated == errors
    assert again.to_json() == result.to_json()


def test_a_damaged_picture_is_said_again(tmp_path: Path) -> None:
    folder = write_stills(tmp_path / "photos", ["a.png", "b.png"])
    (folder / "b.png").write_bytes((folder / "a.png").read_bytes()[:60])
    for name in "ab":
        write_openpose(tmp_path / "k" / f"{name}_keypoints.json", [points((50, 30))])
    for _ in range(2):
        result, errors = gathered(tmp_path / "out", folder, keypoints=tmp_path / "k")
        assert len(errors) == 1
        assert "b.png is damaged" in errors[0]
        assert (result.total.pictures, result.total.usable, result.total.left_out["failed"]) == (1, 1, 1)


def test_only_damaged_files(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    for name in ("a", "b"):
        (tmp_path / "videos" / f"{name}.mp4").write_bytes(b"no video at all" * 20)
    with pytest.raises(HandkitError, match=r"0 usable \(2 failed\)\); the last error: .*b\.mp4"):
        gathered(tmp_path / "out", tmp_path / "videos")


def test_keypoints_of_more_frames_than_there_are(tmp_path: Path) -> None:
    clip = write_video(tmp_path / "clip.mp4", STILL)
    np.save(tmp_path / "k.npy", np.stack([points((45, 30))] * 8))
    with pytest.raises(HandkitError, match="has 6 frames or images, but there are keypoints of number 7"):
        gathered(tmp_path / "out", clip, keypoints=tmp_path / "k.npy")
    folder = write_stills(tmp_path / "photos", ["a.png", "b.png"])
    with pytest.raises(HandkitError, match="photos has 2 frames or images, but there are keypoints of number 7"):
        gathered(tmp_path / "out", folder, keypoints=tmp_path / "k.npy")


def test_keypoints_of_fewer_frames_are_counted(tmp_path: Path) -> None:
    clip = write_video(tmp_path / "clip.mp4", STILL)
    np.save(tmp_path / "k.npy", np.stack([points((45, 30))] * 4))
    result, _ = gathered(tmp_path / "out", clip, keypoints=tmp_path / "k.npy")
    assert (result.total.usable, result.total.left_out["no hand"]) == (4, 2)


def test_a_picture_without_a_file_of_keypoints(tmp_path: Path) -> None:
    folder = write_stills(tmp_path / "photos", ["a.png", "b.png"])
    write_openpose(tmp_path / "k" / "a_keypoints.json", [points((50, 30))])
    result, errors = gathered(tmp_path / "out", folder, keypoints=tmp_path / "k")
    assert result.total.usable == result.total.left_out["failed"] == 1
    assert len(errors) == 1
    assert "b.png: no keypoints in" in errors[0]


def test_one_array_for_two_videos(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_clip(tmp_path, name, STILL)
    np.save(tmp_path / "k.npy", np.stack([points((45, 30))] * 6))
    with pytest.raises(HandkitError, match="one file of keypoints, but there are 2 videos"):
        gathered(tmp_path / "out", tmp_path / "videos", keypoints=tmp_path / "k.npy")


def test_a_video_without_keypoints_does_not_take_anothers(tmp_path: Path) -> None:
    write_clip(tmp_path, "a", STILL)
    write_video(tmp_path / "videos/b.mp4", STILL)
    result, errors = gathered(tmp_path / "out", tmp_path / "videos", keypoints=tmp_path / "keypoints")
    assert result.total.usable == 6
    assert result.total.left_out["failed"] == 1
    assert "b.mp4: no keypoints of it in" in errors[0]
    # alone it may: keypoints are often called otherwise
    assert len(gathered(tmp_path / "out", tmp_path / "videos/b.mp4", keypoints=tmp_path / "keypoints")[0].dataset) == 6


def test_two_videos_of_one_name(tmp_path: Path) -> None:
    for folder in ("videos/one", "videos/two"):
        write_video(tmp_path / folder / "clip.mp4", STILL)
    keypoints = write_keypoints(tmp_path / "k", "clip", {n: [points((45, 30))] for n in range(6)})
    with pytest.raises(HandkitError, match="2 pictures or videos are called clip"):
        gathered(tmp_path / "out", tmp_path / "videos", keypoints=keypoints)


def test_data_sets_that_are_not_there(tmp_path: Path) -> None:
    clip, keypoints = write_clip(tmp_path, "clip", STILL)
    missing = NamedDataset(name="stb", root=tmp_path / "nowhere")
    with pytest.raises(HandkitError, match=r"the last error: .*nowhere does not exist"):
        gathered(tmp_path / "out", missing)
    result, errors = gathered(tmp_path / "out", missing, clip, keypoints=keypoints)
    assert len(errors) == 1
    assert "are not of the data set stb" in errors[0]
    assert result.total.usable == 6
