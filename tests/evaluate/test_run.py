"""`handkit evaluate` end to end: what is printed and written, exit codes, texts of errors."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

from handkit.cli.evaluate import _ALIGNMENTS, _PROTOCOLS, _ROOT_JOINTS, _joint_orders
from handkit.conventions import JOINT_ORDERS
from handkit.data.hands import HandSet
from handkit.evaluate.definitions import palm_from_wrist, wrist_from_palm
from handkit.evaluate.protocols import ALIGNMENTS, PROTOCOLS, ROOT_JOINTS, summary_keys
from handkit_cli import app

from .conftest import Points, make_points
from .slow import official_keys

RUNNER = CliRunner()


def evaluate(*arguments: object) -> tuple[int, str, str]:
    result = RUNNER.invoke(app, ["evaluate", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures and pages are the report's own tests."""
    monkeypatch.setattr("handkit.report.write_report", lambda out, scores, **more: [])


def test_one_method_gives_one_flat_object_and_a_report(points: Points, tmp_path: Path) -> None:
    folder = points.write(tmp_path / "gt")
    code, stdout, _ = evaluate(
        "--protocol", "freihand", "--pred", folder, "--gt", folder, "--out", tmp_path / "out", "--json"
    )
    assert code == 0
    printed = json.loads(stdout)
    expected = official_keys(points.gt_j, points.pred_j, points.gt_v, points.pred_v)
    assert printed == pytest.approx(expected, abs=1e-6)
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == printed
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"report.html", "per_sample.csv", "pck.csv"}


def test_ho3d_files_are_read_in_their_order_and_axes(points: Points, tmp_path: Path, no_report: None) -> None:
    order = [0, 5, 6, 7, 9, 10, 11, 17, 18, 19, 13, 14, 15, 1, 2, 3, 4, 8, 12, 16, 20]
    theirs = points.write(tmp_path / "gt", order=order, axes=(1, -1, -1))
    np.savez(tmp_path / "ours.npz", joints=points.pred_j, vertices=points.pred_v)
    arguments = ("--protocol", "ho3d", "--gt", theirs, "--out", tmp_path / "out", "--json")
    code, stdout, stderr = evaluate(*arguments, "--pred", theirs)
    expected = official_keys(points.gt_j, points.pred_j, points.gt_v, points.pred_v)
    assert (code, stderr) == (0, "")
    summary = json.loads(stdout)
    assert {key: summary[key] for key in expected} == pytest.approx(expected, abs=1e-6)
    assert json.loads(evaluate(*arguments, "--pred", tmp_path / "ours.npz")[1]) == pytest.approx(summary)
    wrong = evaluate(*arguments, "--pred", tmp_path / "ours.npz", "--axes", "opengl,opengl")
    assert wrong[0] == 0
    assert "--axes" in wrong[2]


def test_several_methods_are_compared(points: Points, tmp_path: Path, no_report: None) -> None:
    folder = points.write(tmp_path / "gt")
    better = make_points(noise=0.001)
    np.savez(tmp_path / "b.npz", joints=better.pred_j, vertices=better.pred_v)
    arguments = ("--protocol", "freihand", "--pred", f"a={folder / 'pred.json'}", "--pred", f"b={tmp_path / 'b.npz'}")
    code, stdout, _ = evaluate(*arguments, "--gt", folder, "--out", tmp_path / "out", "--json")
    result = json.loads(stdout)
    assert code == 0
    assert list(result["methods"]) == ["a", "b"]
    row = next(row for row in result["comparison"] if row["metric"] == "pa_mpjpe_mm")
    means = [result["methods"][name]["pa_mpjpe_mm"] for name in "ab"]
    assert row["difference"] == pytest.approx(means[1] - means[0])
    assert row["low"] <= row["difference"] <= row["high"] < 0
    code, stdout, _ = evaluate(*arguments, "--gt", folder, "--out", tmp_path / "out")
    assert "b - a" in stdout


def test_requirements_decide_the_exit(points: Points, tmp_path: Path, no_report: None) -> None:
    folder = points.write(tmp_path)
    arguments = ("--protocol", "freihand", "--pred", folder, "--gt", folder, "--out", tmp_path / "out", "--json")
    assert evaluate(*arguments, "--require", "pa_mpjpe_mm=100", "--require", "auc_j=0.1")[0] == 0
    code, _, stderr = evaluate(*arguments, "--require", "pa_mpjpe_mm=0.1", "--require", "pa_auc_j=0.999")
    assert code == 1
    assert "pa_mpjpe_mm is" in stderr
    assert "required <= 0.1" in stderr
    assert "required >= 0.999" in stderr
    for key in ("pa_mpjpe", "st_mpjpe_mm"):  # the second is a key of others
        code, stdout, stderr = evaluate(*arguments, "--require", f"{key}=8")
        assert code == 1
        assert "no such key" in stderr
        assert list(json.loads(stdout)) == ["error", "try"]


