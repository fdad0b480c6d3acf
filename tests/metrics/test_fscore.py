import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from handkit.hand import load_hand
from handkit.metrics import f_score, f_score_parts

THRESHOLDS = (0.005, 0.015)


def brute_force(pred, gt, threshold):
    """One sample by the definition: all distances, in float64."""
    distances = np.sqrt(np.square(pred[:, None] - gt[None]).sum(-1))
    from_pred = [bool(d < threshold) for d in distances.min(1)]
    from_gt = [bool(d < threshold) for d in distances.min(0)]
    precision, recall = sum(from_pred) / len(from_pred), sum(from_gt) / len(from_gt)
    total = precision + recall
    return (2 * precision * recall / total if total > 0 else 0.0), precision, recall


def assert_as_brute_force(pred, gt, thresholds):
    parts = f_score_parts(pred, gt, thresholds)
    for i in range(len(pred)):
        for k, threshold in enumerate(thresholds):
            got = [column[i, k] for column in parts]
            np.testing.assert_allclose(got, brute_force(pred[i], gt[i], threshold), rtol=0, atol=1e-15)
    return parts


def hands(samples=4, noise=0.004, seed=0):
    rng = np.random.default_rng(seed)
    gt = load_hand("open").v_template + 0.3 * rng.normal(size=(samples, 1, 3))
    shift = 0.01 * rng.normal(size=(samples, 1, 3))
    return gt + shift + noise * rng.normal(size=gt.shape), gt


def test_hands_against_brute_force():
    parts = assert_as_brute_force(*hands(), THRESHOLDS)
    assert 0.1 < parts.f[:, 0].mean() < 0.9
    assert 0.9 < parts.f[:, 1].mean() < 1


def test_hands_against_a_kd_tree_with_unequal_vertex_counts():
    pred, gt = hands()
    pred = pred[:, np.random.default_rng(2).permutation(778)[:500]]
    for threshold in (0.003, *THRESHOLDS):
        parts = f_score_parts(pred, gt, [threshold])
        for i in range(len(pred)):
            near_gt, _ = cKDTree(gt[i]).query(pred[i])
            near_pred, _ = cKDTree(pred[i]).query(gt[i])
            assert parts.precision[i, 0] == (near_gt < threshold).mean()
            assert parts.recall[i, 0] == (near_pred < threshold).mean()


@given(
    sizes=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    grid=st.sampled_from([0.001, 0.005, 0.0075, 0.1]),
    flat=st.integers(0, 7),
    far=st.sampled_from([0.0, 0.02, 1000.0]),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=150, deadline=None)
def test_points_on_a_lattice_meet_the_thresholds_exactly(sizes, grid, flat, far, seed):
    rng = np.random.default_rng(seed)
    kept = [(flat >> axis) & 1 for axis in range(3)]
    pred, gt = (grid * rng.integers(-4, 5, (1, size, 3)) * kept + far for size in sizes)
    assert_as_brute_force(pred, gt, [grid, 0.015, 2 * grid, 0.005, np.sqrt(2) * grid, 1e3, 0.0])


def test_at_the_threshold_is_not_within_it():
    gt = np.zeros((1, 1, 3))
    for threshold in (0.005, 0.015, 0.1, 1 / 3, 3.0):
        at = np.array([[[0.0, threshold, 0]]])
        below = np.array([[[0.0, np.nextafter(threshold, 0), 0]]])
        assert f_score(at, gt, [threshold])[0, 0] == brute_force(at[0], gt[0], threshold)[0] == 0
        assert f_score(below, gt, [threshold])[0, 0] == brute_force(below[0], gt[0], threshold)[0]


def test_thresholds_in_any_order_and_number():
    pred, gt = hands(2)
    thresholds = [0.015, 0.0, 0.002, np.inf, 0.005]
    together = f_score(pred, gt, thresholds)
    assert together[:, 1].tolist() == [0, 0]
    assert together[:, 3].tolist() == [1, 1]
    for k, threshold in enumerate(thresholds):
        assert np.array_equal(together[:, [k]], f_score(pred, gt, [threshold]))
    assert np.array_equal(together, f_score(pred, gt, np.array(thresholds)))
    assert (np.diff(f_score(pred, gt, np.linspace(0, 0.03, 40))) >= 0).all()


def test_nothing_near_is_zero_and_the_same_mesh_is_one():
    pred, gt = hands()
    assert (f_score(pred + 1, gt, THRESHOLDS) == 0).all()
    assert (f_score(gt, gt, THRESHOLDS) == 1).all()
    assert (f_score(np.zeros_like(gt), gt, THRESHOLDS) == 0).all()


def test_symmetric_and_blind_to_vertex_order():
    pred, gt = hands()
    here, there = f_score_parts(pred, gt, THRESHOLDS), f_score_parts(gt, pred, THRESHOLDS)
    np.testing.assert_allclose(here.f, there.f, atol=1e-15)
    assert np.array_equal(here.precision, there.recall)
    shuffled = np.random.default_rng(1).permutation(778)
    assert np.array_equal(here.f, f_score(pred[:, shuffled], gt, THRESHOLDS))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_vertex_that_is_not_a_number_leaves_its_sample_undefined(bad):
    pred, gt = hands()
    pred[1, 700, 2], gt[3, 0, 0] = bad, bad
    f = f_score(pred, gt, THRESHOLDS)
    assert np.isnan(f).all(1).tolist() == [False, True, False, True]
    clean_pred, clean_gt = hands()
    assert np.array_equal(f[[0, 2]], f_score(clean_pred, clean_gt, THRESHOLDS)[[0, 2]])


def test_extreme_coordinates():
    pred, gt = hands(1)
    assert_as_brute_force(pred * 1e-100, gt * 1e-100, [5e-103])
    assert_as_brute_force(1e6 * pred, 1e6 * gt, [5e3])
    assert_as_brute_force(pred + 1e8, gt + 1e8, THRESHOLDS)
    gt[0, 0] = 1e6
    assert_as_brute_force(pred, gt, THRESHOLDS)


def test_any_number_of_threads_and_samples():
    pred, gt = hands(5)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = f_score(pred, gt, THRESHOLDS)
        torch.set_num_threads(3)
        assert np.array_equal(one, f_score(pred, gt, THRESHOLDS))
    finally:
        torch.set_num_threads(before)
    assert f_score(pred[:0], gt[:0], THRESHOLDS).shape == (0, 2)
    assert np.array_equal(f_score(pred.astype(np.float32), gt, [1.0]), np.ones((5, 1)))


def test_meshes_that_do_not_go_together():
    pred, gt = hands(2)
    with pytest.raises((ValueError, TypeError)):  # the latter where shapes are checked at the call
        f_score(pred[:1], gt, THRESHOLDS)
    with pytest.raises(ValueError, match="do not go with"):
        f_score(pred[:, :0], gt, THRESHOLDS)
