"""Rig files in both forms, what is said of bad ones, and lenses."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from handkit.errors import HandkitError
from handkit.refine.rig import Lens, load_rig

K = [[600.0, 0, 320], [0, 610, 240], [0, 0, 1]]
TURN = cv2.Rodrigues(np.array([0.1, -0.4, 0.2]))[0]


def written(path: Path, changes: dict[str, Any] | None = None, **more: Any) -> Path:
    second = {"K": K, "R": TURN.tolist(), "T": [[0.2], [0], [0.1]], "distortion": [0.1, 0, 0, 0, 0], "name": "right"}
    views = [{"K": K, "R": np.eye(3).tolist(), "T": [0, 0, 0]}, second | (changes or {})]
    path.write_text(json.dumps({"views": views} | more))
    return path


def test_json(tmp_path: Path) -> None:
    rig = load_rig(written(tmp_path / "rig.json", unit_m=0.001), 2)
    first, second = rig.views
    assert rig.unit_m == 0.001
    assert (first.name, first.lens, second.name) == ("view1", None, "right")
    assert second.lens is not None
    np.testing.assert_allclose(second.R, TURN, atol=1e-12)
    np.testing.assert_array_equal(second.T, [0.2, 0, 0.1])
    assert load_rig(written(tmp_path / "rig.json"), 2).unit_m is None


@pytest.mark.parametrize("names", [("K1", "D1", "K2", "D2"), ("M1", "distCoeffs1", "cameraMatrix2", "D2")])
def test_opencv(tmp_path: Path, names: tuple[str, ...]) -> None:
    path = tmp_path / "stereo.yml"
    storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
    for name in names:
        storage.write(name, np.zeros((1, 5)) if name.lower().startswith("d") else np.array(K))
    storage.write("R", TURN)
    storage.write("T", np.array([[10.0], [0], [2]]))
    storage.release()
    first, second = load_rig(path, 2).views
    # Pixel centres on whole numbers there, on halves here.
    np.testing.assert_allclose(first.K[:2, 2], (320.5, 240.5))
    np.testing.assert_allclose(first.R, np.eye(3))
    np.testing.assert_allclose(second.R, TURN)
    np.testing.assert_array_equal(second.T, [10, 0, 2])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"K": [[1, 0], [0, 1]]}, "K has shape (2, 2), not 3 x 3"),
        ({"K": "none"}, "K does not hold numbers"),
        ({"K": [[-1, 0, 3], [0, 2, 1], [0, 0, 1]]}, "K is not a camera's matrix"),
        ({"K": None}, "no K"),
        ({"R": (2 * np.eye(3)).tolist()}, "R is not a rotation"),
        ({"R": (-np.eye(3)).tolist()}, "R is not a rotation"),
        ({"T": [1, 2]}, "T has shape (2,), not 3"),
        ({"T": [1, 2, float("nan")]}, "no rig file"),
        ({"distortion": [1, 2, 3]}, "distortion has 3 values"),
        ({"name": "view1"}, "two views have one name"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(HandkitError) as caught:
        load_rig(written(tmp_path / "rig.json", changes), 2)
    assert said in caught.value.what
    assert "rig.json" in caught.value.what


def test_bad_rigs(tmp_path: Path) -> None:
    path = tmp_path / "rig.json"
    for count, content, said in (
        (2, None, "no such file"),
        (2, "no file of this kind", "is no rig file"),
        (2, "{}", "is no rig file"),
        (2, '{"views": 3}', "views is not a list"),
        (3, written(path).read_text(), "2 cameras, but 3 predictions"),
        (2, written(path, unit_m=-1).read_text(), "unit_m is -1"),
        (2, written(path, unit_m="mm").read_text(), "unit_m is mm"),
    ):
        if content is None:
            path.unlink()
        else:
            path.write_text(content)
        with pytest.raises(HandkitError) as caught:
            load_rig(path, count)
        assert said in caught.value.what


def test_a_lens_straightens_pictures_and_points_alike() -> None:
    lens = Lens(np.array(K), np.array([-0.25, 0.1, 0.002, -0.003, 0.0]))
    rays = np.array([[-0.35, -0.25, 1.0], [0.4, 0.1, 1.0], [0.02, 0.3, 1.0]])
    straight = rays[:, :2] * (600, 610) + (320, 240)
    centres_on_whole = np.array(K) - [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]]
    bent = cv2.projectPoints(rays, np.zeros(3), np.zeros(3), centres_on_whole, lens.distortion)[0][:, 0] + 0.5
    assert np.linalg.norm(bent - straight, axis=1).max() > 10
    np.testing.assert_allclose(lens.straight_points(bent), straight, atol=0.05)
    for point, wanted in zip(bent, straight, strict=True):
        picture = np.zeros((480, 640), np.uint8)
        cv2.circle(picture, tuple(int(x) for x in np.floor(point)), 3, 255, -1)
        y, x = np.nonzero(lens.straighten(picture) > 127)
        np.testing.assert_allclose((x.mean() + 0.5, y.mean() + 0.5), wanted, atol=1.0)
