import logging
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from handkit.data.crops import HandCrops
from handkit.data.freihand import FreiHand
from handkit.data.registry import build_dataset
from handkit.data.stb import Stb
from handkit.data.still_batches import MixedOrder, StillBatches, fixed_stills
from handkit.errors import HandkitError
from handkit.losses import mask_distance_px
from handkit.train import Place
from tests.data.making import write_sequences
from tests.data.trees import write_freihand, write_stb

SIZE = 32


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stills")
    write_freihand(folder / "freihand")
    write_stb(folder / "stb")
    write_sequences(folder / "seqhand", shards=1)
    return folder


def sources(folder: Path) -> list[tuple[HandCrops, float]]:
    freihand = FreiHand(folder / "freihand", "training", hand="open")
    stb = Stb(folder / "stb", root_joint="palm")
    generated = build_dataset("seqhand", folder / "seqhand")
    weighted = ((freihand, 2.0), (stb, 1.0), (generated, 1.0))
    return [(HandCrops(dataset, size=SIZE, rotate_deg=20), weight) for dataset, weight in weighted]


def first(batches: StillBatches, count: int, start: int = 0, place: Place | None = None) -> list[dict[str, Any]]:
    return list(islice(batches.batches(start, place or Place()), count))


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one.keys() == other.keys()
    for key, value in one.items():
        same = torch.equal(value, other[key]) if isinstance(value, torch.Tensor) else value == other[key]
        assert same, key


def test_batches_are_sequences_of_one_frame(folder: Path) -> None:
    batches = first(StillBatches(sources(folder), batch=6, seed=1, mask_distance=True), 4)
    seen = set()
    for batch in batches:
        assert batch["image"].shape == (6, 1, 3, SIZE, SIZE)
        assert batch["image"].dtype == torch.uint8
        assert batch["joints_3d"].shape == (6, 1, 21, 3)
        assert batch["root_is_palm"].shape == (6, 1)
        for row, key in enumerate(batch["key"]):
            name = key.partition("/")[0]
            seen.add(name)
            assert key == f"{batch['dataset'][row][0]}/{batch['name'][row][0]}"
            assert bool(batch["root_is_palm"][row, 0]) == (name == "stb")
            mask = batch["mask"][row, 0].numpy() > 0
            assert bool(batch["mask_valid"][row, 0]) == (name != "stb")
            assert mask.any() or name != "freihand"
            # OpenCV's last digit depends on where in memory a mask lies
            np.testing.assert_allclose(batch["mask_distance"][row, 0], mask_distance_px(mask), rtol=1e-6)
    assert seen == {"freihand", "stb", "seqhand-val"}
    assert "mask_distance" not in first(StillBatches(sources(folder), batch=2), 1)[0]


def test_a_number_gives_the_same_batch(folder: Path) -> None:
    whole = first(StillBatches(sources(folder), batch=4, seed=3), 5)
    (later,) = first(StillBatches(sources(folder), batch=4, seed=3), 1, start=4)
    assert_same(whole[4], later)
    halves = [first(StillBatches(sources(folder), batch=4, seed=3), 2, 1, Place(rank, 2))[1] for rank in (0, 1)]
    for rank, half in enumerate(halves):
        rows = slice(2 * rank, 2 * rank + 2)
        assert_same({key: value[rows] for key, value in whole[2].items()}, half)
    other = first(StillBatches(sources(folder), batch=4, seed=4), 1)[0]
    assert other["key"] != whole[0]["key"] or not torch.equal(other["image"], whole[0]["image"])
    with pytest.raises(HandkitError, match="a batch of 4 cannot be shared out over 3"):
        first(StillBatches(sources(folder), batch=4), 1, 0, Place(0, 3))


def test_workers_change_nothing(folder: Path) -> None:
    alone = first(StillBatches(sources(folder), batch=3, seed=2), 3, start=1)
    helped = first(StillBatches(sources(folder), batch=3, seed=2, workers=1), 3, start=1)
    for one, other in zip(alone, helped, strict=True):
        assert_same(one, other)


