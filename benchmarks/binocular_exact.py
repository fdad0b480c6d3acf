"""How exact places and depths of lixel networks are where nothing is learned: the read-out, two views of known hands.

    python benchmarks/binocular_exact.py [--pairs N]

read-out     the largest error of the soft-argmax on Gaussian heat maps of 64 lixels, s.d. 0.5 to 3 lixels, in lixels
two views    the largest distance in mm of vertices whose true places in both crops, as `handkit selfsup binocular` cuts
             them about noisy keypoints of generated pairs, are put back into space in float32; how far crops' scales
             differ between the views
one pixel    what one pixel of disparity is worth at 0.5 m with STB's cameras, by shifting a point's left view
"""

import argparse
import tempfile
from pathlib import Path

import torch

from handkit.data.binocular_batches import PairBatches
from handkit.data.keypoint_noise import KeypointNoise
from handkit.data.lixel_targets import lixel_points
from handkit.data.stb import BASELINE_M, K_BB
from handkit.data.stereo import StereoDataset
from handkit.geometry.cameras import project
from handkit.geometry.disparity import triangulate
from handkit.hand.model import load_hand
from handkit.methods.binocular_measures import true_pair
from handkit.methods.binocular_views import place_pairs
from handkit.nets import soft_argmax
from handkit.runs.made_pairs import make_pairs
from handkit.train import Place

LIXELS, SIZE = 64, 128


def read_out() -> float:
    """Lixels."""
    worst = 0.0
    centres = torch.arange(LIXELS) + 0.5
    for sigma in torch.linspace(0.5, 3, 11):
        margin = 4 * float(sigma) + 0.5
        place = margin + (LIXELS - 2 * margin) * torch.rand(10_000, generator=torch.Generator().manual_seed(0))
        found = soft_argmax(-0.5 * ((centres - place[:, None]) / sigma) ** 2)
        worst = max(worst, float((found - place).abs().max()))
    return worst


def two_views(folder: Path, count: int) -> tuple[float, float]:
    """Millimetres, and the largest ratio of the scales of a pair's crops."""
    make_pairs(folder, recipe="stereo", pairs=count, hand="open", seed=0, precision="32-true", device="cpu")
    hand = load_hand("open", "right")
    source = PairBatches(StereoDataset(folder), hand, batch=1, size=SIZE, masks="off", noise=KeypointNoise())
    (batch,) = source.fixed(count, count, Place())
    seen, _ = lixel_points(batch, batch["vertices"], size=SIZE)
    pair = place_pairs(seen.float(), batch, size=SIZE)
    apart = (pair.found.right - true_pair(batch).vertices).norm(dim=-1)
    focal = torch.stack([pair.K_right[:, 0, 0], pair.K_left[:, 0, 0]])
    return 1000 * float(apart.max()), float((focal.amax(0) / focal.amin(0)).max())


def one_pixel() -> float:
    """Millimetres."""
    K = torch.from_numpy(K_BB)
    right_from_left = torch.eye(3, 4, dtype=torch.float64)
    right_from_left[0, 3] = -BASELINE_M
    point = torch.tensor([[0.02, 0.01, 0.5]], dtype=torch.float64)
    left, right = project(point, K), project(point + right_from_left[:, 3], K)
    moved = triangulate(left - torch.tensor([1.0, 0]), right, K, K, right_from_left)
    return 1000 * float(moved.left[0, 2] - point[0, 2])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=200)
    count = parser.parse_args().pairs
    with tempfile.TemporaryDirectory() as folder:
        worst, ratio = two_views(Path(folder) / "pairs", count)
    print(f"read-out: {read_out():.4f} lixels")
    print(f"two views of {count} pairs: {worst:.5f} mm, scales of a pair's crops up to {ratio:.2f} times each other")
    print(f"one pixel at 0.5 m: {one_pixel():.2f} mm")


if __name__ == "__main__":
    main()
