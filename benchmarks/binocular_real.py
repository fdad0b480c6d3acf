"""Binocular networks on the two synchronous real videos: how well the views of one hand agree, before and after.

    python benchmarks/binocular_real.py CHECKPOINT... [--data DIR] [--frames FIRST:END] [--stride N] [--json]

Each CHECKPOINT is a file of `handkit selfsup binocular` or, as "before", of `handkit pretrain hand-prior`. The data
(not part of the repo) are found at --data, HANDKIT_REALDATA or ../shared/realdata, stereo/; the rig's file is made of
them in a temporary folder, its unit, the board's square, is estimated from the hands. Hands are found, matched and cut
out as `handkit selfsup binocular --stereo` does it. Frames FIRST to END - 1 of the left video are measured, all unless
told: give those that no checkpoint learned from. Means over hands that both views saw:

gap        how far the views have a vertex apart across the baseline, px of the pictures, where the rays are rectified
joints     distance in mm of the mesh's joints from MediaPipe's keypoints triangulated: where they stand, about the
           wrist, and after the best similarity
reprojected  distance of those joints from MediaPipe's keypoints, px of the pictures, mean of the views
outline    intersection over union of the mesh's silhouette in either view and the hand's mask by GrabCut, begun by the
           keypoints

Keypoints are a detector's, not a truth: its own views are apart too, which is printed first.
"""

import argparse
import json
import logging
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from handnet_stereo_real import VIDEOS, write_rig
from torch import Tensor

from handkit.data.binocular_batches import PairBatches
from handkit.data.gathered_pairs import GatheredPairs
from handkit.data.sample import float_images
from handkit.errors import HandkitError
from handkit.gather.pairs import gather_pairs
from handkit.geometry.cameras import project
from handkit.geometry.disparity import BinocularPoints, triangulate
from handkit.hand import load_hand
from handkit.hand.mesh_joints import joints_of_mesh
from handkit.hand.stereo import K_in_widths
from handkit.inference.load import pick_device
from handkit.inference.trained import box_scale, crop_size
from handkit.methods.binocular_measures import measure_agreement
from handkit.methods.binocular_recipe import BinocularFormsRecipe
from handkit.methods.binocular_views import place_pairs
from handkit.metrics import mpjpe_mm, pa_mpjpe_mm
from handkit.nets.lixel_system import load_lixel
from handkit.train import Place

AT_ONCE = 16
WRIST = 0


def score(path: Path, pairs: GatheredPairs, rows: np.ndarray, focal_px: float, device: str) -> dict[str, Any]:
    """The figures of a checkpoint over some of the pairs."""
    network, info = load_lixel(path)
    hand, size = load_hand(str(info.data.get("hand", "open")), "right"), crop_size(info)
    source = PairBatches(
        pairs,
        hand,
        batch=min(AT_ONCE, len(rows)),
        size=size,
        box_scale=box_scale(info),
        centre="middle" if info.data.get("centre") == "middle" else "box",
        masks="grabcut",
        noise=None,
        seed=0,
        rows=rows,
    )
    place = Place(device=torch.device(pick_device(device)))
    network = network.to(place.device).eval()
    parts: dict[str, list[Tensor]] = {}
    for batch in source.fixed(len(rows), AT_ONCE, place):
        with torch.inference_mode():
            points = network(float_images(batch["image"])).points.double()
            pair = place_pairs(points, batch, size=size)
            agreed = measure_agreement(pair, batch, hand, BinocularFormsRecipe(), size=size)
            K_right, K_left = K_in_widths(batch["K"].double(), size).chunk(2)
            figures = against_keypoints(batch, pair.found, hand, (K_right, K_left), focal_px)
        figures |= {"gap_px": focal_px * pair.found.gap.abs().mean(-1), "iou": agreed["silhouette_iou"]}
        for name, values in figures.items():
            parts.setdefault(name, []).append(values.cpu())
    known = {"checkpoint": str(path), "method": info.method, "step": info.step, "hands": len(rows)}
    return {**known, **{name: float(torch.cat(values).nanmean()) for name, values in parts.items()}}