def test_epochs_and_shares() -> None:
    order = MixedOrder([5, 8], [3, 1], seed=0)
    drawn = [order[place] for place in range(4000)]
    share = np.mean([source == 0 for source, _ in drawn])
    assert abs(share - 0.75) < 0.03
    for source, count in ((0, 5), (1, 8)):
        items = [item for which, item in drawn if which == source]
        epochs = [items[at : at + count] for at in range(0, len(items) - count + 1, count)]
        assert all(sorted(epoch) == list(range(count)) for epoch in epochs)
        assert len({tuple(epoch) for epoch in epochs}) > 20
    afresh = MixedOrder([5, 8], [3, 1], seed=0)
    assert [afresh[place] for place in (3999, 17, 2047, 2048)] == [drawn[place] for place in (3999, 17, 2047, 2048)]
    assert [MixedOrder([5, 8], [3, 1], seed=1)[place] for place in range(50)] != drawn[:50]


def test_no_picture_has_the_same_crop_twice(folder: Path) -> None:
    (crops, _), *_ = sources(folder)
    batch = first(StillBatches([(HandCrops(crops.dataset, size=SIZE, rows=[0]), 1.0)], batch=4), 1)[0]
    assert set(batch["key"]) == {"freihand/00000000"}
    assert len(torch.unique(batch["joints_2d"], dim=0)) == 4


def test_pictures_that_cannot_be_read(folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = write_stb(tmp_path / "stb", frames=3)
    (root / "B1Counting" / "BB_left_1.png").write_bytes(b"no picture")
    stills = StillBatches([(HandCrops(Stb(root), size=SIZE), 1.0)], batch=6)
    with caplog.at_level(logging.WARNING):
        batches = first(stills, 3)
    counts = Counter(key for batch in batches for key in batch["key"])
    assert counts.pop("stb/B1Counting/BB_left_2") == 6
    assert set(counts.values()) == {3}
    assert "stb/B1Counting/BB_left_1" not in counts
    assert stills.skipped == 3
    said = [record.getMessage() for record in caplog.records if "BB_left_1.png" in record.getMessage()]
    assert len(said) == 1
    assert all("failures" not in batch for batch in batches)
    for image in (root / "B1Counting").iterdir():
        image.unlink()
    for image in (root / "B1Random").iterdir():
        image.unlink()
    with pytest.raises(HandkitError, match=r"6 pictures in a row cannot be used; the last: .*png does not exist"):
        first(stills, 1)


def test_fixed_stills(folder: Path) -> None:
    crops = [each for each, _ in sources(folder)]
    batches = list(fixed_stills(crops, count=9, batch=4, mask_distance=True))
    keys = [key for batch in batches for key in batch["key"]]
    assert [len(batch["key"]) for batch in batches] == [4, 4, 1]
    assert len(set(keys)) == 9
    assert Counter(key.partition("/")[0] for key in keys) == {"freihand": 3, "stb": 3, "seqhand-val": 3}
    assert keys[:3] == ["freihand/00000000", "freihand/00000004", "freihand/00000007"]
    np.testing.assert_array_equal(batches[0]["image"][0, 0], crops[0].crop(0)["image"])
    shared = [list(fixed_stills(crops, count=9, batch=4, place=Place(rank, 2))) for rank in (0, 1)]
    assert [len(own) for own in shared] == [2, 1]
    np.testing.assert_array_equal(shared[1][0]["image"], batches[1]["image"])


def test_what_is_refused(folder: Path) -> None:
    (crops, _), (other, _), _ = sources(folder)
    with pytest.raises(HandkitError, match="weights"):
        StillBatches([(crops, 0.0)], batch=1)
    with pytest.raises(HandkitError, match="weights"):
        StillBatches([], batch=1)
    with pytest.raises(HandkitError, match="crops of 32 and 48 pixels"):
        StillBatches([(crops, 1.0), (HandCrops(other.dataset, size=48), 1.0)], batch=1)
    with pytest.raises(HandkitError, match="no pictures"):
        StillBatches([(HandCrops(other.dataset, size=SIZE, rows=[]), 1.0)], batch=1)
