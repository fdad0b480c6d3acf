import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from handkit.evaluate.compare import compare_methods
from handkit.report import write_report
from tests.report.conftest import Hands, build_scores

HOSTILE = '<script>alert("1")</script>&amp;'
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def _page(out: Path) -> str:
    return (out / "report.html").read_text(encoding="utf-8")


class _Elements(HTMLParser):
    """Every element before plotly.js with its attributes, and the text outside scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open = ""
        self.feed(page.split("<script>\n/**")[0].split("<script>/**")[0])

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._open = tag

    def handle_data(self, data: str) -> None:
        if self._open not in ("script", "style"):
            self.text += data

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.elements)


def test_nothing_comes_from_elsewhere(tmp_path: Path, hands: Hands) -> None:
    write_report(tmp_path, [build_scores("a")], truth=hands.truth, predictions={"a": hands.predictions})
    for tag, attributes in _Elements(_page(tmp_path)).elements:
        for name in ("src", "href", "srcset", "data", "action"):
            value = attributes.get(name) or ""
            assert not value or value.startswith(("#", "data:")) or (tmp_path / value).is_file(), (tag, value)
    assert "default-src 'none'" in _page(tmp_path)


def test_names_are_text_not_html(tmp_path: Path) -> None:
    one, two = (build_scores(name, protocol=HOSTILE) for name in (HOSTILE, "b"))
    write_report(tmp_path, [one, two], comparison=compare_methods([one, two]))
    parsed = _Elements(_page(tmp_path))
    assert parsed.count("script") == 1  # the charts' JSON
    assert parsed.text.count(HOSTILE) > 8
    assert "<script>alert" not in _page(tmp_path)


def test_tables_show_values_counts_and_definitions(tmp_path: Path) -> None:
    write_report(tmp_path, [build_scores("a")])
    page = _page(tmp_path)
    assert "<td>PA-MPJPE [mm] ↓</td><td>14.90</td><td>29</td>" in page
    assert "Without a value: PA-F @ 5 mm." in page
    assert "<td>0–50 mm</td><td>100</td>" in page
    assert "0-50 mm, 100 steps" in page
    assert "1 of 30 samples without PA-MPJPE: s0003" in page
    assert "a may be mirrored" in page
    assert "<td>walk1</td>" in page
    assert '<td data-v="14.5">14.50</td>' in page  # samples 10 to 19


def test_comparison_says_who_is_better(tmp_path: Path) -> None:
    a, b, c = build_scores("first"), build_scores("second", offset_mm=3), build_scores("third")
    noise = np.random.default_rng(0).normal(size=30)
    c.per_sample["pa_mpjpe_mm"][:] += noise - np.nanmean(np.where(np.arange(30) == 3, np.nan, noise))
    write_report(tmp_path, [a, b, c], comparison=compare_methods([a, b, c]))
    rows = [row for row in re.findall(r"<tr>.*?</tr>", _page(tmp_path)) if "−" in row and "PA-MPJPE" in row]
    assert "first is better" in next(row for row in rows if "second − first" in row)
    assert ">+3.000<" in next(row for row in rows if "second − first" in row)
    assert "no clear difference" in next(row for row in rows if "third − first" in row)


def test_several_methods_share_one_page(tmp_path: Path, hands: Hands) -> None:
    scores = [build_scores("a"), build_scores("b", offset_mm=2)]
    write_report(tmp_path, scores, truth=hands.truth, predictions={"a": hands.predictions, "b": hands.predictions})
    parsed = _Elements(_page(tmp_path))
    assert parsed.count("article") == 20
    assert sum(attributes.get("class") == "hand" for _, attributes in parsed.elements) == 2
    assert parsed.count("img") == 40


def test_whole_test_set_stays_small(tmp_path: Path) -> None:
    write_report(tmp_path, [build_scores("a", count=3960)])
    assert (tmp_path / "report.html").stat().st_size < 8e6


def test_scores_alone_are_enough(tmp_path: Path) -> None:
    scores = build_scores("a")
    for name in ("per_sample", "per_joint", "counts"):
        getattr(scores, name).clear()
    object.__setattr__(scores, "curves", ())
    object.__setattr__(scores, "sequences", None)
    write_report(tmp_path, [scores])
    assert "PCK curves" not in _page(tmp_path)


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_opens_in_chromium_without_errors(tmp_path: Path, hands: Hands) -> None:
    scores = [build_scores("a"), build_scores("b", offset_mm=2)]
    predictions = {score.method: hands.predictions for score in scores}
    write_report(tmp_path, scores, truth=hands.truth, predictions=predictions)
    # Sort by the second method's errors, rising, as a reader would: by two clicks on the table's head.
    clicks = "for (let i = 0; i < 2; i++) document.querySelectorAll('.sortable button')[3].click();"
    (tmp_path / "clicked.html").write_text(_page(tmp_path).replace("</body>", f"<script>{clicks}</script></body>"))
    dom, log = _browse(tmp_path / "clicked.html", tmp_path)
    assert "CONSOLE" not in log, log
    assert dom.count('class="main-svg"') >= 4
    assert [int(name) for name in re.findall(r"<tr><td>walk(\d)", dom)] == [0, 1, 2]
    assert re.findall(r"<tr><td>walk(\d)", _page(tmp_path)) == ["2", "1", "0"]


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_chromium_reports_errors(tmp_path: Path) -> None:
    (tmp_path / "broken.html").write_text("<script>undefinedName()</script>")
    assert "CONSOLE" in _browse(tmp_path / "broken.html", tmp_path)[1]


def _browse(page: Path, home: Path) -> tuple[str, str]:
    """The page's elements after its scripts have run, and the browser's log."""
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--enable-logging=stderr"]
    options += [f"--user-data-dir={home / 'profile'}", "--virtual-time-budget=5000", "--dump-dom"]
    assert CHROMIUM is not None
    done = subprocess.run([CHROMIUM, *options, page.as_uri()], capture_output=True, text=True, timeout=90)
    return done.stdout, done.stderr
