from typing import Any

import cv2
import numpy as np
import pytest
import torch

from handkit.data.augment import move_sample, warp_image
from handkit.data.registry import build_dataset
from handkit.data.sample import HandSample, build_sample, check_sample
from handkit.detect.crop import crop_from_image, crop_image
from handkit.geometry import crop_transform, mirror_transform, project, rotate_transform
from handkit.hand import ManoLayer
from tests.data.making import write_sequences
from tests.data.posing import HANDS, posed, seen_at, silhouette

WIDTH, HEIGHT, SIZE = 320, 240, 128
# No square pixels, skew, and a principal point well off the middle.
K = np.array([[420.0, 5, 130], [0, 380, 145], [0, 0, 1]])
MOVES = [
    {"centre": (150, 110), "side": 190, "degrees": 0},
    {"centre": (150, 110), "side": 190, "degrees": 70},
    {"centre": (40, 200), "side": 90, "degrees": -160, "mirror": True},
    {"centre": (250, 30), "side": 400, "degrees": 0, "mirror": True},
]


def move(centre: tuple[float, float], side: float, degrees: float, *, mirror: bool = False) -> np.ndarray:
    """Mirror, turn about the picture's middle, crop."""
    doubles = [torch.tensor(value, dtype=torch.float64) for value in (centre, side, np.radians(degrees), float(WIDTH))]
    middle = torch.tensor([WIDTH / 2, HEIGHT / 2], dtype=torch.float64)
    steps = crop_transform(doubles[0], doubles[1], SIZE) @ rotate_transform(doubles[2], middle)
    return (steps @ mirror_transform(doubles[3]) if mirror else steps).numpy()


def pinhole(seed: int = 0, side: str = "right", camera: np.ndarray = K) -> HandSample:
    """A hand before a camera, everything annotated, on noise of low contrast."""
    hand = posed(seed, side=side)
    joints_2d, outline = (seen_at(hand[key], camera) for key in ("joints", "vertices"))
    image = np.random.default_rng(seed).integers(0, 60, (3, HEIGHT, WIDTH), dtype=np.uint8)
    known: dict[str, Any] = {key: hand[key] for key in ("global_orient", "hand_pose", "betas", "transl", "vertices")}
    return build_sample(
        image,
        is_right=side == "right",
        dataset="drawn",
        name=f"{seed:03d}",
        hand_model="open",
        K=camera,
        joints_3d=hand["joints"],
        joints_2d=joints_2d,
        vertices_2d=outline,
        keypoints_2d=joints_2d + 1,
        keypoint_scores=np.linspace(0, 1, 21),
        mask=silhouette(hand["vertices"], camera, (HEIGHT, WIDTH), side),
        bbox=np.concatenate([outline.min(0), outline.max(0)]),
        **known,
    )


def rebuilt(sample: HandSample) -> tuple[np.ndarray, np.ndarray]:
    given = {key: torch.from_numpy(sample[key]) for key in ("global_orient", "hand_pose", "betas", "transl")}
    out = ManoLayer(HANDS["right" if sample["is_right"] else "left"])(**given)
    return out.vertices.numpy(), out.joints.numpy()


def projected(points: np.ndarray, camera: np.ndarray) -> np.ndarray:
    return project(torch.from_numpy(points).double(), torch.from_numpy(camera).double()).numpy()


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("given", MOVES)
def test_the_moved_camera_shows_the_moved_hand(given: dict[str, Any], side: str) -> None:
    sample, transform = pinhole(1, side), move(**given)
    moved = move_sample(sample, transform, (SIZE, SIZE))
    check_sample(moved)
    by_hand = np.array([(transform @ [x, y, 1])[:2] for x, y in sample["joints_2d"].astype(float)])
    np.testing.assert_allclose(moved["joints_2d"], by_hand, atol=1e-3)
    np.testing.assert_allclose(projected(moved["joints_3d"], moved["K"]), moved["joints_2d"], atol=1e-3)
    np.testing.assert_allclose(projected(moved["vertices"], moved["K"]), moved["vertices_2d"], atol=1e-3)
    assert bool(moved["is_right"]) == ((side == "right") != given.get("mirror", False))
    for found, wanted in zip(rebuilt(moved), (moved["vertices"], moved["joints_3d"]), strict=True):
        np.testing.assert_allclose(found, wanted, atol=3e-6)
    # keypoints stand one pixel off the joints, wherever those went, but for the one that was not found
    apart = (transform[:2, :2] @ [1, 1]) + moved["joints_2d"]
    np.testing.assert_allclose(moved["keypoints_2d"][1:], apart[1:], atol=1e-3)
    assert not moved["keypoints_2d"][0].any()
    np.testing.assert_allclose(moved["bbox"][:2], moved["vertices_2d"].min(0), atol=1e-3)


