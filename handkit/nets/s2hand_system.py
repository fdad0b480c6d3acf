"""What S2HAND trains and its checkpoints hold: the hand network, the 2D keypoint estimator, or both."""

import logging
from collections.abc import Mapping
from os import PathLike
from typing import Any, Final, NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from handkit.checkpoint import CheckpointInfo
from handkit.nets.backbones import WeightsPath
from handkit.nets.build import check_arguments, load_only
from handkit.nets.hourglass import HourglassNetwork, KeypointOutput
from handkit.nets.s2hand import S2HandNetwork, S2HandOutput

logger = logging.getLogger("handkit")

NAME: Final = "s2hand"
_TRAIN: Final = "give a checkpoint of `handkit selfsup s2hand --out DIR`"


class SystemOutput(NamedTuple):
    """What each part found; None where the system has no such part."""

    hand: S2HandOutput | None
    keypoints: KeypointOutput | None


class S2HandSystem(nn.Module):
    """One or both parts, which see the same images and share nothing."""

    def __init__(self, hand: S2HandNetwork | None, keypoints: HourglassNetwork | None) -> None:
        super().__init__()
        if hand is None and keypoints is None:
            raise ValueError("an S2HAND system has a hand network, a keypoint estimator, or both")
        self.hand, self.keypoints = hand, keypoints

    def describe(self) -> dict[str, Any]:
        """The arguments of `build_system` that rebuild it, and its name."""
        parts = {"hand": self.hand, "keypoints": self.keypoints}
        return {"name": NAME, **{name: part and part.describe() for name, part in parts.items()}}

    def forward(self, images: Float[Tensor, "N 3 H W"], want_texture: bool = True) -> SystemOutput:
        """RGB in [0, 1], as each part takes it."""
        hand = None if self.hand is None else self.hand(images, want_texture)
        return SystemOutput(hand, None if self.keypoints is None else self.keypoints(images))


def build_system(
    hand: Mapping[str, Any] | None = None,
    keypoints: Mapping[str, Any] | None = None,
    backbone_weights: WeightsPath | None = None,
) -> S2HandSystem:
    """Untrained parts from their arguments, {} being the published ones; a part that is None is left out.

    `backbone_weights` is torchvision's ImageNet state dict, .pth or .safetensors; without it the backbone is random,
    which is logged. Raises HandkitError for an unknown argument or value, or a file of another network, and ValueError
    for neither part.
    """
    system = _construct(hand, keypoints, backbone_weights)
    if system.hand is not None and backbone_weights is None:
        backbone = system.hand.describe()["backbone"]
        logger.warning("the backbone %s starts random: give torchvision's ImageNet weights if you have them", backbone)
    return system


def load_system(path: str | PathLike[str]) -> tuple[S2HandSystem, CheckpointInfo]:
    """A checkpoint's parts in evaluation mode, on the CPU in float32, and what the checkpoint says of itself.

    Raises HandkitError where the file is damaged or holds another kind of network.
    """
    return load_only(path, NAME, "S2HAND network", _TRAIN, lambda parts: _construct(parts["hand"], parts["keypoints"]))


def _construct(
    hand: Mapping[str, Any] | None, keypoints: Mapping[str, Any] | None, weights: WeightsPath | None = None
) -> S2HandSystem:
    for kind, arguments in ((S2HandNetwork, hand), (HourglassNetwork, keypoints)):
        check_arguments(kind, arguments or ())
    return S2HandSystem(
        None if hand is None else S2HandNetwork(**hand, backbone_weights=weights),
        None if keypoints is None else HourglassNetwork(**keypoints),
    )
