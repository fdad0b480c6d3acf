"""Two calibrated views to patches of the hands in both: where they are, what is counted, what a second call does."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

import handkit.gather.pairs as pairs_module
from handkit.data.sample import HandSample, StereoSample, check_sample
from handkit.demo.stereo.views import View
from handkit.errors import HandkitError
from handkit.gather.pairs import gather_pairs
from handkit.geometry.disparity import BinocularPoints, triangulate
from handkit.images import read_image
from tests.benchmarks.conftest import FOLDER
from tests.demo.two_views import BESIDE, make_scene, toed_in, write_pictures, write_rig, write_video
from tests.gather.pair_making import Asked, Gatherer, moved

PLACES = {"beside": BESIDE, "turned": toed_in(12.0, roll=3.0), "apart": toed_in(60.0, roll=70.0)}


def met(sample: StereoSample) -> BinocularPoints:
    """Where the keypoints of a pair's patches meet, through the patches' own cameras."""
    views = [
        torch.from_numpy(np.float64(sample[view][key]))  # type: ignore[literal-required]
        for key in ("keypoints_2d", "K")
        for view in ("left", "right")
    ]
    return triangulate(*views, torch.from_numpy(np.float64(sample["right_from_left"])))


def true_joints(asked: Asked, view: View, row: int) -> np.ndarray:
    """The scene's joints in a looked-at camera."""
    source = asked.hands.sources[0]
    hands = source.scene.in_camera(view.turn @ view.own.R, view.turn @ view.own.T * source.unit)
    return hands["joints_3d"][row].astype(np.float64)


@pytest.mark.parametrize("patch_px", [96, 200])
@pytest.mark.parametrize("is_right", [True, False])
@pytest.mark.parametrize("place", PLACES)
def test_the_patches_cameras_see_the_true_hand(
    gather_truth: Gatherer, tmp_path: Path, place: str, is_right: bool, patch_px: int
) -> None:
    left, right = write_pictures(tmp_path / "a", 2), write_pictures(tmp_path / "b", 2)
    rig, scene = write_rig(tmp_path / "rig.json", PLACES[place], lens=True), make_scene(2, is_right=is_right)
    asked = gather_truth(left, right, rig, scene, patch_px=patch_px)
    assert len(asked.pairs) == 2
    assert asked.pairs.how == ("straightened" if place == "apart" else "rectified")
    for row in range(2):
        sample = asked.pairs[row]
        for side in ("left", "right"):
            view: HandSample = sample[side]  # type: ignore[literal-required]
            check_sample(view)
            assert view["image"].shape == (3, patch_px, patch_px)
            assert view["K_valid"]
            assert view["keypoints_2d_valid"]
            assert view["bbox_valid"]
            assert bool(view["is_right"]) == is_right, "as the picture shows it"
            inside = (view["keypoints_2d"] > 0).all() and (view["keypoints_2d"] < patch_px).all()
            assert inside, "with room about the hand"
        found = met(sample)
        for points, own in ((found.left, asked.views.left), (found.right, asked.views.right)):
            np.testing.assert_allclose(points, true_joints(asked, own, row), atol=1e-4)
        assert found.gap.abs().max() < 1e-4


@pytest.mark.parametrize("is_right", [True, False])
def test_a_patch_has_the_pictures_own_pixels_and_black_outside(
    gather_truth: Gatherer, tmp_path: Path, is_right: bool
) -> None:
    left, right = write_pictures(tmp_path / "a", 1), write_pictures(tmp_path / "b", 1)
    scene = moved(make_scene(1, is_right=is_right), (-0.3, 0.1, 0.45))
    asked = gather_truth(left, right, write_rig(tmp_path / "rig.json"), scene, patch_px=256)
    assert asked.pairs.how == "as given"
    sample = asked.pairs[0]["left"]
    picture = read_image(left / "p0.png").astype(float)
    points = asked.hands.sources[0].points(0, 0)
    shift = points[0] - sample["keypoints_2d"][0]
    np.testing.assert_allclose(points - sample["keypoints_2d"], np.tile(shift, (21, 1)), atol=1e-3)
    np.testing.assert_allclose(shift, np.round(shift), atol=1e-3)  # nothing is resampled
    x, y = np.round(shift).astype(int)
    assert x < 0, "the patch reaches out of the picture"
    patch = sample["image"].transpose(1, 2, 0).astype(float)
    assert patch[:, : -x - 8].max() < 10
    rows, columns = np.mgrid[8:200, 8 - x : 248]
    shown = picture[rows + y, columns + x]
    assert np.abs(patch[rows, columns] - shown).mean() < 4  # JPEG
    np.testing.assert_allclose(sample["K"][:2, :2], asked.views.left.K[:2, :2], rtol=1e-6)


