"""Validating: every process measures its share, and all know the whole."""

from typing import Any

import torch
from lightning.fabric import Fabric
from lightning.fabric.wrappers import _FabricModule
from torch import Tensor, nn

from handkit.errors import HandkitError
from handkit.train.method import Method
from handkit.train.place import gather, place_of
from handkit.train.state import generators_kept


def validate(method: Method, network: nn.Module, fabric: Fabric) -> dict[str, float]:
    """Mean of every metric over the samples where it is defined, and the count of samples; the same on every process.

    `network` is measured in the place of the method's, in evaluation mode and in the precision of the training, without
    what joins the processes in a step: their shares may differ in length.
    """
    training, modes = method.network, [(module, module.training) for module in network.modules()]
    method.network = _FabricModule(network, fabric.strategy, original_module=network).eval()
    values: dict[str, list[Tensor]] = {}
    try:
        with torch.no_grad(), generators_kept():
            for batch in method.validation_batches(place_of(fabric)):
                for name, value in method.validate(fabric.to_device(batch)).items():
                    values.setdefault(name, []).append(value.detach().double().cpu().flatten())
    finally:
        method.network = training
        for module, mode in modes:
            module.training = mode
    return _means(gather(fabric, {name: torch.cat(parts) for name, parts in values.items()}), method.selection)


def _means(shares: list[dict[str, Any]], selection: str) -> dict[str, float]:
    names = dict.fromkeys(name for share in shares for name in share)
    if selection not in names:
        raise HandkitError(f"the validation has no sample with {selection}", "give it at least one")
    joined = {name: torch.cat([share[name] for share in shares if name in share]) for name in names}
    metrics = {name: float(value.nanmean()) for name, value in joined.items()}
    return metrics | {"samples": float(max(len(value) for value in joined.values()))}
