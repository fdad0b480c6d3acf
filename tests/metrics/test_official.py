"""Whole FreiHAND and HO-3D scores from the package's parts, against the definition written out sample by sample."""

import numpy as np
import pytest
from scipy.linalg import orthogonal_procrustes
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from handkit.hand import load_hand
from handkit.metrics import (
    align_by_trafo,
    align_official,
    align_scale_translation,
    f_score,
    keypoint_measures,
    official_transform,
    point_errors,
)

THRESHOLDS = np.linspace(0.0, 0.05, 100)


class SlowScores:
    """The servers' evaluation in loops over samples, keypoints and thresholds."""

    def __init__(self, xyz, verts, xyz_pred, verts_pred):
        same = verts.shape[1] == verts_pred.shape[1]
        errors = {name: [] for name in ("j", "pa_j", "sc_tr_j", "v", "pa_v")}
        self.values, scores = {}, {"f_5": [], "f_15": [], "pa_f_5": [], "pa_f_15": []}
        for g, gv, p, pv in zip(xyz, verts, xyz_pred, verts_pred, strict=True):
            aligned, trafo = self.align_w_scale(g, p)
            errors["j"].append(self.distances(g, p))
            errors["pa_j"].append(self.distances(g, aligned))
            errors["sc_tr_j"].append(self.distances(g, self.align_sc_tr(g, p)))
            if same:
                pv_aligned, _ = self.align_w_scale(gv, pv)
                errors["v"].append(self.distances(gv, pv))
                errors["pa_v"].append(self.distances(gv, pv_aligned))
            else:
                R, s, s1, t1 = trafo
                pv_aligned = np.dot(pv - pv.mean(0), R.T) * s * s1 + t1 + pv.mean(0)
            for millimetres in (5, 15):
                scores[f"f_{millimetres}"].append(self.f(gv, pv, millimetres / 1000))
                scores[f"pa_f_{millimetres}"].append(self.f(gv, pv_aligned, millimetres / 1000))
        self.values.update({name: np.mean(values) for name, values in scores.items()})
        for name, rows in errors.items():
            if rows:
                columns = np.array(rows).T
                self.values[f"mean_{name}"] = np.mean([np.mean(column) for column in columns])
                self.values[f"auc_{name}"] = np.mean([self.area(column) for column in columns])

    @staticmethod
    def distances(a, b):
        return [np.sqrt(np.sum(np.square(x - y))) for x, y in zip(a, b, strict=True)]

    @staticmethod
    def area(errors):
        pck = [np.mean((errors <= t).astype(float)) for t in THRESHOLDS]
        over = [(THRESHOLDS[i + 1] - THRESHOLDS[i]) * (pck[i] + pck[i + 1]) / 2 for i in range(99)]
        return sum(over) / 0.05

    @staticmethod
    def align_w_scale(gt, pred):
        gt_0, pred_0 = gt - gt.mean(0), pred - pred.mean(0)
        s1, s2 = np.linalg.norm(gt_0) + 1e-8, np.linalg.norm(pred_0) + 1e-8
        R, s = orthogonal_procrustes(gt_0 / s1, pred_0 / s2)
        return np.dot(pred_0 / s2, R.T) * s * s1 + gt.mean(0), (R, s, s1, gt.mean(0) - pred.mean(0))

    @staticmethod
    def align_sc_tr(gt, pred):
        length = np.linalg.norm(pred[9] - pred[0])
        pred = (pred / length if length > 0 else pred) * np.linalg.norm(gt[9] - gt[0])
        return pred - pred[0] + gt[0]

    @staticmethod
    def f(gt, pred, threshold):
        d1, d2 = cKDTree(pred).query(gt)[0], cKDTree(gt).query(pred)[0]
        recall, precision = np.mean(d2 < threshold), np.mean(d1 < threshold)
        return 2 * recall * precision / (recall + precision) if recall + precision > 0 else 0.0


def fast_scores(xyz, verts, xyz_pred, verts_pred):
    pairs = {
        "j": (xyz, xyz_pred),
        "pa_j": (xyz, align_official(xyz, xyz_pred)),
        "sc_tr_j": (xyz, align_scale_translation(xyz, xyz_pred)),
    }
    if verts.shape == verts_pred.shape:
        aligned = align_official(verts, verts_pred)
        pairs |= {"v": (verts, verts_pred), "pa_v": (verts, aligned)}
    else:
        aligned = align_by_trafo(verts_pred, official_transform(xyz, xyz_pred))
    values = {}
    for name, (truth, pred) in pairs.items():
        mean, _, area = keypoint_measures(point_errors(pred, truth), THRESHOLDS).averaged()
        values |= {f"mean_{name}": mean, f"auc_{name}": area}
    for name, mesh in (("f", verts_pred), ("pa_f", aligned)):
        values |= zip((f"{name}_5", f"{name}_15"), f_score(mesh, verts, (0.005, 0.015)).mean(0), strict=True)
    return values


def scene(samples=12, seed=0):
    """True and predicted joints and vertices of turned hands, every third prediction mirrored, two of them far off."""
    rng = np.random.default_rng(seed)
    hand = load_hand("open").v_template
    turns = Rotation.from_rotvec(rng.normal(size=(samples, 3))).as_matrix()
    verts = hand @ turns + rng.normal(size=(samples, 1, 3)) * [0.1, 0.1, 0.05] + [0, 0, 0.7]
    errors = Rotation.from_rotvec(0.1 * rng.normal(size=(samples, 3))).as_matrix()
    pred = (verts + 0.003 * rng.normal(size=verts.shape)) @ errors + 0.01 * rng.normal(size=(samples, 1, 3))
    pred[::3] *= [-1, 1, 1]
    pred[1:3] += 0.3
    joints = np.arange(0, 777, 37)
    return verts[:, joints].copy(), verts, pred[:, joints] + 0.002 * rng.normal(size=(samples, 21, 3)), pred


@pytest.mark.parametrize("kept", [slice(None), slice(0, 778, 2)])
def test_every_number_of_both_servers(kept):
    xyz, verts, xyz_pred, verts_pred = scene()
    expected = SlowScores(xyz, verts, xyz_pred, verts_pred[:, kept]).values
    got = fast_scores(xyz, verts, xyz_pred, verts_pred[:, kept])
    assert got.keys() == expected.keys()
    assert len(got) == (14 if kept == slice(None) else 10)
    for name, value in expected.items():
        assert got[name] == pytest.approx(value, abs=1e-9), name
    assert 0.01 < got["f_5"] < 0.9
    assert got["pa_f_15"] > 0.01


def test_zero_predictor():
    xyz, verts, xyz_pred, verts_pred = scene()
    zeros = np.zeros_like(xyz_pred), np.zeros_like(verts_pred)
    expected, got = SlowScores(xyz, verts, *zeros).values, fast_scores(xyz, verts, *zeros)
    for name, value in expected.items():
        assert got[name] == pytest.approx(value, abs=1e-9), name
    assert got["mean_j"] > 0.5
    assert got["auc_j"] == got["f_5"] == got["f_15"] == 0
    assert 0.03 < got["mean_pa_v"] < 0.08
    assert got["pa_f_15"] < 0.15


def test_truth_scores_perfectly():
    xyz, verts, _, _ = scene()
    got = fast_scores(xyz, verts, xyz, verts)
    for name, value in got.items():
        # Rounding in the alignments costs the area the half step at threshold 0.
        tolerance = 0.5 / 99 + 1e-8 if "auc" in name else 1e-8
        assert value == pytest.approx(0 if name.startswith("mean") else 1, abs=tolerance), name
