"""2D keypoints as pictures that a convolution can read."""

from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor

_FAR: Final = 8.0  # image widths outside, where nothing of a joint is left


def keypoint_heatmaps(
    points: Float[Tensor, "N 21 2"], scores: Float[Tensor, "N 21"], *, size: int, sigma: float
) -> Float[Tensor, "N 21 S S"]:
    """One Gaussian a joint, as high as its score, on the pixel centres of a square of `size` px.

    `points` and `sigma` are in image widths, (0, 0) being the top-left corner; scores in [0, 1]. A joint with a score
    of 0, or with a coordinate or a score that is not finite, has an empty channel; of one outside the picture is seen
    what reaches in.
    """
    known = points.isfinite().all(-1) & scores.isfinite()
    heights = torch.where(known, scores, 0).to(points.dtype)
    places = torch.where(known[..., None], points, 0).clamp(-_FAR, 1 + _FAR)
    centres = (torch.arange(size, dtype=points.dtype, device=points.device) + 0.5) / size
    along = (-0.5 * ((centres - places[..., None]) / sigma).square()).exp()  # [N, 21, 2, S]
    x, y = along.unbind(2)
    return heights[..., None, None] * y[..., :, None] * x[..., None, :]


def weighted_place(maps: Float[Tensor, "N J h w"]) -> Float[Tensor, "N J 2"]:
    """The sum of cells' places (x, y), centres at +0.5, times their values: the mean place, of maps that sum to 1."""
    with torch.autocast(maps.device.type, enabled=False):
        x, y = cell_centres(maps)
        return torch.stack([maps.sum(-2) @ x, maps.sum(-1) @ y], -1)


def cell_centres(maps: Float[Tensor, "N J h w"]) -> tuple[Float[Tensor, " w"], Float[Tensor, " h"]]:
    """Where the columns and the rows of maps are, in cells."""
    down, across = (torch.arange(size, dtype=maps.dtype, device=maps.device) + 0.5 for size in maps.shape[-2:])
    return across, down