def against_keypoints(
    batch: dict[str, Any], found: BinocularPoints, hand: Any, K: tuple[Tensor, Tensor], focal_px: float
) -> dict[str, Tensor]:
    """Of every hand, joints of its mesh against the keypoints of both views; K of right and left, in widths."""
    right, left = batch["keypoints"].double().chunk(2)
    met = triangulate(left, right, K[1], K[0], batch["right_from_left"].double())
    joints = joints_of_mesh(found.right, hand)
    seen = []
    for points, keypoints, own in ((found.right, right, K[0]), (found.left, left, K[1])):
        off = project(joints_of_mesh(points, hand), own) - keypoints
        # a width of the crop is so many pixels of the picture
        seen.append(off.norm(dim=-1).mean(-1) * focal_px / own[:, 0, 0])
    return {
        "joints_mm": mpjpe_mm(joints, met.right),
        "ra_joints_mm": mpjpe_mm(joints, met.right, root=WRIST),
        "pa_joints_mm": pa_mpjpe_mm(joints, met.right),
        "reprojected_px": torch.stack(seen).mean(0),
        "keypoints_gap_px": focal_px * met.gap.abs().mean(-1),
    }


def report(arguments: argparse.Namespace) -> dict[str, Any]:
    folder = arguments.data / "stereo"
    with tempfile.TemporaryDirectory() as work:
        kept = arguments.keep or Path(work)
        kept.mkdir(parents=True, exist_ok=True)
        rig = kept / "rig.json"
        if not rig.is_file():  # what was found is kept for this very file
            write_rig(folder, rig)
        left, right = (folder / name for name in VIDEOS)
        progress = sys.stderr.isatty()
        pairs = gather_pairs(left, right, rig, kept, max_hands=1, stride=arguments.stride, show_progress=progress)
        focal = np.mean([view["K"][axis][axis] for view in json.loads(rig.read_text())["views"] for axis in (0, 1)])
        first, end = arguments.frames
        rows = np.flatnonzero((pairs.frames >= first) & (pairs.frames < end))
        if not len(rows):
            what = f"none of {len(pairs)} hands is in frames {first} to {end - 1}"
            raise HandkitError(what, f"their frames are {pairs.frames.min()} to {pairs.frames.max()}")
        scores = [score(path, pairs, rows, float(focal), arguments.device) for path in arguments.checkpoint]
        shown = pairs.frames[rows]
        known = {"pairs": len(pairs), "found": pairs.counts.to_json(), "unit_m": pairs.unit_m, "how": pairs.how}
        return {**known, "frames": [int(shown.min()), int(shown.max())], "scores": scores}


def parse_frames(text: str) -> tuple[int, int]:
    """FIRST:END, either of which may be missing."""
    first, _, end = text.partition(":")
    try:
        found = int(first or 0), int(end or sys.maxsize)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not FIRST:END") from None
    if found[0] >= found[1]:
        raise argparse.ArgumentTypeError(f"{text!r} holds no frame")
    return found


def describe(row: dict[str, Any]) -> str:
    return (
        f"{row['checkpoint']} ({row['method']}, step {row['step']}): gap {row['gap_px']:.2f} px; joints "
        f"{row['joints_mm']:.1f} mm, about the wrist {row['ra_joints_mm']:.1f}, PA {row['pa_joints_mm']:.1f}; "
        f"reprojected {row['reprojected_px']:.1f} px; outline {row['iou']:.3f}"
    )


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", nargs="+", type=Path)
    default = Path(__file__).resolve().parents[2] / "shared" / "realdata"
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("HANDKIT_REALDATA", default)))
    parser.add_argument("--frames", type=parse_frames, default=(0, sys.maxsize), metavar="FIRST:END")
    parser.add_argument("--stride", type=int, default=1, help="every n-th frame")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="where found hands are kept for the next call")
    parser.add_argument("--device", default="cpu", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args(words)
    logging.getLogger("handkit").setLevel(logging.ERROR)
    try:
        found = report(arguments)
    except HandkitError as error:
        sys.exit(f"error: {error.what}\ntry: {error.fix}")
    if arguments.json:
        json.dump(found, sys.stdout, indent=2)
        return
    rows = found["scores"]
    print(
        f"{rows[0]['hands']} of {found['pairs']} hands of both views, frames {found['frames'][0]} to "
        f"{found['frames'][1]}, pictures {found['how']}, unit {1000 * found['unit_m']:.1f} mm; MediaPipe's own "
        f"keypoints are {rows[0]['keypoints_gap_px']:.2f} px apart"
    )
    for row in rows:
        print(describe(row))


if __name__ == "__main__":
    main()
