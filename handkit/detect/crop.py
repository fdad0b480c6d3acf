"""Square crops around hands.

Convention: a box is (x0, y0, x1, y1) in pixels with pixel centres at +0.5, so that pixel column c covers [c, c + 1].
What a crop does to points and to K: `handkit.geometry.images`.
"""

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8

from handkit.errors import HandkitError
from handkit.geometry.images import crop_transform

# SeqHAND (ECCV 2020), section 5: the crop's side over the longer side of the hand's box.
CROP_SCALE = 2.2

# OpenCV puts pixel centres at whole numbers.
_OURS_FROM_OPENCV = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])


def square_box(bbox: Float[np.ndarray, "4"], scale: float = CROP_SCALE) -> Float[np.ndarray, "4"]:
    """The square of `scale` times the longer side around a box's centre; it may reach outside the image.

    Raises HandkitError for an empty box.
    """
    side = scale * float(max(bbox[2] - bbox[0], bbox[3] - bbox[1]))
    if not np.isfinite(bbox).all() or side <= 0:
        raise HandkitError(f"the box {np.asarray(bbox).tolist()} is empty", "give x0, y0, x1, y1 with x0 < x1, y0 < y1")
    centre = np.array([bbox[0] + bbox[2], bbox[1] + bbox[3]]) / 2
    return np.concatenate([centre - side / 2, centre + side / 2])


def crop_from_image(box: Float[np.ndarray, "4"], size: int) -> Float[np.ndarray, "3 3"]:
    """The map of full-image pixels to pixels of the `size` x `size` crop of a square box: `crop = M @ (x, y, 1)`."""
    centre = torch.from_numpy(np.asarray(box[:2] + box[2:], float) / 2)
    side = torch.tensor(float(box[2] - box[0]), dtype=torch.float64)
    return crop_transform(centre, side, size).numpy()


def crop_image(image: UInt8[np.ndarray, "H W 3"], box: Float[np.ndarray, "4"], size: int) -> UInt8[np.ndarray, "S S 3"]:
    """The pixels of a square box resampled to `size` x `size`, black where the box leaves the image."""
    matrix = crop_from_image(box, size)
    shrink = 1 / matrix[0, 0]
    if shrink > 1:
        # Linear reads further apart than a pixel would skip pixels.
        image = cv2.GaussianBlur(image, (0, 0), max(0.5 * np.sqrt(shrink**2 - 1), 1e-3))
    matrix = np.linalg.inv(_OURS_FROM_OPENCV) @ matrix @ _OURS_FROM_OPENCV
    return cv2.warpAffine(image, matrix[:2], (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
