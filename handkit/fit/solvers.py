"""Levenberg-Marquardt over many hands at once: rows that may share a shape, and tracks coupled in time."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from handkit.fit.kinematics import POSE_SIZE, Pose
from handkit.fit.objective import Objective

MAX_DAMPING = 1e6


def solve_rows(
    objective: Objective,
    pose: Pose,
    betas: Float[Tensor, "G 10"],
    group: Int[Tensor, " B"],
    *,
    beta_precision: Float[Tensor, " 10"] | None,
    iterations: int,
) -> tuple[Pose, Float[Tensor, "G 10"], Float[Tensor, " G"]]:
    """Fit rows independently but for the shape, which rows of one group share; shape stays if `beta_precision` is None.

    Returns poses, betas and each group's cost.
    """
    groups = len(betas)
    n = POSE_SIZE

    def total(cost: Tensor, shape: Tensor) -> Tensor:
        shared = torch.zeros(groups, dtype=cost.dtype, device=cost.device).index_add(0, group, cost)
        return shared if beta_precision is None else shared + (beta_precision * shape**2).sum(-1)

    damping = torch.full((groups,), 1e-2, dtype=betas.dtype, device=betas.device)
    now, g, H = objective.linearise(pose, betas[group])
    cost = total(now, betas)
    for _ in range(iterations):
        A = H + torch.diag_embed(damping[group, None] * torch.diagonal(H, dim1=1, dim2=2) + 1e-9)
        if beta_precision is None:
            step = torch.cholesky_solve(-g[:, :n, None], torch.linalg.cholesky(A[:, :n, :n]))[..., 0]
            step_betas = torch.zeros_like(betas)
        else:
            step, step_betas = _shared_shape_step(A, g, betas, group, beta_precision)
        tried_pose, tried_betas = pose.moved(step), betas + step_betas
        tried, tried_g, tried_H = objective.linearise(tried_pose, tried_betas[group])
        tried_cost = total(tried, tried_betas)
        better = tried_cost < cost
        rows = better[group]
        pose = Pose.where(rows, tried_pose, pose)
        betas = torch.where(better[:, None], tried_betas, betas)
        g, H = torch.where(rows[:, None], tried_g, g), torch.where(rows[:, None, None], tried_H, H)
        gain = (cost - tried_cost) / cost.clamp_min(1e-12)
        cost = torch.where(better, tried_cost, cost)
        damping = torch.where(better, damping * 0.2, damping * 5).clamp(1e-7, MAX_DAMPING)
        if bool(((gain < 1e-5) & (better | (damping > 1e3))).all()):
            break
    return pose, betas, cost


def _shared_shape_step(
    H: Tensor, g: Tensor, betas: Tensor, group: Tensor, beta_precision: Tensor
) -> tuple[Tensor, Tensor]:
    """Steps of pose [B,51] and shape [G,10]: the pose blocks are eliminated by the Schur complement."""
    n = POSE_SIZE
    cross = H[:, :n, n:]
    both = torch.cholesky_solve(torch.cat([cross, -g[:, :n, None]], -1), torch.linalg.cholesky(H[:, :n, :n]))
    schur = H[:, n:, n:] - cross.mT @ both[..., :10]
    right = -g[:, n:] - (cross.mT @ both[..., 10:])[..., 0]
    A = torch.diag_embed(beta_precision.expand(len(betas), 10)).index_add(0, group, schur)
    b = (-beta_precision * betas).index_add(0, group, right)
    step_betas = torch.linalg.solve(A, b)
    return both[..., 10] - (both[..., :10] @ step_betas[group, :, None])[..., 0], step_betas


class Smoothness:
    """Acceleration of rotation, translation and angles along a track, in units of their sigma.

    Second differences over the frames' own times, so gaps and variable frame rates need no special case. A
    Geman-McClure loss lets fast motion through: what accelerates far beyond sigma is taken as meant.
    """

    def __init__(self, time_s: Float[Tensor, " T"], sigma: Float[Tensor, " 51"], robust: float = 6.0) -> None:
        dt = (time_s[1:] - time_s[:-1]).clamp_min(1e-3)
        mid = (dt[1:] + dt[:-1]) / 2
        self.before, self.after = 1 / (dt[:-1] * mid), 1 / (dt[1:] * mid)
        self.weight, self.robust2 = 1 / sigma, robust**2

    def residual(self, pose: Pose) -> Float[Tensor, "T2 51"]:
        turn = pose.rotation[1:] @ pose.rotation[:-1].mT
        steps = torch.cat([_small_log(turn), pose.transl.diff(dim=0), pose.angles.flatten(1).diff(dim=0)], -1)
        return (steps[1:] * self.after[:, None] - steps[:-1] * self.before[:, None]) * self.weight

    def cost(self, pose: Pose) -> Tensor:
        squared = self.residual(pose) ** 2
        return (self.robust2 * squared / (self.robust2 + squared)).sum()

    def linearise(self, pose: Pose) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        """Gradient [T,51] and the (diagonal) blocks of the matrix on the main, first and second off-diagonals."""
        r = self.residual(pose)
        scale = (self.robust2 / (self.robust2 + r**2)) ** 2
        T, n = len(r) + 2, r.shape[1]
        coefficient = torch.stack([self.before, -(self.before + self.after), self.after])[:, :, None] * self.weight
        g = r.new_zeros(T, n)
        blocks = (r.new_zeros(T, n), r.new_zeros(T - 1, n), r.new_zeros(T - 2, n))
        for a in range(3):
            g[a : a + T - 2] += coefficient[a] * scale * r
            for b in range(a, 3):
                blocks[b - a][a : a + T - 2] += coefficient[a] * coefficient[b] * scale
        return g, blocks


def _small_log(turn: Float[Tensor, "T 3 3"]) -> Float[Tensor, "T 3"]:
    """Axis-angle of rotations between neighbouring frames (below pi)."""
    w = torch.stack([turn[:, 2, 1] - turn[:, 1, 2], turn[:, 0, 2] - turn[:, 2, 0], turn[:, 1, 0] - turn[:, 0, 1]], -1)
    sine = w.norm(dim=-1) / 2
    cosine = (turn.diagonal(dim1=1, dim2=2).sum(-1) - 1) / 2
    angle = torch.atan2(sine, cosine)
    return w * (torch.where(sine > 1e-6, angle / sine.clamp_min(1e-6), torch.ones_like(sine)) / 2)[:, None]


def solve_track(
    objective: Objective,
    pose: Pose,
    betas: Float[Tensor, " 10"],
    smoothness: Smoothness,
    *,
    held: int = 0,
    iterations: int = 8,
) -> Pose:
    """Fit all frames of a track together; the first `held` frames stay as they are."""
    T = len(pose.transl)
    shape = betas.expand(T, 10)
    damping = 1e-3
    cost = float(objective.cost(pose, shape).sum() + smoothness.cost(pose))
    for _ in range(iterations):
        _, data_g, data_H = objective.linearise(pose, shape)
        g, blocks = smoothness.linearise(pose)
        g = g + data_g[:, :POSE_SIZE]
        H = data_H[:, :POSE_SIZE, :POSE_SIZE] + torch.diag_embed(blocks[0])
        improved = False
        while damping < MAX_DAMPING and not improved:
            damped = H + torch.diag_embed(damping * torch.diagonal(H, dim1=1, dim2=2) + 1e-9)
            step = _solve_banded(damped, blocks[1], blocks[2], -g, held)
            tried = pose.moved(step)
            tried_cost = float(objective.cost(tried, shape).sum() + smoothness.cost(tried))
            improved = tried_cost < cost
            damping = max(damping * 0.2, 1e-7) if improved else damping * 8
        if not improved:
            break
        gain, cost, pose = (cost - tried_cost) / max(cost, 1e-12), tried_cost, tried
        if gain < 1e-4:
            break
    return pose


def _solve_banded(
    diagonal: Float[Tensor, "T N N"],
    first: Float[Tensor, "T1 N"],
    second: Float[Tensor, "T2 N"],
    rhs: Float[Tensor, "T N"],
    held: int,
) -> Float[Tensor, "T N"]:
    """Solve the block-pentadiagonal system whose off-diagonal blocks are diagonal; held frames get a zero step.

    Two frames make one block, which leaves a block-tridiagonal Cholesky factorisation.
    """
    D, b = diagonal[held:], rhs[held:]
    T, n = b.shape
    pairs = (T + 1) // 2
    A, B, right = D.new_zeros(pairs, 2 * n, 2 * n), D.new_zeros(pairs, 2 * n, 2 * n), b.new_zeros(pairs, 2 * n)
    A.diagonal(dim1=1, dim2=2).fill_(1.0)
    even, odd = D[::2], D[1::2]
    A[:, :n, :n], A[: len(odd), n:, n:] = even, odd
    right[:, :n], right[: len(odd), n:] = b[::2], b[1::2]
    e1, e2 = torch.diag_embed(first[held:]), torch.diag_embed(second[held:])
    A[: len(e1[::2]), n:, :n], A[: len(e1[::2]), :n, n:] = e1[::2], e1[::2]
    B[: len(e2[::2]), :n, :n] = e2[::2]  # B couples a pair (columns) to the next one (rows)
    B[: len(e1[1::2]), :n, n:] = e1[1::2]
    B[: len(e2[1::2]), n:, n:] = e2[1::2]
    factors, coupled, solved = [torch.linalg.cholesky(A[0])], [], []
    solved.append(torch.linalg.solve_triangular(factors[0], right[0, :, None], upper=False))
    for i in range(1, pairs):
        Y = torch.linalg.solve_triangular(factors[-1], B[i - 1].mT, upper=False)
        coupled.append(Y)
        factors.append(torch.linalg.cholesky(A[i] - Y.mT @ Y))
        part = right[i, :, None] - Y.mT @ solved[-1]
        solved.append(torch.linalg.solve_triangular(factors[-1], part, upper=False))
    x = [torch.linalg.solve_triangular(factors[-1].mT, solved[-1], upper=True)]
    for i in range(pairs - 2, -1, -1):
        part = solved[i] - coupled[i] @ x[-1]
        x.append(torch.linalg.solve_triangular(factors[i].mT, part, upper=True))
    step = torch.zeros_like(rhs)
    step[held:] = torch.stack(x[::-1]).reshape(-1, n)[:T]
    return step
