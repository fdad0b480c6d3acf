"""S2HAND's losses on single frames (Tu et al. 2023, section 3.2.4); Eq. 6 and 7 are `photometric_l1` and `ssim_loss`.

Convention: `*B` are samples; every loss is the mean over them of each sample's own value. 21 joints in our order, 2D
points and distances in pixels. A confidence lies in [0, 1] and needs no mask beside it: a joint or sample of confidence
0 has neither value nor gradient, NaN included. Half-precision inputs are compared in float32.

Functions named `..._released` are what the authors' code computes where it differs from the paper. E_C, E_s and E_J
follow that code in any case: the paper leaves them to an earlier one. Weighted means of that code run over a whole
batch, so a sample's share depends on the confidences of the others, not on how many they are.
"""

from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor

from handkit.conventions import BONES, FINGERTIPS, JOINT_NAMES
from handkit.hand.limits import S2HAND_RANGES_RAD
from handkit.losses.reduce import apart, mean_of, precise, reduced

_BONE_EPS_PX: Final = 1e-4
_RELEASED_JOINT_WEIGHTS: Final = tuple(2.0 if j == 0 else 1.5 if j in FINGERTIPS else 1.0 for j in range(21))
# The middle finger's proximal phalanx, base to tip.
_SCALE_BONE: Final = (JOINT_NAMES.index("middle1"), JOINT_NAMES.index("middle2"))
_LIMIT_AXIS_WEIGHTS: Final = (1.0, 1.0, 2.0)
_POSED_JOINTS: Final = 16


def joint_location(
    pred: Float[Tensor, "*B J 2"],
    target: Float[Tensor, "*B J 2"],
    confidence: Float[Tensor, "*B J"],
    *,
    delta_px: float = 5.0,
) -> Tensor:
    """Eq. 3, E_loc, and Eq. 10, E_2d: 1/k sum_i con_i SmoothL1(j_i^de, j_i^pro), a mean over all k joints.

    Of the distance d in pixels SmoothL1 is d^2 / (2 delta) below delta, d - delta / 2 beyond. The paper gives no
    threshold; 5 px is the released code's.
    """
    confidence, gap = _weight_and_gap(pred, target, confidence)
    return mean_of((confidence * _smooth_l1(gap, delta_px)).mean(-1), each=False)


def joint_location_released(
    pred: Float[Tensor, "*B 21 2"], target: Float[Tensor, "*B 21 2"], confidence: Float[Tensor, "*B 21"]
) -> Tensor:
    """E_loc as released: sum w_i^2 SmoothL1 / sum w_i^2 over all joints of the batch, SmoothL1 with delta 5 px.

    w_i is the confidence times 2 for the wrist, 1.5 for fingertips, 1 for others.
    """
    confidence, gap = _weight_and_gap(pred, target, confidence)
    weight = (confidence * confidence.new_tensor(_RELEASED_JOINT_WEIGHTS)).square()
    return _weighted_sum(_smooth_l1(gap, 5.0), weight, weight.sum())


def estimated_location_released(
    pred: Float[Tensor, "*B S 21 2"], target: Float[Tensor, "*B 21 2"], confidence: Float[Tensor, "*B 21"]
) -> Tensor:
    """E_2d as released: the sum over the S stacks of sum con_i^2 d_i / sum con_i^2, d the plain distance in pixels."""
    confidence, gap = _weight_and_gap(pred, target[..., None, :, :].expand_as(pred), confidence[..., None, :])
    weight = confidence.square()
    return _weighted_sum(torch.linalg.vector_norm(gap, dim=-1), weight, weight.sum() / pred.shape[-3])


def keypoint_consistency(
    projected: Float[Tensor, "*B J 2"], estimated: Float[Tensor, "*B J 2"], *, delta_px: float = 5.0
) -> Tensor:
    """Eq. 11, E_cons: 1/k sum_i SmoothL1(j_i^pro, j_i^2d), SmoothL1 as in `joint_location`; both get a gradient."""
    return mean_of(_smooth_l1(apart(projected, estimated, None), delta_px).mean(-1), each=False)


def bone_orientation(
    pred: Float[Tensor, "*B 21 2"], target: Float[Tensor, "*B 21 2"], confidence: Float[Tensor, "*B 21"]
) -> Tensor:
    """Eq. 4, E_ori: 1/m sum_i conf_i^bone ||v_i^de - v_i^pro||_2^2, a mean over all m = 20 bones.

    v is the bone over its length plus 1e-4 px (as released, so that a bone without length is zero), conf^bone the
    product of the confidences of its two joints.
    """
    known = confidence > 0
    confidence = torch.where(known, confidence, 0.0)
    start, end = [list(joints) for joints in zip(*BONES, strict=True)]
    gap = _bone_directions(target, known, start, end) - _bone_directions(pred, known, start, end)
    return mean_of((confidence[..., start] * confidence[..., end] * gap.square().sum(-1)).mean(-1), each=False)


def shape_regularization(betas: Float[Tensor, "*B S"]) -> Tensor:
    """E_beta = ||beta - 0||, its gradient 0 at the mean shape."""
    return mean_of(torch.linalg.vector_norm(precise(betas), dim=-1), each=False)


