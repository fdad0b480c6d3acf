"""Small sets of hand-like points."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from handkit.conventions import FINGERS


@dataclass
class Points:
    """Truth and prediction: joints [N, 21, 3], vertices [N, V, 3], metres in front of the camera."""

    gt_j: np.ndarray
    gt_v: np.ndarray
    pred_j: np.ndarray
    pred_v: np.ndarray

    def write(self, folder: Path, *, order: list[int] | None = None, axes: tuple[int, int, int] = (1, 1, 1)) -> Path:
        """In the servers' files; `order` and `axes` are theirs."""
        folder.mkdir(parents=True, exist_ok=True)
        order = order or list(range(21))
        gt_j, pred_j = self.gt_j[:, order] * axes, self.pred_j[:, order] * axes
        (folder / "evaluation_xyz.json").write_text(json.dumps(gt_j.tolist()))
        (folder / "evaluation_verts.json").write_text(json.dumps((self.gt_v * axes).tolist()))
        (folder / "pred.json").write_text(json.dumps([pred_j.tolist(), (self.pred_v * axes).tolist()]))
        return folder


def make_points(count: int = 7, vertices: int = 40, seed: int = 0, noise: float = 0.01) -> Points:
    rng = np.random.default_rng(seed)
    joints = np.zeros((count, 21, 3))
    for finger in range(len(FINGERS)):
        direction = np.array([0.3 * (finger - 2), -1.0, 0.1 * finger]) + rng.normal(size=(count, 3)) * 0.15
        for k in range(4):
            length = 0.08 if k == 0 else 0.03
            start = joints[:, 0] if k == 0 else joints[:, 4 * finger + k]
            bend = rng.normal(size=(count, 3)) * 0.4 * k
            step = direction + bend
            joints[:, 4 * finger + k + 1] = start + length * step / np.linalg.norm(step, axis=1, keepdims=True)
    turn = np.linalg.qr(rng.normal(size=(count, 3, 3)))[0]
    turn[np.linalg.det(turn) < 0] *= -1
    joints = joints @ turn
    share = rng.dirichlet(np.ones(21), vertices)
    meshes = share @ joints + rng.normal(size=(count, vertices, 3)) * 0.004
    place = rng.normal(size=(count, 1, 3)) * 0.05 + [0, 0, 0.7]
    joints, meshes = joints + place, meshes + place
    shift = rng.normal(size=(count, 1, 3)) * noise
    return Points(
        joints,
        meshes,
        1.05 * joints + shift + rng.normal(size=joints.shape) * noise,
        1.05 * meshes + shift + rng.normal(size=meshes.shape) * noise,
    )


@pytest.fixture
def points() -> Points:
    return make_points()
