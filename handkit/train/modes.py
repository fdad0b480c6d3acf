"""Which layers of a network follow the training, and the normalisation layers' statistics."""

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from handkit.train.place import add_up
from handkit.train.recipe import TrainRecipe


def prepare_network(network: nn.Module, recipe: TrainRecipe, fabric: Fabric) -> nn.Module:
    """The network with the recipe's memory format and, over several CUDA devices, normalisation."""
    if recipe.sync_norm and fabric.world_size > 1 and fabric.device.type == "cuda":
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
    for parameter in network.parameters() if recipe.channels_last else ():
        if parameter.ndim == 4:  # Module.to would refuse a network that has 3D convolutions too
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return network


def freeze_others(network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Let only the optimiser's parameters learn."""
    learning = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    for parameter in network.parameters():
        parameter.requires_grad_(id(parameter) in learning)


def resting_modules(network: nn.Module, *, norm: str) -> list[nn.Module]:
    """The modules that stay in evaluation mode: those with parameters of which none learns, so that their statistics
    stay too; with `norm` "eval" every normalisation layer."""
    resting = []
    for module in network.modules():
        learns = [parameter.requires_grad for parameter in module.parameters()]
        if (learns and not any(learns)) or (norm == "eval" and isinstance(module, _NormBase)):
            resting.append(module)
    return resting


def share_statistics(network: nn.Module, fabric: Fabric) -> None:
    """Give every process the mean of the running statistics that they took of their own rows."""
    if fabric.world_size == 1:
        return
    own: list[Tensor] = []
    for module in network.modules():
        if isinstance(module, _NormBase) and not isinstance(module, nn.SyncBatchNorm) and module.training:
            own += [value for value in (module.running_mean, module.running_var) if value is not None]
    if own:
        shared = add_up(fabric, torch.cat([value.flatten() for value in own])) / fabric.world_size
        for value, part in zip(own, shared.split([value.numel() for value in own]), strict=True):
            value.copy_(part.view_as(value))
