"""`handkit demo --stereo` on the two synchronous real videos: how well one hand of both views fits them.

    python benchmarks/handnet_stereo_real.py [CHECKPOINT] [--data DIR] [--device auto|cpu|cuda] [--json]

The pipeline runs as the command does, with either way of placing the hand (`--stereo-camera`). CHECKPOINT is a file or
a run's folder of `handkit finetune handnet-stereo`. The data (not part of the repo) are found at --data,
HANDKIT_REALDATA or ../shared/realdata, stereo/; the rig's file is made of them in a temporary folder, its unit, the
board's square, is estimated from the hands. Printed for each, over the hands that both views saw:

fused      distance of the one hand's joints from MediaPipe's keypoints, straight px, mean of the views
alone      that of the right view's own hand in the left view, and in its own
apart      left-right distance of the views' own joints in mm, in the rig's axes: where they stand, and about the wrist
against    distance in mm from MediaPipe's keypoints triangulated, about the wrist: of the one hand, of the right's own
"""

import argparse
import json
import logging
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from real import read_numbers

from handkit.demo.options import STEREO_CAMERAS, DemoOptions
from handkit.demo.run import run_demo
from handkit.errors import HandkitError
from handkit.export.predictions import Predictions, load_predictions
from handkit.refine.rig import Rig, load_rig
from handkit.refine.together import triangulate

VIDEOS = ("cam0_test.mp4", "cam1_test.mp4")
NAME = "cam0_test_cam1_test"
HALF_PX = 0.5  # OpenCV's pixel centres lie on whole numbers


def write_rig(folder: Path, path: Path) -> Path:
    """The two cameras as a rig file; u = K (R X + T), T in the board's squares."""
    views = []
    for number in (0, 1):
        lens, place = read_numbers(folder / f"c{number}.dat"), read_numbers(folder / f"rot_trans_c{number}.dat")
        K = lens[:9].reshape(3, 3)
        K[:2, 2] += HALF_PX
        R, T = place[:9].reshape(3, 3), place[9:12]
        parts = {"K": K, "R": R, "T": T, "distortion": lens[9:14]}
        views.append({name: values.tolist() for name, values in parts.items()})
    path.write_text(json.dumps({"views": views}))
    return path


def run(data: Path, out: Path, rig: Path, checkpoint: Path | None, camera: str, device: str) -> dict[str, Any]:
    options = DemoOptions(
        method="handnet",
        checkpoint=checkpoint,
        stereo=(data / VIDEOS[0], data / VIDEOS[1]),
        rig=rig,
        stereo_camera=camera,
        max_hands=1,
        device=device,
        overlay=False,
    )
    started = time.monotonic()
    summary = run_demo([], out, options, debug=True).summary
    if "stereo" not in summary:
        raise SystemExit(f"{summary['inputs'][0]['why']}")
    return {**summary["stereo"], "seconds": round(time.monotonic() - started, 1)}


def millimetres(folder: Path) -> dict[str, float]:
    """The distances of `mono` and `against` over a run's folder."""
    rig = load_rig(folder / "rig.json", 2)
    rows = []
    for name in ("hands.npz", "alone.npz"):
        views = [load_predictions(folder / side / name) for side in ("left", "right")]
        frames = np.intersect1d(views[0].frame, views[1].frame)
        rows.append([view.rows(np.searchsorted(view.frame, frames)) for view in views])
    truth = triangulated(rows[0], rig)
    (_, fused), mono = ([in_world(part, view) for part, view in zip(own, rig.views, strict=True)] for own in rows)
    return {
        "mono_apart_mm": apart(mono[0], mono[1]),
        "mono_apart_rooted_mm": apart(rooted(mono[0]), rooted(mono[1])),
        "fused_against_mm": apart(rooted(fused), rooted(truth)),
        "mono_against_mm": apart(rooted(mono[1]), rooted(truth)),
    }


def triangulated(rows: list[Predictions], rig: Rig) -> np.ndarray:
    """MediaPipe's keypoints of both views where their rays meet, m, the rig's world."""
    points = []
    for view, part in zip(rig.views, rows, strict=True):
        points.append(part.keypoints_2d if view.lens is None else view.lens.straight_points(part.keypoints_2d))
    cameras = np.stack([view.K @ np.column_stack([view.R, view.T]) for view in rig.views])
    xy, scores = np.stack(points, 1), np.stack([part.keypoint_scores for part in rows], 1)
    return np.stack([triangulate(own, sure, cameras) for own, sure in zip(xy, scores, strict=True)])


def in_world(rows: Predictions, view: Any) -> np.ndarray:
    return (rows.joints_3d.astype(np.float64) - view.T) @ view.R


def rooted(joints: np.ndarray) -> np.ndarray:
    return joints - joints[:, :1]


def apart(a: np.ndarray, b: np.ndarray) -> float:
    return float(1000 * np.nanmean(np.linalg.norm(a - b, axis=-1)))


def report(data: Path, checkpoint: Path | None, device: str) -> list[dict[str, Any]]:
    """A row for each way of placing the hand."""
    found = []
    with tempfile.TemporaryDirectory() as work:
        rig = write_rig(data, Path(work) / "rig.json")
        for camera in STEREO_CAMERAS:
            out = Path(work) / camera
            figures = run(data, out, rig, checkpoint, camera, device)
            found.append({"camera": camera, **figures, **millimetres(out / NAME)})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", nargs="?", type=Path, help="else the shipped one")
    default = Path(__file__).resolve().parents[2] / "shared" / "realdata"
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("HANDKIT_REALDATA", default)))
    parser.add_argument("--device", default="cpu", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    logging.getLogger("handkit").setLevel(logging.ERROR)
    try:
        found = report(arguments.data / "stereo", arguments.checkpoint, arguments.device)
    except HandkitError as error:
        raise SystemExit(f"error: {error.what}\ntry: {error.fix}") from error
    if arguments.json:
        json.dump(found, sys.stdout, indent=2)
        return
    first = found[0]
    lone = first["hands_of_left_alone"] + first["hands_of_right_alone"]
    print(
        f"{first['pairs']} pairs of frames, views {first['views']}, unit {1000 * first['unit_m']:.1f} mm; a hand in "
        f"both {first['hands_of_both']}, in one alone {lone}, in none {first['pairs_without_hand']}; without a partner "
        f"{first['unpaired_left']} and {first['unpaired_right']} frames"
    )
    for row in found:
        print(describe(row))


def describe(row: dict[str, Any]) -> str:
    px = {name.removesuffix("_px"): value for name, value in row["reprojection"].items()}
    return (
        f"{row['camera']}: fused {px['fused']:.1f} px (left {px['fused_left']:.1f}, right {px['fused_right']:.1f}), "
        f"alone {px['alone_left']:.1f} px in the left view, {px['alone_right']:.1f} in its own; apart "
        f"{row['mono_apart_mm']:.1f} mm, about the wrist {row['mono_apart_rooted_mm']:.1f} mm; against triangulated "
        f"fused {row['fused_against_mm']:.1f} mm, alone {row['mono_against_mm']:.1f} mm; {row['seconds']:.0f} s"
    )


if __name__ == "__main__":
    main()
