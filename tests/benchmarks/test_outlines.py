"""The hand-drawn outlines: whole, inside their pictures, and where the detector sees those hands."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from handkit.images import read_image


@pytest.fixture
def outlines() -> list[Any]:
    from outlines import read_outlines

    return read_outlines()


def crosses_itself(points: np.ndarray) -> bool:
    """Whether any two sides of a closed polygon cross, or a point comes twice."""
    if len(np.unique(points, axis=0)) < len(points):
        return True
    ends = np.stack([points, np.roll(points, -1, 0)], 1)

    def turn(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
        return np.sign(
            (b[..., 0] - a[..., 0]) * (c[..., 1] - a[..., 1]) - (b[..., 1] - a[..., 1]) * (c[..., 0] - a[..., 0])
        )

    a, b = ends[:, None, 0], ends[:, None, 1]
    c, d = ends[None, :, 0], ends[None, :, 1]
    cross = (turn(a, b, c) * turn(a, b, d) < 0) & (turn(c, d, a) * turn(c, d, b) < 0)
    return bool(cross.any())


def test_a_crossing_is_seen() -> None:
    square = np.array([[0.0, 0], [4, 0], [4, 4], [0, 4]])
    assert not crosses_itself(square)
    assert crosses_itself(square[[0, 2, 1, 3]])


def test_ten_hands_of_both_sides(outlines: list[Any]) -> None:
    assert len({outline.image for outline in outlines}) == len(outlines) == 10
    assert {outline.is_right for outline in outlines} == {True, False}
    snap = [int(Path(outline.image).stem) for outline in outlines if "snap_real" in outline.image]
    assert len(snap) == 5
    assert min(snap) >= 60  # weights of the refinement were chosen with the first 60 in view


def test_polygons_are_whole(outlines: list[Any]) -> None:
    for outline in outlines:
        width, height = outline.size
        for points in outline.polygons:
            assert len(points) >= 5
            assert (points >= 0).all()
            assert (points <= (width, height)).all()
            assert not crosses_itself(points), outline.name
        outer = np.round(outline.polygons[0] * 16).astype(np.int32)
        for hole in outline.polygons[1:]:
            assert all(cv2.pointPolygonTest(outer, (float(x * 16), float(y * 16)), False) > 0 for x, y in hole)


def test_masks_are_what_the_polygons_hold(outlines: list[Any]) -> None:
    from outlines import Outline

    square = np.array([[2.0, 1.0], [6, 1], [6, 5], [2, 5]])
    hole = np.array([[3.0, 2.0], [4, 2], [4, 3], [3, 3]])
    mask = Outline("a.png", (8, 6), True, (square, hole)).mask()
    assert mask.shape == (6, 8)
    assert mask.sum() == 15
    assert not mask[2, 3]
    assert mask[1:5, 2:6].sum() == 15
    for outline in outlines:
        areas = [cv2.contourArea(points.astype(np.float32)) for points in outline.polygons]
        assert outline.mask().sum() == pytest.approx(areas[0] - sum(areas[1:]), rel=0.01)


def test_the_detector_sees_these_hands_there(outlines: list[Any], realdata: Path) -> None:
    """Keypoints lie inside the outline, and their hull is much of the outline's."""
    from handkit.detect.mediapipe import MediaPipeDetector

    with MediaPipeDetector(max_hands=2) as detector:
        for outline in outlines:
            image = read_image(realdata / outline.image)
            assert (image.shape[1], image.shape[0]) == outline.size
            mask = outline.mask()
            sides = [hand.keypoints_2d for hand in detector.detect(image) if hand.is_right == outline.is_right]
            hulls = [hull_mask(points, mask.shape) for points in sides]
            outer = hull_mask(outline.polygons[0], mask.shape)
            overlap = max((outer & hull).sum() / (outer | hull).sum() for hull in hulls)
            assert overlap > 0.45, (
                outline.name
            )  # keypoints lie inside: of a fist seen from the side their hull is half as large
            inside = max(np.mean([mask[int(y), int(x)] for x, y in points]) for points in sides)
            assert inside >= 0.75, outline.name


def hull_mask(points: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(shape, np.uint8)
    cv2.fillConvexPoly(mask, cv2.convexHull(np.round(points - 0.5).astype(np.int32)), (1,))
    return mask > 0


def test_no_pictures_are_shipped(outlines: list[Any]) -> None:
    from outlines import FILE

    assert all(set(entry) == {"image", "size", "side", "polygons"} for entry in json.loads(FILE.read_text()))
