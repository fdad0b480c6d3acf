import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from handkit.detect.openpose import read_keypoints, read_openpose, read_openpose_folder
from handkit.errors import HandkitError

NUMBERS = [float(v) for j in range(21) for v in (100 + j, 200 + 2 * j, 0.0 if j == 20 else 0.5 + j / 100)]


def write(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content))
    return path


def people(**hands: list[float]) -> dict[str, Any]:
    return {"version": 1.3, "people": [{"pose_keypoints_2d": [], **hands}]}


def test_both_hands_with_sides_confidences_and_unseen_joints(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", people(hand_left_keypoints_2d=NUMBERS, hand_right_keypoints_2d=NUMBERS))
    left, right = read_openpose(path)
    assert (left.is_right, right.is_right) == (False, True)
    np.testing.assert_allclose(right.keypoints_2d[3], [103, 206])
    assert right.keypoint_scores[3] == pytest.approx(0.53)
    assert right.keypoint_scores[20] == 0
    np.testing.assert_allclose(right.bbox, [100, 200, 119, 238])
    assert right.keypoints_3d is None


def test_a_hand_of_zeros_was_not_found(tmp_path: Path) -> None:
    hands = read_openpose(write(tmp_path / "a.json", people(hand_left_keypoints_2d=[0.0] * 63)))
    assert hands == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], r"a\.json: no list 'people'"),
        ({"people": 3}, "no list 'people'"),
        (people(hand_right_keypoints_2d=NUMBERS[:60]), r"people\[0\]\.hand_right_keypoints_2d has shape \(60,\)"),
        (people(hand_left_keypoints_2d=["x"] * 63), r"people\[0\]\.hand_left_keypoints_2d is not a regular table"),
        (people(hand_left_keypoints_2d=[v / 500 for v in NUMBERS]), "not in pixels"),
    ],
)
def test_errors_name_file_and_key(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(HandkitError, match=message):
        read_openpose(write(tmp_path / "a.json", content))


def test_broken_json_and_missing_file_are_clean_errors(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"people": [')
    with pytest.raises(HandkitError, match=r"a\.json is not JSON"):
        read_openpose(tmp_path / "a.json")
    with pytest.raises(HandkitError, match="cannot read"):
        read_openpose(tmp_path / "b.json")


def test_folder_gives_frames_by_number(tmp_path: Path) -> None:
    for frame in (0, 7, 12):
        content = people() if frame == 7 else people(hand_right_keypoints_2d=[*NUMBERS[:-3], 5.0, frame, 0.9])
        write(tmp_path / f"clip_{frame:012d}_keypoints.json", content)
    (tmp_path / "notes.txt").write_text("not ours")
    frames = read_keypoints(tmp_path)
    assert list(frames) == [0, 12]
    assert frames[12][0].keypoints_2d[20, 1] == 12


def test_folder_of_two_videos_needs_a_choice_and_an_empty_one_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(HandkitError, match="no OpenPose files"):
        read_openpose_folder(tmp_path)
    for stem in ("a_1", "b"):
        write(tmp_path / f"{stem}_{3:012d}_keypoints.json", people(hand_left_keypoints_2d=NUMBERS))
    with pytest.raises(HandkitError, match="2 videos: a_1, b"):
        read_openpose_folder(tmp_path)
    assert list(read_openpose_folder(tmp_path, "a_1")) == [3]


def test_arrays_with_and_without_scores(tmp_path: Path) -> None:
    table = np.random.default_rng(0).uniform(0, 300, (4, 21, 2))
    table[2] = np.nan
    table[3, 5] = np.nan
    np.save(tmp_path / "a.npy", table)
    frames = read_keypoints(tmp_path / "a.npy", is_right=False)
    assert list(frames) == [0, 1, 3]
    assert not frames[0][0].is_right
    np.testing.assert_allclose(frames[1][0].keypoints_2d, table[1])
    assert frames[3][0].keypoint_scores[5] == 0
    assert frames[3][0].keypoint_scores[6] == 1
    scored = [[[1.0, 2.0, 0.25]] * 21, [[None, None, 0.0]] * 21]
    frames = read_keypoints(write(tmp_path / "b.json", scored))
    assert list(frames) == [0]
    assert frames[0][0].score == 0.25


def test_wrong_array_shape_names_the_file(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((4, 20, 2)))
    with pytest.raises(HandkitError, match=r"a\.npy has shape \(4, 20, 2\)"):
        read_keypoints(tmp_path / "a.npy")
    (tmp_path / "b.npy").write_bytes(b"not an array")
    with pytest.raises(HandkitError, match=r"cannot read .*b\.npy"):
        read_keypoints(tmp_path / "b.npy")
