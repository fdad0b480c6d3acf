"""Whose hand is whose: frames by their times, hands by where their rays meet, sides and numbers agreed on."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from handkit.demo.hands import Sighting
from handkit.demo.stereo.finding import FoundInView
from handkit.demo.stereo.inputs import find_pairs
from handkit.demo.stereo.pairing import agree_on_hands, match_sightings
from handkit.demo.stereo.times import pair_times
from handkit.demo.stereo.views import ViewPair, pair_views, read_stereo_rig
from handkit.detect.detection import HandDetection, box_around
from handkit.errors import HandkitError
from tests.demo.two_views import BESIDE, SIZE, Scene, TrueHands, make_scene, toed_in, write_pictures, write_rig


def times(count: int, fps: float, *, first: int = 0, late_s: float = 0.0) -> dict[int, float]:
    return {i: i / fps + late_s for i in range(first, count)}


def test_frames_of_one_time_belong_together() -> None:
    assert pair_times(times(4, 30), times(4, 30)) == [(i, i) for i in range(4)]
    assert pair_times(times(3, 30), times(6, 60)) == [(0, 0), (1, 2), (2, 4)]
    # Of 25 and 30 frames a second, those within a sixtieth of a second.
    found = pair_times(times(25, 25), times(30, 30))
    apart = [abs(i / 25 - j / 30) for i, j in found]
    assert max(apart) <= 1 / 60 + 1e-6
    assert len({i for i, _ in found}) == len({j for _, j in found}) == len(found) >= 24
    assert pair_times(times(10, 30), times(4, 30)) == [(i, i) for i in range(4)]
    assert pair_times(times(3, 30), times(3, 30, late_s=0.01)) == [(0, 0), (1, 1), (2, 2)]
    assert pair_times(times(3, 30), times(3, 30, late_s=1.0)) == []
    assert pair_times({}, times(3, 30)) == []
    assert pair_times({7: 0.2}, {3: 0.9}) == [(7, 3)], "single frames are of no rate"


def views_of(tmp_path: Path, place: tuple[np.ndarray, np.ndarray], *, lens: bool = False) -> ViewPair:
    return pair_views(read_stereo_rig(write_rig(tmp_path / "rig.json", place, lens=lens)), (SIZE, SIZE))


def seen_by(scene: Scene, views: ViewPair, number: int, *, track: int = 0) -> list[Sighting]:
    source = TrueHands(scene, views, ([], []))
    view, found = views.views[number], []
    for frame in range(len(scene)):
        points = source.points(number, frame)
        joints = scene.hands["joints_3d"][frame] @ (view.turn @ view.own.R).T
        landmarks = joints - joints.mean(0)
        hand = HandDetection(points, np.ones(21), scene.is_right, 0.9, box_around(points), keypoints_3d=landmarks)
        found.append(Sighting(hand, "x", view.looked_size, view.K, frame, frame / 30, track))
    return found


def found_of(*sightings: Sighting) -> FoundInView:
    ordered = sorted(sightings, key=lambda s: (s.frame, s.track_id))
    return FoundInView(ordered, {s.frame: s.time_s for s in ordered})


PLACES = [BESIDE, toed_in(12.0, roll=3.0), toed_in(60.0, roll=70.0)]


@pytest.mark.parametrize("place", PLACES)
def test_hands_meet_whatever_their_order_and_side(tmp_path: Path, place: tuple[np.ndarray, np.ndarray]) -> None:
    views = views_of(tmp_path, place, lens=True)
    one, other = make_scene(3), make_scene(3, is_right=False, seed=1)
    shift = np.array([0.07, 0.02, 0.0])
    moved = {"transl": other.hands["transl"] + shift, "joints_3d": other.hands["joints_3d"] + shift}
    other = replace(other, hands=other.hands | moved)
    left = found_of(*seen_by(one, views, 0, track=0), *seen_by(other, views, 0, track=1))
    right = found_of(*seen_by(other, views, 1, track=0), *seen_by(one, views, 1, track=1))
    pairs = [(i, i) for i in range(3)]
    met = match_sightings((left, right), pairs, views)
    assert [(m.left % 2, m.right % 2, m.left // 2, m.right // 2) for m in met] == [
        (track, 1 - track, frame, frame) for frame in range(3) for track in (0, 1)
    ]
    for m in met:
        truth = (one, other)[m.left % 2].hands["joints_3d"][m.left // 2]
        np.testing.assert_allclose(m.points, truth, atol=1e-4)
    (left, right), again = agree_on_hands((left, right), met)
    for m in again:
        a, b = left.sightings[m.left], right.sightings[m.right]
        assert (a.track_id, a.frame, a.detection.is_right) == (b.track_id, b.frame, b.detection.is_right)
    assert {s.track_id: s.detection.is_right for s in left.sightings} == {0: True, 1: False}


def test_the_surer_side_and_the_longer_tracks_number_count(tmp_path: Path) -> None:
    views, scene = views_of(tmp_path, BESIDE), make_scene(6)
    left = seen_by(scene, views, 0, track=4)
    # The right view lost the hand once, and takes it for a left one half of the time.
    right = [replace(s, track_id=0 if s.frame < 3 else 1) for s in seen_by(scene, views, 1)]
    wrong = [replace(s, detection=replace(s.detection, is_right=False, side_score=0.6)) for s in right[:3]]
    # A hand of its own, far from the other, that the left view does not see.
    points = right[0].detection.keypoints_2d + np.array([0.0, 90.0])
    lone = [replace(right[0], track_id=2, detection=replace(right[0].detection, keypoints_2d=points))]
    found = found_of(*left), found_of(*wrong, *right[3:], *lone)
    pairs = [(i, i) for i in range(6)]
    (left_view, right_view), met = agree_on_hands(found, match_sightings(found, pairs, views))
    assert len(met) == 6
    assert {(s.track_id, s.detection.is_right) for s in left_view.sightings} == {(4, True)}
    numbers = [s.track_id for s in right_view.sightings]
    assert numbers == [4, 5, 4, 4, 4, 4, 4]
    assert [s.frame for s in right_view.sightings] == [0, 0, 1, 2, 3, 4, 5]
    assert right_view.sightings[met[0].right].track_id == 4


def test_two_right_tracks_of_one_frame_keep_numbers_apart(tmp_path: Path) -> None:
    views, scene = views_of(tmp_path, BESIDE), make_scene(4)
    left = seen_by(scene, views, 0)
    right = seen_by(scene, views, 1)
    doubled = [replace(s, track_id=1) for s in right]
    shadows = [
        replace(s, detection=replace(s.detection, keypoints_2d=s.detection.keypoints_2d + np.array([1.0, 0.5])))
        for s in doubled
    ]
    found = found_of(*left), found_of(*right, *shadows)
    (_, right_view), met = agree_on_hands(found, match_sightings(found, [(i, i) for i in range(4)], views))
    assert len(met) == 4
    for frame in range(4):
        numbers = [s.track_id for s in right_view.sightings if s.frame == frame]
        assert len(set(numbers)) == 2


@pytest.mark.parametrize(("place", "is_inside_out"), [*zip(PLACES, (False, True, False), strict=True)])
def test_swapped_views_are_said(tmp_path: Path, place: tuple[np.ndarray, np.ndarray], is_inside_out: bool) -> None:
    views, scene = views_of(tmp_path, place, lens=True), make_scene(5)
    source = TrueHands(scene, views, ([], []))
    parts = []
    for number in (0, 1):
        shown, other = views.views[number], views.views[1 - number]
        sightings = seen_by(scene, views, 1 - number)
        # The other camera's picture, looked at as if it were this one's.
        for i, sighting in enumerate(sightings):
            raw = other.own_points(source.points(1 - number, i))
            straight = raw if shown.own.lens is None else shown.own.lens.straight_points(raw)
            H = shown.K @ shown.turn @ np.linalg.inv(shown.own.K)
            points = np.c_[straight, np.ones(21)] @ H.T
            hand = replace(sighting.detection, keypoints_2d=points[:, :2] / points[:, 2:])
            sightings[i] = replace(sighting, detection=hand)
        parts.append(found_of(*sightings))
    with pytest.raises(HandkitError) as caught:
        match_sightings((parts[0], parts[1]), [(i, i) for i in range(5)], views)
    assert ("swapped: 5 hands have a positive disparity with left" in caught.value.what) != is_inside_out
    assert ("swapped: by disparity 5 hands are inside out" in caught.value.what) == is_inside_out
    assert "--stereo RIGHT LEFT" in caught.value.fix


def test_hands_that_nowhere_meet_are_said(tmp_path: Path) -> None:
    views, scene = views_of(tmp_path, BESIDE), make_scene(3)
    right = seen_by(scene, views, 1)
    off = [
        replace(s, detection=replace(s.detection, keypoints_2d=s.detection.keypoints_2d + np.array([0.0, 60.0])))
        for s in right
    ]
    found = found_of(*seen_by(scene, views, 0)), found_of(*off)
    pairs = [(i, i) for i in range(3)]
    with pytest.raises(HandkitError, match="no hand of one view is where the other sees one, in 3 pairs"):
        match_sightings(found, pairs, views)
    assert match_sightings((found[0], found_of()), pairs, views) == []


def test_keypoints_outside_the_picture_do_not_matter(tmp_path: Path) -> None:
    views, scene = views_of(tmp_path, PLACES[1], lens=True), make_scene(2)
    parts = []
    for number in (0, 1):
        sightings = seen_by(scene, views, number)
        for i, sighting in enumerate(sightings):
            points, scores = sighting.detection.keypoints_2d.copy(), np.ones(21)
            points[8], scores[8] = (-5000.0, 9000.0), 0.0
            points[12], scores[12] = np.nan, 0.0
            hand = replace(sighting.detection, keypoints_2d=points, keypoint_scores=scores)
            sightings[i] = replace(sighting, detection=hand)
        parts.append(found_of(*sightings))
    met = match_sightings((parts[0], parts[1]), [(0, 0), (1, 1)], views)
    assert len(met) == 2
    seen = np.setdiff1d(np.arange(21), [8, 12])
    np.testing.assert_allclose(met[0].points[seen], scene.hands["joints_3d"][0, seen], atol=1e-4)


def test_which_pictures_belong_together(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    left, right = write_pictures(tmp_path / "left", 3), write_pictures(tmp_path / "right", 4)
    unit = find_pairs(left, right)
    assert (unit.kind, unit.name) == ("image", "left_right")
    assert [path.name for path in unit.left] == [path.name for path in unit.right] == ["p0.png", "p1.png", "p2.png"]
    assert "1 pictures have no partner" in caplog.text
    assert "p3.png" in caplog.text
    others = write_pictures(tmp_path / "others", 3, "q")
    assert [path.name for path in find_pairs(left, others).right] == ["q0.png", "q1.png", "q2.png"]
    assert "in their order" in caplog.text
    unit = find_pairs(left / "p0.png", right / "p0.png")
    assert (unit.name, unit.left, unit.right) == ("p0", (left / "p0.png",), (right / "p0.png",))
    assert find_pairs(left / "p0.png", right / "p1.png").name == "p0_p1"


def test_bad_pairs_of_inputs(tmp_path: Path) -> None:
    left, right = write_pictures(tmp_path / "left", 3), write_pictures(tmp_path / "right", 4, "q")
    (tmp_path / "empty").mkdir()
    (tmp_path / "x.mp4").write_bytes(b"x")
    for first, second, said in (
        (left / "none.png", right / "q0.png", "--stereo LEFT"),
        (left / "p0.png", tmp_path / "none.png", "--stereo RIGHT"),
        (left, left, "given as both views"),
        (left, right, "no two share a name"),
        (left, tmp_path / "empty", "no pictures in this folder"),
        (left, right / "q0.png", "no pair of views"),
        (left / "p0.png", tmp_path / "x.mp4", "no pair of views"),
    ):
        with pytest.raises(HandkitError) as caught:
            find_pairs(first, second)
        assert said in caught.value.what, first
