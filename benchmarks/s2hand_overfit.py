"""Can S2HAND learn at all from what it is given: eight real pictures, their detected keypoints and pixels, on the CPU.

    python benchmarks/s2hand_overfit.py [OUT] [--data DIR] [--set KEY=VALUE ...]

Eight of the real crops of Hand Graph CNN (HANDKIT_REALDATA or ../shared/realdata) are learned by heart from MediaPipe's
keypoints: the 3D branch, then together with the photometric terms and the normalisation layers at rest. The truth is
read at the end alone. Printed are means over the eight, in evaluation mode: 2D error of the projected joints from the
detections and from the projected truth, in % of the hand's larger side, PA-MPJPE against the truth, and the seconds.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from handkit.detect.mediapipe import MediaPipeDetector
from handkit.fit.landmarks import LANDMARKS
from handkit.hand.model import load_hand
from handkit.images import read_image
from handkit.inference.looks import look_at, square_around_joints
from handkit.inference.s2hand import S2HandPredictor, hands_in_front, load_s2hand
from handkit.metrics import pa_mpjpe_mm
from handkit.runs.s2hand import SelfsupOptions, selfsup_s2hand

COUNT = 8
CHANGES = [
    "keypoints=off",
    "network.size=128",
    "data.hands=left",
    "data.max_hands=1",
    "data.held_out=0.01",  # of eight none is held out: the same are measured
    "data.crop.rotate_deg=5",  # a little, so that what is learned is not eight exact crops
    "data.crop.reposition=0.05",
    "data.crop.scale_jitter=0.02",
    "data.crop.color_jitter=false",
    "stages.hand.steps=240",
    "stages.hand.batch=16",
    "stages.hand.drop_every=30",
    "stages.hand.norm_share=1.0",  # it is short: the next stage keeps the statistics
    "stages.images.steps=480",
    "stages.images.lr=4e-4",
    "stages.images.factor=0.5",
    "loss.factors.pixel=0.1",
    "stages.images.batch=16",
    "train.validate_every=50",
    "train.ema=off",
]


def chosen(data: Path) -> list[dict]:
    """Eight samples spread over the set, of images with a truth and a camera."""
    content = json.loads((data / "ground_truth_3d.json").read_text())["samples"]
    samples = [s for s in content if s.get("image") and "snap_real" in s["image"]]
    return [samples[i] for i in np.linspace(0, len(samples) - 1, COUNT).round().astype(int)]


def prepare(data: Path, samples: list[dict], out: Path) -> tuple[Path, Path]:
    """A folder with the pictures alone, and a file of their cameras."""
    pictures, cameras = out / "pictures", {}
    pictures.mkdir(parents=True, exist_ok=True)
    for sample in samples:
        source = data / sample["image"]
        link = pictures / source.name
        if not link.exists():
            link.symlink_to(source.resolve())
        cameras[source.name] = {"K": sample["K"]}
    (out / "cameras.json").write_text(json.dumps(cameras))
    return pictures, out / "cameras.json"


def measure(predictor: S2HandPredictor, data: Path, samples: list[dict]) -> dict[str, float]:
    looks, cameras, detected = [], [], []
    with MediaPipeDetector(max_hands=1, augment=5) as detector:
        for sample in samples:
            image = read_image(data / sample["image"])
            hand = detector.detect(image)[0]
            square = square_around_joints(hand.bbox, predictor.box_scale)
            looks.append(look_at(image, square, predictor.size, is_right=False))
            fx, fy, cx, cy = sample["K"]
            cameras.append([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
            detected.append(hand.keypoints_2d)
    K, points = np.array(cameras), np.array(detected)
    found = predictor.step(looks, K, want_keypoints=False)
    joints = hands_in_front(found, load_hand(predictor.hand.name, "left")).joints.double().numpy()
    truth = np.array([sample["joints_cam_m"] for sample in samples])
    size = np.ptp(points, axis=1).max(-1)
    matrix = LANDMARKS["mediapipe"].matrix(predictor.hand.name)
    seen = project(joints, K)
    landmarks = seen if matrix is None else np.einsum("ij,njc->nic", matrix.numpy(), seen)
    return {
        "2D from the detections, %": percent(landmarks, points, size),
        "2D from the truth, %": percent(seen, project(truth, K), size),
        "detections from the truth, %": percent(points, project(truth, K), size),
        "PA-MPJPE, mm": float(pa_mpjpe_mm(torch.from_numpy(joints), torch.from_numpy(truth)).mean()),
    }


def project(joints: np.ndarray, K: np.ndarray) -> np.ndarray:
    image = np.einsum("nab,njb->nja", K, joints)
    return image[..., :2] / image[..., 2:]


def percent(points: np.ndarray, target: np.ndarray, size: np.ndarray) -> float:
    return float(100 * (np.linalg.norm(points - target, axis=-1).mean(-1) / size).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", nargs="?", type=Path)
    default = Path(__file__).resolve().parents[2] / "shared" / "realdata"
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("HANDKIT_REALDATA", default)))
    parser.add_argument("--set", dest="changes", action="append", default=[])
    arguments = parser.parse_args()
    out = arguments.out or Path(tempfile.mkdtemp(prefix="s2hand-overfit-"))
    samples = chosen(arguments.data)
    pictures, cameras = prepare(arguments.data, samples, out)
    sources = [f"data.sources=[{json.dumps(str(pictures))}]", f"data.camera={cameras}"]
    begun = time.monotonic()
    asked = SelfsupOptions(together="images")
    shown = sys.stderr.isatty()
    changes = [*CHANGES, *sources, *arguments.changes]
    result = selfsup_s2hand(out, asked, recipe="s2hand-small", changes=changes, device="cpu", show_progress=shown)
    seconds = time.monotonic() - begun
    for stage, run in result.stages.items():
        figures = measure(load_s2hand(run.weights), arguments.data, samples)
        told = "; ".join(f"{name} {value:.2f}" for name, value in figures.items())
        print(f"{stage}: {told}; {run.steps} steps in {run.seconds:.0f} s")
    print(f"{seconds:.0f} s in all")


if __name__ == "__main__":
    main()
