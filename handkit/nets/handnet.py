"""HandNet (RealisticHands 3.1, 3.3): a hand's crop, its keypoints or both to a hand and its mask.

Convention: a right hand's square crop; 2D in image widths, (0, 0) the top-left corner.
"""

import copy
from typing import Any, Final, Literal, NamedTuple, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from handkit.errors import HandkitError
from handkit.nets.backbones import WeightsPath, check_images
from handkit.nets.handnet_parts import (
    INTEGRAL,
    JOINTS,
    WIDTHS,
    FusionBlock,
    Regressor,
    SegmentationDecoder,
    split_backbone,
    stereo_layer,
)
from handkit.nets.sequence import IMAGENET_MEAN, IMAGENET_STD

NAME: Final = "handnet"
PARTS: Final = ("image_head", "keypoint_head", "fusion", "tail", "regressor", "segmentation")
STEREO_PARTS: Final = ("adapted_head", "stereo")
Inputs = Literal["both", "image", "keypoints"]

_SMALLEST, _STEP = 32, 32  # px


class HandNetOutput(NamedTuple):
    """A right hand in its crop.

    `pose`: the turn and the joints as `handkit.hand.weak.decode_pose` reads them. `camera`: image widths a metre, and
    the wrist's place in widths from the crop's middle. `mask` are logits of the hand, `weights` the right view's share
    of a fused pose (Eq. 6); None where they were not asked for.
    """

    pose: Float[Tensor, "N 48"]
    betas: Float[Tensor, "N 10"]
    camera: Float[Tensor, "N 3"]
    features: Float[Tensor, "N 512"]
    mask: Float[Tensor, "N H W"] | None
    weights: Float[Tensor, "M 48"] | None


