"""Patches of videos and stills, what is counted, and what a second run does."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import handkit.gather.run as run
from handkit.data.sample import HandSample, check_sample
from handkit.errors import HandkitError
from handkit.gather.counts import REASONS
from handkit.images import write_image
from tests.gather.making import (
    HAND_PX,
    gathered,
    picture,
    points,
    write_clip,
    write_keypoints,
    write_openpose,
    write_stills,
    write_video,
)

MOVING = [(40.0 + 2 * n, 30.0) for n in range(8)]
K = (80.0, 82.0, 48.0, 32.0)


def red_middle(sample: HandSample) -> np.ndarray:
    """The middle of the red square in a patch, in pixels."""
    red, green, _ = sample["image"].astype(float)
    rows, columns = np.nonzero(red - green > 40)
    return np.array([columns.mean(), rows.mean()]) + 0.5


def test_a_videos_hand_becomes_patches(tmp_path: Path) -> None:
    clip, keypoints = write_clip(tmp_path, "clip", MOVING)
    result, errors = gathered(tmp_path / "out", clip, keypoints=keypoints, K=K)
    assert errors == []
    dataset = result.dataset
    assert dataset.frames.tolist() == list(range(8))
    np.testing.assert_allclose(dataset.times_s, np.arange(8) / 30, atol=1e-3)
    assert dataset.sequence_names == ("clip/clip/0",)
    assert dataset.windows(3, 3).tolist() == [[0, 3, 6], [1, 4, 7]]
    matrix = np.array([[K[0], 0, K[2]], [0, K[1], K[3]], [0, 0, 1]])
    # 2.2 x 1.5 hands of 1.23 times the keypoints' box, and no pixel more
    side = np.ceil(2.2 * 1.5 * 1.23 * HAND_PX)
    for n, middle in enumerate(MOVING):
        sample = dataset[n]
        check_sample(sample)
        assert sample["image"].shape == (3, side, side)
        np.testing.assert_allclose(red_middle(sample), side / 2, atol=1.1)
        assert sample["K"][0, 0] == K[0]
        rays = (np.c_[sample["keypoints_2d"], np.ones(21)] @ np.linalg.inv(sample["K"]).T)[:, :2]
        expected = (np.c_[points(middle), np.ones(21)] @ np.linalg.inv(matrix).T)[:, :2]
        np.testing.assert_allclose(rays, expected, atol=1e-4)
    # the picture is 96 x 64: what the patch has above and below it is black
    assert dataset[0]["image"][:, :8].max() < 20
    counts = result.counts["clip"].to_json()
    assert counts == {"pictures": 8, "found": 8, "usable": 8, "left_out": dict.fromkeys(REASONS, 0)}


def test_large_hands_are_scaled_down_to_the_patch(tmp_path: Path) -> None:
    clip = write_video(tmp_path / "clip.mp4", [(150, 150)] * 3, size=(300, 300))
    keypoints = write_keypoints(tmp_path / "k", "clip", {n: [points((150, 150), 100)] for n in range(3)})
    sample = gathered(tmp_path / "out", clip, keypoints=keypoints, patch_px=64, focal=200)[0].dataset[0]
    assert sample["image"].shape == (3, 64, 64)
    scale = 64 / (2.2 * 1.5 * 1.23 * 100)
    np.testing.assert_allclose(sample["K"], [[200 * scale, 0, 32], [0, 200 * scale, 32], [0, 0, 1]], rtol=1e-4)
    np.testing.assert_allclose(red_middle(sample), 32, atol=0.3)


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    """Hand a: 12 frames, away in 4 of them, elsewhere in two in between. Hand b: two frames. Hand c: outside."""
    a = [points((40, 30))] * 20
    for frame in (3, 4, 5, 6):
        a[frame] = None
    for frame in (12, 13):
        a[frame] = points((60, 30))
    frames: dict[int, list[Any]] = {n: [] if hand is None else [hand] for n, hand in enumerate(a)}
    frames[9] = [*frames[9], points((85, 50))]
    frames[10] = [*frames[10], points((85, 50))]
    for n in range(15, 20):
        frames[n] = [*frames[n], points((300, 30))]
    clip = write_video(tmp_path / "clip.mp4", [(40, 30)] * 20)
    result, _ = gathered(tmp_path / "out", clip, keypoints=write_keypoints(tmp_path / "k", "clip", frames))
    counts = result.counts["clip"]
    expected = {"no hand": 4, "failed": 0, "other hand": 0, "outside the picture": 5, "short track": 2, "hand jumps": 2}
    assert counts.to_json() == {"pictures": 20, "found": 23, "usable": 14, "left_out": expected}
    assert result.dataset.frames.tolist() == [0, 1, 2, *range(7, 12), *range(14, 20)]
    runs = [result.dataset.frames[rows].tolist() for rows in result.dataset.runs()]
    assert runs == [[0, 1, 2, 7, 8, 9, 10, 11], list(range(14, 20))]
    assert result.lines() == [
        "clip: 20 pictures, 23 hands found, 14 usable (4 no hand, 5 outside the picture, 2 short track, 2 hand jumps)"
    ]


def test_sides_and_numbers_of_hands(tmp_path: Path) -> None:
    clip = write_video(tmp_path / "clip.mp4", [(40, 30)] * 5)
    hands = [points((25, 30)), points((75, 30))]
    keypoints = write_keypoints(tmp_path / "k", "clip", dict.fromkeys(range(5), hands), sides=["right", "left"])
    both = gathered(tmp_path / "out", clip, keypoints=keypoints)[0]
    assert len(both.dataset) == both.total.usable == 10
    left = gathered(tmp_path / "out", clip, keypoints=keypoints, hands="left")[0]
    assert left.total.left_out["other hand"] == 5
    assert not any(left.dataset[n]["is_right"] for n in range(5))
    one = gathered(tmp_path / "out", clip, keypoints=keypoints, max_hands=1)[0]
    assert (one.total.found, one.total.usable, one.total.left_out["other hand"]) == (10, 5, 5)


def test_stills_have_no_time(tmp_path: Path) -> None:
    folder = write_stills(tmp_path / "photos", ["a.png", "b.png"])
    write_stills(folder / "more", ["c.png"])
    for name, hands in (("a", [points((50, 30))]), ("b", [points((30, 30)), points((70, 30))]), ("c", [])):
        write_openpose(tmp_path / "k" / f"{name}_keypoints.json", hands)
    result, errors = gathered(tmp_path / "out", folder, keypoints=tmp_path / "k")
    assert errors == []
    dataset = result.dataset
    assert [dataset[n]["name"] for n in range(3)] == ["photos/a.png", "photos/b.png_0", "photos/b.png_1"]
    assert {dataset[n]["sequence"] for n in range(3)} == {""}
    assert len({dataset.scene(n) for n in range(3)}) == 3
    np.testing.assert_allclose(dataset[0]["K"][0, 0], 96 / 2 / np.tan(np.radians(30)), rtol=1e-5)
    assert result.total.to_json()["left_out"]["no hand"] == 1


def test_one_row_an_image_of_an_array(tmp_path: Path) -> None:
    folder = write_stills(tmp_path / "photos", ["a.png", "b.png", "c.png"])
    rows = np.stack([points((x, 30)) for x in (20, 50, 70)])
    rows[1] = np.nan
    np.save(tmp_path / "k.npy", rows)
    result, _ = gathered(tmp_path / "out", folder, keypoints=tmp_path / "k.npy", hands="left")
    assert [result.dataset[n]["name"] for n in range(2)] == ["photos/a.png", "photos/c.png"]
    assert not result.dataset[0]["is_right"]


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are made, as they are."""
    names: list[str] = []
    plain: Callable[..., None] = run.write_patches

    def write(path: Path, *rest: Any) -> None:
        if len(names) == 1 and path.parent.name == "interrupted":
            raise KeyboardInterrupt
        plain(path, *rest)
        names.append(path.name)

    monkeypatch.setattr(run, "write_patches", write)
    return names


