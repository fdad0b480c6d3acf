"""SeqHAND's training losses (Yang et al. 2020, section 4); Eq. 11 with a gradient is `mask_fitting`.

Convention: `*B` are frames, [B, T] of sequences. The paper gives no units and prints norms over a whole hand; here a
term is the mean over all valid joints, vertices or frames of a batch, in whatever unit its inputs have, and what is not
valid has neither value nor gradient, NaN included. Half-precision inputs are compared in float32.
"""

from jaxtyping import Bool, Float
from torch import Tensor

from handkit.losses.reduce import apart, valid_mean


def joints_2d_l1(
    pred: Float[Tensor, "*B J 2"], target: Float[Tensor, "*B J 2"], valid: Bool[Tensor, "*B J"] | None = None
) -> Tensor:
    """Eq. 8: L_2D = ||J_2D - x_2D||_1, that is |dx| + |dy| of a joint, as a mean over valid joints."""
    return valid_mean(apart(pred, target, _columns(valid)).abs().sum(-1), valid)


def joints_3d_l2(
    pred: Float[Tensor, "*B J 3"],
    target: Float[Tensor, "*B J 3"],
    valid: Bool[Tensor, "*B J"] | None = None,
    *,
    root: int | None = None,
) -> Tensor:
    """Eq. 9: L_3D = ||R J(theta, beta) - x_3D||_2^2, the squared distance of a joint, as a mean over valid joints.

    With `root` positions are relative to that joint, as where the truth's origin is a camera; a frame whose root is not
    valid then takes no part.
    """
    if root is not None:
        pred, target = root_aligned(pred, pred, root), root_aligned(target, target, root)
        valid = None if valid is None else valid & valid[..., root, None]
    return valid_mean(apart(pred, target, _columns(valid)).square().sum(-1), valid)


def vertices_l2(
    pred: Float[Tensor, "*B V 3"], target: Float[Tensor, "*B V 3"], valid: Bool[Tensor, "*B V"] | None = None
) -> Tensor:
    """Eq. 10: L_3D = ||R M(theta, beta) - x_3D||_2^2, the squared distance of a vertex, a mean over valid vertices."""
    return joints_3d_l2(pred, target, valid)


def temporal_consistency(
    theta: Float[Tensor, "*B T P"],
    beta: Float[Tensor, "*B T S"],
    theta_weight: float,
    valid: Bool[Tensor, "*B T"] | None = None,
) -> Tensor:
    """Eq. 12: ||beta_t-1 - beta_t||_2^2 + theta_weight ||theta_t-1 - theta_t||_2^2, as a mean over pairs of frames.

    Pairs are consecutive frames that are both valid; without any, as for one frame, it is 0. The paper has
    `theta_weight` 2e-4 where it lists its weights and 0.01 under the equation.
    """
    pairs = None if valid is None else valid[..., 1:] & valid[..., :-1]
    moved, changed = (
        apart(values[..., 1:, :], values[..., :-1, :], _columns(pairs)).square().sum(-1) for values in (theta, beta)
    )
    return valid_mean(changed + theta_weight * moved, pairs)


def parameter_l2(
    pred: Float[Tensor, "*B P"], target: Float[Tensor, "*B P"], valid: Bool[Tensor, "*B"] | None = None
) -> Tensor:
    """Eq. 13's ||i^ - i||_2^2 of one of theta, beta, r, t, s, summed over its P numbers, as a mean over valid frames.

    The printed loss is the sum over the five. Of r it compares axis-angle vectors as they stand, so the same turn
    written with another angle is far.
    """
    return valid_mean(apart(pred, target, _columns(valid)).square().sum(-1), valid)


def root_aligned(
    points: Float[Tensor, "*B N 3"], joints: Float[Tensor, "*B J 3"], root: int = 0
) -> Float[Tensor, "*B N 3"]:
    """Points, say vertices, relative to one of the joints."""
    return points - joints[..., root, None, :]


def _columns(valid: Tensor | None) -> Tensor | None:
    return None if valid is None else valid[..., None]
