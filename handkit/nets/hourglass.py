"""S2HAND's 2D keypoint estimator: stacked hourglasses (Newell et al. 2016) with integral regression (Sun et al. 2018).

Sizes are those of S2HAND's released code: two stacks of 256 features with two residual modules a level.
"""

from typing import Any, Final, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from handkit.conventions import NUM_JOINTS
from handkit.errors import HandkitError
from handkit.nets.backbones import check_images
from handkit.nets.heatmaps import cell_centres, weighted_place

_CELL_PX: Final = 4  # a cell of a heat map
_DEPTH: Final = 4  # times that an hourglass halves its map
_MULTIPLE_PX: Final = _CELL_PX * 2**_DEPTH
_NEAR_CELLS: Final = 2.0
_SMALLEST_FEATURES: Final = 4


class KeypointOutput(NamedTuple):
    """Joints of every stack, the last one's being the answer, and how sure it is of each.

    `points` are in image widths: (0, 0) is the image's top-left corner, x = 1 its right edge, pixel centres at +0.5.
    `scores`, in [0, 1], are the share of the last heat map within two cells (8 px) of its answer: near 1 where there is
    one narrow peak, small where there are several or none. They carry no gradient, and are no probability.
    """

    points: Float[Tensor, "N S 21 2"]
    scores: Float[Tensor, "N 21"]


