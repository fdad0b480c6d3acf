"""Textures: painted, rendered, read back; what is seen and what is not; averages; the completed texture."""

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from handkit.errors import HandkitError
from handkit.hand import load_hand
from handkit.hand.uv import hand_uv
from handkit.images import read_image
from handkit.render.inpaint import SKIN, fill_texture
from handkit.render.texture import (
    TextureAverage,
    Unprojected,
    render_textured,
    sample_texture,
    texels_of,
    unproject,
    write_texture,
)

SIZE = 512
K = np.array([[700.0, 0, 192], [0, 700, 192], [0, 0, 1]])
BLACK = np.zeros((384, 384, 3), np.uint8)
HAND = load_hand("open")
MAP = hand_uv(HAND)
# Palm, back, both sides between, and a slanted view.
VIEWS = ([np.pi / 2, 0, 0], [-np.pi / 2, 0, 0], [0, 0, 0], [np.pi, 0, 0], [2.0, 0.6, 0.3])
# A square of 20 cm at 50 cm, outer side to the camera, its map upright.
SQUARE = np.array([[-0.1, -0.1, 0.5], [0.1, -0.1, 0.5], [0.1, 0.1, 0.5], [-0.1, 0.1, 0.5]])
SQUARE_FACES = np.array([[0, 2, 1], [0, 3, 2]])
SQUARE_UVS = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])[SQUARE_FACES]


def _painted(size: int = SIZE) -> np.ndarray:
    y, x = (np.mgrid[0:size, 0:size] + 0.5) / size
    waves = (np.sin(40 * x), np.cos(35 * y), np.sin(20 * (x + y)))
    return (0.5 + 0.4 * np.stack(waves, axis=-1)).astype(np.float32)


def _placed(turn: list[float]) -> np.ndarray:
    centred = HAND.v_template - HAND.v_template.mean(0)
    return centred @ Rotation.from_rotvec(turn).as_matrix().T + [0, 0, 0.45]


def _seen(turn: list[float], *, mask: np.ndarray | None = None) -> Unprojected:
    image = render_textured(BLACK, _placed(turn), HAND.faces, K, MAP.face_uvs, _painted())
    return unproject(image, _placed(turn), HAND.faces, K, MAP.face_uvs, size=SIZE, mask=mask)


def test_round_trip() -> None:
    painted, average = _painted(), TextureAverage(SIZE, share=None)
    for turn in VIEWS:
        seen = _seen(turn)
        known = seen.weight > 0
        assert known.mean() > 0.15
        assert np.abs(seen.texture - painted)[known].mean() < 0.02
        assert (seen.texture[~known] == 0).all()
        average.add(seen)
    known = average.weight > 0
    assert known.sum() > 0.9 * len(texels_of(MAP.face_uvs, SIZE).places)
    assert np.abs(average.texture - painted)[known].mean() < 0.01
    complete = fill_texture(average.texture, average.weight, HAND.faces, MAP.face_uvs, MAP.face_charts)
    for turn in ([1.2, 0.3, 0], [-1.3, 0, 0.4]):
        truth, ours = (
            render_textured(BLACK, _placed(turn), HAND.faces, K, MAP.face_uvs, texture) / 255.0
            for texture in (painted, complete)
        )
        on_hand = truth.sum(2) > 0
        assert np.abs(truth - ours)[on_hand].mean() < 0.03


def test_left_hand_round_trip() -> None:
    left = load_hand("open", "left")
    uvs, vertices = hand_uv(left).face_uvs, _placed([np.pi / 2, 0, 0]) * [-1, 1, 1]
    image = render_textured(BLACK, vertices, left.faces, K, uvs, _painted())
    seen = unproject(image, vertices, left.faces, K, uvs, size=SIZE)
    known = seen.weight > 0
    assert known.mean() > 0.25
    assert np.abs(seen.texture - _painted())[known].mean() < 0.02


def test_convention_u_right_v_down_texel_centres() -> None:
    """A square seen straight on, 280 pixels wide, with a 140-texel map: each texel shows two by two pixels."""
    texture = np.zeros((140, 140, 3), np.float32)
    texture[3, 100] = [1, 0, 0]
    image = render_textured(BLACK, SQUARE, SQUARE_FACES, K, SQUARE_UVS, texture)
    y, x = np.unravel_index(image[..., 0].argmax(), BLACK.shape[:2])
    assert (x - 52) // 2 == 100
    assert (y - 52) // 2 == 3
    np.testing.assert_allclose(sample_texture(texture, [[100.5 / 140, 3.5 / 140]]), [[1, 0, 0]], atol=1e-5)
    seen = unproject(image, SQUARE, SQUARE_FACES, K, SQUARE_UVS, size=140)
    assert np.unravel_index(seen.texture[..., 0].argmax(), (140, 140)) == (3, 100)
    middle = seen.weight[70, 70]
    assert middle == pytest.approx(1, abs=1e-3)
    assert seen.weight[2, 2] < 0.95


def test_only_what_faces_the_camera() -> None:
    palm = _seen([np.pi / 2, 0, 0]).weight > 0
    back = _seen([-np.pi / 2, 0, 0]).weight > 0
    assert (palm & back).mean() < 0.01
    flipped = unproject(BLACK, SQUARE, SQUARE_FACES[:, ::-1], K, SQUARE_UVS[:, ::-1], size=32)
    assert flipped.weight.max() == 0


