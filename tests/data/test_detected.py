import pickle
from pathlib import Path

import numpy as np
import pytest

from handkit.data.crops import HandCrops
from handkit.data.detected import DetectedHands
from handkit.data.patch_files import PatchFile
from handkit.data.sample import check_sample
from handkit.errors import HandkitError
from tests.data.patches import PATCH_PX, K, joints_3d, patch, sequence_of, write_hands


@pytest.fixture
def clips(tmp_path: Path) -> list[Path]:
    """Two files: a right and a left hand of one clip, and three stills, the last without truth."""
    hands = [*sequence_of("a/0", range(8)), *sequence_of("a/1", range(4, 8), is_right=False)]
    stills = [patch(f"p{n}.jpg", seed=n, with_truth=n < 2) for n in range(3)]
    return [write_hands(tmp_path / "a.patches", hands), write_hands(tmp_path / "s.patches", stills, source="photos")]


def test_samples_are_the_patches(clips: list[Path]) -> None:
    dataset = DetectedHands(clips)
    assert len(dataset) == 15
    for index in range(len(dataset)):
        check_sample(dataset[index])
    sample = dataset[5]
    assert (sample["dataset"], sample["sequence"], sample["name"], sample["frame"]) == ("clips", "a/0", "a/0_5", 5)
    assert sample["image"].shape == (3, PATCH_PX, PATCH_PX)
    assert abs(sample["image"].mean() - 65) < 1
    np.testing.assert_allclose(sample["K"], K)
    np.testing.assert_allclose(sample["joints_3d"], joints_3d(5), rtol=1e-6)
    np.testing.assert_allclose(sample["keypoints_2d"], sample["joints_2d"] + 0.5, rtol=1e-5)
    np.testing.assert_allclose(sample["keypoint_scores"], np.linspace(0.5, 1, 21), rtol=1e-6)
    assert not dataset[8]["is_right"]
    assert not dataset[14]["joints_2d_valid"].any()
    assert not dataset[14]["weak_valid"]


def test_crops_do_not_look_at_the_truth(tmp_path: Path) -> None:
    known = patch("a.jpg")
    moved = patch("a.jpg")
    moved.truth["joints_2d"] = moved.truth["joints_2d"] * 0.3
    samples = []
    for name, each in (("known", known), ("moved", moved), ("none", patch("a.jpg", with_truth=False))):
        crops = HandCrops(DetectedHands([write_hands(tmp_path / name, [each])]), size=32, rotate_deg=40)
        samples.append(crops.crop(0, np.random.default_rng(1)))
    for other in samples[1:]:
        for key in ("image", "K", "keypoints_2d"):
            np.testing.assert_array_equal(other[key], samples[0][key])


def test_pickles_are_small_and_open_the_files_again(tmp_path: Path) -> None:
    path = write_hands(tmp_path / "a.patches", sequence_of("a/0", range(500)))
    dataset = DetectedHands([path])
    dataset[0]
    packed = pickle.dumps(dataset)
    assert len(packed) < 1000
    again = pickle.loads(packed)
    np.testing.assert_array_equal(again[499]["image"], dataset[499]["image"])
    part = pickle.loads(pickle.dumps(dataset.subset(range(100, 110))))
    assert part.frames.tolist() == list(range(100, 110))


def test_order_runs_and_windows(tmp_path: Path) -> None:
    pairs = zip(sequence_of("b/0", range(9)), sequence_of("a/0", range(9)), strict=True)
    mixed = [each for pair in pairs for each in pair]
    jumping = sequence_of("c/0", range(5)) + sequence_of("c/0", range(5, 7), middle=(300, 80))
    files = [
        write_hands(tmp_path / "1", mixed[:10][::-1]),
        write_hands(tmp_path / "2", mixed[10:] + jumping),
        write_hands(tmp_path / "3", [patch("still.jpg")], source="photos"),
    ]
    dataset = DetectedHands(files)
    assert [dataset.frames[run].tolist() for run in dataset.runs()] == [list(range(9))] * 2 + [list(range(5)), [0]]
    assert dataset.left_out == {"clips": 2}
    assert len({dataset.scene(index) for index in range(len(dataset))}) == 4
    assert sorted(dataset.sequence_names) == ["", "clips/a/0", "clips/b/0", "clips/c/0"]
    windows = dataset.windows(3, 2)
    assert dataset.frames[windows[0]].tolist() == [0, 2, 4]
    assert len(windows) == 5 + 5 + 1
    assert all(len({dataset.sequence_names[number] for number in dataset.sequences[window]}) == 1 for window in windows)
    assert dataset.windows(1, 1)[:, 0].tolist() == list(range(len(dataset)))
    for frames, interval in ((0, 1), (2, 0)):
        with pytest.raises(HandkitError, match=f"windows of {frames} frames, {interval} apart"):
            dataset.windows(frames, interval)


