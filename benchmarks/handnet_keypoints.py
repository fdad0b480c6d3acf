"""HandNet on the 198 real crops of Hand Graph CNN, from MediaPipe's keypoints, beside the fit.

    python benchmarks/handnet_keypoints.py CHECKPOINT [--data DIR]

CHECKPOINT is a file or folder of `handkit pretrain handnet`. Cameras are known. Prints PA-MPJPE over all crops, the
first 60 by name (those that MediaPipe's errors were looked at on, and recipes chosen with) and the others: of HandNet,
of the fit to the same keypoints alone, and of the fit as `handkit demo` makes it, with MediaPipe's 3D landmarks too.
"""

import argparse
import json
import os
import tempfile
from pathlib import Path

import numpy as np
import torch

from handkit.demo.options import DemoOptions
from handkit.demo.run import run_demo
from handkit.export.predictions import Predictions, load_predictions
from handkit.fit import fit_images
from handkit.metrics import pa_mpjpe_mm

LOOKED_AT = 60
MIRROR = np.array([-1.0, 1.0, 1.0])


def demo(data: Path, work: Path, chosen: dict[str, dict], **options: object) -> Predictions:
    """The hands that `handkit demo` writes, by their pictures' names."""
    cameras = work / "cameras.json"
    cameras.write_text(json.dumps({name: {"K": sample["K"]} for name, sample in chosen.items()}))
    out = work / str(options.get("method", "fit"))
    asked = DemoOptions(overlay=False, max_hands=1, camera=cameras, **options)  # type: ignore[arg-type]
    run_demo([str(data / "annotated" / "snap_real")], out, asked)
    rows = load_predictions(next(out.rglob("hands.npz")))
    return rows.rows(np.argsort(rows.image))


def fit_keypoints_alone(rows: Predictions) -> torch.Tensor:
    """Joints of right hands' mirror images, fitted to the rows' 2D keypoints; all rows are left hands."""
    K, points = rows.K.copy(), rows.keypoints_2d.copy()
    width = rows.image_size[:, :1]
    K[:, 0, 2], points[..., 0] = width[:, 0] - K[:, 0, 2], width - points[..., 0]
    found = fit_images(keypoints_2d=points, keypoint_scores=rows.keypoint_scores, K=K, source="mediapipe")
    return found.joints.double() * torch.from_numpy(MIRROR)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    default = Path(__file__).resolve().parents[2] / "shared" / "realdata"
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("HANDKIT_REALDATA", default)))
    arguments = parser.parse_args()
    everything = json.loads((arguments.data / "ground_truth_3d.json").read_text())["samples"]
    chosen = {Path(s["image"]).name: s for s in everything if s["id"].startswith("handgraph")}
    with tempfile.TemporaryDirectory() as folder:
        fitted = demo(arguments.data, Path(folder), chosen)
        said = demo(arguments.data, Path(folder), chosen, method="handnet", checkpoint=arguments.checkpoint)
    truth = {name: torch.tensor(sample["joints_cam_m"], dtype=torch.float64) for name, sample in chosen.items()}
    print(f"{len(said)} of {len(chosen)} crops; PA-MPJPE in mm: all, the first {LOOKED_AT}, the others")
    for name, rows, joints in (
        ("HandNet", said, torch.from_numpy(said.joints_3d).double()),
        ("fit to the keypoints alone", fitted, fit_keypoints_alone(fitted)),
        ("fit with MediaPipe's 3D landmarks", fitted, torch.from_numpy(fitted.joints_3d).double()),
    ):
        pa = pa_mpjpe_mm(joints, torch.stack([truth[str(image)] for image in rows.image]))
        is_first = torch.tensor([str(image) in sorted(chosen)[:LOOKED_AT] for image in rows.image])
        print(f"  {name}: {pa.mean():.2f}, {pa[is_first].mean():.2f}, {pa[~is_first].mean():.2f}")


if __name__ == "__main__":
    main()
