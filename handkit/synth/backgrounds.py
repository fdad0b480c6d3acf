"""What is behind the hands: a patch that moves over a picture of a folder, or over a made-up or bundled picture.

Convention: pictures are RGB uint8 [H, W, 3]. What is drawn depends on the random generator and the folder's files only.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Literal

import cv2
import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray
from PIL import Image

from handkit.errors import HandkitError
from handkit.images import read_image
from handkit.synth import scenes, textures

Picture = NDArray[np.uint8]
Family = Callable[[np.random.Generator, int], NDArray[np.float32]]
BackgroundKind = Literal["all", "photographs", "patterns"]

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
MAX_SIDES = 2.5  # longer pictures are scaled until their shorter side is this many patches
KEPT = 8  # decoded pictures held ready
PHOTO_SHARE: Final[dict[BackgroundKind, float]] = {"all": 0.2, "photographs": 1.0, "patterns": 0.0}
# Of scikit-image's bundled pictures those that show neither people nor drawings nor what a microscope sees.
PHOTOS = ("brick.png", "chelsea.png", "coffee.png", "coins.png", "grass.png", "gravel.png",
          "hubble_deep_field.jpg", "motorcycle_left.png", "rocket.jpg")  # fmt: skip
FAMILIES: dict[str, tuple[float, Family]] = {
    "gradient": (0.12, textures.gradient),
    "clouds": (0.12, textures.clouds),
    "wood": (0.08, textures.wood),
    "fabric": (0.1, textures.fabric),
    "tiles": (0.1, textures.tiles),
    "bokeh": (0.12, scenes.bokeh),
    "foliage": (0.08, scenes.foliage),
    "room": (0.14, scenes.room),
    "clutter": (0.14, scenes.clutter),
}
_SURFACES = ("gradient", "clouds", "wood", "fabric", "tiles")
_OF_SURFACES = sum(FAMILIES[name][0] for name in _SURFACES)
PATTERNS = {name: (FAMILIES[name][0] / _OF_SURFACES, FAMILIES[name][1]) for name in _SURFACES}


class Backgrounds:
    """Pictures at least `size` a side: those below a folder, or by default made-up ones and scikit-image's photographs.

    Without a folder `kind` may choose the photographs alone, or made-up patterns, no scenes. Of a VOC tree the folder
    JPEGImages is used. Sizes are checked at once, in the files' headers; pictures that are too small or broken are left
    out and listed in `skipped` with the reason, as are those found damaged when decoded (the next in the list takes
    their place). Raises HandkitError where nothing is left.
    """

    def __init__(self, folder: Path | None, size: int, kind: BackgroundKind = "all") -> None:
        if folder is not None and kind != "all":
            what = f"backgrounds are to be {kind}, and the pictures of {folder}"
            raise HandkitError(what, "leave --backgrounds out, or set background=all")
        self.size, self.kind = size, kind
        self.skipped: list[tuple[Path, str]] = []
        self._decoded: OrderedDict[Path, Picture] = OrderedDict()
        self._procedural = folder is None
        found = iter(bundled_photos()) if folder is None else _pictures_below(folder)
        self._paths = [] if kind == "patterns" else [path for path in found if self._is_large(path)]
        if kind == "photographs" and not self._paths:
            what = f"none of scikit-image's photographs has {size} x {size} pixels"
            raise HandkitError(what, "make smaller pictures, set background=all, or give --backgrounds DIR")
        if folder is not None and not self._paths:
            reasons = f"; {len(self.skipped)} left out, first {self.skipped[0]}" if self.skipped else ""
            raise HandkitError(
                f"{folder} holds no picture of at least {size} x {size} pixels{reasons}",
                f"name a folder with {', '.join(SUFFIXES)} files, or leave --backgrounds out",
            )

    def __len__(self) -> int:
        """How many picture files there are to choose from."""
        return len(self._paths)

    def track(self, rng: np.random.Generator, frames: int, size: int) -> UInt8[np.ndarray, "T size size 3"]:
        """A patch for each frame, which goes 1 / frames of what is left of its way from a random start to a random end.

        Source: the released SeqHAND generator.
        """
        if size > self.size:
            raise ValueError(f"patches of {size} px from pictures checked for {self.size} px")
        picture = self._picture(rng, size)
        reach = np.array([picture.shape[1] - size, picture.shape[0] - size])
        start, end = rng.random((2, 2)) * reach
        left = (1 - 1 / frames) ** np.arange(frames)[:, None]
        corners = np.rint(end + left * (start - end)).astype(int)
        return np.stack([picture[y : y + size, x : x + size] for x, y in corners])

    def _picture(self, rng: np.random.Generator, size: int) -> Picture:
        if not self._procedural:
            return self._decode(int(rng.integers(len(self._paths))), size)
        if self._paths and rng.random() < PHOTO_SHARE[self.kind]:
            return vary(rng, self._decode(int(rng.integers(len(self._paths))), size), size)
        families = PATTERNS if self.kind == "patterns" else FAMILIES
        return procedural(rng, round(size * rng.uniform(1.2, 1.7)), families)

    def _is_large(self, path: Path) -> bool:
        try:
            with Image.open(path) as image:
                width, height = image.size
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            self.skipped.append((path, f"unreadable: {error}"))
            return False
        if min(width, height) < self.size:
            self.skipped.append((path, f"{width} x {height} pixels"))
            return False
        return True

    def _decode(self, index: int, size: int) -> Picture:
        """The picture at an index, or where it is damaged the first good one after it."""
        for step in range(len(self._paths)):
            path = self._paths[(index + step) % len(self._paths)]
            if path in self._decoded:
                self._decoded.move_to_end(path)
                return self._decoded[path]
            try:
                picture = _shrunk(read_image(path), size)
            except HandkitError as error:
                if all(path != known for known, _ in self.skipped):
                    self.skipped.append((path, f"damaged: {error.what}"))
                continue
            self._decoded[path] = picture
            if len(self._decoded) > KEPT:
                self._decoded.popitem(last=False)
            return picture
        raise HandkitError("every picture of the backgrounds is damaged", "name another folder")


def procedural(
    rng: np.random.Generator, side: int, families: dict[str, tuple[float, Family]] = FAMILIES
) -> UInt8[np.ndarray, "side side 3"]:
    """A square picture of a random family, with a random exposure, colour cast, vignette, blur and grain."""
    chances, makers = zip(*families.values(), strict=True)
    picture = makers[rng.choice(len(makers), p=chances)](rng, side)
    if rng.random() < 0.3:
        picture = cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(0.6, 3.0)) * side / 336)
    cast = rng.uniform(0.92, 1.08, 3) * rng.uniform(0.7, 1.15)
    far = textures.noise(rng, side, 2, 1) * float(rng.uniform(0, 0.35))
    picture = picture * cast.astype(np.float32) * (1 - far)[..., None]
    grain = np.float32(rng.uniform(0, 0.025))
    speckle = rng.standard_normal((side, side), np.float32)
    picture += grain * speckle[..., None]
    return (255 * np.clip(picture, 0, 1) + 0.5).astype(np.uint8)


def vary(rng: np.random.Generator, picture: Picture, size: int) -> Picture:
    """A picture mirrored, scaled and tinted at random, its shorter side still at least `size`."""
    if rng.random() < 0.5:
        picture = picture[:, ::-1]
    least = size / min(picture.shape[:2])
    scale = max(least, math.exp(rng.uniform(math.log(max(least, 0.5)), math.log(1.5))))
    width, height = (max(size, round(side * scale)) for side in picture.shape[1::-1])
    scaled = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    gains = rng.uniform(0.88, 1.12, 3) * rng.uniform(0.7, 1.1)
    table = np.clip(np.arange(256)[:, None] * gains, 0, 255).round().astype(np.uint8)
    return cv2.LUT(scaled, table[None]).astype(np.uint8, copy=False)


def bundled_photos() -> list[Path]:
    """scikit-image's own photographs, those that its installation holds; none is downloaded."""
    import skimage

    folder = Path(skimage.__file__).parent / "data"
    return [folder / name for name in PHOTOS if (folder / name).is_file()]


def _pictures_below(folder: Path) -> Iterator[Path]:
    """Picture files below a folder, in the order of their names."""
    if not folder.is_dir():
        raise HandkitError(f"{folder} is not a folder", "name a folder with pictures")
    voc = [path for path in sorted(folder.rglob("JPEGImages")) if path.is_dir()]
    found = [path for root in voc or [folder] for path in root.rglob("*") if path.suffix.lower() in SUFFIXES]
    return iter(sorted(path for path in found if path.is_file()))


def _shrunk(picture: Picture, size: int) -> Picture:
    scale = MAX_SIDES * size / min(picture.shape[:2])
    if scale >= 1:
        return picture
    width, height = (max(size, round(side * scale)) for side in picture.shape[1::-1])
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
