"""The target silhouettes: mask files matched by name, a segmenter seeded by the projected hand, or HandNet's."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from handkit.checkpoint import find_weights
from handkit.detect.detection import box_around
from handkit.errors import HandkitError
from handkit.export.predictions import Predictions
from handkit.images import RgbImage, read_image
from handkit.inference.load import HANDNET
from handkit.inference.looks import square_around_joints
from handkit.inference.masks import MaskPredictor
from handkit.refine.options import RefineOptions
from handkit.refine.rig import Lens, RigView
from handkit.render.hard import rasterize
from handkit.render.shaded import to_pixels
from handkit.segment import SEGMENTERS, forearm_mask

logger = logging.getLogger(__name__)

AUTO, LEARNED, SEEDED = "auto", "handnet", "grabcut"
_SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
# With fewer keypoints the hand's own joints say where it is.
_MIN_KEYPOINTS: Final = 8
_FIX: Final = "masks are grey pictures, hand white, of the image's size"


def projected_mask(vertices: np.ndarray, faces: np.ndarray, K: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The pixels [H, W] a mesh [778, 3] covers."""
    pixels = to_pixels(vertices.astype(np.float64), K)
    return rasterize(pixels, faces, size=size).face_ids >= 0


class MaskChoice:
    """Chooses the masks of hands, from a folder or by a segmenter: one of `SEGMENTERS`, or the `learned` one."""

    def __init__(
        self,
        folder: Path | None,
        segmenter: str,
        *,
        learned: MaskPredictor | None = None,
        lens: Lens | None = None,
    ) -> None:
        if folder is not None and not folder.is_dir():
            raise HandkitError(f"--masks {folder}: no such folder", "give a folder of mask pictures")
        self._folder, self._segmenter, self._learned, self._lens = folder, segmenter, learned, lens
        self.name = segmenter if learned is None else f"{LEARNED} ({learned.path.name}, step {learned.step})"
        if folder is not None:
            self.name = "given masks"

    def of_view(self, view: RigView) -> "MaskChoice":
        """The same for one camera of several: its own folder inside, where there is one, and its lens."""
        own = self._folder / view.name if self._folder is not None else None
        folder = own if own is not None and own.is_dir() else self._folder
        return MaskChoice(folder, self._segmenter, learned=self._learned, lens=view.lens)

    def choose(
        self,
        image: RgbImage,
        rows: Predictions,
        chosen: Sequence[int],
        projected: Sequence[np.ndarray],
        *,
        is_video: bool,
    ) -> list[np.ndarray | HandkitError]:
        """The masks [H, W] of a picture's hands, of the rows `chosen`; an error for one without, or of another size."""
        if self._folder is None and self._learned is not None:
            return _learned_masks(self._learned, image, rows, chosen)
        found: list[np.ndarray | HandkitError] = []
        for row, drawn in zip(chosen, projected, strict=True):
            try:
                found.append(self._one(image, rows, row, drawn, is_video=is_video))
            except HandkitError as error:
                found.append(error)
        return found

    def _one(
        self, image: RgbImage, rows: Predictions, row: int, projected: np.ndarray, *, is_video: bool
    ) -> np.ndarray:
        if self._folder is None:
            return _not_empty(SEGMENTERS[self._segmenter](image, projected))  # type: ignore[index]
        path = self._find(rows, row, is_video=is_video)
        mask = read_mask(path, (image.shape[1], image.shape[0]))
        return mask if self._lens is None else self._lens.straighten(mask.astype(np.uint8) * np.uint8(255)) > 127

    def unsaid(self, mask: np.ndarray, mesh: np.ndarray, faces: np.ndarray, K: np.ndarray) -> np.ndarray:
        """Pixels [H, W] of a mask that may be no hand [778, 3]: by colours the arm is a part of it.

        A learned mask ends at the wrist, and a given one where it does.
        """
        if self._folder is not None or self._learned is not None:
            return np.zeros_like(mask)
        return mask & forearm_mask(mesh, faces, K, (mask.shape[0], mask.shape[1]))

    def _find(self, rows: Predictions, row: int, *, is_video: bool) -> Path:
        """One for the hand, by track or side, else one for the picture."""
        assert self._folder is not None
        name, frame = str(rows.image[row]), int(rows.frame[row])
        stem = Path(name).stem
        own = f"{rows.track_id[row]}_{'right' if rows.is_right[row] else 'left'}"
        bases = [f"{stem}/{frame:06d}", f"{stem}_{frame:06d}", f"{frame:06d}"] if is_video else [name, stem]
        for base in bases:
            for stem in (f"{base}_{own}", base):
                for suffix in _SUFFIXES:
                    if (self._folder / f"{stem}{suffix}").is_file():
                        return self._folder / f"{stem}{suffix}"
        raise HandkitError(f"no mask in {self._folder}", f"it was looked for as {bases[-1]}.png")


