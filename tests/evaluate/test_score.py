"""Scores against a slow twin of the published definitions, and what happens to samples that cannot be scored."""

import logging
from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import trapezoid

from handkit.data.hands import HandSet
from handkit.errors import HandkitError
from handkit.evaluate.protocols import PROTOCOLS, Thresholds, adapted
from handkit.evaluate.score import score
from handkit.evaluate.scores import Scores

from .conftest import Points, make_points
from .slow import mean_and_auc, official_keys, scale_translation


def hand_set(joints: np.ndarray | None = None, vertices: np.ndarray | None = None, **more: object) -> HandSet:
    given = next(array for array in (joints, vertices, more.get("joints_2d")) if array is not None)
    ids = tuple(f"{i:08d}" for i in range(len(given)))  # type: ignore[arg-type]
    return HandSet(ids=ids, joints=joints, vertices=vertices, source="test", **more)  # type: ignore[arg-type]


def run(name: str, p: Points) -> Scores:
    return score(PROTOCOLS[name], hand_set(p.pred_j, p.pred_v), hand_set(p.gt_j, p.gt_v), method="m")


def assert_equal(summary: dict, expected: dict) -> None:
    for key, value in expected.items():
        assert summary[key] == (value if value is None else pytest.approx(value, abs=1e-6)), key


@pytest.mark.parametrize("noise", [0.001, 0.01, 0.06])
def test_freihand_equals_the_slow_twin(noise: float) -> None:
    p = make_points(noise=noise)
    summary = run("freihand", p).summary
    assert_equal(summary, official_keys(p.gt_j, p.pred_j, p.gt_v, p.pred_v))
    assert list(summary) == [
        *("mpjpe_mm", "auc_j", "pa_mpjpe_mm", "pa_auc_j", "mpvpe_mm", "auc_v", "pa_mpvpe_mm", "pa_auc_v"),
        *("f_score_5mm", "f_score_15mm", "pa_f_score_5mm", "pa_f_score_15mm", "count"),
    ]


def test_freihand_with_another_number_of_vertices(caplog: pytest.LogCaptureFixture) -> None:
    p = make_points()
    p.pred_v = p.pred_v[:, :31]
    with caplog.at_level(logging.WARNING):
        scores = run("freihand", p)
    assert_equal(scores.summary, official_keys(p.gt_j, p.pred_j, p.gt_v, p.pred_v))
    assert scores.summary["mpvpe_mm"] is None
    assert "31 vertices" in caplog.text


def test_reflections_are_allowed_where_the_official_script_allows_them() -> None:
    p = make_points(noise=0.002)
    p.pred_j, p.pred_v = p.pred_j * [-1, 1, 1], p.pred_v * [-1, 1, 1]
    scores = run("freihand", p)
    assert_equal(scores.summary, official_keys(p.gt_j, p.pred_j, p.gt_v, p.pred_v))
    assert any("mirrored" in sentence for sentence in scores.warnings)
    proper = adapted(PROTOCOLS["custom"], alignments=("procrustes", "procrustes-rotation"))
    both = score(proper, hand_set(p.pred_j), hand_set(p.gt_j), method="m").summary
    assert both["pr_mpjpe_mm"] > 2 * both["pa_mpjpe_mm"]  # type: ignore[operator]


def test_ho3d_adds_scale_translation() -> None:
    p = make_points()
    summary = run("ho3d", p).summary
    assert_equal(summary, official_keys(p.gt_j, p.pred_j, p.gt_v, p.pred_v))
    scaled = np.stack([scale_translation(g, q) for g, q in zip(p.gt_j, p.pred_j, strict=True)])
    mean, auc = mean_and_auc(p.gt_j, scaled)
    assert_equal(summary, {"st_mpjpe_mm": mean, "st_auc_j": auc})


def test_perfect_and_zero_predictions_at_the_ends_of_the_curve() -> None:
    p = make_points()
    p.pred_j, p.pred_v = p.gt_j, p.gt_v
    perfect = run("freihand", p).summary
    assert perfect["mpjpe_mm"] == 0
    assert perfect["auc_j"] == perfect["f_score_5mm"] == 1
    p.pred_j, p.pred_v = np.zeros_like(p.gt_j), np.zeros_like(p.gt_v)
    zero = run("freihand", p).summary
    assert zero["auc_j"] == zero["f_score_15mm"] == 0
    assert zero["pa_mpjpe_mm"] == pytest.approx(  # scale 0: every joint at the true mean
        1000 * np.linalg.norm(p.gt_j - p.gt_j.mean(1, keepdims=True), axis=-1).mean()
    )


