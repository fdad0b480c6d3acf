"""The cameras of a pair: which are rectified, that rectified pictures and points agree, and what rigs are refused."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from handkit.demo.stereo.views import View, ViewPair, move_points, pair_views, read_stereo_rig
from handkit.errors import HandkitError
from handkit.refine.rig import Rig
from tests.demo.two_views import BESIDE, SIZE, K, toed_in, write_rig

TURNED = toed_in(12.0, roll=3.0)


def pair(rig: Path) -> ViewPair:
    return pair_views(read_stereo_rig(rig), (SIZE, SIZE))


def seen(view: View, world: np.ndarray) -> np.ndarray:
    """Looked-at pixels of points of the world."""
    own = world @ view.own.R.T + view.own.T
    straight = move_points(own[:, :2] / own[:, 2:], view.own.K)
    return move_points(straight, view.K @ view.turn @ np.linalg.inv(view.own.K))


def points(count: int = 40) -> np.ndarray:
    return np.random.default_rng(0).uniform((-0.12, -0.08, 0.4), (0.12, 0.08, 0.6), (count, 3))


def test_a_rectified_pair_stays_as_it_is(tmp_path: Path) -> None:
    views = pair(write_rig(tmp_path / "rig.json"))
    assert (views.how, views.left.is_own, views.right.is_own, views.is_crossed) == ("as given", True, True, False)
    picture = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    assert views.left.look_at(picture) is picture
    np.testing.assert_allclose(views.right_from_left, np.column_stack(BESIDE), atol=1e-12)


@pytest.mark.parametrize("lens", [False, True])
def test_a_turned_pair_is_rectified(tmp_path: Path, lens: bool) -> None:
    views = pair(write_rig(tmp_path / "rig.json", TURNED, lens=lens))
    assert views.how == "rectified"
    world = points()
    left, right = (seen(view, world) for view in views.views)
    np.testing.assert_allclose(left[:, 1], right[:, 1], atol=1e-6)
    disparity = (left[:, 0] - views.left.K[0, 2]) - (right[:, 0] - views.right.K[0, 2])
    assert disparity.min() > 0
    between = views.right_from_left
    np.testing.assert_allclose(between[:, :3], np.eye(3), atol=1e-9)
    baseline = float(np.linalg.norm(TURNED[1]))
    np.testing.assert_allclose(between[:, 3], [-baseline, 0, 0], atol=1e-9)
    depth = views.left.K[0, 0] * baseline / disparity
    turned = (world @ views.left.own.R.T + views.left.own.T) @ views.left.turn.T
    np.testing.assert_allclose(depth, turned[:, 2], rtol=1e-6)


def test_opencv_rectifies_alike(tmp_path: Path) -> None:
    """Its turns, and its rows up to the common K."""
    views = pair(write_rig(tmp_path / "rig.json", TURNED))
    half = np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])
    none = np.zeros(5)
    R1, R2, P1, P2, *_ = cv2.stereoRectify(K - half, none, K - half, none, SIZE, *TURNED)
    np.testing.assert_allclose(views.left.turn, R1, atol=1e-9)
    np.testing.assert_allclose(views.right.turn, R2, atol=1e-9)
    assert P1[1, 2] == P2[1, 2]
    assert views.left.K[1, 2] == views.right.K[1, 2]


@pytest.mark.parametrize("lens", [False, True])
def test_pictures_and_points_go_together(tmp_path: Path, lens: bool) -> None:
    views = pair(write_rig(tmp_path / "rig.json", TURNED, lens=lens))
    for view in views.views:
        corners = np.array([[3.0, 3], [SIZE[0] - 3, 3], [3, SIZE[1] - 3], [SIZE[0] - 3, SIZE[1] - 3]])
        for point in (*corners, np.array([100.0, 80.0])):
            picture = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
            cv2.circle(picture, tuple(int(x) for x in np.floor(point)), 3, (255, 255, 255), -1)
            looked = view.look_at(picture)
            assert looked.shape[:2] == view.looked_size[::-1]
            y, x = np.nonzero(looked[..., 0] > 127)
            assert len(x), "nothing of a picture is lost"
            place = np.array([x.mean() + 0.5, y.mean() + 0.5])
            np.testing.assert_allclose(view.own_points(place[None])[0], np.floor(point) + 0.5, atol=1.0)
            straight = view.straight_points(place[None])
            bent = straight if view.own.lens is None else view.own.lens.bent_points(straight)
            np.testing.assert_allclose(view.own_points(place[None]), bent, atol=1e-9)


@pytest.mark.parametrize(
    "place",
    [
        pytest.param(toed_in(60.0), id="toed in"),
        pytest.param(toed_in(10.0, roll=70.0), id="rolled"),
        pytest.param((np.eye(3), np.array([0.0, -0.08, 0.0])), id="above"),
    ],
)
def test_others_keep_their_axes(tmp_path: Path, place: tuple[np.ndarray, np.ndarray]) -> None:
    views = pair(write_rig(tmp_path / "rig.json", place, lens=True))
    assert views.how == "straightened"
    assert not views.left.is_own, "the lens is undone all the same"
    for view in views.views:
        np.testing.assert_array_equal(view.K, K)
    np.testing.assert_allclose(views.right_from_left, np.column_stack(place), atol=1e-9)


def test_units_and_the_way_back(tmp_path: Path) -> None:
    rig = read_stereo_rig(write_rig(tmp_path / "rig.json", TURNED, unit_m=0.03))
    views = pair_views(rig, (SIZE, SIZE))
    R, t = views.left_from_right
    np.testing.assert_allclose(TURNED[0] @ R, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(TURNED[0] @ t + TURNED[1], 0, atol=1e-12)
    doubled = replace(views, unit_m=0.06)
    np.testing.assert_allclose(doubled.right_from_left[:, 3], 2 * views.right_from_left[:, 3])


def test_a_crossed_rig_is_known(tmp_path: Path) -> None:
    assert pair(write_rig(tmp_path / "rig.json", (np.eye(3), np.array([0.08, 0, 0])))).is_crossed
    assert not pair(write_rig(tmp_path / "rig.json", TURNED)).is_crossed


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"K": None}, "no K"),
        ({"R": None}, "no R"),
        ({"T": None}, "no T"),
        ({"R": (2 * np.eye(3)).tolist()}, "R is not a rotation"),
        ({"T": [0, 0, 0]}, "the baseline is 0"),
        ({"size": [0, 2]}, "size is [0.0, 2.0]"),
    ],
)
def test_uncalibrated_rigs_are_named(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    with pytest.raises(HandkitError) as caught:
        read_stereo_rig(write_rig(tmp_path / "rig.json", **changes))
    assert said in caught.value.what


def test_pictures_of_another_size_than_the_rigs(tmp_path: Path) -> None:
    said = read_stereo_rig(write_rig(tmp_path / "rig.json", size=[640, 480]))
    with pytest.raises(HandkitError, match=r"320 x 240, but view view2 is calibrated for 640 x 480"):
        pair_views(said, (SIZE, SIZE))
    silent = read_stereo_rig(write_rig(tmp_path / "rig.json"))
    with pytest.raises(
        HandkitError, match=r"principal point at \(160, 120\), far from the middle .* 1280 x 960"
    ) as caught:
        pair_views(silent, (SIZE, (1280, 960)))
    assert '"size"' in caught.value.fix
    left, right = silent.views
    larger = K * [[2], [2], [1]]
    other = Rig([left, replace(right, K=larger)], 1.0)
    views = pair_views(other, (SIZE, (640, 480)))
    assert views.how == "rectified", "of one focal length and size from here on"
    assert views.left.looked_size == views.right.looked_size


def test_opencvs_storage_says_its_size(tmp_path: Path) -> None:
    storage = cv2.FileStorage(str(tmp_path / "rig.yml"), cv2.FILE_STORAGE_WRITE)
    for name, value in (("K1", K), ("K2", K), ("R", BESIDE[0]), ("T", BESIDE[1])):
        storage.write(name, value)
    storage.write("image_width", 320)
    storage.write("image_height", 240)
    storage.release()
    rig = read_stereo_rig(tmp_path / "rig.yml")
    assert [view.size for view in rig.views] == [SIZE, SIZE]
    assert pair_views(rig, (SIZE, SIZE)).how == "as given"
