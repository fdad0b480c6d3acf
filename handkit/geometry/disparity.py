"""Depth from disparity: points that two calibrated views see, in metres.

Convention: `right_from_left` is [R|t], x_right = R x_left + t in metres, of any two cameras. A pair is rectified in
coordinates, not in pictures: both cameras are turned about their own centres to one set of axes whose x runs along the
baseline from the left camera to the right one. For cameras that are rectified already nothing turns, and with focal
length f and baseline B what is computed is Z = f B / (u_left - u_right), X = (u_left - cx) Z / f, Y = (v - cy) Z / f.
Points may be given in any pixels that K belongs to: a crop's, with the crop's K, say the same as the whole picture's.
"""

from typing import Final, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from handkit.errors import HandkitError

LEAST_BASELINE_M: Final = 1e-3
# Rays that stand steeper on the rectified picture are too nearly along the baseline to measure a depth.
_LEAST_COSINE: Final = 0.1
_FAR_M: Final = 5.0


class Rectified(NamedTuple):
    """x_rectified = turn @ x_camera of either camera, the right one standing at x = `baseline_m` in the left one's."""

    left: Float[Tensor, "*B 3 3"]
    right: Float[Tensor, "*B 3 3"]
    baseline_m: Float[Tensor, "*B"]


class BinocularPoints(NamedTuple):
    """Points in either camera, metres; in focal lengths their disparity and how far apart the views have them in y."""

    left: Float[Tensor, "*B N 3"]
    right: Float[Tensor, "*B N 3"]
    disparity: Float[Tensor, "*B N"]
    gap: Float[Tensor, "*B N"]


def rectify(right_from_left: Float[Tensor, "*B 3 4"]) -> Rectified:
    """The turns that rectify; z is the mean of both optical axes, as far as it is across the baseline.

    Raises HandkitError where cameras stand in one place, or look along the baseline.
    """
    R, t = right_from_left[..., :3], right_from_left[..., 3]
    centre = -(R.mT @ t[..., None])[..., 0]
    baseline = centre.norm(dim=-1)
    if bool((baseline < LEAST_BASELINE_M).any()):
        what = f"the cameras of a pair stand {1000 * float(baseline.min()):.2g} mm apart"
        raise HandkitError(what, "give the pair's own calibration, in metres: without a baseline there is no depth")
    x = centre / baseline[..., None]
    forward = torch.nn.functional.normalize(R[..., 2, :], dim=-1)
    forward = forward + forward.new_tensor([0.0, 0.0, 1.0])
    across = forward - (forward * x).sum(-1, keepdim=True) * x
    if bool((across.norm(dim=-1) < _LEAST_COSINE * forward.norm(dim=-1).clamp_min(_LEAST_COSINE)).any()):
        raise HandkitError("one camera of a pair stands before the other", "cameras must stand beside each other")
    z = torch.nn.functional.normalize(across, dim=-1)
    y = torch.linalg.cross(z, x)
    left = torch.stack([x, y, z], -2)
    return Rectified(left, left @ R.mT, baseline)


def rectified_points(
    uv: Float[Tensor, "*#B N 2"], K: Float[Tensor, "*#B 3 3"], turn: Float[Tensor, "*#B 3 3"]
) -> Float[Tensor, "*B N 2"]:
    """Where pixels are in the rectified picture of focal length 1; steep rays are held at ten times it."""
    rays = torch.nn.functional.pad(uv, (0, 1), value=1.0) @ torch.linalg.inv(K).mT @ turn.mT
    length = rays.norm(dim=-1, keepdim=True)
    return rays[..., :2] / torch.maximum(rays[..., 2:], _LEAST_COSINE * length)


def triangulate(
    left_uv: Float[Tensor, "*B N 2"],
    right_uv: Float[Tensor, "*B N 2"],
    K_left: Float[Tensor, "*B 3 3"],
    K_right: Float[Tensor, "*B 3 3"],
    right_from_left: Float[Tensor, "*B 3 4"],
    *,
    far_m: float = _FAR_M,
) -> BinocularPoints:
    """The points of both views; each pixel with its own view's K. y is the mean of both views'.

    A disparity that is negative or of more than `far_m` of depth is taken as that depth's, without a gradient.
    """
    pair = rectify(right_from_left)
    left = rectified_points(left_uv, K_left, pair.left)
    right = rectified_points(right_uv, K_right, pair.right)
    disparity = left[..., 0] - right[..., 0]
    baseline = pair.baseline_m[..., None]
    depth = baseline / disparity.clamp_min(baseline / far_m)
    y = (left[..., 1] + right[..., 1]) / 2
    points = torch.stack([left[..., 0] * depth, y * depth, depth], -1)
    aside = torch.stack([baseline, 0 * baseline, 0 * baseline], -1)
    gap = left[..., 1] - right[..., 1]
    return BinocularPoints(points @ pair.left, (points - aside) @ pair.right, disparity, gap)


def depth_per_pixel(
    depth_m: Float[Tensor, "*B"], focal_px: Float[Tensor, "*B"], baseline_m: Float[Tensor, "*B"]
) -> Float[Tensor, "*B"]:
    """Metres of depth that one pixel of disparity is worth: Z^2 / (f B), the slope of Z = f B / d."""
    return depth_m.square() / (focal_px * baseline_m)


def is_measurable(points: BinocularPoints) -> Bool[Tensor, "*B"]:
    """Whether most of a hand's points have a positive disparity, so that its place is more than a guess."""
    return (points.disparity > 0).float().mean(-1) > 0.5
