"""`demo --stereo` from files to hands.npz of both views, with the truth in place of detector and networks."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from handkit.demo.options import DemoOptions
from handkit.demo.run import run_demo
from handkit.demo.stereo.views import read_stereo_rig
from handkit.errors import HandkitError
from handkit.export.predictions import Predictions, load_predictions
from handkit.hand import ManoLayer, load_hand
from handkit.images import image_size
from handkit.refine.options import RefineOptions
from handkit.refine.rig import load_rig
from handkit.refine.run import run_refine
from handkit.refine.seen import calibrated
from handkit.refine.together import match_hands, picture_keys
from handkit.video import VideoReader
from handkit_cli import app
from tests.demo.two_views import BESIDE, SIZE, K, make_scene, run_views, toed_in, write_pictures, write_rig, write_video

PLACES = {"beside": BESIDE, "turned": toed_in(12.0, roll=3.0), "apart": toed_in(60.0, roll=70.0)}


def rows_in(folder: Path) -> tuple[Predictions, Predictions]:
    return load_predictions(folder / "left/hands.npz"), load_predictions(folder / "right/hands.npz")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("is_right", [True, False])
def test_the_one_hand_stands_in_both_cameras(tmp_path: Path, place: str, is_right: bool) -> None:
    scene = make_scene(3, is_right=is_right)
    left, right = write_pictures(tmp_path / "a", 3), write_pictures(tmp_path / "b", 3)
    rig = write_rig(tmp_path / "rig.json", PLACES[place], lens=True)
    ran = run_views(tmp_path / "out", left, right, rig, scene)
    assert [(record.status, record.hands, record.frames) for record in ran.records] == [("done", 1, 1)] * 6
    assert ran.figures is not None
    assert ran.figures["views"] == ("straightened" if place == "apart" else "rectified")
    assert len(ran.method.seen) == 3
    for rows, view in zip(rows_in(tmp_path / "out/a_b"), read_stereo_rig(rig).views, strict=True):
        truth = scene.in_camera(view.R, view.T)
        np.testing.assert_allclose(rows.joints_3d, truth["joints_3d"], atol=1e-5)
        np.testing.assert_allclose(rows.transl, truth["transl"], atol=1e-5)
        layer = ManoLayer(load_hand("open", "right" if is_right else "left"))
        given = {name: getattr(rows, name) for name in ("global_orient", "hand_pose", "betas", "transl")}
        import torch

        made = layer(**{name: torch.from_numpy(value) for name, value in given.items()})
        np.testing.assert_allclose(made.joints.numpy(), truth["joints_3d"], atol=1e-5)
        pinhole = rows.joints_3d @ K.T
        np.testing.assert_array_equal(rows.K, np.tile(view.K, (3, 1, 1)))
        np.testing.assert_allclose(rows.joints_2d, pinhole[..., :2] / pinhole[..., 2:], atol=1e-2)
        assert view.lens is not None
        # The detections are where the distorting lens shows the joints.
        np.testing.assert_allclose(view.lens.bent_points(rows.joints_2d), rows.keypoints_2d, atol=0.05)
        assert np.abs(rows.joints_2d - rows.keypoints_2d).max() > 0.5
        np.testing.assert_allclose(rows.bbox[:, :2], rows.keypoints_2d.min(1), atol=1e-3)
        assert rows.image_size.tolist() == [list(SIZE)] * 3
        assert rows.image.tolist() == ["p0.png", "p1.png", "p2.png"]
        assert (rows.frame.tolist(), rows.track_id.tolist()) == ([0, 1, 2], [0, 0, 0])
        assert rows.is_right.tolist() == [is_right] * 3
        assert rows.camera_source == "rig (rig.json)"


@pytest.mark.parametrize("place", PLACES)
def test_figures_of_both_and_of_one(tmp_path: Path, place: str) -> None:
    left, right = write_pictures(tmp_path / "a", 2), write_pictures(tmp_path / "b", 2)
    ran = run_views(tmp_path, left, right, write_rig(tmp_path / "rig.json", PLACES[place], lens=True), make_scene(2))
    assert ran.figures is not None
    found = ran.figures["reprojection"]
    assert max(found["fused_px"], found["fused_left_px"], found["fused_right_px"]) < 0.1
    # A fifth further away on its ray it is only smaller in its own view, and elsewhere in the other.
    assert found["alone_right_px"] < 6
    assert found["alone_left_px"] > 1.6 * found["alone_right_px"]
    alone = load_predictions(tmp_path / "a_b/right/alone.npz")
    own = rows_in(tmp_path / "a_b")[1]
    np.testing.assert_allclose(
        alone.joints_3d,
        1.2 * own.joints_3d.mean(1, keepdims=True) + (own.joints_3d - own.joints_3d.mean(1, keepdims=True)),
        atol=1e-5,
    )
    assert (alone.track_id.tolist(), alone.method) == (own.track_id.tolist(), own.method)
    told = json.loads((tmp_path / "a_b/stereo.json").read_text())
    assert told["figures"] == ran.figures
    (hand,) = told["pairs"][0]["hands"]
    assert (hand["of"], hand["hand"], hand["track_id"]) == ("both", "right", 0)
    assert hand["fused_px"] < 0.1
    assert hand["alone_left_px"] == pytest.approx(found["alone_left_px"], rel=0.2)


def test_where_one_view_shows_no_hand_the_others_own_stands(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    scene = make_scene(6)
    left, right = write_video(tmp_path / "left.mp4", 6), write_video(tmp_path / "right.mp4", 6)
    missing = [(0, 4), (1, 1), (0, 5), (1, 5)]
    ran = run_views(
        tmp_path, left, right, write_rig(tmp_path / "rig.json"), scene, source={"missing": missing}, overlay=True
    )
    rows = rows_in(tmp_path / "left_right")
    assert [own.frame.tolist() for own in rows] == [[0, 1, 2, 3], [0, 2, 3, 4]]
    assert rows[0].method == "truth + truth alone"
    depth = scene.hands["joints_3d"][..., 2].mean(1)
    np.testing.assert_allclose(rows[0].joints_3d[..., 2].mean(1), depth[:4] * [1, 1.2, 1, 1], rtol=1e-4)
    np.testing.assert_allclose(rows[1].joints_3d[..., 2].mean(1), depth[[0, 2, 3, 4]] * [1, 1, 1, 1.2], rtol=1e-4)
    assert ran.figures is not None
    counts = {name: value for name, value in ran.figures.items() if name.startswith(("pairs", "hands"))}
    assert counts == {
        "pairs": 6,
        "pairs_without_hand_in_left": 1,
        "pairs_without_hand_in_right": 1,
        "pairs_without_hand": 1,
        "hands_of_both": 3,
        "hands_of_left_alone": 1,
        "hands_of_right_alone": 1,
    }
    told = json.loads((tmp_path / "left_right/stereo.json").read_text())["pairs"]
    assert [pair["without"] for pair in told] == [[], ["right"], [], [], ["left"], ["left", "right"]]
    assert [[hand["of"] for hand in pair["hands"]] for pair in told] == [
        *(["both"], ["left"], ["both"], ["both"], ["right"], [])
    ]
    assert "1 of 6 pairs show no hand in the left view: there hands are the right view's own (first: 4)" in caplog.text
    assert "1 of 6 pairs show no hand in the right view" in caplog.text
    video = VideoReader(tmp_path / "left_right/overlay.mp4")
    assert video.size == (2 * SIZE[0], SIZE[1])
    assert len(list(video)) == 6
    assert [record.tracks for record in ran.records] == [1, 1]


def test_a_view_without_any_hand(tmp_path: Path) -> None:
    left, right = write_pictures(tmp_path / "a", 2), write_pictures(tmp_path / "b", 2)
    rig = write_rig(tmp_path / "rig.json", unit_m=None)
    ran = run_views(tmp_path, left, right, rig, make_scene(2), source={"missing": [(0, 0), (0, 1)]}, overlay=True)
    assert [(record.status, record.hands) for record in ran.records] == [("no hand", 0)] * 2 + [("done", 1)] * 2
    assert ran.figures is not None
    assert ran.figures["hands_of_right_alone"] == 2
    assert ran.figures["reprojection"]["fused_px"] is None
    assert ran.figures["unit_m"] is None
    assert not ran.method.seen
    assert len(rows_in(tmp_path / "a_b")[0]) == 0
    assert "unit_m" not in json.loads((tmp_path / "a_b/rig.json").read_text())
    drawn = tmp_path / "a_b/overlay/p1.png.jpg"
    assert image_size(drawn) == (2 * SIZE[0], SIZE[1])


@pytest.mark.parametrize("place", PLACES)
def test_a_rig_in_other_units(tmp_path: Path, place: str, caplog: pytest.LogCaptureFixture) -> None:
    scene = make_scene(2)
    left, right = write_pictures(tmp_path / "a", 2), write_pictures(tmp_path / "b", 2)
    rig = write_rig(tmp_path / "rig.json", PLACES[place], unit_m=None)
    ran = run_views(tmp_path, left, right, rig, scene)
    assert ran.figures is not None
    assert ran.figures["unit_m"] == pytest.approx(0.03, rel=1e-3), "true hands have true bones"
    assert "does not say its unit_m" in caplog.text
    baseline = np.linalg.norm(PLACES[place][1])
    assert np.linalg.norm(ran.method.right_from_left[0][:, 3]) == pytest.approx(baseline, rel=1e-3)
    for rows, view in zip(rows_in(tmp_path / "a_b"), load_rig(tmp_path / "a_b/rig.json", 2).views, strict=True):
        truth = scene.in_camera(view.R, view.T)
        np.testing.assert_allclose(rows.joints_3d, truth["joints_3d"], atol=1e-3)


@pytest.mark.parametrize("place", PLACES)
def test_refine_goes_on_from_the_results(tmp_path: Path, place: str) -> None:
    left, right = write_pictures(tmp_path / "a", 2), write_pictures(tmp_path / "b", 2)
    run_views(tmp_path, left, right, write_rig(tmp_path / "r.json", PLACES[place], lens=True), make_scene(2))
    folder = tmp_path / "a_b"
    rig = load_rig(folder / "rig.json", 2)
    assert ([view.name for view in rig.views], rig.unit_m) == (["left", "right"], 1.0)
    rows = [calibrated(own, view) for own, view in zip(rows_in(folder), rig.views, strict=True)]
    projections = [view.K @ np.column_stack([view.R, view.T]) for view in rig.views]
    groups = match_hands(rows, picture_keys(rows), projections)
    assert [sorted(group.members) for group in groups] == [[0, 1], [0, 1]]
    assert max(group.apart for group in groups) < 2e-3, "the lens is undone once"
    result = run_refine(
        [str(folder / side / "hands.npz") for side in ("left", "right")],
        tmp_path / "refined",
        RefineOptions(rig=folder / "rig.json", iterations=1, segmenter="grabcut", overlay=False),
        debug=True,
    )
    assert result.summary["totals"]["hands"] == 4
    assert result.summary["totals"]["failed"] == 0


def test_frames_go_by_their_times(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    scene = make_scene(8)
    left, right = write_video(tmp_path / "left.mp4", 4), write_video(tmp_path / "right.mp4", 12, fps=60.0)
    rows = {"rows": ([0, 2, 4, 6], [min(i, 7) for i in range(12)])}
    ran = run_views(tmp_path, left, right, write_rig(tmp_path / "rig.json"), scene, source=rows)
    assert "30 and 60 frames a second" in caplog.text
    assert "8 of 12 pictures of the right view have no partner" in caplog.text
    assert ran.figures is not None
    assert (ran.figures["pairs"], ran.figures["unpaired_left"], ran.figures["unpaired_right"]) == (4, 0, 8)
    found = rows_in(tmp_path / "left_right")
    assert [own.frame.tolist() for own in found] == [[0, 1, 2, 3], [0, 2, 4, 6]]
    np.testing.assert_allclose(found[0].joints_3d, scene.hands["joints_3d"][[0, 2, 4, 6]], atol=1e-5)
    # refine finds the hands of one time too, though their frames have other numbers.
    keys = picture_keys(found)
    np.testing.assert_array_equal(keys[0], keys[1])


def test_a_shorter_video_ends_the_pairs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    left, right = write_video(tmp_path / "left.mp4", 6), write_video(tmp_path / "right.mp4", 4)
    ran = run_views(tmp_path, left, right, write_rig(tmp_path / "rig.json"), make_scene(6))
    assert "2 of 6 pictures of the left view have no partner" in caplog.text
    assert [record.frames for record in ran.records] == [6, 4]
    assert [record.hands for record in ran.records] == [4, 4]


def test_a_second_run_is_skipped_until_a_view_changes(tmp_path: Path) -> None:
    left, right = write_video(tmp_path / "left.mp4", 3), write_video(tmp_path / "right.mp4", 3)
    given: tuple[Any, ...] = (tmp_path, left, right, write_rig(tmp_path / "rig.json"), make_scene(3))
    first = run_views(*given)
    again = run_views(*given)
    assert [record.skipped for record in again.records] == [True, True]
    assert again.figures == first.figures
    assert not again.method.seen
    write_video(right, 3, fps=29.0)
    assert [record.skipped for record in run_views(*given).records] == [False, False]
    assert not run_views(*given, stereo_camera="triangulated").records[0].skipped
    write_rig(tmp_path / "rig.json", (np.eye(3), np.array([-0.0801, 0, 0])))
    assert not run_views(*given).records[0].skipped


def test_a_picture_that_cannot_be_read_fails_its_pair_alone(tmp_path: Path) -> None:
    left, right = write_pictures(tmp_path / "a", 3), write_pictures(tmp_path / "b", 3)
    (left / "p1.png").write_bytes(b"none")
    ran = run_views(tmp_path, left, right, write_rig(tmp_path / "rig.json"), make_scene(3))
    assert [record.status for record in ran.records] == ["done", "failed", "done"] * 2
    assert "p1.png" in ran.errors[0].what
    assert "the other picture of its pair cannot be used" in ran.errors[1].what
    assert [own.image.tolist() for own in rows_in(tmp_path / "a_b")] == [["p0.png", "p2.png"]] * 2


def test_pictures_of_other_sizes(tmp_path: Path) -> None:
    left = write_pictures(tmp_path / "a", 2)
    right = write_pictures(tmp_path / "b", 2, size=(1280, 960))
    ran = run_views(tmp_path, left, right, write_rig(tmp_path / "rig.json"), make_scene(2))
    assert [record.status for record in ran.records] == ["failed"] * 4
    assert "far from the middle of pictures of 1280 x 960" in ran.errors[0].what
    write_pictures(right, 1, size=SIZE)
    ran = run_views(tmp_path, left, right, write_rig(tmp_path / "rig.json"), make_scene(2))
    assert [record.status for record in ran.records] == ["done", "failed"] * 2
    assert "p1.png is 1280 x 960, but others of its view are 320 x 240" in ran.errors[1].what


def test_swapped_views_fail_with_the_way_out(tmp_path: Path) -> None:
    left, right = write_pictures(tmp_path / "a", 2), write_pictures(tmp_path / "b", 2)
    rig, scene = write_rig(tmp_path / "rig.json"), make_scene(2)
    ran = run_views(tmp_path, left, right, rig, scene, source={"swapped": True})
    assert ran.figures is None
    assert {record.status for record in ran.records} == {"failed"}
    assert len(ran.errors) == 1
    assert "the views seem to be swapped: 2 hands have a positive disparity" in ran.errors[0].what
    assert "--stereo RIGHT LEFT" in ran.errors[0].fix


def test_a_crossed_rig_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    left, right = write_pictures(tmp_path / "a", 1), write_pictures(tmp_path / "b", 1)
    rig = write_rig(tmp_path / "rig.json", (np.eye(3), np.array([0.08, 0.0, 0.0])))
    ran = run_views(tmp_path, left, right, rig, make_scene(1))
    assert "its second camera stands left of its first" in caplog.text
    assert ran.figures is not None
    assert ran.figures["reprojection"]["fused_px"] < 0.1


def test_files_for_other_programs(tmp_path: Path) -> None:
    left, right = write_video(tmp_path / "left.mp4", 3), write_video(tmp_path / "right.mp4", 3)
    options = {"export": ("glb", "json"), "vertices": True, "overlay": True, "side_view": True}
    run_views(tmp_path, left, right, write_rig(tmp_path / "rig.json"), make_scene(3), **options)
    folder = tmp_path / "left_right"
    assert {path.name for path in folder.iterdir()} == {"left", "right", "rig.json", "stereo.json", "overlay.mp4"}
    for side in ("left", "right"):
        assert {path.name for path in (folder / side).iterdir()} == {
            "alone.npz",
            "hands.npz",
            "hands.json",
            "hands.glb",
            "done.json",
        }
        assert load_predictions(folder / side / "hands.npz").vertices is not None
    assert VideoReader(folder / "overlay.mp4").size == (2 * SIZE[0] + SIZE[1], SIZE[1])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--rig", "r.json"], "--rig is of --stereo LEFT RIGHT"),
        (["--stereo-camera", "average"], "--stereo-camera is of --stereo"),
        (
            ["--stereo", "a.png", "b.png", "--method", "handnet"],
            "--stereo without --rig: the cameras are not calibrated",
        ),
        (
            ["--stereo", "a.png", "b.png", "--rig", "r.json"],
            "--method fit sees one view at a time: --stereo is of --method handnet",
        ),
        (["--stereo", "a", "b", "--rig", "r.json", "--method", "s2hand"], "handkit refine LEFT RIGHT --rig"),
        (["c.png", "--stereo", "a", "b", "--rig", "r", "--method", "handnet"], "leave c.png out"),
        (["--stereo", "a", "b", "--rig", "r", "--method", "handnet", "--focal", "9"], "--stereo and --focal exclude"),
        (
            ["--stereo", "a", "b", "--rig", "r", "--method", "handnet", "--K", "9,9,1,1"],
            "--stereo and --K exclude each",
        ),
    ],
)
def test_bad_command_lines_are_told(arguments: list[str], said: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["demo", *arguments, "--out", str(tmp_path)], env={"COLUMNS": "200"})
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.replace("│", " ").split())


def test_from_python_the_same_is_told(tmp_path: Path) -> None:
    for options, said in (
        (DemoOptions(rig=tmp_path / "r"), "--rig without --stereo"),
        (DemoOptions(stereo=(tmp_path, tmp_path)), "--stereo without --rig"),
        (DemoOptions(stereo=(tmp_path, tmp_path), rig=tmp_path / "r"), "--method fit sees one view at a time"),
    ):
        with pytest.raises(HandkitError) as caught:
            run_demo([], tmp_path / "out", options)
        assert said in caught.value.what