def shape_regularization_released(betas: Float[Tensor, "*B S"]) -> Tensor:
    """E_beta as released: the mean square of all numbers."""
    return mean_of(precise(betas).square().mean(-1), each=False)


def texture_outliers(texture: Float[Tensor, "*B F 3"]) -> Tensor:
    """E_C: |c - mean| of the colours farther from a sample's mean over faces than 2 std, 0 of others; a mean over all.

    Mean and std are those of a channel over the F faces, std with divisor F - 1. The penalty is the whole way to the
    mean, not the excess, and its gradient reaches the mean too.
    """
    return mean_of(_outlier_distance(texture), each=False)


def texture_outliers_released(texture: Float[Tensor, "*B F 3"], confidence: Float[Tensor, "*B"]) -> Tensor:
    """E_C as released: sum 2 tc E / sum tc^2 over the samples, which is 2 / tc times their mean for equal tc.

    `confidence` tc is that of the texture (in that code the mean over joints, 0 where any is at most 0.1).
    """
    known = confidence > 0
    confidence = torch.where(known, confidence, 0.0)
    distance = _outlier_distance(torch.where(known[..., None, None], texture, 0.0))
    return _weighted_sum(distance, 2 * confidence, confidence.square().sum())


def mean_color(
    pred: Float[Tensor, "*B C H W"],
    target: Float[Tensor, "*B C H W"],
    silhouette: Float[Tensor, "*B H W"],
    confidence: Float[Tensor, "*B"],
) -> Tensor:
    """The released code's further term: |mean of I_re - mean of I|, weighted over the samples by tc^2 / sum tc^2.

    Each mean is one number over channels and the pixels of the silhouette, which only says where (no gradient goes to
    it). That code takes the whole image, its render's background white and its target's black.
    """
    known = confidence > 0
    inside = ((silhouette.detach() > 0) & known[..., None, None]).flatten(-2)
    difference = reduced(apart(pred, target, None).mean(-3).flatten(-2), inside, each=True).abs()
    weight = torch.where(known, confidence, 0.0).square()
    return _weighted_sum(difference, weight, weight.sum())


def bone_length(joints: Float[Tensor, "*B 21 3"], length_m: float = 0.0282) -> Tensor:
    """E_s: | ||J_9 - J_10|| - length | of the middle finger's proximal phalanx, metres; a mean over samples."""
    base, tip = _SCALE_BONE
    length = torch.linalg.vector_norm(apart(joints[..., base, :], joints[..., tip, :], None), dim=-1)
    return mean_of((length - length_m).abs(), each=False)


def pose_limits(pose: Float[Tensor, "*B 15 3"]) -> Tensor:
    """E_J: excess in rad over `S2HAND_RANGES_RAD` of raw axis-angle components, mean pose added; axis weights 1, 1, 2.

    A mean over 16 x 3 numbers: the root counts as released, where its input is constant and within its range.
    """
    pose = precise(pose)
    low, high = torch.from_numpy(S2HAND_RANGES_RAD).to(pose).unbind(-1)
    excess = (pose - high).clamp_min(0) + (low - pose).clamp_min(0)
    weighted = excess * pose.new_tensor(_LIMIT_AXIS_WEIGHTS)
    return mean_of(weighted.sum((-1, -2)) / (3 * _POSED_JOINTS), each=False)


def _weight_and_gap(pred: Tensor, target: Tensor, confidence: Tensor) -> tuple[Tensor, Tensor]:
    """Confidences and pred - target, both 0 where a confidence is not above 0, expanded to the points' shape."""
    known = (confidence > 0).expand(pred.shape[:-1])
    return torch.where(known, confidence, 0.0), apart(pred, target, known[..., None])


def _smooth_l1(gap: Tensor, delta: float) -> Tensor:
    squared = gap.square().sum(-1)
    far = squared.clamp_min(delta**2).sqrt() - delta / 2
    return torch.where(squared < delta**2, squared / (2 * delta), far)


def _bone_directions(points: Tensor, known: Tensor, start: list[int], end: list[int]) -> Tensor:
    points = apart(points, torch.zeros_like(points), known[..., None])
    bones = points[..., end, :] - points[..., start, :]
    return bones / (torch.linalg.vector_norm(bones, dim=-1, keepdim=True) + _BONE_EPS_PX)


def _outlier_distance(texture: Tensor) -> Tensor:
    """|c - mean| where it exceeds 2 std, averaged over faces and channels: [*B]."""
    texture = precise(texture)
    distance = (texture - texture.mean(-2, keepdim=True)).abs()
    squares = distance.detach().square()
    outside = squares > 4 * squares.sum(-2, keepdim=True) / max(texture.shape[-2] - 1, 1)
    return torch.where(outside, distance, 0.0).mean((-1, -2))


def _weighted_sum(values: Tensor, weight: Tensor, total: Tensor) -> Tensor:
    """sum(values * weight) / total, 0 where the total is."""
    return (values * (weight / torch.where(total > 0, total, 1.0))).sum()
