"""Masks of hands against a data set's own: pixels of the square that HandNet sees (RealisticHands' Table 3).

Every method is asked about the same squares. GrabCut is seeded by the hand that is fitted to what MediaPipe finds in
the sample, and HandNet is shown MediaPipe's keypoints: nothing is taken from the truth but the square and the side.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import torch
from jaxtyping import Bool, Float
from tqdm import tqdm

from handkit.data.annotations import AnnotatedDataset
from handkit.data.hands import HandSet
from handkit.data.sample import HandSample
from handkit.demo.hands import HandPair
from handkit.detect.detection import box_around
from handkit.errors import HandkitError
from handkit.evaluate.exclusion import kept_rows, with_exclusions
from handkit.evaluate.finders import picture_of
from handkit.evaluate.looking import outlined
from handkit.evaluate.matching import take
from handkit.evaluate.options import EvaluateOptions
from handkit.evaluate.predict import predict
from handkit.evaluate.protocols import Protocol
from handkit.evaluate.scores import Scores
from handkit.export.predictions import Predictions, load_predictions
from handkit.images import RgbImage
from handkit.inference.looks import square_around_joints
from handkit.inference.masks import MaskPredictor
from handkit.metrics import mask_iou, pixel_accuracy
from handkit.refine.masks import projected_mask, seen_keypoints
from handkit.segment import grabcut_mask, hsv_mask

logger = logging.getLogger(__name__)

KEYS: Final = ("mask_iou", "pixel_accuracy")
# Of squares where no network says another.
BOX_SCALE: Final = 1.5
_LEAST_JOINTS: Final = 2


@dataclass(frozen=True, eq=False)
class Asked:
    """A sample as methods are asked about it: `row` is its place among the fitted hands, None where none was found."""

    image: RgbImage
    square: Float[np.ndarray, "4"]
    is_right: bool
    row: int | None


Method = Callable[[Asked], np.ndarray | None]
"""The mask [H, W] of a sample's hand; None where the method has nothing to say."""


def score_segmentation(
    dataset: AnnotatedDataset,
    out: Path,
    protocol: Protocol,
    options: EvaluateOptions,
    *,
    show_progress: bool = False,
    force: bool = False,
) -> tuple[list[Scores], HandSet]:
    """The options' methods over a data set that annotates masks, "handnet" once for each checkpoint; and its truth.

    Raises HandkitError where no sample has a mask, and for a checkpoint that segments nothing.
    """
    truth = dataset.truth()
    kept = kept_rows(truth, options.exclude)
    rows = np.arange(len(truth)) if kept is None else kept
    shown = truth if kept is None else take(truth, kept)
    learned = _learned(options)
    box_scale = next(iter(learned.values())).box_scale if learned else BOX_SCALE
    start: Predictions | None = None
    if "grabcut" in options.methods or learned:
        found = predict(
            dataset, out / "predictions" / "fit", hand=options.hand_model, show_progress=show_progress, force=force
        )
        start = load_predictions(found)
    places = {} if start is None else {int(index): row for row, index in enumerate(start.frame)}
    methods = _methods(options.methods, learned, start, options.hand_model)
    tallies = {name: _Tally(len(rows)) for name in methods}
    for place, index in enumerate(tqdm(rows.tolist(), desc="segment", disable=None if show_progress else True)):
        known = _read(dataset, index, truth.ids[index])
        if known is None:
            continue
        asked, true, inside = _ask(known, places.get(index), box_scale)
        for name, method in methods.items():
            tallies[name].add(place, method(asked), true, inside)
    scores = [_scores(name, protocol, tally, shown) for name, tally in tallies.items()]
    return [with_exclusions(one, len(truth) - len(shown)) for one in scores], shown


def _learned(options: EvaluateOptions) -> dict[str, MaskPredictor]:
    """By the names of their checkpoints; of one size of square, which all methods are scored in."""
    if "handnet" not in options.methods:
        return {}
    checkpoints: Sequence[tuple[str, Path | None]] = options.checkpoints or (("handnet", None),)
    learned = {name: MaskPredictor(path, device=options.device) for name, path in checkpoints}
    scales = {name: predictor.box_scale for name, predictor in learned.items()}
    if len(set(scales.values())) > 1:
        told = ", ".join(f"{name} {scale:g}" for name, scale in scales.items())
        raise HandkitError(f"checkpoints see squares of different sizes: {told}", "score them one by one")
    return learned


def _methods(
    names: Sequence[str], learned: dict[str, MaskPredictor], start: Predictions | None, hand: str
) -> dict[str, Method]:
    methods: dict[str, Method] = {}
    for name in names:
        if name == "handnet":
            methods |= {word: _by_network(predictor, start) for word, predictor in learned.items()}
        else:
            methods[name] = _by_skin if name == "hsv" else _by_grabcut(start, HandPair(hand))
    return methods


