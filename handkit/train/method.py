"""What is trained, as the loop sees it."""

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from torch import Tensor, nn

from handkit.train.place import Place

Batch = Any  # what the method's `batches` gives: tensors, or tuples and dicts of them


class Method(Protocol):
    """What is trained.

    `network` is replaced by the loop's own wrapper of it while it trains, and in a validation by the weights that are
    validated: it is to be called, by the attribute. `selection` is the validation metric whose least mean marks the
    best weights.
    """

    name: str
    selection: str
    network: nn.Module

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The optimiser's groups, of the network's parameters; what is in none does not learn.

        A group's own `lr` and `weight_decay` go before the recipe's. Every parameter has a part in every step's loss.
        """

    def batches(self, start: int, place: Place) -> Iterator[Batch]:
        """This process's share of batches without end, from number `start` on.

        A number always gives the same batch, however many processes share it; each has the rows `place.share(rows)`.
        A dict's "image" [..., 3, H, W] is counted as pictures; its "key" names the samples in errors.
        """

    def step(self, batch: Batch) -> tuple[dict[str, Tensor], Any]:
        """Loss terms with their weights in, whose sum is the loss, and the predictions; always the same terms."""

    def validation_batches(self, place: Place) -> Iterable[Batch]:
        """This process's share of a validation, always the same: `place.own(batches)`, perhaps none."""

    def validate(self, batch: Batch) -> dict[str, Tensor]:
        """Metrics, one value per sample, NaN where undefined; a name ends in its unit."""

    def describe(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """What rebuilds the network, and what it learns from (`CheckpointInfo.network`, `.data`)."""
