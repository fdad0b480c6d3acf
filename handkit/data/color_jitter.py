"""Light changes of colour and sharpness, one for all frames of a sequence; nothing moves."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

_STREAM: Final = 0x6A17  # keeps its draws apart from others of the same seed and place


@dataclass(frozen=True)
class ColorJitter:
    """How much, at most: display values become 255 (v / 255)^gamma x gain, then a blur.

    `gain` and `gamma` are drawn from [1 / (1 + x), 1 + x], the gain for each channel half in common and half its own;
    `blur` is the standard deviation in shares of the picture's width, half of the sequences have none.
    """

    gain: float = 0.15
    gamma: float = 0.2
    blur: float = 0.004

    def __call__(self, images: UInt8[Tensor, "T 3 H W"], seed: int, place: int) -> UInt8[Tensor, "T 3 H W"]:
        """The images of a sequence, changed as (seed, place) says, where they are."""
        rng = np.random.default_rng((seed, place, _STREAM))
        gain = (1 + self.gain) ** (0.5 * (rng.uniform(-1, 1) + rng.uniform(-1, 1, 3)))
        gamma = (1 + self.gamma) ** rng.uniform(-1, 1)
        sigma = self.blur * images.shape[-1] * max(0.0, rng.uniform(-1, 1))
        values = (np.arange(256) / 255) ** gamma * 255 * gain[:, None]
        table = torch.from_numpy(values.round().clip(0, 255).astype(np.uint8)).to(images.device)
        changed = torch.stack([table[channel][images[:, channel].int()] for channel in range(3)], 1)
        return _blur(changed, sigma) if sigma > 0.15 else changed


def _blur(images: UInt8[Tensor, "T 3 H W"], sigma: float) -> UInt8[Tensor, "T 3 H W"]:
    reach = max(1, round(2.5 * sigma))
    at = torch.arange(-reach, reach + 1, device=images.device)
    kernel = torch.exp(-0.5 * (at / sigma) ** 2)
    kernel = (kernel / kernel.sum())[None, None, None]
    planes = torch.nn.functional.pad(images.float(), (reach,) * 4, mode="reflect").flatten(0, 1)[:, None]
    blurred: Any = torch.nn.functional.conv2d(torch.nn.functional.conv2d(planes, kernel), kernel.mT)
    return blurred.round().clamp(0, 255).to(torch.uint8).reshape(images.shape)
