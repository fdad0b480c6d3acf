"""The page's plotly charts as plain data: page.js draws them in the reader's colours.

A trace's `color` is an index into the page's palette.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from handkit.evaluate.scores import Scores
from handkit.report.figures import pck_panels
from handkit.report.looks import Box, ShownShapes, frame_labels
from handkit.report.names import auc_range, metric

_BINS = 48


def pck_charts(scores: Sequence[Scores]) -> list[dict[str, Any]]:
    """A chart for each panel of the figure on paper."""
    charts = []
    for i, (title, curves) in enumerate(pck_panels(scores)):
        traces = [
            {
                "type": "scatter",
                "mode": "lines",
                "name": f"{_text(name)} (AUC {curve.auc:.3f}, {auc_range(curve)})",
                "x": _rounded(curve.thresholds),
                "y": _rounded(curve.pck),
                "color": k,
                "hovertemplate": f"{_text(name)}: %{{y:.3f}}<extra></extra>",
            }
            for k, (name, curve) in enumerate(curves)
        ]
        unit = curves[0][1].unit
        axes = {"x": f"error threshold [{unit}]", "y": "PCK", "x_suffix": f" {unit}", "y_range": [0, 1.01]}
        charts.append({"id": f"pck-{i}", "title": _text(title), "traces": traces, "hover": "x unified", **axes})
    return charts


def histogram_chart(scores: Sequence[Scores], key: str) -> dict[str, Any]:
    """How a per-sample metric is distributed: shares of samples in common bins, the last one open above."""
    finite = [values[np.isfinite(values)] for values in (np.asarray(score.per_sample[key]) for score in scores)]
    known = np.concatenate(finite)
    top = float(np.percentile(known, 99.5))
    low, high = min(0.0, float(known.min())), top if top > known.min() else float(known.max()) + 1e-6
    edges = np.linspace(low, high, _BINS + 1)
    centres = (edges[:-1] + edges[1:]) / 2
    traces = []
    for k, (score, values) in enumerate(zip(scores, finite, strict=True)):
        shares = np.histogram(np.minimum(values, high), edges)[0] / max(1, len(values))
        traces.append(
            {
                "type": "scatter" if len(scores) > 1 else "bar",
                "mode": "lines",
                "line": {"shape": "hvh"},
                "name": _text(score.method),
                "x": _rounded(centres),
                "y": _rounded(shares),
                "color": k,
                "hovertemplate": f"{_text(score.method)}: %{{y:.1%}}<extra></extra>",
            }
        )
    axes = {"x": metric(key).title, "y": "share of samples", "x_suffix": f" {metric(key).unit}", "y_format": ".0%"}
    return {"id": "histogram", "title": "", "traces": traces, "hover": "x unified", **axes}


def frames_chart(scores: Sequence[Scores]) -> dict[str, Any]:
    """Share of frames within a largest joint distance, a line for each method's set of 2D keypoints."""
    traces = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": f"{_text(label)} ({curve.mean_px:.1f} px)",
            "x": _rounded(curve.thresholds),
            "y": _rounded(curve.share),
            "color": k,
            "hovertemplate": f"{_text(label)}: %{{y:.1%}}<extra></extra>",
        }
        for k, (label, curve) in enumerate(frame_labels(scores))
    ]
    axes = {"x": "largest joint distance [px of a 224 crop]", "y": "share of frames", "x_suffix": " px"}
    more = {"y_range": [0, 1.01], "y_format": ".0%", "legend": "below"}
    return {"id": "frames-within", "title": "", "traces": traces, "hover": "x unified", **axes, **more}


def shape_charts(shown: Sequence[ShownShapes]) -> list[dict[str, Any]]:
    """Boxes of the shape parameters, a chart for each sequence; whiskers end within 1.5 times the box's height."""
    charts = []
    for i, sequence in enumerate(shown):
        traces = [_box_trace(name, boxes, k) for k, (name, boxes) in enumerate(sequence.boxes.items())]
        axes = {"x": "shape parameter", "y": "value [s.d. of hands]", "x_suffix": ""}
        charts.append({"id": f"shape-{i}", "title": _text(sequence.name), "traces": traces, "hover": "closest", **axes})
    return charts


def _box_trace(name: str, boxes: Sequence[Box], color: int) -> dict[str, Any]:
    parts = {
        field: _rounded(np.array([getattr(box, part) for box in boxes]))
        for field, part in (
            ("q1", "low"),
            ("median", "middle"),
            ("q3", "high"),
            ("lowerfence", "least"),
            ("upperfence", "most"),
            ("mean", "mean"),
            ("sd", "sd"),
        )
    }
    return {"type": "box", "name": _text(name), "x": [f"β{b + 1}" for b in range(len(boxes))], "color": color, **parts}


def _rounded(values: np.ndarray) -> list[float | None]:
    return [float(f"{value:.5g}") if np.isfinite(value) else None for value in values]


def _text(text: str) -> str:
    """Plotly reads a little HTML in its labels, and % in its templates."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return text.replace("%{", "%&#123;")
