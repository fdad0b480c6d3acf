"""RealisticHands' Table 4: one hand from two views against the right view alone, on generated pairs.

    python benchmarks/handnet_stereo.py CHECKPOINT --pairs DIR [--all] [--noise trained|off] [--device auto|cpu|cuda]

CHECKPOINT is a file of `handkit finetune handnet-stereo`, DIR a folder of `handkit generate stereo`. Of its pairs the
last share is measured that the checkpoint's own training holds out, or with --all every one (pairs that it has not
learned from: another --split or --seed). Keypoints are off as in training, none missing. Means over pairs, in the right
view, of the whole mesh:

PA-MPVPE   cm, after the best similarity; F@5, F@15 of the same
wrist      MPVPE in cm from each hand's own wrist, in the camera's axes
camera     MPVPE in cm as the hands stand in the camera
ratio      of each to the right view alone
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from handkit.checkpoint import CheckpointInfo
from handkit.data.handnet_batches import StereoCropBatches
from handkit.data.keypoint_noise import KeypointNoise
from handkit.data.stereo import StereoDataset
from handkit.errors import HandkitError
from handkit.geometry import align
from handkit.hand.model import load_hand
from handkit.hand.stereo import CAMERA_FUSIONS
from handkit.hand.weak import WeakPoseLayer
from handkit.inference.trained import box_scale, crop_size
from handkit.methods.handnet_stereo import fused_hand, measure_pairs, mono_hand, say_views, true_hand
from handkit.metrics import f_score
from handkit.nets.handnet import HandNet
from handkit.nets.handnet_system import load_handnet
from handkit.train import Place

THRESHOLDS_M = (0.005, 0.015)
PUBLISHED = {"mono": (1.65, 0.352, 0.860), "fused": (0.94, 0.578, 0.967)}
BATCH = 32
COLUMNS = ("pa_cm", "f_5mm", "f_15mm", "wrist_cm", "camera_cm")


def held_out(info: CheckpointInfo, pairs: StereoDataset, *, every: bool) -> np.ndarray:
    share = 1.0 if every else float(info.recipe["data"]["held_out"])
    return np.arange(len(pairs) - round(share * len(pairs)), len(pairs))


def measure(network: HandNet, batch: dict, layer: WeakPoseLayer, size: int) -> dict[str, dict[str, np.ndarray]]:
    """Of each way, what its columns are for every pair."""
    said = say_views(network, batch, inputs=network.inputs, size=size, sigma=network.sigma)
    errors = measure_pairs(said, batch, layer, size=size)
    true = true_hand(batch).vertices
    hands = {"mono": mono_hand(said, batch, layer, size=size)}
    hands |= {camera: fused_hand(said, batch, layer, size=size, camera=camera) for camera in CAMERA_FUSIONS}
    found = {}
    for name, hand in hands.items():
        aligned = align(hand.vertices.double(), true.double(), reflection=False)
        near = f_score(aligned.cpu().numpy(), true.double().cpu().numpy(), THRESHOLDS_M)
        cm = {what: errors[f"{name}_{what}_mpvpe_mm"].cpu().numpy() / 10 for what in ("pa", "wrist", "camera")}
        found[name] = {
            "pa_cm": cm["pa"],
            "f_5mm": near[:, 0],
            "f_15mm": near[:, 1],
            "wrist_cm": cm["wrist"],
            "camera_cm": cm["camera"],
        }
    return found


def report(arguments: argparse.Namespace) -> dict[str, object]:
    network, info = load_handnet(arguments.checkpoint)
    if not network.stereo_views:
        raise HandkitError(
            f"{arguments.checkpoint} is a HandNet of one view", "give one of `handkit finetune handnet-stereo`"
        )
    device = arguments.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    pairs = StereoDataset(arguments.pairs)
    rows = held_out(info, pairs, every=arguments.all)
    hand, size = load_hand(str(info.data.get("hand", "open")), "right"), crop_size(info)
    noise = None
    if arguments.noise == "trained" and info.data.get("noise") is not None:
        trained = KeypointNoise.model_validate_json(json.dumps(info.data["noise"]))
        noise = trained.model_copy(update={"missing": 0.0})
    source = StereoCropBatches(
        pairs,
        hand,
        batch=min(BATCH, len(rows)),
        rows=rows,
        size=size,
        box_scale=box_scale(info),
        noise=noise,
        want_image=network.inputs != "keypoints",
    )
    network, layer = network.to(device).eval(), WeakPoseLayer(hand).to(device)
    parts = []
    with torch.no_grad():
        for batch in source.fixed(len(rows), BATCH, Place(device=torch.device(device))):
            parts.append(measure(network, batch, layer, size))
    means = {
        name: {key: float(np.concatenate([part[name][key] for part in parts]).mean()) for key in COLUMNS}
        for name in parts[0]
    }
    return {"pairs": len(rows), "checkpoint": str(arguments.checkpoint), **means}


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--noise", default="trained", choices=("trained", "off"))
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args(words)
    try:
        found = report(arguments)
    except HandkitError as error:
        sys.exit(f"error: {error.what}\ntry: {error.fix}")
    if arguments.json:
        json.dump(found, sys.stdout, indent=2)
        return
    print(f"{found['pairs']} pairs          PA-MPVPE  F@5    F@15    wrist  camera   ratios")
    rows = {"mono": "right view alone", **{camera: f"both, {camera}" for camera in CAMERA_FUSIONS}}
    mono: dict[str, float] = found["mono"]
    for name, title in rows.items():
        row: dict[str, float] = found[name]
        ratios = "  ".join(f"{row[key] / mono[key]:.2f}" for key in ("pa_cm", "wrist_cm", "camera_cm"))
        figures = f"{row['pa_cm']:8.2f} {row['f_5mm']:6.3f} {row['f_15mm']:6.3f}"
        print(f"{title:18} {figures} {row['wrist_cm']:8.2f} {row['camera_cm']:7.2f}   {ratios}")
    for name, (error, near, far) in PUBLISHED.items():
        ratio = error / PUBLISHED["mono"][0]
        print(f"{'published, ' + name:18} {error:8.2f} {near:6.3f} {far:6.3f} {'':>16}   {ratio:.2f}")


if __name__ == "__main__":
    main()
