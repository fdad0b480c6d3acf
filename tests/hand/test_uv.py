"""The UV map: no overlap, its share of the square, its stretch, and hands that are not the stored one."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from handkit.errors import HandkitError
from handkit.hand import HandModel, load_hand
from handkit.hand.unwrap.cuts import CHARTS, boundary_loop, cut_hand
from handkit.hand.unwrap.flatten import Chart
from handkit.hand.unwrap.layout import slice_square
from handkit.hand.uv import HandUV, _digest, _stored, build_uv, hand_uv, main, signed_areas, split_vertices


def _cover(face_uvs: np.ndarray, size: int) -> np.ndarray:
    """How many faces hold each texel's centre strictly inside, [size, size]."""
    count = np.zeros((size, size), np.int64)
    for corners in face_uvs * size:
        low = np.floor(corners.min(0)).astype(int).clip(0, size)
        high = np.ceil(corners.max(0)).astype(int).clip(0, size)
        x, y = np.meshgrid(np.arange(low[0], high[0]) + 0.5, np.arange(low[1], high[1]) + 0.5)
        inside = np.ones(x.shape, bool)
        for k in range(3):
            (ax, ay), (bx, by) = corners[k], corners[(k + 1) % 3]
            inside &= (bx - ax) * (y - ay) - (by - ay) * (x - ax) < -1e-9
        count[low[1] : high[1], low[0] : high[0]] += inside
    return count


def _check(hand: HandModel, uv: HandUV, *, share: float = 0.7) -> None:
    assert uv.face_uvs.shape == (len(hand.faces), 3, 2)
    assert uv.face_uvs.min() >= 0
    assert uv.face_uvs.max() <= 1
    assert signed_areas(uv.face_uvs).min() > 1e-6
    cover = _cover(uv.face_uvs, 2048)
    assert cover.max() == 1
    assert cover.mean() == pytest.approx(uv.share, abs=2e-3)
    assert uv.share >= share
    for number in range(len(CHARTS)):
        assert boundary_loop(hand.faces[uv.face_charts == number]) is not None


def _stretches(hand: HandModel, uv: HandUV) -> np.ndarray:
    """Singular values [F, 2] of the map, 1 for a map that would fill the square evenly."""
    values = []
    for number in range(len(CHARTS)):
        own = uv.face_charts == number
        for face, corners in zip(hand.faces[own], uv.face_uvs[own], strict=True):
            chart = Chart(hand.v_template[face], np.array([[0, 1, 2]]))
            values.append(np.linalg.svd(chart.jacobians(corners)[0], compute_uv=False))
    a, b, c = hand.v_template[hand.faces].transpose(1, 0, 2)
    return np.array(values) * np.sqrt(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)


def test_stored_map() -> None:
    hand = load_hand("open")
    assert _stored()[0] == _digest(hand)  # else `python -m handkit.hand.uv` is due
    uv = hand_uv(hand)
    assert uv is hand_uv(hand)
    _check(hand, uv, share=0.85)
    values = _stretches(hand, uv)
    assert values.min() > 0.45
    assert values.max() < 2.0
    assert (values[:, 0] / values[:, 1]).max() < 2.5
    assert np.median(values[:, 0] / values[:, 1]) < 1.3


def test_gutter_of_four_texels_at_1024() -> None:
    uv = hand_uv(load_hand("open"))
    grown = np.zeros((1024, 1024), np.int64)
    for number in range(len(CHARTS)):
        own = _cover(uv.face_uvs[uv.face_charts == number], 1024) > 0
        wide = np.pad(own, 2)
        grown += np.any([wide[2 + dy :, 2 + dx :][:1024, :1024] for dy in (-2, 0, 2) for dx in (-2, 0, 2)], axis=0)
    assert grown.max() == 1


def test_fingers_lie_in_their_own_charts() -> None:
    hand = load_hand("open")
    uv = hand_uv(hand)
    joint = hand.lbs_weights[hand.faces].mean(1).argmax(1)
    for first, finger in ((13, "thumb"), (1, "index"), (4, "middle"), (10, "ring"), (7, "little")):
        names = {CHARTS[chart] for chart in uv.face_charts[joint == first + 2]}
        assert names == {f"{finger} palmar", f"{finger} dorsal"}
    a, b, c = hand.v_template[hand.faces].transpose(1, 0, 2)
    normals = np.cross(b - a, c - a)
    for number, name in enumerate(CHARTS[:2]):
        up = normals[uv.face_charts == number].sum(0)
        assert (up[1] < 0) == (name == "palm")