def test_fps_without_sequences_is_told(points: Points, tmp_path: Path, no_report: None) -> None:
    folder = points.write(tmp_path)
    arguments = ("--protocol", "freihand", "--pred", folder, "--gt", folder, "--out", tmp_path / "out", "--json")
    code, stdout, stderr = evaluate(*arguments, "--fps", "30")
    assert (code, "no sequences" in stderr) == (0, True)
    assert stdout == evaluate(*arguments)[1]


def test_exclusions_by_name_and_by_file(points: Points, tmp_path: Path, no_report: None) -> None:
    folder = points.write(tmp_path)
    (tmp_path / "bad.txt").write_text("00000001\n00000002\n")
    arguments = ("--protocol", "freihand", "--pred", folder, "--gt", folder, "--out", tmp_path / "out", "--json")
    code, stdout, _ = evaluate(*arguments, "--exclude", tmp_path / "bad.txt", "--exclude", "00000005.jpg")
    keep = [0, 3, 4, 6]
    kept = (array[keep] for array in (points.gt_j, points.pred_j, points.gt_v, points.pred_v))
    assert json.loads(stdout) == pytest.approx(official_keys(*kept), abs=1e-6)
    code, _, stderr = evaluate(*arguments, "--exclude", "nobody")
    assert code == 1
    assert "--exclude nobody" in stderr
    (tmp_path / "bad.bin").write_bytes(b"\xff\xfe\x00")
    code, _, stderr = evaluate(*arguments, "--exclude", tmp_path / "bad.bin")
    assert (code, "bad.bin: no list of names" in stderr) == (1, True)
    code, _, stderr = evaluate(*arguments, *(part for i in range(7) for part in ("--exclude", f"{i:08d}")))
    assert (code, "leaves none of 7 samples" in stderr) == (1, True)


def test_custom_alignments_thresholds_and_units(points: Points, tmp_path: Path, no_report: None) -> None:
    np.save(tmp_path / "truth.npy", points.gt_j)
    np.save(tmp_path / "pred.npy", points.pred_j * 1000)
    arguments = ("--protocol", "custom", "--pred", tmp_path / "pred.npy", "--gt", tmp_path / "truth.npy")
    arguments += ("--out", tmp_path / "out", "--align", "root", "--thresholds", "20:50:31")
    code, stdout, stderr = evaluate(*arguments)
    assert code == 0
    assert "look like millimetres (--units)" in stderr
    assert "AUC of the PCK of joints over 20-50 mm (31 thresholds); roots brought together" in stdout
    code, stdout, stderr = evaluate(*arguments, "--units", "mm,m", "--json")
    about = [x - x[:, :1] for x in (points.gt_j, points.pred_j)]
    expected = 1000 * np.linalg.norm(about[0] - about[1], axis=-1).mean()
    assert stderr == ""
    assert json.loads(stdout)["ra_mpjpe_mm"] == pytest.approx(expected)


