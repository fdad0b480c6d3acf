"""A binocular network and the prior it came from over generated pairs: absolute and aligned errors, before and after.

    python benchmarks/binocular_stereo.py CHECKPOINT [--prior FILE] --pairs DIR [--all] [--noise trained|off]

CHECKPOINT is a file of `handkit selfsup binocular`, --prior that of `handkit pretrain hand-prior` which it was begun
with, DIR a folder of `handkit generate stereo`. Both are measured on the same pairs: the last share, which the
checkpoint's own training holds out, or with --all every one (pairs that it has not learned from: another --split or
--seed). A hand prior alone is measured on all. Keypoints, about which crops are cut, are off as in training, none
missing. In mm, in the right view, means over pairs:

camera     of vertices and joints as the hands stand in the camera; beside it the median over pairs
wrist      from each hand's own wrist, in the camera's axes
PA         after the best similarity
gap        pixels of the crop by which the views have a vertex apart across the baseline
behind     share of hands most of which have no positive disparity; they are taken as 5 m away
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from handkit.checkpoint import read_checkpoint
from handkit.data.stereo import StereoDataset
from handkit.errors import HandkitError
from handkit.evaluate.binocular_pairs import held_out_pairs, score_binocular
from handkit.inference.binocular import PRIOR_METHOD
from handkit.runs.stages import digest_weights

KINDS = {"vertices": "mpvpe_mm", "joints": "mpjpe_mm"}


def report(arguments: argparse.Namespace) -> dict[str, Any]:
    pairs = StereoDataset(arguments.pairs)
    info, _ = read_checkpoint(arguments.checkpoint)
    alone = info.method == PRIOR_METHOD
    rows = np.arange(len(pairs)) if arguments.all or alone else held_out_pairs(info, pairs)
    if arguments.prior is not None:
        check_prior(arguments.prior, info.data.get("prior"))
    named = {"before": arguments.prior, "after": arguments.checkpoint}
    named = {"before": arguments.checkpoint} if alone else {name: path for name, path in named.items() if path}
    asked = {"rows": rows, "noise": arguments.noise, "device": arguments.device}
    scores = {name: score_binocular(path, arguments.pairs, **asked) for name, path in named.items()}
    return {"pairs": len(rows), "checkpoint": str(arguments.checkpoint), **scores}


def check_prior(path: Path, begun_with: dict[str, str] | None) -> None:
    """Raise HandkitError for weights that the checkpoint was not begun with."""
    if set(digest_weights(path).values()) != set((begun_with or {}).values()):
        raise HandkitError(f"the checkpoint was not begun with {path}", "give the hand prior of its run's --init")


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--prior", type=Path)
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
    print(f"{found['pairs']} pairs       camera  median   wrist      PA     gap  behind")
    for name in ("before", "after"):
        for kind, key in KINDS.items() if name in found else ():
            row = found[name]
            figures = "".join(f"{row[of]:8.2f}" for of in (key, f"median_{key}", f"ra_{key}", f"pa_{key}", "gap_px"))
            print(f"{name + ', ' + kind:16} {figures}  {100 * row['behind']:5.1f}%")


if __name__ == "__main__":
    main()
