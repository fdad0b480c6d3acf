"""Random inputs, and a loss's value with its gradient."""

from collections.abc import Callable

import torch
from torch import Tensor


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gradient(loss: Callable[[Tensor], Tensor], at: Tensor) -> tuple[Tensor, Tensor]:
    at = at.clone().requires_grad_()
    value = loss(at)
    return value.detach(), torch.autograd.grad(value, at)[0]
