"""The worst samples as HTML cards: picture, overlay, and both hands in 3D as small drawings."""

from collections.abc import Sequence
from html import escape
from typing import Final

import numpy as np

from handkit.conventions import BONES, NUM_JOINTS
from handkit.evaluate.scores import Scores
from handkit.report.names import metric, number
from handkit.report.worst import WorstSample

# The methods' colours on dark pictures, in the order of the page's palette.
PICTURE_COLORS: Final = ("#4db2f0", "#ff8a3d", "#2fc79a", "#e79cc9", "#f2b84b", "#9ad4f7", "#e8e8e8")


def rgb(color: str) -> tuple[int, int, int]:
    """The channels, 0..255, of "#rrggbb"."""
    r, g, b = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return r, g, b


def worst_cards(scores: Sequence[Scores], samples: Sequence[WorstSample], key: str) -> str:
    shown = metric(key)
    rows = [{name: i for i, name in enumerate(score.ids)} for score in scores]
    cards = []
    for place, sample in enumerate(samples, 1):
        values = []
        for score, row in zip(scores, rows, strict=True):
            error = score.per_sample[key][row[sample.id]] if sample.id in row else float("nan")
            name = f"{score.method} " if len(scores) > 1 else ""
            value = f"{name}{number(float(error), shown.decimals)} {shown.unit}".strip()
            values.append(f"<span>{escape(value)}</span>")
        sequence = scores[0].sequences[sample.row] if scores[0].sequences else ""
        where = f"{escape(sequence)} · " if sequence and sequence not in sample.id else ""
        note = f"<p class=note>{escape(sample.note)}</p>" if sample.note else ""
        views = _views(sample)
        cards.append(
            f'<article class="card"><h3>{place}. {where}{escape(sample.id)}</h3><p>{escape(shown.label)}: '
            f"{' · '.join(values)}</p>{note}{f'<div class=views>{views}</div>' if views else ''}</article>"
        )
    return f'<div class="cards">{"".join(cards)}</div>'


def worst_key(scores: Sequence[Scores]) -> str:
    """Which colour is whose."""
    named = [("truth", "#ffffff"), *((s.method, PICTURE_COLORS[i % 7]) for i, s in enumerate(scores))]
    items = "".join(f'<span><i style="background:{color}"></i>{escape(name)}</span>' for name, color in named)
    return f'<div class="key">{items}</div>'


def _views(sample: WorstSample) -> str:
    figures = []
    for uri, caption in ((sample.picture, "image"), (sample.overlay, "overlay")):
        if uri:
            picture = f'<img src="{uri}" alt="{caption} of {escape(sample.id)}">'
            figures.append(f"<figure>{picture}<figcaption>{caption}</figcaption></figure>")
    if sample.truth_3d is not None:
        for axes, caption in (((0, 1), "3D, front"), ((2, 1), "3D, side")):
            figures.append(f"<figure>{_sketch(sample, axes)}<figcaption>{caption}</figcaption></figure>")
    return "".join(figures)


def _sketch(sample: WorstSample, axes: tuple[int, int]) -> str:
    """Both hands seen along one axis of the camera, in millimetres about the true hand's centre."""
    truth = sample.truth_3d if sample.truth_3d is not None else np.empty((0, 3))
    half = 1.15e3 * float(np.nanmax(np.abs(truth)))
    parts = []
    for i, joints in enumerate((truth, *sample.predictions_3d)):
        if joints is not None:
            color = "#ffffff" if i == 0 else PICTURE_COLORS[(i - 1) % 7]
            parts.append(_skeleton(1e3 * joints[:, axes], color, width=half / 55))
    return f'<svg viewBox="{-half:.0f} {-half:.0f} {2 * half:.0f} {2 * half:.0f}">{"".join(parts)}</svg>'


def _skeleton(points: np.ndarray, color: str, *, width: float) -> str:
    known = np.isfinite(points).all(1)
    bones = [(a, b) for a, b in BONES if known[a] and known[b]] if len(points) == NUM_JOINTS else []
    lines = "".join(f"M{points[a][0]:.0f} {points[a][1]:.0f}L{points[b][0]:.0f} {points[b][1]:.0f}" for a, b in bones)
    # A line of no length is a dot, its caps being round.
    dots = "".join(f"M{x:.0f} {y:.0f}h0" for x, y in points[known])
    return (
        f'<g fill="none" stroke="{color}" stroke-linecap="round"><path d="{lines}" stroke-width="{width:.1f}"/>'
        f'<path d="{dots}" stroke-width="{2.4 * width:.1f}"/></g>'
    )
