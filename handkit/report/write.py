"""The whole report of one scoring run, written into one folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from handkit.data.hands import HandSet
from handkit.errors import HandkitError
from handkit.evaluate.scores import Scores
from handkit.files import atomic_path


def write_report(
    out: Path,
    scores: Sequence[Scores],
    *,
    truth: HandSet | None = None,
    predictions: Mapping[str, HandSet] | None = None,
    comparison: Sequence[Mapping[str, Any]] | None = None,
    latex: bool = False,
) -> list[Path]:
    """Write metrics.json, per_sample.csv, pck.csv, pck.png, pck.pdf, report.html, on request table.tex; their paths.

    Scores of handkit's own files add keypoints.csv, and keypoints, shape and texture_sd as .png and .pdf, where they
    hold such.
    `scores` are one or more methods under one protocol. `truth` and `predictions` (by method) are what was scored: the
    worst samples are drawn from them, found by `Scores.ids`, over `images` where they have any. `comparison` holds
    the rows of `compare_methods`.
    The same scores give the same bytes. Raises HandkitError where methods share a name or `out` cannot be written.
    """
    from handkit.report.figures import pck_figures
    from handkit.report.own_figures import own_figures
    from handkit.report.page import report_html
    from handkit.report.tables import keypoints_csv, latex_table, metrics_json, pck_csv, per_sample_csv

    _check(scores)
    contents: dict[str, bytes] = {
        "metrics.json": metrics_json(scores, comparison),
        "per_sample.csv": per_sample_csv(scores).encode(),
        "pck.csv": pck_csv(scores).encode(),
        **pck_figures(scores),
        **own_figures(scores),
    }
    if any(score.frame_curves for score in scores):
        contents["keypoints.csv"] = keypoints_csv(scores).encode()
    if latex:
        contents["table.tex"] = latex_table(scores).encode()
    contents["report.html"] = report_html(
        scores, truth=truth, predictions=predictions or {}, comparison=comparison or (), written=list(contents)
    ).encode()
    paths = []
    for name, content in contents.items():
        paths.append(Path(out) / name)
        with atomic_path(paths[-1]) as partial:
            partial.write_bytes(content)
    return paths


def _check(scores: Sequence[Scores]) -> None:
    if not scores:
        raise HandkitError("there are no scores to report", "score at least one method")
    names = [score.method for score in scores]
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise HandkitError(f"two methods are named {repeated!r}", "give each its own name, as in --pred name=file")
