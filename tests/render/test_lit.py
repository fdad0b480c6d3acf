"""Lit pictures: coverage, light and highlight."""

import numpy as np
import pytest

from handkit.hand import load_hand
from handkit.render.hard import rasterize
from handkit.render.lit import render_lit
from handkit.render.shaded import to_pixels

K = np.array([[300.0, 0, 64], [0, 300.0, 48], [0, 0, 1]])


@pytest.fixture
def hand():
    model = load_hand("open")
    palm_to_camera = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    return (model.v_template - model.v_template.mean(0)) @ palm_to_camera.T + [0, 0, 0.5], model.faces


def test_only_the_hand_is_drawn(hand):
    vertices, faces = hand
    background = np.full((96, 128, 3), 77, np.uint8)
    picture = render_lit(background, vertices, faces, K, colors=(1.0, 0.2, 0.2))
    inside = rasterize(to_pixels(vertices, K), faces, size=(96, 128)).face_ids >= 0
    changed = (picture != 77).any(-1)
    assert (background == 77).all()
    assert changed[inside].mean() > 0.97
    assert changed.sum() < 1.3 * inside.sum()


def test_light_from_the_camera_is_brighter_than_from_behind(hand):
    vertices, faces = hand
    black = np.zeros((96, 128, 3), np.uint8)
    front, back, shiny = (
        render_lit(black, vertices, faces, K, light=light, sheen=sheen).astype(float).sum()
        for light, sheen in (((0, 0, -1), 0.0), ((0, 0, 1), 0.0), ((0, 0, -1), 0.3))
    )
    assert front > 1.5 * back
    assert shiny > 1.01 * front