def test_who_is_who(gather_truth: Gatherer, tmp_path: Path) -> None:
    left, right = write_video(tmp_path / "cam0.mp4", 5), write_video(tmp_path / "cam1.mp4", 5)
    one = moved(make_scene(5), (-0.06, 0, 0))
    other = moved(make_scene(5, is_right=False, seed=1), (0.10, 0, 0))
    asked = gather_truth(left, right, write_rig(tmp_path / "rig.json"), one, other)
    pairs = asked.pairs
    assert pairs.sequences.tolist() == [0] * 5 + [1] * 5
    assert pairs.frames.tolist() == [0, 1, 2, 3, 4] * 2
    np.testing.assert_allclose(pairs.times_s, np.tile(np.arange(5) / 30, 2), atol=1e-3)
    names = [(pairs[n]["left"]["name"], pairs[n]["right"]["sequence"]) for n in (2, 7)]
    assert names == [
        ("cam0_000002+cam1_000002_0.left", "cam0_cam1/0"),
        ("cam0_000002+cam1_000002_1.left", "cam0_cam1/1"),
    ]
    keys = {pairs[n][side]["name"] for n in range(10) for side in ("left", "right")}  # type: ignore[literal-required]
    assert len(keys) == 20
    for first, scene in ((0, one), (5, other)):
        for n in range(5):
            sample = pairs[first + n]
            assert bool(sample["left"]["is_right"]) == bool(sample["right"]["is_right"]) == scene.is_right
            assert int(sample["right"]["frame"]) == n
            np.testing.assert_allclose(met(sample).left, scene.hands["joints_3d"][n], atol=1e-4)
    assert pairs.to_json()["sequences"] == 2
    alone = gather_truth(left, right, write_rig(tmp_path / "rig.json"), one, other, hands="left").pairs
    assert len(alone) == 5
    assert not alone[0]["left"]["is_right"]


def test_stills_are_of_no_sequence(gather_truth: Gatherer, tmp_path: Path) -> None:
    left, right = write_pictures(tmp_path / "a", 3), write_pictures(tmp_path / "b", 3, prefix="q")
    scenes = moved(make_scene(3), (-0.06, 0, 0)), moved(make_scene(3, seed=1), (0.10, 0, 0))
    pairs = gather_truth(left, right, write_rig(tmp_path / "rig.json"), *scenes).pairs
    assert len(np.unique(pairs.sequences)) == len(pairs) == 6
    assert {pairs[n]["left"]["sequence"] for n in range(6)} == {""}
    assert [pairs[n]["left"]["name"] for n in range(3)] == [
        "p0.png+q0.png_0.left",
        "p0.png+q0.png_1.left",
        "p1.png+q1.png_0.left",
    ]
    single = gather_truth(left / "p1.png", right / "q1.png", write_rig(tmp_path / "rig.json"), *scenes)
    assert len(single.pairs) == 2


def test_every_nth_picture(gather_truth: Gatherer, tmp_path: Path) -> None:
    rig, scene = write_rig(tmp_path / "rig.json"), make_scene(7)
    videos = write_video(tmp_path / "l.mp4", 7), write_video(tmp_path / "r.mp4", 7)
    assert gather_truth(*videos, rig, scene, stride=3).pairs.frames.tolist() == [0, 3, 6]
    folders = write_pictures(tmp_path / "a", 5), write_pictures(tmp_path / "b", 5)
    asked = gather_truth(*folders, rig, scene, stride=2)
    assert [asked.pairs[n]["left"]["name"][:6] for n in range(3)] == ["p0.png", "p2.png", "p4.png"]


