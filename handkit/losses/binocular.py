"""What two views of one hand must agree in, without labels.

The main text of the binocular paper is not at hand: its supplement names left-right consistency, appearance and shape
alone. Forms here are chosen: robust ones, since vertices start some pixels off.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from handkit.losses.reduce import mean_of, valid_mean

_TINY = 1e-8


def epipolar_gap(gap: Float[Tensor, "*B N"], valid: Bool[Tensor, "*B"] | None = None, *, soft: float) -> Tensor:
    """Huber's loss of how far apart the views have a point across the baseline, quadratic below `soft`, over `soft`."""
    loss = functional.huber_loss(gap, torch.zeros_like(gap), reduction="none", delta=soft) / soft
    return valid_mean(loss, None if valid is None else valid[..., None])


def sample_colors(images: Float[Tensor, "*B C H W"], points: Float[Tensor, "*B N 2"]) -> Float[Tensor, "*B N C"]:
    """Colours at points in image widths, linear between pixels, the border's outside; with gradients to the points."""
    flat = images.flatten(0, -4), points.flatten(0, -3)
    grid = 2 * flat[1][:, None].to(flat[0]) - 1
    colors = functional.grid_sample(flat[0], grid, padding_mode="border", align_corners=False)
    return colors[:, :, 0].mT.reshape(*points.shape[:-1], images.shape[-3])


def appearance_consistency(
    left: Float[Tensor, "*B N C"],
    right: Float[Tensor, "*B N C"],
    visible: Bool[Tensor, "*B N"],
    *,
    soft: float,
    least: int = 16,
) -> Tensor:
    """Huber's loss of the colours that both views show at their vertices, each view's gain and offset taken out.

    Of every channel each view's colours are brought to mean 0 and standard deviation 1 over the vertices that both see.
    Hands of fewer than `least` of these do not count; the normalisation has no gradient to where vertices are.
    """
    counts = visible.sum(-1) >= least
    weight = (visible & counts[..., None])[..., None].to(left.dtype)
    apart = _normalised(left, weight) - _normalised(right, weight)
    loss = functional.huber_loss(apart, torch.zeros_like(apart), reduction="none", delta=soft) / soft
    each = (loss * weight).sum((-1, -2)) / (weight.sum((-1, -2)) * left.shape[-1]).clamp_min(1)
    return valid_mean(each, counts)


def _normalised(colors: Tensor, weight: Tensor) -> Tensor:
    with torch.no_grad():
        total = weight.sum(-2, keepdim=True).clamp_min(1)
        mean = (colors * weight).sum(-2, keepdim=True) / total
        spread = ((colors - mean).square() * weight).sum(-2, keepdim=True) / total
    return (colors - mean) / (spread + 1e-4).sqrt()


def one_shape(lengths: Float[Tensor, "M E"], hands: Int[Tensor, " M"]) -> Tensor:
    """How far bones in frames of one hand differ from their mean over the frames, relative: the mean of |l / mean - 1|.

    `hands` numbers whose each frame is; a hand of a single frame says nothing.
    """
    same = (hands[:, None] == hands[None, :]).to(lengths.dtype)
    count = same.sum(1, keepdim=True)
    mean = (same @ lengths) / count
    relative = (lengths / mean.clamp_min(_TINY) - 1).abs().mean(-1)
    return valid_mean(relative, count[:, 0] > 1)


def prior_distance(
    points: Float[Tensor, "*B N 2"], prior: Float[Tensor, "*B N 2"], valid: Bool[Tensor, "*B"] | None = None
) -> Tensor:
    """The mean distance of points from where the prior has them."""
    distance = ((points - prior).square().sum(-1) + _TINY).sqrt().mean(-1)
    return mean_of(distance, each=False) if valid is None else valid_mean(distance, valid)
