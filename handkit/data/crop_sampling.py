"""Square crops of many pictures at once, where the pictures are.

Convention: a crop is a 3x3 affine A on pixels, pixel centres at +0.5, `uv_crop = A @ uv_picture`; what lies outside a
picture has the colour of its nearest pixel.
"""

from typing import Final

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.nn import functional

from handkit.data.augment import warp_image

_LEAST_SIGMA: Final = 0.1  # pixels; a narrower blur changes nothing


def sample_crops(
    pictures: UInt8[Tensor, "N C H W"],
    crop_from_picture: Float[Tensor, "N 3 3"],
    size: int,
    *,
    blur: Float[Tensor, " N"] | None = None,
) -> UInt8[Tensor, "N C S S"]:
    """The crops, averaged where they shrink the picture; `blur` is the s.d. of a further blur in the crop's pixels."""
    if pictures.is_cuda:
        return sample_on_device(pictures, crop_from_picture, size, blur=blur)
    crops = torch.empty((*pictures.shape[:2], size, size), dtype=torch.uint8)
    sigmas = np.zeros(len(pictures)) if blur is None else blur.numpy()
    for planes, transform, sigma, into in zip(
        pictures.numpy(), crop_from_picture.numpy(), sigmas, crops.numpy(), strict=True
    ):
        for plane, crop in zip(planes, into, strict=True):
            crop[:] = warp_image(plane, transform, (size, size), outside="edge")
            if sigma > _LEAST_SIGMA:
                cv2.GaussianBlur(crop, (0, 0), float(sigma), dst=crop, borderType=cv2.BORDER_REPLICATE)
    return crops


def sample_on_device(
    pictures: UInt8[Tensor, "N C H W"],
    crop_from_picture: Float[Tensor, "N 3 3"],
    size: int,
    *,
    blur: Float[Tensor, " N"] | None = None,
) -> UInt8[Tensor, "N C S S"]:
    """The same by torch; equal up to rounding, but for how a picture is averaged that shrinks to less than half."""
    picture_from_crop = torch.linalg.inv(crop_from_picture)
    shrink = torch.linalg.det(picture_from_crop[:, :2, :2]).abs().sqrt()
    variance = 0.25 * (shrink**2 - 1).clamp_min(0)
    if blur is not None:
        variance = variance + (blur * shrink) ** 2
    smallest = min(pictures.shape[-2:])
    level = shrink.clamp(1, max(1, smallest // 2)).log2().floor().long()
    crops = torch.empty((*pictures.shape[:2], size, size), dtype=torch.uint8, device=pictures.device)
    for halvings in level.unique().tolist():
        rows, factor = (level == halvings).nonzero()[:, 0], 2**halvings
        planes = pictures[rows].float()
        if factor > 1:
            planes = functional.avg_pool2d(planes, factor)
        # a mean over so many pixels has blurred already
        left = (variance[rows] - (factor**2 - 1) / 12).clamp_min(0) / factor**2
        planes = blur_each(planes, left.sqrt().to(planes))
        sampled = _sample(planes, picture_from_crop[rows], size, factor)
        crops[rows] = sampled.round_().clamp_(0, 255).to(torch.uint8)
    return crops


def shown_in_crops(
    crop_from_picture: Float[Tensor, "N 3 3"], height: int, width: int, size: int
) -> Bool[Tensor, "N S S"]:
    """Which pixels of the crops lie inside a picture of `height` x `width` pixels."""
    x, y = crop_grid(torch.linalg.inv(crop_from_picture), size).unbind(-1)
    return (x >= 0) & (x <= width) & (y >= 0) & (y <= height)


def crop_grid(picture_from_crop: Float[Tensor, "N 3 3"], size: int) -> Float[Tensor, "N S S 2"]:
    """Where the centres of the crops' pixels are in the picture, in its pixels."""
    centres = torch.arange(size, dtype=picture_from_crop.dtype, device=picture_from_crop.device) + 0.5
    columns, rows = picture_from_crop[:, :2, :2].unbind(-1)
    across = columns[:, None, None] * centres[:, None]
    down = rows[:, None, None] * centres[:, None, None]
    return across + down + picture_from_crop[:, None, None, :2, 2]


def blur_each(pictures: Float[Tensor, "N C H W"], sigma: Float[Tensor, " N"]) -> Float[Tensor, "N C H W"]:
    """Each picture blurred by a Gaussian of its own s.d. in pixels, edges repeated."""
    largest = float(sigma.max()) if len(sigma) else 0.0
    if largest < _LEAST_SIGMA:
        return pictures
    reach = min(max(1, round(3 * largest)), min(pictures.shape[-2:]) - 1)
    at = torch.arange(-reach, reach + 1, dtype=pictures.dtype, device=pictures.device)
    weights = torch.exp(-0.5 * (at / sigma.clamp_min(_LEAST_SIGMA)[:, None]) ** 2)
    weights = (weights / weights.sum(1, keepdim=True)).T[..., None, None, None]
    for axis, pad in ((-1, (reach, reach, 0, 0)), (-2, (0, 0, reach, reach))):
        wide, size = functional.pad(pictures, pad, mode="replicate"), pictures.shape[axis]
        pictures = wide.narrow(axis, 0, size) * weights[0]
        for shift in range(1, 2 * reach + 1):
            pictures.addcmul_(wide.narrow(axis, shift, size), weights[shift])
    return pictures


def _sample(
    planes: Float[Tensor, "N C H W"], picture_from_crop: Float[Tensor, "N 3 3"], size: int, factor: int
) -> Float[Tensor, "N C S S"]:
    """Linear between the pixels of planes, each `factor` pixels of the picture wide."""
    sides = planes.new_tensor([planes.shape[-1], planes.shape[-2]]) * factor
    grid = crop_grid(picture_from_crop, size).to(planes) * (2 / sides) - 1
    return functional.grid_sample(planes, grid, mode="bilinear", padding_mode="border", align_corners=False)
