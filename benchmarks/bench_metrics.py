"""All FreiHAND scores of 3,960 hands in memory, and the F-score beside scipy's KD-tree, on two threads.

    pytest benchmarks/bench_metrics.py

Predictions are off by about 7 mm and turned by about 6 degrees; F-scores at 5 and 15 mm.
"""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from handkit.hand import load_hand
from handkit.metrics import align_official, f_score, keypoint_measures, point_errors

SAMPLES = 3960
F_THRESHOLDS = (0.005, 0.015)
THRESHOLDS = np.linspace(0.0, 0.05, 100)


@pytest.fixture(autouse=True)
def _two_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


def meshes(samples: int) -> tuple[np.ndarray, np.ndarray]:
    """True and predicted vertices [samples, 778, 3] in metres."""
    rng = np.random.default_rng(0)
    turns, errors = (Rotation.from_rotvec(s * rng.normal(size=(samples, 3))).as_matrix() for s in (1.0, 0.06))
    gt = load_hand("open").v_template @ turns + rng.normal(size=(samples, 1, 3)) * [0.1, 0.1, 0.05]
    gt[..., 2] += 0.7
    return gt, (gt + 0.003 * rng.normal(size=gt.shape) - [0, 0, 0.7]) @ errors + np.array([0.004, 0.004, 0.704])


def tree_f_score(pred: np.ndarray, gt: np.ndarray) -> np.ndarray:
    """The definition with a KD-tree of each mesh, one sample after the other."""
    scores = []
    for p, g in zip(pred, gt, strict=True):
        from_pred, from_gt = cKDTree(g).query(p)[0], cKDTree(p).query(g)[0]
        pairs = [((from_pred < t).mean(), (from_gt < t).mean()) for t in F_THRESHOLDS]
        scores.append([2 * a * b / (a + b) if a + b > 0 else 0.0 for a, b in pairs])
    return np.array(scores)


def test_all_scores_of_freihand(benchmark: Any, capsys: pytest.CaptureFixture) -> None:
    gt, pred = meshes(SAMPLES)
    joints = slice(0, 777, 37)

    def run() -> None:
        for points in (np.s_[:, joints], np.s_[:]):
            truth, guess = gt[points], pred[points]
            for form in (guess, align_official(truth, guess)):
                keypoint_measures(point_errors(form, truth), THRESHOLDS)
        for mesh in (pred, align_official(gt, pred)):
            f_score(mesh, gt, F_THRESHOLDS)

    benchmark.pedantic(run, rounds=3, warmup_rounds=1)
    seconds = benchmark.stats.stats.median
    with capsys.disabled():
        print(f"\n{SAMPLES} samples, 21 joints and 778 vertices, all scores: {seconds:.2f} s")
    assert seconds < 4


def test_f_score_beside_a_kd_tree(capsys: pytest.CaptureFixture) -> None:
    gt, pred = meshes(SAMPLES)
    f_score(pred[:2], gt[:2], F_THRESHOLDS)
    few = 400
    ours, trees = [], []
    for _ in range(3):
        start = time.perf_counter()
        found = f_score(pred, gt, F_THRESHOLDS)
        middle = time.perf_counter()
        expected = tree_f_score(pred[:few], gt[:few])
        ours.append(1e6 * (middle - start) / SAMPLES)
        trees.append(1e6 * (time.perf_counter() - middle) / few)
        np.testing.assert_allclose(found[:few], expected, atol=1e-15)
    fast, slow = np.median(ours), np.median(trees)
    with capsys.disabled():
        print(
            f"\nF-score of two meshes: {fast:.0f} us a sample; KD-tree {slow:.0f} us, {slow / fast:.1f} times as long"
        )
    assert slow > 3 * fast
