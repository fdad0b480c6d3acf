"""Skin colours of our own making: fifty templates per vertex, five for each tone of the Monk Skin Tone scale.

Base tones are the scale's ten published colours (Ellis Monk, skintone.google, 2022; hex values as on its Wikipedia
page). Each template varies the undertone, the palm, nails, creases, redness, veins and mottling, from a fixed seed.
`python -m handkit.synth.skin FILE` writes them as an npz.
"""

import argparse
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from handkit.files import atomic_path
from handkit.hand.model import HandModel, load_hand
from handkit.synth.skin_surface import SkinMarks, Surface, rest_surface, skin_marks

MONK_HEX: Final = (
    "f6ede4",
    "f3e7db",
    "f7ead0",
    "eadaba",
    "d7bd96",
    "a07e56",
    "825c43",
    "604134",
    "3a312a",
    "292420",
)
VARIANTS: Final = 5
_SEED: Final = 20220511
# What blood and the palm's thinner pigment move a colour towards.
_BLOOD: Final = np.array([0.78, 0.40, 0.35])
_PALE_PALM: Final = np.array([0.97, 0.76, 0.70])
_DARK_PALM: Final = np.array([0.62, 0.42, 0.34])
_NAIL: Final = np.array([0.93, 0.75, 0.70])
_DARK_NAIL: Final = np.array([0.67, 0.48, 0.42])
_VEIN: Final = np.array([0.42, 0.50, 0.52])


@dataclass(frozen=True, eq=False)
class SkinTemplates:
    """K colourings of one mesh: display sRGB in [0, 1], each one's tone on the Monk scale (1 to 10), and its name."""

    colors: Float[np.ndarray, "K N 3"]
    monk: Int[np.ndarray, " K"]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)


class _Character(NamedTuple):
    """What is one template's own."""

    base: np.ndarray  # [3]
    darkness: float  # 0 for the palest tone, 1 for the darkest
    palm: float
    redness: float
    crease: float
    vein: float
    mottle: float
    nail: float
    waves: np.ndarray  # [24, 5] wave vectors (per metre), phase, weight


def monk_tones() -> Float[np.ndarray, "10 3"]:
    """The scale's ten colours, sRGB in [0, 1], palest first."""
    return np.array([[int(code[k : k + 2], 16) for k in (0, 2, 4)] for code in MONK_HEX]) / 255.0


def templates(hand: HandModel | None = None) -> SkinTemplates:
    """The fifty templates on the 778 vertices of a hand (default: the open hand), computed once and kept."""
    return _templates(hand or load_hand("open"))


@lru_cache(maxsize=4)
def _templates(hand: HandModel) -> SkinTemplates:
    return paint_templates(hand, rest_surface(hand))


def paint_templates(hand: HandModel, surface: Surface) -> SkinTemplates:
    """The same templates at any points of the hand's rest surface."""
    marks = skin_marks(hand, surface)
    colors, monk, names = [], [], []
    for tone in range(len(MONK_HEX)):
        for variant in range(VARIANTS):
            character = _character(tone, variant)
            colors.append(_paint(character, marks, surface.points))
            monk.append(tone + 1)
            names.append(f"monk{tone + 1:02d}-{'abcde'[variant]}")
    painted = np.stack(colors).astype(np.float32)
    painted.setflags(write=False)
    return SkinTemplates(painted, np.array(monk), tuple(names))


