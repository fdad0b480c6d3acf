"""What HandNet is put together from (RealisticHands 3.1; the sizes of its supplement's Table 1).

Convention: a backbone's five stages are Down1 to Down5, each map half as wide as the one before; the first three are a
head, the last two the tail.
"""

import copy
from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise
from typing import Final, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from handkit.errors import HandkitError
from handkit.hand.scaled import positive_scale
from handkit.nets.backbones import WeightsPath, build_backbone
from handkit.nets.heatmaps import weighted_place
from handkit.nets.weak_hand import PreciseLinear

POSE: Final = 48
SHAPE: Final = 10
FEATURES: Final = 512
JOINTS: Final = 21
# Channels of Down1 to Down5.
WIDTHS: Final = {
    "resnet50": (64, 256, 512, 1024, 2048),
    "regnet_x_400mf": (32, 32, 64, 160, 400),
    "plain": (64, 128, 256, 512, 512),
    "plain-slim": (32, 64, 128, 256, 512),
    "integral": (66, 66, 66, 1024, 1024),
}
# Those that are not torchvision's.
PLAIN: Final = ("plain", "plain-slim")
# Sees keypoints alone.
INTEGRAL: Final = "integral"
# An upright hand of 0.18 m fills 60 % of the crop, its wrist in the middle below.
REST_CAMERA: Final = (3.3, 0.0, 0.3)

_HEAD: Final = 3  # stages
_COLORS: Final = 3
_FIRST_SIZE: Final = 5  # px, of the first plain convolution
_SQUEEZE: Final = 8
_NARROWEST: Final = 16
_BLOCKS: Final = 3
_LEAST_MASS: Final = 1e-3  # of a heat map, pixels
_SPREAD: Final = 2.0
_START_STD: Final = 0.001


class Stages(nn.Module):
    """Some stages of a backbone, one after the other."""

    def __init__(self, stages: Sequence[nn.Module], first: int) -> None:
        super().__init__()
        for number, stage in enumerate(stages, first):
            self.add_module(f"down{number}", stage)

    def forward(self, values: Float[Tensor, "N C H W"]) -> tuple[Float[Tensor, "N _ _ _"], ...]:
        """The maps of all its stages."""
        maps = []
        for stage in self.children():
            values = stage(values)
            maps.append(values)
        return tuple(maps)


class IntegralHead(nn.Module):
    """Of each heat map its centre of mass and its height, and of all the middle and larger side: a map of one pixel.

    Places count from the middle of those that are there, in units of their larger side; a joint that is not there is at
    the middle, with a height of 0. Integral regression (Sun et al., ECCV 2018) without a network before it.
    """

    def forward(self, maps: Float[Tensor, "N 21 H W"]) -> tuple[Float[Tensor, "N 66 1 1"], ...]:
        maps = maps.float()
        size = maps.shape[-1]
        mass = maps.sum((-2, -1))[..., None]
        seen = mass > _LEAST_MASS
        centre = weighted_place(maps) / mass.clamp_min(_LEAST_MASS) / size
        low = torch.where(seen, centre, 1.0).amin(1, keepdim=True)
        high = torch.where(seen, centre, 0.0).amax(1, keepdim=True)
        middle, side = (low + high) / 2, (high - low).amax(-1, keepdim=True).clamp_min(1 / size)
        placed = torch.where(seen, _SPREAD * (centre - middle) / side, 0.0)
        whole = torch.cat([middle - 0.5, side - 0.5], -1)
        found = torch.cat([placed.flatten(1), maps.amax((-2, -1)), _SPREAD * whole.flatten(1)], 1)[..., None, None]
        return found, found, found


class DenseTail(nn.Module):
    """Three residual blocks of dense layers on a map of one pixel."""

    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        self.first = nn.Linear(before, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
            for _ in range(_BLOCKS)
        )

    def forward(self, values: Float[Tensor, "N C 1 1"]) -> tuple[Float[Tensor, "N W 1 1"], Float[Tensor, "N W 1 1"]]:
        hidden = self.first(values.flatten(1))
        for block in self.blocks:
            hidden = hidden + block(hidden)
        return hidden[..., None, None], hidden[..., None, None]


