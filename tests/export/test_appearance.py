"""appearance.npz: what goes in comes out, and anything else is told."""

from pathlib import Path

import numpy as np
import pytest

from handkit.errors import HandkitError
from handkit.export.appearance import Appearance, join_appearances, load_appearance, save_appearance


def some(count: int = 3) -> Appearance:
    rng = np.random.default_rng(count)
    return Appearance(rng.uniform(-1, 1, (count, 1538, 3)), rng.normal(size=(count, 11)))


def test_round_trip_and_types(tmp_path: Path) -> None:
    save_appearance(tmp_path / "appearance.npz", some())
    back = load_appearance(tmp_path / "appearance.npz")
    assert (back.texture.dtype, back.light.dtype, len(back)) == (np.float16, np.float32, 3)
    np.testing.assert_array_equal(back.texture, some().texture)
    np.testing.assert_array_equal(back.light, some().light)


def test_rows_and_joins_keep_texture_and_light_together() -> None:
    both = join_appearances([some(3), some(2)])
    picked = both.rows(np.array([4, 0]))
    np.testing.assert_array_equal(picked.texture, [some(2).texture[1], some(3).texture[0]])
    np.testing.assert_array_equal(picked.light, [some(2).light[1], some(3).light[0]])
    assert len(join_appearances([])) == len(both.rows(np.zeros(5, bool))) == 0


def test_mean_colors_are_shown_ones() -> None:
    colors = Appearance(np.stack([np.full((1538, 3), value) for value in (-0.5, 0.25)]), np.zeros((2, 11)))
    np.testing.assert_array_equal(colors.mean_colors(), 0)
    np.testing.assert_allclose(colors.rows(np.array([1])).mean_colors(), 0.25)


def test_bad_values_are_told(tmp_path: Path) -> None:
    with pytest.raises(HandkitError, match=r"texture has shape \(3, 1538\)"):
        Appearance(np.zeros((3, 1538)), np.zeros((3, 11)))
    with pytest.raises(HandkitError, match=r"light has shape \(2, 11\), not \(3, 11\)"):
        Appearance(np.zeros((3, 1538, 3)), np.zeros((2, 11)))
    with pytest.raises(HandkitError, match="light holds values that are not finite"):
        Appearance(np.zeros((1, 1538, 3)), np.full((1, 11), np.nan))
    with pytest.raises(HandkitError, match="does not exist"):
        load_appearance(tmp_path / "none.npz")
    np.savez(tmp_path / "half.npz", texture=some().texture)
    (tmp_path / "text.npz").write_text("no archive")
    for name in ("half", "text"):
        with pytest.raises(HandkitError, match=f"{name}.npz is no appearance file"):
            load_appearance(tmp_path / f"{name}.npz")
