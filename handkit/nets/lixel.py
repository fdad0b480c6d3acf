"""Meshes as one-dimensional heat maps, one for every vertex and axis (I2L-MeshNet, Moon & Lee, ECCV 2020).

The hand prior of binocular transfer and, without its depth, the network that learns from pairs (supplement, Fig. 1):
three transposed convolutions make a map of 64 x 64 cells ("lixels") of an encoder's 8 x 8; its means along columns and
along rows are two signals of 64 lixels, from which a 1 x 1 convolution makes a heat map for each of 778 vertices. Depth
comes from the mean of the encoder's map. A soft-argmax reads places off the heat maps.
"""

from collections import OrderedDict
from itertools import pairwise
from typing import Any, Final, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from handkit.errors import HandkitError
from handkit.nets.backbones import BACKBONES, WeightsPath, build_backbone, check_images
from handkit.nets.handnet_parts import PLAIN, WIDTHS, plain_stages

NAME: Final = "lixel"
VERTICES: Final = 778
DEPTH_LIXELS: Final = 64
# Depth counts from joint 9, the middle finger's root, and lies within half of this before and behind it.
DEPTH_RANGE_M: Final = 0.3
# A map of the encoder is so many times smaller than the image, and then made so many times larger.
STRIDE: Final = 32
UPSAMPLED: Final = 8
LIXEL_BACKBONES: Final = ("resnet50", "regnet_x_400mf", *PLAIN)

_UPSAMPLINGS: Final = 3


class LixelOutput(NamedTuple):
    """Where the vertices are: image widths, (0, 0) being the top-left corner; metres behind joint 9 along the ray."""

    points: Float[Tensor, "N 778 2"]
    depth: Float[Tensor, "N 778"] | None


class LixelMaps(NamedTuple):
    """Heat maps before the softmax, over columns, rows and depth."""

    x: Float[Tensor, "N 778 W"]
    y: Float[Tensor, "N 778 H"]
    z: Float[Tensor, "N 778 D"] | None


class LixelNetwork(nn.Module):
    """Square crops to `LixelOutput`; `features` are the channels of the upsampled map, `depth` its lixels or None.

    `context` puts so many residual 3 x 3 convolutions on the encoder's map, for encoders that see less than the whole
    crop from each cell; the published network has none. That is 68.2 M parameters for resnet50 with depth, 34.4 M
    without. Crops are seen as they are, in [0, 1].
    """

    def __init__(
        self,
        *,
        backbone: str = "resnet50",
        features: int = 256,
        depth: int | None = DEPTH_LIXELS,
        context: int = 0,
        backbone_weights: WeightsPath | None = None,
    ) -> None:
        super().__init__()
        if backbone not in LIXEL_BACKBONES:
            raise HandkitError(f"there is no backbone {backbone!r}", f"use one of {', '.join(LIXEL_BACKBONES)}")
        if features < 1 or context < 0 or (depth is not None and depth < 2):
            what = f"a lixel network of {features} features, {context} context layers and {depth} lixels of depth"
            raise HandkitError(f"{what} cannot be built", "give at least 1 feature, 0 context layers, 2 lixels")
        self._arguments = {"backbone": backbone, "features": features, "depth": depth, "context": context}
        self.backbone, self.depth_lixels = backbone, depth
        self.encoder = _build_encoder(backbone, backbone_weights)
        channels = WIDTHS[backbone][-1] if backbone in PLAIN else BACKBONES[backbone].channels
        self.context = nn.Sequential(*(ResidualConv(channels) for _ in range(context)))
        self.upsample = nn.Sequential(*_upsamplings(channels, features))
        self.x = nn.Conv1d(features, VERTICES, 1)
        self.y = nn.Conv1d(features, VERTICES, 1)
        self.depth = None if depth is None else DepthBranch(channels, features, depth)
        self.to(memory_format=torch.channels_last)

    def describe(self) -> dict[str, Any]:
        """The arguments that rebuild it."""
        return {"name": NAME, **self._arguments}

    def forward(self, images: Float[Tensor, "N 3 S S"]) -> LixelOutput:
        """RGB in [0, 1], square, the side a multiple of 32 px."""
        maps = self.heatmaps(images)
        places = [soft_argmax(part) / part.shape[-1] for part in (maps.x, maps.y)]
        depth = None if maps.z is None else (soft_argmax(maps.z) / maps.z.shape[-1] - 0.5) * DEPTH_RANGE_M
        return LixelOutput(torch.stack(places, -1), depth)

    def heatmaps(self, images: Float[Tensor, "N 3 S S"]) -> LixelMaps:
        """What is read by `forward`: at 256 px signals of 64 lixels."""
        check_images(images)
        if images.shape[-1] != images.shape[-2] or images.shape[-1] % STRIDE:
            raise ValueError(f"crops must be square with a side in multiples of {STRIDE} px, not {images.shape[-2:]}")
        maps = self.context(self.encoder(images.contiguous(memory_format=torch.channels_last)))
        wide = self.upsample(maps)
        z = None if self.depth is None else self.depth(maps.mean((-2, -1)))
        return LixelMaps(self.x(wide.mean(-2)), self.y(wide.mean(-1)), z)


