"""The page's sections of what a method's own files hold: 2D keypoints, shapes and textures along sequences."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from handkit.evaluate.scores import Scores
from handkit.report.charts import frames_chart, shape_charts
from handkit.report.hand_figure import legend_svg, zero_range
from handkit.report.hand_views import hand_views, view_svg
from handkit.report.looks import frame_labels, shown_shapes, shown_textures
from handkit.report.names import number
from handkit.report.sections import table

Section = tuple[str, str, str]


def own_sections(scores: Sequence[Scores], charts: list[dict[str, Any]]) -> Iterator[Section]:
    """(id, title, HTML) of each section for which there is something; their charts are added to `charts`."""
    if frame_labels(scores):
        charts.append(frames_chart(scores))
        yield "keypoints", "2D keypoints", _keypoints(scores)
    shapes, count = shown_shapes(scores)
    if shapes:
        own = shape_charts(shapes)
        charts += own
        yield "shape", "Shape along sequences", _shapes(scores, own, count)
    if shown_textures(scores):
        yield "texture", "Texture along sequences", _textures(scores)


def _keypoints(scores: Sequence[Scores]) -> str:
    curves = frame_labels(scores)
    against = " and ".join(dict.fromkeys(curve.against for _, curve in curves))
    text = (
        f"The share of frames in which no joint is farther from the {escape(against)} than a distance (S2HAND(V), "
        "Fig. 7), in pixels of a 224-pixel crop about the hand; behind each name its mean 2D error."
    )
    rows = [
        f"<tr><td>{escape(label)}</td><td>{number(curve.mean_px, 2)}</td><td>{number(curve.frames, 0)}</td></tr>"
        for label, curve in curves
    ]
    listed = table(["keypoints", "mean 2D error [px of a 224 crop]", "frames"], rows)
    return f'<p>{text}</p><div class="charts one"><div class="chart" id="frames-within"></div></div>{listed}'


def _shapes(scores: Sequence[Scores], charts: Sequence[Mapping[str, Any]], count: int) -> str:
    text = "The ten shape parameters over the frames of a sequence (S2HAND(V), Fig. 10): a steady shape has flat boxes."
    if count > len(charts):
        text += f" The {len(charts)} longest of {count} sequences are drawn."
    places = "".join(f'<div class="chart low" id="{chart["id"]}"></div>' for chart in charts)
    one = " one" if len(charts) == 1 else ""
    return f'<p>{text}</p><div class="charts{one}">{places}</div><h3>S.D. over frames</h3>{_shape_table(scores)}'


def _shape_table(scores: Sequence[Scores]) -> str:
    """The S.D. of every parameter over each of the sequences that are drawn."""
    rows = []
    for sequence in shown_shapes(scores)[0]:
        for method, boxes in sequence.boxes.items():
            name = f"{sequence.name}, {method}" if len(scores) > 1 else sequence.name
            cells = "".join(f"<td>{number(box.sd, 3)}</td>" for box in boxes)
            mean = number(float(np.mean([box.sd for box in boxes])), 3)
            rows.append(f"<tr><td>{escape(name)}</td>{cells}<td>{mean}</td></tr>")
    heads = ["", *(f"β{b + 1}" for b in range(10)), "mean"]
    return f'<div class="scroll">{table(heads, rows)}</div>'


def _textures(scores: Sequence[Scores]) -> str:
    shown = shown_textures(scores)
    bounds = zero_range([texture.face_sd for texture in shown])
    rows = []
    for texture in shown:
        name = f"{texture.method}, {texture.name}" if len(scores) > 1 else texture.name
        views = "".join(
            f"<figure>{view_svg(view, texture.face_sd, bounds, title=f'{name}: {view.name}')}"
            f"<figcaption>{escape(view.name)}</figcaption></figure>"
            for view in hand_views()
        )
        rows.append(
            f"<h3>{escape(name)}, mean {number(float(texture.face_sd.mean()), 1)}</h3>"
            f'<div class="hands four">{views}</div>'
        )
    text = (
        "The S.D. over the frames of a sequence of each face's lighted colour (S2HAND(V), Eq. 22 and Fig. 12), mean "
        "over R, G and B in 0..255."
    )
    return f"<p>{text}</p>{''.join(rows)}{legend_svg(bounds, 'S.D.')}"
