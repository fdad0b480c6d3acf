"""Painting: masks of the reference rasteriser, order in depth, light, smooth edges, sequences."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from handkit.hand import load_hand
from handkit.render.hard import rasterize
from handkit.render.jit_paint import DISPLAY, LINEAR, paint_frames
from handkit.render.shaded import vertex_normals
from handkit.synth.appearance import Light
from handkit.synth.paint import Layer, paint, paint_sequence

SIZE = (96, 112)
GREY = np.full((*SIZE, 3), 120, np.uint8)
LIGHT = Light(ambient=0.3, diffuse=0.8, direction=(-0.4, -0.6, -0.7), color=(1.0, 1.0, 1.0), sheen=0.05)
FRONT = Light(ambient=0.2, diffuse=0.8, direction=(0.0, 0.0, -1.0), color=(1.0, 1.0, 1.0), sheen=0.0)


def hand_layer(seed: int, *, label: int = 255, scale: float = 420.0) -> Layer:
    hand = load_hand("open")
    turn = Rotation.from_rotvec(np.random.default_rng(seed).normal(size=3) * 1.5).as_matrix()
    vertices = (hand.v_template - hand.v_template.mean(0)) @ turn.T
    normals, _ = vertex_normals(vertices, hand.faces.astype(np.int32))
    points = np.column_stack([vertices[:, :2] * scale + [SIZE[1] / 2, SIZE[0] / 2], vertices[:, 2]])
    return Layer(points, normals, hand.faces, hand.vertex_colors, label)


def square(depth: float, color: tuple[float, float, float], label: int, *, box=(20, 20, 60, 60)) -> Layer:
    """A square that shows its outside."""
    x0, y0, x1, y1 = box
    points = np.array([[x0, y0, depth], [x0, y1, depth], [x1, y1, depth], [x1, y0, depth]], float)
    normals = np.tile([0.0, 0.0, -1.0], (4, 1))
    return Layer(points, normals, np.array([[0, 1, 2], [0, 2, 3]]), np.tile(color, (4, 1)), label)


@pytest.mark.parametrize("seed", range(8))
def test_mask_is_the_reference_rasterisers(seed: int) -> None:
    layer = hand_layer(seed, scale=700.0)  # partly off the image
    in_front = layer.points_px + np.array([0, 0, 1.0])
    wanted = rasterize(in_front, layer.faces, size=SIZE).face_ids >= 0
    for points, perspective in ((layer.points_px, False), (in_front, True)):
        _, labels = paint(GREY, [replace(layer, points_px=points)], light=LIGHT, perspective=perspective)
        np.testing.assert_array_equal(labels == 255, wanted)
    assert wanted.mean() > 0.05


@pytest.mark.parametrize("perspective", [False, True])
@pytest.mark.parametrize("order", [1, -1])
def test_nearer_hides_farther_whatever_the_order(perspective: bool, order: int) -> None:
    near, far = square(0.3, (1, 0, 0), 64), square(0.6, (0, 1, 0), 255, box=(40, 40, 90, 80))
    image, labels = paint(GREY, [near, far][::order], light=None, perspective=perspective)
    assert labels[50, 50] == 64
    assert tuple(image[50, 50]) == (255, 0, 0)
    assert labels[70, 70] == 255
    assert tuple(image[70, 70]) == (0, 255, 0)
    assert labels[5, 5] == 0
    assert tuple(image[5, 5]) == (120, 120, 120)


def test_depth_of_either_sign_without_perspective_and_none_behind_the_camera_with_it() -> None:
    layers = [square(-0.2, (1, 0, 0), 64), square(-0.5, (0, 1, 0), 255)]
    assert paint(GREY, layers, light=None)[1][40, 40] == 255
    assert not paint(GREY, layers, light=None, perspective=True)[1].any()


def test_depth_between_vertices() -> None:
    # From 1 to 3 m over the picture: halfway is 2 m on a parallel projection and 1.5 m in perspective.
    slope = square(1.0, (1, 0, 0), 1, box=(0, 0, 100, 90))
    points = slope.points_px.copy()
    points[2:, 2] = 3.0
    slope = replace(slope, points_px=points)
    between = square(1.75, (0, 1, 0), 2, box=(0, 0, 100, 90))
    assert paint(GREY, [slope, between], light=None)[1][50, 50] == 2
    assert paint(GREY, [slope, between], light=None, perspective=True)[1][50, 50] == 1


def test_unlit_colours_are_kept() -> None:
    color = (0.2, 0.5, 0.8)
    image, _ = paint(GREY, [square(0.5, color, 255)], light=None)
    np.testing.assert_allclose(image[40, 40], np.array(color) * 255, atol=1)


def test_light_follows_the_normal_and_back_sides_are_not_black() -> None:
    plane = square(0.5, (0.5, 0.5, 0.5), 255)

    def seen(layer: Layer) -> float:
        return float(LINEAR[paint(GREY, [layer], light=FRONT)[0][40, 40, 0]])

    facing = seen(plane)
    slanted = seen(replace(plane, normals=np.tile([0.0, 0.8, -0.6], (4, 1))))
    away = seen(replace(plane, normals=np.tile([0.0, 0.0, 1.0], (4, 1))))
    inside = seen(replace(plane, faces=plane.faces[:, ::-1], normals=np.tile([0.0, 0.0, 1.0], (4, 1))))
    assert facing > slanted > away > 0.02
    assert facing > inside > 0.4 * facing
    lambert = LINEAR[128] * FRONT.diffuse
    assert facing - away == pytest.approx(lambert + LINEAR[128] * FRONT.ambient * 0.7, abs=0.01)


def test_sheen_is_where_light_is_thrown_to_the_eye() -> None:
    plane, glossy = square(0.5, (0.3, 0.3, 0.3), 255), replace(FRONT, sheen=0.3)
    straight, slanted = (replace(plane, normals=np.tile(n, (4, 1))) for n in ([0.0, 0, -1], [0.0, 0.8, -0.6]))
    brighter = [
        int(paint(GREY, [p], light=glossy)[0][40, 40, 0]) - int(paint(GREY, [p], light=FRONT)[0][40, 40, 0])
        for p in (straight, slanted)
    ]
    assert brighter[0] > 40
    assert abs(brighter[1]) <= 1


def test_edges_mix_in_linear_light() -> None:
    layer = square(0.5, (1, 1, 1), 255, box=(20, 20, 60.5, 60))
    image, labels = paint(np.zeros_like(GREY), [layer], light=None)
    assert labels[40, 59] == 255
    assert labels[40, 61] == 0
    assert image[40, 60, 0] == DISPLAY[(len(DISPLAY) - 1) // 2]
    sharp, _ = paint(np.zeros_like(GREY), [layer], light=None, supersample=1)
    assert set(np.unique(sharp)) == {0, 255}


def test_smooth_edges_stay_within_a_pixel_of_the_mask() -> None:
    image, labels = paint(GREY, [hand_layer(3)], light=LIGHT)
    changed = (image != GREY).any(-1)
    near = labels > 0
    near[1:] |= near[:-1].copy()
    near[:-1] |= near[1:].copy()
    near[:, 1:] |= near[:, :-1].copy()
    near[:, :-1] |= near[:, 1:].copy()
    assert not (changed & ~near).any()
    assert changed[labels > 0].mean() > 0.98


def test_sequence_equals_its_frames() -> None:
    hands, arms = [hand_layer(seed) for seed in range(3)], [square(0.01, (0.5, 0.3, 0.2), 128)] * 3
    backgrounds = np.random.default_rng(0).integers(0, 256, (3, *SIZE, 3)).astype(np.uint8)
    kept = backgrounds.copy()
    layers = [
        replace(
            parts[0], points_px=np.stack([p.points_px for p in parts]), normals=np.stack([p.normals for p in parts])
        )
        for parts in (hands, arms)
    ]
    images, labels = paint_sequence(backgrounds, layers, light=LIGHT)
    np.testing.assert_array_equal(backgrounds, kept)
    for t in range(3):
        image, label = paint(backgrounds[t], [hands[t], arms[t]], light=LIGHT)
        np.testing.assert_array_equal(images[t], image)
        np.testing.assert_array_equal(labels[t], label)
    assert set(np.unique(labels)) == {0, 128, 255}


def test_nothing_to_paint_and_broken_points() -> None:
    image, labels = paint(GREY, [], light=LIGHT)
    assert (image == GREY).all()
    assert not labels.any()
    layer = square(0.5, (1, 0, 0), 255)
    away = replace(layer, points_px=layer.points_px + np.array([1e6, 0, 0]))
    assert not paint(GREY, [away], light=LIGHT)[1].any()
    for value in (np.nan, np.inf):
        points = layer.points_px.copy()
        points[1, 0] = value
        _, labels = paint(GREY, [replace(layer, points_px=points)], light=LIGHT)
        assert (labels > 0).sum() < 40 * 40
    with pytest.raises(ValueError, match="faces index"):
        paint(GREY, [replace(layer, faces=np.array([[0, 1, 4]]))], light=None)
    with pytest.raises(ValueError, match="backgrounds"):
        paint_sequence(np.stack([GREY] * 2), [replace(layer, points_px=layer.points_px[None])], light=None)


def test_the_kernel_is_compiled_once_whatever_the_memory_layout() -> None:
    layer = hand_layer(3)
    image, labels = paint(GREY, [layer], light=LIGHT)
    compiled = len(paint_frames.signatures)
    turned = replace(layer, points_px=np.asfortranarray(layer.points_px), normals=np.asfortranarray(layer.normals))
    again, labels_again = paint(GREY, [turned], light=LIGHT)
    assert (again == image).all()
    assert (labels_again == labels).all()
    assert len(paint_frames.signatures) == compiled
