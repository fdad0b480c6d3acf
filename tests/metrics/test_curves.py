import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from handkit.metrics import auc, frames_within_px, keypoint_measures, pck_curve, point_auc, point_errors

OFFICIAL = np.linspace(0.0, 0.05, 100)


def trapezoid(y, x):
    return sum((x[i + 1] - x[i]) * (y[i] + y[i + 1]) / 2 for i in range(len(x) - 1))


def eval_util(errors, valid, thresholds):
    """hand3d's evaluator written out: per keypoint, then the mean over the keypoints that have data."""
    means, aucs, curves = [], [], []
    for k in range(errors.shape[1]):
        of_keypoint = [float(e) for e, v in zip(errors[:, k], valid[:, k], strict=True) if v]
        if not of_keypoint:
            continue
        curve = [sum(e <= t for e in of_keypoint) / len(of_keypoint) for t in thresholds]
        means.append(sum(of_keypoint) / len(of_keypoint))
        aucs.append(trapezoid(curve, thresholds) / trapezoid([1.0] * len(thresholds), thresholds))
        curves.append(curve)
    return np.mean(means), np.mean(curves, 0), np.mean(aucs)


@pytest.mark.parametrize("thresholds", [OFFICIAL, np.linspace(0.02, 0.05, 15), np.array([0.0, 0.01, 0.04])])
def test_measures_are_evalutils(thresholds):
    rng = np.random.default_rng(0)
    errors = np.abs(0.03 * rng.normal(size=(40, 21)))
    errors[0], errors[1, :5] = 0, thresholds[2]  # on a threshold: counted
    valid = rng.random(errors.shape) < 0.8
    valid[:, 7] = False
    measures = keypoint_measures(errors, thresholds, valid)
    for got, expected in zip(measures.averaged(), eval_util(errors, valid, thresholds), strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-12)
    assert measures.samples.tolist() == valid.sum(0).tolist()
    assert np.isnan(measures.mean[7])
    assert np.isnan(measures.auc[7])
    assert np.isnan(measures.pck[7]).all()


def test_everything_invalid_is_undefined():
    mean, pck, area = keypoint_measures(np.ones((3, 2)), OFFICIAL, np.zeros((3, 2), bool)).averaged()
    assert np.isnan(mean)
    assert np.isnan(area)
    assert np.isnan(pck).all()
    assert np.isnan(pck_curve(np.ones(3), OFFICIAL, np.zeros(3, bool))).all()


def test_a_prediction_that_is_not_a_number_is_wrong_at_every_threshold_and_shows_in_the_mean():
    errors = np.full((4, 3), 0.01)
    errors[1, 2] = np.nan
    measures = keypoint_measures(errors, OFFICIAL)
    assert np.isnan(measures.mean).tolist() == [False, False, True]
    assert measures.pck[:, -1].tolist() == [1, 1, 0.75]
    assert pck_curve(errors, OFFICIAL)[-1] == 11 / 12


def test_zero_error_is_correct_at_threshold_zero_and_one_ulp_more_is_not():
    assert pck_curve(np.array([0.0, 0.05, np.nextafter(0.05, 1)]), OFFICIAL)[[0, -1]].tolist() == [1 / 3, 2 / 3]


errors_on_and_off_thresholds = st.one_of(st.floats(0, 0.1), st.sampled_from(OFFICIAL.tolist()), st.just(np.nan))


@given(arrays(np.float64, (7, 3), elements=errors_on_and_off_thresholds))
def test_pooled_curve_and_area(errors):
    pck = pck_curve(errors, OFFICIAL)
    np.testing.assert_allclose(pck, [(errors <= t).mean() for t in OFFICIAL], atol=1e-12)
    assert auc(pck, OFFICIAL) == pytest.approx(trapezoid(pck, OFFICIAL) / 0.05, abs=1e-12)
    assert point_auc(errors, OFFICIAL).mean() == pytest.approx(auc(pck, OFFICIAL), abs=1e-12)
    np.testing.assert_allclose(keypoint_measures(errors, OFFICIAL).auc, point_auc(errors, OFFICIAL).mean(0), atol=1e-12)


def test_area_of_known_curves():
    uneven = np.array([0.0, 1.0, 4.0])
    assert auc(np.array([[1.0, 1, 1], [0, 0, 1], [0, 1, 1]]), uneven).tolist() == [1, 1.5 / 4, 3.5 / 4]
    assert np.isnan(auc(np.ones(1), np.ones(1)))


def test_errors_are_euclidean_in_any_dimension():
    pred = np.array([[3.0, 4, 12], [np.inf, 0, 0], [np.nan, 0, 0]], np.float32)
    errors = point_errors(pred, np.zeros_like(pred))
    assert errors.dtype == np.float64
    assert errors.tolist()[:2] == [13, np.inf]
    assert np.isnan(errors[2])
    assert np.isnan(point_errors(pred, pred)[1])
    assert point_errors(pred[:1, :2], np.zeros((1, 2))).tolist() == [5]


def within_one_by_one(errors, valid, thresholds):
    """Fig. 7 written out: every frame by its farthest joint."""
    shares, frames = [], [i for i in range(len(errors)) if valid[i].any()]
    for threshold in thresholds:
        inside = [all(e <= threshold for e, v in zip(errors[i], valid[i], strict=True) if v) for i in frames]
        shares.append(sum(inside) / len(frames))
    return shares


def test_frames_within_a_distance_are_counted_by_their_farthest_joint():
    rng = np.random.default_rng(3)
    thresholds = np.linspace(0, 40, 81)
    errors = rng.gamma(2, 5, (50, 21))
    errors[0], errors[1, :5], errors[2, 3] = 0, thresholds[20], np.nan
    valid = rng.random(errors.shape) < 0.7
    valid[0], valid[2], valid[4] = True, True, False
    expected = within_one_by_one(errors, valid, thresholds)
    np.testing.assert_allclose(frames_within_px(errors, thresholds, valid), expected, atol=1e-12)
    everywhere = np.ones_like(valid)
    np.testing.assert_allclose(
        frames_within_px(errors, thresholds), within_one_by_one(errors, everywhere, thresholds), atol=1e-12
    )
    assert expected[0] == pytest.approx(1 / 49)  # the frame without an error, among those with a valid joint
    assert frames_within_px(errors[2:3], thresholds)[-1] == 0


def test_frames_within_a_distance_of_nothing_are_undefined():
    assert np.isnan(frames_within_px(np.ones((3, 21)), np.arange(5.0), np.zeros((3, 21), bool))).all()
    assert np.isnan(frames_within_px(np.ones((0, 21)), np.arange(5.0))).all()
