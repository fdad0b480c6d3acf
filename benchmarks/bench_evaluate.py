"""Time and memory of `handkit evaluate` on files of the official size, and the scores of real poses.

python benchmarks/bench_evaluate.py            3,960 samples of 21 joints and 778 vertices, by the command line
python benchmarks/bench_evaluate.py --peer     also one by one: json, SciPy's Procrustes and KD-tree
python benchmarks/bench_evaluate.py --poses    50 FreiHAND training poses with a published network's predictions
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy.linalg import orthogonal_procrustes
from scipy.spatial import cKDTree

SAMPLES = 3960
COMMAND = [sys.executable, "-c", "from handkit_cli import app; app()", "evaluate", "--protocol", "freihand", "--json"]


def write_files(folder: Path, samples: int) -> None:
    """Truth and prediction, posed open hands and the same with noise, with as many digits as the official files."""
    import torch

    from handkit.hand.layer import ManoLayer
    from handkit.hand.model import load_hand

    rng = np.random.default_rng(0)
    pose = {"global_orient": rng.normal(size=(samples, 3)), "hand_pose": 0.3 * rng.normal(size=(samples, 45))}
    with torch.no_grad():
        hands = ManoLayer(load_hand("open"))(**{name: torch.from_numpy(value).float() for name, value in pose.items()})
    place = rng.normal(size=(samples, 1, 3)) * 0.05 + [0, 0, 0.7]
    truth = [hands.joints.double().numpy() + place, hands.vertices.double().numpy() + place]
    shift = rng.normal(size=(samples, 1, 3)) * 0.01
    pred = [points + shift + rng.normal(size=points.shape) * 0.006 for points in truth]
    for name, points in zip(("xyz", "verts"), truth, strict=True):
        (folder / f"evaluation_{name}.json").write_text(json.dumps(np.round(points, 8).tolist()))
    (folder / "pred.json").write_text(json.dumps([np.round(points, 8).tolist() for points in pred]))


def measure(folder: Path) -> dict[str, float]:
    """Run the command on a folder's files; its keys."""
    paths = ["--pred", folder / "pred.json", "--gt", folder, "--out", folder / "out"]
    start = time.perf_counter()
    process = subprocess.Popen([*COMMAND, *map(str, paths)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    printed = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    if status:
        sys.exit(os.waitstatus_to_exitcode(status))
    sizes = sum(path.stat().st_size for path in folder.glob("*.json")) / 1e6
    print(
        f"handkit evaluate: {wall:.1f} s, {used.ru_utime + used.ru_stime:.1f} s of processor time, peak memory "
        f"{used.ru_maxrss / 1e6:.2f} GB, {sizes:.0f} MB of JSON ({os.cpu_count()} cores, load {os.getloadavg()[0]:.1f})"
    )
    return json.loads(printed)


def peer(folder: Path) -> dict[str, float]:
    """F-scores and mean errors sample by sample, as the official script goes about it."""
    start = time.perf_counter()
    truth = [json.loads((folder / f"evaluation_{name}.json").read_text()) for name in ("xyz", "verts")]
    pred = json.loads((folder / "pred.json").read_text())
    read = time.perf_counter() - start
    totals = dict.fromkeys(("mpjpe_mm", "pa_mpjpe_mm", "mpvpe_mm", "pa_mpvpe_mm"), 0.0)
    totals |= dict.fromkeys(("f_score_5mm", "f_score_15mm", "pa_f_score_5mm", "pa_f_score_15mm"), 0.0)
    for gt_joints, gt_verts, joints, verts in zip(*truth, *pred, strict=True):
        for kind, gt, points in (("mpjpe", gt_joints, joints), ("mpvpe", gt_verts, verts)):
            target, source = np.array(gt), np.array(points)
            for prefix, moved in (("", source), ("pa_", align(target, source))):
                totals[f"{prefix}{kind}_mm"] += 1000 * np.linalg.norm(target - moved, axis=1).mean()
                if kind == "mpvpe":
                    near = cKDTree(moved).query(target)[0], cKDTree(target).query(moved)[0]
                    for mm in (5, 15):
                        p, r = ((distance < mm / 1000).mean() for distance in near)
                        totals[f"{prefix}f_score_{mm}mm"] += 2 * p * r / (p + r) if p + r else 0.0
    print(f"one by one: {time.perf_counter() - start:.1f} s, of which reading JSON {read:.1f} s")
    return {key: total / len(pred[0]) for key, total in totals.items()}


def align(gt: np.ndarray, pred: np.ndarray) -> np.ndarray:
    """FreiHAND's alignment, from its definition."""
    mean, norm = gt.mean(0), np.linalg.norm(gt - gt.mean(0)) + 1e-8
    unit = (pred - pred.mean(0)) / (np.linalg.norm(pred - pred.mean(0)) + 1e-8)
    R, s = orthogonal_procrustes((gt - mean) / norm, unit)
    return unit @ R.T * s * norm + mean


def score_poses(folder: Path, data: Path) -> None:
    """The poses of ground_truth_3d.json that carry a prediction, under the official definition."""
    path = data / "ground_truth_3d.json"
    samples = [s for s in json.loads(path.read_text())["samples"] if "peer_pred_cam_m" in s]
    (folder / "evaluation_xyz.json").write_text(json.dumps([s["joints_cam_m"] for s in samples]))
    (folder / "pred.json").write_text(json.dumps([s["peer_pred_cam_m"] for s in samples]))
    for key, value in measure(folder).items():
        if value is not None:
            print(f"  {key} {value:.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=SAMPLES)
    parser.add_argument("--peer", action="store_true")
    parser.add_argument("--poses", action="store_true")
    default = os.environ.get("HANDKIT_REALDATA", Path(__file__).resolve().parents[2] / "shared" / "realdata")
    parser.add_argument("--data", type=Path, default=Path(default))
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write is not None:
        write_files(options.write, options.samples)
        return
    with tempfile.TemporaryDirectory() as folder:
        if options.poses:
            score_poses(Path(folder), options.data)
            return
        # In a process of its own: what it holds would count as memory of those started after it.
        subprocess.run([sys.executable, __file__, "--write", folder, "--samples", str(options.samples)], check=True)
        measure(Path(folder))  # compiles on the first run on a machine
        keys = measure(Path(folder))
        if options.peer:
            theirs = peer(Path(folder))
            print(f"largest difference of a key: {max(abs(keys[key] - value) for key, value in theirs.items()):.1e}")


if __name__ == "__main__":
    main()
