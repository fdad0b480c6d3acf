"""The average of weights over the steps, which is validated and kept in their place."""

from copy import deepcopy
from itertools import chain

import torch
from torch import Tensor, nn


class Average:
    """An exponential moving average of a network's parameters and floating-point buffers; other buffers are copied.

    The decay begins at 2/11 and grows to `decay`, so that a short run does not keep its beginning.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = deepcopy(network).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Take in the weights after `step` steps."""
        weight = 1 - min(self.decay, (1 + step) / (10 + step))
        pairs = list(zip(_tensors(self.network), _tensors(network), strict=True))
        floats = [(own, now) for own, now in pairs if own.is_floating_point()]
        torch._foreach_lerp_([own for own, _ in floats], [now for _, now in floats], weight)
        for own, now in pairs:
            if not own.is_floating_point():
                own.copy_(now)


def _tensors(network: nn.Module) -> list[Tensor]:
    return [value.detach() for value in chain(network.parameters(), network.buffers())]
