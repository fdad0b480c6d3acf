"""Shares of batches, and where a process stands."""

import pytest
import torch

from handkit.errors import HandkitError
from handkit.train import Place, TrainRecipe, is_first_process
from handkit.train.place import launch


def test_shares_make_the_whole() -> None:
    rows = list(range(12))
    places = [Place(rank, 3) for rank in range(3)]
    assert [row for place in places for row in rows[place.share(12)]] == rows
    assert [list(place.own(range(5))) for place in places] == [[0, 3], [1, 4], [2]]
    assert Place().share(5) == slice(0, 5)
    assert Place().device == torch.device("cpu")
    with pytest.raises(HandkitError, match="a batch of 10 cannot be shared out over 3 processes") as caught:
        places[1].share(10)
    assert "a batch that 3 divides" in caught.value.fix


def test_the_first_process_is_told_by_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    assert is_first_process()
    monkeypatch.setenv("RANK", "3")
    assert not is_first_process()
    assert [place.is_first for place in (Place(0, 2), Place(1, 2))] == [True, False]


def test_more_processes_than_devices_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "GROUP_RANK", "LOCAL_RANK", "TORCHELASTIC_RUN_ID"):
        monkeypatch.setenv(name, "0")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    monkeypatch.setenv("WORLD_SIZE", "8")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(HandkitError, match="4 processes, but 2 CUDA devices") as caught:
        launch("auto", TrainRecipe(steps=1).precision)
    assert "--nproc-per-node 2" in caught.value.fix
