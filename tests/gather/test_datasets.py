"""Data sets with labels: the detector is asked, the truth only kept; one test with the detector itself."""

from pathlib import Path

import numpy as np
import pytest

import handkit.gather.run as run
from handkit.data.registry import build_dataset
from handkit.data.sample import HandSample, check_sample
from handkit.demo.clip import make_clip
from handkit.detect.detection import HandDetection
from handkit.detect.openpose import hand_from_keypoints
from handkit.gather.finding import SampleFinder
from handkit.gather.options import NamedDataset
from handkit.images import write_image
from handkit.video import VideoReader
from tests.data.making import write_sequences
from tests.data.trees import write_freihand, write_stb
from tests.gather.making import gathered


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A detector that is two pixels off the truth and misses frame 1; the samples that it was shown."""
    names: list[str] = []

    def find(self: SampleFinder, sample: HandSample) -> HandDetection | None:
        names.append(sample["name"])
        points = sample["joints_2d"].astype(float) + np.array([2, 0])
        found = hand_from_keypoints(points, np.full(21, 0.8), is_right=bool(sample["is_right"]))
        return None if sample["sequence"] and sample["frame"] == 1 else found

    monkeypatch.setattr(SampleFinder, "find", find)
    return names


def test_generated_sequences_get_a_canonical_camera(tmp_path: Path, seen: list[str]) -> None:
    root = write_sequences(tmp_path / "seqhand", shards=1, each=2, frames=5)
    result, errors = gathered(tmp_path / "out", NamedDataset(name="seqhand", root=root, split="all"))
    assert errors == []
    assert len(seen) == 10
    dataset, plain = result.dataset, build_dataset("seqhand", root)
    assert result.counts["seqhand"].left_out["no hand"] == 2
    assert [dataset.frames[rows].tolist() for rows in dataset.runs()] == [[0, 2, 3, 4]] * 2
    for index, truth in zip(range(4), (plain[n] for n in (0, 2, 3, 4)), strict=True):
        sample = dataset[index]
        check_sample(sample)
        assert sample["sequence"] == truth["sequence"]
        np.testing.assert_allclose(sample["K"][[0, 1], [0, 1]] / 48, 480 / 224, rtol=1e-5)  # not scaled, 48 pixels wide
        np.testing.assert_allclose(sample["keypoints_2d"] - sample["joints_2d"], np.tile([2, 0], (21, 1)), atol=1e-3)
        # both cameras hold: the weak one exactly, and the pinhole at the hand's distance
        weak = sample["weak_scale"] * sample["joints_3d"][:, :2] + sample["weak_transl"]
        np.testing.assert_allclose(weak, sample["joints_2d"], atol=1e-3)
        rays = sample["joints_3d"] @ sample["K"].T
        assert np.abs(rays[:, :2] / rays[:, 2:] - sample["joints_2d"]).max() < 6
        assert abs(sample["joints_3d"][:, 2].mean() - 480 / 224 * 48 / truth["weak_scale"]) < 0.1
        moved = sample["joints_3d"] - sample["joints_3d"][:1]
        np.testing.assert_allclose(moved, truth["joints_3d"] - truth["joints_3d"][:1], atol=1e-6)


def test_pinhole_cameras_are_kept(tmp_path: Path, seen: list[str]) -> None:
    sources = [
        NamedDataset(name="stb", root=write_stb(tmp_path / "stb", frames=4), split="test"),
        NamedDataset(name="freihand", root=write_freihand(tmp_path / "freihand"), options={"hand": "open"}),
    ]
    dataset = gathered(tmp_path / "out", *sources)[0].dataset
    assert set(dataset.sources.tolist()) == {"stb", "freihand"}
    for index in range(len(dataset)):
        sample = dataset[index]
        check_sample(sample)
        assert sample["joints_2d_valid"].all()
        rays = sample["joints_3d"] @ sample["K"].T
        np.testing.assert_allclose(rays[:, :2] / rays[:, 2:], sample["joints_2d"], atol=0.02)
        assert bool(sample["sequence"]) == (sample["dataset"] == "stb")


def test_pieces_do_not_cut_a_sequence(tmp_path: Path, seen: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "SAMPLES_A_PIECE", 3)
    root = write_sequences(tmp_path / "seqhand", shards=1, each=1, frames=8)
    dataset = gathered(tmp_path / "out", NamedDataset(name="seqhand", root=root, split="val"))[0].dataset
    assert len(list((tmp_path / "out").iterdir())) == 3
    assert [len(rows) for rows in dataset.runs()] == [7]


def test_pictures_missing_once_are_looked_for_again(tmp_path: Path, seen: list[str]) -> None:
    root = write_stb(tmp_path / "stb", frames=4)
    source = NamedDataset(name="stb", root=root, split="test")
    missing = root / "B1Counting" / "BB_left_3.png"
    content = missing.read_bytes()
    missing.unlink()
    result, errors = gathered(tmp_path / "out", source)
    assert result.total.left_out["failed"] == len(errors) == 1
    assert "BB_left_3.png" in errors[0]
    missing.write_bytes(content)
    again, errors = gathered(tmp_path / "out", source)
    assert errors == []
    assert again.total.usable == result.total.usable + 1
    count = len(seen)
    gathered(tmp_path / "out", source)
    assert len(seen) == count


def test_the_side_that_was_not_asked_for(tmp_path: Path, seen: list[str]) -> None:
    sources = [
        NamedDataset(name="stb", root=write_stb(tmp_path / "stb", frames=4), split="test"),
        NamedDataset(name="freihand", root=write_freihand(tmp_path / "freihand"), options={"hand": "open"}),
    ]
    result, _ = gathered(tmp_path / "out", *sources, hands="right")
    assert set(result.dataset.sources.tolist()) == {"freihand"}
    assert result.counts["stb"].left_out["other hand"] == 6


def test_mediapipe_follows_the_built_in_clip(tmp_path: Path) -> None:
    pytest.importorskip("mediapipe", reason="needs the extra handkit[mediapipe]")
    clip = make_clip(tmp_path / "clip", frames=8)
    frame = next(iter(VideoReader(clip))).image
    (tmp_path / "photos").mkdir()
    write_image(tmp_path / "photos/hand.png", frame)
    write_image(tmp_path / "photos/mirrored.png", np.ascontiguousarray(frame[:, ::-1]))
    write_image(tmp_path / "photos/plain.png", np.full((120, 160, 3), 90, np.uint8))
    result, errors = gathered(tmp_path / "out", clip, tmp_path / "photos", focal=620.0)
    assert errors == []
    assert result.counts[clip.stem].to_json()["usable"] == 8
    assert result.counts["photos"].to_json()["left_out"]["no hand"] == 1
    dataset = result.dataset
    with np.load(clip.parent / "truth.npz") as truth:
        joints, K = truth["joints_2d"], truth["K"]
    for index in range(8):
        sample = dataset[index]
        check_sample(sample)
        rays = np.c_[sample["keypoints_2d"], np.ones(21)] @ np.linalg.inv(sample["K"]).T
        off = np.linalg.norm((rays @ K.T)[:, :2] - joints[index], axis=1).mean()
        assert off < 0.1 * np.ptp(joints[index], axis=0).max()
    assert [bool(dataset[n]["is_right"]) for n in range(10)] == [True] * 9 + [False]


def test_mediapipe_on_a_data_sets_picture(tmp_path: Path, realdata: Path) -> None:
    pytest.importorskip("mediapipe", reason="needs the extra handkit[mediapipe]")
    root = realdata / "annotated" / "snap_real"
    source = NamedDataset(name="images", root=root / "00000.jpg")
    result, _ = gathered(tmp_path / "out", source)
    assert result.total.usable == 1
    sample = result.dataset[0]
    assert sample["keypoints_2d_valid"]
    assert not sample["joints_2d_valid"].any()
    assert not sample["is_right"]
