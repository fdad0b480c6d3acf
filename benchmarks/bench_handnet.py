"""Hands a second that HandNet sees on two threads, with and without the mask.

    pytest -s benchmarks/bench_handnet.py

Crops are 224 px, eight a batch, image and keypoints. Figures are 20th percentiles, which other work on the machine
moves least.
"""

import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from handkit.checkpoint import CheckpointInfo
from handkit.hand import load_hand
from handkit.inference.handnet import HandNetPredictor
from handkit.inference.looks import look_at, square_around_joints
from handkit.inference.placing import hands_in_camera
from handkit.nets import HandNet, keypoint_heatmaps

BATCH, SIZE, THREADS = 8, 224, 2
BAR_HANDS_PER_S = 8


@pytest.fixture(autouse=True)
def _two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    yield
    torch.set_num_threads(before)


def seconds(run: Callable[[], object], rounds: int) -> float:
    run()
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return float(np.percentile(taken, 20))


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("want_mask", [True, False])
@pytest.mark.parametrize("backbone", ["resnet50", "regnet_x_400mf"])
def test_hands_a_second(backbone: str, want_mask: bool, half: bool) -> None:
    network = HandNet(backbone=backbone).eval()
    images, heatmaps = torch.rand(BATCH, 3, SIZE, SIZE), torch.rand(BATCH, 21, SIZE, SIZE)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        taken = seconds(lambda: network(images, heatmaps, want_mask=want_mask), rounds=5)
    print(f"\n{backbone}, mask {want_mask}, {'bf16' if half else 'fp32'}: {BATCH / taken:.1f} hands/s")
    if backbone == "regnet_x_400mf" and not half:
        assert BATCH / taken > BAR_HANDS_PER_S


def test_keypoints_alone_a_second() -> None:
    network, heatmaps = HandNet(backbone="regnet_x_400mf", inputs="keypoints").eval(), torch.rand(BATCH, 21, SIZE, SIZE)
    with torch.inference_mode():
        print(f"\ncompact, keypoints alone: {BATCH / seconds(lambda: network(None, heatmaps), rounds=5):.1f} hands/s")


def test_heatmaps_a_second() -> None:
    points, scores = torch.rand(BATCH, 21, 2), torch.rand(BATCH, 21)
    with torch.inference_mode():
        taken = seconds(lambda: keypoint_heatmaps(points, scores, size=SIZE, sigma=0.02), rounds=5)
    print(f"\nheat maps: {1000 * taken / BATCH:.2f} ms a hand")


@pytest.mark.parametrize("inputs", ["both", "keypoints"])
@pytest.mark.parametrize("backbone", ["resnet50", "regnet_x_400mf"])
def test_whole_way_a_second(backbone: str, inputs: str) -> None:
    """From a picture of 640 x 480 px and its keypoints: square, crop, heat maps, network, the hand in the camera."""
    network, hand = HandNet(backbone=backbone, inputs=inputs), load_hand("open")
    info = CheckpointInfo("handnet", network.describe(), {"network": {"size": SIZE}}, 0, data={"box_scale": 1.5})
    predictor = HandNetPredictor(network, info)
    image = np.random.default_rng(0).integers(0, 255, (480, 640, 3), dtype=np.uint8)
    points = np.random.default_rng(1).uniform((200, 100), (420, 360), (BATCH, 21, 2))
    K = np.repeat(np.array([[600.0, 0, 320], [0, 600, 240], [0, 0, 1]])[None], BATCH, 0)

    def pose() -> None:
        squares = [square_around_joints(np.concatenate([p.min(0), p.max(0)]), 1.5) for p in points]
        looks = [look_at(image, square, SIZE, is_right=True) for square in squares]
        hands_in_camera(predictor.step(looks, points, np.ones((BATCH, 21))), K, hand)

    taken = seconds(pose, rounds=5)
    print(f"\n{backbone}, {inputs}, from picture to hand: {BATCH / taken:.1f} hands/s")
    if backbone == "regnet_x_400mf":
        assert BATCH / taken > BAR_HANDS_PER_S
