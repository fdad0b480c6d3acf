import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import orthogonal_procrustes
from torch.autograd import gradcheck

from handkit.geometry import align, axis_angle_to_matrix, mirror_points, procrustes


def freihand_align(target, source):
    """FreiHAND's align_w_scale, written out."""
    t1, t2 = target.mean(0), source.mean(0)
    s1, s2 = np.linalg.norm(target - t1) + 1e-8, np.linalg.norm(source - t2) + 1e-8
    R, s = orthogonal_procrustes((target - t1) / s1, (source - t2) / s2)
    return (source - t2) / s2 @ R.T * s * s1 + t1


def hamer_align(source, target):
    """HaMeR's similarity with det-correction: scale = trace / variance, written out."""
    mu1, mu2 = source.mean(0), target.mean(0)
    x1, x2 = source - mu1, target - mu2
    covariance = x1.T @ x2
    U, _, Vt = np.linalg.svd(covariance)
    Z = np.diag([1.0, 1.0, np.sign(np.linalg.det(U @ Vt))])
    R = Vt.T @ Z @ U.T
    scale = np.trace(R @ covariance) / (x1**2).sum()
    return scale * x1 @ R.T + mu2


def random_sets(*batch, n=21, seed=0):
    generator = torch.Generator().manual_seed(seed)
    source = 0.08 * torch.randn(*batch, n, 3, generator=generator, dtype=torch.float64)
    return source, source + 0.03 * torch.randn(*batch, n, 3, generator=generator, dtype=torch.float64) + 0.5


@pytest.mark.parametrize("mirrored", [False, True])
def test_matches_both_published_forms(mirrored):
    source, target = random_sets(20)
    if mirrored:
        source = mirror_points(source)
    with_reflection = align(source, target, reflection=True)
    proper = align(source, target, reflection=False)
    for i in range(20):
        assert np.abs(with_reflection[i].numpy() - freihand_align(target[i].numpy(), source[i].numpy())).max() < 1e-9
        assert np.abs(proper[i].numpy() - hamer_align(source[i].numpy(), target[i].numpy())).max() < 1e-8
    assert torch.allclose(with_reflection, proper) != mirrored


def test_forms_differ_only_on_reflections():
    source, target = random_sets(50, seed=3)
    source[25:] = mirror_points(source[25:])
    proper, free = (procrustes(source, target, reflection=r) for r in (False, True))
    assert torch.allclose(torch.linalg.det(proper.R), torch.ones(50, dtype=torch.float64))
    is_reflection = torch.linalg.det(free.R) < 0
    assert is_reflection.any()
    assert not is_reflection.all()
    same = (proper.R - free.R).abs().amax((-1, -2)) < 1e-9
    assert torch.equal(same, ~is_reflection)


@given(st.floats(0.2, 5), st.tuples(*[st.floats(-3, 3)] * 6), st.booleans())
def test_recovers_a_similarity(scale, numbers, reflection):
    source = random_sets()[0]
    R = axis_angle_to_matrix(torch.tensor(numbers[:3], dtype=torch.float64))
    shift = torch.tensor(numbers[3:], dtype=torch.float64)
    found = procrustes(source, scale * source @ R.T + shift, reflection=reflection)
    assert torch.allclose(found.R, R, atol=1e-8)
    assert found.scale.item() == pytest.approx(scale, rel=1e-6)
    assert torch.allclose(found.t, shift, atol=1e-6)


def test_is_optimal_and_without_scale_rigid():
    source, target = random_sets(seed=5)
    for scale in (True, False):
        found = procrustes(source, target, reflection=False, scale=scale)
        best = (found.apply(source) - target).square().sum()
        generator = torch.Generator().manual_seed(0)
        for _ in range(20):
            step = axis_angle_to_matrix(0.05 * torch.randn(3, generator=generator, dtype=torch.float64))
            other = found._replace(R=step @ found.R, scale=found.scale * (1.01 if scale else 1))
            assert (other.apply(source) - target).square().sum() > best
    assert found.scale == 1


def test_integer_weights_repeat_points():
    source, target = random_sets(seed=7)
    weights = torch.ones(21, dtype=torch.float64)
    weights[3], weights[5] = 3, 0
    kept = [*range(5), 3, 3, *range(6, 21)]
    weighted = procrustes(source, target, reflection=False, weights=weights)
    repeated = procrustes(source[kept], target[kept], reflection=False)
    for a, b in zip(weighted, repeated, strict=True):
        assert torch.allclose(a, b, atol=1e-9)


@pytest.mark.parametrize("reflection", [False, True])
def test_batch_is_the_loop_in_both_dtypes(reflection):
    source, target = random_sets(2, 3)
    batched = align(source, target, reflection=reflection)
    assert torch.allclose(batched[1, 2], align(source[1, 2], target[1, 2], reflection=reflection))
    single = align(source.float(), target.float(), reflection=reflection)
    assert single.dtype == torch.float32
    assert torch.allclose(single.double(), batched, atol=1e-6)


@pytest.mark.parametrize("reflection", [False, True])
@pytest.mark.parametrize("mirrored", [False, True])
def test_gradient(reflection, mirrored):
    source, target = random_sets(2, n=6, seed=2)
    if mirrored:
        source = mirror_points(source)
    weights = torch.linspace(0.5, 2, 12, dtype=torch.float64).reshape(2, 6)

    def aligned(s, t, w):
        return align(s, t, reflection=reflection, weights=w)

    assert gradcheck(aligned, (source.requires_grad_(), target.requires_grad_(), weights.requires_grad_()), atol=1e-5)


def degenerate_pairs():
    source, _ = random_sets(n=8)
    flat = source * torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)
    line = source * torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    return {
        "identical": (source, source),
        "planar": (flat, flat),
        "planar, turned over": (flat, mirror_points(flat)),
        "mirrored": (source, mirror_points(source)),
        "line": (line, line),
        "source all equal": (torch.ones_like(source), source),
        "target all equal": (source, torch.ones_like(source)),
        "both all equal": (torch.ones_like(source), torch.ones_like(source)),
        "a mirror-symmetric octahedron": (torch.eye(3).double().repeat(2, 1), -torch.eye(3).double().repeat(2, 1)),
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("reflection", [False, True])
@pytest.mark.parametrize("name", degenerate_pairs())
def test_degenerate_sets_stay_finite(name, reflection, dtype):
    source, target = (points.to(dtype).clone().requires_grad_() for points in degenerate_pairs()[name])
    similarity = procrustes(source, target, reflection=reflection)
    residual = similarity.apply(source) - target
    gradients = torch.autograd.grad(residual.square().sum() + similarity.R.sum(), (source, target))
    for result in (*similarity, residual, *gradients):
        assert result.isfinite().all()
    if name in ("identical", "planar", "planar, turned over", "line", "both all equal"):
        assert residual.abs().max() < 1e-6


def test_no_weight_at_all_is_finite():
    source, target = random_sets()
    similarity = procrustes(source, target, reflection=False, weights=torch.zeros(21, dtype=torch.float64))
    assert similarity.scale == 0
    assert similarity.t.isfinite().all()
