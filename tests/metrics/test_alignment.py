import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import orthogonal_procrustes
from scipy.spatial.transform import Rotation

from handkit.metrics import (
    align_by_trafo,
    align_centroid_scale,
    align_official,
    align_root,
    align_scale_translation,
    official_transform,
    pa_mpjpe_mm,
    point_errors,
)

MIRROR = np.array([-1.0, 1, 1])


def joint_sets(samples=6, points=21, *, noise=0.02, seed=0):
    rng = np.random.default_rng(seed)
    gt = 0.06 * rng.normal(size=(samples, points, 3)) + [0, 0, 0.7]
    turns = Rotation.from_rotvec(rng.normal(size=(samples, 3))).as_matrix()
    pred = 1.3 * gt @ turns + noise * rng.normal(size=gt.shape) + 0.1
    pred[::2] *= MIRROR
    return gt, pred


def official(gt, pred):
    """One sample by the definition, with scipy."""
    gt_mean, pred_mean = gt.mean(0), pred.mean(0)
    gt_norm, pred_norm = (np.linalg.norm(x - x.mean(0)) + 1e-8 for x in (gt, pred))
    R, s = orthogonal_procrustes((gt - gt_mean) / gt_norm, (pred - pred_mean) / pred_norm)
    aligned = ((pred - pred_mean) / pred_norm).dot(R.T) * s * gt_norm + gt_mean
    return aligned, R, s, gt_norm, gt_mean - pred_mean


@pytest.mark.parametrize("noise", [0.0, 0.001, 0.02, 0.2])
def test_official_alignment_is_scipys_reflections_included(noise):
    gt, pred = joint_sets(noise=noise)
    aligned, trafo = align_official(gt, pred), official_transform(gt, pred)
    for i in range(len(gt)):
        expected, R, s, gt_norm, shift = official(gt[i], pred[i])
        np.testing.assert_allclose(aligned[i], expected, atol=1e-12)
        np.testing.assert_allclose(trafo.R[i], R, atol=1e-9)
        assert trafo.scale[i] == pytest.approx(s, abs=1e-12)
        assert trafo.gt_norm[i] == pytest.approx(gt_norm, abs=1e-12)
        np.testing.assert_allclose(trafo.shift[i], shift, atol=1e-12)
    if noise < 0.1:
        assert np.linalg.det(trafo.R).round().tolist() == [-1, 1] * 3


def test_a_mirrored_hand_costs_nothing_officially():
    gt, _ = joint_sets()
    assert point_errors(align_official(gt, gt * MIRROR), gt).max() < 1e-8


def test_official_alignment_agrees_with_the_torch_metric():
    import torch

    gt, pred = joint_sets()
    errors = 1000 * point_errors(align_official(gt, pred), gt).mean(-1)
    twin = pa_mpjpe_mm(torch.from_numpy(pred), torch.from_numpy(gt), reflection=True)
    np.testing.assert_allclose(errors, twin.numpy(), atol=1e-4)  # mm: the two place the 1e-8 guard alike, not the sums


@given(st.floats(0.2, 5), st.tuples(*[st.floats(-2, 2)] * 6), st.booleans())
def test_official_alignment_ignores_similarity_of_the_prediction(scale, numbers, mirrored):
    gt, pred = joint_sets(2)
    R = Rotation.from_rotvec(numbers[:3]).as_matrix() * (MIRROR if mirrored else 1)
    moved = align_official(gt, scale * pred @ R + np.array(numbers[3:]))
    np.testing.assert_allclose(moved, align_official(gt, pred), atol=1e-7)  # the 1e-8 beside the norm is not invariant


def test_zero_prediction_comes_to_the_mean_of_the_truth():
    gt, pred = joint_sets()
    aligned = align_official(gt, np.zeros_like(pred))
    np.testing.assert_allclose(aligned, np.broadcast_to(gt.mean(1, keepdims=True), gt.shape), atol=1e-12)


