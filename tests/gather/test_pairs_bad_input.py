"""Views and rigs that are no calibrated pair, or that show no hand together: said, with the way out."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from handkit.detect.detection import HandDetection
from handkit.errors import HandkitError
from handkit.gather.pairs import gather_pairs
from tests.demo.two_views import TrueHands, make_scene, write_pictures, write_rig, write_video
from tests.gather.pair_making import Gatherer


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    return write_pictures(tmp_path / "a", 2), write_pictures(tmp_path / "b", 2)


def gathered(folders: tuple[Path, Path], rig: Path, **options: Any) -> None:
    gather_pairs(*folders, rig, rig.parent / "out", **options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"stride": 0}, "stride is 0"),
        ({"max_hands": 0}, "at most 0 hands"),
        ({"patch_px": 8}, "patches of at most 8 pixels"),
        ({"hands": "upper"}, "upper"),
    ],
)
def test_options_that_make_no_sense(
    folders: tuple[Path, Path], tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(HandkitError, match=said):
        gathered(folders, write_rig(tmp_path / "rig.json"), **options)


def test_rigs_that_are_no_pair(folders: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(HandkitError, match=r"none\.json: no such file"):
        gathered(folders, tmp_path / "none.json")
    with pytest.raises(HandkitError, match="both cameras stand in one place, the baseline is 0"):
        gathered(folders, write_rig(tmp_path / "rig.json", (np.eye(3), np.zeros(3))))
    with pytest.raises(HandkitError, match="no K"):
        gathered(folders, write_rig(tmp_path / "rig.json", K=None))


def test_one_camera_before_the_other(gather_truth: Gatherer, folders: tuple[Path, Path], tmp_path: Path) -> None:
    rig = write_rig(tmp_path / "rig.json", (np.eye(3), np.array([0.0, 0.0, -0.1])))
    with pytest.raises(HandkitError, match="one camera of a pair stands before the other"):
        gather_truth(*folders, rig, make_scene(2))
    assert list((tmp_path / "out").iterdir()) == []


def test_a_unit_that_makes_the_cameras_one(gather_truth: Gatherer, folders: tuple[Path, Path], tmp_path: Path) -> None:
    rig = write_rig(tmp_path / "rig.json", (np.eye(3), np.array([-0.0004, 0.0, 0.0])))
    with pytest.raises(HandkitError, match=r"stand 0\.4 mm apart"):
        gather_truth(*folders, rig, make_scene(2))


def test_views_that_are_not_there(folders: tuple[Path, Path], tmp_path: Path) -> None:
    rig = write_rig(tmp_path / "rig.json")
    with pytest.raises(HandkitError, match="no such file or folder"):
        gathered((folders[0], tmp_path / "c"), rig)
    with pytest.raises(HandkitError, match="is given as both views"):
        gathered((folders[0], folders[0]), rig)
    with pytest.raises(HandkitError, match="are no pair of views"):
        gathered((folders[0] / "p0.png", folders[1]), rig)
    (folders[1] / "p1.png").rename(folders[1] / "q.png")
    (folders[1] / "p0.png").unlink()
    with pytest.raises(HandkitError, match=r"2 pictures and .* 1, and no two share a name"):
        gathered(folders, rig)
    (folders[1] / "q.png").unlink()
    with pytest.raises(HandkitError, match="no pictures in this folder"):
        gathered(folders, rig)


def test_an_output_that_is_a_file(folders: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(HandkitError, match="it is a file"):
        gathered(folders, write_rig(tmp_path / "rig.json"))


def test_pictures_of_other_sizes_than_the_rigs(gather_truth: Gatherer, tmp_path: Path) -> None:
    left, right = write_pictures(tmp_path / "a", 2), write_pictures(tmp_path / "b", 2, size=(1280, 960))
    with pytest.raises(HandkitError, match="far from the middle of pictures of 1280 x 960"):
        gather_truth(left, right, write_rig(tmp_path / "rig.json"), make_scene(2))
    write_pictures(right, 1)
    asked = gather_truth(left, right, tmp_path / "rig.json", make_scene(2))
    assert len(asked.pairs) == 1
    assert "p1.png is 1280 x 960, but others of its view are 320 x 240" in asked.errors[0]


def test_swapped_views(gather_truth: Gatherer, folders: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(HandkitError, match="the views seem to be swapped: 2 hands have a positive disparity"):
        gather_truth(*folders, write_rig(tmp_path / "rig.json"), make_scene(2), truth={"swapped": True})


def test_views_of_other_moments(gather_truth: Gatherer, folders: tuple[Path, Path], tmp_path: Path) -> None:
    scene = make_scene(3)
    scene.hands["joints_3d"][2, :, 1] += 0.05
    with pytest.raises(HandkitError, match="no hand of one view is where the other sees one, in 2 pairs"):
        gather_truth(*folders, write_rig(tmp_path / "rig.json"), scene, truth={"rows": ([0, 1], [2, 2])})


def test_a_view_without_hands(gather_truth: Gatherer, folders: tuple[Path, Path], tmp_path: Path) -> None:
    missing = [(0, 0), (0, 1)]
    with pytest.raises(HandkitError) as caught:
        gather_truth(*folders, write_rig(tmp_path / "rig.json"), make_scene(2), truth={"missing": missing})
    assert caught.value.what == (
        "a_b: no hand that both views show; 2 pairs of pictures, 0 and 2 hands found, 0 of both usable (2 no hand in "
        "the left view, 2 seen by one camera only)"
    )
    assert "lower the least score" in caught.value.fix
    assert list((tmp_path / "out").iterdir()) == []


def test_a_damaged_picture_in_every_pair(gather_truth: Gatherer, folders: tuple[Path, Path], tmp_path: Path) -> None:
    for path in (folders[0] / "p1.png", folders[1] / "p0.png"):
        path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(HandkitError, match="no picture of one view has a partner"):
        gather_truth(*folders, write_rig(tmp_path / "rig.json"), make_scene(2))
    assert [error.split(" is damaged")[0][-8:] for error in gather_truth.errors] == ["a/p1.png", "b/p0.png"]
    (folders[0] / "p0.png").write_bytes(b"none")
    with pytest.raises(HandkitError, match=r"a/p[01]\.png is "):
        gather_truth(*folders, write_rig(tmp_path / "rig.json"), make_scene(2))


def test_a_damaged_picture_and_no_hand_beside_it(
    gather_truth: Gatherer, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    path = folders[0] / "p1.png"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(HandkitError, match=r"no hand that both views show; 1 pairs .*; the last error: .*p1\.png"):
        gather_truth(*folders, write_rig(tmp_path / "rig.json"), make_scene(2), truth={"missing": [(1, 0)]})


def test_a_video_with_a_hole(gather_truth: Gatherer, tmp_path: Path) -> None:
    left, right = write_video(tmp_path / "l.mp4", 20), write_video(tmp_path / "r.mp4", 20)
    content = bytearray(right.read_bytes())
    # Past the first frame, and short of the index at the end.
    first = len(content) // 2
    content[first : first + 2000] = bytes(2000)
    right.write_bytes(content)
    asked = gather_truth(left, right, write_rig(tmp_path / "rig.json"), make_scene(20))
    assert 0 < len(asked.pairs) <= 20
    assert len(asked.errors) == asked.pairs.counts.left_out["failed"] == 1
    assert "r.mp4" in asked.errors[0]
    assert gather_truth(left, right, tmp_path / "rig.json", make_scene(20)).errors == asked.errors


def test_no_palm_says_the_unit(
    gather_truth: Gatherer, folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_in = TrueHands.find_in

    def without_palm(self: TrueHands, number: int, frame: int) -> HandDetection:
        hand = find_in(self, number, frame)
        scores = hand.keypoint_scores.copy()
        scores[[0, 5, 9]] = 0
        return replace(hand, keypoint_scores=scores)

    monkeypatch.setattr(TrueHands, "find_in", without_palm)
    with pytest.raises(HandkitError, match="no palm that both views see says how long the rig's unit is"):
        gather_truth(*folders, write_rig(tmp_path / "rig.json", unit_m=None), make_scene(2))
    kept = gather_truth(*folders, write_rig(tmp_path / "rig.json"), make_scene(2)).pairs
    assert kept.unit_m == 1.0
    assert not kept[0]["left"]["keypoints_2d"][9].any()