def test_a_data_set_as_truth(points: Points, tmp_path: Path, no_report: None, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    truth = HandSet(
        ids=tuple(f"B1/{i}" for i in range(7)), joints=points.gt_j, joints_valid=np.ones((7, 21), bool), source="stb"
    )

    def build(name: str, root: Path, split: str | None, **options: str) -> SimpleNamespace:
        asked.append((name, root, split, options))
        return SimpleNamespace(truth=lambda: truth)

    monkeypatch.setattr("handkit.evaluate.sets.build_dataset", build)
    np.savez(tmp_path / "p.npz", joints=points.pred_j[::-1], ids=[f"B1/{i}.png" for i in range(7)][::-1])
    arguments = ("--protocol", "stb", "--pred", tmp_path / "p.npz", "--dataset", "stb", "--gt", tmp_path)
    code, stdout, _ = evaluate(*arguments, "--out", tmp_path / "out", "--split", "test", "--json")
    assert code == 0
    assert asked == [("stb", tmp_path, "test", {"root_joint": "wrist-from-ring"})]
    about = [x - x[:, :1] for x in (points.gt_j, points.pred_j)]
    expected = 1000 * np.linalg.norm(about[0] - about[1], axis=-1).mean()
    assert json.loads(stdout)["ra_mpjpe_mm"] == pytest.approx(expected)


def test_a_submission_alone_needs_no_truth(points: Points, tmp_path: Path) -> None:
    np.savez(tmp_path / "p.npz", joints=points.pred_j, vertices=points.pred_v, ids=list("gfedcba"))
    out = tmp_path / "out"
    arguments = ("--protocol", "freihand", "--pred", tmp_path / "p.npz", "--submission", "freihand", "--out", out)
    code, stdout, _ = evaluate(*arguments)
    assert code == 0
    assert "pred.json, pred.zip" in stdout
    assert np.array_equal(json.loads((out / "pred.json").read_text())[0], points.pred_j[::-1])


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        ((), 2, "--list-protocols"),
        (("--protocol", "freihand", "--pred", "p.json"), 2, "--gt"),
        (("--protocol", "nothing", "--pred", "p.json", "--gt", "."), 2, "nothing"),
        (("--protocol", "custom", "--pred", "p.json", "--gt", ".", "--align", "best"), 2, "'best'"),
        (("--protocol", "custom", "--pred", "p.json", "--gt", ".", "--thresholds", "50:0:5"), 2, "START < STOP"),
        (("--protocol", "custom", "--pred", "p.json", "--gt", ".", "--units", "inch"), 2, "'inch'"),
        (("--protocol", "custom", "--pred", "p.json", "--gt", ".", "--require", "x"), 2, "KEY=NUMBER"),
        (("--protocol", "custom", "--pred", "a=p", "--pred", "a=q", "--gt", "."), 2, "two methods"),
        (("--protocol", "freihand", "--pred", "p.json", "--gt", "."), 1, "p.json does not exist"),
    ],
)
def test_errors(arguments: tuple[str, ...], code: int, text: str) -> None:
    result = evaluate(*arguments)
    assert result[0] == code
    assert text in result[2].replace("\n", " ")


def test_an_official_protocol_is_not_changed(points: Points, tmp_path: Path) -> None:
    folder = points.write(tmp_path)
    code, _, stderr = evaluate("--protocol", "freihand", "--pred", folder, "--gt", folder, "--align", "root")
    assert code == 1
    assert "try: use --protocol custom" in stderr


def test_every_protocol_is_listed_with_range_steps_and_alignments() -> None:
    code, stdout, _ = evaluate("--list-protocols", "--json")
    assert code == 0
    listed = json.loads(stdout)
    assert list(listed) == list(_PROTOCOLS) == list(PROTOCOLS)
    for name, definition in listed.items():
        has_curves = PROTOCOLS[name].needs_truth and not PROTOCOLS[name].masks
        assert f"{PROTOCOLS[name].thresholds.steps} thresholds" in definition or not has_curves
        assert all(ALIGNMENTS[way].words in definition for way in PROTOCOLS[name].alignments)


def test_the_command_line_knows_what_the_library_knows() -> None:
    assert set(_ALIGNMENTS) == set(ALIGNMENTS)
    assert set(_ROOT_JOINTS) == set(ROOT_JOINTS)
    assert set(_joint_orders()) == set(JOINT_ORDERS)
    assert {"pa_mpjpe_mm", "st_auc_j", "f_score_5mm", "acc_err_mm_per_frame2"} <= set(summary_keys(PROTOCOLS["ho3d"]))


def test_the_conventions_of_stbs_point_0() -> None:
    hand = np.zeros((1, 21, 3))
    hand[0, 0], hand[0, [5, 9, 13, 17]] = [0, 1, 0], [[-2, 3, 0], [-1, 3, 0], [0, 3, 0], [1, 3, 0]]
    roots = {name: wrist_from_palm(hand, name)[0, 0].tolist() for name in ROOT_JOINTS}
    assert roots["wrist-from-ring"] == pytest.approx([0, -1, 0])
    assert roots["wrist-from-middle"] == pytest.approx([-1 + 2.2, 3 - 4.4, 0])
    assert roots["wrist-from-four"] == pytest.approx([-0.5 + 2.25 * 0.5, 3 - 4.5, 0])
    assert roots["palm"] == roots["as-is"] == [0, 1, 0]
    pred = HandSet(ids=("a",), joints=hand, vertices=np.ones((1, 778, 3)))
    assert palm_from_wrist(pred, "palm")[0, 0].tolist() == [0, 2, 0]
    assert palm_from_wrist(pred, "palm-vertices")[0, 0].tolist() == [1, 1, 1]
    assert palm_from_wrist(pred, "wrist-from-ring")[0, 0].tolist() == [0, 1, 0]
