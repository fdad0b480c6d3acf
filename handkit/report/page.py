"""report.html: one file that holds all it shows and asks for nothing from the network."""

from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any, Final

import orjson

from handkit.data.hands import HandSet
from handkit.evaluate.scores import Scores
from handkit.report import cards, groups, sections
from handkit.report.charts import histogram_chart, pck_charts
from handkit.report.names import alignment_prefix, metric, ranking_key
from handkit.report.own_sections import own_sections
from handkit.report.worst import worst_samples

WORST: Final = 20
# The page may run and show what it holds, and fetch nothing.
_POLICY: Final = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"


def report_html(
    scores: Sequence[Scores],
    *,
    truth: HandSet | None,
    predictions: Mapping[str, HandSet],
    comparison: Sequence[Mapping[str, Any]],
    written: Sequence[str],
) -> str:
    """The whole page; `written` are the names of the files beside it."""
    pck = pck_charts(scores)
    charts = [*pck]
    key = ranking_key(scores)
    chosen: list[tuple[str, str, str]] = [("metrics", "Metrics", _metrics(scores))]
    if comparison:
        chosen.append(("comparison", "Comparison", _comparison(comparison)))
    if pck:
        chosen.append(("curves", "PCK curves", _curves(scores, pck)))
    chosen += own_sections(scores, charts)
    if key is not None:
        charts.append(histogram_chart(scores, key))
        chosen.append(("distribution", f"Distribution of {metric(key).label}", _distribution(scores, key)))
    if joints := groups.joints_section(scores, key):
        chosen.append(("joints", "Error per joint", joints))
    if table := groups.sequences_section(scores, key):
        chosen.append(("sequences", "Sequences", table))
    if key is not None:
        worst = _worst(scores, key, truth, predictions)
        chosen.append(("worst", f"The worst by {metric(key).label}", worst))
    return _document(scores, chosen, charts, truth, written)


def _metrics(scores: Sequence[Scores]) -> str:
    first = sections.tiles(scores[0]) if len(scores) == 1 else ""
    return first + sections.metrics_table(scores) + sections.counts_table(scores)


def _comparison(comparison: Sequence[Mapping[str, Any]]) -> str:
    text = "Differences of means over the samples both methods have, with intervals from a paired bootstrap."
    return f"<p>{text}</p>{sections.comparison_table(comparison)}"


def _curves(scores: Sequence[Scores], charts: Sequence[Mapping[str, Any]]) -> str:
    text = "The share of points whose error is within a threshold. An AUC is the area below the curve over its range."
    one = " one" if len(charts) == 1 else ""
    places = "".join(f'<div class="chart" id="{chart["id"]}"></div>' for chart in charts)
    return f'<p>{text}</p><div class="charts{one}">{places}</div>{sections.curves_table(scores)}'


def _distribution(scores: Sequence[Scores], key: str) -> str:
    text = "Shares of samples; the last bin holds all that are larger."
    return f'<p>{text}</p><div class="chart low" id="histogram"></div>{groups.missing_list(scores, key)}'


def _worst(scores: Sequence[Scores], key: str, truth: HandSet | None, predictions: Mapping[str, HandSet]) -> str:
    colors = [cards.rgb(cards.PICTURE_COLORS[i % 7]) for i in range(len(scores))]
    samples = worst_samples(scores, key, colors, truth=truth, predictions=predictions, count=WORST)
    whose = f" of {escape(scores[0].method)}" if len(scores) > 1 else ""
    placing = (
        "after the best similarity" if alignment_prefix(key) in ("pa_", "pr_") else "moved onto the true hand's centre"
    )
    drawn = any(sample.truth_3d is not None for sample in samples)
    text = f"The {len(samples)} worst samples{whose}."
    text += f" In 3D the prediction is drawn {placing}, along the camera's axis and from its side." if drawn else ""
    legend = cards.worst_key(scores) if drawn or any(sample.overlay for sample in samples) else ""
    return f"<p>{text}</p>{legend}{cards.worst_cards(scores, samples, key)}"


def _document(
    scores: Sequence[Scores],
    chosen: Sequence[tuple[str, str, str]],
    charts: Sequence[Mapping[str, Any]],
    truth: HandSet | None,
    written: Sequence[str],
) -> str:
    from plotly.offline import get_plotlyjs

    plotly_js = get_plotlyjs().replace("</script", "<\\/script")
    methods = ", ".join(score.method for score in scores)
    about = f"{len(scores[0].ids):,} samples" + (f" of {truth.source}" if truth is not None and truth.source else "")
    links = "".join(f'<a href="#{name}">{escape(title)}</a>' for name, title, _ in chosen)
    body = "".join(f'<section id="{name}"><h2>{escape(title)}</h2>{html}</section>' for name, title, html in chosen)
    beside = ", ".join(f'<a href="{escape(name)}">{escape(name)}</a>' for name in written)
    title = f"{methods}: {scores[0].protocol}"
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<link rel="icon" href="data:,">
<title>{escape(title)}</title>
<style>
{_resource("page.css")}</style>
</head>
<body>
<main>
<header>
<h1>{escape(methods)} <span class="soft">on {escape(scores[0].protocol)}</span></h1>
<p class="soft">{escape(about)}</p>
<p class="definition">{escape(scores[0].definition)}</p>
{sections.warnings_box(scores)}
<nav>{links}</nav>
</header>
{body}
<footer>Written by handkit. Beside this page: {beside}.</footer>
</main>
<script type="application/json" id="charts">{_script_json(charts)}</script>
<script>{plotly_js}</script>
<script>
{_resource("page.js")}</script>
</body>
</html>
"""


def _resource(name: str) -> str:
    return files("handkit.report").joinpath(name).read_text(encoding="utf-8")


def _script_json(value: object) -> str:
    """JSON that cannot end the script element it stands in."""
    return orjson.dumps(value).decode().replace("<", "\\u003c")