def test_built_again_it_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice on one machine; other processors round differently, and the search for a layout then ends elsewhere."""
    made = []
    for name in ("a", "b"):
        monkeypatch.setattr("sys.argv", ["uv", "--out", str(tmp_path / f"{name}.npz")])
        main()
        with np.load(tmp_path / f"{name}.npz") as arrays:
            made.append((arrays["face_uvs"], arrays["face_charts"]))
    np.testing.assert_array_equal(made[0][0], made[1][0])
    stored = hand_uv(load_hand("open"))
    np.testing.assert_array_equal(made[0][1], stored.face_charts)
    _check(load_hand("open"), HandUV(made[0][0], made[0][1], stored.charts), share=0.8)


def test_left_hand_is_the_mirror_image() -> None:
    left = load_hand("open", "left")
    uv = hand_uv(left)
    _check(left, uv, share=0.85)
    right = hand_uv(load_hand("open"))
    np.testing.assert_allclose(uv.face_uvs[:, [0, 2, 1]] * [-1, 1] + [1, 0], right.face_uvs, atol=1e-12)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 5))])
def test_another_hand_with_other_numbers(seed: int) -> None:
    """Another shape, rough, with vertices and faces in another order."""
    rng = np.random.default_rng(seed)
    hand = load_hand("open")
    shape = hand.v_template + hand.shapedirs @ rng.normal(size=10) + rng.normal(size=(778, 3)) * 2e-4
    order, face_order = rng.permutation(778), rng.permutation(1538)
    number = np.argsort(order)
    turned = np.take_along_axis(number[hand.faces], (np.arange(3) + rng.integers(0, 3, (1538, 1))) % 3, axis=1)
    other = replace(
        hand,
        name="other",
        v_template=shape[order],
        shapedirs=hand.shapedirs[order],
        posedirs=hand.posedirs[order],
        J_regressor=hand.J_regressor[:, order],
        lbs_weights=hand.lbs_weights[order],
        faces=turned[face_order],
    )
    uv = hand_uv(other)
    assert hand_uv(other) is uv
    _check(other, uv)


def _flipped(vertices: np.ndarray, faces: np.ndarray, rng: np.random.Generator, tries: int) -> np.ndarray:
    """The surface with edges turned where it is nearly flat, so that paths along edges run elsewhere."""
    faces = faces.copy()

    def normal(*corners: int) -> np.ndarray:
        a, b, c = vertices[list(corners)]
        cross = np.cross(b - a, c - a)
        return cross / np.linalg.norm(cross)

    for face, k in zip(rng.integers(len(faces), size=tries), rng.integers(3, size=tries), strict=True):
        a, b, c = np.roll(faces[face], -k)
        at_edge = np.flatnonzero((faces == a).any(1) & (faces == b).any(1) & ~(faces == c).any(1))
        if len(at_edge) != 1:
            continue
        d = next(v for v in faces[at_edge[0]] if v not in (a, b))
        joined = ((faces == c).any(1) & (faces == d).any(1)).any()
        flat = min(normal(a, b, c) @ normal(a, d, c), normal(a, b, c) @ normal(d, b, c)) > 0.8
        if flat and not joined:
            faces[face], faces[at_edge[0]] = [a, d, c], [d, b, c]
    return faces


@pytest.mark.parametrize("seed", range(6))
def test_other_triangles(seed: int) -> None:
    rng = np.random.default_rng(seed)
    hand = load_hand("open")
    shape = hand.v_template + hand.shapedirs @ rng.normal(size=10) + rng.normal(size=(778, 3)) * 4e-4
    other = replace(hand, name="other", v_template=shape, faces=_flipped(shape, hand.faces, rng, 1000))
    assert (other.faces != hand.faces).any(1).mean() > 0.2
    face_charts = cut_hand(other)
    for number in range(len(CHARTS)):
        assert boundary_loop(other.faces[face_charts == number]) is not None
    if seed == 0:
        _check(other, build_uv(other))


def test_a_surface_that_is_no_hand() -> None:
    hand = load_hand("open")
    stiff = replace(hand, name="stiff", lbs_weights=np.tile(np.eye(16)[0], (778, 1)))
    with pytest.raises(HandkitError, match="no vertex of the hand 'stiff'"):
        hand_uv(stiff)


def test_split_vertices_give_the_corners_back() -> None:
    hand = load_hand("open")
    uv = hand_uv(hand)
    split = split_vertices(hand.faces, uv.face_uvs)
    np.testing.assert_array_equal(split.vertex_ids[split.faces], hand.faces)
    np.testing.assert_array_equal(split.uvs[split.faces], uv.face_uvs)
    pairs = np.stack([hand.faces, np.repeat(uv.face_charts[:, None], 3, axis=1)], axis=2).reshape(-1, 2)
    assert len(split.vertex_ids) == len(np.unique(pairs, axis=0))


def test_energy_gradient() -> None:
    rng = np.random.default_rng(0)
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    chart = Chart(rng.normal(size=(4, 3)), faces)
    uv = np.array([[0.0, 0], [1, 0.1], [1.2, 1], [0.1, 0.8]])
    _, gradient = chart.energy(uv, 0.3)
    for place in np.ndindex(4, 2):
        step = np.zeros((4, 2))
        step[place] = 1e-6
        numeric = (chart.energy(uv + step, 0.3)[0] - chart.energy(uv - step, 0.3)[0]) / 2e-6
        assert gradient[place] == pytest.approx(numeric, rel=1e-5)
    assert chart.energy(uv * [-1, 1], 0.3)[0] == np.inf


def test_slices_tile_the_square() -> None:
    areas = np.random.default_rng(0).uniform(1, 5, 7)
    boxes = slice_square(areas, np.ones(7))
    np.testing.assert_allclose(boxes[:, 2] * boxes[:, 3], areas / areas.sum())
    centres = np.stack(np.meshgrid(np.arange(50) + 0.5, np.arange(50) + 0.5), -1).reshape(-1, 2) / 50
    held = (centres[:, None] >= boxes[:, :2]) & (centres[:, None] < boxes[:, :2] + boxes[:, 2:])
    assert (held.all(2).sum(1) == 1).all()
    assert np.abs(np.log(boxes[:, 2] / boxes[:, 3])).max() < 0.8
