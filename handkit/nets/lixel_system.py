"""Lixel networks from their arguments and from checkpoints."""

import logging
from collections.abc import Mapping
from os import PathLike
from typing import Any, Final

from handkit.checkpoint import CheckpointInfo
from handkit.nets.backbones import WeightsPath
from handkit.nets.build import check_arguments, load_only
from handkit.nets.handnet_parts import PLAIN
from handkit.nets.lixel import NAME, LixelNetwork

logger = logging.getLogger("handkit")

_TRAIN: Final = "give a checkpoint of `handkit pretrain hand-prior --out DIR` or `handkit selfsup binocular --out DIR`"


def build_lixel(*, backbone_weights: WeightsPath | None = None, **arguments: Any) -> LixelNetwork:
    """An untrained network; `arguments` are those of `LixelNetwork`.

    `backbone_weights` is torchvision's ImageNet state dict, .pth or .safetensors; without it the backbone is random,
    which is logged where there could be one. Raises HandkitError for an unknown argument or value, or a file of another
    network.
    """
    network = _construct(arguments, backbone_weights)
    if backbone_weights is None and network.backbone not in PLAIN:
        said = "the backbone %s starts random: give torchvision's ImageNet weights if you have them"
        logger.warning(said, network.backbone)
    return network


def load_lixel(path: str | PathLike[str]) -> tuple[LixelNetwork, CheckpointInfo]:
    """A checkpoint's network in evaluation mode, on the CPU in float32, and what the checkpoint says of itself.

    Raises HandkitError where the file is damaged or holds another kind of network.
    """
    return load_only(path, NAME, "lixel network", _TRAIN, lambda arguments: _construct(arguments, None))


def _construct(arguments: Mapping[str, Any], weights: WeightsPath | None) -> LixelNetwork:
    check_arguments(LixelNetwork, arguments)
    return LixelNetwork(**arguments, backbone_weights=weights)
