"""The report's files for programs and for LaTeX: metrics.json, per_sample.csv, pck.csv, keypoints.csv, table.tex."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import orjson

from handkit.evaluate.scores import Scores
from handkit.report.names import best, has_value, metric, number, unique

_LATEX: Final = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "²": "$^2$",
        "°": r"$^\circ$",
        "–": "--",
        "<": "$<$",
        ">": "$>$",
        "|": r"\textbar{}",
        **{char: "\\" + char for char in "&%$#_{}"},
    }
)
_LATEX_COLUMNS: Final = 6
_LATEX_ARROWS: Final = {"lower": r" $\downarrow$", "higher": r" $\uparrow$", None: ""}


def metrics_json(scores: Sequence[Scores], comparison: Sequence[Mapping[str, Any]] | None = None) -> bytes:
    """One method's summary as one flat object; several under `methods` by name. What is not finite becomes null."""
    value: dict[str, Any] = dict(scores[0].summary)
    if len(scores) > 1:
        value = {
            "protocol": scores[0].protocol,
            "methods": {score.method: score.summary for score in scores},
            "comparison": list(comparison or ()),
        }
    return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY) + b"\n"


def per_sample_csv(scores: Sequence[Scores]) -> str:
    """A row for every method and sample, in full precision; an empty cell where a sample has no value."""
    keys = unique(key for score in scores for key in score.per_sample)
    lines = io.StringIO(newline="")
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(["method", "id", "sequence", *keys])
    for score in scores:
        count = len(score.ids)
        columns = [_cells(score.per_sample[key]) if key in score.per_sample else [""] * count for key in keys]
        sequences = score.sequences or [""] * count
        writer.writerows(zip([score.method] * count, score.ids, sequences, *columns, strict=True))
    return lines.getvalue()


def pck_csv(scores: Sequence[Scores]) -> str:
    """A row for every method, curve and threshold."""
    lines = io.StringIO(newline="")
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(["method", "curve", "unit", "threshold", "pck"])
    for score in scores:
        for curve in score.curves:
            names = [[text] * len(curve.thresholds) for text in (score.method, curve.name, curve.unit)]
            writer.writerows(zip(*names, curve.thresholds.tolist(), _cells(curve.pck), strict=True))
    return lines.getvalue()


def keypoints_csv(scores: Sequence[Scores]) -> str:
    """A row for every method, set of 2D keypoints and distance, in pixels of a 224 crop."""
    lines = io.StringIO(newline="")
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(["method", "keypoints", "against", "distance_px", "share"])
    for score in scores:
        for curve in score.frame_curves:
            words = [[text] * len(curve.thresholds) for text in (score.method, curve.keypoints, curve.against)]
            writer.writerows(zip(*words, curve.thresholds.tolist(), _cells(curve.share), strict=True))
    return lines.getvalue()


def latex_table(scores: Sequence[Scores]) -> str:
    """A table for a paper (booktabs), the best of each metric in bold; metrics go down the page where they are many."""
    keys = unique(key for score in scores for key in score.summary)
    keys = [key for key in keys if metric(key).better and has_value(scores, key)]
    grid = [["", *(_escaped(score.method) for score in scores)]]
    for key in keys:
        shown = metric(key)
        values = [score.summary.get(key) for score in scores]
        top = best(values, shown.better)
        cells = [_escaped(number(value, shown.decimals)) for value in values]
        cells = [rf"\textbf{{{cell}}}" if i in top else cell for i, cell in enumerate(cells)]
        grid.append([_escaped(shown.title) + _LATEX_ARROWS[shown.better], *cells])
    if len(keys) <= _LATEX_COLUMNS:
        grid = [list(column) for column in zip(*grid, strict=True)]
    head, *rows = [" & ".join(row) + r" \\" for row in grid]
    counts = " / ".join(unique(str(score.summary.get("count", len(score.ids))) for score in scores))
    lines = [
        r"% \usepackage{booktabs}",
        r"\begin{table}[t]",
        r"  \centering",
        rf"  \caption{{{_escaped(f'{scores[0].protocol}, {counts} samples. {scores[0].definition}')}}}",
        rf"  \begin{{tabular}}{{l{'r' * (len(grid[0]) - 1)}}}",
        r"    \toprule",
        f"    {head}",
        r"    \midrule",
        *(f"    {row}" for row in rows),
        r"    \bottomrule",
        r"  \end{tabular}",
        r"\end{table}",
    ]
    return "\n".join([*lines, ""])


def _cells(values: np.ndarray) -> list[Any]:
    return ["" if isinstance(value, float) and math.isnan(value) else value for value in values.tolist()]


def _escaped(text: str) -> str:
    return text.translate(_LATEX)
