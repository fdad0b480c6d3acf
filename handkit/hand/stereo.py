"""One hand from what a network says of two views (RealisticHands 3.3, Eq. 6 and 7).

Convention: numbers of a view are a weak camera's in its square crop: `pose` 48 values of which the first three turn the
hand in crop axes (axis-angle before UPRIGHT_ROOT, about the ray through the wrist); `camera` scale in image widths a
metre and where the wrist is seen, widths from the centre. `K` is the crop's pinhole in image widths. `right_from_left`
is [R|t], x_right = R x_left + t in metres, any rig, rectified or not. Points are metres in camera axes.

The three values of a turn mean something only in the axes of their own crop. Eq. 6 takes the left view's as the right
crop sees them, and of the axis-angles that are the same turn the one nearest to the right's.
"""

import math
from typing import Final, Literal, NamedTuple, get_args

import roma
import torch
from jaxtyping import Float
from torch import Tensor

from handkit.geometry.cameras import full_to_weak, weak_to_full
from handkit.geometry.rotations import axis_angle_to_quaternion, quaternion_to_axis_angle, ray_from_axis

CameraFusion = Literal["average", "triangulated"]
CAMERA_FUSIONS: Final = get_args(CameraFusion)

_CENTRE: Final = 0.5
_LEAST_SCALE: Final = 0.05  # widths a metre: a hand further away fills less than a hundredth of its crop
_PARALLEL: Final = 1e-6  # sine squared of the angle between rays that do not meet
_SMALL_RAD: Final = 1e-6


class ViewOfHand(NamedTuple):
    """What a network says of one view's crop, and the crop's camera in image widths."""

    pose: Float[Tensor, "*B 48"]
    betas: Float[Tensor, "*B 10"]
    camera: Float[Tensor, "*B 3"]
    K: Float[Tensor, "*B 3 3"]


class FusedHand(NamedTuple):
    """The one hand as either view would say it, and its wrist in either camera."""

    right: ViewOfHand
    left: ViewOfHand
    wrist_right: Float[Tensor, "*B 3"]
    wrist_left: Float[Tensor, "*B 3"]


def fuse_hands(
    right: ViewOfHand,
    left: ViewOfHand,
    weights: Float[Tensor, "*B 48"],
    right_from_left: Float[Tensor, "*B 3 4"],
    *,
    camera: CameraFusion = "average",
) -> FusedHand:
    """Pose by Eq. 6, shape and camera by Eq. 7; with "triangulated" the wrist is where both views' rays meet.

    The crops' axes are those about the rays through the fused wrist, so that two views that say one hand give that one.
    """
    wrists = wrist_in_camera(right.camera, right.K), wrist_in_camera(left.camera, left.K)
    if camera == "triangulated":
        wrist = triangulate_wrist(*wrists, right.camera[..., 0], left.camera[..., 0], right_from_left)
    else:
        wrist = average_wrist(*wrists, right_from_left)
    wrist_left = to_left(wrist[..., None, :], right_from_left)[..., 0, :]
    turn = crop_from_crop(wrist, wrist_left, right_from_left)
    pose = fuse_poses(right.pose, left.pose, weights, turn)
    betas = (right.betas + left.betas) / 2
    return FusedHand(
        ViewOfHand(pose, betas, camera_of_wrist(wrist, right.K), right.K),
        ViewOfHand(turn_pose(pose, turn.mT), betas, camera_of_wrist(wrist_left, left.K), left.K),
        wrist,
        wrist_left,
    )


def fuse_poses(
    right: Float[Tensor, "*#B 48"],
    left: Float[Tensor, "*#B 48"],
    weights: Float[Tensor, "*#B 48"],
    right_from_left: Float[Tensor, "*#B 3 3"],
) -> Float[Tensor, "*B 48"]:
    """Eq. 6, w p_right + (1 - w) p_left, on all 48 values; `right_from_left` turns left crop axes into right ones.

    The identity leaves the printed formula, but for the choice among equal turns. Weights may lie outside [0, 1].
    """
    seen = turn_pose(left, right_from_left, near=right)
    return weights * right + (1 - weights) * seen


def turn_pose(
    pose: Float[Tensor, "*#B 48"], R: Float[Tensor, "*#B 3 3"], near: Float[Tensor, "*#B 48"] | None = None
) -> Float[Tensor, "*B 48"]:
    """A pose with its turn seen from axes turned by R; axis-angle of at most pi, or the nearest to `near`'s."""
    orient = roma.quat_product(*_expanded(roma.rotmat_to_unitquat(R), axis_angle_to_quaternion(pose[..., :3])))
    orient = quaternion_to_axis_angle(orient)
    if near is not None:
        orient = nearest_axis_angle(orient, near[..., :3])
    return torch.cat([orient, pose[..., 3:].expand(*orient.shape[:-1], 45)], -1)


