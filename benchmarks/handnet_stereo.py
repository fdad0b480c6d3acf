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

from handkit.errors import HandkitError
from handkit.evaluate.pairs import score_pairs
from handkit.hand.stereo import CAMERA_FUSIONS

PUBLISHED = {"mono": (1.65, 0.352, 0.860), "fused": (0.94, 0.578, 0.967)}
COLUMNS = {"pa_cm": "pa_mpvpe_mm", "f_5mm": "pa_f_score_5mm", "f_15mm": "pa_f_score_15mm"}
COLUMNS |= {"wrist_cm": "ra_mpvpe_mm", "camera_cm": "mpvpe_mm"}


def report(arguments: argparse.Namespace) -> dict[str, object]:
    scores = score_pairs(
        arguments.checkpoint,
        arguments.pairs,
        of_all=arguments.all,
        noise=arguments.noise,
        device=arguments.device,
    )
    means = {
        name: {key: figures[known] / (10 if known.endswith("_mm") else 1) for key, known in COLUMNS.items()}
        for name, figures in scores.items()
    }
    return {"pairs": int(scores["mono"]["count"]), "checkpoint": str(arguments.checkpoint), **means}


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
