"""What a network says of a crop is the same hand in the full image, in its camera and about its own origin."""

import cv2
import numpy as np
import pytest
import torch

from handkit.errors import HandkitError
from handkit.geometry import weak_perspective
from handkit.geometry.rotations import axis_angle_to_matrix
from handkit.hand import ManoLayer, load_hand
from handkit.hand.weak import WeakHandLayer
from handkit.inference.looks import look_at, square_around_joints, square_of_picture
from handkit.inference.placing import HandsInImage, hands_about_origin, hands_in_camera, place_in_image, weak_K
from handkit.nets import WeakHand

K = np.array([[890.0, 0, 330], [0, 890, 250], [0, 0, 1]])
SQUARES = np.array([[100.0, 60, 260, 220], [380, 200, 500, 320], [-40, -30, 110, 120]])


def said(seed: int = 0) -> WeakHand:
    rng = np.random.default_rng(seed)
    shapes = {"pca": (3, 10), "betas": (3, 10), "shift": (3, 2), "orient": (3, 3)}
    scales = {"pca": 0.5, "betas": 0.5, "shift": 0.1, "orient": 0.8}
    drawn = {name: torch.from_numpy(scales[name] * rng.standard_normal(shape)) for name, shape in shapes.items()}
    return WeakHand(**drawn, scale=torch.from_numpy(rng.uniform(2.0, 3.5, 3)))


def placed(is_right: bool, hand: str = "right") -> HandsInImage:
    return place_in_image(said(), SQUARES, np.full(3, is_right), load_hand("open"))


def seen_in_crops(is_right: bool) -> np.ndarray:
    """The joints where the crops show them, in full-image pixels."""
    joints = WeakHandLayer(load_hand("open"))(**said()._asdict()).joints_2d.numpy()
    joints = joints if is_right else np.stack([1 - joints[..., 0], joints[..., 1]], -1)
    return SQUARES[:, None, :2] + joints * (SQUARES[:, 2:] - SQUARES[:, :2])[:, None]


@pytest.mark.parametrize("is_right", [True, False])
def test_the_full_image_shows_what_the_crop_shows(is_right: bool) -> None:
    found = placed(is_right)
    hand = load_hand("open", "right" if is_right else "left")
    out = ManoLayer(hand)(hand_pose=found.hand_pose, betas=found.betas)
    R = axis_angle_to_matrix(found.orient)
    np.testing.assert_allclose(
        weak_perspective(out.joints, found.scale, R, found.shift), seen_in_crops(is_right), atol=1e-6
    )
    about = hands_about_origin(found, None, hand)
    np.testing.assert_allclose(about.joints, out.joints @ R.mT, atol=1e-5)
    np.testing.assert_allclose(about.vertices, out.vertices @ R.mT, atol=1e-5)
    flat = np.concatenate([about.joints[..., :2], np.ones((3, 21, 1))], -1)
    np.testing.assert_allclose((flat @ weak_K(found).transpose(0, 2, 1))[..., :2], seen_in_crops(is_right), atol=1e-2)


@pytest.mark.parametrize("is_right", [True, False])
def test_parameters_rebuild_the_hand_by_the_layer(is_right: bool) -> None:
    hand = load_hand("open", "right" if is_right else "left")
    fitted = hands_in_camera(placed(is_right), np.repeat(K[None], 3, 0), hand)
    names = ("global_orient", "hand_pose", "betas", "transl")
    out = ManoLayer(hand)(**{name: getattr(fitted, name) for name in names})
    torch.testing.assert_close(out.vertices, fitted.vertices, atol=1e-6, rtol=0)


@pytest.mark.parametrize("is_right", [True, False])
def test_the_camera_shows_the_hand_where_and_as_large_as_the_crop(is_right: bool) -> None:
    """A pinhole shows depths that a weak camera does not: of a far hand next to nothing is left of the difference."""
    far = K + np.diag([19 * K[0, 0], 19 * K[1, 1], 0])
    hand = load_hand("open", "right" if is_right else "left")
    for focal, bound_px in ((K, 3.0), (far, 0.1)):
        fitted = hands_in_camera(placed(is_right), np.repeat(focal[None], 3, 0), hand)
        projected = fitted.joints.numpy() @ focal.T
        gap = projected[..., :2] / projected[..., 2:] - seen_in_crops(is_right)
        assert np.linalg.norm(gap, axis=-1).mean() < bound_px
        assert float(fitted.joints[..., 2].min()) > 0


