"""torchvision's networks without their pooling and classifier, under torchvision's own parameter names."""

import logging
import pickle
from collections import OrderedDict
from os import PathLike
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from handkit.checkpoint import load_state
from handkit.errors import HandkitError

logger = logging.getLogger("handkit")

WeightsPath = str | PathLike[str]

_AFTER_THE_MAP: Final = ("avgpool", "fc", "classifier")


class BackboneKind(NamedTuple):
    """Where it is in torchvision, and the channels of its last map, which is 32 times smaller than the image."""

    builder: str
    channels: int


BACKBONES: Final = {
    "resnet50": BackboneKind("resnet50", 2048),
    "resnet101": BackboneKind("resnet101", 2048),
    "regnet_x_400mf": BackboneKind("regnet_x_400mf", 400),
    "efficientnet_b0": BackboneKind("efficientnet_b0", 1280),
    "efficientnet_b3": BackboneKind("efficientnet_b3", 1536),
}


def build_backbone(name: str, weights: WeightsPath | None = None, **options: Any) -> nn.Sequential:
    """Images [N,3,H,W] to a map [N,C,ceil(H/32),ceil(W/32)]; random, as torchvision's, where no weights are given.

    `weights` is torchvision's ImageNet state dict, .pth or .safetensors; its classifier is dropped. `options` are those
    of torchvision's builder (`stochastic_depth_prob` of an EfficientNet). Raises HandkitError where the file cannot be
    read or is of another network, naming the first difference.
    """
    if name not in BACKBONES:
        raise HandkitError(f"there is no backbone {name!r}", f"use one of {', '.join(BACKBONES)}")
    from torchvision.models import get_model  # a second of import, which the pose encoder need not wait for

    whole = get_model(BACKBONES[name].builder, weights=None, **options)
    kept = OrderedDict((part, child) for part, child in whole.named_children() if part not in _AFTER_THE_MAP)
    backbone = nn.Sequential(kept).to(memory_format=torch.channels_last)
    if weights is not None:
        _load_weights(backbone, name, weights)
    return backbone


def check_images(images: Tensor) -> None:
    """Raise ValueError for anything but float [N,3,H,W] with something in it."""
    if images.ndim != 4 or images.shape[1] != 3 or 0 in images.shape or not images.is_floating_point():
        raise ValueError(f"images must be float [N,3,H,W] in [0, 1], not {images.dtype} {list(images.shape)}")


def _load_weights(backbone: nn.Module, name: str, path: WeightsPath) -> None:
    own = backbone.state_dict()
    stored = {key: value for key, value in _read(path).items() if key.split(".")[0] not in _AFTER_THE_MAP}
    # Older files were written before normalisation layers counted their batches.
    counts = {key: value for key, value in own.items() if key.endswith("num_batches_tracked")}
    try:
        load_state(backbone, {**counts, **stored}, path)
    except HandkitError as error:
        raise HandkitError(error.what, f"give torchvision's ImageNet weights of {name}") from error
    logger.info("the backbone %s starts from %s", name, path)


def _read(path: WeightsPath) -> dict[str, Tensor]:
    if not Path(path).is_file():
        raise HandkitError(f"{path} is no file", "give a .pth or .safetensors file of torchvision's ImageNet weights")
    try:
        if Path(path).suffix == ".safetensors":
            return load_file(path)
        stored: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise HandkitError(
            f"{path} cannot be read ({str(error).splitlines()[0]})", "give a state dict as torchvision stores it"
        ) from error
    if not isinstance(stored, dict) or not all(isinstance(value, Tensor) for value in stored.values()):
        raise HandkitError(f"{path} holds no state dict", "give a state dict as torchvision stores it")
    return stored
