"""What looks wrong is said once, in words that name the way out."""

import numpy as np
import pytest

from handkit.conventions import reorder_joints
from handkit.evaluate.suspicion import suspicions

from .conftest import Points


def test_good_predictions_raise_none(points: Points) -> None:
    assert suspicions(points.gt_j, points.pred_j) == []


@pytest.mark.parametrize(("factor", "word"), [(1000, "millimetres"), (100, "centimetres")])
def test_units(points: Points, factor: float, word: str) -> None:
    (sentence,) = suspicions(points.gt_j, points.pred_j * factor)
    assert word in sentence


def test_mirrored(points: Points) -> None:
    (sentence,) = suspicions(points.gt_j, points.pred_j * [-1, 1, 1])
    assert "mirrored" in sentence


def test_axes(points: Points) -> None:
    (sentence,) = suspicions(points.gt_j, points.pred_j * [1, -1, -1])
    assert "--axes" in sentence


@pytest.mark.parametrize(("true", "read_as"), [("rhd", "ours"), ("ours", "ho3d"), ("mano", "stb")])
def test_joint_order(points: Points, true: str, read_as: str) -> None:
    written = reorder_joints(points.pred_j, "ours", true)
    (sentence,) = suspicions(points.gt_j, reorder_joints(written, read_as), joint_order=read_as)
    names = {"mano": ("'mano'", "'ho3d'"), "ours": ("'ours'",), "rhd": ("'rhd'",)}[true]
    assert any(f"far better in {name} order than in {read_as!r}" in sentence for name in names)


def test_what_is_not_finite_is_not_looked_at(points: Points) -> None:
    points.pred_j[:] = np.nan
    assert suspicions(points.gt_j, points.pred_j) == []