def test_an_error_equal_to_a_threshold_counts_for_pck_and_not_for_f() -> None:
    truth = np.zeros((1, 21, 3))
    pred = truth + np.array([0.05, 0, 0])
    protocol = adapted(PROTOCOLS["custom"], alignments=("none",), thresholds=Thresholds(0, 50, 2))
    summary = score(protocol, hand_set(pred, pred[:, :1]), hand_set(truth, truth[:, :1]), method="m").summary
    assert summary["auc_j"] == pytest.approx(0.5)
    meshes = hand_set(vertices=np.zeros((1, 4, 3)) + np.array([0.005, 0, 0])), hand_set(vertices=np.zeros((1, 4, 3)))
    assert score(protocol, *meshes, method="m").summary["f_score_5mm"] == 0


def test_samples_that_are_not_finite_are_counted_named_and_left_out(caplog: pytest.LogCaptureFixture) -> None:
    p, rest = make_points(count=6), make_points(count=6)
    p.pred_j[2, 3, 1] = np.nan
    p.pred_v[4, 0] = np.inf
    with caplog.at_level(logging.WARNING):
        scores = run("freihand", p)
    keep = [0, 1, 3, 5]
    assert_equal(scores.summary, official_keys(*(a[keep] for a in (rest.gt_j, rest.pred_j, rest.gt_v, rest.pred_v))))
    assert scores.counts["not_finite"] == 2
    assert "00000002, 00000004" in caplog.text
    assert np.isnan(scores.per_sample["pa_mpjpe_mm"][[2, 4]]).all()
    assert np.isfinite(scores.per_sample["pa_mpjpe_mm"][keep]).all()


def test_nothing_to_score_is_an_error(points: Points) -> None:
    points.pred_j[:] = np.nan
    with pytest.raises(HandkitError, match="7 have predictions that are not finite"):
        run("freihand", points)
    with pytest.raises(HandkitError, match="none of joints"):
        score(PROTOCOLS["rhd"], hand_set(vertices=points.pred_v), hand_set(points.gt_j), method="m")
    with pytest.raises(HandkitError, match=r"\(7, 20, 3\)"):
        score(PROTOCOLS["rhd"], hand_set(points.pred_j[:, :20]), hand_set(points.gt_j), method="m")


def test_means_of_per_sample_values_are_the_summary(points: Points) -> None:
    scores = run("ho3d", points)
    for key, values in scores.per_sample.items():
        assert values.mean() == pytest.approx(scores.summary[key], abs=1e-9), key
    for curve in scores.curves:
        assert "0-50 mm (100 thresholds); " in curve.definition
        assert trapezoid(curve.pck, curve.thresholds) / 50 == pytest.approx(curve.auc)


def test_tips_are_centred_and_scaled_over_the_annotated_ones() -> None:
    p = make_points(count=3)
    tips = [4, 8, 12, 16, 20]
    valid = np.ones((3, 5), bool)
    valid[0, :2] = False
    valid[2, 1:] = False
    truth = hand_set(p.gt_j[:, tips], joints_valid=valid)
    scores = score(PROTOCOLS["egodexter"], hand_set(p.pred_j), truth, method="m")
    expected = []
    for i in (0, 1):
        g, q = p.gt_j[i, tips][valid[i]], p.pred_j[i, tips][valid[i]]
        spread = [np.linalg.norm(x - x.mean(0), axis=1).mean() for x in (g, q)]
        moved = g.mean(0) + spread[0] / spread[1] * (q - q.mean(0))
        expected.append(1000 * np.linalg.norm(moved - g, axis=1).mean())
    assert scores.per_sample["cs_mpjpe_mm"][:2] == pytest.approx(expected)
    assert scores.counts["not_annotated"] == 1
    assert scores.summary["count"] == 2
    assert scores.counts["points"] == 8


def test_stb_is_root_aligned_and_scaled_by_a_middle_bone() -> None:
    p = make_points()
    summary = run("stb", p).summary
    about = [x - x[:, :1] for x in (p.gt_j, p.pred_j)]
    steps = np.linspace(0.02, 0.05, 100)
    assert_equal(summary, dict(zip(("ra_mpjpe_mm", "ra_auc_j"), mean_and_auc(*about, steps), strict=True)))
    length = [np.linalg.norm(x[:, 10] - x[:, 9], axis=1)[:, None, None] for x in (p.gt_j, p.pred_j)]
    scaled = about[1] * length[0] / length[1]
    assert_equal(summary, dict(zip(("st_mpjpe_mm", "st_auc_j"), mean_and_auc(about[0], scaled, steps), strict=True)))


