"""One source of batches after another."""

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from handkit.train import Place

Batch = dict[str, Any]


class BatchSource(Protocol):
    """Where batches come from, without end from number `start` on."""

    def batches(self, start: int, place: "Place") -> Iterator[Batch]: ...


class StagedBatches:
    """The first `count` batches of one source, then those of another from its own number 0 on."""

    def __init__(self, early: BatchSource, late: BatchSource, *, count: int) -> None:
        self.early, self.late, self.count = early, late, count

    def batches(self, start: int, place: "Place") -> Iterator[Batch]:
        """This process's rows of the batches from number `start` on."""
        if start < self.count:
            yield from islice(self.early.batches(start, place), self.count - start)
        yield from self.late.batches(max(0, start - self.count), place)