class DepthBranch(nn.Module):
    """The mean of the encoder's map, unfolded into a signal along depth, to heat maps, as I2L-MeshNet has it."""

    def __init__(self, channels: int, features: int, lixels: int) -> None:
        super().__init__()
        self.lixels = lixels
        self.unfold = nn.Sequential(
            nn.Linear(channels, features * lixels), nn.BatchNorm1d(features * lixels), nn.ReLU(inplace=True)
        )
        self.z = nn.Conv1d(features, VERTICES, 1)

    def forward(self, mean: Float[Tensor, "N C"]) -> Float[Tensor, "N 778 D"]:
        heatmap: Tensor = self.z(self.unfold(mean).unflatten(1, (-1, self.lixels)))
        return heatmap


class ResidualConv(nn.Module):
    """A 3 x 3 convolution that is added to what it sees."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU(inplace=True)
        )

    def forward(self, maps: Float[Tensor, "N C h w"]) -> Float[Tensor, "N C h w"]:
        added: Tensor = maps + self.branch(maps)
        return added


def soft_argmax(heatmap: Float[Tensor, "*B D"]) -> Float[Tensor, "*B"]:
    """The mean place under the softmax in float32 or better, in lixels, centres at +0.5 (Sun et al., ECCV 2018)."""
    with torch.autocast(heatmap.device.type, enabled=False):
        exact = heatmap if heatmap.dtype == torch.float64 else heatmap.float()
        centres = torch.arange(exact.shape[-1], dtype=exact.dtype, device=exact.device) + 0.5
        return exact.softmax(-1) @ centres


def without_depth(network: LixelNetwork) -> LixelNetwork:
    """The same network that says x and y alone, with weights of its own that start the same."""
    arguments = {name: value for name, value in network.describe().items() if name != "name"}
    flat = LixelNetwork(**{**arguments, "depth": None})
    kept = {key: value for key, value in network.state_dict().items() if not key.startswith("depth.")}
    flat.load_state_dict(kept)
    return flat.train(network.training)


def _build_encoder(name: str, weights: WeightsPath | None) -> nn.Module:
    if name in PLAIN:
        return nn.Sequential(*plain_stages(name, weights))
    return build_backbone(name, weights)


def _upsamplings(channels: int, features: int) -> list[nn.Module]:
    """Transposed convolutions of 4 x 4 that double the map, normalised, as in Simple Baselines (Xiao et al. 2018)."""
    layers: list[nn.Module] = []
    for before, after in pairwise((channels, *(features,) * _UPSAMPLINGS)):
        up = nn.ConvTranspose2d(before, after, 4, stride=2, padding=1, bias=False)
        layers.append(nn.Sequential(OrderedDict(up=up, norm=nn.BatchNorm2d(after), relu=nn.ReLU(inplace=True))))
    return layers
