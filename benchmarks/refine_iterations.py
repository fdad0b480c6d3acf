"""IoU of refined hands with true masks after 0, 3, 10 and 15 iterations: RealisticHands' Fig. 9.

    python benchmarks/refine_iterations.py [--method fit|handnet] [--checkpoint FILE|DIR] [--segmenter NAME]
        [--data DIR] [--dataset NAME --root DIR [--count N]]

Hands are those of `handkit demo --method`, refined against the masks of --segmenter (handnet of --checkpoint unless
told). Scored is the mesh, projected, against the true mask over the whole picture: the ten outlined hands
(hand_outlines.json; pictures at --data, HANDKIT_REALDATA or ../shared/realdata), and with --dataset the first N samples
of a data set that annotates masks. A hand that the detector does not find, or that refinement fails, is left out of
every column alike, and counted.
"""

import argparse
import os
import tempfile
from pathlib import Path

import numpy as np
from outlines import copy_pictures, read_outlines

from handkit.evaluate.iterations import Known, annotated, measure

PUBLISHED = "published (FreiHAND, MediaPipe's keypoints)     0.722     0.758     0.793     0.806   (I2L 0.748, 0.737)"


def outlined(data: Path, folder: Path) -> Known:
    outlines = read_outlines()
    pictures = copy_pictures(outlines, data, folder)
    return Known(pictures, {one.name: one.mask() for one in outlines}, {one.name: one.is_right for one in outlines})


def report(title: str, found: dict[int, dict[str, float]], hands: int, *, each: bool) -> None:
    names = list(found[0])
    print(f"{title}: {len(names)} of {hands} hands")
    print(f"{'iterations':46}" + "".join(f"{count:10}" for count in found))
    for name in names if each else ():
        print(f"{name:46}" + "".join(f"{values[name]:10.3f}" for values in found.values()))
    means = [float(np.mean(list(values.values()))) if values else float("nan") for values in found.values()]
    print(f"{'mean':46}" + "".join(f"{mean:10.3f}" for mean in means))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(__file__).resolve().parents[2] / "shared" / "realdata"
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("HANDKIT_REALDATA", default)))
    parser.add_argument("--method", choices=("fit", "handnet"), default="fit")
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--segmenter", choices=("handnet", "grabcut", "hsv"), default="handnet")
    parser.add_argument("--dataset")
    parser.add_argument("--root", type=Path)
    parser.add_argument("--count", type=int, default=200)
    asked = parser.parse_args()
    print(f"hands of `handkit demo --method {asked.method}`, refined against masks of {asked.segmenter}")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        cases = {"outlined real hands": outlined(asked.data, work / "outlined")}
        if asked.dataset is not None:
            cases[asked.dataset] = annotated(asked.dataset, asked.root, asked.count, work / "dataset")
        for title, known in cases.items():
            found = measure(known, work / title.replace(" ", "_"), asked.method, asked.checkpoint, asked.segmenter)
            report(title, found, len(known.masks), each=title == "outlined real hands")
    print(PUBLISHED)


if __name__ == "__main__":
    main()
