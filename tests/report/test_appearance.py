"""What the report draws of a method's own files: keypoint sets, shapes and textures along sequences."""

import csv
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import plotly.graph_objects as go
import pytest
from matplotlib.cbook import boxplot_stats
from PIL import Image

from handkit.evaluate.scores import FrameCurve, Scores, SequenceLooks
from handkit.hand import load_hand
from handkit.report import write_report
from handkit.report.hand_figure import color_of, zero_range
from handkit.report.hand_views import hand_views, view_svg
from handkit.report.looks import MOST_SEQUENCES, box_of, shown_shapes, shown_textures
from tests.report.conftest import build_scores

FIGURES = [f"{name}.{ending}" for name in ("keypoints", "shape", "texture_sd") for ending in ("png", "pdf")]


def with_looks(scores: Scores, *, sequences: int = 2, seed: int = 0, texture: bool = True) -> Scores:
    rng = np.random.default_rng(seed)
    thresholds = np.linspace(0, 60, 121)
    curves = tuple(
        FrameCurve(name, "true 2D joints", thresholds, 1 - np.exp(-thresholds / scale), 0.6 * scale, 30)
        for name, scale in (("detected", 9.0), ("estimated", 7.0), ("projected", 12.0))
    )
    looks = tuple(
        SequenceLooks(
            f"walk{i}", rng.normal(0, 0.5, (20 + i, 10)), rng.uniform(0, 20 * (i + 1), 1538) if texture else None
        )
        for i in range(sequences)
    )
    return replace(scores, frame_curves=curves, looks=looks)


def page_of(out: Path) -> str:
    return (out / "report.html").read_text(encoding="utf-8")


