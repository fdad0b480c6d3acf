"""PCK curves for a paper, and the style of all figures: PNG and PDF, byte for byte the same from the same scores."""

import math
import warnings
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from handkit.evaluate.scores import Curve, Scores
from handkit.report.names import auc_range, unique

# Okabe and Ito's colours, told apart by colour-blind readers; line styles tell them apart in grey.
COLORS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINE_STYLES: Final = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)), (0, (7, 2)))
# One column of a two-column paper, and both.
COLUMN_IN, PAGE_IN, PANEL_HEIGHT_IN = 3.3, 6.9, 2.5
_STYLE: Final[Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "legend.fontsize": 7,
    "legend.title_fontsize": 7,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.linewidth": 0.4,
    "grid.color": "#d9d9d9",
    "lines.linewidth": 1.4,
    "lines.solid_capstyle": "round",
    "text.usetex": False,
    "text.parse_math": False,  # a $ in a method's name is a $
    "axes.unicode_minus": False,
    "pdf.fonttype": 42,  # TrueType, as publishers ask for
}


def pck_panels(scores: Sequence[Scores]) -> list[tuple[str, list[tuple[str, Curve]]]]:
    """(title, [(label, curve)]) of each panel: one method's curves together by unit, several methods' by curve."""
    named = [(score.method, curve) for score in scores for curve in score.curves]
    if len(scores) == 1:
        units = unique(curve.unit for _, curve in named)
        return [("", [(curve.name, curve) for _, curve in named if curve.unit == unit]) for unit in units]
    names = unique(curve.name for _, curve in named)
    return [(name, [(method, curve) for method, curve in named if curve.name == name]) for name in names]


def pck_figures(scores: Sequence[Scores]) -> dict[str, bytes]:
    """The figure under the names it is written as: pck.png (300 dpi) and pck.pdf (fonts embedded)."""
    return saved("pck", lambda: _figure(pck_panels(scores)))


def saved(name: str, draw: Callable[[], Figure]) -> dict[str, bytes]:
    """What `draw` makes in the papers' style, as PNG (300 dpi) and as PDF (fonts embedded), by file name."""
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        # A method may be named in a script that the font lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure = draw()
        png, pdf = BytesIO(), BytesIO()
        figure.savefig(png, format="png", dpi=300, metadata={"Software": None})
        figure.savefig(pdf, format="pdf", metadata={"CreationDate": None})
    return {f"{name}.png": png.getvalue(), f"{name}.pdf": pdf.getvalue()}


def canvas(width_in: float, height_in: float) -> Figure:
    """An empty figure whose parts make room for one another."""
    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _figure(panels: Sequence[tuple[str, list[tuple[str, Curve]]]]) -> Figure:
    columns = 1 if len(panels) <= 1 else 2
    rows = max(1, math.ceil(len(panels) / columns))
    width = COLUMN_IN if columns == 1 else PAGE_IN
    figure = canvas(width, PANEL_HEIGHT_IN * rows)
    for place, (title, curves) in enumerate(panels):
        _draw(figure.add_subplot(rows, columns, place + 1), title, curves)
    if not panels:
        figure.text(0.5, 0.5, "no curves in this protocol", ha="center", va="center", color="#555555")
    return figure


def _draw(axes: Axes, title: str, curves: Sequence[tuple[str, Curve]]) -> None:
    lines, labels = [], []
    ranges = unique(_range(curve) for _, curve in curves)
    for i, (name, curve) in enumerate(curves):
        style: Any = LINE_STYLES[i % len(LINE_STYLES)]
        lines += axes.plot(curve.thresholds, curve.pck, color=COLORS[i % len(COLORS)], linestyle=style)
        own_range = "" if len(ranges) == 1 else f" ({_range(curve)})"
        labels.append(plain(f"{name}  {curve.auc:.3f}{own_range}"))
    low = min(float(curve.thresholds[0]) for _, curve in curves)
    high = max(float(curve.thresholds[-1]) for _, curve in curves)
    axes.set_xlim(low, high if high > low else low + 1)
    axes.set_ylim(0, 1.005)
    axes.set_yticks(np.linspace(0, 1, 6))
    axes.set_xlabel(f"error threshold [{curves[0][1].unit}]")
    axes.set_ylabel("PCK")
    if title:
        axes.set_title(plain(title))
    title = f"AUC, {ranges[0]}" if len(ranges) == 1 else "AUC (range)"
    axes.legend(lines, labels, title=title, loc="lower right", alignment="left", framealpha=0.8, edgecolor="none")


def _range(curve: Curve) -> str:
    # A dash outside Latin-1 would put the font into the PDF a second time.
    return auc_range(curve).replace("–", "-")


def plain(text: str) -> str:
    """Text without an underscore in front, which would hide a legend's entry."""
    return f" {text}" if text.startswith("_") else text