def test_2d_errors(points: Points) -> None:
    truth = hand_set(points.gt_j, joints_2d=points.gt_j[..., :2] * 100)
    pred = hand_set(points.gt_j, joints_2d=points.gt_j[..., :2] * 100 + [2.7, 3.6])
    scores = score(PROTOCOLS["seqhand"], pred, truth, method="m")
    assert scores.summary["epe_2d_px"] == pytest.approx(4.5)
    # 0 up to 4 px and 1 from 5 px on: the trapezoid between them counts half
    assert scores.summary["auc_2d"] == pytest.approx(25.5 / 30)


def test_motion_never_crosses_sequences_or_gaps() -> None:
    rng = np.random.default_rng(1)
    gt, pred = rng.normal(size=(9, 21, 3)), rng.normal(size=(9, 21, 3))
    sequences, frames = ("a",) * 5 + ("b",) * 4, (0, 1, 2, 3, 4, 0, 1, 3, 4)
    truth = hand_set(gt, sequences=sequences, frames=frames)
    scores = score(PROTOCOLS["custom"], hand_set(pred), truth, method="m", fps=30)
    gt, pred = gt - gt[:, :1], pred - pred[:, :1]
    bend = [x[:3] - 2 * x[1:4] + x[2:5] for x in (pred, gt)]
    expected = [1000 * np.linalg.norm(b, axis=-1).mean() for b in (*bend, bend[0] - bend[1])]
    names = ("acc", "acc_true", "acc_err")
    assert [scores.summary[f"{name}_mm_per_frame2"] for name in names] == pytest.approx(expected)
    assert scores.summary["acc_err_mm_per_s2"] == pytest.approx(900 * expected[2])
    assert np.isfinite(scores.per_sample["acc_mm_per_frame2"]).tolist() == [False, *[True] * 3, *[False] * 5]


def test_triples_with_a_frame_that_is_not_scored_are_dropped() -> None:
    rng = np.random.default_rng(2)
    gt, pred = rng.normal(size=(7, 21, 3)), rng.normal(size=(7, 21, 3))
    pred[5] = np.nan
    truth = hand_set(gt, sequences=("a",) * 7, frames=tuple(range(7)))
    scores = score(PROTOCOLS["custom"], hand_set(pred), truth, method="m")
    assert np.flatnonzero(np.isfinite(scores.per_sample["acc_err_mm_per_frame2"])).tolist() == [1, 2, 3]


def test_an_alignment_by_points_that_are_not_annotated_has_no_value(points: Points) -> None:
    valid = np.ones((7, 21), bool)
    valid[1, 0] = valid[2, 10] = valid[3, 15] = False
    truth = hand_set(points.gt_j, joints_valid=valid)
    per_sample = score(PROTOCOLS["rhd"], hand_set(points.pred_j), truth, method="m").per_sample
    assert np.flatnonzero(np.isnan(per_sample["ra_mpjpe_mm"])).tolist() == [1]
    assert np.flatnonzero(np.isnan(per_sample["st_mpjpe_mm"])).tolist() == [1, 2]
    assert np.isfinite(per_sample["pa_mpjpe_mm"]).all()
    errors = 1000 * np.linalg.norm(points.gt_j[3] - points.pred_j[3], axis=1)
    assert per_sample["mpjpe_mm"][3] == pytest.approx(errors[valid[3]].mean())


def test_meshes_move_with_the_joints() -> None:
    p = make_points()
    protocol = replace(adapted(PROTOCOLS["custom"], alignments=("root", "scale-translation")), bone=(9, 10))
    summary = score(protocol, hand_set(p.pred_j, p.pred_v), hand_set(p.gt_j, p.gt_v), method="m").summary
    moved = p.pred_v - p.pred_j[:, :1] + p.gt_j[:, :1]
    lengths = [np.linalg.norm(x[:, 10] - x[:, 9], axis=1)[:, None, None] for x in (p.gt_j, p.pred_j)]
    scaled = (p.pred_v - p.pred_j[:, :1]) * lengths[0] / lengths[1] + p.gt_j[:, :1]
    for prefix, vertices in (("ra_", moved), ("st_", scaled)):
        assert summary[f"{prefix}mpvpe_mm"] == pytest.approx(mean_and_auc(p.gt_v, vertices)[0])
