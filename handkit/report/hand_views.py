"""The open hand from four sides with a value on each face: flat triangles for the page's SVG and for paper.

Convention: the right hand with its fingers up, as in `hand_figure`; units are millimetres, x right, y down.
"""

from functools import lru_cache
from html import escape
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from handkit.report.hand_figure import color_of

# Where the hand is seen from: its name, which axes of the hand go right, and away from the eye; down is +x.
_VIEWS: Final = (
    ("palm", (0, 0, 1), (0, 1, 0)),
    ("thumb", (0, 1, 0), (0, 0, -1)),
    ("back", (0, 0, -1), (0, -1, 0)),
    ("little finger", (0, -1, 0), (0, 0, 1)),
)
_MM_PER_M: Final = 1000.0
_MARGIN_MM: Final = 4.0


class HandView(NamedTuple):
    """The faces that show, far to near: their corners, and which faces they are; `box` is x, y, width, height."""

    name: str
    corners: Float[np.ndarray, "F 3 2"]
    faces: Int[np.ndarray, " F"]
    box: tuple[float, float, float, float]


@lru_cache(maxsize=1)
def hand_views() -> tuple[HandView, ...]:
    """All four, each in a box of its own, of one height."""
    from handkit.hand.model import load_hand

    hand = load_hand("open")
    vertices = _MM_PER_M * hand.v_template
    corners = vertices[hand.faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    views = []
    for name, right, away in _VIEWS:
        flat = np.stack([vertices @ np.array(right, float), vertices[:, 0]], axis=-1)
        shown = np.flatnonzero(normals @ np.array(away, float) < 0)
        depth = corners[shown].mean(1) @ np.array(away, float)
        shown = shown[np.argsort(-depth, kind="stable")]
        low, size = flat.min(0) - _MARGIN_MM, np.ptp(flat, axis=0) + 2 * _MARGIN_MM
        box = (float(low[0]), float(low[1]), float(size[0]), float(size[1]))
        views.append(HandView(name, flat[hand.faces[shown]], shown, box))
    return tuple(views)


def view_svg(view: HandView, values: Float[np.ndarray, " 1538"], bounds: tuple[float, float], *, title: str) -> str:
    """One view, each face in its value's colour; runs of one colour share a path, corners count from the last one."""
    points = np.rint(2 * view.corners).astype(int)
    paths: list[str] = []
    last = None
    for (a, b, c), value in zip(points, values[view.faces], strict=True):
        color = color_of(float(value), bounds)
        if color != last:
            paths.append(f'"/><path fill="{color}" stroke="{color}" d="')
            last = color
        paths.append(f"M{a[0]} {a[1]}l{b[0] - a[0]} {b[1] - a[1]} {c[0] - b[0]} {c[1] - b[1]}z")
    x, y, width, height = (2 * side for side in view.box)
    drawn = "".join(paths)[3:]
    return (
        f'<svg class="hand" viewBox="{x:.0f} {y:.0f} {width:.0f} {height:.0f}" role="img" '
        f'aria-label="{escape(title)}"><g stroke-width=".8" stroke-linejoin="round">{drawn}"/></g></svg>'
    )
