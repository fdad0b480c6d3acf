"""Masks of rendered hands over backgrounds made by rule, against the true ones."""

import cv2
import numpy as np
import pytest
import torch

from handkit.hand import ManoLayer, load_hand
from handkit.hand.limits import angles_to_pose, joint_frames, sample_angles
from handkit.render.lit import render_lit
from handkit.segment import SEGMENTERS, forearm_mask, grabcut_mask, hsv_mask
from tests.fit.known import FACING, K, hard_masks

SIZE = (240, 320)


def background(seed: int) -> np.ndarray:
    """Smooth coloured noise, greenish and bluish as rooms are."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(20, 200, (6, 8, 3)) * (0.6, 1.0, 1.0)
    return cv2.resize(coarse, SIZE[::-1], interpolation=cv2.INTER_CUBIC).clip(0, 255).astype(np.uint8)


def hands(count: int) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Pictures, true masks, and the masks of the same hands 8 degrees and 4 mm off."""
    rng = np.random.default_rng(3)
    hand = load_hand("open")
    angles = sample_angles(count, rng)
    layer, frames = ManoLayer(hand), joint_frames(hand)
    off = angles + np.deg2rad(rng.choice([-8, 8], (count, 15, 1))) * (1, 0, 0)
    meshes = [
        layer(
            global_orient=FACING.expand(count, 3),
            hand_pose=angles_to_pose(torch.from_numpy(a), frames).float(),
            transl=torch.tensor([shift, 0.05, 0.5]).expand(count, 3),
        ).vertices
        for a, shift in ((angles, 0.0), (off, 0.004))
    ]
    half = K.numpy() * [[0.5], [0.5], [1]]
    pictures = [
        render_lit(background(i), mesh.numpy(), hand.faces, half, colors=(0.86, 0.66, 0.55))
        for i, mesh in enumerate(meshes[0])
    ]
    true, seeds = (hard_masks(hand, mesh, torch.from_numpy(half).float(), SIZE).numpy() for mesh in meshes)
    return pictures, true, seeds


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return (a & b).sum() / (a | b).sum()


def test_grabcut_is_nearer_to_the_truth_than_its_seed() -> None:
    pictures, true, seeds = hands(6)
    found = [grabcut_mask(picture, seed) for picture, seed in zip(pictures, seeds, strict=True)]
    before = np.mean([iou(seed, mask) for seed, mask in zip(seeds, true, strict=True)])
    after = np.mean([iou(mask, target) for mask, target in zip(found, true, strict=True)])
    assert before < 0.85
    assert after > 0.92
    again = grabcut_mask(pictures[0], seeds[0])
    np.testing.assert_array_equal(again, found[0])


def test_skin_colour_alone_is_the_baseline() -> None:
    pictures, true, seeds = hands(6)
    alone = np.mean([iou(hsv_mask(picture), mask) for picture, mask in zip(pictures, true, strict=True)])
    near = np.mean([iou(hsv_mask(p, s), mask) for p, s, mask in zip(pictures, seeds, true, strict=True)])
    assert 0.3 < alone <= near + 1e-9


def test_hsv_knows_skin_from_blue_and_grey() -> None:
    image = np.array([[[224, 172, 140], [120, 80, 60], [40, 80, 200], [128, 128, 128], [20, 200, 40]]], np.uint8)
    assert hsv_mask(image).tolist() == [[True, True, False, False, False]]


@pytest.mark.parametrize("name", ["grabcut", "hsv"])
def test_degenerate_seeds(name: str) -> None:
    segment = SEGMENTERS[name]  # type: ignore[index]
    picture = background(0)
    assert not segment(picture, np.zeros(SIZE, bool)).any()
    dot = np.zeros(SIZE, bool)
    dot[0, 0] = True
    assert segment(picture, dot).shape == SIZE
    assert segment(picture, np.ones(SIZE, bool)).shape == SIZE
    flat = np.full((*SIZE, 3), 90, np.uint8)
    dot[50:90, 60:99] = True
    assert segment(flat, dot).shape == SIZE


def test_the_arm_is_beyond_the_wrist() -> None:
    """Fingers up: below the hand, about as wide as its wrist, and none of it among the fingers."""
    hand = load_hand("open")
    mesh = ManoLayer(hand)(global_orient=FACING[None], transl=torch.tensor([[0.0, 0.05, 0.5]])).vertices[0].numpy()
    half = K.numpy() * [[0.5], [0.5], [1]]
    drawn = hard_masks(hand, torch.from_numpy(mesh)[None], torch.from_numpy(half).float(), SIZE)[0].numpy()
    arm = forearm_mask(mesh, hand.faces, half, SIZE)
    rows = np.flatnonzero(drawn.any(1))
    assert not arm[: rows[-1] - 6].any()
    just_below = arm[rows[-1] + 3]
    assert drawn[rows[-1] - 3].sum() < just_below.sum() < 2 * drawn[rows[-1] - 3].sum()
    assert arm[rows[-1] + 20 : rows[-1] + 40].any(1).all()
    behind = mesh * (1, 1, -1)
    assert not forearm_mask(behind, hand.faces, half, SIZE).any()
    closed = np.array([[0, 1, 2], [0, 2, 3], [0, 3, 1], [1, 3, 2]])
    assert not forearm_mask(mesh[:4], closed, half, SIZE).any()
