"""The servers' JSON against Python's own reader, what is wrong with such files, and submissions."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from handkit.data.hands import HandSet
from handkit.errors import HandkitError
from handkit.evaluate.files import read_hands
from handkit.evaluate.official import check_not_truncated, read_point_lists, write_submission
from handkit.evaluate.options import ReadOptions
from handkit.evaluate.protocols import PROTOCOLS

from .conftest import Points


def written(folder: Path, text: str) -> Path:
    path = folder / "points.json"
    path.write_text(text)
    return path


@pytest.mark.parametrize("style", [{}, {"indent": 1}, {"separators": (",", ":")}])
def test_numbers_are_the_same_to_the_last_bit(points: Points, tmp_path: Path, style: dict) -> None:
    nested = [points.pred_j.tolist(), points.pred_v.tolist()]
    joints, vertices = read_point_lists(written(tmp_path, json.dumps(nested, **style)))
    assert np.array_equal(joints, points.pred_j)
    assert np.array_equal(vertices, points.pred_v)
    (alone,) = read_point_lists(written(tmp_path, f"  {json.dumps(nested[1], **style)}\n"))
    assert np.array_equal(alone, points.pred_v)


def test_a_file_longer_than_one_block(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(60, 778, 3))
    (read,) = read_point_lists(written(tmp_path, json.dumps(values.tolist())))
    assert np.array_equal(read, values)


def test_not_finite_numbers_and_an_empty_mesh(tmp_path: Path) -> None:
    joints, vertices = read_point_lists(written(tmp_path, "[[[[NaN, 1, 2]], [[Infinity, null, 1e-3]]], []]"))
    assert np.isnan(joints[0, 0, 0])
    assert np.isinf(joints[1, 0, 0])
    assert np.isnan(joints[1, 0, 1])
    assert joints[1, 0, 2] == 0.001
    assert vertices.size == 0


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("[[[1, 2, 3], [4, 5, 6]], [[1, 2, 3]]]", "sample 1 has 1 points"),
        ("[[[1, 2, 3]], [[1, 2]]]", "sample 1 has 1 points, 2 numbers"),
        ("[[[1, 2, 3]], [[1, 2, x]]]", "sample 1 is not JSON"),
        ('[[[1, 2, 3]], [[1, 2, "a"]]]', "sample 1 is not points of numbers"),
        ('[[["a", 2, 3]], [[1, 2, 3]]]', "sample 0 is not points of numbers"),
        ("[[[1, 2, 3], [1, 2]]]", "sample 0 is not points of numbers"),
        ("[[[1, 2, 3]], [[1, 2, 3]", "2 lists are not closed"),
        ("[1, 2, 3]", "nested 1 deep"),
        ("", "0 bytes"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, what: str) -> None:
    with pytest.raises(HandkitError, match=what):
        read_point_lists(written(tmp_path, text))


def test_a_cut_file_is_seen_at_once(points: Points, tmp_path: Path) -> None:
    path = written(tmp_path, json.dumps(points.gt_v.tolist())[:-40])
    with pytest.raises(HandkitError, match=r"cut off: \d+ bytes, ending in"):
        check_not_truncated(path)


def test_ho3d_submission_is_in_its_order_and_axes_and_reads_back(points: Points, tmp_path: Path) -> None:
    hands = HandSet(ids=tuple("abcdefg"), joints=points.pred_j, vertices=points.pred_v)
    path, archive = write_submission(tmp_path, hands, "ho3d")
    joints, vertices = (np.array(part) for part in json.loads(path.read_text()))
    # the published reordering from the OpenPose order, and (x, -y, -z)
    order = [0, 5, 6, 7, 9, 10, 11, 17, 18, 19, 13, 14, 15, 1, 2, 3, 4, 8, 12, 16, 20]
    assert np.array_equal(joints, points.pred_j[:, order] * [1, -1, -1])
    assert (vertices[..., 2] < 0).all()
    assert zipfile.ZipFile(archive).read("pred.json") == path.read_bytes()
    back = read_hands(path, PROTOCOLS["ho3d"], ReadOptions(), is_truth=False).hands
    assert back.joints is not None
    assert np.array_equal(back.joints, points.pred_j)
    assert back.vertices is not None
    assert np.array_equal(back.vertices, points.pred_v)


def test_freihand_submission_keeps_order_and_axes(points: Points, tmp_path: Path) -> None:
    path, _ = write_submission(tmp_path, HandSet(ids=tuple("abcdefg"), joints=points.pred_j), "freihand")
    joints, vertices = (np.array(part) for part in json.loads(path.read_text()))
    assert np.array_equal(joints, points.pred_j)
    assert vertices.shape == (7, 778, 3)


def test_a_submission_needs_every_sample(points: Points, tmp_path: Path) -> None:
    points.pred_j[3] = np.nan
    with pytest.raises(HandkitError, match="1 samples have no finite joints, d"):
        write_submission(tmp_path, HandSet(ids=tuple("abcdefg"), joints=points.pred_j), "freihand")