def _by_skin(asked: Asked) -> np.ndarray:
    return hsv_mask(asked.image)


def _by_grabcut(start: Predictions | None, hands: HandPair) -> Method:
    def segment(asked: Asked) -> np.ndarray | None:
        if asked.row is None or start is None:
            return None
        (mesh,) = hands.vertices(start, [asked.row])
        faces, size = hands.model(bool(start.is_right[asked.row])).faces, asked.image.shape[:2]
        return grabcut_mask(asked.image, projected_mask(mesh, faces, start.K[asked.row], (size[0], size[1])))

    return segment


def _by_network(predictor: MaskPredictor, start: Predictions | None) -> Method:
    """Without found keypoints it sees the image alone."""

    def segment(asked: Asked) -> np.ndarray:
        points, scores = np.zeros((21, 2)), np.zeros(21)
        if asked.row is not None and start is not None:
            points, scores = seen_keypoints(start, asked.row)
        found: np.ndarray = predictor.masks(
            asked.image, asked.square[None], [asked.is_right], points[None], scores[None]
        )
        return found[0]

    return segment


def _read(dataset: AnnotatedDataset, index: int, name: str) -> HandSample | None:
    """A sample with a mask and a place, None without."""
    try:
        sample = dataset[index]
    except HandkitError as error:
        logger.warning("%s: %s", name, error.what)
        return None
    return sample if sample["mask_valid"] and sample["mask"].any() else None


def _ask(
    sample: HandSample, row: int | None, box_scale: float
) -> tuple[Asked, Bool[np.ndarray, "H W"], Bool[np.ndarray, "H W"]]:
    """What is asked, the true mask, and the pixels that are scored."""
    joints = sample["joints_2d"][sample["joints_2d_valid"]].astype(np.float64)
    if len(joints) < _LEAST_JOINTS:
        square = outlined(sample, box_scale).square
    else:
        square = square_around_joints(box_around(joints), box_scale)
    image = picture_of(sample)
    return (
        Asked(image, square, bool(sample["is_right"]), row),
        sample["mask"] > 0,
        inside_square(square, image.shape[0], image.shape[1]),
    )


def inside_square(square: Float[np.ndarray, "4"], height: int, width: int) -> Bool[np.ndarray, "H W"]:
    """The pixels of a picture whose centres a square holds."""
    y, x = np.mgrid[:height, :width] + 0.5
    inside: np.ndarray = (x > square[0]) & (x < square[2]) & (y > square[1]) & (y < square[3])
    return inside


@dataclass(eq=False)
class _Tally:
    """One method's figures of N samples, NaN where it has none, and how many were annotated and not answered."""

    count: int
    annotated: int = 0
    missing: int = 0
    figures: dict[str, Float[np.ndarray, " N"]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.figures = {key: np.full(self.count, np.nan) for key in KEYS}

    def add(
        self,
        place: int,
        found: np.ndarray | None,
        true: Bool[np.ndarray, "H W"],
        inside: Bool[np.ndarray, "H W"],
    ) -> None:
        self.annotated += 1
        if found is None:
            self.missing += 1
            return
        pair = torch.from_numpy(found), torch.from_numpy(true), torch.from_numpy(inside)
        self.figures["mask_iou"][place] = float(mask_iou(*pair))
        self.figures["pixel_accuracy"][place] = float(pixel_accuracy(*pair))


def _scores(name: str, protocol: Protocol, tally: _Tally, truth: HandSet) -> Scores:
    if not tally.annotated:
        raise HandkitError(f"{truth.source} annotates no masks", "choose a data set, or a split, that does")
    answered = tally.annotated - tally.missing
    if not answered:
        raise HandkitError(f"{name}: no hand was found in any sample", "check the pictures, or leave the method out")
    warnings: tuple[str, ...] = ()
    if tally.missing:
        warnings = (f"{tally.missing} of {tally.annotated} samples have no hand that was found: not scored",)
        logger.warning("%s: %s", name, warnings[0])
    return Scores(
        method=name,
        protocol=protocol.name,
        definition=protocol.definition(),
        ids=truth.ids,
        summary={**{key: float(np.nanmean(column)) for key, column in tally.figures.items()}, "count": answered},
        per_sample=tally.figures,
        sequences=truth.sequences,
        counts={
            "samples": len(truth),
            "scored": answered,
            "missing": tally.missing,
            "not_annotated": len(truth) - tally.annotated,
        },
        warnings=warnings,
    )
