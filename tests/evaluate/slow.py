"""The official scores again, written from their published definitions in the plainest way: the fast code's twin."""

import numpy as np
from scipy.linalg import orthogonal_procrustes

STEPS = np.linspace(0.0, 0.05, 100)


def align(gt: np.ndarray, pred: np.ndarray) -> np.ndarray:
    gt_mean, pred_mean = gt.mean(0), pred.mean(0)
    gt_norm = np.linalg.norm(gt - gt_mean) + 1e-8
    pred_norm = np.linalg.norm(pred - pred_mean) + 1e-8
    unit = (pred - pred_mean) / pred_norm
    R, s = orthogonal_procrustes((gt - gt_mean) / gt_norm, unit)
    return unit @ R.T * s * gt_norm + gt_mean


def move_like(gt: np.ndarray, pred: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The joints' transform on other points, about their own mean."""
    gt_norm = np.linalg.norm(gt - gt.mean(0)) + 1e-8
    pred_norm = np.linalg.norm(pred - pred.mean(0)) + 1e-8
    R, s = orthogonal_procrustes((gt - gt.mean(0)) / gt_norm, (pred - pred.mean(0)) / pred_norm)
    mean = points.mean(0)
    return (points - mean) @ R.T * s * gt_norm + (gt.mean(0) - pred.mean(0)) + mean


def scale_translation(gt: np.ndarray, pred: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(pred[9] - pred[0])
    scaled = pred * (np.linalg.norm(gt[9] - gt[0]) / length) if length else pred
    return scaled - scaled[0] + gt[0]


def mean_and_auc(gt: np.ndarray, pred: np.ndarray, steps: np.ndarray = STEPS) -> tuple[float, float]:
    """Means over keypoints of mean errors (mm) and of areas under each keypoint's own curve."""
    means, areas = [], []
    for j in range(gt.shape[1]):
        errors = [float(np.linalg.norm(gt[i, j] - pred[i, j])) for i in range(len(gt))]
        means.append(np.mean(errors))
        pck = [np.mean([error <= step for error in errors]) for step in steps]
        area = sum((a + b) / 2 * (t - s) for a, b, s, t in zip(pck, pck[1:], steps, steps[1:], strict=False))
        areas.append(area / (steps[-1] - steps[0]))
    return 1000 * float(np.mean(means)), float(np.mean(areas))


def f_score(gt: np.ndarray, pred: np.ndarray, distance: float) -> float:
    apart = np.linalg.norm(gt[:, None] - pred[None], axis=-1)
    recall, precision = np.mean(apart.min(1) < distance), np.mean(apart.min(0) < distance)
    return float(2 * recall * precision / (recall + precision)) if recall + precision else 0.0


def official_keys(
    gt_j: np.ndarray, pred_j: np.ndarray, gt_v: np.ndarray, pred_v: np.ndarray
) -> dict[str, float | None]:
    same = gt_v.shape == pred_v.shape
    aligned_j = np.stack([align(g, p) for g, p in zip(gt_j, pred_j, strict=True)])
    if same:
        aligned_v = np.stack([align(g, p) for g, p in zip(gt_v, pred_v, strict=True)])
    else:
        aligned_v = np.stack([move_like(g, p, v) for g, p, v in zip(gt_j, pred_j, pred_v, strict=True)])
    keys: dict[str, float | None] = {}
    for prefix, joints, vertices in (("", pred_j, pred_v), ("pa_", aligned_j, aligned_v)):
        keys[f"{prefix}mpjpe_mm"], keys[f"{prefix}auc_j"] = mean_and_auc(gt_j, joints)
        keys[f"{prefix}mpvpe_mm"], keys[f"{prefix}auc_v"] = mean_and_auc(gt_v, vertices) if same else (None, None)
        for mm in (5, 15):
            values = [f_score(g, p, mm / 1000) for g, p in zip(gt_v, vertices, strict=True)]
            keys[f"{prefix}f_score_{mm}mm"] = float(np.mean(values))
    keys["count"] = len(gt_j)
    return keys
