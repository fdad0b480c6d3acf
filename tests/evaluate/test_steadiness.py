"""Steadiness of predictions along their tracks, and their sets of 2D keypoints, against slow twins."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from typer.testing import CliRunner

from handkit.data.hands import HandSet
from handkit.evaluate.beside import with_own
from handkit.evaluate.keypoint_sets import (
    DETECTIONS,
    THRESHOLDS_PX,
    TRUTH,
    Reference,
    detected,
    distance_to_detections_px,
    frame_curves,
)
from handkit.evaluate.protocols import PROTOCOLS, summary_keys
from handkit.evaluate.rows import OwnRows, read_own
from handkit.evaluate.scores import Scores
from handkit.evaluate.steadiness import Tracks, add_steadiness, numbered
from handkit.evaluate.unlabelled import own_tracks
from handkit.hand import load_hand
from handkit_cli import app
from tests.evaluate.own_files import drawn_rows, write_rows


def eq_17(turns: np.ndarray) -> float:
    """The equation as printed, for 3 frames of 16 rotations."""
    rotations = [Rotation.from_rotvec(frame) for frame in turns]
    path = sum((b * a.inv()).magnitude() for a, b in itertools.pairwise(rotations))
    return float(np.sqrt(np.sum((path - (rotations[-1] * rotations[0].inv()).magnitude()) ** 2)))


def lighted(texture: np.ndarray, light: np.ndarray) -> np.ndarray:
    """Eq. 22 for one hand, face by face."""
    hand = load_hand("open")
    ambient, directional, way = light[0] * light[2:5], light[1] * light[5:8], light[8:]
    colors = np.empty((1538, 3))
    for f, (a, b, c) in enumerate(hand.v_template[hand.faces]):
        normal = np.cross(b - a, c - a)
        colors[f] = (ambient + directional * (normal / np.linalg.norm(normal) @ way)) * texture[f]
    return colors


def turns_of(own: OwnRows, row: int) -> np.ndarray:
    return np.concatenate([own.hands.global_orient[[row]], own.hands.hand_pose[row].reshape(15, 3)]).astype(np.float64)


def steadiness(own: OwnRows, tracks: Tracks) -> tuple[dict, dict, tuple]:
    summary, per_sample = {}, {}
    looks = add_steadiness(own, tracks, summary, per_sample)
    return summary, per_sample, looks


# Rows of sequence "a" out of order, with a gap between 3 and 5; one sample has no prediction.
SEQUENCES = ("a", "b", "a", "a", "a", "b", "b", "", "", "a", "a", "b")
FRAMES = (3, 10, 1, 2, 5, 11, 12, 0, 0, 6, 7, 13)
ROWS = (8, 0, 6, 7, 9, 1, 2, 3, 4, 10, -1, 5)


def tracks_of(rows: tuple[int, ...] = ROWS) -> Tracks:
    return Tracks(np.array(rows), SEQUENCES, FRAMES)


def test_turning_is_eq_17_over_windows_that_span_no_gap() -> None:
    own = drawn_rows([("x", 0, i) for i in range(11)])
    summary, per_sample, _ = steadiness(own, tracks_of())
    windows = {3: (6, 7, 8), 5: (0, 1, 2), 6: (1, 2, 5)}  # middle place: own rows; 5, 6 and the missing 7 make none
    expected = {place: eq_17(np.stack([turns_of(own, row) for row in rows])) for place, rows in windows.items()}
    known = np.flatnonzero(np.isfinite(per_sample["quaternion_rad"]))
    assert known.tolist() == sorted(expected)
    for place, value in expected.items():
        assert per_sample["quaternion_rad"][place] == pytest.approx(value, abs=1e-6)
    assert summary["quaternion_rad"] == pytest.approx(np.mean(list(expected.values())), abs=1e-6)


def test_spreads_are_of_sequences_and_their_mean_is_over_sequences() -> None:
    own = drawn_rows([("x", 0, i) for i in range(11)])
    assert own.appearance is not None
    summary, per_sample, looks = steadiness(own, tracks_of())
    rows = {"a": [6, 7, 8, 9, 10], "b": [0, 1, 2, 5]}
    shape = {name: own.hands.betas[of].astype(np.float64).std(0).mean() for name, of in rows.items()}
    assert summary["shape_sd"] == pytest.approx(np.mean(list(shape.values())))
    assert per_sample["shape_sd"][2] == pytest.approx(shape["a"])  # its first frame
    assert np.isfinite(per_sample["shape_sd"]).sum() == 2
    looks_of = {look.name: look for look in looks}
    assert list(looks_of) == ["a", "b"]
    texture = []
    for name, of in rows.items():
        colors = np.stack([lighted(own.appearance.texture[row], own.appearance.light[row]) for row in of])
        texture.append(colors.std(0).mean())
        np.testing.assert_allclose(looks_of[name].texture_sd, 255 * colors.std(0).mean(-1), rtol=1e-5)
    assert summary["texture_sd"] == pytest.approx(np.mean(texture), rel=1e-5)
    np.testing.assert_array_equal(looks_of["b"].betas, own.hands.betas[rows["b"]])


def test_hands_of_two_sides_are_two_sequences() -> None:
    sides = [True, False] * 4
    own = drawn_rows([("x", 0, i) for i in range(8)], sides=sides, texture=False)
    tracks = Tracks(np.arange(8), ("a",) * 8, tuple(range(8)))
    summary, _, looks = steadiness(own, tracks)
    assert {look.name for look in looks} == {"a, right", "a, left"}
    assert all(len(look.betas) == 4 and look.texture_sd is None for look in looks)
    assert "quaternion_rad" not in summary, "a window spans hands of both sides"
    assert "texture_sd" not in summary


def test_constant_hands_have_no_spread() -> None:
    own = drawn_rows([("x", 0, i) for i in range(3)])
    still = own.rows(np.zeros(3, int))
    summary, _, _ = steadiness(still, Tracks(np.arange(3), ("a",) * 3, (0, 1, 2)))
    assert summary == pytest.approx({"quaternion_rad": 0, "shape_sd": 0, "texture_sd": 0}, abs=1e-6)


def test_frames_without_numbers_follow_one_another() -> None:
    assert numbered(["a", "b", "a", "a", "b"]) == (0, 0, 1, 2, 1)


def within(errors: np.ndarray, known: np.ndarray) -> list[float]:
    """Fig. 7 written out."""
    shares = []
    for threshold in THRESHOLDS_PX:
        frames = [
            all(e <= threshold for e, k in zip(*pair, strict=True) if k) for pair in zip(errors, known, strict=True)
        ]
        shares.append(float(np.mean(frames)))
    return shares


def test_keypoint_sets_are_compared_in_a_crops_pixels() -> None:
    own = drawn_rows([("x", 0, i) for i in range(9)])
    assert own.estimated is not None
    rows = np.array([3, 1, -1, 8, 0, 5])
    rng = np.random.default_rng(4)
    truth = own.hands.keypoints_2d[rows] + rng.normal(0, 5, (6, 21, 2))
    known = rng.random((6, 21)) < 0.8
    known[4] = False
    curves = {curve.keypoints: curve for curve in frame_curves(own, rows, Reference(truth, known, TRUTH))}
    assert list(curves) == ["detected", "estimated", "projected"]
    used = [0, 1, 3, 5]  # neither the one without a prediction nor the one without truth
    sets = {
        "detected": own.hands.keypoints_2d,
        "estimated": own.estimated.points,
        "projected": own.hands.joints_2d,
    }
    for name, points in sets.items():
        errors = np.zeros((4, 21))
        for k, i in enumerate(used):
            box = np.ptp(truth[i][known[i]], axis=0).max()
            errors[k] = 224 / (2.2 * 1.23 * box) * np.linalg.norm(points[rows[i]] - truth[i], axis=-1)
        np.testing.assert_allclose(curves[name].share, within(errors, known[used]), atol=1e-12)
        assert curves[name].mean_px == pytest.approx(errors[known[used]].mean(), rel=1e-6)
        assert curves[name].frames == 4
        assert curves[name].against == TRUTH


def test_frames_where_a_set_lacks_a_joint_are_not_its() -> None:
    own = drawn_rows([("x", 0, i) for i in range(3)], estimated=False)
    own.hands.keypoint_scores[1, 4] = 0
    reference = Reference(own.hands.joints_2d.astype(np.float64), np.ones((3, 21), bool), TRUTH)
    curves = {curve.keypoints: curve.frames for curve in frame_curves(own, np.arange(3), reference)}
    assert curves == {"detected": 2, "projected": 3}
    own.hands.keypoint_scores[:] = 0
    assert [curve.keypoints for curve in frame_curves(own, np.arange(3), reference)] == ["projected"]


def test_without_truth_joints_are_moved_to_where_mediapipe_sees_them() -> None:
    own = drawn_rows([("x", 0, i) for i in range(4)], estimated=False)
    joints = own.hands.joints_2d.astype(np.float64)
    own.hands.keypoints_2d[:] = joints
    own.hands.keypoints_2d[:, 8] = 0.85 * joints[:, 8] + 0.15 * joints[:, 7]  # a tip's pulp
    rows = np.arange(4)
    reference = detected(own, rows)
    (curve,) = frame_curves(own, rows, reference)
    assert (curve.keypoints, curve.against) == ("projected", DETECTIONS)
    tips = [4, 12, 16, 20]
    knuckles = [5, 9, 13, 17]
    off = np.zeros((4, 21))
    for joint, towards, share in [*((t, t - 1, 0.15) for t in tips), *((k, k + 1, 0.1) for k in knuckles)]:
        off[:, joint] = share * np.linalg.norm(joints[:, joint] - joints[:, towards], axis=-1)
    box = np.ptp(own.hands.keypoints_2d, axis=1).max(-1)
    expected = 224 / (2.2 * 1.23 * box) * off.mean(1)
    np.testing.assert_allclose(distance_to_detections_px(own, rows), expected, rtol=1e-5)
    assert curve.mean_px == pytest.approx(expected.mean(), rel=1e-5)


def test_a_truth_of_the_palm_is_not_compared_in_2d() -> None:
    own = drawn_rows([("x", 0, i) for i in range(3)], estimated=False)
    points = own.hands.joints_2d.astype(np.float64)
    points[:, 0] += 50
    truth = HandSet(ids=("0", "1", "2"), joints_2d=points)
    empty = Scores("m", "stb", "", truth.ids, {"count": 3}, {})
    for root, worst in (("palm", 0), ("wrist-from-ring", 10)):
        protocol = PROTOCOLS["stb"].__class__(**{**PROTOCOLS["stb"].__dict__, "root_joint": root})
        found = with_own(empty, own, np.arange(3), truth, protocol).frame_curves[-1]
        assert (found.share[0] == 1) == (worst == 0)


def test_own_tracks_count_read_frames_and_tell_hands_apart() -> None:
    places = [("v.mp4", 0, 0), ("v.mp4", 1, 0), ("v.mp4", 0, 4), ("v.mp4", 0, 8), ("v.mp4", 1, 12), ("w.mp4", 0, 5)]
    found = own_tracks(drawn_rows([*places, ("w.mp4", 0, 6)]).hands)
    assert found.sequences == (
        "v.mp4, track 0",
        "v.mp4, track 1",
        *["v.mp4, track 0"] * 2,
        "v.mp4, track 1",
        *["w.mp4"] * 2,
    )
    assert found.frames == (0, 0, 1, 2, 3, 5, 6)
    assert found.ids[:2] == ("v_000000/0", "v_000000/1")
    assert found.ids[-1] == "w_000006"
    assert len(set(found.ids)) == 7


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["evaluate", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def video(frames: list[int], *, tracks: int = 2) -> list[tuple[str, int, int]]:
    return [("clip.mp4", track, frame) for frame in frames for track in range(tracks)]


def test_a_video_without_truth_is_scored_for_steadiness(tmp_path: Path) -> None:
    own = drawn_rows(video([0, 1, 2, 3, 6, 7, 8]))
    folder = write_rows(tmp_path / "clip", own)
    code, stdout, stderr = run(
        "--protocol", "steadiness", "--pred", folder, "--out", tmp_path / "out", "--json", "--fps", 30
    )
    assert (code, stderr) == (0, "")
    summary = json.loads(stdout)
    assert set(summary) <= set(summary_keys(PROTOCOLS["steadiness"]))
    joints = own.hands.joints_3d.astype(np.float64)
    joints = joints - joints[:, :1]
    triples = [[2 * i + track for i in run] for track in (0, 1) for run in ((0, 1, 2), (1, 2, 3), (4, 5, 6))]
    bends = [1000 * np.linalg.norm(joints[a] - 2 * joints[b] + joints[c], axis=-1).mean() for a, b, c in triples]
    assert summary["acc_mm_per_frame2"] == pytest.approx(np.mean(bends), rel=1e-5)
    assert summary["acc_mm_per_s2"] == pytest.approx(900 * np.mean(bends), rel=1e-5)
    turning = [eq_17(np.stack([turns_of(own, row) for row in triple])) for triple in triples]
    assert summary["quaternion_rad"] == pytest.approx(np.mean(turning), rel=1e-5)
    betas = own.hands.betas.astype(np.float64)
    assert summary["shape_sd"] == pytest.approx(np.mean([betas[track::2].std(0).mean() for track in (0, 1)]), rel=1e-5)
    assert summary["detections_px"] == pytest.approx(np.mean(distance_to_detections_px(own, np.arange(14))))
    assert summary["count"] == 14
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"keypoints.pdf", "shape.png", "texture_sd.png", "report.html"} <= names
    assert "farther from the detected keypoints" in (tmp_path / "out" / "report.html").read_text()


def test_methods_are_compared_over_the_frames_that_all_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handkit.report.write_report", lambda out, scores, **more: [])
    first = drawn_rows(video(list(range(8)), tracks=1))
    second = drawn_rows(video([0, 1, 2, 4, 5, 6, 7], tracks=1), seed=1)
    a, b = write_rows(tmp_path / "a", first), write_rows(tmp_path / "b", second)
    arguments = ("--protocol", "steadiness", "--pred", f"a={a}", "--pred", f"b={b}", "--out", tmp_path / "out")
    code, stdout, _ = run(*arguments, "--json")
    assert code == 0
    found = json.loads(stdout)
    assert {method["count"] for method in found["methods"].values()} == {7}
    alone = write_rows(tmp_path / "alone", first.rows(np.delete(np.arange(8), 3)))
    expected = json.loads(run("--protocol", "steadiness", "--pred", alone, "--out", tmp_path / "out", "--json")[1])
    assert found["methods"]["a"] == pytest.approx(expected)
    rows = {row["metric"]: row for row in found["comparison"]}
    assert rows["shape_sd"]["count"] == 1
    assert rows["shape_sd"]["units"] == "sequences"
    code, stdout, _ = run(*arguments)
    assert "7 of 8 samples scored" in stdout
    other = write_rows(tmp_path / "other", drawn_rows([("elsewhere.mp4", 0, 0)]))
    code, _, stderr = run(*arguments[:4], "--pred", f"c={other}", "--out", tmp_path / "out")
    assert (code, "a and c have no frame in common" in stderr) == (1, True)


def test_stills_have_nothing_to_be_steady_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handkit.report.write_report", lambda out, scores, **more: [])
    folder = write_rows(tmp_path / "stills", drawn_rows([(f"{i}.jpg", 0, 0) for i in range(4)]))
    code, stdout, stderr = run("--protocol", "steadiness", "--pred", folder, "--out", tmp_path / "out", "--json")
    assert code == 0
    assert set(json.loads(stdout)) == {"detections_px", "count"}
    assert "no track has three successive frames" in stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--pred", "points.npz"], 1, "holds points and no parameters"),
        (["--pred", "clip", "--align", "root"], 1, "--align: steadiness compares with no truth"),
        (["--pred", "clip", "--submission", "freihand"], 1, "--submission: steadiness compares with no truth"),
        (["--pred", "clip", "--require", "mpjpe_mm=3"], 1, "steadiness has no such key"),
        (["--pred", "clip", "--exclude", "nobody"], 1, "no sample"),
        (["--pred", "clip", "--require", "shape_sd=0.0001"], 1, "missed: clip: shape_sd"),
    ],
)
def test_bad_command_lines_are_told(
    arguments: list[str], code: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("handkit.report.write_report", lambda out, scores, **more: [])
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "clip", drawn_rows(video([0, 1, 2])))
    np.savez("points.npz", joints=np.zeros((3, 21, 3)))
    found = run("--protocol", "steadiness", *arguments, "--out", "out")
    assert found[0] == code
    assert said in found[1] + found[2]


def test_files_beside_must_have_as_many_hands(tmp_path: Path) -> None:
    folder = write_rows(tmp_path / "clip", drawn_rows(video([0, 1, 2])))
    shorter = write_rows(tmp_path / "shorter", drawn_rows(video([0, 1])))
    (folder / "keypoints.npz").write_bytes((shorter / "keypoints.npz").read_bytes())
    code, _, stderr = run("--protocol", "steadiness", "--pred", folder, "--out", tmp_path / "out")
    assert code == 1
    assert "keypoints.npz has 4 hands, hands.npz 6" in stderr


def test_what_only_some_files_have_is_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = []
    for name, texture in (("a", True), ("b", False)):
        rows = drawn_rows([(f"{name}.mp4", 0, 0)], texture=texture)
        files.append(write_rows(tmp_path / name, rows) / "hands.npz")
    joined = read_own(files)
    assert joined.appearance is None
    assert joined.estimated is not None
    assert len(joined.estimated.points) == 2
    assert "1 of 2 files of hands have appearance.npz beside them" in caplog.text


def test_hands_that_are_not_finite_go_with_what_is_beside_them(tmp_path: Path) -> None:
    own = drawn_rows([("x", 0, i) for i in range(4)])
    assert own.appearance is not None
    write_rows(tmp_path, own)
    with np.load(tmp_path / "hands.npz") as held:
        arrays = dict(held)
    arrays["betas"][1, 3] = np.nan
    np.savez(tmp_path / "hands.npz", **arrays)
    found = read_own([tmp_path / "hands.npz"])
    assert found.appearance is not None
    np.testing.assert_array_equal(found.appearance.light, own.appearance.light[[0, 2, 3]])
    np.testing.assert_array_equal(found.hands.frame, [0, 2, 3])
