"""What crops, resizes, mirrors and turns of an image do to pixels and to K.

Convention: a change is a 3x3 affine A on pixels (x, y), pixel centres at +0.5: `uv_after = A @ uv_before`. They compose
with `@` (the later one on the left) and are undone by `torch.linalg.inv`.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def crop_transform(
    center: Float[Tensor, "*#B 2"], size: Float[Tensor, "*#B"], output_size: int
) -> Float[Tensor, "*B 3 3"]:
    """The square of side `size` about `center`, scaled to output_size x output_size pixels."""
    ratio = output_size / size
    offset = output_size / 2 - ratio[..., None] * center
    return _affine(_diagonal(ratio, ratio), offset)


def resize_transform(scale_x: Float[Tensor, "*B"], scale_y: Float[Tensor, "*B"]) -> Float[Tensor, "*B 3 3"]:
    """Resize of the whole image; scales are new width / old width and new height / old height."""
    return _affine(_diagonal(scale_x, scale_y), torch.zeros_like(torch.stack([scale_x, scale_y], -1)))


def mirror_transform(width: Float[Tensor, "*B"]) -> Float[Tensor, "*B 3 3"]:
    """Left-right mirror, x -> width - x."""
    one = torch.ones_like(width)
    return _affine(_diagonal(-one, one), torch.stack([width, torch.zeros_like(width)], -1))


def rotate_transform(angle: Float[Tensor, "*#B"], center: Float[Tensor, "*#B 2"]) -> Float[Tensor, "*B 3 3"]:
    """Turn by `angle` rad about `center`; positive is clockwise on the screen (x towards y)."""
    cos, sin = angle.cos(), angle.sin()
    turn = torch.stack([cos, -sin, sin, cos], -1).unflatten(-1, (2, 2))
    return _affine(turn, center - (turn @ center[..., None])[..., 0])


def rotate90_transform(width: Float[Tensor, "*B"], height: Float[Tensor, "*B"], turns: int) -> Float[Tensor, "*B 3 3"]:
    """`turns` quarter turns clockwise of a width x height image, result from (0, 0) on: `np.rot90(image, -turns)`."""
    zero = torch.zeros_like(width)
    cos, sin = ((1, 0), (0, 1), (-1, 0), (0, -1))[turns % 4]
    turn = torch.tensor([[cos, -sin], [sin, cos]], dtype=width.dtype, device=width.device)
    offset = ((zero, zero), (height, zero), (width, height), (zero, width))[turns % 4]
    return _affine(turn.expand(*width.shape, 2, 2), torch.stack(offset, -1))


def transform_points(points: Float[Tensor, "*#B N 2"], transform: Float[Tensor, "*#B 3 3"]) -> Float[Tensor, "*B N 2"]:
    """Pixels after the change."""
    return points @ transform[..., :2, :2].transpose(-1, -2) + transform[..., None, :2, 2]


def K_after_transform(
    K: Float[Tensor, "*#B 3 3"], transform: Float[Tensor, "*#B 3 3"]
) -> tuple[Float[Tensor, "*B 3 3"], Float[Tensor, "*B 3 3"]]:
    """K after the change and the matrix R by which points in the camera frame must move: A @ K = K_after @ R.

    K_after is upper triangular with positive focal lengths. R is the identity for crops and resizes, diag(-1, 1, 1) for
    the mirror, a turn about the optical axis for rotations; with fx != fy a turned K has skew.
    """
    product = transform @ K
    block = product[..., :2, :2]
    first, second = block.unbind(-2)
    # RQ decomposition of the 2x2 block, the sign of the determinant going to R
    fy = torch.linalg.vector_norm(second, dim=-1)
    row_y = second / fy[..., None]
    sign = torch.sign(torch.linalg.det(block.detach()))[..., None]
    row_x = sign * torch.stack([row_y[..., 1], -row_y[..., 0]], -1)
    fx, skew = (first * row_x).sum(-1), (first * row_y).sum(-1)
    upper = torch.stack([fx, skew, torch.zeros_like(fx), fy], -1).unflatten(-1, (2, 2))
    R = _affine(torch.stack([row_x, row_y], -2), torch.zeros_like(row_x))
    return _affine(upper, product[..., :2, 2]), R


def K_after_crop(
    K: Float[Tensor, "*#B 3 3"], center: Float[Tensor, "*#B 2"], size: Float[Tensor, "*#B"], output_size: int
) -> Float[Tensor, "*B 3 3"]:
    """K of the square crop of side `size` about `center`, scaled to output_size x output_size pixels."""
    return crop_transform(center, size, output_size) @ K


def mirror_K(K: Float[Tensor, "*#B 3 3"], width: Float[Tensor, "*#B"]) -> Float[Tensor, "*B 3 3"]:
    """K of the left-right mirrored image, for points mirrored by x -> -x."""
    return K_after_transform(K, mirror_transform(width))[0]


def _diagonal(x: Float[Tensor, "*B"], y: Float[Tensor, "*B"]) -> Float[Tensor, "*B 2 2"]:
    return torch.diag_embed(torch.stack([x, y], -1))


def _affine(block: Float[Tensor, "*#B 2 2"], offset: Float[Tensor, "*#B 2"]) -> Float[Tensor, "*B 3 3"]:
    """[[block, offset], [0, 0, 1]]."""
    batch = torch.broadcast_shapes(block.shape[:-2], offset.shape[:-1])
    top = torch.cat([block.expand(*batch, 2, 2), offset.expand(*batch, 2)[..., None]], -1)
    bottom = torch.tensor([[0, 0, 1]], dtype=block.dtype, device=block.device).expand(*batch, 1, 3)
    return torch.cat([top, bottom], -2)
