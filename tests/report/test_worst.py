import base64
import logging
from dataclasses import replace

import cv2
import numpy as np
import pytest

from handkit.evaluate.scores import Scores
from handkit.report.worst import WorstSample, _crop, worst_rows, worst_samples
from tests.report.conftest import Hands, K, build_scores

RED = (255, 0, 0)


def _samples(hands: Hands, scores: Scores, key: str = "pa_mpjpe_mm", count: int = 5) -> list[WorstSample]:
    predictions = {scores.method: hands.predictions}
    return worst_samples([scores], key, [RED], truth=hands.truth, predictions=predictions, count=count)


def _decoded(uri: str | None) -> np.ndarray:
    assert uri is not None
    encoded = base64.b64decode(uri.removeprefix("data:image/jpeg;base64,"))
    return cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)[..., ::-1].astype(int)


def test_worst_come_first_and_nan_never() -> None:
    scores = build_scores("a")
    assert worst_rows(scores, "pa_mpjpe_mm", 3) == [29, 28, 27]
    assert 3 not in worst_rows(scores, "pa_mpjpe_mm", 30)
    scores.per_sample["f_score_5mm"] = np.linspace(0, 1, 30)
    assert worst_rows(scores, "f_score_5mm", 2) == [0, 1]


@pytest.mark.parametrize("size", [60, 400, 1500])
def test_crop_keeps_points_where_they_are(size: int) -> None:
    """A dot drawn at a point is found where the crop's matrix sends the point, when enlarged and when shrunk."""
    image = np.zeros((size + 40, size + 90, 3), np.uint8)
    joints = np.array([[0.3 * size, 0.2 * size], [0.8 * size, 0.9 * size], [0.5 * size, 0.6 * size]])
    radius = size / 60
    x, y = np.meshgrid(np.arange(size + 90) + 0.5, np.arange(size + 40) + 0.5)
    image[np.hypot(x - joints[2, 0], y - joints[2, 1]) <= radius] = 255
    crop, to_crop = _crop(image, [joints])
    weights = crop[..., 0] * (crop[..., 0] > 0)
    grid = np.stack(np.meshgrid(np.arange(crop.shape[1]) + 0.5, np.arange(crop.shape[0]) + 0.5), -1)
    # The padding outside of the picture is grey: look near the point only.
    expected = joints[2] * to_crop[0, 0] + to_crop[:, 2]
    near = np.linalg.norm(grid - expected, axis=-1) < 3 * radius * to_crop[0, 0] + 3
    found = (grid * (weights * near)[..., None]).sum((0, 1)) / (weights * near).sum()
    np.testing.assert_allclose(found, expected, atol=0.35)


def test_truth_is_drawn_over_the_picture(hands: Hands) -> None:
    sample = _samples(hands, build_scores("a"))[0]
    picture, overlay = _decoded(sample.picture), _decoded(sample.overlay)
    dot = np.argwhere((picture[..., 0] > 180) & (picture[..., 2] < 110)).mean(0).astype(int)
    assert np.abs(picture[tuple(dot)] - (255, 255, 0)).max() < 60
    assert overlay[tuple(dot)].min() > 180  # the truth's wrist is white
    red = (overlay[..., 0] > 180) & (overlay[..., 1:].max(-1) < 90)
    assert red.sum() > 200
    assert not ((picture[..., 0] > 180) & (picture[..., 1:].max(-1) < 90)).any()


def test_hands_without_depth_are_placed_on_the_truth(hands: Hands) -> None:
    assert hands.truth.joints is not None
    relative = replace(hands.predictions, joints=hands.truth.joints - hands.truth.joints[:, :1])
    placed = replace(hands.predictions, joints=hands.truth.joints)
    overlays = [_samples(Hands(hands.truth, p), build_scores("a"), count=1)[0].overlay for p in (relative, placed)]
    assert np.abs(_decoded(overlays[0]) - _decoded(overlays[1])).max() < 8


def test_3d_views_show_the_error_that_is_ranked(hands: Hands) -> None:
    turned = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    assert hands.truth.joints is not None
    prediction = replace(hands.predictions, joints=1.3 * hands.truth.joints @ turned.T)
    pair = Hands(hands.truth, prediction)
    aligned = _samples(pair, build_scores("a"))[0]
    assert aligned.predictions_3d[0] is not None
    assert aligned.truth_3d is not None
    np.testing.assert_allclose(aligned.predictions_3d[0], aligned.truth_3d, atol=1e-9)
    moved = _samples(pair, build_scores("a"), "mpjpe_mm")[0]
    assert moved.predictions_3d[0] is not None
    assert moved.truth_3d is not None
    assert np.abs(moved.predictions_3d[0] - moved.truth_3d).max() > 0.01
    np.testing.assert_allclose(moved.predictions_3d[0].mean(0), 0, atol=1e-9)


def test_points_not_annotated_are_left_out(hands: Hands) -> None:
    valid = np.ones((30, 21), bool)
    valid[:, 5] = False
    joints = np.array(hands.truth.joints)
    joints[:, 5] = 0
    sample = _samples(
        Hands(replace(hands.truth, joints=joints, joints_valid=valid), hands.predictions), build_scores("a")
    )[0]
    assert sample.truth_3d is not None
    assert np.isnan(sample.truth_3d[5]).all()
    assert np.isfinite(np.delete(sample.truth_3d, 5, axis=0)).all()


def test_a_lost_picture_is_said_and_survived(hands: Hands, caplog: pytest.LogCaptureFixture) -> None:
    assert hands.truth.images is not None
    lost = replace(hands.truth, images=tuple(path and path.with_name("lost.png") for path in hands.truth.images))
    with caplog.at_level(logging.WARNING):
        samples = _samples(Hands(lost, hands.predictions), build_scores("a"))
    assert [sample.picture for sample in samples] == [None] * 5
    assert all("lost.png does not exist" in sample.note for sample in samples)
    assert "lost.png" in caplog.text


def test_projects_with_the_camera(hands: Hands) -> None:
    """2D points given are the same as 3D ones projected."""
    assert hands.truth.joints is not None
    projected = hands.truth.joints @ K.T
    given = replace(hands.truth, joints_2d=projected[..., :2] / projected[..., 2:])
    overlays = [
        _samples(Hands(truth, hands.predictions), build_scores("a"))[0].overlay for truth in (hands.truth, given)
    ]
    assert overlays[0] == overlays[1]
