"""IoU of refined hands with true masks over the iterations of their refinement (RealisticHands' Fig. 9).

Scored is the mesh, projected, over the whole picture. A hand that the detector does not find, or that refinement fails,
is left out of every number of iterations alike.
"""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from jaxtyping import Bool

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

ITERATIONS: Final = (3, 10, 15)


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


def annotated(name: str, root: Path, count: int, folder: Path, *, split: str | None = None) -> Known:
    """The first samples of a data set with a mask, as pictures in a folder; their cameras are used where all have one.

    Raises HandkitError where no sample has a mask.
    """
    dataset = build_dataset(name, root, split)
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


def row_within(mask: Bool[np.ndarray, "H W"], is_right: bool, image: str, hands: Predictions) -> int | None:
    """The row of a picture that is the hand of a mask: of its side, most keypoints inside, half of them at least."""
    height, width = mask.shape
    best = (0.5, -1)
    for row in np.flatnonzero((hands.image == image) & (hands.is_right == is_right)).tolist():
        x, y = np.floor(np.nan_to_num(hands.keypoints_2d[row], nan=-1.0)).astype(int).T
        seen = (x >= 0) & (y >= 0) & (x < width) & (y < height)
        best = max(best, (float(mask[y[seen], x[seen]].sum() / len(x)), row))
    return best[1] if best[1] >= 0 else None


def ious(hands: Predictions, rows: dict[str, int], masks: dict[str, np.ndarray]) -> dict[str, float]:
    """Of the projected mesh of each picture's row with its true mask."""
    pair, found = HandPair(hands.hand_model), {}
    for name, row in rows.items():
        (mesh,) = pair.vertices(hands, [row])
        true = masks[name]
        drawn = projected_mask(
            mesh, pair.model(bool(hands.is_right[row])).faces, hands.K[row], (true.shape[0], true.shape[1])
        )
        found[name] = float(mask_iou(torch.from_numpy(drawn), torch.from_numpy(true)))
    return found


def measure(
    known: Known,
    work: Path,
    method: str,
    checkpoint: Path | None,
    segmenter: str,
    iterations: Sequence[int] = ITERATIONS,
    device: str = "auto",
    hand_model: str = "open",
) -> dict[int, dict[str, float]]:
    """IoU by iterations, 0 among them, and by picture; of hands that were found and refined every time."""
    asked = DemoOptions(
        overlay=False,
        method=method,
        checkpoint=checkpoint if method == "handnet" else None,
        camera=known.cameras,
        device=device,
        hand_model=hand_model,
    )
    run_demo([str(known.pictures)], work / "demo", asked)
    path = next((work / "demo").rglob("hands.npz"), None)
    hands = None if path is None else load_predictions(path)
    rows = {} if hands is None else known.rows(hands)
    if path is None or hands is None or not rows:
        return {count: {} for count in (0, *iterations)}
    found = {0: ious(hands, rows, known.masks)}
    for count in iterations:
        options = RefineOptions(
            overlay=False,
            iterations=count,
            segmenter=segmenter,
            checkpoint=checkpoint if segmenter == "handnet" else None,
            device=device,
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
