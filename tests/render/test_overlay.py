"""Overlays: what is drawn lies where the geometry says, and nothing else is touched."""

import numpy as np
import pytest

from handkit.conventions import FINGERS
from handkit.hand.model import load_hand
from handkit.render.hard import rasterize
from handkit.render.overlay import (
    FINGER_COLORS,
    TRACK_COLORS,
    Mesh,
    beside,
    draw_label,
    draw_mesh,
    draw_meshes,
    draw_skeleton,
    side_view,
    track_color,
)

K = np.array([[300.0, 0, 80], [0, 300, 60], [0, 0, 1]])
BACKGROUND = np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8)


def _hand(x: float = 0.0, z: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """The open hand with its fingers up and its palm or back to the camera."""
    hand = load_hand("open")
    centred = hand.v_template - hand.v_template.mean(0)
    turn = np.array([[0, 0, 1.0], [1, 0, 0], [0, 1, 0]])
    return centred @ turn.T + [x, 0, z], hand.faces


def _silhouette(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    pixels = vertices @ K.T
    pixels[:, :2] /= pixels[:, 2:]
    return rasterize(pixels, faces, size=(120, 160)).face_ids >= 0


def _grown(mask: np.ndarray) -> np.ndarray:
    padded = np.pad(mask, 1)
    windows = [padded[y : y + mask.shape[0], x : x + mask.shape[1]] for y in range(3) for x in range(3)]
    return np.logical_or.reduce(windows)


def test_mesh_covers_its_silhouette_and_no_more() -> None:
    vertices, faces = _hand()
    image = BACKGROUND.copy()
    draw_mesh(image, vertices, faces, K, opacity=1.0)
    mask = _silhouette(vertices, faces)
    changed = (image != BACKGROUND).any(-1)
    assert mask.mean() > 0.1
    assert changed[mask].mean() > 0.99
    assert not (changed & ~_grown(mask)).any()


def test_shading_takes_the_colour_and_varies() -> None:
    image = np.zeros((120, 160, 3), np.uint8)
    draw_mesh(image, *_hand(), K, color=(200, 100, 50), opacity=1.0)
    drawn = image[_silhouette(*_hand())].astype(float)
    assert (np.diff(drawn.mean(0)) < 0).all(), "more red than green than blue"
    assert drawn[:, 0].std() > 5


def test_edges_are_smoothed() -> None:
    vertices, faces = _hand()
    image = np.zeros((120, 160, 3), np.uint8)
    draw_mesh(image, vertices, faces, K, color=(255, 255, 255), opacity=1.0)
    mask = _silhouette(vertices, faces)
    ring = _grown(mask) & ~mask
    inside = image[mask].mean()
    assert 0 < image[ring].mean() < 0.6 * inside


def test_opacity_blends() -> None:
    vertices, faces = _hand()
    solid, half, none = (BACKGROUND.copy() for _ in range(3))
    draw_mesh(solid, vertices, faces, K, opacity=1.0)
    draw_mesh(half, vertices, faces, K, opacity=0.5)
    draw_mesh(none, vertices, faces, K, opacity=0.0)
    np.testing.assert_array_equal(none, BACKGROUND)
    inner = _silhouette(vertices, faces)
    mean = (solid.astype(float) + BACKGROUND) / 2
    assert np.abs(half - mean)[inner].max() <= 1.5


@pytest.mark.parametrize("swap", [False, True])
def test_the_nearer_hand_is_in_front(swap: bool) -> None:
    near, far = Mesh(*_hand(z=0.4), (255, 0, 0)), Mesh(*_hand(z=0.6), (0, 0, 255))
    image = np.zeros((120, 160, 3), np.uint8)
    draw_meshes(image, [far, near] if swap else [near, far], K, opacity=1.0)
    mask = _silhouette(near.vertices_cam, near.faces)
    assert (image[..., 0] > image[..., 2])[mask].mean() > 0.97


def test_out_of_sight_nothing_changes() -> None:
    vertices, faces = _hand()
    image = BACKGROUND.copy()
    for offset in ([5.0, 0, 0], [0, 0, -2.0], [np.nan, 0, 0]):
        draw_mesh(image, vertices + offset, faces, K)
    draw_meshes(image, [], K)
    np.testing.assert_array_equal(image, BACKGROUND)


def test_hand_cut_by_the_border() -> None:
    vertices, faces = _hand(x=0.13)
    image = BACKGROUND.copy()
    draw_mesh(image, vertices, faces, K, opacity=1.0)
    assert (image[:, -1] != BACKGROUND[:, -1]).any()


def test_images_that_are_views_are_drawn_on() -> None:
    straight, turned = BACKGROUND.copy(), BACKGROUND[:, ::-1].copy()[:, ::-1]
    for image in (straight, turned):
        draw_mesh(image, *_hand(), K)
        draw_skeleton(image, np.random.default_rng(1).uniform(20, 100, (21, 2)))
        draw_label(image, "1 left", (20, 60), color=track_color(1))
    assert not turned.flags.c_contiguous
    np.testing.assert_array_equal(straight, turned)
    assert (straight != BACKGROUND).any()


def _fan() -> np.ndarray:
    """A flat hand: wrist at the bottom, fingers fanned upwards."""
    joints = np.zeros((21, 2))
    joints[0] = 80.5, 110.5
    for finger, angle in enumerate(np.linspace(-0.8, 0.8, 5)):
        for k in range(4):
            joints[1 + 4 * finger + k] = joints[0] + (40 + 18 * k) * np.array([np.sin(angle), -np.cos(angle)])
    return joints


def test_skeleton_colours_by_finger_at_the_joints() -> None:
    image = np.zeros((120, 160, 3), np.uint8)
    joints = _fan()
    draw_skeleton(image, joints, thickness=2)
    for joint in range(1, 21):
        x, y = joints[joint].astype(int)
        wanted = np.array(FINGER_COLORS[FINGERS[(joint - 1) // 4]])
        assert np.abs(image[y, x].astype(int) - wanted).max() < 30, joint


def test_skeleton_leaves_out_what_is_not_there() -> None:
    joints = _fan()
    shown = np.zeros((120, 160, 3), np.uint8)
    draw_skeleton(shown, joints)
    broken = joints.copy()
    broken[5:9] = np.nan
    broken[9] = 1e9
    image = np.zeros((120, 160, 3), np.uint8)
    draw_skeleton(image, broken)
    x, y = joints[7].astype(int)
    assert shown[y, x].any()
    assert not image[y, x].any()
    by_score = np.zeros((120, 160, 3), np.uint8)
    draw_skeleton(by_score, joints, scores=np.where(np.arange(21) == 7, 0.1, 0.9), min_score=0.5)
    assert not by_score[y, x].any()
    nothing = np.zeros((120, 160, 3), np.uint8)
    draw_skeleton(nothing, np.full((21, 2), np.nan))
    assert not nothing.any()


@pytest.mark.parametrize("at", [(10, 60), (-50, -50), (1e4, 1e4), (np.nan, 0)])
def test_label_stays_inside(at: tuple[float, float]) -> None:
    image = np.zeros((120, 300, 3), np.uint8)
    draw_label(image, "3 right", at, color=(10, 200, 30))
    plate = (image == (10, 200, 30)).all(-1)
    assert plate.any() == bool(np.isfinite(at).all())
    if plate.any():
        assert plate.sum() > 400


def test_side_view_turns_depth_to_the_right() -> None:
    ball, faces = _hand()
    ball = (ball - ball.mean(0)) * 0.1
    near, far = (
        Mesh(ball + np.array(offset), faces, color)
        for offset, color in (((0, 0, 0.4), (255, 0, 0)), ((0, -0.05, 0.6), (0, 0, 255)))
    )
    image = side_view([near, far], size=(120, 200), background=(0, 0, 0)).astype(int)
    red, blue = (np.argwhere(image[..., a] > image[..., b] + 40).mean(0) for a, b in ((0, 2), (2, 0)))
    assert red[1] < blue[1] - 40, "the nearer hand is on the left"
    assert blue[0] < red[0] - 5, "up stays up"


def test_side_view_fits_the_hands_and_can_be_held() -> None:
    meshes = [Mesh(*_hand(x, z)) for x, z in ((0.0, 0.5), (0.3, 0.9))]
    image = side_view(meshes, size=(100, 140), background=(0, 0, 0))
    assert image.any()
    for border in (image[0], image[-1], image[:, 0], image[:, -1]):
        assert not border.any()
    held = [
        side_view(meshes[:1], size=(100, 140), centre=(0, 0, 0.5), radius=r, background=(0, 0, 0)) for r in (0.1, 0.2)
    ]
    areas = [(view > 0).any(-1).sum() for view in held]
    assert areas[0] == pytest.approx(4 * areas[1], rel=0.15)
    assert (side_view([], size=(10, 12)) == 245).all()


def test_beside_scales_to_the_height() -> None:
    wide = beside(BACKGROUND, np.zeros((60, 30, 3), np.uint8))
    assert wide.shape == (120, 160 + 60, 3)
    np.testing.assert_array_equal(wide[:, :160], BACKGROUND)


def test_track_colours_repeat() -> None:
    assert track_color(1) == track_color(1 + len(TRACK_COLORS)) != track_color(2)
