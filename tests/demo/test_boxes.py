import json
from pathlib import Path

import pytest

from handkit.demo.boxes import GivenBox, image_key, read_boxes
from handkit.errors import HandkitError


def write(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


def test_plain_form(tmp_path: Path) -> None:
    path = write(tmp_path / "b.json", {"a.jpg": [[10, 20, 30, 40, "left"], [1, 2, 3, 4]], "000007.png": []})
    boxes = read_boxes(path)
    assert boxes["a"] == [GivenBox((10, 20, 40, 60), False), GivenBox((1, 2, 4, 6), None)]
    assert boxes["7"] == []


def test_frankmocap_form(tmp_path: Path) -> None:
    hands = [{"left_hand": [10, 20, 30, 40], "right_hand": None}, {"right_hand": [1, 2, 3, 4]}]
    write(tmp_path / "one.json", {"image_path": "/data/a.jpg", "hand_bbox_list": hands, "body_bbox_list": []})
    write(tmp_path / "two.json", [{"image_path": "b.jpg", "hand_bbox_list": []}])
    expected = {"a": [GivenBox((10, 20, 40, 60), False), GivenBox((1, 2, 4, 6), True)], "b": []}
    assert read_boxes(tmp_path) == expected


@pytest.mark.parametrize(
    "content", [{"a.jpg": [[1, 2, 3]]}, {"a.jpg": [[1, 2, 0, 4]]}, {"a.jpg": [[1, 2, 3, 4, "up"]]}, {"a.jpg": 3}, 7, {}]
)
def test_bad_files_are_errors(tmp_path: Path, content: object) -> None:
    with pytest.raises(HandkitError, match=r"b\.json"):
        read_boxes(write(tmp_path / "b.json", content))


def test_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(HandkitError, match="no such box file"):
        read_boxes(tmp_path / "b.json")


def test_keys() -> None:
    assert [image_key(name) for name in ("x/a.b.jpg", "000120.png", "7", "cam1")] == ["a.b", "120", "7", "cam1"]