def charts_of(page: str) -> list[dict[str, Any]]:
    found = re.search(r'id="charts">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    charts: list[dict[str, Any]] = orjson.loads(found[1])
    return charts


def test_figures_are_written_only_where_there_is_something(tmp_path: Path) -> None:
    plain = [path.name for path in write_report(tmp_path, [build_scores("a")])]
    assert not set(FIGURES) & set(plain)
    assert not any(f'id="{name}"' in page_of(tmp_path) for name in ("keypoints", "shape", "texture"))
    written = [path.name for path in write_report(tmp_path, [with_looks(build_scores("a"))])]
    assert set(written) - set(plain) == {*FIGURES, "keypoints.csv"}
    without = [path.name for path in write_report(tmp_path / "b", [with_looks(build_scores("a"), texture=False)])]
    assert set(written) - set(without) == {"texture_sd.png", "texture_sd.pdf"}
    assert 'id="shape"' in page_of(tmp_path / "b")
    assert 'id="texture"' not in page_of(tmp_path / "b")


def test_same_scores_same_bytes_and_fit_for_paper(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_report(tmp_path / name, [with_looks(build_scores("a_$1$")), with_looks(build_scores("手"), seed=1)])
    for name in [*FIGURES, "report.html", "keypoints.csv"]:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name
    for name in ("keypoints", "shape", "texture_sd"):
        pdf = (tmp_path / "one" / f"{name}.pdf").read_bytes()
        assert b"/FontFile2" in pdf
        assert b"CreationDate" not in pdf
    with Image.open(tmp_path / "one" / "shape.png") as image:
        assert image.size[0] == 2070  # 6.9 inches at 300 dpi


def test_the_page_still_fetches_nothing(tmp_path: Path) -> None:
    write_report(tmp_path, [with_looks(build_scores("<img src=x>")), with_looks(build_scores("b"), seed=1)])
    page = page_of(tmp_path)
    assert "default-src 'none'" in page
    assert "<img src=x>" not in page
    body = page.split('<script type="application/json"')[0]
    assert not re.search(r'(src|href)="(?!data:|#|[\w.]+")', body)
    assert page.count('class="hand"') == 2 * 3 * 4 + 2  # mean and two sequences from four sides; errors per joint


def test_curves_are_the_scores(tmp_path: Path) -> None:
    scores = with_looks(build_scores("a"))
    write_report(tmp_path, [scores])
    page = page_of(tmp_path)
    chart = next(chart for chart in charts_of(page) if chart["id"] == "frames-within")
    assert [trace["name"] for trace in chart["traces"]] == [
        "detected (5.4 px)",
        "estimated (4.2 px)",
        "projected (7.2 px)",
    ]
    for trace, curve in zip(chart["traces"], scores.frame_curves, strict=True):
        np.testing.assert_allclose(trace["y"], curve.share, atol=1e-4)
        np.testing.assert_allclose(trace["x"], curve.thresholds, atol=1e-4)
    assert "farther from the true 2D joints" in page
    assert "<td>projected</td><td>7.20</td><td>30</td>" in page
    with (tmp_path / "keypoints.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["keypoints"] == "estimated"]
    np.testing.assert_array_equal([float(row["share"]) for row in rows], scores.frame_curves[1].share)
    np.testing.assert_array_equal([float(row["distance_px"]) for row in rows], scores.frame_curves[1].thresholds)


def test_boxes_are_matplotlibs() -> None:
    values = np.concatenate([np.random.default_rng(0).normal(size=41), [7.0]])
    box, (known,) = box_of(values), boxplot_stats(values)
    for ours, theirs in (("low", "q1"), ("middle", "med"), ("high", "q3"), ("least", "whislo"), ("most", "whishi")):
        assert getattr(box, ours) == pytest.approx(known[theirs]), ours
    assert box.mean == pytest.approx(known["mean"])
    assert box.sd == pytest.approx(np.sqrt(np.mean((values - values.mean()) ** 2)))


def test_shapes_are_boxes_of_each_sequence(tmp_path: Path) -> None:
    scores = [with_looks(build_scores("a")), with_looks(build_scores("b"), seed=1)]
    write_report(tmp_path, scores)
    page = page_of(tmp_path)
    charts = [chart for chart in charts_of(page) if chart["id"].startswith("shape-")]
    assert [chart["title"] for chart in charts] == ["walk0", "walk1"]
    for number, chart in enumerate(charts):
        for score, trace in zip(scores, chart["traces"], strict=True):
            shown = {key: value for key, value in trace.items() if key not in ("color", "type")}
            go.Box(**shown)  # plotly knows every field
            betas = score.looks[number].betas
            np.testing.assert_allclose(trace["median"], np.median(betas, axis=0), rtol=1e-4)
            np.testing.assert_allclose(trace["sd"], betas.std(0), rtol=1e-4)
            assert (trace["name"], trace["x"][9]) == (score.method, "β10")
    spread = scores[1].looks[0].betas.std(0)
    cells = "".join(f"<td>{value:.3f}</td>" for value in [*spread, spread.mean()])
    assert f"<tr><td>walk0, b</td>{cells}</tr>" in page


def test_of_many_sequences_the_longest_are_drawn(tmp_path: Path) -> None:
    scores = with_looks(build_scores("a"), sequences=7)
    shown, count = shown_shapes([scores])
    assert count == 7
    assert [one.name for one in shown] == [f"walk{i}" for i in range(7 - MOST_SEQUENCES, 7)]
    write_report(tmp_path, [scores])
    assert "The 4 longest of 7 sequences are drawn." in page_of(tmp_path)
    textures = shown_textures([scores])
    assert [texture.name for texture in textures] == ["mean over 7 sequences", *(one.name for one in shown)]
    known = [look.texture_sd for look in scores.looks if look.texture_sd is not None]
    np.testing.assert_allclose(textures[0].face_sd, np.mean(known, axis=0))
    alone = shown_textures([with_looks(build_scores("a"), sequences=1)])
    assert [texture.name for texture in alone] == ["walk0"]


def test_every_face_shows_from_some_side_in_its_colour() -> None:
    views = hand_views()
    seen = np.unique(np.concatenate([view.faces for view in views]))
    assert len(seen) > 0.97 * 1538  # those that look at the wrist's or the tips' ends do not
    palm, thumb, back, little = views
    for one, other in ((palm, back), (thumb, little)):
        assert not set(one.faces.tolist()) & set(other.faces.tolist())
        assert one.box[1::2] == other.box[1::2]
    hand = load_hand("open")
    tip = int(np.argmax((hand.faces == hand.tip_vertices[0]).any(1)))  # a face at the thumb's tip
    middle = {
        view.name: view.corners[view.faces == tip].mean(axis=(0, 1)) for view in (palm, back) if tip in view.faces
    }
    for name, (x, _) in middle.items():
        assert (x > 0) == (name == "palm"), "the thumb of a right palm points right, of its back left"


def test_faces_are_drawn_in_the_common_scale() -> None:
    values = np.linspace(0, 40, 1538)
    bounds = zero_range([values, np.full(1538, 12.0)])
    assert bounds == (0, 40)
    assert zero_range([np.full(1538, 12.0)])[0] == 0
    view = hand_views()[0]
    svg = view_svg(view, values, bounds, title="<b>")
    assert 'aria-label="&lt;b&gt;"' in svg
    drawn = []
    for fill, paths in re.findall(r'<path fill="(#\w+)"[^>]*d="([^"]+)"', svg):
        drawn += [fill] * paths.count("z")
    assert drawn == [color_of(float(values[face]), bounds) for face in view.faces]
    assert len(set(drawn)) > 20
