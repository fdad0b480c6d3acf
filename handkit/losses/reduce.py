"""Means over what is valid."""

import torch
from torch import Tensor


def reduced(values: Tensor, valid: Tensor | None, each: bool) -> Tensor:
    """The mean over the last dimension of what is valid, then over samples."""
    if valid is None:
        return mean_of(values.mean(-1), each)
    total = torch.where(valid, values, 0.0).sum(-1)
    return mean_of(total / valid.sum(-1).clamp_min(1), each)


def mean_of(samples: Tensor, each: bool) -> Tensor:
    return samples if each else samples.mean() if samples.numel() else samples.sum()


def valid_mean(values: Tensor, valid: Tensor | None) -> Tensor:
    """The mean of all that is valid at once; 0 with a gradient of 0 where nothing is."""
    if valid is not None:
        return torch.where(valid, values, 0.0).sum() / valid.expand_as(values).sum().clamp_min(1)
    return mean_of(values.flatten(), each=False)


def precise(values: Tensor) -> Tensor:
    """In float32 or better."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def apart(pred: Tensor, target: Tensor, valid: Tensor | None) -> Tensor:
    """pred - target, 0 where not valid whatever stands there; in float32 or better, since squares overflow half."""
    pred = precise(pred)
    gap = pred - target.to(pred.dtype)
    return gap if valid is None else torch.where(valid, gap, 0.0)