def test_flat_and_equal_points():
    gt, pred = joint_sets()
    flat = pred * [1, 1, 0]
    for source in (flat, np.ones_like(pred), pred[:, :1].repeat(21, 1)):
        for i in range(len(gt)):
            expected = point_errors(official(gt[i], source[i])[0], gt[i])
            got = point_errors(align_official(gt[i], source[i]), gt[i])
            np.testing.assert_allclose(got.mean(), expected.mean(), atol=1e-8)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_one_bad_sample_spoils_itself_alone(bad):
    gt, pred = joint_sets()
    clean = align_official(gt, pred)
    pred[2, 5, 1] = bad
    aligned = align_official(gt, pred)
    assert np.isnan(aligned[2]).all()
    np.testing.assert_allclose(np.delete(aligned, 2, 0), np.delete(clean, 2, 0), atol=1e-12)
    assert np.isnan(align_by_trafo(gt, official_transform(gt, pred))[2]).all()
    gt[3, 0, 0] = bad
    assert np.isnan(align_official(gt, pred)[3]).all()


def test_unequal_vertex_counts_use_the_joints_transform():
    gt, pred = joint_sets()
    mesh = np.random.default_rng(3).normal(size=(6, 50, 3))
    moved = align_by_trafo(mesh, official_transform(gt, pred))
    for i in range(6):
        _, R, s, gt_norm, shift = official(gt[i], pred[i])
        centre = mesh[i].mean(0)
        np.testing.assert_allclose(moved[i], (mesh[i] - centre).dot(R.T) * s * gt_norm + shift + centre, atol=1e-9)


def test_the_official_mesh_transform_shrinks_a_mesh_that_fits():
    gt, _ = joint_sets()
    trafo = official_transform(gt, gt)
    moved = align_by_trafo(gt, trafo)
    np.testing.assert_allclose(moved - gt.mean(1, keepdims=True), (gt - gt.mean(1, keepdims=True)) * 0.48, atol=0.03)


def test_scale_translation_is_ho3ds():
    gt, pred = joint_sets()
    pred[1] = 0
    aligned = align_scale_translation(gt, pred)
    for i in range(len(gt)):
        length = np.sqrt(np.sum((pred[i, 9] - pred[i, 0]) ** 2))
        scaled = pred[i] / length if length > 0 else pred[i]
        scaled = scaled * np.sqrt(np.sum((gt[i, 9] - gt[i, 0]) ** 2))
        np.testing.assert_allclose(aligned[i], scaled - scaled[0] + gt[i, 0], atol=1e-12)
    assert np.array_equal(aligned[1], np.broadcast_to(gt[1, :1], (21, 3)))


def test_scale_translation_by_another_bone():
    gt, pred = joint_sets()
    aligned = align_scale_translation(gt, pred, root=3, bone=(9, 10))
    np.testing.assert_allclose(aligned[:, 3], gt[:, 3])
    lengths = [np.linalg.norm(x[:, 10] - x[:, 9], axis=-1) for x in (aligned, gt)]
    np.testing.assert_allclose(*lengths)


def test_root_alignment():
    gt, pred = joint_sets()
    aligned = align_root(gt, pred, root=9)
    np.testing.assert_allclose(aligned[:, 9], gt[:, 9], atol=1e-15)
    np.testing.assert_allclose(np.diff(aligned, axis=1), np.diff(pred, axis=1), atol=1e-12)


def test_centroid_and_scale_of_the_annotated_tips():
    gt, pred = joint_sets(points=5)
    valid = np.array([[True] * 5, [True, True, False, True, False], [True, False, False, False, False]] * 2)
    gt[~valid] = np.nan
    aligned = align_centroid_scale(gt, pred, valid)
    for i in range(6):
        g, p = gt[i, valid[i]], pred[i, valid[i]]
        if len(g) < 2:
            assert np.isnan(aligned[i]).all()
            continue
        spread = [np.mean([np.linalg.norm(x - points.mean(0)) for x in points]) for points in (g, p)]
        expected = g.mean(0) + spread[0] / spread[1] * (p - p.mean(0))
        np.testing.assert_allclose(aligned[i, valid[i]], expected, atol=1e-12)
    assert np.isnan(align_centroid_scale(gt[:1], np.zeros((1, 5, 3)))).all()


@pytest.mark.parametrize("function", [align_official, align_root, align_scale_translation, align_centroid_scale])
def test_batches_and_float32(function):
    gt, pred = joint_sets()
    many = function(gt, pred)
    np.testing.assert_allclose(many[4], function(gt[4], pred[4]), atol=1e-12)
    np.testing.assert_allclose(many.reshape(2, 3, 21, 3), function(gt.reshape(2, 3, 21, 3), pred.reshape(2, 3, 21, 3)))
    single = function(gt.astype(np.float32), pred.astype(np.float32))
    assert single.dtype == np.float64
    np.testing.assert_allclose(single, many, atol=1e-6)
