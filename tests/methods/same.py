"""One batch as a source of batches."""

from collections.abc import Iterator
from typing import Any

from handkit.train import Place


class Same:
    """One batch, for ever to learn from, and once in a validation."""

    def __init__(self, batch: dict[str, Any]) -> None:
        self.batch = batch

    def batches(self, *given: Any) -> Iterator[dict[str, Any]]:
        while True:
            yield self.batch
            if isinstance(given[0], Place):  # a validation
                return
