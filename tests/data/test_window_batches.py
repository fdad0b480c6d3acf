from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from handkit.data.color_jitter import ColorJitter
from handkit.data.crops import HandCrops
from handkit.data.detected import DetectedHands
from handkit.data.still_batches import StillBatches
from handkit.data.window_batches import WindowBatches, fixed_windows
from handkit.errors import HandkitError
from handkit.train import Place
from tests.data.patches import patch, sequence_of, write_hands

SIZE = 32


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> DetectedHands:
    """Three right hands of 40, 12 and 7 frames, a left one, one too short, and a still."""
    folder = tmp_path_factory.mktemp("windows")
    lengths = {"a": 40, "b": 12, "c": 7, "short": 3}
    hands = [each for name, length in lengths.items() for each in sequence_of(name, range(length))]
    hands += [*sequence_of("left", range(9), is_right=False), patch("still.jpg")]
    return DetectedHands([write_hands(folder / "a.patches", hands)])


def batches_of(dataset: DetectedHands, **options: Any) -> WindowBatches:
    usual = {"sequences": 4, "frames": 3, "interval": 3, "size": SIZE, "rotate_deg": 60.0, "scale_jitter": 0.2}
    return WindowBatches(dataset, **{**usual, **options})


def first(batches: WindowBatches, count: int, start: int = 0, place: Place | None = None) -> list[dict[str, Any]]:
    return list(islice(batches.batches(start, place or Place()), count))


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one.keys() == other.keys()
    for key, value in one.items():
        same = torch.equal(value, other[key]) if isinstance(value, torch.Tensor) else value == other[key]
        assert same, key


def test_batches_are_windows(dataset: DetectedHands) -> None:
    batches = batches_of(dataset)
    assert len(batches) == 34 + 6 + 1 + 3
    assert batches.length == (40 + 12 + 3 + 9) // 12
    for batch in first(batches, 5):
        assert batch["image"].shape == (4, 3, 3, SIZE, SIZE)
        assert batch["image"].dtype == torch.uint8
        assert batch["joints_3d"].shape == (4, 3, 21, 3)
        assert batch["is_right"].all()
        assert (batch["frame"].diff(dim=1) == 3).all()
        for row, places in enumerate(batch["places"].tolist()):
            assert dataset.frames[places].tolist() == batch["frame"][row].tolist()
            assert batch["key"][row] == f"clips/{dataset[places[0]]['name']}"
            assert len(set(batch["sequence"][row])) == 1


def test_each_sequence_is_as_likely(dataset: DetectedHands) -> None:
    batches = batches_of(dataset, sequences=8, size=8)
    seen: Counter[str] = Counter()
    starts = set()
    for batch in first(batches, 50):
        seen.update(sequence[0] for sequence in batch["sequence"])
        starts |= {
            int(frame) for frame, name in zip(batch["frame"][:, 0], batch["sequence"], strict=True) if name[0] == "a"
        }
    assert set(seen) == {"a", "b", "c", "left"}
    assert all(70 < count < 130 for count in seen.values())  # of 400, binomial with deviation 8.7
    assert len(starts) > 25


def test_a_number_gives_the_same_batch_whatever_the_workers_and_processes(dataset: DetectedHands) -> None:
    whole = first(batches_of(dataset, seed=3), 4)
    assert_same(whole[3], first(batches_of(dataset, seed=3), 1, start=3)[0])
    for rank in (0, 1):
        half = first(batches_of(dataset, seed=3), 1, 2, Place(rank, 2))[0]
        assert_same({key: value[2 * rank : 2 * rank + 2] for key, value in whole[2].items()}, half)
    for one, other in zip(whole[1:3], first(batches_of(dataset, seed=3, workers=1), 2, start=1), strict=True):
        assert_same(one, other)
    assert not torch.equal(first(batches_of(dataset, seed=4), 1)[0]["K"], whole[0]["K"])


def test_frames_of_a_window_are_varied_alike(tmp_path: Path) -> None:
    hands = [patch(f"{f}", sequence="a", frame=f) for f in range(0, 10)]  # one hand, standing still
    dataset = DetectedHands([write_hands(tmp_path / "a", hands)])
    options = {"color_jitter": ColorJitter(), "sequences": 6}
    batch = first(batches_of(dataset, **options), 1)[0]
    for key in ("K", "keypoints_2d", "joints_3d"):
        assert (batch[key] == batch[key][:, :1]).all(), key
        assert len(torch.unique(batch[key][:, 0], dim=0)) == 6, key
    # frames are one grey level apart each, so three in a window, and their outsides are alike
    levels = batch["image"].float().mean(dim=(2, 3, 4)).diff(dim=1)
    assert (levels.abs() < 6).all()


