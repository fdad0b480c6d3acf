"""Masks of the ten outlined hands by skin colour, GrabCut and HandNet: IoU and accuracy, as RealisticHands' Table 3.

    python benchmarks/segmentation.py [--checkpoint FILE|DIR] [--data DIR] [--sheet sheet.png] [--boxes 1.5]

Every hand is found and fitted by `handkit demo`; GrabCut is seeded by the fitted hand and HandNet sees the detected
keypoints. Scored are the pixels of the square that HandNet sees (`--boxes` times the hand's larger side; a checkpoint
says it itself), at the picture's own resolution. The arm counts as background, for all of them. The sheet shows the
squares: true outline in white, each method's mask in green. The pictures are found at --data, HANDKIT_REALDATA or
../shared/realdata.
"""

import argparse
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from outlines import Outline, copy_pictures, read_outlines, row_of

from handkit.demo.hands import HandPair
from handkit.demo.options import DemoOptions
from handkit.demo.run import run_demo
from handkit.detect.crop import crop_image
from handkit.detect.detection import box_around
from handkit.errors import HandkitError
from handkit.evaluate.segmentation import BOX_SCALE, inside_square
from handkit.export.predictions import Predictions, load_predictions
from handkit.images import read_image, write_image
from handkit.inference.looks import square_around_joints
from handkit.inference.masks import MaskPredictor
from handkit.metrics import mask_iou, pixel_accuracy
from handkit.refine.masks import projected_mask, seen_keypoints
from handkit.render.overlay import draw_label
from handkit.segment import grabcut_mask, hsv_mask

TILE = 256
PUBLISHED = """published (Table 3), on its own pictures, IoU and accuracy: HSV 0.26, 0.81; HandNet 0.88, 0.99
(on FreiHAND alone 0.33, 0.90 and 0.80, 0.98; on its synthetic pictures 0.18, 0.72 and 0.95, 0.99)"""

# Of a picture, the fitted hands, the row and its square.
Method = Callable[[np.ndarray, Predictions, int, np.ndarray], np.ndarray]


def by_skin(image: np.ndarray, hands: Predictions, row: int, square: np.ndarray) -> np.ndarray:
    return hsv_mask(image)


def by_grabcut(image: np.ndarray, hands: Predictions, row: int, square: np.ndarray) -> np.ndarray:
    pair = HandPair(hands.hand_model)
    (mesh,) = pair.vertices(hands, [row])
    faces = pair.model(bool(hands.is_right[row])).faces
    return grabcut_mask(image, projected_mask(mesh, faces, hands.K[row], image.shape[:2]))


def by_handnet(predictor: MaskPredictor) -> Method:
    def mask(image: np.ndarray, hands: Predictions, row: int, square: np.ndarray) -> np.ndarray:
        points, scores = seen_keypoints(hands, row)
        is_right = [bool(hands.is_right[row])]
        return predictor.masks(image, square[None], is_right, points[None], scores[None])[0]

    return mask


def tile(image: np.ndarray, square: np.ndarray, true: np.ndarray, found: np.ndarray | None, words: str) -> np.ndarray:
    shown = image.copy()
    if found is not None:
        shown[found] = (0.45 * shown[found] + 0.55 * np.array([60, 220, 90])).astype(np.uint8)
    shown = crop_image(shown, square, TILE)
    outline = crop_image(np.repeat(true[..., None] * np.uint8(255), 3, 2), square, TILE)[..., 0] > 127
    lines, _ = cv2.findContours(outline.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(shown, lines, -1, (255, 255, 255), 1)
    draw_label(shown, words, (6, 20), color=(255, 255, 120))
    return shown


def find_hands(outlines: list[Outline], data: Path) -> Predictions:
    with tempfile.TemporaryDirectory() as folder:
        pictures = copy_pictures(outlines, data, Path(folder) / "in")
        run_demo([str(pictures)], Path(folder) / "out", DemoOptions(overlay=False))
        return load_predictions(next((Path(folder) / "out").rglob("hands.npz")))


def measure(
    data: Path, methods: dict[str, Method], box_scale: float, say: Callable[[str], None] = print
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """IoU and accuracy [N, 2] of each method for the hands that were found, and the sheet."""
    outlines = read_outlines()
    hands = find_hands(outlines, data)
    figures: dict[str, list[tuple[float, float]]] = {name: [] for name in methods}
    lines = []
    say(f"{'':24}" + "".join(f"{name:>18}" for name in methods))
    for outline in outlines:
        row = row_of(outline, hands)
        if row is None:
            say(f"{outline.name:24}not found by the detector: left out")
            continue
        image, true = read_image(data / outline.image), outline.mask()
        points, scores = seen_keypoints(hands, row)
        square = square_around_joints(box_around(points[scores > 0]), box_scale)
        valid = torch.from_numpy(inside_square(square, *true.shape))
        tiles, words = [tile(image, square, true, None, outline.name)], ""
        for name, method in methods.items():
            found = method(image, hands, row, square)
            pair = torch.from_numpy(found), torch.from_numpy(true)
            both = float(mask_iou(*pair, valid)), float(pixel_accuracy(*pair, valid))
            figures[name].append(both)
            words += f"{100 * both[0]:10.2f} {100 * both[1]:7.2f}"
            tiles.append(tile(image, square, true, found, f"{name} {100 * both[0]:.1f}"))
        say(f"{outline.name:24}{words}")
        lines.append(np.concatenate(tiles, 1))
    if not lines:
        raise HandkitError("the detector found none of the outlined hands", f"check the pictures in {data}")
    return {name: np.array(values) for name, values in figures.items()}, np.concatenate(lines, 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(__file__).resolve().parents[2] / "shared" / "realdata"
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("HANDKIT_REALDATA", default)))
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--sheet", type=Path, default=Path("segmentation.png"))
    parser.add_argument("--boxes", type=float, default=BOX_SCALE)
    arguments = parser.parse_args()
    methods: dict[str, Method] = {"hsv": by_skin, "grabcut": by_grabcut}
    box_scale = arguments.boxes
    if arguments.checkpoint is not None:
        predictor = MaskPredictor(arguments.checkpoint)
        methods["handnet"], box_scale = by_handnet(predictor), predictor.box_scale
        print(predictor.words)
    print("IoU and accuracy, %, in squares of", box_scale, "times the hand's larger side")
    figures, sheet = measure(arguments.data, methods, box_scale)
    means = "".join(f"{100 * both.mean(0)[0]:10.2f} {100 * both.mean(0)[1]:7.2f}" for both in figures.values())
    print(f"{f'mean of {len(next(iter(figures.values())))}':24}{means}")
    print(PUBLISHED)
    write_image(arguments.sheet, np.ascontiguousarray(sheet))
    print(f"wrote {arguments.sheet}")


if __name__ == "__main__":
    main()
