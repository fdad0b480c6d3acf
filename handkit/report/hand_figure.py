"""Errors drawn on the open hand, seen from the palm: inline SVG, coloured by error.

Convention: the right hand with its fingers up; a left hand's errors are drawn on it too. SVG units are 0.5 mm.
"""

from collections.abc import Sequence
from functools import lru_cache
from html import escape
from typing import Final

import numpy as np
from jaxtyping import Float

from handkit.conventions import BONES, FINGERTIPS, JOINT_NAMES, NUM_JOINTS, NUM_VERTICES
from handkit.report.names import number

_UNITS_PER_M: Final = 2000.0
_MARGIN: Final = 16.0
# Light to dark, falling evenly in lightness, so that the order also shows in grey.
_SCALE: Final = np.array(
    [[255, 247, 188], [254, 196, 79], [247, 130, 35], [217, 72, 1], [166, 30, 20], [103, 0, 31]], np.float64
)
_SCALE_STEPS: Final = 48
_LIGHT: Final = np.array([-0.3, -0.85, 0.4]) / np.linalg.norm([-0.3, -0.85, 0.4])


def drawable(errors: Float[np.ndarray, " J"]) -> bool:
    """Whether there is a place on the hand for each of the errors: 21 joints, 5 fingertips or 778 vertices."""
    return errors.shape in {(NUM_JOINTS,), (len(FINGERTIPS),), (NUM_VERTICES,)}


def error_range(errors: Sequence[Float[np.ndarray, " J"]]) -> tuple[float, float]:
    """Round bounds of the finite errors, for one colour scale over several hands."""
    finite = np.concatenate([values[np.isfinite(values)] for values in errors] or [np.empty(0)])
    if not len(finite):
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    spread = max(high - low, 1e-3 * max(abs(low), abs(high)), 1e-9)
    step = _nice_step(spread)
    low, high = float(np.floor(low / step) * step), float(np.ceil(high / step) * step)
    return low, high if high > low else low + step


def zero_range(values: Sequence[Float[np.ndarray, " N"]]) -> tuple[float, float]:
    """As `error_range`, from zero on."""
    return error_range([np.zeros(1), *values])


def scale_colors() -> list[str]:
    """The colour scale from low to high."""
    return [_color(step / _SCALE_STEPS) for step in range(_SCALE_STEPS + 1)]


def _nice_step(spread: float) -> float:
    """1, 2 or 5 times a power of ten, at most five of which cover the spread."""
    power = 10.0 ** np.floor(np.log10(spread / 5))
    return float(power * next(nice for nice in (1, 2, 5, 10, 20) if spread <= 5.0001 * nice * power))


def hand_svg(errors: Float[np.ndarray, " J"], bounds: tuple[float, float], *, title: str) -> str:
    """The hand with a disc at each joint that holds its error, or with each face in its vertices' colour."""
    x0, y0, width, height = _view_box()
    if errors.shape == (NUM_VERTICES,):
        drawn = _mesh_svg(errors, bounds)
    else:
        drawn = _mesh_svg(None, bounds) + _joints_svg(errors, bounds)
    box = f"{x0:.0f} {y0:.0f} {width:.0f} {height:.0f}"
    return f'<svg class="hand" viewBox="{box}" role="img" aria-label="{escape(title)}">{drawn}</svg>'


def legend_svg(bounds: tuple[float, float], unit: str) -> str:
    """The colour scale with its bounds."""
    low, high = bounds
    stops = "".join(f'<stop offset="{t:.2f}" stop-color="{_color(t)}"/>' for t in np.linspace(0, 1, 11))
    step = _nice_step(high - low)
    ticks = "".join(
        f'<text x="{10 + 240 * (tick - low) / (high - low):.0f}" y="38" text-anchor="middle">{tick:.4g}</text>'
        for tick in np.arange(low, high + step / 2, step)
    )
    return (
        f'<svg class="scale" viewBox="0 0 300 44" role="img" aria-label="{low:g} to {high:g} {escape(unit)}">'
        f'<linearGradient id="error-scale">{stops}</linearGradient>'
        f'<rect x="10" y="6" width="240" height="16" rx="2" fill="url(#error-scale)"/>{ticks}'
        f'<text x="258" y="19">{escape(unit)}</text></svg>'
    )


