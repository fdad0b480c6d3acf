"""Every form that predictions and truth may come in gives the same hands."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from handkit.conventions import reorder_joints
from handkit.errors import HandkitError
from handkit.evaluate.files import find_files, read_hands, with_images
from handkit.evaluate.matching import ReadHands
from handkit.evaluate.options import ReadOptions
from handkit.evaluate.protocols import PROTOCOLS
from handkit.export.predictions import COLUMNS, Predictions, save_predictions
from handkit.geometry.rotations import axis_angle_to_matrix
from handkit.hand import ManoLayer, load_hand

from .conftest import Points


def read(path: Path, protocol: str = "freihand", *, is_truth: bool = False, **options: str) -> ReadHands:
    return read_hands(path, PROTOCOLS[protocol], ReadOptions(**options), is_truth=is_truth)


def predictions(names: list[str], frames: list[int], joints: np.ndarray, scores: list[float]) -> Predictions:
    count = len(names)
    columns = {name: np.zeros((count, *row), dtype) for name, (dtype, row) in COLUMNS.items()}
    columns |= {"image": names, "frame": frames, "joints_3d": joints, "score": scores, "is_right": np.ones(count, bool)}
    return Predictions(
        **columns, inputs=names, status=["done"] * count, hand_model="open", method="m", camera_source=""
    )


def test_the_official_folder_and_its_layout_in_two(points: Points, tmp_path: Path) -> None:
    points.write(tmp_path / "ref")
    (tmp_path / "res").mkdir()
    (tmp_path / "ref" / "pred.json").rename(tmp_path / "res" / "pred.json")
    truth, pred = read(tmp_path, is_truth=True), read(tmp_path)
    assert np.array_equal(truth.hands.joints, points.gt_j)
    assert np.array_equal(truth.hands.vertices, points.gt_v)
    assert np.array_equal(pred.hands.joints, points.pred_j)
    assert truth.hands.ids[:2] == ("00000000", "00000001")


def test_ho3d_names_and_sequences_come_from_its_list(points: Points, tmp_path: Path) -> None:
    order = [0, 5, 6, 7, 9, 10, 11, 17, 18, 19, 13, 14, 15, 1, 2, 3, 4, 8, 12, 16, 20]
    points.write(tmp_path, order=order, axes=(1, -1, -1))
    (tmp_path / "evaluation.txt").write_text("\n".join(f"{'SM1' if i < 4 else 'MPM10'}/{i:04d}" for i in range(7)))
    hands = read(tmp_path, "ho3d", is_truth=True).hands
    assert np.array_equal(hands.joints, points.gt_j)
    assert hands.ids[4] == "MPM10/0004"
    assert hands.sequences == ("SM1",) * 4 + ("MPM10",) * 3
    assert hands.frames == tuple(range(7))


def test_arrays_with_units_order_and_axes(points: Points, tmp_path: Path) -> None:
    theirs = reorder_joints(points.pred_j, "ours", "rhd") * [1000, -1000, -1000]
    np.save(tmp_path / "a.npy", theirs)
    np.savez(tmp_path / "a.npz", joints=theirs, vertices=points.pred_v * [1000, -1000, -1000], ids=list("abcdefg"))
    for name in ("a.npy", "a.npz"):
        hands = read(tmp_path / name, unit="mm", joint_order="rhd", axes="opengl").hands
        assert hands.joints == pytest.approx(points.pred_j, abs=1e-12)
    assert hands.vertices == pytest.approx(points.pred_v, abs=1e-12)
    assert hands.ids == tuple("abcdefg")


def test_handkits_own_predictions_are_named_by_image_and_frame(points: Points, tmp_path: Path) -> None:
    names, frames = ["a.jpg", "b.jpg", "clip.mp4", "clip.mp4"], [0, 1, 7, 8]
    save_predictions(tmp_path / "x" / "hands.npz", predictions(names, frames, points.pred_j[:4], [0.5] * 4))
    save_predictions(tmp_path / "y" / "hands.npz", predictions(["c.jpg"], [0], points.pred_j[4:5], [0.7]))
    found = read(tmp_path)
    assert found.named
    assert found.hands.ids == ("a.jpg", "b.jpg", "clip_000007", "clip_000008", "c.jpg")
    assert found.confidence == pytest.approx([0.5, 0.5, 0.5, 0.5, 0.7])
    assert found.hands.vertices.shape == (5, 778, 3)


@pytest.mark.parametrize("side", ["right", "left"])
def test_seqhand_takes_handkits_own_predictions_about_the_hands_origin(tmp_path: Path, side: str) -> None:
    layer = ManoLayer(load_hand("open", side))
    torch.manual_seed(0)
    pose, betas = 0.3 * torch.randn(2, 45), torch.randn(2, 10)
    turn, place = torch.randn(2, 3), torch.tensor([0.1, -0.05, 0.6])
    given = {"hand_pose": pose, "betas": betas, "global_orient": turn, "transl": place.expand(2, 3)}
    camera, untouched = layer(**given), layer(hand_pose=pose, betas=betas)
    rows = predictions(["a.jpg", "b.jpg"], [0, 1], camera.joints.numpy(), [0.5] * 2)
    columns = {name: value.numpy() for name, value in given.items()}
    rows = replace(rows, is_right=np.full(2, side == "right"), **columns)
    save_predictions(tmp_path / "hands.npz", rows)
    R = axis_angle_to_matrix(turn).transpose(1, 2)
    found = read(tmp_path / "hands.npz", "seqhand").hands
    assert found.joints == pytest.approx((untouched.joints @ R).numpy(), abs=1e-6)
    assert found.vertices == pytest.approx((untouched.vertices @ R).numpy(), abs=1e-6)
    assert np.array_equal(read(tmp_path / "hands.npz", "custom").hands.joints, camera.joints.numpy())


@pytest.mark.parametrize(("protocol", "code"), [("dexter-object", 32001.0), ("egodexter", 0.0)])
def test_missing_value_codes(points: Points, tmp_path: Path, protocol: str, code: float) -> None:
    tips = points.gt_j[:, [4, 8, 12, 16, 20]] * 1000
    tips[1, 2] = [0, 0, code]
    np.save(tmp_path / "truth.npy", tips)
    valid = read(tmp_path / "truth.npy", protocol, is_truth=True, unit="mm").hands.joints_valid
    assert np.argwhere(~valid).tolist() == [[1, 2]]


def test_flags_follow_the_joints_into_our_order(points: Points, tmp_path: Path) -> None:
    valid = np.ones((7, 21), bool)
    valid[:, 4] = False  # "rhd" has the thumb's first joint there
    np.savez(tmp_path / "t.npz", joints=reorder_joints(points.gt_j, "ours", "rhd"), joints_valid=valid)
    hands = read(tmp_path / "t.npz", is_truth=True, joint_order="rhd").hands
    assert np.flatnonzero(~hands.joints_valid[0]).tolist() == [1]


def test_pictures_are_found_by_name(points: Points, tmp_path: Path) -> None:
    points.write(tmp_path)
    (tmp_path / "evaluation" / "rgb").mkdir(parents=True)
    (tmp_path / "evaluation" / "rgb" / "00000003.jpg").touch()
    images = with_images(read(tmp_path, is_truth=True), None).hands.images
    assert [image and image.name for image in images] == [None, None, None, "00000003.jpg", None, None, None]


def test_errors_name_the_file_and_the_way_out(points: Points, tmp_path: Path) -> None:
    with pytest.raises(HandkitError, match="does not exist"):
        find_files(tmp_path / "none", is_truth=True)
    with pytest.raises(HandkitError, match=r"holds no evaluation_xyz\.json"):
        find_files(tmp_path, is_truth=True)
    with pytest.raises(HandkitError, match=r"holds no pred\.json"):
        find_files(tmp_path, is_truth=False)
    (tmp_path / "pred.json").write_text(json.dumps([points.pred_j.tolist(), points.pred_v[:5].tolist()]))
    with pytest.raises(HandkitError, match="7 samples of joints, 5 of vertices"):
        read(tmp_path)
    np.savez(tmp_path / "a.npz", joints=points.pred_j, ids=list("abc"))
    with pytest.raises(HandkitError, match="lengths differ: joints 7, ids 3"):
        read(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", something=points.pred_j)
    with pytest.raises(HandkitError, match="holds something"):
        read(tmp_path / "b.npz")
    np.save(tmp_path / "c.npy", points.pred_j[0])
    with pytest.raises(HandkitError, match=r"shape \(21, 3\)"):
        read(tmp_path / "c.npy")
    (tmp_path / "d.npz").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(HandkitError, match="cannot be read"):
        read(tmp_path / "d.npz")
