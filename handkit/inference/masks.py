"""HandNet's masks of hands in the pictures that show them.

Convention: boxes, keypoints and squares (x0, y0, x1, y1) are in full-image pixels; outside its square a mask is
background.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float

from handkit.detect.crop import crop_from_image
from handkit.errors import HandkitError
from handkit.images import RgbImage
from handkit.inference.handnet import HandNetPredictor, load_handnet_predictor
from handkit.inference.load import HANDNET, find_checkpoint, words_of
from handkit.inference.looks import look_at
from handkit.nets.handnet import HandNet

THRESHOLD: Final = 0.5
_TRAIN: Final = "train it with `handkit pretrain handnet --stage segmentation --out DIR`, or name another --segmenter"


class MaskPredictor:
    """The segmentation of a checkpoint, a file or a run's folder; the usual weights unless told.

    `box_scale` is the side of the squares that it is to be shown over the hand's larger side, `step` that of its
    training. Raises HandkitError where there is no file, it is of another kind, it sees no images, or its
    segmentation was never trained.
    """

    def __init__(self, checkpoint: Path | None = None, *, device: str = "auto") -> None:
        self.path = find_checkpoint(checkpoint, HANDNET)
        self._predictor: HandNetPredictor = load_handnet_predictor(self.path, device)
        if not self._predictor.can_segment:
            raise HandkitError(f"{self.path} sees {self._predictor.sees} alone and segments nothing", _TRAIN)
        if not has_learned_masks(self._predictor.network):
            raise HandkitError(f"{self.path}: its segmentation was not trained yet", _TRAIN)
        self.size, self.box_scale = self._predictor.size, self._predictor.box_scale
        self.words, self.step = words_of(self._predictor, self.path), self._predictor.info.step

    def masks(
        self,
        image: RgbImage,
        squares: Float[np.ndarray, "N 4"],
        is_right: Sequence[bool],
        keypoints: Float[np.ndarray, "N 21 2"],
        scores: Float[np.ndarray, "N 21"],
    ) -> Bool[np.ndarray, "N H W"]:
        """The masks of hands in a picture, looked at together; keypoints of score 0, or not finite, were not seen."""
        height, width = image.shape[:2]
        if not len(squares):
            return np.zeros((0, height, width), bool)
        known = np.isfinite(keypoints).all(-1)
        looks = [
            look_at(image, square, self.size, is_right=side) for square, side in zip(squares, is_right, strict=True)
        ]
        points = np.where(known[..., None], keypoints, 0.0)
        found = self._predictor.masks(looks, points, np.where(known, np.nan_to_num(scores), 0.0))
        return np.stack(
            [
                in_picture(part, look.square, (height, width)) > THRESHOLD
                for part, look in zip(found, looks, strict=True)
            ]
        )


def has_learned_masks(network: HandNet) -> bool:
    """Whether a network's segmentation was ever trained: statistics of its layers are counted."""
    counts = [
        layer.num_batches_tracked
        for layer in network.part("segmentation").modules()
        if isinstance(layer, torch.nn.BatchNorm2d)
    ]
    return any(count is not None and int(count) > 0 for count in counts)


def in_picture(
    values: Float[np.ndarray, "S S"], square: Float[np.ndarray, "4"], size: tuple[int, int]
) -> Float[np.ndarray, "H W"]:
    """What is known of a square's pixels in a picture of `size` (height, width), 0 outside of the square."""
    whole = np.zeros(size, np.float32)
    x0, y0 = np.maximum(np.floor(square[:2]), 0).astype(int)
    x1, y1 = np.minimum(np.ceil(square[2:]), size[::-1]).astype(int)
    if x0 >= x1 or y0 >= y1:
        return whole
    matrix = crop_from_image(square, len(values))[:2].copy()
    # Of the part that begins at x0, y0; OpenCV's pixel centres lie on whole numbers.
    matrix[:, 2] += matrix[:, :2] @ (x0 + 0.5, y0 + 0.5) - 0.5
    whole[y0:y1, x0:x1] = cv2.warpAffine(
        values.astype(np.float32),
        matrix,
        (int(x1 - x0), int(y1 - y0)),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return whole