def test_shifts_are_relative_to_each_hand(tmp_path: Path) -> None:
    hands = sequence_of("a", range(10))
    dataset = DetectedHands([write_hands(tmp_path / "a", hands)])
    window = first(batches_of(dataset, sequences=1, rotate_deg=0.0), 1)[0]
    bbox = window["bbox"][0]
    side = (bbox[:, 2:] - bbox[:, :2]).max(dim=1).values
    torch.testing.assert_close(side, side[:1].expand(3), rtol=1e-4, atol=1e-3)
    centered = first(batches_of(dataset, sequences=1, rotate_deg=0.0, reposition=0.0), 1)[0]["bbox"][0]
    torch.testing.assert_close((centered[:, :2] + centered[:, 2:]) / 2, torch.full((3, 2), SIZE / 2))


def test_K_and_points_follow_the_picture(dataset: DetectedHands) -> None:
    for batch in first(batches_of(dataset, seed=1), 3):
        points = batch["joints_3d"] @ batch["K"].mT
        torch.testing.assert_close(points[..., :2] / points[..., 2:], batch["joints_2d"], rtol=1e-3, atol=2e-3)


def test_left_hands_come_as_right_ones(dataset: DetectedHands) -> None:
    rows = np.flatnonzero([not dataset[i]["is_right"] for i in range(len(dataset))])
    batch = next(fixed_windows(dataset.subset(rows), count=2, frames=3, interval=3, size=SIZE, batch=2))
    plain = dataset[int(rows[0])]
    assert batch["is_right"].all()
    np.testing.assert_allclose(batch["joints_3d"][0, 0].numpy(), plain["joints_3d"] * (-1, 1, 1), rtol=1e-5)


def test_fixed_windows_are_spread_and_centred(dataset: DetectedHands) -> None:
    options: dict[str, Any] = {"count": 5, "frames": 3, "interval": 3, "size": SIZE, "batch": 2}
    batches = list(fixed_windows(dataset, **options))
    assert [len(batch["key"]) for batch in batches] == [2, 2, 1]
    windows = dataset.windows(3, 3)
    places = torch.cat([batch["places"] for batch in batches]).numpy()
    np.testing.assert_array_equal(places, windows[[0, 11, 22, 32, 43]])
    center = (batches[0]["bbox"][..., :2] + batches[0]["bbox"][..., 2:]) / 2
    torch.testing.assert_close(center, torch.full_like(center, SIZE / 2))
    shares = [list(fixed_windows(dataset, **options, place=Place(rank, 2))) for rank in (0, 1)]
    assert [len(share) for share in shares] == [2, 1]
    assert_same(shares[1][0], batches[1])
    assert sum(len(batch["key"]) for batch in fixed_windows(dataset, **{**options, "count": 999})) == len(windows)


def test_too_short_videos_are_said(dataset: DetectedHands) -> None:
    text = "of 72 usable hands the longest run spans 40 frames, and 101 are needed"
    with pytest.raises(HandkitError, match=text) as caught:
        batches_of(dataset, frames=3, interval=50)
    assert "lower --set data.interval" in caught.value.fix
    still = dataset.subset([len(dataset) - 1])
    for make in (batches_of, lambda d: next(fixed_windows(d, count=1, frames=3, interval=3, size=SIZE, batch=1))):
        with pytest.raises(HandkitError, match="of 1 usable hands the longest run spans 1 frame, and 7 are needed"):
            make(still)
    with pytest.raises(HandkitError, match="a batch of 0 sequences"):
        batches_of(dataset, sequences=0)


def test_stills_of_the_same_data(dataset: DetectedHands) -> None:
    rows, _ = dataset.split(0.2)
    crops = HandCrops(dataset, size=SIZE, rotate_deg=30, rows=rows)
    batches = StillBatches([(crops, 1.0)], batch=5, seed=1, workers=1)
    batch = next(batches.batches(0, Place()))
    assert batch["image"].shape == (5, 1, 3, SIZE, SIZE)
    assert batch["is_right"].all()
    assert batch["keypoints_2d_valid"].all()
    assert_same(batch, next(StillBatches([(crops, 1.0)], batch=5, seed=1).batches(0, Place())))
