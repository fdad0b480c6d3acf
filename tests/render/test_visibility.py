"""Which vertices are seen, against a slow twin: rays through them that meet no face before."""

import numpy as np

from handkit.hand import ManoLayer, load_hand
from handkit.render.visibility import visible_vertices

SIZE = (120, 120)


def mesh_px() -> tuple[np.ndarray, np.ndarray]:
    hand = load_hand("open", "right")
    points = ManoLayer(hand)().vertices.numpy().astype(np.float64)
    points = points[:, [2, 0, 1]] - points.mean(0)[[2, 0, 1]]
    return np.column_stack([400 * points[:, :2] + 60, points[:, 2] + 0.6]), hand.faces


def first_depth(x: float, y: float, vertices: np.ndarray, faces: np.ndarray) -> float:
    """The depth of the nearest face at a point of the picture, orthographic within a face."""
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    area = np.where(np.abs(area) < 1e-12, np.nan, area)
    u = ((b[:, 0] - x) * (c[:, 1] - y) - (b[:, 1] - y) * (c[:, 0] - x)) / area
    v = ((c[:, 0] - x) * (a[:, 1] - y) - (c[:, 1] - y) * (a[:, 0] - x)) / area
    w = 1 - u - v
    hit = (u >= 0) & (v >= 0) & (w >= 0)
    depth = u * a[:, 2] + v * b[:, 2] + w * c[:, 2]
    return float(np.min(depth[hit], initial=np.inf))


def test_seen_are_those_that_no_face_hides() -> None:
    vertices, faces = mesh_px()
    found = visible_vertices(vertices, faces, size=SIZE)
    nearest = np.array([first_depth(x, y, vertices, faces) for x, y, _ in vertices])
    behind = vertices[:, 2] - np.minimum(nearest, vertices[:, 2])
    assert found[behind < 1e-9].mean() > 0.8
    assert not found[behind > 4e-3].any()
    assert 0.35 < found.mean() < 0.65


def test_what_is_outside_behind_or_not_finite_is_not_seen() -> None:
    vertices, faces = mesh_px()
    moved = np.stack([vertices, vertices + np.array([1000, 0, 0]), vertices * [1, 1, -1], vertices])
    moved[3, 5] = np.nan
    found = visible_vertices(moved, faces, size=SIZE)
    assert found.shape == (4, 778)
    assert not found[1:3].any()
    assert not found[3, 5]
    assert (found[3] == found[0]).mean() > 0.95


def test_turned_round_the_other_half_is_seen() -> None:
    vertices, faces = mesh_px()
    front = visible_vertices(vertices, faces, size=SIZE)
    back = visible_vertices(vertices * [1, 1, -1] + [0, 0, 1.2], faces, size=SIZE)
    assert (front & back).mean() < 0.1
    assert (front | back).mean() > 0.9