class HourglassNetwork(nn.Module):
    """Images to `KeypointOutput` by `stacks` hourglasses, every one of which sees the heat maps of the one before.

    Images are padded right and below with mid-grey to the next multiple of 64 px, 224 to 256 as released; heat maps
    have a quarter of that size. That is 12.55 M parameters, 0.42 M with features 64 and modules 1.
    """

    def __init__(self, *, stacks: int = 2, features: int = 256, modules: int = 2) -> None:
        super().__init__()
        if min(stacks, modules) < 1 or features < _SMALLEST_FEATURES or features % _SMALLEST_FEATURES:
            raise HandkitError(
                f"an hourglass network of {stacks} stacks, {features} features and {modules} modules cannot be built",
                f"give at least one stack and one module, and features in multiples of {_SMALLEST_FEATURES}",
            )
        self._arguments = {"stacks": stacks, "features": features, "modules": modules}
        self.stem = nn.Sequential(
            *_normalised(_conv(3, features // 4, 7, stride=2)),
            Residual(features // 4, features // 2),
            nn.MaxPool2d(2),
            Residual(features // 2, features // 2),
            Residual(features // 2, features),
        )
        self.stacks = nn.ModuleList(Stack(features, modules) for _ in range(stacks))
        self.remaps = nn.ModuleList(Remap(features) for _ in range(stacks - 1))
        self.to(memory_format=torch.channels_last)

    def describe(self) -> dict[str, Any]:
        """The arguments that rebuild it."""
        return dict(self._arguments)

    def forward(self, images: Float[Tensor, "N 3 H W"]) -> KeypointOutput:
        """RGB in [0, 1], of any height and width."""
        check_images(images)
        heatmaps = self.heatmaps(images)
        cells = [expected_cell(part) for part in heatmaps]
        points = torch.stack(cells, 1) * (_CELL_PX / images.shape[-1])
        return KeypointOutput(points, mass_near(heatmaps[-1].detach(), cells[-1].detach()))

    def heatmaps(self, images: Float[Tensor, "N 3 H W"]) -> list[Float[Tensor, "N 21 h w"]]:
        """Heat maps of every stack before the softmax, of the padded image."""
        height, width = (-side % _MULTIPLE_PX for side in images.shape[-2:])
        padded = nn.functional.pad(images - 0.5, (0, width, 0, height))
        maps = self.stem(padded.contiguous(memory_format=torch.channels_last))
        found = []
        for number, stack in enumerate(self.stacks):
            features, heatmap = stack(maps)
            found.append(heatmap)
            if number < len(self.remaps):
                maps = maps + self.remaps[number](features, heatmap)
        return found


class Stack(nn.Module):
    """An hourglass and what it makes of it: features for the next one, and a heat map for each joint."""

    def __init__(self, features: int, modules: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            Hourglass(features, modules, _DEPTH),
            _residuals(features, modules),
            *_normalised(_conv(features, features, 1)),
        )
        self.score = _conv(features, NUM_JOINTS, 1)

    def forward(self, maps: Float[Tensor, "N C h w"]) -> tuple[Float[Tensor, "N C h w"], Float[Tensor, "N 21 h w"]]:
        features = self.body(maps)
        return features, self.score(features)


class Remap(nn.Module):
    """What is added to the features before the next stack."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.features = _conv(features, features, 1)
        self.heatmap = _conv(NUM_JOINTS, features, 1)

    def forward(
        self, features: Float[Tensor, "N C h w"], heatmap: Float[Tensor, "N 21 h w"]
    ) -> Float[Tensor, "N C h w"]:
        return self.features(features) + self.heatmap(heatmap)


class Hourglass(nn.Module):
    """Residuals at full and at half size, added; at half size another hourglass until `depth` is used up."""

    def __init__(self, features: int, modules: int, depth: int) -> None:
        super().__init__()
        self.skip = _residuals(features, modules)
        self.before = _residuals(features, modules)
        self.inner = Hourglass(features, modules, depth - 1) if depth > 1 else _residuals(features, modules)
        self.after = _residuals(features, modules)

    def forward(self, maps: Float[Tensor, "N C h w"]) -> Float[Tensor, "N C h w"]:
        low = self.after(self.inner(self.before(nn.functional.max_pool2d(maps, 2))))
        return self.skip(maps) + nn.functional.interpolate(low, scale_factor=2.0, mode="nearest")


class Residual(nn.Module):
    """Normalised first, through half the features: 1x1, 3x3, 1x1."""

    def __init__(self, channels: int, features: int) -> None:
        super().__init__()
        inner = features // 2
        self.branch = nn.Sequential(
            *(nn.BatchNorm2d(channels), nn.ReLU(inplace=True), _conv(channels, inner, 1)),
            *(nn.BatchNorm2d(inner), nn.ReLU(inplace=True), _conv(inner, inner, 3)),
            *(nn.BatchNorm2d(inner), nn.ReLU(inplace=True), _conv(inner, features, 1)),
        )
        self.skip = nn.Identity() if channels == features else _conv(channels, features, 1)

    def forward(self, maps: Float[Tensor, "N C h w"]) -> Float[Tensor, "N D h w"]:
        return self.skip(maps) + self.branch(maps)


def expected_cell(heatmap: Float[Tensor, "N J h w"]) -> Float[Tensor, "N J 2"]:
    """Soft-argmax: the mean place (x, y) under the map's softmax in float32, in cells with centres at +0.5."""
    with torch.autocast(heatmap.device.type, enabled=False):
        return weighted_place(_softmax(heatmap))


def mass_near(heatmap: Float[Tensor, "N J h w"], cell: Float[Tensor, "N J 2"]) -> Float[Tensor, "N J"]:
    """The share of the map's softmax in cells whose centres are within two cells of a place."""
    with torch.autocast(heatmap.device.type, enabled=False):
        share = _softmax(heatmap)
        x, y = cell_centres(share)
        across, down = x - cell[..., :1], y - cell[..., 1:]
        is_near = across[..., None, :].square() + down[..., None].square() <= _NEAR_CELLS**2
        return (share * is_near).sum((-2, -1)).clamp(max=1)


def _softmax(heatmap: Float[Tensor, "N J h w"]) -> Float[Tensor, "N J h w"]:
    exact = heatmap if heatmap.dtype == torch.float64 else heatmap.float()
    return exact.flatten(-2).softmax(-1).view(exact.shape)


def _residuals(features: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(Residual(features, features) for _ in range(count)))


def _conv(channels: int, features: int, size: int, stride: int = 1) -> nn.Conv2d:
    """Without the bias, which the normalisation or the softmax after it would take away."""
    return nn.Conv2d(channels, features, size, stride=stride, padding=size // 2, bias=False)


def _normalised(convolution: nn.Conv2d) -> list[nn.Module]:
    return [convolution, nn.BatchNorm2d(convolution.out_channels), nn.ReLU(inplace=True)]
