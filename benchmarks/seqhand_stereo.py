"""One hand in two synchronous videos: how well a network's answers for the two views agree, and how much they shake.

    python benchmarks/seqhand_stereo.py [CHECKPOINT ...] [--data DIR] [--device auto|cpu|cuda] [--json]

Every checkpoint is run over both real videos (HANDKIT_REALDATA or ../shared/realdata, stereo/) with its memory carried
along and with it emptied at every frame, in the squares about MediaPipe's hands, which are kept for the next call.
Printed are means in mm over the frames in which both views show the hand:

rooted     distance between the views' joints, turned to the rig's axes by the calibration, joint 0 brought together
centred    the same with the hands' centres brought together
PA         the same after the best similarity, so of the pose alone
truth PA   distance after the best similarity from MediaPipe's landmarks triangulated through the calibration, mean of
           the views: answers that never change agree perfectly
acc        acceleration of the joints about the wrist per frame^2, mean of the views
PA acc     that of the pose alone: the frames before and after brought to the middle one by the best similarity
"""

import argparse
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from real import read_numbers, triangulate

from handkit.detect.mediapipe import MediaPipeDetector
from handkit.geometry import procrustes
from handkit.images import RgbImage
from handkit.inference.load import find_checkpoint, load_predictor
from handkit.inference.looks import Look, look_at, square_around_joints
from handkit.inference.placing import hands_in_camera
from handkit.metrics import acceleration_mm_per_frame2, mpjpe_mm, pa_mpjpe_mm
from handkit.refine.rig import Lens
from handkit.video import VideoReader

HALF_PX = 0.5  # OpenCV's pixel centres lie on whole numbers


@dataclass(frozen=True, eq=False)
class Camera:
    """One of the two: x_cam = R x_world + T, T in the board's squares; pictures are straightened first."""

    video: Path
    K: np.ndarray
    R: np.ndarray
    T: np.ndarray
    lens: Lens

    def frames(self) -> Iterator[tuple[int, float, RgbImage]]:
        for frame in VideoReader(self.video):
            yield frame.index, frame.time_s, self.lens.straighten(frame.image)


@dataclass(frozen=True, eq=False)
class Seen:
    """MediaPipe's hands in one view: frame numbers, boxes of their joints, landmarks in pixels and in metres."""

    frames: np.ndarray
    boxes: np.ndarray
    points: np.ndarray
    landmarks: np.ndarray


def read_cameras(folder: Path) -> list[Camera]:
    cameras = []
    for number in (0, 1):
        lens, place = read_numbers(folder / f"c{number}.dat"), read_numbers(folder / f"rot_trans_c{number}.dat")
        K = lens[:9].reshape(3, 3)
        K[:2, 2] += HALF_PX
        R, T = place[:9].reshape(3, 3), place[9:12]
        cameras.append(Camera(folder / f"cam{number}_test.mp4", K, R, T, Lens(K, lens[9:14])))
    return cameras


def find_hands(camera: Camera) -> Seen:
    """What MediaPipe finds in a view, kept in the folder for temporary files."""
    digest = hashlib.sha256(camera.video.read_bytes() + camera.K.tobytes()).hexdigest()[:16]
    kept = Path(tempfile.gettempdir()) / f"handkit_stereo_{digest}.npz"
    if not kept.is_file():
        found = []
        with MediaPipeDetector(max_hands=1, tracking=True) as detector:
            for index, _, image in camera.frames():
                if hands := detector.detect(image):
                    found.append((index, hands[0].bbox, hands[0].keypoints_2d, hands[0].keypoints_3d))
        frames, boxes, points, landmarks = (np.array(part) for part in zip(*found, strict=True))
        np.savez(kept, frames=frames, boxes=boxes, points=points, landmarks=landmarks)
    with np.load(kept) as stored:
        return Seen(**{name: stored[name] for name in ("frames", "boxes", "points", "landmarks")})


def cut_looks(camera: Camera, seen: Seen, sizes: Sequence[int]) -> dict[int, list[Look]]:
    """The squares of all frames, as networks of each size see them."""
    boxes = dict(zip(seen.frames.tolist(), seen.boxes, strict=True))
    looks: dict[int, list[Look]] = {size: [] for size in sizes}
    for index, time_s, image in camera.frames():
        if index in boxes:
            square = square_around_joints(boxes[index])
            for size in sizes:
                looks[size].append(look_at(image, square, size, is_right=True, time_s=time_s))
    return looks