class SplitBackbone(NamedTuple):
    """The same head for images and for heat maps of 21 channels, and the tail."""

    image_head: nn.Module
    keypoint_head: nn.Module
    tail: nn.Module


def split_backbone(name: str, weights: WeightsPath | None = None) -> SplitBackbone:
    """A backbone of `WIDTHS` in its parts; the heads share no parameter.

    "plain" and "plain-slim" are ours: one strided convolution a stage, which learns sooner from random weights.
    "integral", for keypoints alone, reads places off the heat maps (`IntegralHead`); dense layers follow.
    With torchvision's ImageNet weights every channel of the keypoint head's first convolution starts as the mean over
    the three colours; without, that layer is random.
    """
    if name == INTEGRAL:
        _refuse_weights(name, weights)
        return SplitBackbone(nn.Identity(), IntegralHead(), DenseTail(WIDTHS[name][0], WIDTHS[name][-1]))
    stages = plain_stages(name, weights) if name in PLAIN else _stages(name, build_backbone(name, weights))
    drawn = copy.deepcopy(stages[:_HEAD])
    drawn[0][0] = _for_heatmaps(drawn[0][0], from_colors=weights is not None)
    return SplitBackbone(Stages(stages[:_HEAD], 1), Stages(drawn, 1), Stages(stages[_HEAD:], _HEAD + 1))


def _stages(name: str, backbone: nn.Sequential) -> list[nn.Sequential]:
    children = dict(backbone.named_children())

    def some(*names: str) -> nn.Sequential:
        return nn.Sequential(OrderedDict((part, children[part]) for part in names))

    if name == "resnet50":
        return [some("conv1", "bn1", "relu"), some("maxpool", "layer1"), *map(some, ("layer2", "layer3", "layer4"))]
    stem, trunk = children["stem"].children(), children["trunk_output"].children()
    return [nn.Sequential(*stem), *(nn.Sequential(block) for block in trunk)]


def plain_stages(name: str, weights: WeightsPath | None = None) -> list[nn.Sequential]:
    """The five stages of a backbone of `PLAIN`, each a strided convolution, normalised."""
    _refuse_weights(name, weights)
    channels = (_COLORS, *WIDTHS[name])
    stages = [
        nn.Sequential(*_conv(before, after, size=_FIRST_SIZE if before == _COLORS else 3, stride=2))
        for before, after in pairwise(channels)
    ]
    return [stage.to(memory_format=torch.channels_last) for stage in stages]


def _refuse_weights(name: str, weights: WeightsPath | None) -> None:
    if weights is not None:
        raise HandkitError(f"the backbone {name} is not torchvision's", "leave its weights out")


def _for_heatmaps(first: nn.Module, *, from_colors: bool) -> nn.Conv2d:
    assert isinstance(first, nn.Conv2d)
    conv = nn.Conv2d(JOINTS, first.out_channels, 3, bias=False)
    conv.kernel_size, conv.stride, conv.padding = first.kernel_size, first.stride, first.padding
    weight = first.weight.detach().mean(1, keepdim=True).repeat(1, JOINTS, 1, 1)
    conv.weight = nn.Parameter(weight.contiguous(memory_format=torch.channels_last))
    if not from_colors:
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv


class FusionBlock(nn.Module):
    """Two maps to one by a gate over both, for every channel and place (3.1).

    It starts with about the mean of the two: its gate is near a half, and its last convolution adds the two halves.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        both = 2 * channels
        self.squeeze = nn.Conv2d(both, both // _SQUEEZE, 3, padding=1)
        self.excite = nn.Conv2d(both // _SQUEEZE, both, 3, padding=1)
        self.merge = nn.Conv2d(both, channels, 3, padding=1)
        with torch.no_grad():
            nn.init.dirac_(self.merge.weight[:, :channels])
            nn.init.dirac_(self.merge.weight[:, channels:])
            self.merge.get_parameter("bias").zero_()
        self.to(memory_format=torch.channels_last)

    def forward(self, image: Float[Tensor, "N C H W"], drawn: Float[Tensor, "N C H W"]) -> Float[Tensor, "N C H W"]:
        both = torch.cat([image, drawn], 1)
        gate = self.excite(self.squeeze(both).relu()).sigmoid()
        return self.merge(gate * both)


class Regressor(nn.Module):
    """The last map to pose, shape and camera; whatever comes in, it starts with the mean hand at `REST_CAMERA`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.base = nn.Linear(channels, FEATURES)
        self.pose = _last_layer((0.0,) * POSE)
        self.shape = _last_layer((0.0,) * SHAPE)
        self.camera = _last_layer(REST_CAMERA)

    def forward(self, last: Float[Tensor, "N C H W"]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Pose [N,48], shape [N,10], camera [N,3] and the features [N,512] that all three come from.

        The camera's scale is kept positive: as it stands from 0.5 image widths a metre on, falling off below.
        """
        features = self.base(last.mean((-2, -1))).relu()
        scale, shift = self.camera(features).split([1, 2], 1)
        camera = torch.cat([positive_scale(scale, "perspective"), shift], 1)
        return self.pose(features), self.shape(features), camera, features


def _last_layer(bias: tuple[float, ...]) -> PreciseLinear:
    last = PreciseLinear(FEATURES, len(bias))
    nn.init.normal_(last.weight, std=_START_STD)
    with torch.no_grad():
        last.bias.copy_(torch.tensor(bias))
    return last


def stereo_layer() -> PreciseLinear:
    """The features of a right and a left view to the 48 weights of the right one; it starts at a half for all."""
    layer = PreciseLinear(2 * FEATURES, POSE)
    nn.init.zeros_(layer.weight)
    nn.init.constant_(layer.bias, 0.5)
    return layer


class UpBlock(nn.Module):
    """Twice the size by a transposed convolution, beside it the encoder's map of that size, then two convolutions."""

    def __init__(self, before: int, skip: int, after: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(before, after, 2, stride=2)
        self.convs = nn.Sequential(*_conv(after + skip, after), *_conv(after, after))

    def forward(self, low: Float[Tensor, "N _ h w"], skip: Float[Tensor, "N _ H W"] | None) -> Float[Tensor, "N _ H W"]:
        up = self.up(low)
        return self.convs(up if skip is None else torch.cat([up, skip], 1))


class SegmentationDecoder(nn.Module):
    """The U-Net's way up: the encoder's maps to logits of the hand at every pixel.

    The first three blocks have as many channels as the map beside them, the others half of the block before, at least
    16.
    """

    def __init__(self, widths: tuple[int, int, int, int, int]) -> None:
        super().__init__()
        down1, down2, down3, down4, down5 = widths
        up4 = max(_NARROWEST, down2 // 2)
        up5 = max(_NARROWEST, up4 // 2)
        self.up1 = UpBlock(down5, down4, down4)
        self.up2 = UpBlock(down4, down3, down3)
        self.up3 = UpBlock(down3, down2, down2)
        self.up4 = UpBlock(down2, down1, up4)
        self.up5 = UpBlock(up4, 0, up5)
        self.last = nn.Conv2d(up5, 1, 1)
        self.to(memory_format=torch.channels_last)

    def forward(self, image: Sequence[Tensor], fused: Tensor, deep: Sequence[Tensor]) -> Float[Tensor, "N H W"]:
        """Of Down1 and Down2 of the image, the map that went into the tail, Down4 and Down5."""
        down4, down5 = deep
        low = self.up1(down5, down4)
        low = self.up2(low, fused)
        low = self.up3(low, image[1])
        low = self.up4(low, image[0])
        return self.last(self.up5(low, None)).squeeze(1)


def _conv(before: int, after: int, *, size: int = 3, stride: int = 1) -> tuple[nn.Module, ...]:
    conv = nn.Conv2d(before, after, size, stride, size // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv, nn.BatchNorm2d(after), nn.ReLU(inplace=True)
