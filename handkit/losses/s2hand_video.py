"""S2HAND(V)'s losses on sequences (Tu et al. 2023, section 3.3), and one they are compared with.

Convention: [*B, T] are sequences of T frames, in order of time. A loss is the mean over sequences, or frames, that are
valid; what is not has neither value nor gradient, NaN included, and nothing valid gives 0. The other term of Table 4,
SeqHAND's, is `temporal_consistency`.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from handkit.geometry.rotations import axis_angle_to_quaternion
from handkit.losses.reduce import precise, reduced, valid_mean


def quaternion_path(axis_angle: Float[Tensor, "*B T J 3"], valid: Bool[Tensor, "*B T"] | None = None) -> Tensor:
    """Eq. 17, E_quat: || sum_i Psi(H_i, H_i+1) - Psi(H_1, H_n) ||, rad, Euclidean over joints; a mean over sequences.

    Psi is the angle between two rotations. The loss is 0 wherever a joint turns about one axis in one direction by
    less than pi in all, at any speed (Eq. 13); a joint at rest has no gradient. J is 16: the root's rotation and 15
    of the fingers with the mean pose added (Eq. 18). A sequence with an invalid frame takes no part. Computed in
    float64, as `metrics.quaternion_smoothness_rad` with `frames=None`.
    """
    q = _quaternions(axis_angle, valid)
    path = _angle_between(q[..., :-1, :, :], q[..., 1:, :, :]).sum(-2)
    direct = _angle_between(q[..., 0, :, :], q[..., -1, :, :])
    longer = torch.linalg.vector_norm(path - direct, dim=-1)
    return valid_mean(longer, None if valid is None else valid.all(-1)).to(precise(axis_angle).dtype)


def thresholded_motion(
    axis_angle: Float[Tensor, "*B T J 3"], threshold_rad: float, valid: Bool[Tensor, "*B T"] | None = None
) -> Tensor:
    """max(Psi(H_i, H_i+1) - threshold, 0), rad, a mean over joints and neighbouring frames that are both valid.

    It stands for Table 4's smooth loss [34], "limiting neighboring pose variation with a threshold": the paper gives
    neither formula nor threshold, so this form is ours.
    """
    q = _quaternions(axis_angle, valid)
    excess = (_angle_between(q[..., :-1, :, :], q[..., 1:, :, :]) - threshold_rad).clamp_min(0)
    pairs = None if valid is None else valid[..., 1:] & valid[..., :-1]
    return valid_mean(excess.mean(-1), pairs).to(precise(axis_angle).dtype)


def texture_shape_consistency(
    lighted: Float[Tensor, "*B T F 3"], betas: Float[Tensor, "*B T S"], valid: Bool[Tensor, "*B T"] | None = None
) -> Tensor:
    """Eq. 21, E_T&S: ||C_i^L - mean C^L|| + ||beta_i - mean beta|| as a mean over frames.

    The printed sum over n frames is n times it. C^L is `render.shading.lighted_texture`.
    """
    return texture_consistency(lighted, valid) + shape_consistency(betas, valid)


def texture_consistency(lighted: Float[Tensor, "*B T F 3"], valid: Bool[Tensor, "*B T"] | None = None) -> Tensor:
    """The texture's part of Eq. 21, ||C_i^L - mean C^L|| (Frobenius), as a mean over a sequence's valid frames."""
    return _from_their_mean(lighted.flatten(-2), valid)


def shape_consistency(betas: Float[Tensor, "*B T S"], valid: Bool[Tensor, "*B T"] | None = None) -> Tensor:
    """The shape's part of Eq. 21, ||beta_i - mean beta||, as a mean over a sequence's valid frames.

    Sequences without any take no part. Equal frames give exactly 0, and no gradient.
    """
    return _from_their_mean(betas, valid)


def _from_their_mean(values: Float[Tensor, "*B T P"], valid: Bool[Tensor, "*B T"] | None) -> Tensor:
    values = precise(values)
    if valid is None:
        valid = torch.ones(values.shape[:-1], dtype=torch.bool, device=values.device)
    # From a frame of its own sequence: the mean of equal numbers is not always that number.
    first = valid.int().argmax(-1)[..., None, None].expand(*values.shape[:-2], 1, values.shape[-1])
    moved = torch.where(valid[..., None], values - values.detach().gather(-2, first), 0.0)
    mean = moved.sum(-2, keepdim=True) / valid.sum(-1).clamp_min(1)[..., None, None]
    distance = torch.linalg.vector_norm(moved - mean, dim=-1)
    return valid_mean(reduced(distance, valid, each=True), valid.any(-1))


def _quaternions(axis_angle: Tensor, valid: Tensor | None) -> Tensor:
    turns = axis_angle.double()
    return axis_angle_to_quaternion(turns if valid is None else torch.where(valid[..., None, None], turns, 0.0))


def _angle_between(a: Float[Tensor, "*B 4"], b: Float[Tensor, "*B 4"]) -> Float[Tensor, "*B"]:
    """Psi, in [0, pi]: cos(Psi / 2) = |q . q'| (Eq. 19; Eq. 16 lacks its arccos), the sign being no part of a rotation.

    Through the lengths of sum and difference instead of an arccos: finite slopes at both ends, and 0 at rest.
    """
    b = torch.where((a * b).sum(-1, keepdim=True) < 0, -b, b)
    return 4 * torch.atan2(torch.linalg.vector_norm(b - a, dim=-1), torch.linalg.vector_norm(b + a, dim=-1))
