"""Detected keypoints: what is not seen does not count, far ones count linearly."""

import pytest
import torch

from handkit import losses
from tests.losses.common import gradient, random


def test_keypoints_ignore_what_is_not_seen() -> None:
    pred, target = 100 * random(2, 21, 2), 100 * random(2, 21, 2, seed=1)
    weight = torch.ones(2, 21, dtype=torch.float64)
    target[0, 3], weight[1] = torch.nan, 0
    value, slope = gradient(lambda p: losses.keypoint_distance(p, target, weight), pred)
    assert value.isfinite()
    assert slope.isfinite().all()
    assert (slope[1] == 0).all()
    assert (slope[0, 3] == 0).all()
    value, slope = gradient(lambda p: losses.keypoint_distance(p, pred, torch.ones_like(weight)), pred)
    assert value == 0
    assert (slope == 0).all()
    far = losses.keypoint_distance(pred + torch.tensor([300.0, 400.0]), pred, torch.ones_like(weight))
    assert far == pytest.approx(498, abs=0.01)
