"""S2HAND's network (section 3.1; its sizes after the released code): one image to a hand, its texture and its light.

Pose, shape, scale, rotation and translation come from the backbone's last map; the colour of every face and the light
from its low features.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Final, NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from handkit.conventions import NUM_FACES
from handkit.errors import HandkitError
from handkit.hand.scaled import check_camera
from handkit.nets.backbones import BACKBONES, WeightsPath, build_backbone, check_images
from handkit.nets.sequence import IMAGENET_MEAN, IMAGENET_STD
from handkit.nets.weak_hand import PreciseLinear

POSE: Final = 30
SHAPE: Final = 10
LIGHT: Final = 11
MEAN_COLOR: Final = (200 / 256, 150 / 256, 150 / 256)

_REST_SCALE: Final = 0.95
_REST_DEPTH_M: Final = 0.65
# As released, where normals point inwards: out of the hand the same lamp is at (-1, -1, -1), before it, above and left.
_REST_LIGHT: Final = (*(1.0,) * 8, *(-1.0,) * 3)
_START_STD: Final = 0.001
_LOW_BLOCKS: Final = 3  # of torchvision's `features`: a map a quarter of the image
_LOW_SIZE: Final = (56, 56)
_LOW_CHANNELS: Final = {"efficientnet_b0": 24, "efficientnet_b3": 32}


class S2HandOutput(NamedTuple):
    """A hand of the right side in the camera's frame, what it looks like and the light on it.

    `pca` are pose components to which the hand model's mean pose is added. A point x of the hand is at
    |scale| R x + transl, R of `orient` (axis-angle) about the hand's origin; transl in metres. `texture` is one RGB a
    face, in (-1, 1) and near [0, 1]. `light`: ambient and directional intensity, ambient RGB, directional RGB,
    direction (3); nothing bounds it. Both are None where they were not asked for.
    """

    pca: Float[Tensor, "N 30"]
    betas: Float[Tensor, "N 10"]
    scale: Float[Tensor, " N"]
    orient: Float[Tensor, "N 3"]
    transl: Float[Tensor, "N 3"]
    texture: Float[Tensor, "N 1538 3"] | None
    light: Float[Tensor, "N 11"] | None


class S2HandNetwork(nn.Module):
    """EfficientNet to `S2HandOutput`.

    `camera` says how its hands are projected (Table 8) and changes nothing here. `drop_path` is the share of residual
    branches that training leaves out, towards which it rises from block to block. With `mean_shape` every hand has the
    mean shape.

    The last layers of scale and translation start as released: a scale of 0.95, 0.65 m away. Those of pose, shape and
    rotation, of which nothing is said, start alike with no bias, so that the first hands are all the mean hand.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *,
        backbone: str = "efficientnet_b0",
        camera: str = "perspective",
        drop_path: float = 0.2,
        mean_shape: bool = False,
        backbone_weights: WeightsPath | None = None,
    ) -> None:
        super().__init__()
        _check_arguments(backbone, camera, drop_path)
        self.camera, self.mean_shape = camera, mean_shape
        self._arguments = {"backbone": backbone, "camera": camera, "drop_path": drop_path, "mean_shape": mean_shape}
        self.backbone = build_backbone(backbone, backbone_weights, stochastic_depth_prob=drop_path)
        self.geometry = GeometryHeads(BACKBONES[backbone].channels)
        self.appearance = AppearanceHeads(_LOW_CHANNELS[backbone])
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD)[:, None, None], persistent=False)

    def describe(self) -> dict[str, Any]:
        """The arguments that rebuild it."""
        return dict(self._arguments)

    def forward(self, images: Float[Tensor, "N 3 H W"], want_texture: bool = True) -> S2HandOutput:
        """RGB in [0, 1], from 64 px a side; without `want_texture` the texture and the light are None, at no cost.

        While it trains it needs two images or more.
        """
        check_images(images)
        blocks = cast(nn.Sequential, self.backbone.get_submodule("features"))
        low = (images - self.mean) / self.std
        low = blocks[:_LOW_BLOCKS](low.contiguous(memory_format=torch.channels_last))
        hand = self.geometry(blocks[_LOW_BLOCKS:](low).mean((-2, -1)))
        if self.mean_shape:
            hand = (hand[0], 0 * hand[1], *hand[2:])
        return S2HandOutput(*hand, *(self.appearance(low) if want_texture else (None, None)))

    def appearance_parameters(self) -> Iterator[nn.Parameter]:
        """Those of texture and light alone, which learn from photometric terms only."""
        return self.appearance.parameters()

    def geometry_parameters(self) -> Iterator[nn.Parameter]:
        """All the others, the backbone's among them."""
        yield from self.backbone.parameters()
        yield from self.geometry.parameters()


