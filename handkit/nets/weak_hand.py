"""The 26 numbers that a sequence network gives for a frame, and the layers that give them.

Order: theta 10 (pose components, the mean pose is added), beta 10 (shape), s 1, t 2, r 3. Numbers are dimensionless and
near one; scale and shift are read in image widths, so they mean the same at any resolution.
"""

from itertools import pairwise
from typing import Final, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

PARAMETERS: Final = 26
# Image widths per metre of s = 0: a hand of 0.18 m then fills about half of the image.
REST_SCALE: Final = 3.0
_SIZES: Final = (10, 10, 1, 2, 3)
_LARGEST_LOG_SCALE: Final = 10.0  # keeps exp finite


class WeakHand(NamedTuple):
    """A hand under weak perspective: pixels = width * (scale * xy + shift + 0.5) of a square image.

    `scale` is in image widths per metre and positive, `shift` in image widths from the image's centre. `orient` is
    axis-angle about the hand's origin (MANO's, not the wrist), camera axes.
    """

    pca: Float[Tensor, "*B 10"]
    betas: Float[Tensor, "*B 10"]
    scale: Float[Tensor, "*B"]
    shift: Float[Tensor, "*B 2"]
    orient: Float[Tensor, "*B 3"]


def read_parameters(parameters: Float[Tensor, "*B 26"]) -> WeakHand:
    """What the 26 numbers say; zeros are the mean pose and shape, unturned, at the image's centre."""
    pca, betas, log_scale, shift, orient = parameters.split(_SIZES, -1)
    scale = REST_SCALE * log_scale[..., 0].clamp(-_LARGEST_LOG_SCALE, _LARGEST_LOG_SCALE).exp()
    return WeakHand(pca, betas, scale, shift, orient)


class PreciseLinear(nn.Linear):
    """A last layer in the weights' own precision under autocast too: bf16 would put the hand on a grid of a pixel."""

    def forward(self, features: Float[Tensor, "*B C"]) -> Float[Tensor, "*B P"]:
        with torch.autocast(features.device.type, enabled=False):
            return super().forward(features.to(self.weight.dtype))


class ParameterLayer(PreciseLinear):
    """The last layer, features to 26 numbers.

    With features of about `size` its numbers start within some tenths of zero: the mean hand in the middle of the
    image in the rest orientation, fingers to the left. Views are spread over all rotations, so no other start is nearer
    on average, and axis-angle is smooth there.
    """

    def __init__(self, features: int, *, size: float = 1.0) -> None:
        super().__init__(features, PARAMETERS)
        nn.init.normal_(self.weight, std=0.1 / size * features**-0.5)
        nn.init.zeros_(self.bias)


def parameter_head(*widths: int) -> nn.Sequential:
    """Linear layers of the given widths with ReLU between, then the 26 numbers."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        linear = nn.Linear(before, after)
        nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
        nn.init.zeros_(linear.bias)
        layers += [linear, nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, ParameterLayer(widths[-1]))
