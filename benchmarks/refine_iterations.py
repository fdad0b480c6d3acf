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
import csv
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from outlines import copy_pictures, read_outlines, row_within

from handkit.data.registry import build_dataset
from handkit.demo.hands import HandPair
from handkit.demo.options import DemoOptions
from handkit.demo.run import run_demo
from handkit.errors import HandkitError
from handkit.evaluate.finders import picture_of
from handkit.export.predictions import Predictions, load_predictions
from handkit.images import write_image
from handkit.metrics import mask_iou
from handkit.refine.masks import projected_mask
from handkit.refine.options import RefineOptions
from handkit.refine.run import run_refine

ITERATIONS = (3, 10, 15)
PUBLISHED = "published (FreiHAND, MediaPipe's keypoints)     0.722     0.758     0.793     0.806   (I2L 0.748, 0.737)"


@dataclass(frozen=True, eq=False)
class Known:
    """Pictures in a folder, and of the one hand in each that is scored its true mask and its side."""

    pictures: Path
    masks: dict[str, np.ndarray]
    is_right: dict[str, bool]
    cameras: Path | None = None

    def rows(self, hands: Predictions) -> dict[str, int]:
        """The row that is each picture's hand."""
        found = {name: row_within(mask, self.is_right[name], name, hands) for name, mask in self.masks.items()}
        return {name: row for name, row in found.items() if row is not None}


def outlined(data: Path, folder: Path) -> Known:
    outlines = read_outlines()
    pictures = copy_pictures(outlines, data, folder)
    return Known(pictures, {one.name: one.mask() for one in outlines}, {one.name: one.is_right for one in outlines})


def annotated(name: str, root: Path, count: int, folder: Path) -> Known:
    """Samples of a data set with a mask; a camera of theirs is used where there is one."""
    dataset = build_dataset(name, root)
    masks, sides, cameras = {}, {}, {}
    for index in range(len(dataset)):
        sample = dataset[index]
        if not sample["mask_valid"]:
            continue
        picture = f"{index:06d}.png"
        write_image(folder / picture, picture_of(sample))
        masks[picture], sides[picture] = sample["mask"] > 0, bool(sample["is_right"])
        if sample["K_valid"]:
            K = sample["K"].astype(float)
            cameras[picture] = {"K": [K[0, 0], K[1, 1], K[0, 2], K[1, 2]]}
        if len(masks) == count:
            break
    if not masks:
        raise HandkitError(f"{name} in {root} annotates no masks", "choose another data set")
    known = None
    if len(cameras) == len(masks):
        known = folder.with_suffix(".json")
        known.write_text(json.dumps(cameras))
    return Known(folder, masks, sides, known)


def ious(hands: Predictions, rows: dict[str, int], masks: dict[str, np.ndarray]) -> dict[str, float]:
    pair, found = HandPair(hands.hand_model), {}
    for name, row in rows.items():
        (mesh,) = pair.vertices(hands, [row])
        true = masks[name]
        drawn = projected_mask(mesh, pair.model(bool(hands.is_right[row])).faces, hands.K[row], true.shape)
        found[name] = float(mask_iou(torch.from_numpy(drawn), torch.from_numpy(true)))
    return found


def measure(
    known: Known,
    work: Path,
    method: str,
    checkpoint: Path | None,
    segmenter: str,
    iterations: Sequence[int] = ITERATIONS,
) -> dict[int, dict[str, float]]:
    """IoU by iterations, 0 among them, and by picture; of hands that were found and refined every time."""
    asked = DemoOptions(
        overlay=False,
        method=method,
        checkpoint=checkpoint if method == "handnet" else None,
        camera=known.cameras,
    )
    run_demo([str(known.pictures)], work / "demo", asked)
    path = next((work / "demo").rglob("hands.npz"))
    hands = load_predictions(path)
    rows = known.rows(hands)
    found = {0: ious(hands, rows, known.masks)}
    for count in iterations:
        options = RefineOptions(
            overlay=False,
            iterations=count,
            segmenter=segmenter,
            checkpoint=checkpoint if segmenter == "handnet" else None,
        )
        out = work / f"refined_{count}"
        run_refine([str(path)], out, options)
        failed = {row for row, line in enumerate(read_statuses(out)) if line == "failed"}
        rows = {name: row for name, row in rows.items() if row not in failed}
        found[count] = ious(load_predictions(next(out.rglob("hands.npz"))), rows, known.masks)
    return {count: {name: values[name] for name in rows} for count, values in found.items()}


def read_statuses(out: Path) -> list[str]:
    """Of refined.csv, whose lines are the rows of hands.npz."""
    with next(out.rglob("refined.csv")).open(newline="", encoding="utf-8") as file:
        return [line["status"] for line in csv.DictReader(file)]


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
