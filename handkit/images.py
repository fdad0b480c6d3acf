"""Still images in and out.

Convention: images are RGB uint8 [H, W, 3], upright (EXIF orientation applied).
"""

import math
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Real
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from handkit.errors import HandkitError
from handkit.files import atomic_path

RgbImage = NDArray[np.uint8]

MAX_MEGAPIXELS = 100.0
_CONVERT = "convert it to JPEG or PNG, or leave it out"
_DIAGONAL_35MM = math.hypot(36.0, 24.0)
_MM_PER_RESOLUTION_UNIT = {2: 25.4, 3: 10.0, 4: 1.0, 5: 1e-3}


def read_image(path: str | os.PathLike[str], *, max_megapixels: float = MAX_MEGAPIXELS) -> RgbImage:
    """Any common still image as upright RGB uint8 [H, W, 3]; of an animation the first frame.

    Grey, palette, CMYK, 16-bit and float images are converted; transparency is laid over white. The size is checked
    in the header, before anything is decoded. Raises HandkitError for a file that is missing, empty, not an image,
    damaged or too large.
    """
    with _opened(path) as image:
        width, height = image.size
        if width * height > max_megapixels * 1e6:
            raise HandkitError(
                f"{path} has {width} x {height} pixels, over the limit of {max_megapixels:g} megapixels",
                "scale it down",
            )
        image.load()
        return np.array(_to_rgb(_upright(image)))


def image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """(width, height) of the upright image, from the header alone."""
    with _opened(path) as image:
        width, height = image.size
        turned = image.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
        return (height, width) if turned else (width, height)


def image_focal_px(path: str | os.PathLike[str]) -> float | None:
    """The focal length in pixels of the image as stored, from its EXIF block; None where that says nothing usable.

    Source: the 35 mm equivalent, which by CIPA DC-008 compares diagonals, else the focal length with the sensor's
    pixel density, rescaled if the image was resized since.
    """
    with _opened(path) as image:
        width, height = image.size
        try:
            exif = image.getexif().get_ifd(ExifTags.IFD.Exif)
            focal_px = _focal_from_35mm(exif, width, height) or _focal_from_density(exif, width, height)
        except (ValueError, TypeError, ZeroDivisionError, SyntaxError, OSError):
            return None
    side = max(width, height)
    return focal_px if focal_px is not None and 0.1 * side < focal_px < 100 * side else None


def write_image(path: str | os.PathLike[str], image: RgbImage, *, quality: int = 92) -> None:
    """Write RGB uint8 [H, W, 3] under the format its name ends in, atomically; `quality` is for JPEG and WebP."""
    with atomic_path(path) as partial:
        try:
            Image.fromarray(np.ascontiguousarray(image)).save(partial, quality=quality, compress_level=3)
        except (ValueError, KeyError) as error:
            raise HandkitError(f"cannot write {path}: {error}", "use a name ending in .jpg or .png") from error


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[Image.Image]:
    """The image with only its header read; whatever goes wrong inside the block names the file."""
    path = Path(path)
    if not path.exists():
        raise HandkitError(f"{path} does not exist", "check the path")
    if path.is_dir():
        raise HandkitError(f"{path} is a folder, not an image", "give the image's file name")
    try:
        if path.stat().st_size == 0:
            raise HandkitError(f"{path} is empty (0 bytes)", "copy it again, or leave it out")
        with _quiet_pillow(), Image.open(path) as image:
            yield image
    except PermissionError as error:
        raise HandkitError(f"cannot read {path}: permission denied", "check who may read it") from error
    except Image.UnidentifiedImageError as error:
        raise HandkitError(f"{path} is not an image that can be read", _CONVERT) from error
    except HandkitError:
        raise
    except Exception as error:
        # Pillow's decoders raise nearly every kind of exception on damaged files.
        raise HandkitError(f"{path} is damaged: {error}", "copy it again, or leave it out") from error


@contextmanager
def _quiet_pillow() -> Iterator[None]:
    """Pillow's own pixel limit off, which would refuse before the size can be reported, and its warnings on EXIF."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except (ValueError, TypeError, SyntaxError, OSError, KeyError):
        return image  # a broken EXIF block does not spoil the pixels


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(_to_8_bit(np.asarray(image))).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")


def _to_8_bit(grey: np.ndarray) -> RgbImage:
    """16-bit by its high byte; wider integers and floats by their own range when they leave 0..65535 or 0..1."""
    values = np.nan_to_num(grey.astype(np.float64), posinf=0.0, neginf=0.0)
    top = 1.0 if grey.dtype.kind == "f" else 65535.0
    scale = 255.0 / max(top, float(values.max()))
    return np.floor(np.clip(values * scale, 0, 255) + (0.5 if grey.dtype.kind == "f" else 0.0)).astype(np.uint8)


def _focal_from_35mm(exif: dict[int, object], width: int, height: int) -> float | None:
    equivalent_mm = _number(exif.get(ExifTags.Base.FocalLengthIn35mmFilm))
    return equivalent_mm / _DIAGONAL_35MM * math.hypot(width, height) if equivalent_mm else None


def _focal_from_density(exif: dict[int, object], width: int, height: int) -> float | None:
    focal_mm = _number(exif.get(ExifTags.Base.FocalLength))
    density = _number(exif.get(ExifTags.Base.FocalPlaneXResolution))
    unit = _number(exif.get(ExifTags.Base.FocalPlaneResolutionUnit)) or 2
    mm_per_unit = _MM_PER_RESOLUTION_UNIT.get(int(unit))
    if not focal_mm or not density or not mm_per_unit:
        return None
    taken_width = _number(exif.get(ExifTags.Base.ExifImageWidth))
    taken_height = _number(exif.get(ExifTags.Base.ExifImageHeight))
    if taken_width and taken_height:
        # The longer sides are compared: some programs turn the pixels and leave these two as they were.
        density *= max(width, height) / max(taken_width, taken_height)
    return focal_mm * density / mm_per_unit


def _number(value: object) -> float | None:
    """A positive finite number, or None."""
    number = float(value) if isinstance(value, Real) else 0.0
    return number if math.isfinite(number) and number > 0 else None
