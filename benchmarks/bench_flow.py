"""Pose flows over a bank of BigHand2.2M's size: `python benchmarks/bench_flow.py [--flows 41000]`.

Measures exact flows with `PoseIndex`, and beside it, on a few of the same queries, brute force (numpy's matrix products
and argmin) and scipy's cKDTree. With fewer flows than 41,000 their time is scaled up and marked "estimated". The bank
is made of natural poses with independent deviations of every joint: harder to search than recorded motion.
"""

import argparse
import time

import numpy as np
from scipy.spatial import cKDTree

from handkit.hand.limits import sample_angles
from handkit.synth.bank_kinematics import joints_from_angles
from handkit.synth.flow import PoseIndex, pose_flow
from handkit.synth.poses import load_pose_bank

FLOWS, FRAMES = 41_000, 10


def natural_bank(size: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    parts = [
        joints_from_angles(sample_angles(min(100_000, size - start), rng)).astype(np.float32)
        for start in range(0, size, 100_000)
    ]
    return np.concatenate(parts).reshape(-1, 63)


def brute_force(points: np.ndarray, norms: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Nearest rows by matrix products in single precision, the usual way; not exact to the last bit."""
    best, found = np.full(len(queries), np.inf, np.float32), np.zeros(len(queries), np.int64)
    for start in range(0, len(points), 1 << 15):
        part = slice(start, start + (1 << 15))
        scores = norms[part] - 2 * queries @ points[part].T
        rows = scores.argmin(1)
        least = scores[np.arange(len(queries)), rows]
        nearer = least < best
        best[nearer], found[nearer] = least[nearer], rows[nearer] + start
    return found


def seconds_for_all(elapsed: float, queries: int) -> str:
    total = elapsed / queries * FLOWS * (FRAMES - 1)
    return f"{elapsed / queries * 1e6:9.1f} us a query, {total:8.1f} s for {FLOWS:,} flows of {FRAMES}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--poses", type=int, default=2_200_000)
    parser.add_argument("--flows", type=int, default=2000)
    parser.add_argument("--bank", choices=("natural", "builtin"), default="natural")
    parser.add_argument("--no-peers", action="store_true")
    args = parser.parse_args()
    if args.bank == "natural":
        points = natural_bank(args.poses)
    else:
        points = load_pose_bank(size=args.poses).joints.reshape(-1, 63)
    PoseIndex(points[:1000]).nearest(points[:1])  # compile
    began = time.perf_counter()
    index = PoseIndex(points)
    print(f"{len(points):,} {args.bank} poses; index built in {time.perf_counter() - began:.1f} s")
    start, end = np.random.default_rng(1).integers(len(points), size=(2, args.flows))
    began = time.perf_counter()
    path = pose_flow(index, start, end, frames=FRAMES)
    elapsed = time.perf_counter() - began
    whole = "measured" if args.flows == FLOWS else f"estimated from {args.flows:,} flows"
    print(f"PoseIndex    {seconds_for_all(elapsed, args.flows * (FRAMES - 1))} ({whole})")
    print(f"             frozen steps {(path[:, 1:] == path[:, :-1]).mean():.1%}")
    if args.no_peers:
        return
    few = min(512, args.flows)
    queries = points[start[:few]] + np.float32(0.12) * (points[end[:few]] - points[start[:few]])
    norms = np.square(points).sum(1)
    began = time.perf_counter()
    found = brute_force(points, norms, queries)
    print(f"brute force  {seconds_for_all(time.perf_counter() - began, few)} (estimated from {few} queries)")
    print(f"             the same pose for {(found == index.nearest(queries)[0]).mean():.1%} of them")
    began = time.perf_counter()
    tree = cKDTree(points, balanced_tree=False, compact_nodes=False)
    built = time.perf_counter() - began
    began = time.perf_counter()
    tree.query(queries[:64], workers=-1)
    print(f"cKDTree      {seconds_for_all(time.perf_counter() - began, 64)} (64 queries; built in {built:.1f} s)")


if __name__ == "__main__":
    main()
