"""How one sequence looks: skin template, light, exposure and white balance, sensor; the same in all of its frames."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from handkit.errors import HandkitError
from handkit.synth.skin import MONK_HEX, SkinTemplates, templates

__all__ = ["Appearance", "Light", "SkinTemplates", "develop", "sample_appearance", "skin_colors", "templates"]

ALL_SKIN: Final = (1, len(MONK_HEX))  # tones of the Monk scale

# Brightness (mean of the display colour) that an automatic exposure aims at, and how far it goes.
_TARGET = 0.55
_ADAPTATION = 0.5


@dataclass(frozen=True)
class Light:
    """Ambient and one directional light: colour x (ambient + diffuse x facing) + sheen.

    `direction` is the unit vector towards the light in camera axes (x right, y down, z forward), `color` its tint.
    """

    ambient: float
    diffuse: float
    direction: tuple[float, float, float]
    color: tuple[float, float, float]
    sheen: float


@dataclass(frozen=True)
class Appearance:
    """One look: template number, light (None: vertex colours as they are), and what the camera does.

    `gain` multiplies the hand's colours (exposure x white balance); `blur_px` is the standard deviation of the lens,
    `noise` that of the sensor as a share of white.
    """

    template: int
    light: Light | None = None
    gain: tuple[float, float, float] = (1.0, 1.0, 1.0)
    blur_px: float = 0.0
    noise: float = 0.0


def sample_appearance(rng: np.random.Generator, *, shading: bool, skin: tuple[int, int] = ALL_SKIN) -> Appearance:
    """A random look of the lowest to highest tones `skin`; without `shading` only the template is drawn, as published.

    Raises HandkitError where no template is of such a tone.
    """
    found = templates()
    kept = np.flatnonzero((found.monk >= skin[0]) & (found.monk <= skin[1]))
    if not len(kept):
        raise HandkitError(f"no skin template is of a tone from {skin[0]} to {skin[1]}", "the tones are 1 to 10")
    template = int(kept[rng.integers(len(kept))])
    if not shading:
        return Appearance(template)
    brightness = float(found.colors[template].mean())
    exposure = (_TARGET / brightness) ** _ADAPTATION * rng.uniform(0.88, 1.08)
    warm, green = rng.normal(0.01, 0.02), rng.normal(0, 0.006)
    balance = np.array([1 + warm, 1 + green, 1 - warm])
    gain = exposure * balance
    return Appearance(
        template,
        _sample_light(rng),
        (float(gain[0]), float(gain[1]), float(gain[2])),
        blur_px=float(rng.uniform(0.0, 0.5)),
        noise=float(rng.uniform(0.0, 0.012)),
    )


def _sample_light(rng: np.random.Generator) -> Light:
    """A lamp before and mostly above the hand; what faces away still gets the ambient part."""
    direction = np.array([rng.uniform(-1, 1), rng.uniform(-1.2, 0.4), rng.uniform(-1.2, -0.5)])
    direction /= np.linalg.norm(direction)
    ambient = rng.uniform(0.13, 0.34)
    tint = rng.normal(0.01, 0.025)
    return Light(
        ambient=float(ambient),
        diffuse=float(1.12 - ambient),
        direction=(float(direction[0]), float(direction[1]), float(direction[2])),
        color=(float(1 + tint), 1.0, float(1 - tint)),
        sheen=float(rng.uniform(0.01, 0.05)),
    )


def skin_colors(appearance: Appearance, colors: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N 3"]:
    """A template's colours as this camera shows them under an even light, float32 in [0, 1]."""
    return np.clip(colors * np.asarray(appearance.gain, np.float32), 0, 1).astype(np.float32)


def develop(
    image: UInt8[np.ndarray, "H W 3"], appearance: Appearance, rng: np.random.Generator
) -> UInt8[np.ndarray, "H W 3"]:
    """What lens and sensor make of a picture: a symmetric blur, then noise. Nothing moves; masks stay exact."""
    picture = image
    if appearance.blur_px > 0:
        picture = cv2.GaussianBlur(picture, (3, 3), appearance.blur_px)
    if appearance.noise <= 0:
        return picture
    grains = _grains()
    start = int(rng.integers(0, max(len(grains) - picture.size, 1)))
    grain = np.resize(grains[start : start + picture.size], picture.shape) * np.float32(255 * appearance.noise)
    return cv2.add(picture, np.rint(grain).astype(np.int16), dtype=cv2.CV_8U)


@lru_cache(maxsize=1)
def _grains() -> Float[np.ndarray, " N"]:
    """Standard normal numbers, from which each picture takes a run: drawing as many anew takes longer than painting."""
    return np.random.default_rng(0).standard_normal(2**22, dtype=np.float32)
