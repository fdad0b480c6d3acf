"""Models: which file and side `load_hand` takes, what it corrects and says, and the mirror image."""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from jaxtyping import TypeCheckError

from handkit.errors import HandkitError
from handkit.hand import load_hand
from handkit.hand.model import find_hand_file, side_in_name

SHAPES = {
    "v_template": (778, 3),
    "shapedirs": (778, 3, 10),
    "posedirs": (778, 3, 135),
    "J_regressor": (16, 778),
    "lbs_weights": (778, 16),
    "parents": (16,),
    "faces": (1538, 3),
    "hands_mean": (45,),
    "hands_components": (45, 45),
}


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory and an environment without MANO."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HANDKIT_MANO", raising=False)
    monkeypatch.delenv("HANDKIT_WEIGHTS", raising=False)
    monkeypatch.setattr("handkit.hand.model.__file__", str(tmp_path / "package" / "hand" / "model.py"))
    return tmp_path


def test_open_hand() -> None:
    hand = load_hand()
    assert (hand.name, hand.side) == ("open", "right")
    assert hand.tip_vertices == (744, 320, 443, 554, 671)
    for field, shape in SHAPES.items():
        array = getattr(hand, field)
        assert array.shape == shape
        assert array.dtype == (np.int64 if field in ("parents", "faces") else np.float64)
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    assert load_hand("open", "right") is hand
    assert load_hand("open", side="left").side == "left"


def test_mirrored_twice_is_the_same() -> None:
    hand = load_hand()
    again = hand.mirrored().mirrored()
    assert hand.mirrored().side == "left"
    for field in SHAPES:
        np.testing.assert_array_equal(getattr(again, field), getattr(hand, field))


def test_convention_mirror() -> None:
    right, left = load_hand(), load_hand(side="left")
    np.testing.assert_array_equal(left.v_template, right.v_template * [-1, 1, 1])
    np.testing.assert_array_equal(left.faces, right.faces[:, [0, 2, 1]])
    np.testing.assert_array_equal(left.hands_mean[:3], right.hands_mean[:3] * [1, -1, -1])
    assert signed_volume(left.v_template, left.faces) == pytest.approx(signed_volume(right.v_template, right.faces))
    assert signed_volume(right.v_template, right.faces) > 1e-4  # outward faces, some 300 ml


def signed_volume(vertices: np.ndarray, faces: np.ndarray) -> float:
    corners = vertices[faces] - vertices.mean(0)
    return float(np.linalg.det(corners).sum() / 6)


def test_convention_rest_frame() -> None:
    hand = load_hand()
    joints = hand.J_regressor @ hand.v_template
    fingers = joints[[1, 4, 7, 10]].mean(0) - joints[0]
    assert fingers[0] < -0.9 * np.linalg.norm(fingers)
    assert joints[15, 2] - joints[0, 2] > 0.03


def test_left_fault_is_corrected_and_said(mano_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = mano_folder / "MANO_LEFT.pkl"
    with caplog.at_level(logging.INFO, logger="handkit"):
        corrected = load_hand(path)
    assert corrected.side == "left"
    assert "MANO_LEFT.pkl: the sign of the shape directions' x component is corrected" in caplog.text
    np.testing.assert_array_equal(corrected.shapedirs, load_hand("open", "left").shapedirs)
    left_off = load_hand(path, fix_left_shapedirs=False)
    np.testing.assert_array_equal(left_off.shapedirs, corrected.shapedirs * np.array([-1, 1, 1])[:, None])
    right = load_hand(mano_folder / "MANO_RIGHT.pkl")
    np.testing.assert_array_equal(right.shapedirs, load_hand("open").shapedirs)


def test_side_by_name_or_argument(
    mano_folder: Path, mano_dict: dict, write_pickle: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    assert side_in_name(Path("/right/MANO_LEFT.pkl")) == "left"
    assert side_in_name(Path("mano_right_clean.npz")) == "right"
    assert side_in_name(Path("left_right.npz")) is None
    assert load_hand(mano_folder).side == "right"
    assert load_hand(mano_folder, "left").name == str(mano_folder)
    np.testing.assert_array_equal(load_hand(mano_folder, "left").v_template, load_hand("open", "left").v_template)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    mirrored = load_hand(mano_folder / "MANO_RIGHT.pkl", side="left")
    assert mirrored.side == "left"
    assert "using its mirror image as the left hand" in caplog.text
    np.testing.assert_array_equal(mirrored.shapedirs, load_hand("open", "left").shapedirs)


def test_geometry_of_the_other_side_is_a_warning(
    mano_dict: dict, write_pickle: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_pickle(mano_dict, "hand.pkl")
    assert load_hand(path).side == "right"
    assert not caplog.records
    assert load_hand(path, "left").side == "left"
    assert "taken as a left hand but its fingers point the other way" in caplog.text


def test_search_order(nowhere: Path, mano_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_hand_file("right") is None
    content = (mano_folder / "MANO_RIGHT.pkl").read_bytes()
    for folder in ("weights", "by-weights", "by-mano/mano", "package/weights"):
        (nowhere / folder).mkdir(parents=True)
        (nowhere / folder / "MANO_RIGHT.pkl").write_bytes(content)
    (nowhere / "package/weights/MANO_RIGHT.pkl").rename(nowhere / "package/kept.pkl")
    assert find_hand_file("right") == Path("weights/MANO_RIGHT.pkl")
    assert find_hand_file("left") is None
    monkeypatch.setenv("HANDKIT_WEIGHTS", str(nowhere / "by-weights"))
    assert find_hand_file("right") == nowhere / "by-weights/MANO_RIGHT.pkl"
    monkeypatch.setenv("HANDKIT_MANO", str(nowhere / "by-mano"))
    assert find_hand_file("right") == nowhere / "by-mano/mano/MANO_RIGHT.pkl"
    monkeypatch.setenv("HANDKIT_MANO", str(mano_folder / "MANO_LEFT.pkl"))
    assert find_hand_file("right") == nowhere / "by-weights/MANO_RIGHT.pkl"
    assert find_hand_file("left") == mano_folder / "MANO_LEFT.pkl"
    assert load_hand("mano").side == "right"
    (nowhere / "package/kept.pkl").rename(nowhere / "package/weights/MANO_RIGHT.pkl")
    assert find_hand_file("right") == nowhere / "package/weights/MANO_RIGHT.pkl"


def test_only_one_side_found(nowhere: Path, mano_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (nowhere / "weights").mkdir()
    (nowhere / "weights/MANO_RIGHT.pkl").write_bytes((mano_folder / "MANO_RIGHT.pkl").read_bytes())
    assert load_hand("mano", "left").side == "left"
    assert "mirror image" in caplog.text


def test_errors_name_the_way_out(nowhere: Path) -> None:
    with pytest.raises(HandkitError, match="no MANO file") as caught:
        load_hand("mano")
    assert "HANDKIT_MANO" in caught.value.fix
    with pytest.raises(HandkitError, match="no hand model 'opne'") as caught:
        load_hand("opne")
    assert '"open"' in caught.value.fix
    with pytest.raises(HandkitError, match="no MANO_RIGHT or MANO_LEFT"):
        load_hand(nowhere)
    with pytest.raises((HandkitError, TypeCheckError), match="both"):  # the annotation is only checked in tests
        load_hand("open", "both")  # type: ignore[arg-type]