@pytest.mark.parametrize("given", MOVES)
def test_picture_and_mask_follow(given: dict[str, Any]) -> None:
    sample, transform = pinhole(2), move(**given)
    for x, y in sample["joints_2d"]:
        for channel in sample["image"]:
            cv2.circle(channel, (round(16 * (x - 0.5)), round(16 * (y - 0.5))), 16 * 3, 255, -1, cv2.LINE_AA, 4)
    moved = move_sample(sample, transform, (SIZE, SIZE))
    inside = [(x, y) for x, y in moved["joints_2d"] if 8 < x < SIZE - 8 and 8 < y < SIZE - 8]
    if given["side"] == 190:
        assert len(inside) > 15
    others = moved["joints_2d"]
    for x, y in inside:
        if np.sort(np.hypot(*(others - (x, y)).T))[1] < 14:
            continue  # dots that touch
        x0, y0 = round(x) - 7, round(y) - 7
        patch = np.clip(moved["image"][0, y0 : y0 + 14, x0 : x0 + 14].astype(float) - 80, 0, None)
        rows, columns = np.mgrid[:14, :14] + 0.5
        centre = np.array([(patch * columns).sum(), (patch * rows).sum()]) / patch.sum() + (x0, y0)
        np.testing.assert_allclose(centre, (x, y), atol=0.25)
    side = "right" if moved["is_right"] else "left"
    drawn = silhouette(moved["vertices"], moved["K"], (SIZE, SIZE), side)
    in_picture = warp_image(np.full((HEIGHT, WIDTH), 255, np.uint8), transform, (SIZE, SIZE)) == 255
    assert ((moved["mask"] != drawn) & in_picture).sum() < 0.05 * max(drawn.sum(), 100)


@pytest.mark.parametrize("given", MOVES)
def test_weak_cameras_move_too(given: dict[str, Any], tmp_path: Any) -> None:
    frame = build_dataset("seqhand", write_sequences(tmp_path / "a", shards=1, each=1))[1]
    moved = move_sample(frame, move(**given), (SIZE, SIZE))
    check_sample(moved)
    for points, pixels in (("joints_3d", "joints_2d"), ("vertices", "vertices_2d")):
        shown = moved["weak_scale"] * moved[points][:, :2] + moved["weak_transl"]
        np.testing.assert_allclose(shown, moved[pixels], atol=1e-3)
    np.testing.assert_allclose(rebuilt(moved)[0], moved["vertices"], atol=3e-6)
    np.testing.assert_array_equal(moved["pca"], frame["pca"])
    assert moved["weak_scale"] > 0
    with pytest.raises(ValueError, match="only similarities"):
        move_sample(frame, np.diag([1.0, 2, 1]), (SIZE, SIZE))


def test_conventions() -> None:
    """A quarter turn clockwise takes x to y, in the picture and in space; a mirror is an exact flip."""
    square = np.array([[300.0, 0, 100], [0, 300, 90], [0, 0, 1]])
    sample = pinhole(3, camera=square)
    turned = move_sample(sample, np.array([[0.0, -1, HEIGHT], [1, 0, 0], [0, 0, 1]]), (WIDTH, HEIGHT))
    np.testing.assert_array_equal(turned["image"], np.rot90(sample["image"], -1, axes=(1, 2)))
    np.testing.assert_array_equal(turned["mask"], np.rot90(sample["mask"], -1))
    x, y, z = sample["joints_3d"].T
    np.testing.assert_allclose(turned["joints_3d"], np.column_stack([-y, x, z]), atol=1e-6)
    np.testing.assert_allclose(turned["K"], [[300, 0, HEIGHT - 90], [0, 300, 100], [0, 0, 1]], atol=1e-4)
    mirrored = move_sample(sample, np.array([[-1.0, 0, WIDTH], [0, 1, 0], [0, 0, 1]]), (HEIGHT, WIDTH))
    np.testing.assert_array_equal(mirrored["image"], sample["image"][..., ::-1])
    np.testing.assert_allclose(mirrored["joints_3d"], sample["joints_3d"] * [-1, 1, 1], atol=1e-7)
    np.testing.assert_allclose(mirrored["global_orient"], sample["global_orient"] * [1, -1, -1], atol=1e-6)
    np.testing.assert_allclose(mirrored["hand_pose"].reshape(15, 3)[:, 0], sample["hand_pose"][::3])
    assert not mirrored["is_right"]


