import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from handkit.geometry import axis_angle_to_matrix, mirror_points
from handkit.metrics import epe_2d_px, mpjpe_mm, pa_mpjpe_mm, reprojection_error_px


def joint_sets(*batch, seed=0):
    generator = torch.Generator().manual_seed(seed)
    target = 0.08 * torch.randn(*batch, 21, 3, generator=generator, dtype=torch.float64)
    return target + 0.01 * torch.randn(*batch, 21, 3, generator=generator, dtype=torch.float64), target


def test_mpjpe_of_a_known_offset():
    _, target = joint_sets(2, 3)
    error = mpjpe_mm(target + torch.tensor([0.003, 0.004, 0], dtype=torch.float64), target)
    assert error.shape == (2, 3)
    assert torch.allclose(error, torch.full((2, 3), 5.0, dtype=torch.float64))


def test_root_relative_ignores_translation():
    pred, target = joint_sets(4)
    assert torch.allclose(mpjpe_mm(pred + 1, target, root=0), mpjpe_mm(pred - pred[:, :1], target - target[:, :1]))


@given(st.floats(0.1, 10), st.tuples(*[st.floats(-2, 2)] * 6), st.booleans())
def test_pa_mpjpe_is_invariant_under_similarity(scale, numbers, reflection):
    pred, target = joint_sets()
    R = axis_angle_to_matrix(torch.tensor(numbers[:3], dtype=torch.float64))
    moved = scale * pred @ R.T + torch.tensor(numbers[3:], dtype=torch.float64)
    before, after = pa_mpjpe_mm(pred, target, reflection), pa_mpjpe_mm(moved, target, reflection)
    assert after.item() == pytest.approx(before.item(), abs=1e-5)
    assert 0 < before < mpjpe_mm(pred, target)


def test_only_the_form_with_reflections_forgives_a_mirrored_hand():
    _, target = joint_sets()
    assert pa_mpjpe_mm(mirror_points(target), target, reflection=True) < 1e-4
    assert pa_mpjpe_mm(mirror_points(target), target) > 10


def test_float32_input_is_computed_in_float64():
    pred, target = joint_sets(3)
    far = target + 1000.0
    for metric in (mpjpe_mm, pa_mpjpe_mm):
        error = metric((far + (pred - target)).float(), far.float())
        assert error.dtype == torch.float64
    assert torch.allclose(pa_mpjpe_mm(pred.float(), target.float()), pa_mpjpe_mm(pred, target), atol=1e-4)


@pytest.mark.parametrize("metric", [mpjpe_mm, pa_mpjpe_mm, epe_2d_px])
def test_invalid_points_do_not_count(metric):
    pred, target = joint_sets(2)
    if metric is epe_2d_px:
        pred, target = pred[..., :2], target[..., :2]
    valid = torch.ones(2, 21, dtype=torch.bool)
    valid[0, [4, 7]] = False
    kept = valid[0].nonzero()[:, 0]
    expected = metric(pred[0, kept], target[0, kept])
    target[0, 4], pred[0, 7] = torch.nan, 1e9
    assert torch.allclose(metric(pred, target, valid=valid)[0], expected)
    assert torch.allclose(metric(pred, target, valid=valid)[1], metric(pred[1], target[1]))


@pytest.mark.parametrize("metric", [mpjpe_mm, pa_mpjpe_mm, epe_2d_px])
def test_undefined_is_nan_for_that_sample_alone(metric):
    pred, target = joint_sets(3)
    if metric is epe_2d_px:
        pred, target = pred[..., :2], target[..., :2]
    valid = torch.ones(3, 21, dtype=torch.bool)
    valid[0] = False
    pred[1, 5] = torch.nan
    error = metric(pred, target, valid=valid)
    assert error.isnan().tolist() == [True, True, False]


def test_pa_mpjpe_needs_three_points_and_survives_equal_ones():
    pred, target = joint_sets()
    assert pa_mpjpe_mm(pred, target, valid=torch.arange(21) < 2).isnan()
    spread = 1000 * (target - target.mean(0)).norm(dim=-1).mean()
    assert pa_mpjpe_mm(torch.zeros_like(pred), target).item() == pytest.approx(spread.item())


def test_root_invalid_is_nan():
    pred, target = joint_sets()
    assert mpjpe_mm(pred, target, torch.arange(21) > 0, root=0).isnan()


def test_epe_in_pixels():
    target = torch.zeros(2, 21, 2)
    assert epe_2d_px(target + torch.tensor([3.0, 4.0]), target).tolist() == [5.0, 5.0]
    assert math.isnan(epe_2d_px(target[0], target[0], torch.zeros(21, dtype=torch.bool)).item())


def test_reprojection_error_of_known_pixels():
    K = torch.tensor([[500.0, 0, 100], [0, 400, 120], [0, 0, 1]])
    points = torch.tensor([[[0.0, 0, 0.5], [0.05, -0.05, 0.5]]])
    seen = torch.tensor([[[100.0, 120], [150, 80]]])
    assert reprojection_error_px(points, K[None], seen).item() == pytest.approx(0, abs=1e-4)
    assert reprojection_error_px(points, K[None], seen + torch.tensor([3.0, 4])).item() == pytest.approx(5)


def test_a_point_behind_the_camera_has_no_reprojection_error():
    points, target = torch.tensor([[[0.0, 0, 0.5], [0, 0, -0.5]]]), torch.zeros(1, 2, 2)
    K = torch.eye(3)[None]
    assert reprojection_error_px(points, K, target).isnan()
    assert reprojection_error_px(points, K, target, torch.tensor([[True, False]])).item() == 0
