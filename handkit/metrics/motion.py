"""Smoothness and steadiness of sequences, one value per sequence. Never join sequences along T: see `frame_runs`."""

from collections.abc import Sequence

import numpy as np
import roma
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from handkit.geometry.rotations import axis_angle_to_quaternion
from handkit.metrics.points import masked_mean

_MM_PER_M = 1000.0


def acceleration_mm_per_frame2(
    joints: Float[Tensor, "*B T N 3"], valid: Bool[Tensor, "*B T"] | None = None
) -> Float[Tensor, "*B"]:
    """Mean length of the joints' second differences over one sequence, not divided by the frame time.

    A triple of frames with an invalid one is dropped (human_dynamics); NaN without a valid triple.
    """
    if joints.shape[-3] < 3:
        return torch.full(joints.shape[:-3], torch.nan, dtype=torch.float64, device=joints.device)
    if valid is None:
        valid = torch.ones(joints.shape[:-2], dtype=torch.bool, device=joints.device)
    triple = valid[..., :-2] & valid[..., 1:-1] & valid[..., 2:]
    acceleration = joints.double().diff(n=2, dim=-3).norm(dim=-1).mean(-1)
    return _MM_PER_M * masked_mean(acceleration, triple)


def acceleration_error_mm_per_frame2(
    pred: Float[Tensor, "*B T N 3"], target: Float[Tensor, "*B T N 3"], valid: Bool[Tensor, "*B T"] | None = None
) -> Float[Tensor, "*B"]:
    """Mean length of the difference of two sequences' accelerations (ACC-ERR); as `acceleration_mm_per_frame2`."""
    return acceleration_mm_per_frame2(pred.double() - target.double(), valid)


def acceleration_mm_per_s2(
    joints: Float[Tensor, "*B T N 3"], valid: Bool[Tensor, "*B T"] | None = None, *, fps: float | int
) -> Float[Tensor, "*B"]:
    """`acceleration_mm_per_frame2` over the squared frame time."""
    return acceleration_mm_per_frame2(joints, valid) * fps**2


def acceleration_error_mm_per_s2(
    pred: Float[Tensor, "*B T N 3"],
    target: Float[Tensor, "*B T N 3"],
    valid: Bool[Tensor, "*B T"] | None = None,
    *,
    fps: float | int,
) -> Float[Tensor, "*B"]:
    """`acceleration_error_mm_per_frame2` over the squared frame time."""
    return acceleration_error_mm_per_frame2(pred, target, valid) * fps**2


def quaternion_smoothness_rad(
    axis_angle: Float[Tensor, "*B T J 3"], valid: Bool[Tensor, "*B T"] | None = None, *, frames: int | None = 3
) -> Float[Tensor, "*B"]:
    """S2HAND(V) Eq. 17: how much longer the joints' turning is than the direct way, 0 for turning about a fixed axis.

    For every joint the angles from frame to frame are added and the angle from first to last frame is taken off; the
    value is the Euclidean norm over joints. It is the mean over all windows of `frames` successive frames (3 in the
    paper's training), or that of the whole sequence with None. A window with an invalid frame is dropped; NaN without
    any. Angles are the shorter way, at most pi, whatever the quaternions' signs.
    """
    length = axis_angle.shape[-3]
    span = length if frames is None else frames
    if span < 2 or length < span:
        return torch.full(axis_angle.shape[:-3], torch.nan, dtype=torch.float64, device=axis_angle.device)
    if valid is None:
        valid = torch.ones(axis_angle.shape[:-2], dtype=torch.bool, device=axis_angle.device)
    q = axis_angle_to_quaternion(axis_angle.double())
    steps = _angle_between(q[..., :-1, :, :], q[..., 1:, :, :])
    path = steps.unfold(-2, span - 1, 1).sum(-1)
    direct = _angle_between(q[..., : length - span + 1, :, :], q[..., span - 1 :, :, :])
    return masked_mean((path - direct).norm(dim=-1), valid.unfold(-1, span, 1).all(-1))


def mean_change(
    parameters: Float[Tensor, "*B T P"], valid: Bool[Tensor, "*B T"] | None = None, *, squared: bool = False
) -> Float[Tensor, "*B"]:
    """Mean over successive frames of |x_t - x_(t-1)|, of shape (betas) or pose (theta), in the parameters' unit.

    SeqHAND 5.2 prints the average of such differences without a norm; ours is Euclidean, or with `squared` its square
    (that paper's temporal loss). A pair with an invalid frame is dropped; NaN without any pair.
    """
    if valid is None:
        valid = torch.ones(parameters.shape[:-1], dtype=torch.bool, device=parameters.device)
    change = parameters.double().diff(dim=-2).norm(dim=-1)
    return masked_mean(change**2 if squared else change, valid[..., :-1] & valid[..., 1:])


def sd_over_time(values: Float[Tensor, "*B T P"], valid: Bool[Tensor, "*B T"] | None = None) -> Float[Tensor, "*B"]:
    """Mean over dimensions of the standard deviation over the frames, divisor T (S2HAND(V) Tab. 9).

    Shape S.D.: the betas. Texture S.D.: lighted colours, flattened to P. NaN without a valid frame.
    """
    if valid is None:
        valid = torch.ones(values.shape[:-1], dtype=torch.bool, device=values.device)
    series, shown = values.double().mT, valid[..., None, :].expand(values.mT.shape)
    centred = series - masked_mean(series, shown)[..., None]
    return masked_mean(centred**2, shown).sqrt().mean(-1)


def frame_runs(sequences: Sequence[str], frames: Sequence[int] | None = None) -> list[Int[np.ndarray, " T"]]:
    """Rows of each stretch of successive frames, in time order: what a sequence metric may be computed over.

    Rows are grouped by sequence and split where a frame number is missing; without `frames` a sequence's rows follow
    one another in the order given. A frame given twice starts a new stretch.
    """
    rows_of: dict[str, list[int]] = {}
    for row, name in enumerate(sequences):
        rows_of.setdefault(name, []).append(row)
    runs: list[Int[np.ndarray, " T"]] = []
    for rows in map(np.asarray, rows_of.values()):
        if frames is None:
            runs.append(rows)
            continue
        numbers = np.asarray([frames[row] for row in rows])
        order = np.argsort(numbers, kind="stable")
        runs.extend(np.split(rows[order], np.flatnonzero(np.diff(numbers[order]) != 1) + 1))
    return runs


def _angle_between(a: Float[Tensor, "*B 4"], b: Float[Tensor, "*B 4"]) -> Float[Tensor, "*B"]:
    turn = roma.quat_product(b, roma.quat_conjugation(a))
    return 2 * torch.atan2(turn[..., :3].norm(dim=-1), turn[..., 3].abs())