@lru_cache(maxsize=1)
def _hand() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Vertices [V, 2] and joints [21, 2] in SVG units, the faces that show [F, 3] far to near, their shades."""
    from handkit.conventions import OURS_FROM_MANO_AND_TIPS
    from handkit.hand.model import load_hand

    hand = load_hand("open")
    vertices = hand.v_template
    joints = np.concatenate([hand.J_regressor @ vertices, vertices[list(hand.tip_vertices)]])
    joints = joints[list(OURS_FROM_MANO_AND_TIPS)]
    corners = vertices[hand.faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    shown = np.flatnonzero(normals[:, 1] < 0)
    shown = shown[np.argsort(-corners[shown].mean(1)[:, 1], kind="stable")]
    summed = np.stack([np.bincount(hand.faces.ravel(), np.repeat(n, 3), NUM_VERTICES) for n in normals.T], axis=1)
    smooth = summed / np.maximum(np.linalg.norm(summed, axis=1, keepdims=True), 1e-12)
    shades = np.clip(smooth[hand.faces[shown]].mean(1) @ _LIGHT, 0, 1)
    return _palm_view(vertices), _palm_view(joints), hand.faces[shown], shades


def _palm_view(points: np.ndarray) -> np.ndarray:
    """The palm faces -y and the fingers -x: right is +z, down is +x."""
    return points[:, [2, 0]] * _UNITS_PER_M


def _view_box() -> tuple[float, float, float, float]:
    vertices = _hand()[0]
    low, size = vertices.min(0) - _MARGIN, np.ptp(vertices, axis=0) + 2 * _MARGIN
    return float(low[0]), float(low[1]), float(size[0]), float(size[1])


def _mesh_svg(errors: np.ndarray | None, bounds: tuple[float, float]) -> str:
    """Faces from far to near; runs of one colour share a path."""
    vertices, _, faces, shades = _hand()
    if errors is None:
        levels = np.round(shades * 9) / 9
        colors = [f"hsl(28 14% {58 + 27 * level:.0f}%)" for level in levels]
    else:
        colors = [color_of(value, bounds) for value in errors[faces].mean(1)]
    points = np.round(vertices, 1)
    paths: list[str] = []
    last = None
    for face, color in zip(faces, colors, strict=True):
        (ax, ay), (bx, by), (cx, cy) = points[face]
        outline = f"M{ax:g} {ay:g}L{bx:g} {by:g} {cx:g} {cy:g}z"
        if color != last:
            paths.append(f'"/><path fill="{color}" stroke="{color}" d="')
            last = color
        paths.append(outline)
    return f'<g stroke-width=".8" stroke-linejoin="round">{"".join(paths)[3:]}"/></g>'


def _joints_svg(errors: np.ndarray, bounds: tuple[float, float]) -> str:
    joints = _hand()[1]
    places = range(NUM_JOINTS) if len(errors) == NUM_JOINTS else FINGERTIPS
    bones = "".join(f"M{joints[a][0]:.1f} {joints[a][1]:.1f}L{joints[b][0]:.1f} {joints[b][1]:.1f}" for a, b in BONES)
    parts = [f'<path d="{bones}" stroke="#5b4a3f" stroke-opacity=".55" stroke-width="2.5" fill="none"/>']
    for joint, error in zip(places, errors, strict=True):
        x, y = joints[joint]
        color = color_of(error, bounds)
        ink = "#fff" if _lightness(color) < 0.55 else "#1a1a1a"
        value = number(float(error), 1)
        parts.append(
            f'<g><title>{JOINT_NAMES[joint]}: {value}</title><circle cx="{x:.1f}" cy="{y:.1f}" r="13" fill="{color}" '
            f'stroke="#33291f" stroke-width=".8"/><text x="{x:.1f}" y="{y + 3.6:.1f}" text-anchor="middle" '
            f'font-size="10.5" fill="{ink}">{value}</text></g>'
        )
    return "".join(parts)


def color_of(error: float, bounds: tuple[float, float]) -> str:
    """The colour scale's "#rrggbb" of a value; grey where there is none."""
    if not np.isfinite(error):
        return "#9a9a9a"
    low, high = bounds
    t = float(np.clip((error - low) / (high - low), 0, 1))
    return _color(round(t * _SCALE_STEPS) / _SCALE_STEPS)


def _color(t: float) -> str:
    places = np.linspace(0, 1, len(_SCALE))
    r, g, b = (round(float(np.interp(t, places, _SCALE[:, channel]))) for channel in range(3))
    return f"#{r:02x}{g:02x}{b:02x}"


def _lightness(color: str) -> float:
    r, g, b = (int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return 0.299 * r + 0.587 * g + 0.114 * b
