"""Cameras: pinhole, weak perspective, and what a change of the image does to them.

Convention: OpenCV axes (x right, y down, z forward), metres; pixels (x, y) from the image's top-left corner, so the
centre of the top-left pixel is (0.5, 0.5). K is [[fx, skew, cx], [0, fy, cy], [0, 0, 1]]; fx != fy and skew are
respected. A change of the image is a 3x3 affine A on pixels, `uv_after = A @ uv_before`; compose with `@`.
Leading batch dimensions broadcast. Lens distortion is left to OpenCV.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

MIN_DEPTH = 1e-3
# Along the longer side: between a webcam's and a phone's main camera.
DEFAULT_FOV_DEG = 60.0


def project(points_cam: Float[Tensor, "*#B N 3"], K: Float[Tensor, "*#B 3 3"]) -> Float[Tensor, "*B N 2"]:
    """Pinhole projection to pixels.

    Depth is clamped at 1 mm so values and gradients stay finite; mask z <= 0 yourself.
    """
    rays = points_cam[..., :2] / points_cam[..., 2:].clamp_min(MIN_DEPTH)
    return rays @ K[..., :2, :2].transpose(-1, -2) + K[..., None, :2, 2]


def backproject(
    uv: Float[Tensor, "*#B N 2"], depth: Float[Tensor, "*#B N"], K: Float[Tensor, "*#B 3 3"]
) -> Float[Tensor, "*B N 3"]:
    """Points in the camera frame seen at pixels `uv` with z = `depth` in metres; undoes `project`."""
    centred = uv - K[..., None, :2, 2]
    y = centred[..., 1] / K[..., None, 1, 1]
    x = (centred[..., 0] - K[..., None, 0, 1] * y) / K[..., None, 0, 0]
    return torch.stack(torch.broadcast_tensors(x * depth, y * depth, depth), -1)


def K_from_focal(focal: Float[Tensor, "*B"], width: int, height: int) -> Float[Tensor, "*B 3 3"]:
    """Square-pixel K of a focal length in pixels, principal point at the image's centre."""
    zero, one = torch.zeros_like(focal), torch.ones_like(focal)
    rows = [focal, zero, one * (width / 2), zero, focal, one * (height / 2), zero, zero, one]
    return torch.stack(rows, -1).unflatten(-1, (3, 3))


def K_from_fov(fov: Float[Tensor, "*B"], width: int, height: int) -> Float[Tensor, "*B 3 3"]:
    """Square-pixel K of a field of view in radians along the image's longer side."""
    return K_from_focal(max(width, height) / 2 / torch.tan(fov / 2), width, height)


def default_K(width: int, height: int, fov_deg: float = DEFAULT_FOV_DEG) -> Float[Tensor, "3 3"]:
    """K for an image of unknown camera, float64: 60 degrees along the longer side unless told."""
    return K_from_fov(torch.tensor(math.radians(fov_deg), dtype=torch.float64), width, height)


# Weak perspective


def weak_perspective(
    points: Float[Tensor, "*#B N 3"],
    scale: Float[Tensor, "*#B"],
    rotation: Float[Tensor, "*#B 3 3"],
    translation: Float[Tensor, "*#B 2"],
) -> Float[Tensor, "*B N 2"]:
    """Scaled orthographic projection s * Pi * R * X + t in pixels (SeqHAND Eq. 3, 4); scale in pixels a metre."""
    rotated = points @ rotation[..., :2, :].transpose(-1, -2)
    return scale[..., None, None] * rotated + translation[..., None, :]


def weak_to_full(
    scale: Float[Tensor, "*#B"], translation: Float[Tensor, "*#B 2"], K: Float[Tensor, "*#B 3 3"]
) -> Float[Tensor, "*B 3"]:
    """Camera-frame translation at which a pinhole camera shows the model as the weak-perspective one does.

    Exact at the model's origin; depth is focal / scale, the focal length being sqrt(fx * fy). Scale > 0.
    """
    depth = (K[..., 0, 0] * K[..., 1, 1]).sqrt() / scale
    return backproject(translation[..., None, :], depth[..., None], K)[..., 0, :]


def full_to_weak(
    transl: Float[Tensor, "*#B 3"], K: Float[Tensor, "*#B 3 3"]
) -> tuple[Float[Tensor, "*B"], Float[Tensor, "*B 2"]]:
    """Scale and 2D translation of the weak-perspective camera that agrees at the model's origin; undoes it."""
    scale = (K[..., 0, 0] * K[..., 1, 1]).sqrt() / transl[..., 2].clamp_min(MIN_DEPTH)
    return scale, project(transl[..., None, :], K)[..., 0, :]


def crop_camera_to_full(
    camera: Float[Tensor, "*#B 3"],
    center: Float[Tensor, "*#B 2"],
    size: Float[Tensor, "*#B"],
    K: Float[Tensor, "*#B 3 3"],
) -> Float[Tensor, "*B 3"]:
    """HaMeR's crop camera (s, tx, ty) to the full image's translation (`cam_crop_to_full`), for any K.

    The crop is the square of side `size` px about `center`; its camera maps metres to [-1, 1]: s * (x + tx).
    With K of one focal length and the principal point in the image's middle this is HaMeR's formula.
    """
    scale = (size * camera[..., 0] + 1e-9) / 2
    return weak_to_full(scale, center + scale[..., None] * camera[..., 1:], K)


def full_to_crop_camera(
    transl: Float[Tensor, "*#B 3"],
    center: Float[Tensor, "*#B 2"],
    size: Float[Tensor, "*#B"],
    K: Float[Tensor, "*#B 3 3"],
) -> Float[Tensor, "*B 3"]:
    """The crop camera (s, tx, ty) of a full-image translation; undoes `crop_camera_to_full`."""
    scale, translation = full_to_weak(transl, K)
    return torch.cat([(2 * scale / size)[..., None], (translation - center) / scale[..., None]], -1)
