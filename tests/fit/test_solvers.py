"""The solvers' linear algebra against dense twins."""

import pytest
import torch

from handkit.fit.kinematics import Pose, skew
from handkit.fit.solvers import Smoothness, _solve_banded


def coupled_system(T, n=5):
    generator = torch.Generator().manual_seed(T)
    root = torch.randn(T, n, n, generator=generator, dtype=torch.float64)
    D = root @ root.mT + 8 * torch.eye(n, dtype=torch.float64)
    first = torch.randn(T - 1, n, generator=generator, dtype=torch.float64)
    second = torch.randn(max(T - 2, 0), n, generator=generator, dtype=torch.float64)
    dense = torch.block_diag(*D)
    for offset, blocks in ((1, first), (2, second)):
        for t, block in enumerate(blocks):
            a, b = slice(t * n, t * n + n), slice((t + offset) * n, (t + offset) * n + n)
            dense[b, a] = dense[a, b] = torch.diag(block)
    return D, first, second, dense, torch.randn(T, n, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("T", [3, 4, 9, 10])
@pytest.mark.parametrize("held", [0, 2])
def test_banded_solve_equals_the_dense_one(T, held):
    D, first, second, dense, rhs = coupled_system(T)
    n = rhs.shape[1]
    step = _solve_banded(D, first, second, rhs, held)
    expected = torch.linalg.solve(dense[held * n :, held * n :], rhs[held:].flatten()).reshape(-1, n)
    torch.testing.assert_close(step[held:], expected, atol=1e-10, rtol=1e-10)
    assert (step[:held] == 0).all()


def test_constant_velocity_over_uneven_times_has_no_acceleration():
    time = torch.tensor([0.0, 0.03, 0.1, 0.13, 0.5], dtype=torch.float64)
    axis = torch.tensor([0.3, -0.5, 0.2], dtype=torch.float64)
    pose = Pose(
        torch.linalg.matrix_exp(skew(time[:, None] * axis)),
        time[:, None] * torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64),
        time[:, None, None].expand(5, 15, 3),
    )
    smoothness = Smoothness(time, torch.ones(51, dtype=torch.float64))
    torch.testing.assert_close(smoothness.residual(pose), torch.zeros(3, 51, dtype=torch.float64), atol=1e-9, rtol=0)