@pytest.mark.parametrize("box", [(10, 20, 110, 120), (-60, 100, 300, 460), (140.3, 60.2, 190.9, 110.8)])
def test_crops_are_those_of_the_detector(box: tuple[float, ...]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    where = np.array(box, float)
    found = warp_image(image, crop_from_image(where, SIZE), (SIZE, SIZE))
    # cv2 rounds positions to 1/32 pixel, and counts them here from another corner
    apart = np.abs(found.astype(int) - crop_image(image, where, SIZE))
    assert np.percentile(apart, 99) <= 8
    assert apart.mean() < 1


def test_a_crop_beside_the_picture_is_black() -> None:
    moved = move_sample(pinhole(), move((-500, 100), 90, 0), (SIZE, SIZE))
    assert not moved["image"].any()
    assert not moved["mask"].any()
    check_sample(moved)


def test_what_lies_outside() -> None:
    image = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    shift = np.array([[1.0, 0, 30], [0, 1, -20], [0, 0, 1]])
    size = (HEIGHT, WIDTH)
    inside = np.pad(image[20:], ((0, 20), (30, 0), (0, 0)))[:, :WIDTH]
    np.testing.assert_array_equal(warp_image(image, shift, size), inside)
    edge = np.pad(image[20:], ((0, 20), (30, 0), (0, 0)), mode="edge")[:, :WIDTH]
    np.testing.assert_array_equal(warp_image(image, shift, size, outside="edge"), edge)
    beside = np.array([[1.0, 0, 900], [0, 1, 0], [0, 0, 1]])
    for move_by in (shift, beside):
        colored = warp_image(image, move_by, size, outside=(9, 8, 7))
        np.testing.assert_array_equal(colored[-1, 0], (9, 8, 7))
    assert not warp_image(image[..., 0], beside, size).any()


def test_what_is_not_annotated_stays_so() -> None:
    image = np.full((3, HEIGHT, WIDTH), 9, np.uint8)
    bare = build_sample(image, is_right=True, dataset="bare", name="0")
    moved = move_sample(bare, move(**MOVES[2]), (SIZE, SIZE))
    check_sample(moved)
    assert not any(moved[key].any() for key in moved if key.endswith("_valid"))
    some = np.arange(21) % 2 == 0
    joints = np.where(some[:, None], pinhole()["joints_2d"], 0)
    partly = build_sample(image, is_right=True, dataset="bare", name="0", joints_2d=joints, joints_2d_valid=some)
    moved = move_sample(partly, move(**MOVES[2]), (SIZE, SIZE))
    check_sample(moved)
    np.testing.assert_array_equal(moved["joints_2d"].any(1), some)


def test_turned_boxes_stay_tight() -> None:
    known = {"dataset": "boxed", "name": "0", "is_right": True}
    image = np.zeros((3, HEIGHT, WIDTH), np.uint8)
    quarter = np.array([[0.0, -1, HEIGHT], [1, 0, 0], [0, 0, 1]])
    alone = build_sample(image, bbox=[100, 50, 180, 90], **known)
    np.testing.assert_allclose(move_sample(alone, quarter, (WIDTH, HEIGHT))["bbox"], [150, 100, 190, 180], atol=1e-4)
    eighth = move_sample(alone, move((140, 70), SIZE, 45), (SIZE, SIZE))["bbox"]
    # an ellipse of half axes 40, 20 turned by 45 degrees
    np.testing.assert_allclose(eighth[2:] - eighth[:2], 2 * np.sqrt((40**2 + 20**2) / 2), rtol=2e-3)
    joints = pinhole()["joints_2d"]
    drawn = build_sample(image, bbox=[*joints.min(0), *joints.max(0)], joints_2d=joints, **known)
    moved = move_sample(drawn, move(**MOVES[1]), (SIZE, SIZE))
    np.testing.assert_allclose(moved["bbox"], [*moved["joints_2d"].min(0), *moved["joints_2d"].max(0)], atol=1e-3)


def test_translation_is_given_up_without_the_model(caplog: pytest.LogCaptureFixture) -> None:
    sample: HandSample = {**pinhole(), "hand_model": "nowhere.pkl"}
    shifted = move_sample(sample, move(**MOVES[0]), (SIZE, SIZE))
    assert shifted["transl_valid"]
    turned = move_sample(sample, move(**MOVES[1]), (SIZE, SIZE))
    check_sample(turned)
    assert not turned["transl_valid"]
    assert turned["pose_valid"]
