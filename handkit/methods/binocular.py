"""Self-supervision from pairs of views: a network that says x and y learns, a frozen hand prior holds it at first.

A batch is that of `handkit.data.binocular_batches`: rows are right views, then the left views of the same hands; with
the number of its step beside, from which the prior's weight follows.
"""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple, cast

import torch
from torch import Tensor

from handkit.data.sample import float_images
from handkit.data.staged_batches import Batch, BatchSource
from handkit.hand.model import HandModel
from handkit.methods.binocular_loss import BinocularLoss
from handkit.methods.binocular_measures import defined, measure_agreement, measure_truth
from handkit.methods.binocular_views import place_pairs
from handkit.methods.handnet import HeldOutBatches
from handkit.nets.lixel import LixelNetwork, LixelOutput, without_depth
from handkit.train import Place

NAME: Final = "binocular"
SELECTION: Final = "unlabelled_loss"


class PairEstimate(NamedTuple):
    """What the network and the frozen prior say of all rows of a batch."""

    said: LixelOutput
    prior: LixelOutput


class BinocularMethod:
    """What `handkit.train.train` asks for: the prior without its depth learns from pairs, the prior itself stays.

    The pull to the prior falls from its weight at step 0 to nothing at step `pull_ends` (None: it stays);
    `accumulate` batches make a step. The best weights are those of the least sum of the terms without labels, the
    prior's pull not among them. `shown` holds the first held-out batch and what was last said of it, for previews.
    """

    def __init__(
        self,
        prior: LixelNetwork,
        hand: HandModel,
        *,
        objective: BinocularLoss,
        pull_ends: int | None,
        accumulate: int = 1,
        source: BatchSource,
        held_out: HeldOutBatches,
        learned_from: dict[str, Any],
    ) -> None:
        network = without_depth(prior)
        self.name, self.selection = NAME, SELECTION
        self._described = network.describe()
        self._groups = [{"params": list(network.parameters())}]
        self.network: torch.nn.Module = network
        self.prior = prior.eval().requires_grad_(False)
        self.hand, self.objective, self.size = hand, objective, objective.size
        self.pull_ends, self.accumulate = pull_ends, accumulate
        self.source, self.held_out = source, held_out
        self._learned_from = {"hand": hand.name, "size": self.size, **learned_from}
        self.shown: tuple[Batch, PairEstimate] | None = None

    def parameter_groups(self) -> list[dict[str, Any]]:
        return self._groups

    def batches(self, start: int, place: Place) -> Iterator[Batch]:
        for number, batch in enumerate(self.source.batches(start, place), start):
            yield {**batch, "step": number // self.accumulate}

    def step(self, batch: Batch) -> tuple[dict[str, Tensor], PairEstimate]:
        found = self.estimate(batch)
        return self.objective(found.said.points, found.prior, batch, pulled=self.pulled(batch["step"])), found

    def pulled(self, step: int) -> float:
        """The share of the prior's weight at a step."""
        return 1.0 if self.pull_ends is None else max(0.0, 1 - step / self.pull_ends)

    def validation_batches(self, place: Place) -> Iterator[Batch]:
        self.shown = None
        return self.held_out.batches(place)

    def validate(self, batch: Batch) -> dict[str, Tensor]:
        """The loss of the whole batch for each pair of it, what views agree in, and errors where there is a truth."""
        found = self.estimate(batch)
        if self.shown is None:
            self.shown = batch, found
        terms = self.objective(found.said.points, found.prior, batch, pulled=None)
        loss = torch.stack(list(terms.values())).sum()
        pair = place_pairs(found.said.points.double(), batch, size=self.size)
        measured = measure_agreement(pair, batch, self.hand, self.objective.forms, size=self.size)
        measured |= measure_truth(pair, batch, self.hand)
        return {SELECTION: loss.expand(len(pair.right)), **defined(measured)}

    def describe(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return self._described, self._learned_from

    def estimate(self, batch: Batch) -> PairEstimate:
        """What is said of every row of a batch, in float32."""
        images = float_images(batch["image"])
        said = cast(LixelOutput, self.network(images))
        with torch.no_grad():
            prior = self.prior.to(images.device)(images)
        return PairEstimate(said._replace(points=said.points.float()), prior)
