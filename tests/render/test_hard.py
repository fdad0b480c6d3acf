"""The hard rasteriser against a slow, obvious twin, and its conventions."""

import numba
import numpy as np
import pytest

from handkit.render.hard import Raster, rasterize
from handkit.render.jit import compiled

SIZE = (24, 32)


def _slow_twin(vertices: np.ndarray, faces: np.ndarray, size: tuple[int, int]) -> Raster:
    """Per pixel and face: barycentrics by a linear solve, depth by intersecting the pixel's ray with the plane."""
    face_ids = np.full(size, -1)
    depth = np.full(size, np.inf)
    barycentric = np.zeros((*size, 3))
    for y in range(size[0]):
        for x in range(size[1]):
            for f, face in enumerate(faces):
                corners = vertices[face]
                if (corners[:, 2] <= 1e-3).any():
                    continue
                # Homogeneous corners times z are the 3D points; the ray through the pixel is a mix of them.
                points = np.column_stack([corners[:, :2] * corners[:, 2:], corners[:, 2]]).T
                if abs(np.linalg.det(points)) < 1e-12:
                    continue
                mix = np.linalg.solve(points, [x + 0.5, y + 0.5, 1.0])
                if (mix >= 0).all() and 1 / mix.sum() < depth[y, x]:
                    face_ids[y, x], depth[y, x], barycentric[y, x] = f, 1 / mix.sum(), mix / mix.sum()
    return Raster(face_ids.astype(np.int32), depth.astype(np.float32), barycentric.astype(np.float32))


def _random_scene(seed: int, faces: int = 12) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    vertices = rng.uniform([-12, -12, 0.2], [44, 36, 1.5], (3 * faces, 3))
    return vertices, rng.permutation(3 * faces).reshape(-1, 3)


@pytest.mark.parametrize("seed", range(5))
def test_equals_the_slow_twin(seed: int) -> None:
    vertices, faces = _random_scene(seed)
    fast, slow = rasterize(vertices, faces, size=SIZE), _slow_twin(vertices, faces, SIZE)
    np.testing.assert_array_equal(fast.face_ids, slow.face_ids)
    np.testing.assert_allclose(fast.depth, slow.depth, rtol=1e-5)
    np.testing.assert_allclose(fast.barycentric, slow.barycentric, atol=1e-5)
    assert (fast.face_ids >= 0).mean() > 0.3


def test_types_and_emptiness() -> None:
    raster = rasterize(np.zeros((0, 3)), np.zeros((0, 3), int), size=SIZE)
    assert [part.dtype for part in raster] == [np.int32, np.float32, np.float32]
    assert [part.shape for part in raster] == [SIZE, SIZE, (*SIZE, 3)]
    assert (raster.face_ids == -1).all()
    assert np.isinf(raster.depth).all()
    assert (raster.barycentric == 0).all()


def test_convention_pixel_centres_at_half() -> None:
    # A triangle closely around (3.5, 2.5) covers pixel x=3, y=2 and no other.
    around = np.array([[3.3, 2.4, 1.0], [3.8, 2.4, 1.0], [3.5, 2.8, 1.0]])
    ids = rasterize(around, [[0, 1, 2]], size=SIZE).face_ids
    assert np.argwhere(ids >= 0).tolist() == [[2, 3]]
    between = np.array([[3.6, 2.6, 1.0], [4.4, 2.6, 1.0], [4.0, 3.4, 1.0]])
    assert (rasterize(between, [[0, 1, 2]], size=SIZE).face_ids == -1).all()


def test_perspective_correct() -> None:
    # An edge from 1 m to 3 m: halfway on screen is at 1 / mean(1, 1/3) = 1.5 m, a quarter of the way along.
    vertices = np.array([[0.5, 0.5, 1.0], [8.5, 0.5, 3.0], [0.5, 8.5, 1.0]])
    raster = rasterize(vertices, [[0, 1, 2]], size=SIZE)
    assert raster.depth[0, 4] == pytest.approx(1.5)
    np.testing.assert_allclose(raster.barycentric[0, 4], [0.75, 0.25, 0], atol=1e-6)