def test_nothing_behind_another_part() -> None:
    """A small square before the left half of a large one hides that half; both share the texture's halves."""
    near = SQUARE * [0.4, 0.8, 0.8]
    vertices = np.concatenate([SQUARE, near - [0.04, 0, 0]])
    faces = np.concatenate([SQUARE_FACES, SQUARE_FACES + 4])
    uvs = np.concatenate([SQUARE_UVS * [0.5, 1], SQUARE_UVS * [0.5, 1] + [0.5, 0]])
    image = np.full_like(BLACK, 200)
    image[:, :192] = [255, 0, 0]
    weight = unproject(image, vertices, faces, K, uvs, size=128).weight
    assert weight[64, 28] == 0
    assert weight[64, 60] > 0
    assert (weight[2:-2, 68:-4] > 0).all()


def test_mask_and_image_border() -> None:
    turn = [np.pi / 2, 0, 0]
    mask = np.zeros(BLACK.shape[:2], bool)
    assert _seen(turn, mask=mask).weight.max() == 0
    mask[:, 192:] = True
    half, whole = _seen(turn, mask=mask).weight > 0, _seen(turn).weight > 0
    assert 0.2 < half.sum() / whole.sum() < 0.8
    assert not (half & ~whole).any()
    aside = SQUARE + np.array([0.2, 0, 0])
    weight = unproject(BLACK, aside, SQUARE_FACES, K, SQUARE_UVS, size=64).weight
    assert weight[32, 10] > 0
    assert weight[32, 50] == 0
    with pytest.raises(HandkitError, match="the mask has shape"):
        _seen(turn, mask=mask[1:])


def test_margin_keeps_away_from_edges() -> None:
    """The square covers pixels 52 to 332, one texel each."""
    edges = []
    for margin in (0, 3):
        seen = unproject(BLACK, SQUARE, SQUARE_FACES, K, SQUARE_UVS, size=280, margin_px=margin).weight[140] > 0
        edges.append(np.flatnonzero(seen)[[0, -1]].tolist())
    assert edges[0][0] in (0, 1)
    assert edges[1][0] - edges[0][0] == 3
    assert edges[0][1] - edges[1][1] == 3


@pytest.mark.parametrize("shift", [[0, 0, -0.6], [0, 0, -0.449], [5, 0, 0], [np.nan, 0, 0]])
def test_hand_behind_the_camera_or_away(shift: list[float]) -> None:
    seen = unproject(BLACK, _placed([0, 0, 0]) + shift, HAND.faces, K, MAP.face_uvs, size=64)
    assert np.isfinite(seen.texture).all()
    assert np.isfinite(seen.weight).all()


def _plain(value: float, weight: float) -> Unprojected:
    return Unprojected(np.full((2, 2, 3), value, np.float32), np.full((2, 2), weight, np.float32))


def test_average() -> None:
    published, even = TextureAverage(2), TextureAverage(2, share=None)
    for value in (0.0, 0.8, 0.8):
        published.add(_plain(value, 0.5))
        even.add(_plain(value, 0.5))
    np.testing.assert_allclose(published.texture, 0.6, atol=1e-6)
    np.testing.assert_allclose(even.texture, 1.6 / 3, atol=1e-6)
    before = published.texture.copy()
    published.add(_plain(0.1, 0.0))
    np.testing.assert_array_equal(published.texture, before)
    steep = TextureAverage(2, share=None)
    steep.add(_plain(0.0, 0.9))
    steep.add(_plain(1.0, 0.1))
    np.testing.assert_allclose(steep.texture, 0.1, atol=1e-6)
    for share in (0.0, 1.5):
        with pytest.raises(HandkitError, match="share of a new frame"):
            TextureAverage(2, share=share)


def test_fill_keeps_what_was_seen_and_repeats_it_beyond_the_charts() -> None:
    seen = _seen([np.pi / 2, 0, 0])
    known = seen.weight > 0
    complete = fill_texture(seen.texture, seen.weight, HAND.faces, MAP.face_uvs, MAP.face_charts)
    on_hand = np.zeros(SIZE * SIZE, bool)
    on_hand[texels_of(MAP.face_uvs, SIZE).places] = True
    inside = on_hand.reshape(SIZE, SIZE)
    np.testing.assert_array_equal(complete[known & inside], seen.texture[known & inside].clip(0, 1))
    assert complete.min() >= 0
    assert complete.max() <= 1
    assert (complete.sum(2) > 0.1).all()


def test_fill_of_one_colour_and_of_nothing() -> None:
    weight = _seen([np.pi / 2, 0, 0]).weight
    color = np.array([0.7, 0.5, 0.4], np.float32)
    texture = (weight > 0)[..., None] * color
    complete = fill_texture(texture, weight, HAND.faces, MAP.face_uvs, MAP.face_charts)
    np.testing.assert_allclose(complete, np.broadcast_to(color, complete.shape), atol=1e-3)
    nothing = fill_texture(np.zeros_like(texture), np.zeros_like(weight), HAND.faces, MAP.face_uvs, MAP.face_charts)
    np.testing.assert_allclose(nothing, np.broadcast_to(SKIN, nothing.shape), atol=1e-6)


def test_texture_file(tmp_path: Path) -> None:
    texture = _painted(64)
    write_texture(tmp_path / "texture.png", texture)
    np.testing.assert_allclose(read_image(tmp_path / "texture.png") / 255.0, texture, atol=0.5 / 255 + 1e-6)
