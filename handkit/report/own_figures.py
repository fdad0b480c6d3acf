"""S2HAND(V)'s Fig. 7, 10 and 12 for a paper, of what a method's own files hold."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PolyCollection
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure

from handkit.evaluate.scores import Scores
from handkit.report.figures import COLORS, COLUMN_IN, LINE_STYLES, PAGE_IN, PANEL_HEIGHT_IN, canvas, plain, saved
from handkit.report.hand_figure import color_of, scale_colors, zero_range
from handkit.report.hand_views import HandView, hand_views
from handkit.report.looks import ShownShapes, ShownTexture, frame_labels, shown_shapes, shown_textures
from handkit.report.names import unique

# Of the texture figure: the most that a row is high, and what its hands share of the page's width.
_ROW_IN, _HANDS_IN = 1.6, 5.3


def own_figures(scores: Sequence[Scores]) -> dict[str, bytes]:
    """By file name, keypoints, shape and texture_sd as .png and .pdf; only those for which there is something."""
    found: dict[str, bytes] = {}
    if frame_labels(scores):
        found |= saved("keypoints", lambda: _frames(scores))
    shapes, _ = shown_shapes(scores)
    if shapes:
        found |= saved("shape", lambda: _shapes(shapes, [score.method for score in scores]))
    textures = shown_textures(scores)
    if textures:
        found |= saved("texture_sd", lambda: _textures(textures))
    return found


def _frames(scores: Sequence[Scores]) -> Figure:
    figure = canvas(COLUMN_IN, PANEL_HEIGHT_IN)
    axes = figure.add_subplot()
    curves = frame_labels(scores)
    lines, labels = [], []
    for i, (label, curve) in enumerate(curves):
        style: Any = LINE_STYLES[i % len(LINE_STYLES)]
        lines += axes.plot(curve.thresholds, curve.share, color=COLORS[i % len(COLORS)], linestyle=style)
        labels.append(plain(f"{label}  {curve.mean_px:.1f} px"))
    axes.set_xlim(0, float(curves[0][1].thresholds[-1]))
    axes.set_ylim(0, 1.005)
    axes.set_xlabel("largest joint distance [px of a 224 crop]")
    axes.set_ylabel("share of frames")
    axes.legend(lines, labels, title="mean 2D error", loc="lower right", alignment="left", edgecolor="none")
    return figure


def _shapes(shown: Sequence[ShownShapes], methods: Sequence[str]) -> Figure:
    figure = canvas(PAGE_IN, 1.9 * len(shown))
    for row, sequence in enumerate(shown):
        axes = figure.add_subplot(len(shown), 1, row + 1)
        _draw_boxes(axes, sequence, methods, with_legend=row == 0 and len(methods) > 1)
        axes.set_ylabel("value")
        if len(shown) > 1:
            axes.set_title(plain(sequence.name), loc="left", pad=4 + 9 * len(sequence.boxes))
    axes.set_xlabel("shape parameter; above it the S.D. over the sequence's frames")
    return figure


def _draw_boxes(axes: Axes, sequence: ShownShapes, methods: Sequence[str], *, with_legend: bool) -> None:
    """Boxes of the methods side by side, and their S.D. above the axes in their colours."""
    width = 0.7 / len(sequence.boxes)
    for place, (method, boxes) in enumerate(sequence.boxes.items()):
        color = COLORS[methods.index(method) % len(COLORS)]
        at = np.arange(len(boxes)) + (place - (len(sequence.boxes) - 1) / 2) * width
        drawn = [
            {"med": b.middle, "q1": b.low, "q3": b.high, "whislo": b.least, "whishi": b.most, "label": f"{i + 1}"}
            for i, b in enumerate(boxes)
        ]
        line = {"color": color, "linewidth": 0.9}
        axes.bxp(
            drawn,
            positions=at,
            widths=0.8 * width,
            showfliers=False,
            patch_artist=True,
            manage_ticks=False,
            boxprops={"facecolor": f"{color}40", "edgecolor": color, "linewidth": 0.9},
            medianprops=line,
            whiskerprops=line,
            capprops=line,
        )
        for i, box in enumerate(boxes):
            height = 1.02 + 0.09 * (len(sequence.boxes) - 1 - place)
            axes.text(
                i, height, f"{box.sd:.3f}", color=color, size=6, ha="center", transform=axes.get_xaxis_transform()
            )
        axes.plot([], [], color=color, label=plain(method))
    axes.set_xticks(range(len(boxes)), [f"β{i + 1}" for i in range(len(boxes))])
    axes.set_xlim(-0.5, len(boxes) - 0.5)
    if with_legend:
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), edgecolor="none")


def _textures(shown: Sequence[ShownTexture]) -> Figure:
    """A row for each sequence, the methods beside one another with four views each, one colour scale."""
    bounds, views = zero_range([texture.face_sd for texture in shown]), hand_views()
    methods, names = (unique(getattr(texture, part) for texture in shown) for part in ("method", "name"))
    widths = [view.box[2] for view in views] * len(methods)
    row_in = min(_ROW_IN, _HANDS_IN * max(view.box[3] for view in views) / sum(widths))
    figure = canvas(PAGE_IN, row_in * len(names) + 0.4)
    grid = figure.subplots(len(names), len(widths), squeeze=False, gridspec_kw={"width_ratios": widths})
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    for texture in shown:
        row, first = names.index(texture.name), len(views) * methods.index(texture.method)
        for axes, view in zip(grid[row][first:], views, strict=False):
            _draw_hand(axes, view, texture.face_sd, bounds)
    for column, axes in enumerate(grid[0]):
        method, view = methods[column // len(views)], views[column % len(views)]
        above = f"{method}\n" if len(methods) > 1 and column % len(views) == 0 else ""
        axes.set_title(plain(f"{above}{view.name.split()[0]}"), size=6, loc="left" if above else "center")
    for row, name in enumerate(names):
        grid[row][0].set_ylabel(plain(name.replace(" over", "\nover")), rotation=0, ha="right", va="center")
    scale = ScalarMappable(Normalize(*bounds), ListedColormap(scale_colors()))
    figure.colorbar(scale, ax=grid, aspect=25, label="S.D. over frames [RGB 0-255]")
    return figure


def _draw_hand(axes: Axes, view: HandView, values: Float[np.ndarray, " 1538"], bounds: tuple[float, float]) -> None:
    colors = [color_of(float(value), bounds) for value in values[view.faces]]
    axes.add_collection(PolyCollection(list(view.corners), facecolors=colors, edgecolors=colors, linewidths=0.2))
    x, y, width, height = view.box
    axes.set(xlim=(x, x + width), ylim=(y + height, y), aspect="equal")