@pytest.mark.parametrize("region", [(5, 3, 20, 17), (-4, -9, 10, 10), (0, 0, 99, 99), (30, 20, 32, 24), (40, 0, 50, 9)])
def test_region_is_a_window_on_the_whole(region: tuple[int, int, int, int]) -> None:
    vertices, faces = _random_scene(1)
    whole, part = rasterize(vertices, faces, size=SIZE), rasterize(vertices, faces, size=SIZE, region=region)
    x0, y0, x1, y1 = (max(edge, 0) for edge in region)
    for a, b in zip(whole, part, strict=True):
        window = a[y0:y1, x0:x1]
        assert b.shape == window.shape
        np.testing.assert_allclose(b, window, atol=1e-6)


def test_faces_too_near_or_not_finite_are_left_out() -> None:
    face = np.array([[0.0, 0.0, 1.0], [30.0, 0.0, 1.0], [0.0, 20.0, 1.0]])
    assert (rasterize(face, [[0, 1, 2]], size=SIZE).face_ids >= 0).any()
    for value, axis in ((1e-3, 2), (-1.0, 2), (np.nan, 2), (np.nan, 0), (np.inf, 0), (-np.inf, 1)):
        broken = face.copy()
        broken[1, axis] = value
        assert (rasterize(broken, [[0, 1, 2]], size=SIZE).face_ids == -1).all(), (value, axis)


def test_far_off_screen_corners() -> None:
    huge = np.array([[-1e12, -1e12, 1.0], [1e12, -1e12, 1.0], [0.0, 1e12, 1.0]])
    assert (rasterize(huge, [[0, 1, 2]], size=SIZE).face_ids == 0).all()
    away = huge + np.array([5e12, 0, 0])
    assert (rasterize(away, [[0, 1, 2]], size=SIZE).face_ids == -1).all()


def test_neighbours_leave_no_cracks() -> None:
    rng = np.random.default_rng(3)
    middle = rng.uniform([10, 8], [20, 16])
    corners = np.array([[-1, -1], [33, -1], [33, 25], [-1, 25], middle])
    vertices = np.column_stack([corners, rng.uniform(0.5, 1, 5)])
    faces = [[0, 1, 4], [1, 2, 4], [3, 4, 2], [4, 3, 0]]
    assert (rasterize(vertices, faces, size=SIZE).face_ids >= 0).all()


def test_back_faces_go_on_request() -> None:
    outside = np.array([[2.0, 2.0, 1.0], [2.0, 20.0, 1.0], [20.0, 2.0, 1.0]])
    # With y down, corners that run counter-clockwise to the viewer's eye.
    for face, shown in (([0, 1, 2], True), ([0, 2, 1], False)):
        assert (rasterize(outside, [face], size=SIZE).face_ids >= 0).any()
        assert (rasterize(outside, [face], size=SIZE, cull="back").face_ids >= 0).any() == shown


def test_of_equal_faces_the_first_wins() -> None:
    face = np.array([[0.0, 0.0, 1.0], [30.0, 0.0, 1.0], [0.0, 20.0, 1.0]])
    ids = rasterize(face, [[0, 1, 2], [0, 1, 2]], size=SIZE).face_ids
    assert set(np.unique(ids)) == {-1, 0}


def test_faces_that_index_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match=r"faces index 0\.\.9 of 3 vertices"):
        rasterize(np.ones((3, 3)), [[0, 1, 9]], size=SIZE)


def test_kernels_compile_where_nothing_can_be_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    jit = numba.njit

    def without_cache(**options: bool) -> object:
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return jit(**options)

    monkeypatch.setattr(numba, "njit", without_cache)
    assert compiled(_double)(21) == 42


def _double(value: int) -> int:
    return 2 * value
