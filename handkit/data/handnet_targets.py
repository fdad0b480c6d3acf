"""What HandNet learns of a sample: annotations after a change of the picture, as a weak camera on the wrist sees them.

Convention: a change is a 3x3 affine A on pixels, a similarity, with a mirror where the picture shows a left hand: all
targets are those of a right hand. 3D is about the wrist in crop axes, metres: a hand in front of a pinhole camera is
turned back by the turn that takes the axis to the ray through its wrist. 2D is in widths of a square crop.
"""

from collections.abc import Mapping
from typing import Any, Final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from handkit.geometry.images import K_after_transform, transform_points
from handkit.geometry.rotations import (
    axis_angle_to_matrix,
    matrix_to_axis_angle,
    mirror_axis_angle,
    ray_from_axis,
)
from handkit.hand.model import HandModel
from handkit.hand.weak import encode_pose

_GEOMETRY: Final = ("K", "joints_2d", "joints_3d", "vertices", "global_orient", "hand_pose", "betas")
_FLAGS: Final = ("K", "weak", "joints_2d", "joints_3d", "vertices", "pose", "betas")
# Keys of the schema that targets are made of.
TARGET_KEYS: Final = ("is_right", *_GEOMETRY, *(f"{name}_valid" for name in _FLAGS))


def handnet_targets(
    rows: Mapping[str, Any],
    transform: Float[Tensor, "N 3 3"],
    *,
    size: int,
    hand: HandModel,
    is_own: Bool[Tensor, " N"],
) -> tuple[dict[str, Tensor], Float[Tensor, "N 3 3"]]:
    """Targets of N hands after `transform`s to crops of `size` px; keys as `handkit.data.handnet_batches` has them.

    And by which matrix each has moved points in the camera's frame.

    `rows` has the keys of the schema, [N, ...], joint 0 the wrist. `is_own`: parameters are those of `hand`. Where
    something is not known, or no wrist to count from, there are zeros, and its flag is False; K needs no wrist itself.
    """
    exact = {name: rows[name].double() for name in _GEOMETRY}
    transform = transform.double()
    identity = torch.eye(3, dtype=torch.float64, device=transform.device)
    K, R = K_after_transform(torch.where(_each(rows["K_valid"], 2), exact["K"], identity), transform)
    joints, vertices = exact["joints_3d"] @ R.mT, exact["vertices"] @ R.mT
    wrist, has_wrist = joints[:, :1], rows["joints_3d_valid"][:, 0]
    counts_from_camera = (rows["K_valid"] | ~rows["weak_valid"]) & has_wrist & (wrist[:, 0, 2] > 0)
    back = torch.where(_each(counts_from_camera, 2), ray_from_axis(wrist[:, 0]).mT, identity)
    moved = {
        "pose": _pose(exact, back @ R, ~rows["is_right"], hand),
        "betas": exact["betas"],
        "joints_2d": transform_points(exact["joints_2d"], transform) / size,
        "joints_3d": (joints - wrist) @ back.mT,
        "vertices": (vertices - wrist) @ back.mT,
        "K": K,
        "wrist": wrist[:, 0],
    }
    valid = {
        "pose": rows["pose_valid"] & is_own,
        "betas": rows["betas_valid"] & is_own,
        "joints_2d": rows["joints_2d_valid"],
        "joints_3d": rows["joints_3d_valid"] & has_wrist[:, None],
        "vertices": rows["vertices_valid"] & has_wrist,
        "K": rows["K_valid"] & has_wrist,
    }
    seen = {**valid, "wrist": valid["K"], "K": rows["K_valid"]}
    targets = {
        name: torch.where(_each(seen[name], value.ndim - seen[name].ndim), value, 0.0).float()
        for name, value in moved.items()
    }
    return targets | {f"{name}_valid": flag for name, flag in valid.items()}, R


def _pose(
    exact: Mapping[str, Tensor], R: Float[Tensor, "N 3 3"], mirrored: Bool[Tensor, " N"], hand: HandModel
) -> Float[Tensor, "N 48"]:
    """The 48 numbers of hands that x -> R x has moved; R mirrors where `mirrored`."""
    orient, pose = exact["global_orient"], exact["hand_pose"].unflatten(-1, (15, 3))
    mirror = torch.diag(R.new_tensor([-1, 1, 1]))
    orient = torch.where(mirrored[:, None], mirror_axis_angle(orient), orient)
    pose = torch.where(_each(mirrored, 2), mirror_axis_angle(pose), pose)
    turn = torch.where(_each(mirrored, 2), R @ mirror, R) @ axis_angle_to_matrix(orient)
    return encode_pose(matrix_to_axis_angle(turn), pose.flatten(-2), hand)


def _each(flags: Bool[Tensor, "*B"], axes: int) -> Tensor:
    """Flags with so many axes of one behind."""
    return flags[(..., *(None,) * axes)]