def read_mask(path: Path, size: tuple[int, int]) -> np.ndarray:
    """A mask file as bool [H, W]; raises HandkitError unless it is of `size` (width, height) and not empty."""
    picture = read_image(path)
    height, width = picture.shape[:2]
    if (width, height) != size:
        raise HandkitError(f"{path} is {width} x {height}, but the image {size[0]} x {size[1]} pixels", _FIX)
    # Masks of 0 and 1 are as common as those of 0 and 255.
    top = int(picture.max())
    mask = picture.max(-1) > top / 2 if top else np.zeros((height, width), bool)
    if not mask.any():
        raise HandkitError(f"{path} is empty: no pixel is white", _FIX)
    return mask


def settle_masks(options: RefineOptions) -> tuple[RefineOptions, MaskChoice]:
    """What makes the masks, and the options with its name and its weights in the place of "auto".

    That is HandNet where --checkpoint or the usual weights hold a trained segmentation, else GrabCut. Raises
    HandkitError where weights that were asked for have none, or the folder of masks is not there.
    """
    learned = None
    if options.masks is None and options.segmenter in (AUTO, LEARNED):
        learned = _learned(options)
        segmenter, path = (SEEDED, None) if learned is None else (LEARNED, learned.path)
        options = replace(options, segmenter=segmenter, checkpoint=path)
    choice = MaskChoice(options.masks, options.segmenter, learned=learned)
    logger.info("masks: %s", choice.name)
    return options, choice


def _learned(options: RefineOptions) -> MaskPredictor | None:
    if options.segmenter == LEARNED or options.checkpoint is not None:
        return MaskPredictor(options.checkpoint, device=options.device)
    try:
        usual = find_weights(HANDNET.usual)
    except HandkitError:
        return None
    try:
        return MaskPredictor(usual, device=options.device)
    except HandkitError as error:
        logger.warning("masks are made by %s: %s", SEEDED, error.what)
        return None


def _learned_masks(
    learned: MaskPredictor, image: RgbImage, rows: Predictions, chosen: Sequence[int]
) -> list[np.ndarray | HandkitError]:
    """Looked at together, each in the square about its keypoints."""
    found: dict[int, np.ndarray | HandkitError] = {}
    squares: dict[int, np.ndarray] = {}
    keypoints = {row: seen_keypoints(rows, row) for row in chosen}
    for row, (points, scores) in keypoints.items():
        try:
            squares[row] = square_around_joints(box_around(points[scores > 0]), learned.box_scale)
        except HandkitError as error:
            found[row] = error
    if squares:
        points, scores = (np.stack([keypoints[row][i] for row in squares]) for i in (0, 1))
        is_right = [bool(rows.is_right[row]) for row in squares]
        for row, mask in zip(
            squares, learned.masks(image, np.stack(list(squares.values())), is_right, points, scores), strict=True
        ):
            try:
                found[row] = _not_empty(mask)
            except HandkitError as error:
                found[row] = error
    return [found[row] for row in chosen]


def seen_keypoints(rows: Predictions, row: int) -> tuple[np.ndarray, np.ndarray]:
    """A hand's keypoints [21, 2] and scores [21], 0 where there is none; its projected joints where it has few."""
    points, scores = rows.keypoints_2d[row].astype(np.float64), np.nan_to_num(rows.keypoint_scores[row]).clip(0, 1)
    known = np.isfinite(points).all(-1) & (scores > 0)
    if known.sum() < _MIN_KEYPOINTS:
        points, known, scores = rows.joints_2d[row].astype(np.float64), np.ones(21, bool), np.ones(21)
    return np.where(known[:, None], points, 0.0), np.where(known, scores, 0.0)


def _not_empty(mask: np.ndarray) -> np.ndarray:
    if not mask.any():
        raise HandkitError("no pixel of it looks like a hand", "give its mask by --masks")
    return mask