def test_frames_go_by_their_times(gather_truth: Gatherer, tmp_path: Path) -> None:
    left, right = write_video(tmp_path / "l.mp4", 4), write_video(tmp_path / "r.mp4", 12, fps=60.0)
    scene, rows = make_scene(8), ([0, 2, 4, 6], [min(i, 7) for i in range(12)])
    pairs = gather_truth(left, right, write_rig(tmp_path / "rig.json"), scene, truth={"rows": rows}).pairs
    assert pairs.frames.tolist() == [0, 1, 2, 3]
    assert pairs[3]["right"]["name"] == "l_000003+r_000006_0.right"
    assert int(pairs[3]["right"]["frame"]) == 3
    np.testing.assert_allclose(met(pairs[3]).left, scene.hands["joints_3d"][6], atol=1e-4)
    assert pairs.counts.left_out["without a partner"] == 8


def test_what_is_left_out_is_counted(gather_truth: Gatherer, tmp_path: Path) -> None:
    left, right = write_pictures(tmp_path / "a", 9), write_pictures(tmp_path / "b", 9)
    (right / "p8.png").write_bytes(b"none")
    missing = [(0, 4), (1, 1), (0, 5), (1, 5)]
    # The right view shows the hand of another time in picture 7.
    rows = list(range(9)), [*range(7), 0, 8]
    scene = make_scene(9)
    scene.hands["joints_3d"][0, :, 1] += 0.04
    asked = gather_truth(left, right, write_rig(tmp_path / "rig.json"), scene, truth={"missing": missing, "rows": rows})
    found = asked.pairs.to_json()
    assert {key: found[key] for key in ("pictures", "found_left", "found_right", "usable", "sequences")} == {
        "pictures": 8,
        "found_left": 6,
        "found_right": 6,
        "usable": 4,
        "sequences": 4,
    }
    assert found["left_out"] == {
        "failed": 1,
        "without a partner": 1,
        "no hand in either view": 1,
        "no hand in the left view": 1,
        "no hand in the right view": 1,
        "seen by one camera only": 2,
        "no match": 1,
        "outside the picture": 0,
    }
    lines = asked.pairs.lines()
    assert lines[0].startswith("a_b: 8 pairs of pictures, 6 and 6 hands found, 4 of both usable (1 failed, 1 without")
    assert lines[1] == "a_b: views as given, 80 mm apart, 4 sequences"
    assert len(asked.errors) == 1
    assert "p8.png" in asked.errors[0]
    again = gather_truth(left, right, tmp_path / "rig.json", scene)
    assert (again.hands.looked, again.errors) == (0, asked.errors)
    assert again.pairs.to_json() == found


def test_a_hand_beside_a_picture_is_left_out(gather_truth: Gatherer, tmp_path: Path) -> None:
    left, right = write_pictures(tmp_path / "a", 2), write_pictures(tmp_path / "b", 2)
    scene = make_scene(2)
    scene.hands["joints_3d"][1, :, 0] -= 0.25
    asked = gather_truth(left, right, write_rig(tmp_path / "rig.json"), scene)
    assert (len(asked.pairs), asked.pairs.counts.left_out["outside the picture"]) == (1, 1)
    scene.hands["joints_3d"][0, :, 0] -= 0.25
    os.utime(left / "p0.png", (1, 1))
    with pytest.raises(HandkitError, match=r"a_b: no hand that both views show; 2 pairs .* \(2 outside the picture\)"):
        gather_truth(left, right, tmp_path / "rig.json", scene)


