"""The page's breakdowns as HTML: errors per point on the hand, means per sequence, the samples without a value."""

from collections.abc import Sequence
from html import escape
from typing import Final

import numpy as np

from handkit.conventions import FINGERTIPS, JOINT_NAMES, NUM_JOINTS
from handkit.evaluate.scores import Scores
from handkit.report.hand_figure import drawable, error_range, hand_svg, legend_svg
from handkit.report.names import badness, metric, number, unique
from handkit.report.sections import table

_SEQUENCE_ROWS, _SEQUENCE_KEYS = 500, 8
_NAMED_WITHOUT_VALUE: Final = 30


def joints_section(scores: Sequence[Scores], key: str | None) -> str:
    """Errors per point on hands that share a colour scale, and the same numbers in a table."""
    keys = unique(name for score in scores for name in score.per_joint)
    if len(scores) > 1 and key in keys:
        keys = [key]
    parts = []
    for name in keys:
        having = [score for score in scores if name in score.per_joint and drawable(np.asarray(score.per_joint[name]))]
        errors = [np.asarray(score.per_joint[name], np.float64) for score in having]
        bounds = error_range(errors)
        shown = metric(name)
        hands = "".join(
            f"<figure>{hand_svg(values, bounds, title=f'{shown.label} of {score.method}')}"
            f"<figcaption>{escape(score.method if len(scores) > 1 else '')}</figcaption></figure>"
            for score, values in zip(having, errors, strict=True)
        )
        if hands:
            legend = legend_svg(bounds, shown.unit)
            parts.append(f'<div><h3>{escape(shown.title)}</h3><div class="hands">{hands}</div>{legend}</div>')
    return (f'<div class="blocks">{"".join(parts)}</div>' if parts else "") + _joints_table(scores, keys)


def _joints_table(scores: Sequence[Scores], keys: Sequence[str]) -> str:
    columns = [(score, key) for key in keys for score in scores if len(score.per_joint.get(key, ())) <= 2 * NUM_JOINTS]
    columns = [(score, key) for score, key in columns if key in score.per_joint]
    if not columns:
        return ""
    count = max(len(score.per_joint[key]) for score, key in columns)
    names = {NUM_JOINTS: JOINT_NAMES, len(FINGERTIPS): [JOINT_NAMES[j] for j in FINGERTIPS]}.get(count)
    heads = [""] + [
        escape(f"{score.method}, {metric(key).title}" if len(scores) > 1 else metric(key).title)
        for score, key in columns
    ]
    rows = []
    for j in range(count):
        values = [score.per_joint[key] for score, key in columns]
        cells = "".join(f"<td>{number(float(v[j]), 2) if j < len(v) else '–'}</td>" for v in values)
        rows.append(f"<tr><td>{names[j] if names else j}</td>{cells}</tr>")
    return f'<details><summary>Numbers per point</summary><div class="scroll">{table(heads, rows)}</div></details>'


def sequences_section(scores: Sequence[Scores], key: str | None) -> str:
    """Means over each sequence's samples, sortable; the worst ones where there are very many."""
    if key is None or scores[0].sequences is None or any(s.sequences != scores[0].sequences for s in scores):
        return ""
    names, codes = np.unique(np.array(scores[0].sequences, dtype=object).astype(str), return_inverse=True)
    keys = unique([key, *scores[0].per_sample]) if len(scores) == 1 else [key]
    columns = [(score, name) for name in keys[:_SEQUENCE_KEYS] for score in scores]
    means = [_group_means(np.asarray(score.per_sample[name], np.float64), codes, len(names)) for score, name in columns]
    counts = np.bincount(codes, minlength=len(names))
    order = np.argsort(-np.nan_to_num(badness(key, means[0]), nan=-np.inf), kind="stable")
    rows = []
    for i in order[:_SEQUENCE_ROWS]:
        cells = "".join(_cell(mean[i], metric(name).decimals) for mean, (_, name) in zip(means, columns, strict=True))
        rows.append(f'<tr><td>{escape(names[i])}</td><td data-v="{counts[i]}">{counts[i]:,}</td>{cells}</tr>')
    heads = ["sequence", "samples"]
    heads += [
        f"{score.method}, {metric(name).title}" if len(scores) > 1 else metric(name).title for score, name in columns
    ]
    buttons = [f'<button type="button">{escape(head)}</button>' for head in heads]
    left_out = f"<p class=note>The {_SEQUENCE_ROWS} worst of {len(names):,}.</p>" if len(names) > _SEQUENCE_ROWS else ""
    return f'<div class="tall">{table(buttons, rows, classes="sortable")}</div>{left_out}'


def _cell(value: float, decimals: int) -> str:
    """A cell that sorts by its full value; one without a value sorts last."""
    by = f"{value:.6g}" if np.isfinite(value) else ""
    return f'<td data-v="{by}">{number(float(value), decimals)}</td>'


def _group_means(values: np.ndarray, codes: np.ndarray, count: int) -> np.ndarray:
    known = np.isfinite(values)
    sums = np.bincount(codes[known], values[known], minlength=count)
    numbers = np.bincount(codes[known], minlength=count)
    return np.divide(sums, numbers, out=np.full(count, np.nan), where=numbers > 0)


def missing_list(scores: Sequence[Scores], key: str) -> str:
    """The samples that have no value, by name."""
    parts = []
    for score in scores:
        without = [score.ids[i] for i in np.flatnonzero(~np.isfinite(score.per_sample[key]))]
        if without:
            names = ", ".join(map(escape, without[:_NAMED_WITHOUT_VALUE]))
            more = f" and {len(without) - _NAMED_WITHOUT_VALUE:,} more" if len(without) > _NAMED_WITHOUT_VALUE else ""
            counted = f"{len(without):,} of {len(score.ids):,} samples without {metric(key).label}"
            parts.append(f"<p>{escape(score.method)}: {escape(counted)}: {names}{more}</p>")
    return "".join(parts)