def run_network(checkpoint: Path, looks: Sequence[Look], camera: Camera, *, carried: bool, device: str) -> np.ndarray:
    """Joints [T, 21, 3] of a view in its camera's frame, m."""
    predictor = load_predictor(checkpoint, device=device)
    tracks = [0] * len(looks) if carried else range(len(looks))  # a track's beginning has no memory
    shown = [Look(o.crop, o.square, o.is_right, t, o.time_s) for o, t in zip(looks, tracks, strict=True)]
    found = predictor.step(shown)
    K = np.tile(camera.K, (len(looks), 1, 1))
    return hands_in_camera(found, K, predictor.hand).joints.double().numpy()


def pose_acceleration(joints: torch.Tensor) -> float:
    """mm/frame^2 of joints, the frames before and after brought to the middle one by a similarity."""
    before, middle, after = joints[:-2], joints[1:-1], joints[2:]
    moved = [procrustes(part, middle, reflection=False).apply(part) for part in (before, after)]
    return float(1000 * (moved[0] - 2 * middle + moved[1]).norm(dim=-1).mean())


def agreement(views: Sequence[np.ndarray], cameras: Sequence[Camera], truth: np.ndarray) -> dict[str, float]:
    """The figures of joints [T, 21, 3] of both views at the same times, each in its camera's frame."""
    world = [torch.from_numpy(view @ camera.R) for view, camera in zip(views, cameras, strict=True)]
    true = torch.from_numpy(truth)
    # The triangulated hand's unit is the board's square: it is brought to the answer, so that errors are in metres.
    wrong = [pa_mpjpe_mm(true, view) for view in world]
    return {
        "rooted_mm": float(mpjpe_mm(*world, root=0).mean()),
        "centred_mm": float(mpjpe_mm(*(view - view.mean(1, keepdim=True) for view in world)).mean()),
        "pa_mm": float(pa_mpjpe_mm(*world).mean()),
        "truth_pa_mm": float(torch.stack(wrong).mean()),
        "acc_mm": float(np.mean([acceleration_mm_per_frame2(view - view[:, :1]).item() for view in world])),
        "pa_acc_mm": float(np.mean([pose_acceleration(view) for view in world])),
    }


def report(checkpoints: Sequence[Path], folder: Path, *, device: str) -> list[dict[str, object]]:
    cameras = read_cameras(folder)
    seen = [find_hands(camera) for camera in cameras]
    both = np.intersect1d(seen[0].frames, seen[1].frames)
    rows = [np.searchsorted(view.frames, both) for view in seen]
    places = [(camera.K, camera.R, camera.T) for camera in cameras]
    truth = triangulate([view.points[row] for view, row in zip(seen, rows, strict=True)], places)
    landmarks = [view.landmarks[row] for view, row in zip(seen, rows, strict=True)]
    found: list[dict[str, object]] = [
        {"name": "MediaPipe's 3D landmarks", "frames": len(both), **agreement(landmarks, cameras, truth)}
    ]
    sizes = {path: load_predictor(path).size for path in checkpoints}
    looks = [cut_looks(camera, view, sorted(set(sizes.values()))) for camera, view in zip(cameras, seen, strict=True)]
    for path in checkpoints:
        for carried in (True, False):
            joints = [
                run_network(path, view[sizes[path]], camera, carried=carried, device=device)[row]
                for view, camera, row in zip(looks, cameras, rows, strict=True)
            ]
            name = f"{path}, memory {'carried' if carried else 'emptied'}"
            found.append({"name": name, "frames": len(both), **agreement(joints, cameras, truth)})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", nargs="*", type=Path, help="files or runs' folders; else the shipped one")
    default = Path(__file__).resolve().parents[2] / "shared" / "realdata"
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("HANDKIT_REALDATA", default)))
    parser.add_argument("--device", default="cpu", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    checkpoints = [find_checkpoint(path) for path in arguments.checkpoints or [None]]
    found = report(checkpoints, arguments.data / "stereo", device=arguments.device)
    if arguments.json:
        json.dump(found, sys.stdout, indent=2)
        return
    keys = list(found[0])[2:]
    print("  ".join(f"{key.removesuffix('_mm').replace('_', ' '):>8}" for key in keys), f" {found[0]['frames']} frames")
    for row in found:
        print("  ".join(f"{row[key]:8.2f}" for key in keys), f" {row['name']}")


if __name__ == "__main__":
    main()