def _character(tone: int, variant: int) -> _Character:
    rng = np.random.default_rng((_SEED, tone, variant))
    tones = monk_tones()
    # between a tone and its neighbours, never half way to the next
    neighbour = tones[int(np.clip(tone + rng.choice([-1, 1]), 0, 9))]
    base = tones[tone] + rng.uniform(0, 0.35) * (neighbour - tones[tone])
    darkness = tone / 9
    # the scale's swatches are paler and greyer than hands in photographs: some warmth and blood
    base = 0.96 * base + 0.25 * (1 - darkness**2) * (_BLOOD - base)
    base = np.clip(base + 0.07 * darkness**2 * np.array([1.2, 0.85, 0.6]), 0, 1)
    warm, rosy = rng.uniform(-0.02, 0.03), rng.uniform(-0.015, 0.03)
    base = base * (1 + np.array([0.5 * warm + rosy, -0.5 * rosy, -1.6 * warm - 0.3 * rosy]))
    # living skin is never grey: red leads blue by a share of its brightness
    base[2] = min(base[2], base[0] * (0.75 - 0.15 * darkness))
    base[1] = min(base[1], base[0] - 0.56 * (base[0] - base[2]))
    waves = np.concatenate(
        [rng.normal(0, 1, (24, 3)) * rng.uniform(40, 260, (24, 1)), rng.uniform(0, 2 * np.pi, (24, 2))], axis=1
    )
    return _Character(
        base=base,
        darkness=darkness,
        palm=rng.uniform(0.6, 0.95),
        redness=rng.uniform(0.10, 0.32),
        crease=rng.uniform(0.6, 1.15),
        vein=rng.uniform(0.0, 0.12) * (1 - 0.6 * darkness),
        mottle=rng.uniform(0.015, 0.045),
        nail=rng.uniform(0.55, 0.9),
        waves=waves,
    )


def _paint(own: _Character, marks: SkinMarks, points: np.ndarray) -> np.ndarray:
    """Colours [N, 3] of one template."""
    dark = own.darkness
    color = np.tile(own.base, (len(points), 1))
    palm = own.base + (0.3 + 0.35 * dark) * (_PALE_PALM + dark * (_DARK_PALM - _PALE_PALM) - own.base)
    color = _mix(color, palm, own.palm * marks.palmar)
    wave = _waves(own.waves, points)
    color = _mix(color, color * _VEIN / _VEIN.max(), own.vein * np.exp(-((wave[0] / 0.18) ** 2)) * (1 - marks.palmar))
    blood = _BLOOD * (0.55 + 0.45 * color.mean(1, keepdims=True)) if dark > 0.5 else _BLOOD
    color = _mix(color, blood, own.redness * np.clip(marks.tip + 0.5 * marks.knuckle, 0, 1))
    color = color * (1 + own.mottle * wave[1][:, None] * np.array([0.6, 1.0, 1.0]))
    knuckles = (0.15 + 0.18 * dark) * own.crease * marks.knuckle
    color = color * (1 - knuckles[:, None] * np.array([0.8, 1.0, 1.0]))
    creases = (0.30 + 0.12 * dark) * own.crease * marks.crease
    color = color * (1 - creases[:, None] * np.array([0.75, 1.0, 1.05]))
    color = color * (1 - 0.07 * marks.side[:, None])
    color = color * (1 - 0.16 * marks.nail_fold[:, None] * np.array([0.7, 1.0, 1.0]))
    nail = own.base + own.nail * (_NAIL + dark * (_DARK_NAIL - _NAIL) - own.base)
    color = _mix(color, nail, marks.nail)
    color = _mix(color, np.clip(nail * 1.1 + 0.03, 0, 1), 0.7 * marks.nail_edge)
    return np.clip(color, 0.02, 0.98)


def _mix(color: np.ndarray, target: np.ndarray, share: np.ndarray) -> np.ndarray:
    return color + share[:, None] * (target - color)


def _waves(waves: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Two smooth random fields [2, N] of about unit spread: twelve plane waves each."""
    phase = points @ waves[:, :3].T + waves[:, 3]
    return np.cos(phase).reshape(len(points), 2, 12).sum(-1).T / np.sqrt(6.0)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m handkit.synth.skin", description="Writes the skin templates.")
    parser.add_argument("out", type=Path, help="the npz to write")
    found = templates()
    with atomic_path(parser.parse_args().out) as partial:
        np.savez_compressed(partial, colors=found.colors, monk=found.monk, names=np.array(found.names))


if __name__ == "__main__":
    main()
