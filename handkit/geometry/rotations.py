"""Rotations: axis-angle vectors and matrices, small helpers on top of roma.

Convention: active rotations of column vectors, `x_rotated = R @ x`; an axis-angle vector is unit axis times radians.
"""

import roma
import torch
from jaxtyping import Float
from torch import Tensor


def axis_angle_to_matrix(axis_angle: Float[Tensor, "*B 3"]) -> Float[Tensor, "*B 3 3"]:
    """Rodrigues' formula; finite value and gradient at zero."""
    return roma.rotvec_to_rotmat(axis_angle)


def matrix_to_axis_angle(matrix: Float[Tensor, "*B 3 3"]) -> Float[Tensor, "*B 3"]:
    """Axis-angle of at most pi; at exactly pi either of the two opposite axes. Input must be proper rotations."""
    return roma.rotmat_to_rotvec(matrix)


def axis_angle_to_quaternion(axis_angle: Float[Tensor, "*B 3"]) -> Float[Tensor, "*B 4"]:
    """Unit quaternion in (x, y, z, w) order."""
    return roma.rotvec_to_unitquat(axis_angle)


def quaternion_to_axis_angle(quaternion: Float[Tensor, "*B 4"]) -> Float[Tensor, "*B 3"]:
    """Axis-angle of at most pi from a unit quaternion in (x, y, z, w) order."""
    return roma.unitquat_to_rotvec(quaternion)


def compose_axis_angle(first: Float[Tensor, "*B 3"], second: Float[Tensor, "*B 3"]) -> Float[Tensor, "*B 3"]:
    """Axis-angle of applying `second` after `first`, that is of the matrix product R(second) @ R(first)."""
    product = roma.quat_product(axis_angle_to_quaternion(second), axis_angle_to_quaternion(first))
    return quaternion_to_axis_angle(product)


def matrix_to_rotation_6d(matrix: Float[Tensor, "*B 3 3"]) -> Float[Tensor, "*B 6"]:
    """The first two columns, one after the other (Zhou et al. 2019)."""
    return matrix[..., :2].transpose(-1, -2).flatten(-2)


def rotation_6d_to_matrix(rotation_6d: Float[Tensor, "*B 6"]) -> Float[Tensor, "*B 3 3"]:
    """Rotation whose first two columns are the Gram-Schmidt of two given ones (Zhou et al. 2019)."""
    return roma.special_gramschmidt(rotation_6d.unflatten(-1, (2, 3)).transpose(-1, -2))


def rotation_about(axis: str, angle: Float[Tensor, "*B"]) -> Float[Tensor, "*B 3 3"]:
    """Rotation by `angle` rad about the coordinate axis "x", "y" or "z"."""
    unit = torch.zeros(3, dtype=angle.dtype, device=angle.device)
    unit["xyz".index(axis)] = 1
    return axis_angle_to_matrix(angle[..., None] * unit)


def mirror_axis_angle(axis_angle: Float[Tensor, "*B 3"]) -> Float[Tensor, "*B 3"]:
    """The same motion seen in the mirror x -> -x: (x, -y, -z); its own inverse. Turns right-hand poses into left."""
    return axis_angle * axis_angle.new_tensor([1, -1, -1])


def mirror_points(points: Float[Tensor, "*B 3"]) -> Float[Tensor, "*B 3"]:
    """Points in the mirror x -> -x."""
    return points * points.new_tensor([-1, 1, 1])


def geodesic_distance(a: Float[Tensor, "*B 3 3"], b: Float[Tensor, "*B 3 3"]) -> Float[Tensor, "*B"]:
    """Angle in [0, pi] between two rotations."""
    return roma.rotmat_geodesic_distance(a, b)


def ray_from_axis(points: Float[Tensor, "*B 3"]) -> Float[Tensor, "*B 3 3"]:
    """The smallest turn that takes the optical axis z to the rays through points in front of the camera."""
    ray = torch.nn.functional.normalize(points, dim=-1)
    x, y, z = ray.unbind(-1)
    bend = 1 / (1 + z)
    rows = [1 - bend * x * x, -bend * x * y, x, -bend * x * y, 1 - bend * y * y, y, -x, -y, z]
    return torch.stack(rows, -1).unflatten(-1, (3, 3))