def test_a_second_run_makes_only_what_changed(tmp_path: Path, written: list[str]) -> None:
    for name in ("a", "b"):
        write_clip(tmp_path, name, MOVING)
    videos, keypoints, out = tmp_path / "videos", tmp_path / "keypoints", tmp_path / "out"
    first, _ = gathered(out, videos, keypoints=keypoints)
    assert len(written) == 2
    again, _ = gathered(out, videos, keypoints=keypoints)
    assert len(written) == 2
    assert again.to_json() == first.to_json()
    for index in range(16):
        np.testing.assert_array_equal(again.dataset[index]["image"], first.dataset[index]["image"])
    write_video(videos / "b.mp4", MOVING[:5])
    for n in range(5, 8):
        (keypoints / f"b_{n:012d}_keypoints.json").unlink()
    changed, _ = gathered(out, videos, keypoints=keypoints)
    assert len(changed.dataset) == 13
    gathered(out, videos, keypoints=keypoints, patch_px=50)
    assert len(written) == len(set(written)) == 6
    for path in out.iterdir():
        path.write_bytes(path.read_bytes()[:100])
    assert len(gathered(out, videos, keypoints=keypoints)[0].dataset) == 13


def test_an_interrupted_run_goes_on(tmp_path: Path, written: list[str]) -> None:
    for name in ("a", "b"):
        write_clip(tmp_path, name, MOVING)
    out = tmp_path / "interrupted"
    with pytest.raises(KeyboardInterrupt):
        gathered(out, tmp_path / "videos", keypoints=tmp_path / "keypoints")
    assert len(list(out.iterdir())) == 1
    written += ["past the interruption"]
    result, _ = gathered(out, tmp_path / "videos", keypoints=tmp_path / "keypoints")
    assert len(written) == 3
    assert len(result.dataset) == 16


