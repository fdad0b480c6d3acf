"""Numbered batches: rows, ranks, workers, what workers raise, epochs."""

import itertools
from typing import Any

import pytest
import torch

from handkit.data.batch_numbers import EpochOrder, check_batch, load_numbered
from handkit.errors import HandkitError
from handkit.train import Place
from tests.data.numbered import numbered


def two_rows(start: int, workers: int = 0, place: Place | None = None) -> list[dict[str, Any]]:
    loaded = load_numbered(numbered, batch=4, start=start, place=place or Place(), workers=workers)
    return list(itertools.islice(loaded, 5))


def test_batches_follow_their_numbers_from_any_start() -> None:
    first = two_rows(0)
    assert [batch["at"].tolist() for batch in first] == [list(range(4 * n, 4 * n + 4)) for n in range(5)]
    assert two_rows(3)[0]["at"].tolist() == [12, 13, 14, 15]
    assert isinstance(first[0]["kinds"]["flag"], torch.Tensor)


def test_processes_share_the_rows() -> None:
    whole = two_rows(2)
    shares = [two_rows(2, place=Place(rank, 2)) for rank in range(2)]
    for batch, *parts in zip(whole, *shares, strict=True):
        assert torch.equal(batch["at"], torch.cat([part["at"] for part in parts]))
    with pytest.raises(HandkitError, match="4 cannot be shared out over 3"):
        two_rows(0, place=Place(1, 3))


def test_workers_change_nothing_and_their_errors_arrive() -> None:
    loaded = load_numbered(numbered, batch=4, start=2, place=Place(), workers=2)
    for batch, known in zip(itertools.islice(loaded, 5), two_rows(2), strict=True):
        assert batch.keys() == known.keys()
        assert batch["key"] == known["key"]
        pairs = [(batch[name], known[name]) for name in ("at", "large")]
        pairs += [(batch["kinds"][name], right) for name, right in known["kinds"].items()]
        for found, right in pairs:
            assert torch.equal(found, right)
            assert found.dtype == right.dtype
        memory = {found.untyped_storage().data_ptr() for found, _ in pairs if found.numel()}
        assert len(memory) == 1  # one piece, which can be pinned and freed as a whole
        batch["large"] += 1  # belongs to the reader
    with pytest.raises(HandkitError, match="nothing is at 4") as raised:
        list(itertools.islice(loaded, 10))
    assert raised.value.fix == "stop before"


def test_epochs_give_everything_once_in_orders_of_their_own() -> None:
    order = EpochOrder(7, seed=3)
    epochs = [[order[place] for place in range(7 * epoch, 7 * epoch + 7)] for epoch in range(4)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert epochs[2] == [EpochOrder(7, seed=3)[place] for place in range(14, 21)]
    assert epochs[0] != [EpochOrder(7, seed=4)[place] for place in range(7)]
    assert [EpochOrder(3, seed=None)[place] for place in range(7)] == [0, 1, 2, 0, 1, 2, 0]


@pytest.mark.parametrize("count", [8, 7])
def test_neighbours_stay_together(count: int) -> None:
    order = EpochOrder(count, seed=3, together=2)
    epochs = [[order[place] for place in range(count * epoch, count * (epoch + 1))] for epoch in range(3)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(count))
        assert all(epoch.index(item + 1) == epoch.index(item) + 1 for item in range(0, count - 1, 2))
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_batches_larger_than_the_data_are_refused() -> None:
    check_batch(7, 7, "sequences")
    check_batch(7, None, "sequences")
    with pytest.raises(HandkitError, match="a batch of 8 sequences is larger than the data, 7"):
        check_batch(8, 7, "sequences")
    with pytest.raises(HandkitError, match="a batch of 0 sequences"):
        check_batch(0, None, "sequences")