def nearest_axis_angle(axis_angle: Float[Tensor, "*#B 3"], near: Float[Tensor, "*#B 3"]) -> Float[Tensor, "*B 3"]:
    """Of the axis-angles of one turn, whole rounds apart, the one nearest to `near`; no turn at all stays as it is."""
    angle = axis_angle.norm(dim=-1, keepdim=True).detach()
    has_axis = angle > _SMALL_RAD
    safe = torch.where(has_axis, angle, 1.0)
    along = (axis_angle * near).sum(-1, keepdim=True).detach() / safe
    rounds = torch.where(has_axis, ((along - angle) / (2 * math.pi)).round(), 0.0)
    size = torch.where(has_axis, axis_angle, 1.0).norm(dim=-1, keepdim=True)
    return axis_angle * (1 + 2 * math.pi * rounds / size)


def crop_from_crop(
    wrist_right: Float[Tensor, "*#B 3"], wrist_left: Float[Tensor, "*#B 3"], right_from_left: Float[Tensor, "*#B 3 4"]
) -> Float[Tensor, "*B 3 3"]:
    """The turn from left crop axes through the left camera and the right one to right crop axes."""
    return ray_from_axis(wrist_right).mT @ right_from_left[..., :3] @ ray_from_axis(wrist_left)


def wrist_in_camera(camera: Float[Tensor, "*#B 3"], K: Float[Tensor, "*#B 3 3"]) -> Float[Tensor, "*B 3"]:
    """The wrist at which the crop's pinhole shows the hand as the weak camera does; scales are kept from 0.05 on."""
    return weak_to_full(camera[..., 0].clamp_min(_LEAST_SCALE), camera[..., 1:] + _CENTRE, K)


def camera_of_wrist(wrist: Float[Tensor, "*#B 3"], K: Float[Tensor, "*#B 3 3"]) -> Float[Tensor, "*B 3"]:
    """The weak camera of a crop that agrees with its pinhole at the wrist; undoes `wrist_in_camera`."""
    scale, seen = full_to_weak(wrist, K)
    return torch.cat([scale[..., None], seen - _CENTRE], -1)


def average_wrist(
    right: Float[Tensor, "*#B 3"], left: Float[Tensor, "*#B 3"], right_from_left: Float[Tensor, "*#B 3 4"]
) -> Float[Tensor, "*B 3"]:
    """Eq. 7, (c_right + xi(c_left)) / 2, of wrists in their own cameras; in the right one."""
    return (right + to_right(left[..., None, :], right_from_left)[..., 0, :]) / 2


def triangulate_wrist(
    right: Float[Tensor, "*#B 3"],
    left: Float[Tensor, "*#B 3"],
    scale_right: Float[Tensor, "*#B"],
    scale_left: Float[Tensor, "*#B"],
    right_from_left: Float[Tensor, "*#B 3 4"],
) -> Float[Tensor, "*B 3"]:
    """The point nearest to the rays through both wrists, in the right camera; Eq. 7's where rays do not meet in front.

    Squared distances count by the square of a view's scale: so an error of one image width is as much in either.
    """
    direction, across = (torch.nn.functional.normalize(x.double(), dim=-1) for x in (right, left))
    across = (right_from_left[..., :3].double() @ across[..., None])[..., 0]
    origin = right_from_left[..., 3].double()
    cosine, sine = _dot(direction, across), torch.linalg.cross(*_expanded(direction, across)).square().sum(-1)
    apart = torch.where(sine > _PARALLEL, sine, 1.0)
    to_own, to_other = _dot(origin, direction), _dot(origin, across)
    depth, depth_left = (to_own - cosine * to_other) / apart, (cosine * to_own - to_other) / apart
    own, other = depth[..., None] * direction, origin + depth_left[..., None] * across
    weight, weight_left = (x.double().clamp_min(_LEAST_SCALE).square()[..., None] for x in (scale_right, scale_left))
    nearest = (weight * own + weight_left * other) / (weight + weight_left)
    meets = (sine > _PARALLEL) & (depth > 0) & (depth_left > 0) & (nearest[..., 2] > 0)
    return torch.where(meets[..., None], nearest.to(right), average_wrist(right, left, right_from_left))


def to_right(
    points_left: Float[Tensor, "*#B N 3"], right_from_left: Float[Tensor, "*#B 3 4"]
) -> Float[Tensor, "*B N 3"]:
    """xi: points of the left camera in the right one."""
    return points_left @ right_from_left[..., :3].mT + right_from_left[..., None, :, 3]


def to_left(
    points_right: Float[Tensor, "*#B N 3"], right_from_left: Float[Tensor, "*#B 3 4"]
) -> Float[Tensor, "*B N 3"]:
    """xi^-1: points of the right camera in the left one."""
    return (points_right - right_from_left[..., None, :, 3]) @ right_from_left[..., :3]


def place_in_camera(points: Float[Tensor, "*#B N 3"], wrist: Float[Tensor, "*#B 3"]) -> Float[Tensor, "*B N 3"]:
    """Points about the wrist in crop axes as the camera has them: turned with the ray through the wrist, at it."""
    return points @ ray_from_axis(wrist).mT + wrist[..., None, :]


def K_in_widths(K: Float[Tensor, "*B 3 3"], size: int) -> Float[Tensor, "*B 3 3"]:
    """A crop's pinhole in pixels as one in image widths, `size` px each."""
    return K / K.new_tensor([size, size, 1.0])[:, None]


def _expanded(*tensors: Tensor) -> list[Tensor]:
    """Tensors of one last dimension with the same leading ones."""
    return list(torch.broadcast_tensors(*tensors))


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(-1)
