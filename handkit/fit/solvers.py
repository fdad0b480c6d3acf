"""Levenberg-Marquardt over many hands at once: rows that may share a shape, and tracks coupled in time."""

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.linalg import solveh_banded
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

    The pose blocks are eliminated by the Schur complement, so the cost is linear in the number of rows.
    Returns poses, betas and each group's cost.
    """
    groups = len(betas)
    n = POSE_SIZE

    def total(cost: Tensor, shape: Tensor) -> Tensor:
        shared = torch.zeros(groups, dtype=cost.dtype, device=cost.device).index_add(0, group, cost)
        return shared if beta_precision is None else shared + (beta_precision * shape**2).sum(-1)

    damping = torch.full((groups,), 1e-2, dtype=betas.dtype, device=betas.device)
    now = objective.evaluate(pose, betas[group], jacobian=True)
    cost = total(now.cost, betas)
    for _ in range(iterations):
        g, H = now.gradient, now.hessian
        assert g is not None
        assert H is not None
        H = H + torch.diag_embed(damping[group, None] * torch.diagonal(H, dim1=1, dim2=2) + 1e-9)
        factor = torch.linalg.cholesky(H[:, :n, :n])
        step_betas = torch.zeros_like(betas)
        rhs = -g[:, :n, None]
        if beta_precision is not None:
            cross = H[:, :n, n:]
            both = torch.cholesky_solve(torch.cat([cross, rhs], -1), factor)
            schur = H[:, n:, n:] - cross.mT @ both[..., :10]
            right = -g[:, n:] - (cross.mT @ both[..., 10:]).squeeze(-1)
            A = torch.diag_embed(beta_precision.expand(groups, 10)).index_add(0, group, schur)
            b = (-beta_precision * betas).index_add(0, group, right)
            step_betas = torch.linalg.solve(A, b)
            step = both[..., 10] - (both[..., :10] @ step_betas[group, :, None]).squeeze(-1)
        else:
            step = torch.cholesky_solve(rhs, factor).squeeze(-1)
        tried_pose, tried_betas = pose.moved(step), betas + step_betas
        tried = objective.evaluate(tried_pose, tried_betas[group], jacobian=True)
        tried_cost = total(tried.cost, tried_betas)
        better = tried_cost < cost
        rows = better[group]
        pose = Pose.where(rows, tried_pose, pose)
        betas = torch.where(better[:, None], tried_betas, betas)
        assert tried.gradient is not None
        assert tried.hessian is not None
        now = now._replace(
            gradient=torch.where(rows[:, None], tried.gradient, g),
            hessian=torch.where(rows[:, None, None], tried.hessian, now.hessian),
        )
        gain = (cost - tried_cost) / cost.clamp_min(1e-12)
        cost = torch.where(better, tried_cost, cost)
        damping = torch.where(better, damping * 0.2, damping * 5).clamp(1e-7, MAX_DAMPING)
        if bool(((gain < 1e-5) & (better | (damping > 1e3))).all()):
            break
    return pose, betas, cost


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
    cost = float(objective.evaluate(pose, shape).cost.sum() + smoothness.cost(pose))
    for _ in range(iterations):
        now = objective.evaluate(pose, shape, jacobian=True)
        assert now.gradient is not None
        assert now.hessian is not None
        g, blocks = smoothness.linearise(pose)
        g = g + now.gradient[:, :POSE_SIZE]
        H = now.hessian[:, :POSE_SIZE, :POSE_SIZE] + torch.diag_embed(blocks[0])
        improved = False
        while damping < MAX_DAMPING and not improved:
            damped = H + torch.diag_embed(damping * torch.diagonal(H, dim1=1, dim2=2) + 1e-9)
            step = _solve_banded(damped, blocks[1], blocks[2], -g, held)
            tried = pose.moved(step)
            tried_cost = float(objective.evaluate(tried, shape).cost.sum() + smoothness.cost(tried))
            improved = tried_cost < cost
            damping = max(damping * 0.2, 1e-7) if improved else damping * 8
        if not improved:
            break
        gain, cost, pose = (cost - tried_cost) / max(cost, 1e-12), tried_cost, tried
        if gain < 1e-4:
            break
    return pose


def _solve_banded(diagonal: Tensor, first: Tensor, second: Tensor, rhs: Tensor, held: int) -> Tensor:
    """Solve the block-pentadiagonal system whose off-diagonal blocks are diagonal; held frames get a zero step."""
    step = torch.zeros_like(rhs)
    D = diagonal[held:].cpu().numpy()
    T, n = D.shape[:2]
    band = np.zeros((2 * n + 1, T, n))
    for k in range(n):
        band[k, :, : n - k] = np.diagonal(D, offset=-k, axis1=1, axis2=2)
    band[n, : T - 1] = first[held:].cpu().numpy()
    band[2 * n, : T - 2] = second[held:].cpu().numpy()
    solution = solveh_banded(
        band.reshape(2 * n + 1, T * n), rhs[held:].cpu().numpy().ravel(), lower=True, check_finite=False
    )
    step[held:] = torch.as_tensor(solution.reshape(T, n), dtype=rhs.dtype, device=rhs.device)
    return step
