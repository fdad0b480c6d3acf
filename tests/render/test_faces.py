"""Hands in the colours of their faces: which colour lands where, and what light does to it."""

import numpy as np
import torch

from handkit.hand import ManoLayer, load_hand
from handkit.hand.uv import hand_uv
from handkit.render.baked import bake_faces, face_map
from handkit.render.faces import ColoredMesh, draw_colored, lit_colors
from handkit.render.hard import rasterize
from handkit.render.shaded import to_pixels
from handkit.render.texture import sample_texture

K = np.array([[400.0, 0, 100], [0, 400, 90], [0, 0, 1]])
SIZE = (180, 200)
HAND = load_hand("open")
COLORS = np.random.default_rng(0).uniform(0, 1, (1538, 3))
LIGHT = np.array([0.4, 0.7, 1.0, 0.9, 0.8, 0.7, 0.8, 1.0, -0.5, 0.3, -0.8])


def posed(side: str = "right") -> np.ndarray:
    """Palm to the camera."""
    sign = 1.0 if side == "right" else -1.0
    orient = torch.tensor([1.2, 0.4 * sign, 0.3 * sign])
    layer = ManoLayer(load_hand("open", side))
    return layer(global_orient=orient, transl=torch.tensor([0.0, 0, 0.5])).vertices.numpy()


def test_every_pixel_inside_has_its_face_s_color() -> None:
    image = np.full((*SIZE, 3), 77, np.uint8)
    mesh = posed()
    draw_colored(image, [ColoredMesh(mesh, HAND.faces, COLORS)], K)
    seen = rasterize(to_pixels(mesh.astype(np.float64), K), HAND.faces, size=SIZE).face_ids
    inside = np.lib.stride_tricks.sliding_window_view(np.pad(seen, 1, constant_values=-1), (3, 3)).min((2, 3)) >= 0
    assert inside.sum() > 2000
    assert np.abs(image[inside].astype(int) - np.rint(255 * COLORS[seen[inside]])).max() <= 1
    far = np.lib.stride_tricks.sliding_window_view(np.pad(seen, 1, constant_values=-1), (3, 3)).max((2, 3)) < 0
    assert (image[far] == 77).all()


def test_the_nearer_hand_is_on_top_and_colors_are_cut() -> None:
    mesh = posed()
    red, blue = np.tile([1.5, -0.2, 0], (1538, 1)), np.tile([0.0, 0, 1], (1538, 1))
    image = np.zeros((*SIZE, 3), np.uint8)
    behind = ColoredMesh(mesh * 1.2, HAND.faces, blue)
    draw_colored(image, [ColoredMesh(mesh, HAND.faces, red), behind], K)
    assert (image[..., 0] == 255).sum() > 2000
    assert not (image[..., 2] > image[..., 0]).any(), "the same silhouette further away is hidden"
    untouched = np.zeros((*SIZE, 3), np.uint8)
    draw_colored(untouched, [], K)
    draw_colored(untouched, [ColoredMesh(mesh - np.array([5.0, 0, 0]), HAND.faces, red)], K)
    assert not untouched.any()


def test_half_opaque_is_half_way() -> None:
    image, opaque = np.full((*SIZE, 3), 200, np.uint8), np.full((*SIZE, 3), 200, np.uint8)
    mesh = [ColoredMesh(posed(), HAND.faces, COLORS)]
    draw_colored(image, mesh, K, opacity=0.5)
    draw_colored(opaque, mesh, K)
    assert np.abs(image - (200.0 + opaque) / 2).max() <= 1


def test_lit_colors_are_the_formula_s() -> None:
    vertices = posed()
    lit = lit_colors(COLORS, LIGHT, vertices, HAND.faces, is_right=True)
    for face in (0, 700, 1537):
        a, b, c = vertices[HAND.faces[face]].astype(np.float64)
        normal = np.cross(b - a, c - a)
        facing = max(float(normal @ LIGHT[8:] / np.linalg.norm(normal)), 0)
        wanted = COLORS[face] * (LIGHT[0] * LIGHT[2:5] + LIGHT[1] * LIGHT[5:8] * facing)
        np.testing.assert_allclose(lit[face], wanted, atol=1e-4)


def test_a_left_hand_is_lit_as_its_mirror_image() -> None:
    left = load_hand("open", "left")
    np.testing.assert_allclose(posed("left"), posed() * [-1, 1, 1], atol=1e-6)
    np.testing.assert_allclose(
        lit_colors(COLORS, LIGHT, posed("left"), left.faces, is_right=False),
        lit_colors(COLORS, LIGHT, posed(), HAND.faces, is_right=True),
        atol=1e-4,
    )


def test_a_baked_texture_shows_each_face_its_color() -> None:
    for side in ("right", "left"):
        face_uvs = hand_uv(load_hand("open", side)).face_uvs
        texture = bake_faces(COLORS, face_map(face_uvs, 512))
        assert texture.shape == (512, 512, 3)
        middle = sample_texture(texture, face_uvs.mean(1))
        right = np.abs(middle - COLORS).max(1) < 1e-6
        assert right.mean() > 0.98, "all but slivers, whose middle is within a texel of their neighbour"
        corners = sample_texture(texture, (0.8 * face_uvs + 0.2 * face_uvs.mean(1, keepdims=True)).reshape(-1, 2))
        nearest = np.abs(corners - np.repeat(COLORS, 3, 0)).mean()
        assert nearest < 0.06, "charts' rims read no foreign colour"
