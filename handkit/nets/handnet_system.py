"""HandNets from their arguments and from checkpoints."""

import inspect
import logging
from collections.abc import Mapping
from os import PathLike
from typing import Any

from handkit.checkpoint import CheckpointInfo, read_checkpoint
from handkit.errors import HandkitError
from handkit.nets.backbones import WeightsPath
from handkit.nets.build import nearest, rebuild, words_of_network
from handkit.nets.handnet import NAME, HandNet
from handkit.nets.handnet_parts import INTEGRAL, PLAIN

logger = logging.getLogger("handkit")

_TRAIN = "give a checkpoint of `handkit pretrain handnet --out DIR`"


def build_handnet(*, backbone_weights: WeightsPath | None = None, **arguments: Any) -> HandNet:
    """An untrained network; `arguments` are those of `HandNet`.

    `backbone_weights` is torchvision's ImageNet state dict, .pth or .safetensors; without it the backbone is random,
    which is logged where there could be one. Raises HandkitError for an unknown argument or value, or a file of another
    network.
    """
    network = _construct(arguments, backbone_weights)
    if backbone_weights is None and network.backbone not in (*PLAIN, INTEGRAL):
        said = "the backbone %s starts random: give torchvision's ImageNet weights if you have them"
        logger.warning(said, network.backbone)
    return network


def load_handnet(path: str | PathLike[str]) -> tuple[HandNet, CheckpointInfo]:
    """A checkpoint's network in evaluation mode, on the CPU in float32, and what the checkpoint says of itself.

    Raises HandkitError where the file is damaged or holds another kind of network.
    """
    info, state = read_checkpoint(path)
    arguments = dict(info.network)
    name = arguments.pop("name", None)
    if name != NAME:
        raise HandkitError(f"{path} is {words_of_network(name)}, no HandNet", _TRAIN)
    return rebuild(path, state, lambda: _construct(arguments, None)), info


def _construct(arguments: Mapping[str, Any], weights: WeightsPath | None) -> HandNet:
    known = [name for name in inspect.signature(HandNet).parameters if name != "backbone_weights"]
    for argument in arguments:
        if argument not in known:
            raise HandkitError(f"HandNet has no argument {argument!r}", nearest(argument, known))
    return HandNet(**arguments, backbone_weights=weights)
