import json
from pathlib import Path

import numpy as np
import pytest

from handkit.demo.camera import CameraChoice
from handkit.errors import HandkitError

IMAGE = Path("folder/photo.jpg")
SIZE = (640, 480)


def write(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


def test_order_of_precedence(tmp_path: Path) -> None:
    file = write(tmp_path / "camera.json", {"K": [500, 510, 300, 200]})
    everything = CameraChoice(K=(1, 2, 3, 4), camera=file, focal=900)
    assert everything.choose(IMAGE, SIZE, 700.0).source == "--K"
    assert CameraChoice(camera=file, focal=900).choose(IMAGE, SIZE, 700.0).source == "camera file (camera.json)"
    assert CameraChoice(focal=900).choose(IMAGE, SIZE, 700.0).source == "--focal"
    assert CameraChoice().choose(IMAGE, SIZE, 700.0).source == "EXIF"
    assert CameraChoice().choose(IMAGE, SIZE).source.startswith("default (60 degrees")


def test_matrices() -> None:
    K = CameraChoice(K=(1, 2, 3, 4)).choose(IMAGE, SIZE).K
    np.testing.assert_array_equal(K, [[1, 0, 3], [0, 2, 4], [0, 0, 1]])
    K = CameraChoice(focal=900).choose(IMAGE, SIZE).K
    np.testing.assert_array_equal(K, [[900, 0, 320], [0, 900, 240], [0, 0, 1]])
    K = CameraChoice().choose(IMAGE, SIZE).K
    np.testing.assert_allclose(2 * np.rad2deg(np.arctan(320 / K[0, 0])), 60)


@pytest.mark.parametrize(
    "content",
    [
        {"K": [500, 510, 300, 200]},
        {"K": [[500, 0, 300], [0, 510, 200], [0, 0, 1]]},
        {"photo.jpg": {"K": [500, 510, 300, 200]}, "other.jpg": [1, 1, 1, 1]},
        {"photo": [[500, 0, 300], [0, 510, 200], [0, 0, 1]]},
        [500, 510, 300, 200],
    ],
)
def test_camera_file_forms(tmp_path: Path, content: object) -> None:
    K = CameraChoice(camera=write(tmp_path / "c.json", content)).choose(IMAGE, SIZE).K
    np.testing.assert_array_equal(K, [[500, 0, 300], [0, 510, 200], [0, 0, 1]])


def test_camera_folder_prefers_the_images_own_file(tmp_path: Path) -> None:
    write(tmp_path / "cameras.json", {"photo.jpg": [1, 1, 1, 1], "b.jpg": [2, 2, 2, 2]})
    write(tmp_path / "photo.json", {"K": [7, 7, 7, 7]})
    choice = CameraChoice(camera=tmp_path)
    assert choice.choose(IMAGE, SIZE).K[0, 0] == 7
    assert choice.choose(Path("b.jpg"), SIZE).K[0, 0] == 2


@pytest.mark.parametrize(
    "content",
    [{"other.jpg": [1, 1, 1, 1]}, {"K": [1, 2, 3]}, {"K": "wide"}, {"K": [-1, 1, 1, 1]}, {"K": [[1, 0], [0, 1]]}],
)
def test_bad_camera_files_are_errors(tmp_path: Path, content: object) -> None:
    with pytest.raises(HandkitError, match=r"c\.json"):
        CameraChoice(camera=write(tmp_path / "c.json", content)).choose(IMAGE, SIZE)


def test_unreadable_camera_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text("{")
    with pytest.raises(HandkitError, match="not a readable camera file"):
        CameraChoice(camera=tmp_path / "c.json")
    with pytest.raises(HandkitError, match="not a readable camera file"):
        CameraChoice(camera=tmp_path / "missing.json")
