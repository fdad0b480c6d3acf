"""`handkit demo` and `fit_joints` on real photos, videos and 3D truth; prints the rows of docs/results.md.

    python benchmarks/real.py snap|cold|joints|others|video|stereo [--data DIR]

The data (not part of the repo) is found at --data, HANDKIT_REALDATA or ../shared/realdata. Everything runs through the
command line, as a user would, but for `joints` (the library's `fit_joints`) and the fits of `stereo`.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch

from handkit.export.predictions import Predictions, load_predictions
from handkit.fit import fit_joints, fit_track
from handkit.geometry import procrustes
from handkit.hand import load_hand
from handkit.hand.limits import LIMITS_DEG, joint_frames, pose_to_angles
from handkit.metrics import acceleration_mm_per_frame2, pa_mpjpe_mm

TUNED_ON = 99  # the first images of snap_real, on which the fit's weights were chosen


def demo(out: Path, *arguments: object, env: dict[str, str] | None = None) -> float:
    """Run `handkit demo`; wall-clock seconds."""
    started = time.monotonic()
    command = [
        sys.executable,
        "-c",
        "from handkit_cli import app; app()",
        "demo",
        *map(str, arguments),
        "--out",
        str(out),
        "--quiet",
    ]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, **(env or {})})
    return time.monotonic() - started


def samples(data: Path, prefix: str) -> list[dict]:
    everything = json.loads((data / "ground_truth_3d.json").read_text())["samples"]
    return [sample for sample in everything if sample["id"].startswith(prefix)]


def pa_mm(pred: np.ndarray, target: np.ndarray) -> np.ndarray:
    return pa_mpjpe_mm(torch.as_tensor(pred).double(), torch.as_tensor(target).double()).numpy()


def project(joints: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    return joints[..., :2] / joints[..., 2:] * intrinsics[..., None, :2] + intrinsics[..., None, 2:]


def size_px(points: np.ndarray) -> np.ndarray:
    return np.ptp(points, axis=-2).max(-1)


def camera_file(chosen: list[dict], path: Path) -> Path:
    path.write_text(json.dumps({Path(sample["image"]).name: {"K": sample["K"]} for sample in chosen}))
    return path


def only_hand_rows(hands: Predictions, chosen: list[dict]) -> np.ndarray:
    """Row of each sample: the hand of its image nearest to the truth, of its side if there is one; -1 where none."""
    rows = []
    for sample in chosen:
        own = np.flatnonzero(hands.image == Path(sample["image"]).name)
        same_side = own[hands.is_right[own] == (sample["side"] == "right")]
        own = same_side if len(same_side) else own
        truth = project(np.array(sample["joints_cam_m"]), np.array(sample["K"]))
        gap = [np.linalg.norm(hands.joints_2d[row] - truth, axis=-1).mean() for row in own]
        rows.append(int(own[np.argmin(gap)]) if len(own) else -1)
    return np.array(rows)


def report_snap(data: Path, work: Path) -> None:
    chosen = samples(data, "handgraph")
    camera = camera_file(chosen, work / "cameras.json")
    folder = data / "annotated" / "snap_real"
    truth = np.array([sample["joints_cam_m"] for sample in chosen])
    truth_2d = project(truth, np.array([sample["K"] for sample in chosen]))
    for name, options in (("known K", ["--camera", camera]), ("default camera", [])):
        out = work / name.replace(" ", "_")
        seconds = demo(out, folder, "--max-hands", 1, "--no-overlay", *options)
        hands = load_predictions(next(out.rglob("hands.npz")))
        rows = only_hand_rows(hands, chosen)
        found = rows >= 0
        print(f"{name}: answered {found.sum()}/{len(chosen)}, {seconds:.1f} s, left {(~hands.is_right).mean():.3f}")
        ours = pa_mm(hands.joints_3d[rows], truth)
        ours_2d = 100 * np.linalg.norm(hands.joints_2d[rows] - truth_2d, axis=-1).mean(-1) / size_px(truth_2d)
        detector = 100 * np.linalg.norm(hands.keypoints_2d[rows] - truth_2d, axis=-1).mean(-1) / size_px(truth_2d)
        for part, some in (
            ("all", slice(None)),
            ("tuned-on half", slice(TUNED_ON)),
            ("held-out half", slice(TUNED_ON, None)),
        ):
            print(
                f"  {part}: PA-MPJPE {ours[some].mean():.2f} mm (median {np.median(ours[some]):.2f}), "
                f"2D {ours_2d[some].mean():.2f} % of the hand (detector {detector[some].mean():.2f} %)"
            )


def report_cold(data: Path, work: Path) -> None:
    crops = work / "crops"
    crops.mkdir()
    for path in sorted((data / "annotated" / "snap_real").glob("*.jpg"))[:60]:
        shutil.copy(path, crops)
    seconds = demo(work / "cold", crops, env={"NUMBA_CACHE_DIR": str(work / "nothing_compiled")})
    print(f"60 crops, cold start, nothing compiled, overlays written: {seconds:.1f} s")


def report_joints(data: Path, work: Path) -> None:
    """`fit_joints` on true joints; every row its own shape."""
    frames = joint_frames(load_hand("open"))
    for name in ("freihand", "handgraph", "interhand", "rhd"):
        chosen = samples(data, name)
        mirror = np.array([[1.0 if sample["side"] == "right" else -1.0, 1, 1] for sample in chosen])[:, None]
        truth = torch.tensor(np.array([sample["joints_cam_m"] for sample in chosen]) * mirror)
        started = time.monotonic()
        found = fit_joints(truth)
        seconds = time.monotonic() - started
        error = 1000 * (found.joints - truth).norm(dim=-1).numpy()
        angles = np.rad2deg(pose_to_angles(found.hand_pose.double(), frames).numpy())
        beyond = np.maximum(angles - LIMITS_DEG[..., 1], LIMITS_DEG[..., 0] - angles).max()
        print(
            f"{name}, {len(chosen)} hands: MPJPE {error.mean():.2f} mm, worst hand {error.mean(1).max():.2f} mm, "
            f"furthest beyond a limit {max(beyond, 0):.2f} degrees, largest |beta| {found.betas.abs().max():.1f}, "
            f"{seconds:.2f} s"
        )


def report_others(data: Path, work: Path) -> None:
    """Each hand as found in the whole image, and in its true box (--bbox), where the palm network is not needed."""
    for name in ("rhd", "interhand"):
        chosen = samples(data, name)
        camera = camera_file(chosen, work / f"{name}.json")
        boxes = box_file(chosen, work / f"{name}_boxes.json")
        for how, options in (("found", []), ("box given", ["--bbox", boxes])):
            out = work / f"{name} {how}"
            demo(out, data / "annotated" / name, "--camera", camera, "--no-overlay", *options)
            hands = load_predictions(next(out.rglob("hands.npz")))
            for sample, row in zip(chosen, only_hand_rows(hands, chosen), strict=True):
                print(f"{how}: {sample['id']} ({sample['side']}): {describe(hands, row, sample)}")


def box_file(chosen: list[dict], path: Path) -> Path:
    boxes: dict[str, list] = {}
    for sample in chosen:
        points = project(np.array(sample["joints_cam_m"]), np.array(sample["K"]))
        box = [*points.min(0).tolist(), *np.ptp(points, axis=0).tolist(), sample["side"]]
        boxes.setdefault(Path(sample["image"]).name, []).append(box)
    path.write_text(json.dumps(boxes))
    return path


def describe(hands: Predictions, row: int, sample: dict) -> str:
    if row < 0:
        return "not found"
    truth = np.array(sample["joints_cam_m"])
    points = project(truth, np.array(sample["K"]))
    gap = 100 * np.linalg.norm(hands.joints_2d[row] - points, axis=-1).mean() / size_px(points)
    side = "right" if hands.is_right[row] else "left"
    return f"as {side}, PA-MPJPE {pa_mm(hands.joints_3d[row], truth):.1f} mm, 2D {gap:.1f} % of the hand"


def report_video(data: Path, work: Path) -> None:
    video = data / "video" / "right_hand_621.mp4"
    seconds = demo(work / "video", video, "--max-hands", 1)
    hands = load_predictions(next((work / "video").rglob("hands.npz")))
    gap = 100 * np.linalg.norm(hands.joints_2d - hands.keypoints_2d, axis=-1).mean(-1) / size_px(hands.keypoints_2d)
    detector = detector_landmarks(video)
    frames = len(np.unique(hands.frame))
    print(f"{frames} of 621 frames, {seconds:.1f} s from start to end = {621 / seconds:.1f} frames/s, overlay written")
    print(f"  joint acceleration, mm/frame^2, about the wrist: {acceleration(hands.joints_3d):.2f};")
    print(f"  the detector's own 3D landmarks {acceleration(detector):.2f}")
    print(f"  joints_2d from the detector's landmarks, median {np.median(gap):.2f} % of the hand's size")
    shaken = [second_difference(points) for points in (hands.joints_2d, hands.keypoints_2d)]
    print(f"  2D acceleration {shaken[0]:.2f} px/frame^2, the detector's {shaken[1]:.2f}")


def second_difference(points: np.ndarray) -> float:
    return float(np.linalg.norm(np.diff(points, n=2, axis=0), axis=-1).mean())


def acceleration(joints: np.ndarray) -> float:
    centred = torch.as_tensor(joints - joints[:, :1]).double()
    return float(np.nanmean(acceleration_mm_per_frame2(centred).numpy()))


def detector_landmarks(video: Path) -> np.ndarray:
    from handkit.detect.mediapipe import MediaPipeDetector
    from handkit.video import VideoReader

    with MediaPipeDetector(max_hands=1, tracking=True) as detector:
        found = [detector.detect(frame.image) for frame in VideoReader(video)]
    return np.array([hands[0].keypoints_3d for hands in found if hands])


def read_numbers(path: Path) -> np.ndarray:
    return np.array([float(number) for number in re.findall(r"[-+]?\d+\.\d+(?:e[-+]?\d+)?", path.read_text())])


def report_stereo(data: Path, work: Path) -> None:
    """Each view found and fitted alone; compared in the world through the calibration."""
    cameras, seen = [], []
    for c in (0, 1):
        folder = data / "stereo"
        lens, place = read_numbers(folder / f"c{c}.dat"), read_numbers(folder / f"rot_trans_c{c}.dat")
        K, R, T = lens[:9].reshape(3, 3), place[:9].reshape(3, 3), place[9:12]
        cameras.append((K, R, T))
        seen.append(see_view(folder / f"cam{c}_test.mp4", K, lens[9:14]))
    both = sorted(set(seen[0]) & set(seen[1]))
    points = [np.array([view[f][0] for f in both]) for view in seen]
    truth = triangulate(points, cameras)
    for smooth in (0.0, 1.0):
        placed = [place_view(view, K, R, smooth, both) for view, (K, R, _) in zip(seen, cameras, strict=True)]
        compare(f"temporal term {'on' if smooth else 'off'}", placed, truth)
    landmarks = [np.array([view[f][1] for f in both]) @ R for view, (_, R, _) in zip(seen, cameras, strict=True)]
    compare("MediaPipe's 3D landmarks", landmarks, truth)


def see_view(video: Path, K: np.ndarray, distortion: np.ndarray) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    from handkit.detect.mediapipe import MediaPipeDetector
    from handkit.video import VideoReader

    found = {}
    with MediaPipeDetector(max_hands=1, tracking=True) as detector:
        for frame in VideoReader(video):
            if hands := detector.detect(frame.image):
                points = cv2.undistortPoints(hands[0].keypoints_2d.reshape(-1, 1, 2), K, distortion, P=K)[:, 0]
                found[frame.index] = (points, hands[0].keypoints_3d)
    return found


def place_view(seen: dict, K: np.ndarray, R: np.ndarray, smooth: float, both: list[int]) -> np.ndarray:
    """Joints of the frames `both`, turned to the world's axes."""
    frames = sorted(seen)
    fitted = fit_track(
        keypoints_2d=np.array([seen[f][0] for f in frames]),
        keypoint_scores=np.ones((len(frames), 21)),
        K=np.tile(K, (len(frames), 1, 1)),
        keypoints_3d=np.array([seen[f][1] for f in frames]),
        time_s=np.array(frames) / 30.0,
        is_right=True,
        smooth=smooth,
    )
    rows = {f: i for i, f in enumerate(frames)}
    return fitted.joints.numpy()[[rows[f] for f in both]] @ R


