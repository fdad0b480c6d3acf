import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import orjson
import pytest

from handkit.errors import HandkitError
from handkit.report import write_report
from tests.report.conftest import Hands, build_scores

NAMES = ["metrics.json", "per_sample.csv", "pck.csv", "pck.png", "pck.pdf", "report.html"]


def test_writes_the_files_it_names(tmp_path: Path) -> None:
    paths = write_report(tmp_path / "new" / "out", [build_scores("a")])
    assert [path.name for path in paths] == NAMES
    assert sorted(path.name for path in (tmp_path / "new" / "out").iterdir()) == sorted(NAMES)


def test_one_method_is_one_flat_object(tmp_path: Path) -> None:
    scores = build_scores("a")
    scores.summary["mpvpe_mm"] = float("nan")
    write_report(tmp_path, [scores])
    written = orjson.loads((tmp_path / "metrics.json").read_bytes())
    assert written == {**scores.summary, "mpvpe_mm": None}


def test_several_methods_stand_by_name(tmp_path: Path) -> None:
    a, b = build_scores("a"), build_scores("b", offset_mm=2)
    comparison = [{"metric": "pa_mpjpe_mm", "method": "b", "baseline": "a", "difference": 2.0, "low": 1.9, "high": 2.1}]
    write_report(tmp_path, [a, b], comparison=comparison)
    written = orjson.loads((tmp_path / "metrics.json").read_bytes())
    assert written["methods"] == {"a": a.summary, "b": b.summary}
    assert written["comparison"] == comparison


def test_csv_holds_every_value_in_full(tmp_path: Path) -> None:
    a, b = build_scores("a, b"), build_scores("b", offset_mm=1 / 3)
    write_report(tmp_path, [a, b])
    with (tmp_path / "per_sample.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["method"] for row in rows] == ["a, b"] * 30 + ["b"] * 30
    assert [row["id"] for row in rows[30:]] == list(b.ids)
    assert rows[10]["sequence"] == "walk1"
    values = np.array([float(row["pa_mpjpe_mm"] or "nan") for row in rows[30:]])
    np.testing.assert_array_equal(values, b.per_sample["pa_mpjpe_mm"])
    assert rows[3]["mpjpe_mm"] == ""
    with (tmp_path / "pck.csv").open(newline="") as file:
        curve = [row for row in csv.DictReader(file) if row["method"] == "b"]
    np.testing.assert_array_equal([float(row["pck"]) for row in curve], b.curves[0].pck)
    np.testing.assert_array_equal([float(row["threshold"]) for row in curve], b.curves[0].thresholds)
    assert {(row["curve"], row["unit"]) for row in curve} == {("joints, PA", "mm")}


def test_same_scores_same_bytes(tmp_path: Path, hands: Hands) -> None:
    for name in ("one", "two"):
        predictions = {"a": hands.predictions}
        write_report(tmp_path / name, [build_scores("a")], truth=hands.truth, predictions=predictions, latex=True)
    for name in [*NAMES, "table.tex"]:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


def test_figures_are_fit_for_paper(tmp_path: Path) -> None:
    from PIL import Image

    write_report(tmp_path, [build_scores("_a $x^2$ <b>"), build_scores("手")])
    pdf = (tmp_path / "pck.pdf").read_bytes()
    assert b"/FontFile2" in pdf  # TrueType, embedded
    assert b"/Type3" not in pdf
    assert b"CreationDate" not in pdf
    with Image.open(tmp_path / "pck.png") as image:
        assert image.size == (990, 750)  # 3.3 x 2.5 inches at 300 dpi


def test_pyplot_stays_out() -> None:
    code = (
        "import sys, pathlib, tempfile\n"
        "from tests.report.conftest import build_scores\n"
        "from handkit.report import write_report\n"
        "write_report(pathlib.Path(tempfile.mkdtemp()), [build_scores('a')])\n"
        "assert 'matplotlib.figure' in sys.modules and 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


def test_latex_escapes_and_marks_the_best(tmp_path: Path) -> None:
    scores = [build_scores("a_1 & 100%"), build_scores("b<c", offset_mm=4)]
    scores[1].summary["mpjpe_mm"] = None
    write_report(tmp_path, scores, latex=True)
    lines = (tmp_path / "table.tex").read_text().splitlines()
    mean = np.nanmean(build_scores("a").per_sample["pa_mpjpe_mm"])
    rows = [line.strip() for line in lines]
    assert r" & MPJPE [mm] $\downarrow$ & PA-MPJPE [mm] $\downarrow$ & PA-AUC, joints $\uparrow$" in "\n".join(lines)
    first = next(row for row in rows if row.startswith(r"a\_1 \& 100\%"))
    assert rf"\textbf{{{mean:.2f}}}" in first
    assert any(row.startswith("b$<$c") and r"\textbf" not in row and " & -- & " in row for row in rows)
    assert "F @" not in "".join(rows)
    assert lines[0] == r"% \usepackage{booktabs}"


def test_refuses_what_cannot_be_told_apart(tmp_path: Path) -> None:
    with pytest.raises(HandkitError, match="two methods are named 'a'"):
        write_report(tmp_path, [build_scores("a"), build_scores("a")])
    with pytest.raises(HandkitError, match="no scores"):
        write_report(tmp_path, [])
    assert not list(tmp_path.iterdir())
