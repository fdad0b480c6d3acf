"""The page's tables over all samples, each as one piece of HTML; everything that came from outside is escaped."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, Final

import numpy as np

from handkit.evaluate.scores import Scores
from handkit.report.names import (
    ARROWS,
    alignment_prefix,
    auc_range,
    best,
    has_value,
    metric,
    number,
    ranking_key,
    unique,
)

_TILES: Final = 6


def table(heads: Sequence[str], rows: Iterable[str], *, classes: str = "", has_prose: bool = False) -> str:
    """Heads are HTML; rows are finished <tr> elements; with prose in the last column that is set to the left."""
    last = len(heads) - 1 if has_prose else None
    head = "".join(f'<th scope="col"{" class=text" if i == last else ""}>{text}</th>' for i, text in enumerate(heads))
    attribute = f' class="{classes}"' if classes else ""
    return f"<table{attribute}><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def warnings_box(scores: Sequence[Scores]) -> str:
    lines = [(score.method, warning) for score in scores for warning in score.warnings]
    if not lines:
        return ""
    items = "".join(
        f"<li>{escape(f'{method}: ' if len(scores) > 1 else '')}{escape(warning)}</li>" for method, warning in lines
    )
    return f'<div class="warnings" role="note"><b>Suspicions</b><ul>{items}</ul></div>'


def tiles(scores: Scores) -> str:
    """The first metrics in large figures, those aligned as the ranking one in front; for one method."""
    prefix = alignment_prefix(ranking_key([scores]) or "")
    keys = [key for key, value in scores.summary.items() if metric(key).better and value is not None]
    keys = sorted(keys, key=lambda key: alignment_prefix(key) != prefix)[:_TILES]
    parts = []
    for key in keys:
        shown = metric(key)
        unit = f" <small>{escape(shown.unit)}</small>" if shown.unit else ""
        value = number(scores.summary[key], shown.decimals)
        parts.append(f'<div class="tile"><b>{value}{unit}</b><span>{escape(shown.label)}</span></div>')
    return f'<div class="tiles">{"".join(parts)}</div>'


def metrics_table(scores: Sequence[Scores]) -> str:
    """Every metric that has a value, with the number of samples it is the mean of."""
    rows, empty = [], []
    for key in unique(key for score in scores for key in score.summary):
        shown = metric(key)
        values = [score.summary.get(key) for score in scores]
        if not has_value(scores, key):
            empty.append(shown.label)
            continue
        top = best(values, shown.better)
        cells = "".join(
            f"<td{' class=best' if i in top else ''}>{number(value, shown.decimals)}</td>"
            for i, value in enumerate(values)
        )
        counts = unique(_count(score, key) for score in scores) if key != "count" else []
        rows.append(
            f"<tr><td>{escape(shown.title)} {ARROWS[shown.better]}</td>{cells}<td>{' / '.join(counts)}</td>"
            f'<td class="text"><code>{escape(key)}</code></td></tr>'
        )
    heads = ["metric", *(escape(score.method) for score in scores), "samples", "key"]
    note = f"<p class=note>Without a value: {escape('; '.join(empty))}.</p>" if empty else ""
    return f'<div class="scroll">{table(heads, rows, has_prose=True)}</div>{note}'


def counts_table(scores: Sequence[Scores]) -> str:
    """What entered the scores and what did not."""
    keys = unique(key for score in scores for key in score.counts)
    if not keys:
        return ""
    rows = [
        f"<tr><td>{escape(key.replace('_', ' '))}</td>"
        + "".join(f"<td>{number(score.counts.get(key), 0)}</td>" for score in scores)
        + "</tr>"
        for key in keys
    ]
    return f"<h3>Counts</h3>{table(['', *(escape(score.method) for score in scores)], rows)}"


def curves_table(scores: Sequence[Scores]) -> str:
    """Each AUC with its range, steps and definition."""
    curves = {curve.name: curve for score in reversed(scores) for curve in score.curves}
    rows = []
    for name in unique(curve.name for score in scores for curve in score.curves):
        curve = curves[name]
        aucs = [next((c.auc for c in score.curves if c.name == name), None) for score in scores]
        top = best(aucs, "higher")
        cells = "".join(f"<td{' class=best' if i in top else ''}>{number(auc, 4)}</td>" for i, auc in enumerate(aucs))
        rows.append(
            f"<tr><td>{escape(name)}</td>{cells}<td>{escape(auc_range(curve))}</td><td>{len(curve.thresholds)}</td>"
            f'<td class="text">{escape(curve.definition)}</td></tr>'
        )
    aucs_of = [f"AUC, {escape(score.method)}" if len(scores) > 1 else "AUC" for score in scores]
    heads = ["curve", *aucs_of, "range", "steps", "definition"]
    return f'<div class="scroll">{table(heads, rows, has_prose=True)}</div>'


def comparison_table(comparison: Sequence[Mapping[str, Any]]) -> str:
    """Paired differences with their bootstrap intervals; in bold where the interval leaves out zero."""
    rows = []
    for entry in comparison:
        shown = metric(str(entry["metric"]))
        method, baseline = escape(str(entry["method"])), escape(str(entry["baseline"]))
        difference, low, high = (float(entry[key]) for key in ("difference", "low", "high"))
        is_clear = low > 0 or high < 0
        winner = method if (difference < 0) == (shown.better == "lower") else baseline
        digits = shown.decimals + 1
        drawn = f"{number(entry.get('count'), 0)} {escape(str(entry.get('units', 'samples')))}"
        rows.append(
            f"<tr><td>{escape(shown.title)}</td><td>{method} − {baseline}</td>"
            f"<td{' class=best' if is_clear else ''}>{_signed(difference, digits)}</td>"
            f"<td>{_signed(low, digits)} to {_signed(high, digits)}</td><td>{drawn}</td>"
            f"<td>{f'{winner} is better' if is_clear else 'no clear difference'}</td></tr>"
        )
    levels = unique(f"{float(entry.get('level', 0.95)):.0%}" for entry in comparison)
    heads = ["metric", "methods", "difference", f"{' / '.join(levels)} interval", "drawn", ""]
    return f'<div class="scroll">{table(heads, rows)}</div>'


def _signed(value: float, decimals: int) -> str:
    return f"{value:+.{decimals}f}".replace("-", "−")


def _count(score: Scores, key: str) -> str:
    """How many samples the mean of a metric is over."""
    values = score.per_sample.get(key)
    if score.summary.get(key) is None:
        return "0"
    count = score.summary.get("count", len(score.ids)) if values is None else np.isfinite(values).sum()
    return number(count, 0)