def triangulate(points: list[np.ndarray], cameras: list) -> np.ndarray:
    """Midpoints of the two rays [T,21,3] in the calibration's unit; u = K (R X + T)."""
    rays, origins = [], []
    for uv, (K, R, T) in zip(points, cameras, strict=True):
        homogeneous = np.concatenate([uv, np.ones_like(uv[..., :1])], -1)
        rays.append(homogeneous @ np.linalg.inv(K).T @ R)
        origins.append(-R.T @ T)
    A = np.stack([rays[0], -rays[1]], -1)
    At = np.swapaxes(A, -1, -2)
    along = np.linalg.solve(At @ A, At @ (origins[1] - origins[0])[:, None])[..., 0]
    return (origins[0] + rays[0] * along[..., :1] + origins[1] + rays[1] * along[..., 1:]) / 2


def compare(name: str, views: list[np.ndarray], truth: np.ndarray) -> None:
    """Errors in mm: up to one similarity over the sequence; about the hand's centre with the known rotation."""
    flat = [torch.as_tensor(view.reshape(-1, 3)).double() for view in views]
    fit = procrustes(flat[0], flat[1], reflection=False)
    one = 1000 * (fit.apply(flat[0]) - flat[1]).norm(dim=-1).mean()
    centred = [view - view.mean(1, keepdims=True) for view in views]
    apart = 1000 * np.linalg.norm(centred[0] - centred[1], axis=-1).mean()
    target = truth - truth.mean(1, keepdims=True)
    against = []
    for view in centred:
        scale = (view * target).sum() / (target**2).sum()
        against.append(1000 * np.linalg.norm(view - scale * target, axis=-1).mean())
    print(
        f"{name}: view 0 in view 1 up to one similarity {one:.1f} mm; about the hand's centre {apart:.1f} mm; "
        f"against the triangulated landmarks {against[0]:.1f} and {against[1]:.1f} mm ({len(truth)} frames)"
    )


REPORTS = {
    "snap": report_snap,
    "cold": report_cold,
    "joints": report_joints,
    "others": report_others,
    "video": report_video,
    "stereo": report_stereo,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=REPORTS)
    default = Path(__file__).resolve().parents[2] / "shared" / "realdata"
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("HANDKIT_REALDATA", default)))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        REPORTS[arguments.what](arguments.data, Path(work))


if __name__ == "__main__":
    main()
