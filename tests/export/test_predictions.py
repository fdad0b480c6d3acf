"""`hands.npz` and its JSON twin: what is written is read, and bad files are named."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import torch

from handkit.errors import HandkitError
from handkit.export.json import write_json
from handkit.export.predictions import (
    COLUMNS,
    Predictions,
    concatenate,
    load_finite_rows,
    load_predictions,
    save_predictions,
)
from handkit.hand.layer import ManoLayer
from handkit.hand.model import load_hand


def _predictions(count: int, seed: int = 0, **changes: Any) -> Predictions:
    rng = np.random.default_rng(seed)
    columns: dict[str, Any] = {name: rng.normal(size=(count, *row)) for name, (_, row) in COLUMNS.items()}
    columns |= {
        "frame": np.arange(count),
        "time_s": np.arange(count) / 30,
        "track_id": np.arange(count) % 2,
        "is_right": np.arange(count) % 2 == 0,
        "image_size": np.tile([640, 480], (count, 1)),
        "image": [f"é {k}.png" for k in range(count)],
        "inputs": ["a.mp4", "b.mp4"],
        "status": ["done", "no hand"],
        "hand_model": "open",
        "method": "fit",
        "camera_source": "exif",
    }
    return Predictions(**(columns | changes))


def _equal(a: Predictions, b: Predictions) -> None:
    for entry in fields(Predictions):
        one, other = getattr(a, entry.name), getattr(b, entry.name)
        np.testing.assert_array_equal(one, other, err_msg=entry.name)
        if isinstance(one, np.ndarray):
            assert one.dtype.kind == other.dtype.kind, entry.name


@pytest.mark.parametrize("count", [0, 1, 5])
@pytest.mark.parametrize("with_vertices", [False, True])
def test_round_trip(tmp_path: Path, count: int, with_vertices: bool) -> None:
    vertices = np.random.default_rng(1).normal(size=(count, 778, 3)) if with_vertices else None
    predictions = _predictions(count, vertices=vertices)
    save_predictions(tmp_path / "out" / "hands.npz", predictions)
    _equal(load_predictions(tmp_path / "out" / "hands.npz"), predictions)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["hands.npz"]


def test_plain_numpy_reads_the_documented_names(tmp_path: Path) -> None:
    save_predictions(tmp_path / "hands.npz", _predictions(3))
    with np.load(tmp_path / "hands.npz", allow_pickle=False) as archive:
        shapes = {name: archive[name].shape for name in archive.files}
    assert shapes == {
        **dict.fromkeys(("frame", "time_s", "track_id", "is_right", "score", "image"), (3,)),
        **{"betas": (3, 10), "global_orient": (3, 3), "hand_pose": (3, 45), "transl": (3, 3)},
        **{"joints_3d": (3, 21, 3), "joints_2d": (3, 21, 2), "keypoints_2d": (3, 21, 2), "keypoint_scores": (3, 21)},
        **{"bbox": (3, 4), "K": (3, 3, 3), "image_size": (3, 2), "inputs": (2,), "status": (2,)},
        **{"hand_model": (), "method": (), "camera_source": ()},
    }


def test_left_rows_rebuild_their_vertices(tmp_path: Path) -> None:
    right = ManoLayer(load_hand("open", "right"))
    rng = np.random.default_rng(0)
    pose, betas, orient = (torch.from_numpy(rng.normal(size=size) * 0.3).float() for size in (45, 10, 3))
    mirror_vectors = torch.tensor([1.0, -1.0, -1.0])
    mirrored_pose = (pose.reshape(15, 3) * mirror_vectors).reshape(45)
    wanted = right(hand_pose=pose, betas=betas, global_orient=orient).vertices.numpy() * [-1, 1, 1]
    row = {"is_right": [False], "hand_pose": mirrored_pose.numpy()[None], "betas": betas.numpy()[None]}
    row |= {"global_orient": (orient * mirror_vectors).numpy()[None], "transl": np.zeros((1, 3))}
    save_predictions(tmp_path / "hands.npz", _predictions(1, **row))
    loaded = load_predictions(tmp_path / "hands.npz")
    left = ManoLayer(load_hand(loaded.hand_model, "left"))
    names = ("hand_pose", "betas", "global_orient", "transl")
    rebuilt = left(**{name: torch.from_numpy(getattr(loaded, name)[0]) for name in names}).vertices
    np.testing.assert_allclose(rebuilt.numpy(), wanted, atol=1e-6)


def test_concatenate_and_rows() -> None:
    first, second = _predictions(3, 1), _predictions(2, 2, inputs=["c.png"], status=["done"], camera_source="assumed")
    both = concatenate([first, second])
    assert len(both) == 5
    assert both.inputs.tolist() == ["a.mp4", "b.mp4", "c.png"]
    assert both.camera_source == "exif; assumed"
    back = both.rows(slice(3, 5))
    np.testing.assert_array_equal(back.joints_3d, second.joints_3d)
    np.testing.assert_array_equal(both.rows(both.is_right).frame, [0, 2, 0])
    empty = Predictions.no_hands(
        inputs=["d.png"], status=["no hand"], hand_model="open", method="fit", camera_source=""
    )
    assert len(concatenate([first, empty])) == 3
    with_vertices = _predictions(2, vertices=np.zeros((2, 778, 3)))
    assert concatenate([empty, with_vertices]).vertices is not None
    for parts in ([], [first, _predictions(1, method="other")], [first, with_vertices]):
        with pytest.raises(HandkitError):
            concatenate(parts)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"betas": np.zeros((3, 9))}, r"betas has shape \(3, 9\), not \(3, 10\)"),
        ({"K": np.zeros((2, 3, 3))}, "K has shape"),
        ({"transl": np.full((3, 3), np.nan)}, "transl holds values that are not finite"),
        ({"status": ["done"]}, None),
        ({"score": ["high"] * 3}, "score is not an array"),
    ],
)
def test_columns_are_checked(changes: dict[str, Any], text: str | None) -> None:
    with pytest.raises(HandkitError, match=text):
        _predictions(3, **changes)


def test_bad_files(tmp_path: Path) -> None:
    path = tmp_path / "hands.npz"
    with pytest.raises(HandkitError, match="does not exist"):
        load_predictions(path)
    with pytest.raises(HandkitError, match="is a folder"):
        load_predictions(tmp_path)
    save_predictions(path, _predictions(2))
    content = path.read_bytes()
    for stored in (b"", b"text", content[: len(content) // 2]):
        path.write_bytes(stored)
        with pytest.raises(HandkitError, match="not a predictions file"):
            load_predictions(path)
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(HandkitError, match="single array"):
        load_predictions(path)
    np.savez(path, frame=np.array([0, {}], object))
    with pytest.raises(HandkitError, match="not a predictions file"):
        load_predictions(path)
    np.savez(path, frame=np.zeros(2))
    with pytest.raises(HandkitError, match="lacks time_s, track_id"):
        load_predictions(path)


def test_json_says_the_same(tmp_path: Path) -> None:
    keypoints = np.full((2, 21, 2), 3.25)
    keypoints[1, 5] = np.nan
    predictions = _predictions(2, keypoints_2d=keypoints)
    write_json(tmp_path / "hands.json", predictions)
    text = (tmp_path / "hands.json").read_bytes()
    content = orjson.loads(text)
    assert content["inputs"] == [{"input": "a.mp4", "status": "done"}, {"input": "b.mp4", "status": "no hand"}]
    assert (content["hand_model"], content["method"], content["camera_source"]) == ("open", "fit", "exif")
    assert [hand["image"] for hand in content["hands"]] == ["é 0.png", "é 1.png"]
    assert content["hands"][0]["is_right"] is True
    assert content["hands"][1]["keypoints_2d"][5] == [None, None]
    for name in ("joints_3d", "betas", "K", "time_s"):
        np.testing.assert_allclose([hand[name] for hand in content["hands"]], getattr(predictions, name), atol=1e-6)
    assert text.count(b'{"frame"') == 2
    assert len([line for line in text.splitlines() if b'"frame"' in line]) == 2


def test_json_without_hands(tmp_path: Path) -> None:
    empty = Predictions.no_hands(inputs=["d.png"], status=["no hand"], hand_model="open", method="", camera_source="")
    write_json(tmp_path / "hands.json", empty)
    assert orjson.loads((tmp_path / "hands.json").read_bytes())["hands"] == []


def test_vertex_offsets_are_optional_and_travel_along(tmp_path: Path) -> None:
    plain = _predictions(3)
    offsets = np.random.default_rng(0).normal(size=(3, 778, 3)).astype(np.float32)
    refined = replace(plain, vertex_offsets=offsets)
    save_predictions(tmp_path / "hands.npz", refined)
    back = load_predictions(tmp_path / "hands.npz")
    np.testing.assert_array_equal(back.vertex_offsets, offsets)
    np.testing.assert_array_equal(back.rows(np.array([2])).vertex_offsets, offsets[2:])
    both = concatenate([plain, refined])
    assert both.vertex_offsets is not None
    assert not both.vertex_offsets[:3].any()
    np.testing.assert_array_equal(both.vertex_offsets[3:], offsets)
    assert concatenate([plain, plain]).vertex_offsets is None


def test_rows_that_are_not_finite_are_named_and_left_out(tmp_path: Path) -> None:
    save_predictions(tmp_path / "hands.npz", _predictions(4))
    arrays = dict(np.load(tmp_path / "hands.npz"))
    arrays["transl"][1, 2] = np.nan
    arrays["betas"][3] = np.inf
    np.savez(tmp_path / "hands.npz", **arrays)
    with pytest.raises(HandkitError, match="not finite"):
        load_predictions(tmp_path / "hands.npz")
    rows, bad = load_finite_rows(tmp_path / "hands.npz")
    assert bad == {1: "transl", 3: "betas"}
    np.testing.assert_array_equal(rows.frame, arrays["frame"][[0, 2]])