def test_one_name_in_two_sources_or_on_two_sides_is_two_sequences(tmp_path: Path) -> None:
    sides = sequence_of("a", range(4)) + sequence_of("a", range(4), is_right=False)
    files = [write_hands(tmp_path / "1", sides), write_hands(tmp_path / "2", sequence_of("a", range(4)), source="more")]
    dataset = DetectedHands(files)
    assert len(dataset.runs()) == 3
    assert [len({dataset[i]["is_right"].item() for i in run}) for run in dataset.runs()] == [1, 1, 1]


def test_subsets_keep_the_order_and_only_their_windows(clips: list[Path]) -> None:
    dataset = DetectedHands(clips)
    part = dataset.subset([7, 3, 2, 1, 9])
    assert part.frames.tolist() == [1, 2, 3, 7, 5]
    assert part[0]["name"] == "a/0_1"
    assert part.frames[part.windows(2, 1)].tolist() == [[1, 2], [2, 3]]
    nested = part.subset([1, 4])
    assert [nested[i]["name"] for i in range(2)] == ["a/0_2", "a/1_5"]
    assert DetectedHands(clips).frames.tolist() == dataset.frames.tolist()


def test_few_sequences_are_split_in_time(clips: list[Path]) -> None:
    dataset = DetectedHands(clips)
    learned, held = dataset.split(0.25)
    assert sorted([*learned, *held]) == list(range(15))
    names = [dataset[int(row)]["name"] for row in held]
    assert names == ["a/0_6", "a/0_7", "a/1_7", "p2.jpg"]
    assert dataset.split(0)[1].tolist() == []
    with pytest.raises(HandkitError, match="a share of 1 held out"):
        dataset.split(1)


def test_many_sequences_are_split_whole(tmp_path: Path) -> None:
    hands = [each for number in range(12) for each in sequence_of(f"{number:02d}", range(4))]
    dataset = DetectedHands([write_hands(tmp_path / "a", hands)])
    learned, held = dataset.split(0.25)
    names = {dataset.sequence_names[number] for number in dataset.sequences[held]}
    assert names == {"clips/09", "clips/10", "clips/11"}
    assert not set(dataset.sequences[learned]) & set(dataset.sequences[held])


def test_truth_stands_in_the_samples_order(clips: list[Path]) -> None:
    dataset = DetectedHands(clips)
    truth = dataset.truth()
    assert truth.ids[9] == "clips/a/1_5"
    assert truth.joints is not None
    assert truth.joints_valid is not None
    np.testing.assert_allclose(truth.joints[9], dataset[9]["joints_3d"])
    assert truth.joints_valid.all(1).tolist() == [True] * 14 + [False]
    alone = dataset.subset([14]).truth()
    assert alone.joints is None
    assert alone.joints_2d is None
    assert alone.K is not None


def test_files_that_are_no_files_of_patches(clips: list[Path], tmp_path: Path) -> None:
    with pytest.raises(HandkitError, match="no files of patches"):
        DetectedHands([])
    with pytest.raises(HandkitError, match=r"missing\.patches is no file of patches"):
        DetectedHands([tmp_path / "missing.patches"])
    whole = clips[0].read_bytes()
    (tmp_path / "short.patches").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(HandkitError, match=r"short\.patches is no file of patches, or damaged"):
        DetectedHands([tmp_path / "short.patches"])
    at = whole.index(b"\xff\xd8")
    (tmp_path / "bad.patches").write_bytes(whole[:at] + bytes(400) + whole[at + 400 :])
    with pytest.raises(HandkitError, match="the picture of row 0 is damaged"):
        DetectedHands([tmp_path / "bad.patches"])[0]


def test_a_file_is_one_that_numpy_loads(clips: list[Path]) -> None:
    with np.load(clips[0]) as held:
        for key, array in PatchFile(clips[0]).fields.items():
            np.testing.assert_array_equal(held[key], array)


def test_a_file_without_hands_adds_nothing(clips: list[Path], tmp_path: Path) -> None:
    empty = write_hands(tmp_path / "empty.patches", [])
    assert len(DetectedHands([empty])) == 0
    assert len(DetectedHands([empty, *clips])) == 15