def test_stills_come_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: list[str]) -> None:
    monkeypatch.setattr(run, "STILLS_A_PIECE", 2)
    folder = write_stills(tmp_path / "photos", [f"{n}.png" for n in range(5)])
    np.save(tmp_path / "k.npy", np.stack([points((30 + 8 * n, 30)) for n in range(5)]))
    result, _ = gathered(tmp_path / "out", folder, keypoints=tmp_path / "k.npy", K=K)
    assert len(written) == 3
    assert [result.dataset[n]["name"] for n in range(5)] == [f"photos/{n}.png" for n in range(5)]
    shifts = [float(result.dataset[n]["K"][0, 2]) for n in range(5)]
    np.testing.assert_allclose(np.diff(shifts), -8, atol=0.1)  # each picture has its own row


def test_sources_of_one_name_stay_apart(tmp_path: Path) -> None:
    folders = [write_clip(tmp_path / name, name, MOVING)[0].parent for name in ("one", "two")]
    keypoints = write_keypoints(tmp_path / "two/keypoints", "one", {n: [points(at)] for n, at in enumerate(MOVING)})
    result, _ = gathered(tmp_path / "out", *folders, keypoints=keypoints)
    assert list(result.counts) == ["videos", "videos-2"]
    assert len(result.dataset.runs()) == 2
    assert result.to_json()["total"]["usable"] == 16
    assert result.lines()[-1] == "total: 16 pictures, 16 hands found, 16 usable"
    with pytest.raises(HandkitError, match="2 pictures or videos are called one"):
        gathered(tmp_path / "out", folders[0], folders[0] / "one.mp4", keypoints=keypoints)


def test_options_that_make_no_sense(tmp_path: Path) -> None:
    clip, _ = write_clip(tmp_path, "clip", MOVING)
    for options, text in (
        ({"source": "openpose"}, "no such detector"),
        ({"hands": "neither"}, "no such choice of hands"),
        ({"max_hands": 0}, "at most 0 hands"),
        ({"patch_px": 8}, "patches of at most 8 pixels"),
        ({"keypoints": tmp_path / "none"}, "no such file or folder of keypoints"),
    ):
        with pytest.raises(HandkitError, match=text):
            gathered(tmp_path / "out", clip, **options)
    write_image(tmp_path / "out.png", picture(None))
    with pytest.raises(HandkitError, match="it is a file"):
        gathered(tmp_path / "out.png", clip)