def test_a_second_call_reads_what_the_first_wrote(gather_truth: Gatherer, tmp_path: Path) -> None:
    left, right = write_video(tmp_path / "l.mp4", 3), write_video(tmp_path / "r.mp4", 3)
    rig, scene = write_rig(tmp_path / "rig.json"), make_scene(3)
    first = gather_truth(left, right, rig, scene)
    assert first.hands.looked == 6
    again = gather_truth(left, right, rig, scene)
    assert again.hands.looked == 0
    np.testing.assert_array_equal(again.pairs[1]["left"]["image"], first.pairs[1]["left"]["image"])
    assert gather_truth(left, right, rig, scene, patch_px=64).hands.looked == 6
    assert gather_truth(left, right, rig, scene, min_score=0.4).hands.looked == 6
    write_rig(rig, (np.eye(3), np.array([-0.0801, 0, 0])))
    assert gather_truth(left, right, rig, scene).hands.looked == 6
    write_video(right, 3, fps=29.9)
    changed = gather_truth(left, right, rig, scene)
    assert changed.hands.looked == 6
    changed.pairs.path.write_bytes(b"cut off")
    assert gather_truth(left, right, rig, scene).hands.looked == 6


def test_interrupted_it_starts_over(gather_truth: Gatherer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left, right = write_video(tmp_path / "l.mp4", 3), write_video(tmp_path / "r.mp4", 3)
    rig, scene, made = write_rig(tmp_path / "rig.json"), make_scene(3), []
    cut = pairs_module.cut_square

    def interrupted(*given: object, **known: object) -> object:
        made.append(1)
        if len(made) > 3:
            raise KeyboardInterrupt
        return cut(*given, **known)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(pairs_module, "cut_square", interrupted)
        with pytest.raises(KeyboardInterrupt):
            gather_truth(left, right, rig, scene)
    assert list((tmp_path / "out").iterdir()) == []
    assert len(gather_truth(left, right, rig, scene).pairs) == 3


def test_a_rig_in_other_units(gather_truth: Gatherer, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    left, right = write_pictures(tmp_path / "a", 2), write_pictures(tmp_path / "b", 2)
    rig = write_rig(tmp_path / "rig.json", PLACES["apart"], unit_m=None)
    asked = gather_truth(left, right, rig, make_scene(2))
    assert "does not say its unit_m" in caplog.text
    # True joints are not quite MediaPipe's keypoints, nor is the hand the mean one.
    assert asked.pairs.unit_m == pytest.approx(0.03, rel=0.1)
    baseline = np.linalg.norm(PLACES["apart"][1]) * asked.pairs.unit_m / 0.03
    assert asked.pairs.baseline_m == pytest.approx(baseline, rel=1e-5)
    factor = asked.pairs.unit_m / 0.03
    np.testing.assert_allclose(met(asked.pairs[0]).left, factor * true_joints(asked, asked.views.left, 0), atol=1e-4)
    write_rig(rig, PLACES["apart"], unit_m=1.0)
    kept = gather_truth(left, right, rig, make_scene(2)).pairs
    assert kept.unit_m == 1.0


def test_mediapipe_on_real_videos(tmp_path: Path, realdata: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mediapipe", reason="needs the extra handkit[mediapipe]")
    monkeypatch.syspath_prepend(FOLDER)
    from handnet_stereo_real import VIDEOS
    from handnet_stereo_real import write_rig as write_real_rig

    rig = write_real_rig(realdata / "stereo", tmp_path / "rig.json")
    videos = [realdata / "stereo" / name for name in VIDEOS]
    pairs = gather_pairs(*videos, rig, tmp_path / "out", stride=40, max_hands=1, patch_px=256)
    assert pairs.how == "straightened"
    assert pairs.counts.pictures == 10
    assert len(pairs) >= 8
    # The board's square is some 4.4 cm by the keyboard that lies there.
    assert 0.038 < pairs.unit_m < 0.046
    for n in range(len(pairs)):
        sample = pairs[n]
        assert sample["left"]["is_right"]
        points = met(sample).right.numpy()
        pixels = points @ sample["right"]["K"].T
        off = np.linalg.norm(pixels[:, :2] / pixels[:, 2:] - sample["right"]["keypoints_2d"], axis=1)
        assert off.mean() < 6
        assert 0.3 < points[:, 2].mean() < 1.2
