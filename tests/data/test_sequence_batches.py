"""Batches from shards that are written here."""

import itertools
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from handkit.data.color_jitter import ColorJitter
from handkit.data.sample import check_sample
from handkit.data.seqhand import SeqHandDataset
from handkit.data.sequence_batches import ShardBatches
from handkit.errors import HandkitError
from handkit.train import Place
from tests.data.making import write_sequences, write_tar


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six sequences of four frames."""
    return write_sequences(tmp_path_factory.mktemp("data") / "seqhand")


def take(batches: ShardBatches, count: int, start: int = 0, place: Place | None = None) -> list[dict[str, Any]]:
    return list(itertools.islice(batches.batches(start, place or Place()), count))


def keys(batches: list[dict[str, Any]]) -> list[str]:
    return [key for batch in batches for key in batch["key"]]


def test_epochs_cover_everything_and_cross_batches(folder: Path) -> None:
    batches = ShardBatches(folder, batch=4, frames=2, seed=1)
    assert len(batches) == 12
    once = ShardBatches(folder, batch=5, frames=2, seed=1)
    found = keys(take(once, 12))  # five epochs
    epochs = [found[12 * epoch : 12 * epoch + 12] for epoch in range(5)]
    known = [f"seqhand-val/{n:06d}_{first:03d}" for n in range(6) for first in (0, 2)]
    assert all(sorted(epoch) == known for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 5
    assert keys(take(batches, 3)) == epochs[0]
    assert keys(take(ShardBatches(folder, batch=4, frames=2, seed=2), 3)) != epochs[0]
    assert keys(take(once, 1, start=7)) == found[35:40]


def test_batches_hold_what_the_data_set_gives(folder: Path) -> None:
    windows = {f"seqhand-val/{one['name'][0]}": one for one in SeqHandDataset(folder, frames=2)}
    for batch in take(ShardBatches(folder, batch=3, frames=2), 2):
        for row, key in enumerate(batch["key"]):
            for name, value in windows[key].items():
                same = batch[name][row] == value if isinstance(value, list) else np.array_equal(batch[name][row], value)
                assert same, name


def test_processes_and_workers_change_nothing(folder: Path) -> None:
    batches = ShardBatches(folder, batch=4, frames=2, seed=5, mask_distance=True, color_jitter=ColorJitter())
    whole = take(batches, 3, start=2)
    shares = [take(batches, 3, 2, Place(rank, 2)) for rank in range(2)]
    sent = pickle.loads(pickle.dumps(batches._reader))  # as a worker gets it
    for number, batch in enumerate(whole):
        again = sent(range(4 * (number + 2), 4 * (number + 3)))
        for name, value in batch.items():
            parts = [share[number][name] for share in shares]
            if isinstance(value, list):
                assert value == parts[0] + parts[1] == again[name], name
            else:
                assert torch.equal(value, torch.cat(parts)), name
                assert np.array_equal(value, again[name]), name
    with pytest.raises(HandkitError, match="4 cannot be shared out over 3"):
        take(batches, 1, place=Place(0, 3))


def test_size_and_distance(folder: Path) -> None:
    (batch,) = take(ShardBatches(folder, batch=6, size=24, mask_distance=True), 1)
    assert batch["image"].shape == (6, 4, 3, 24, 24)
    assert batch["mask_distance"].shape == (6, 4, 24, 24)
    assert torch.equal(batch["mask_distance"] == 0, batch["mask"] == 1)
    frame = {key: value[0][0] if isinstance(value, list) else value[0, 0].numpy() for key, value in batch.items()}
    del frame["mask_distance"], frame["key"]
    check_sample(frame)
    shown = frame["weak_scale"] * frame["joints_3d"][:, :2] + frame["weak_transl"]
    np.testing.assert_allclose(shown, frame["joints_2d"], atol=1e-3)


def test_several_sources(folder: Path, tmp_path: Path) -> None:
    other = write_sequences(tmp_path / "other", shards=1, frames=3)
    with pytest.raises(HandkitError, match="sequences have 3 and 4 frames"):
        ShardBatches([folder, other], batch=2)
    both = ShardBatches([folder, other], batch=2, frames=3)
    assert len(both) == 8
    assert len(set(keys(take(both, 4)))) == 6  # two sequences of either have the same numbers
    assert sorted(keys(take(both, 4))).count("seqhand-val/000001_000") == 2


def test_too_little_data(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(HandkitError, match="a batch of 7 sequences is larger than the data, 6"):
        ShardBatches(folder, batch=7)
    with pytest.raises(HandkitError, match="holds no shards"):
        ShardBatches(tmp_path, batch=1)
    write_tar(tmp_path / "a.tar", [])
    with pytest.raises(HandkitError, match="a source holds no sequences"):
        ShardBatches([folder, tmp_path], batch=1)