class GeometryHeads(nn.Module):
    """Pooled features to pose components, shape, scale, rotation and translation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.base = nn.Sequential(
            *(nn.Linear(channels, 1024, bias=False), nn.BatchNorm1d(1024), nn.ReLU(inplace=True)),
            *(nn.Linear(1024, 512, bias=False), nn.BatchNorm1d(512), nn.ReLU(inplace=True)),
        )
        self.pose = _head(512, 128, POSE)
        self.shape = _head(512, 128, SHAPE)
        self.scale = _head(512, 128, 32, 1, bias=(_REST_SCALE,))
        self.rotation = _head(512, 128, 32, 3)
        self.translation = _head(512, 128, 32, 3, bias=(0.0, 0.0, _REST_DEPTH_M))

    def forward(self, features: Float[Tensor, "N C"]) -> tuple[Tensor, ...]:
        base = self.base(features)
        scale = self.scale(base).squeeze(-1)
        return self.pose(base), self.shape(base), scale, self.rotation(base), self.translation(base)


class AppearanceHeads(nn.Module):
    """Low features to the colour of every face and the light.

    As released, all weights start so small that every image first has the mean colour and a light of ones; what the
    image adds grows within the first hundred steps.
    """

    mean_color: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.base = nn.Sequential(
            *(nn.Conv2d(channels, 48, 10, stride=4, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2)),
            *(nn.Conv2d(48, 64, 3), nn.ReLU(inplace=True), nn.MaxPool2d(2, 2), nn.Flatten()),
        ).to(memory_format=torch.channels_last)
        self.texture = _head(256, 64, 3 * NUM_FACES)
        self.light = _head(256, 64, LIGHT)
        for parameter in self.parameters():
            nn.init.zeros_(parameter) if parameter.ndim == 1 else nn.init.normal_(parameter, std=_START_STD)
        with torch.no_grad():
            self.light.get_parameter("2.bias").copy_(torch.tensor(_REST_LIGHT))
        self.register_buffer("mean_color", torch.tensor(MEAN_COLOR), persistent=False)

    def forward(self, low: Float[Tensor, "N C H W"]) -> tuple[Float[Tensor, "N 1538 3"], Float[Tensor, "N 11"]]:
        if low.shape[-2:] != _LOW_SIZE:
            low = nn.functional.interpolate(low, _LOW_SIZE, mode="bilinear")
        features = self.base(low)
        colors = self.texture(features).unflatten(-1, (NUM_FACES, 3))
        return (colors + self.mean_color).tanh(), self.light(features)


def _head(*widths: int, bias: tuple[float, ...] | None = None) -> nn.Sequential:
    """Linear layers with ReLU between; the last one starts at `bias`, zeros where it is None, whatever comes in."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths[:-1]):
        layers += [nn.Linear(before, after), nn.ReLU(inplace=True)]
    last = PreciseLinear(widths[-2], widths[-1])
    nn.init.normal_(last.weight, std=_START_STD)
    with torch.no_grad():
        last.bias.copy_(torch.tensor(bias or (0.0,) * widths[-1]))
    return nn.Sequential(*layers, last)


def _check_arguments(backbone: str, camera: str, drop_path: float) -> None:
    if backbone not in _LOW_CHANNELS:
        raise HandkitError(f"S2HAND has no backbone {backbone!r}", f"use one of {', '.join(_LOW_CHANNELS)}")
    check_camera(camera)
    if not 0 <= drop_path < 1:
        raise HandkitError(f"drop_path {drop_path} is no share of branches", "give a number from 0 to below 1")
