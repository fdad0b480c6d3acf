"""Scores of invented hands: their errors are known by construction."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from handkit.data.hands import HandSet
from handkit.evaluate.scores import Curve, Scores
from handkit.images import write_image

K = np.array([[300.0, 0, 80], [0, 300, 60], [0, 0, 1]])


def build_scores(method: str, *, count: int = 30, offset_mm: float = 0.0, protocol: str = "freihand") -> Scores:
    """Sample i errs by i + offset mm; sample 3 has no value."""
    errors = np.arange(count, dtype=np.float64) + offset_mm
    errors[3] = np.nan
    known = errors[np.isfinite(errors)]
    thresholds = np.linspace(0, 50, 100)
    pck = (known[:, None] <= thresholds).mean(0)
    auc = float(((pck[1:] + pck[:-1]) / 2).mean())
    summary: dict[str, float | int | None] = {
        "mpjpe_mm": float(2 * known.mean()),
        "pa_mpjpe_mm": float(known.mean()),
        "pa_auc_j": auc,
        "pa_f_score_5mm": None,
        "count": len(known),
    }
    return Scores(
        method=method,
        protocol=protocol,
        definition="joints after Procrustes",
        ids=tuple(f"s{i:04d}" for i in range(count)),
        summary=summary,
        per_sample={"mpjpe_mm": 2 * errors, "pa_mpjpe_mm": errors},
        curves=(Curve("joints, PA", thresholds, pck, auc, "mm", "0-50 mm, 100 steps"),),
        per_joint={"pa_mpjpe_mm": np.linspace(4, 12, 21) + offset_mm},
        sequences=tuple(f"walk{i // 10}" for i in range(count)),
        counts={"truth": count, "not_finite": 1},
        warnings=(f"{method} may be mirrored",),
    )


@dataclass(frozen=True)
class Hands:
    truth: HandSet
    predictions: HandSet


@pytest.fixture
def hands(tmp_path: Path) -> Hands:
    """Thirty flat hands 0.5 m away, one picture with a white dot on the wrist, predictions 1 cm to the right."""
    rng = np.random.default_rng(0)
    shape = rng.uniform(-0.04, 0.04, (21, 3))
    joints = np.repeat((shape + np.array([0.02, 0.01, 0.5]))[None], 30, axis=0)
    image = np.full((120, 160, 3), 60, np.uint8)
    wrist = joints[0, 0] @ K.T
    x, y = (wrist[:2] / wrist[2]).astype(int)
    image[y - 1 : y + 2, x - 1 : x + 2] = (255, 255, 0)
    write_image(tmp_path / "image.png", image)
    ids = tuple(f"s{i:04d}" for i in range(30))
    truth = HandSet(
        ids, joints=joints, K=np.repeat(K[None], 30, axis=0), images=(tmp_path / "image.png",) * 30, source="truth.json"
    )
    return Hands(truth, HandSet(ids, joints=joints + np.array([0.01, 0, 0]), source="predictions.json"))
