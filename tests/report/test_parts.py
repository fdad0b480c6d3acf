import re

import numpy as np
import pytest

from handkit.report.hand_figure import drawable, error_range, hand_svg, legend_svg
from handkit.report.names import best, metric, number, ranking_key
from tests.report.conftest import build_scores


@pytest.mark.parametrize(
    ("key", "title", "better"),
    [
        ("pa_mpjpe_mm", "PA-MPJPE [mm]", "lower"),
        ("auc_v", "AUC, vertices", "higher"),
        ("pa_f_score_15mm", "PA-F @ 15 mm", "higher"),
        ("st_mpjpe_mm", "ST-MPJPE [mm]", "lower"),
        ("acc_err_mm_per_frame2", "ACC-ERR [mm/frame²]", "lower"),
        ("acc_true_mm_per_s2", "ACC of the truth [mm/s²]", None),
        ("epe_2d_px", "2D EPE [px]", "lower"),
        ("count", "samples", None),
        ("something_new_mm", "something new [mm]", "lower"),
    ],
)
def test_keys_are_named_as_in_papers(key: str, title: str, better: str | None) -> None:
    assert metric(key).title == title
    assert metric(key).better == better


def test_best_by_direction() -> None:
    assert best([3.0, 1.0, None, float("nan"), 1.0], "lower") == {1, 4}
    assert best([3.0, 1.0], "higher") == {0}
    assert best([3.0, None], "lower") == set()
    assert best([3, 1], None) == set()


def test_numbers_without_value_are_dashes() -> None:
    assert [number(value, 2) for value in (1234.567, None, float("nan"), np.float64(2))] == [
        "1,234.57",
        "–",
        "–",
        "2.00",
    ]


def test_ranked_by_the_protocols_own_metric() -> None:
    assert ranking_key([build_scores("a")]) == "pa_mpjpe_mm"
    assert ranking_key([build_scores("a", protocol="seqhand")]) == "mpjpe_mm"
    without = build_scores("b", protocol="seqhand")
    without.per_sample["mpjpe_mm"][:] = np.nan
    assert ranking_key([build_scores("a", protocol="seqhand"), without]) == "pa_mpjpe_mm"


@pytest.mark.parametrize(
    ("errors", "bounds"),
    [([6.2, 17.9], (5, 20)), ([7.6, 27.1], (5, 30)), ([0.012, 0.019], (0.012, 0.02)), ([np.nan, 2.2, 3.1], (2.2, 3.2))],
)
def test_scale_has_round_bounds(errors: list[float], bounds: tuple[float, float]) -> None:
    assert error_range([np.array(errors)]) == pytest.approx(bounds)


@pytest.mark.parametrize("errors", [[5.0, 5.0], [0.0], [np.nan], []])
def test_scale_of_one_value_or_none_still_has_a_length(errors: list[float]) -> None:
    low, high = error_range([np.array(errors)])
    assert low < high
    assert "NaN" not in hand_svg(np.full(21, errors[0] if errors else np.nan), (low, high), title="flat")


def test_discs_get_darker_with_the_error() -> None:
    svg = hand_svg(np.linspace(5, 15, 21), (5, 15), title="errors")
    fills = re.findall(r'<circle[^>]*fill="#(\w{6})"', svg)
    lightness = [sum(int(fill[i : i + 2], 16) for i in (0, 2, 4)) for fill in fills]
    assert len(lightness) == 21
    assert lightness == sorted(lightness, reverse=True)
    assert re.findall(r"<title>(\w+): ([\d.]+)</title>", svg)[4] == ("thumb4", "7.0")


def test_hand_is_a_right_one_seen_from_the_palm() -> None:
    """Fingers up, the thumb on the right, the little finger on the left."""
    svg = hand_svg(np.full(21, 5.0), (0, 10), title="errors")
    places = {name: (float(x), float(y)) for name, x, y in re.findall(r'<title>(\w+):.*?cx="(\S+)" cy="(\S+)"', svg)}
    assert places["middle4"][1] < places["middle1"][1] < places["wrist"][1]
    assert places["little1"][0] < places["ring1"][0] < places["index1"][0] < places["thumb3"][0]


def test_fingertips_meshes_and_missing_errors() -> None:
    tips = hand_svg(np.array([1.0, 2, np.nan, 4, 5]), (0, 5), title="tips")
    assert re.findall(r"<title>(\w+): (\S+)</title>", tips)[2] == ("middle4", "–")
    mesh = hand_svg(np.linspace(0, 10, 778), (0, 10), title="mesh")
    assert "<circle" not in mesh
    assert len(set(re.findall(r'fill="(#\w{6})"', mesh))) > 20
    assert [drawable(np.zeros(n)) for n in (21, 5, 778, 20)] == [True, True, True, False]


def test_legend_is_marked_at_round_steps() -> None:
    svg = legend_svg((5.0, 30.0), "mm")
    assert re.findall(r'text-anchor="middle">([\d.]+)<', svg) == ["5", "10", "15", "20", "25", "30"]
