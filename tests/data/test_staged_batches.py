"""One source of batches after another."""

from collections.abc import Iterator
from itertools import count, islice
from typing import Any

import pytest

from handkit.data.staged_batches import StagedBatches
from handkit.train import Place


class Named:
    def __init__(self, name: str) -> None:
        self.name = name

    def batches(self, start: int, place: Place) -> Iterator[dict[str, Any]]:
        for number in count(start):
            yield {"key": [f"{self.name}{number}"]}


@pytest.mark.parametrize("start", range(6))
def test_it_goes_on_from_any_number(start: int) -> None:
    staged = StagedBatches(Named("a"), Named("b"), count=3)
    found = [batch["key"][0] for batch in islice(staged.batches(start, Place()), 4)]
    assert found == ["a0", "a1", "a2", "b0", "b1", "b2", "b3", "b4", "b5"][start : start + 4]
