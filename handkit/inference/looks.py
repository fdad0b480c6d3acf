"""What a network is shown of a picture: the square around one hand, as its training data are cut.

Convention: squares are x0, y0, x1, y1 in full-image pixels and may reach outside, where a crop is black.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from handkit.data.crops import JOINT_MARGIN
from handkit.data.resize import resize_planes
from handkit.detect.crop import CROP_SCALE, crop_image, square_box
from handkit.images import RgbImage


@dataclass(frozen=True, eq=False)
class Look:
    """One hand in one frame: the pixels of a square of the image, mirrored where it is a left hand.

    `track` says whose looks follow one another, `time_s` in which order.
    """

    crop: UInt8[np.ndarray, "S S 3"]
    square: Float[np.ndarray, "4"]
    is_right: bool
    track: int | str = 0
    time_s: float = 0.0


def look_at(
    image: RgbImage,
    square: Float[np.ndarray, "4"],
    size: int,
    *,
    is_right: bool,
    track: int | str = 0,
    time_s: float = 0.0,
) -> Look:
    """A square of the image at `size` x `size` pixels."""
    square = np.asarray(square, np.float64)
    height, width = image.shape[:2]
    if np.array_equal(square, (0, 0, width, height)):
        crop = np.moveaxis(resize_planes(np.ascontiguousarray(np.moveaxis(image, -1, 0)), size), 0, -1)
    else:
        crop = crop_image(image, square, size)
    return Look(np.ascontiguousarray(crop if is_right else crop[:, ::-1]), square, is_right, track, time_s)


def square_around_joints(bbox: Float[np.ndarray, "4"], scale: float = CROP_SCALE) -> Float[np.ndarray, "4"]:
    """The square of `scale` times the hand's longer side, from the box of its joints: the outline lies further out.

    Raises HandkitError for an empty box.
    """
    margin = JOINT_MARGIN * float(max(bbox[2] - bbox[0], bbox[3] - bbox[1]))
    return square_box(np.asarray(bbox, np.float64) + margin * np.array([-1, -1, 1, 1]), scale)


def square_about_point(
    point: Float[np.ndarray, "2"], bbox: Float[np.ndarray, "4"], scale: float = CROP_SCALE
) -> Float[np.ndarray, "4"]:
    """The square about a point that just holds a hand, of whose joints `bbox` is the box, made `scale` times larger.

    Raises HandkitError for an empty box.
    """
    margin = JOINT_MARGIN * float(max(bbox[2] - bbox[0], bbox[3] - bbox[1]))
    outline = np.asarray(bbox, np.float64) + margin * np.array([-1, -1, 1, 1])
    square_box(outline)  # for its error
    reach = np.abs(outline.reshape(2, 2) - point).max()
    return square_box(np.concatenate([point - reach, point + reach]), scale)


def square_of_picture(image: RgbImage) -> Float[np.ndarray, "4"]:
    """The smallest square about the whole picture."""
    height, width = image.shape[:2]
    return square_box(np.array([0.0, 0.0, width, height]), scale=1.0)
