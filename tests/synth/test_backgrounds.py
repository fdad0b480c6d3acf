"""Backgrounds: moving patches, folders with bad files, made-up pictures, the same every time."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from handkit.errors import HandkitError
from handkit.synth import backgrounds
from handkit.synth.backgrounds import FAMILIES, PATTERNS, Backgrounds, bundled_photos, procedural, vary

SIZE = 64


def save(path: Path, width: int, height: int, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    ramp = np.add.outer(np.arange(height), np.arange(width))[..., None] + np.array([0, 40, 80]) + 31 * seed
    Image.fromarray((ramp % 256).astype(np.uint8)).save(path)
    return path


def tracks(found: Backgrounds, count: int, frames: int = 3) -> list[np.ndarray]:
    return [found.track(np.random.default_rng((7, index)), frames, SIZE) for index in range(count)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(4):
        save(tmp_path / f"sub{number % 2}" / f"{number}.png", 90 + 10 * number, 100, number)
    return tmp_path


def test_patches_come_from_the_pictures_and_move_a_share_of_the_way(tmp_path: Path) -> None:
    # Red says the column, green the row.
    places = np.zeros((150, 250, 3), np.uint8)
    places[..., 0], places[..., 1] = np.arange(250), np.arange(150)[:, None]
    Image.fromarray(places).save(tmp_path / "only.png")
    found, starts = Backgrounds(tmp_path, SIZE), []
    for index in range(20):
        patches = found.track(np.random.default_rng(index), 10, SIZE)
        corners = patches[:, 0, 0, :2].astype(int)
        for patch, (x, y) in zip(patches, corners, strict=True):
            np.testing.assert_array_equal(patch, places[y : y + SIZE, x : x + SIZE])
        steps = np.diff(corners, axis=0)
        # Each step is 9/10 of the one before, up to rounding to whole pixels.
        np.testing.assert_allclose(steps[1:], 0.9 * steps[:-1], atol=2)
        starts.append(corners[0])
    assert np.std(starts, axis=0).min() > 15
    assert np.max(starts, axis=0).min() > 70


def test_small_and_broken_pictures_are_left_out_and_counted(folder: Path) -> None:
    save(folder / "tiny.png", SIZE - 1, 400)
    (folder / "broken.jpg").write_bytes(b"not a picture")
    (folder / "notes.txt").write_text("no picture either")
    found = Backgrounds(folder, SIZE)
    assert len(found) == 4
    assert sorted(path.name for path, _ in found.skipped) == ["broken.jpg", "tiny.png"]
    assert any("63 x 400" in why for _, why in found.skipped)


def test_damaged_picture_gives_way_to_the_next_whatever_was_read_before(folder: Path) -> None:
    damaged = folder / "sub0" / "2.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 90, 3)).astype(np.uint8)).save(damaged)
    damaged.write_bytes(damaged.read_bytes()[:3000])
    in_order = Backgrounds(folder, SIZE)
    assert len(in_order) == 4
    first = tracks(in_order, 12)
    assert [path for path, _ in in_order.skipped] == [damaged]
    for index in (11, 3, 7):
        alone = Backgrounds(folder, SIZE).track(np.random.default_rng((7, index)), 3, SIZE)
        np.testing.assert_array_equal(alone, first[index])


def test_folders_without_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(HandkitError, match="holds no picture of at least 64 x 64"):
        Backgrounds(tmp_path, SIZE)
    with pytest.raises(HandkitError, match="is not a folder"):
        Backgrounds(tmp_path / "absent", SIZE)
    damaged = tmp_path / "a.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 90, 3)).astype(np.uint8)).save(damaged)
    damaged.write_bytes(damaged.read_bytes()[:2000])
    with pytest.raises(HandkitError, match="every picture of the backgrounds is damaged"):
        tracks(Backgrounds(tmp_path, SIZE), 1)


def test_voc_tree(tmp_path: Path) -> None:
    save(tmp_path / "VOC2012" / "JPEGImages" / "2007.jpg", 100, 90)
    save(tmp_path / "VOC2012" / "SegmentationClass" / "2007.png", 100, 90)
    assert len(Backgrounds(tmp_path, SIZE)) == 1


def test_large_pictures_are_scaled_down(tmp_path: Path) -> None:
    fine = np.zeros((900, 1200, 3), np.uint8)
    fine[::2] = 255
    Image.fromarray(fine).save(tmp_path / "fine.png")
    patch = Backgrounds(tmp_path, SIZE).track(np.random.default_rng(0), 1, SIZE)
    assert np.abs(patch.astype(int) - 128).max() < 30  # stripes of one pixel are averaged


@pytest.mark.parametrize("family", FAMILIES)
def test_families_are_pictures(family: str) -> None:
    make = FAMILIES[family][1]
    pictures = [make(np.random.default_rng(seed), 96) for seed in range(4)]
    for picture in pictures:
        assert picture.shape == (96, 96, 3)
        assert picture.dtype == np.float32
        assert np.isfinite(picture).all()
        assert picture.std() > 1e-3
    np.testing.assert_array_equal(pictures[0], make(np.random.default_rng(0), 96))
    assert np.abs(pictures[0] - pictures[1]).mean() > 0.02


def test_default_is_the_same_every_time_and_varied() -> None:
    found = Backgrounds(None, SIZE)
    first = tracks(found, 40)
    for index in (39, 0, 17):
        np.testing.assert_array_equal(
            first[index], pickle.loads(pickle.dumps(found)).track(np.random.default_rng((7, index)), 3, SIZE)
        )
    means = np.array([patch[0].mean((0, 1)) for patch in first])
    assert means.std(0).min() > 25
    assert not found.skipped
    assert sum(chance for chance, _ in FAMILIES.values()) == pytest.approx(1)


def test_skin_colours_are_seldom() -> None:
    share = []
    for seed in range(60):
        r, g, b = procedural(np.random.default_rng(seed), SIZE).reshape(-1, 3).astype(int).T
        share.append(((r > 95) & (g > 40) & (b > 20) & (r - np.minimum(g, b) > 15) & (r - g > 15) & (r > b)).mean())
    assert np.mean(share) < 0.2


def test_photographs_are_bundled_and_varied() -> None:
    photos = bundled_photos()
    assert len(photos) >= 3
    assert len({len(vary(np.random.default_rng(seed), np.zeros((90, 70, 3), np.uint8), SIZE)) for seed in range(9)}) > 3
    for seed in range(30):
        assert min(vary(np.random.default_rng(seed), np.zeros((66, 300, 3), np.uint8), SIZE).shape[:2]) >= SIZE


def test_a_kind_of_background_may_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []

    def told(rng: np.random.Generator, side: int, families: dict) -> np.ndarray:
        drawn.append(families)
        return procedural(rng, side, families)

    monkeypatch.setattr(backgrounds, "procedural", told)
    tracks(Backgrounds(None, SIZE, "photographs"), 30)
    assert not drawn
    tracks(Backgrounds(None, SIZE, "patterns"), 30)
    assert len(drawn) == 30
    assert all(families is PATTERNS for families in drawn)
    assert not {"bokeh", "foliage", "room", "clutter"} & PATTERNS.keys()
    assert sum(chance for chance, _ in PATTERNS.values()) == pytest.approx(1)
    assert len(Backgrounds(None, SIZE, "patterns")) == 0


def test_kinds_that_cannot_be_are_refused(folder: Path) -> None:
    with pytest.raises(HandkitError, match="backgrounds are to be patterns, and the pictures of"):
        Backgrounds(folder, SIZE, "patterns")
    with pytest.raises(HandkitError, match="none of scikit-image's photographs has 4000 x 4000 pixels"):
        Backgrounds(None, 4000, "photographs")
    assert len(Backgrounds(None, 4000)) == 0