class HandNet(nn.Module):
    """ResNet-50, or a compact network, whose first three stages are there once for images and once for heat maps.

    `inputs` says what it can see: a network of keypoints has no image head, fusion or segmentation, one of images no
    keypoint head or fusion. `sigma` is that of the heat maps it is trained with, in image widths
    (`handkit.nets.heatmaps`). With `stereo` it also has the weights of two views and a second image head, adapted to
    synthetic images, where there is a first.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *,
        backbone: str = "resnet50",
        inputs: str = "both",
        stereo: bool = False,
        sigma: float = 0.02,
        backbone_weights: WeightsPath | None = None,
    ) -> None:
        super().__init__()
        _check_arguments(backbone, inputs, sigma)
        self.backbone, self.inputs, self.stereo_views, self.sigma = backbone, inputs, False, sigma
        widths = WIDTHS[backbone]
        split = split_backbone(backbone, backbone_weights)
        if inputs != "keypoints":
            self.image_head = split.image_head
        if inputs != "image":
            self.keypoint_head = split.keypoint_head
        if inputs == "both":
            self.fusion = FusionBlock(widths[2])
        self.tail = split.tail
        self.regressor = Regressor(widths[4])
        if inputs != "keypoints":
            self.segmentation = SegmentationDecoder(widths)
        if stereo:
            self._add_stereo()
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD)[:, None, None], persistent=False)

    def describe(self) -> dict[str, Any]:
        """The arguments of `build_handnet` that rebuild it, and its name."""
        arguments = {"backbone": self.backbone, "inputs": self.inputs, "stereo": self.stereo_views, "sigma": self.sigma}
        return {"name": NAME, **arguments}

    def part(self, name: str) -> nn.Module:
        """One of `PARTS` or `STEREO_PARTS`; HandkitError for one that it has not."""
        own = [part for part in (*PARTS, *STEREO_PARTS) if part in self._modules]
        if name not in own:
            raise HandkitError(f"this network has no part {name!r}", f"it has {', '.join(own)}")
        return self.get_submodule(name)

    def forward(
        self,
        images: Float[Tensor, "N 3 H W"] | None,
        heatmaps: Float[Tensor, "N 21 H W"] | None,
        *,
        want_mask: bool = True,
        adapted: bool = False,
        pairs: bool = False,
    ) -> HandNetOutput:
        """RGB in [0, 1], heat maps, or both; the crop's side a multiple of 32 px from 32 on.

        Where one is None, its head and the fusion are left out and the other's map goes into the tail. There is no mask
        without images. With `adapted` images are seen by the second image head. With `pairs` the first half of the
        batch are right views and the other half left views of the same hands, of which `weights` are.

        Raises ValueError for other sizes, for neither input, and for what the network has no part for.
        """
        self._check(images, heatmaps, adapted, pairs)
        seen = None if images is None else self._head(adapted)(_last((images - self.mean) / self.std))
        drawn = None if heatmaps is None else self.keypoint_head(_last(heatmaps))
        fused = self._fuse(seen and seen[2], drawn and drawn[2])
        deep = self.tail(fused)
        pose, betas, camera, features = self.regressor(deep[1])
        mask = None if seen is None or not want_mask else self.segmentation(seen, fused, deep)
        weights = self.stereo(torch.cat(features.chunk(2), 1)) if pairs else None
        return HandNetOutput(pose, betas, camera, features, mask, weights)

    def _head(self, adapted: bool) -> nn.Module:
        return self.adapted_head if adapted else self.image_head

    def _fuse(self, seen: Tensor | None, drawn: Tensor | None) -> Tensor:
        if seen is None or drawn is None:
            only = drawn if seen is None else seen
            assert only is not None
            return only
        return self.fusion(seen, drawn)

    def _add_stereo(self) -> None:
        if self.inputs != "keypoints":
            self.adapted_head = copy.deepcopy(self.image_head)
        self.stereo = stereo_layer().to(self.regressor.pose.weight)
        self.stereo_views = True

    def _check(self, images: Tensor | None, heatmaps: Tensor | None, adapted: bool, pairs: bool) -> None:
        if images is None and heatmaps is None:
            raise ValueError("give images, heat maps of keypoints, or both")
        for given, part in ((images is not None, "image_head"), (heatmaps is not None, "keypoint_head")):
            if given and part not in self._modules:
                raise ValueError(f"a HandNet with inputs={self.inputs!r} has no {part}: leave its input out")
        for asked, part in ((adapted, "adapted_head"), (pairs, "stereo")):
            if asked and part not in self._modules:
                raise ValueError(f"this HandNet has no part {part!r}: see extend_with_stereo")
        if images is not None:
            check_images(images)
        if heatmaps is not None:
            _check_heatmaps(heatmaps)
        if images is not None and heatmaps is not None and images[:, 0].shape != heatmaps[:, 0].shape:
            raise ValueError(f"images are {list(images.shape)}, heat maps {list(heatmaps.shape)}: they must agree")
        for maps in (images, heatmaps):
            if maps is not None:
                _check_batch(maps, pairs)


def extend_with_stereo(network: HandNet) -> HandNet:
    """A copy for two views: its second image head is the first one's copy, and its weights start at a half.

    Raises ValueError where the network has them already.
    """
    if network.stereo_views:
        raise ValueError("the network is one for two views already")
    extended = copy.deepcopy(network)
    extended._add_stereo()
    return extended


def _last(maps: Tensor) -> Tensor:
    return maps.contiguous(memory_format=torch.channels_last)


def _check_heatmaps(maps: Tensor) -> None:
    if maps.ndim != 4 or maps.shape[1] != JOINTS or 0 in maps.shape or not maps.is_floating_point():
        raise ValueError(f"heat maps must be float [N,{JOINTS},H,W], not {maps.dtype} {list(maps.shape)}")


def _check_batch(maps: Tensor, pairs: bool) -> None:
    height, width = maps.shape[-2:]
    if height != width or width % _STEP or width < _SMALLEST:
        raise ValueError(f"crops must be square, a multiple of {_STEP} px from {_SMALLEST} on, not {height} x {width}")
    if pairs and len(maps) % 2:
        raise ValueError(f"{len(maps)} views are no pairs")


def _check_arguments(backbone: str, inputs: str, sigma: float) -> None:
    if backbone not in WIDTHS:
        raise HandkitError(f"HandNet has no backbone {backbone!r}", f"use one of {', '.join(WIDTHS)}")
    if inputs not in get_args(Inputs):
        raise HandkitError(f"HandNet has no inputs {inputs!r}", f"use one of {', '.join(get_args(Inputs))}")
    if backbone == INTEGRAL and inputs != "keypoints":
        raise HandkitError(f"the backbone {backbone} sees keypoints alone", 'give inputs="keypoints"')
    if not 0 < sigma <= 0.5:
        raise HandkitError(f"sigma {sigma} is no width of a heat map's Gaussian", "give image widths, such as 0.02")
