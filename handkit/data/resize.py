"""Square pictures at another size, and everything that is told in their pixels with them.

Convention: pixel centres at +0.5, so that every pixel coordinate scales by new / old exactly.
"""

from collections.abc import Mapping
from typing import Any, Final

import cv2
import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from handkit.data.mask_distances import mask_distances
from handkit.errors import HandkitError

# Keys of the schema that scale with the picture.
_IN_PIXELS: Final = ("bbox", "weak_scale", "weak_transl", "joints_2d", "vertices_2d", "keypoints_2d")


def resize_batch(batch: Mapping[str, Any], size: int) -> dict[str, Any]:
    """A sample or batch, of arrays or of tensors where they are, with pictures of `size` x `size` pixels.

    Pictures are averaged over the area that a pixel covers (linear where they grow), masks show what most of it shows;
    a `mask_distance` is measured anew. Raises HandkitError for pictures that are not square.
    """
    height, width = batch["image"].shape[-2:]
    if height != width:
        raise HandkitError(f"pictures of {width} x {height} pixels are not square", "crop them before they are resized")
    if width == size:
        return dict(batch)
    resized = {**batch, **{key: _scaled(batch[key], size / width) for key in _IN_PIXELS if key in batch}}
    resized["image"] = _resize(batch["image"], size)
    if "K" in batch:
        K = resized["K"] = _scaled(batch["K"], size / width)
        K[..., 2, 2] = batch["K"][..., 2, 2]
    if "mask" in batch:
        shares = _resize(255 * batch["mask"], size) >= 128
        resized["mask"] = shares.astype(np.uint8) if isinstance(shares, np.ndarray) else shares.to(torch.uint8)
    if "mask_distance" in batch:
        resized["mask_distance"] = mask_distances(torch.as_tensor(resized["mask"]))
    return resized


def _scaled(value: Any, ratio: float) -> Any:
    return value * ratio if isinstance(value, Tensor) else np.asarray(value * ratio, value.dtype)


def _resize(pictures: Any, size: int) -> Any:
    if not isinstance(pictures, Tensor):
        return resize_planes(pictures, size)
    if pictures.is_cuda:
        return resize_on_device(pictures, size)
    return torch.from_numpy(resize_planes(pictures.numpy(), size))


def resize_planes(pictures: UInt8[np.ndarray, "*B H W"], size: int) -> UInt8[np.ndarray, "*B S S"]:
    """Planes of pictures at another size, by OpenCV."""
    planes = pictures.reshape(-1, *pictures.shape[-2:])
    how = cv2.INTER_AREA if size < planes.shape[-1] else cv2.INTER_LINEAR
    resized = np.empty((len(planes), size, size), np.uint8)
    for plane, into in zip(planes, resized, strict=True):
        cv2.resize(plane, (size, size), dst=into, interpolation=how)
    return resized.reshape(*pictures.shape[:-2], size, size)


def resize_on_device(pictures: UInt8[Tensor, "*B H W"], size: int) -> UInt8[Tensor, "*B S S"]:
    """The same by torch; equal up to rounding where the old size is a multiple of the new one, or grows."""
    planes = pictures.reshape(-1, 1, *pictures.shape[-2:]).float()
    how = "area" if size < planes.shape[-1] else "bilinear"
    resized = torch.nn.functional.interpolate(planes, (size, size), mode=how)
    return resized.round().to(torch.uint8).reshape(*pictures.shape[:-2], size, size)