def test_a_hand_beside_the_axis_is_turned_towards_its_ray() -> None:
    """The same crop far off the axis: with the turn its projection is the crop's, without it the hand is sheared."""
    found = placed(True).rows(torch.tensor([0]))
    side = K + np.array([[0, 0, -700.0], [0, 0, 300], [0, 0, 0]])
    hand = load_hand("open")
    wanted = seen_in_crops(True)[:1]

    def shape_error(joints: np.ndarray) -> float:
        projected = joints @ side.T
        pixels = projected[..., :2] / projected[..., 2:]
        return float(np.linalg.norm((pixels - pixels[:, :1]) - (wanted - wanted[:, :1]), axis=-1).mean())

    turned = hands_in_camera(found, side[None], hand).joints.numpy()
    straight = hands_about_origin(found, None, hand).joints.numpy()
    origin = np.linalg.inv(side) @ np.append(found.shift[0], 1) * (side[0, 0] * side[1, 1]) ** 0.5 / float(found.scale)
    assert shape_error(turned) < 0.6 * shape_error(straight + origin)


def test_a_left_hand_is_the_mirrored_crop_of_a_right_one() -> None:
    width = 640
    right = place_in_image(said(), SQUARES, np.ones(3, bool), load_hand("open"))
    squares = np.stack([width - SQUARES[:, 2], SQUARES[:, 1], width - SQUARES[:, 0], SQUARES[:, 3]], 1)
    left = place_in_image(said(), squares, np.zeros(3, bool), load_hand("open"))
    mirrored = K.copy()
    mirrored[0, 2] = width - K[0, 2]
    a = hands_in_camera(right, np.repeat(K[None], 3, 0), load_hand("open"))
    b = hands_in_camera(left, np.repeat(mirrored[None], 3, 0), load_hand("open", "left"))
    torch.testing.assert_close(b.vertices, a.vertices * torch.tensor([-1.0, 1, 1]), atol=1e-5, rtol=0)


def test_both_sides_at_once_are_refused() -> None:
    found = place_in_image(said(), SQUARES, np.array([True, False, True]), load_hand("open"))
    with pytest.raises(HandkitError, match="both sides"):
        hands_about_origin(found, None, load_hand("open"))
    assert len(hands_about_origin(found.rows(~found.is_right), None, load_hand("open", "left")).joints) == 1


def test_crops_are_squares_of_the_image_mirrored_for_left_hands() -> None:
    rng = np.random.default_rng(0)
    image = cv2.GaussianBlur(rng.integers(0, 255, (120, 160, 3), dtype=np.uint8), (0, 0), 3)
    square = np.array([30.0, 20, 94, 84])
    right, left = (look_at(image, square, 64, is_right=side).crop for side in (True, False))
    np.testing.assert_array_equal(right, image[20:84, 30:94])
    np.testing.assert_array_equal(left, right[:, ::-1])
    outside = look_at(image, np.array([-32.0, 0, 32, 64]), 64, is_right=True).crop
    assert not outside[:, :31].any()
    np.testing.assert_array_equal(outside[:, 32:], image[:64, :32])


def test_whole_square_pictures_are_averaged_to_size() -> None:
    image = np.random.default_rng(0).integers(0, 255, (96, 96, 3), dtype=np.uint8)
    assert square_of_picture(image).tolist() == [0, 0, 96, 96]
    crop = look_at(image, square_of_picture(image), 48, is_right=True).crop
    blocks = image.reshape(48, 2, 48, 2, 3).mean((1, 3))
    assert np.abs(crop - blocks).max() <= 0.51
    assert square_of_picture(image[:64]).tolist() == [0, -16, 96, 80]


def test_the_square_around_joints_is_that_of_the_outline() -> None:
    square = square_around_joints(np.array([100.0, 50, 200, 90]))
    assert (square[:2] + square[2:]).tolist() == pytest.approx([300, 140])
    assert square[2] - square[0] == pytest.approx(2.2 * 1.23 * 100)
    with pytest.raises(HandkitError, match="is empty"):
        square_around_joints(np.zeros(4))
