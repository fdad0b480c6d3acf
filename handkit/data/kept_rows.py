"""What was made of some items, in memory while there is room.

Convention: made batches have tensors [views, M, ...] of M items, their "number"s and their "key"s, one of each view.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from handkit.data.batch_numbers import Batch


class KeptRows:
    """Up to `count` items like the `first` one, in `keep_bytes` of memory."""

    def __init__(self, first: Batch, count: int, keep_bytes: int) -> None:
        self._like: Batch = {key: value for key, value in first.items() if isinstance(value, Tensor)}
        self.count = count
        self.room = min(count, keep_bytes // sum(value.nbytes for value in self._like.values()))
        # memory is taken as it is written
        self._tables = {
            key: value.new_empty((len(value), self.room, *value.shape[2:])) for key, value in self._like.items()
        }
        self._keys: dict[int, Sequence[str]] = {}
        self.places: dict[int, int] = {}
        self.add(first)

    def missing(self, wanted: Iterable[Sequence[int]]) -> Iterator[list[int]]:
        """What is to be made for each of what is `wanted`; ends where all will be kept."""
        promised = set(self.places)
        for numbers in wanted:
            if len(promised) == self.count:
                return
            asked = [number for number in dict.fromkeys(numbers) if number not in promised]
            promised.update(asked[: self.room - len(promised)])
            yield asked

    def add(self, made: Batch) -> None:
        """Keep of what was made what is not there yet, as long as there is room."""
        for row, number in enumerate(made.get("number", ())):
            if number in self.places or len(self.places) == self.room:
                continue
            place = self.places[number] = len(self.places)
            self._keys[number] = made["key"][row]
            for key, table in self._tables.items():
                table[:, place] = made[key][:, row]

    def take(self, numbers: Sequence[int], made: Sequence[Batch] = ()) -> Batch:
        """The items of `numbers`, kept ones or `made` just now: all first views, then all second ones."""
        if all(number in self.places for number in numbers):
            rows = torch.tensor([self.places[number] for number in numbers])
            batch: dict[str, Any] = {key: table.index_select(1, rows) for key, table in self._tables.items()}
            keys = [self._keys[number] for number in numbers]
        else:
            found = [self._find(number, made) for number in numbers]
            batch = {key: torch.stack([tensors[key][:, row] for tensors, row, _ in found], 1) for key in self._like}
            keys = [names for *_, names in found]
        flat = {key: value.flatten(0, 1) for key, value in batch.items()}
        return {**flat, "key": [name for view in zip(*keys, strict=True) for name in view]}

    def _find(self, number: int, made: Sequence[Batch]) -> tuple[Batch, int, Sequence[str]]:
        if number in self.places:
            return self._tables, self.places[number], self._keys[number]
        for each in made:
            if number in each.get("number", ()):
                row = each["number"].index(number)
                return each, row, each["key"][row]
        raise KeyError(number)
