"""HandNets from their arguments and from checkpoints."""

import logging
from collections.abc import Mapping
from os import PathLike
from typing import Any

from handkit.checkpoint import CheckpointInfo
from handkit.nets.backbones import WeightsPath
from handkit.nets.build import check_arguments, load_only
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
    return load_only(path, NAME, "HandNet", _TRAIN, lambda arguments: _construct(arguments, None))


def _construct(arguments: Mapping[str, Any], weights: WeightsPath | None) -> HandNet:
    check_arguments(HandNet, arguments)
    return HandNet(**arguments, backbone_weights=weights)
