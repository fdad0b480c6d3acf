"""One hand refined against several calibrated views, from predictions whose depth is wrong in each."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from handkit.demo.hands import HandPair, project_rows
from handkit.errors import HandkitError
from handkit.export.predictions import Predictions, load_predictions, save_predictions
from handkit.hand import ManoLayer, load_hand
from handkit.images import write_image
from handkit.refine.masks import projected_mask
from handkit.refine.options import RefineOptions
from handkit.refine.rig import RigView
from handkit.refine.run import RefineResult, run_refine
from handkit.refine.seen import calibrated, move_hands
from handkit.refine.together import triangulate
from handkit_cli import app

SIZE = (320, 240)
K = np.array([[400.0, 0, 160], [0, 400, 120], [0, 0, 1]])
R = cv2.Rodrigues(np.array([0.15, 1.0, 0.1]))[0]
# The second camera, 60 degrees aside, looks at the same place half a metre away.
T = np.array([0.0, 0.0, 0.5]) - R @ np.array([0.0, 0.0, 0.5])
PICTURES = 3


def truth() -> dict[str, np.ndarray]:
    """Two hands, a right and a left one, in every picture; in the first camera."""
    rng = np.random.default_rng(3)
    found: list[dict[str, np.ndarray]] = []
    for frame in range(PICTURES):
        for is_right in (True, False):
            hand = {
                "global_orient": rng.normal(0, 0.2, 3) + np.array([0.0, 1.2 if is_right else -1.2, 1.4]),
                "hand_pose": rng.normal(0, 0.15, 45),
                "betas": np.zeros(10),
                "transl": np.array([-0.06 if is_right else 0.06, 0.01 * frame, 0.5]),
            }
            arrays = {name: torch.tensor(value, dtype=torch.float32)[None] for name, value in hand.items()}
            output = ManoLayer(load_hand("open", "right" if is_right else "left"))(**arrays)
            shift = hand["transl"] - output.joints[0].mean(0).numpy()
            hand["transl"] = hand["transl"] + shift
            found.append(hand | {"joints_3d": output.joints[0].numpy() + shift})
    return {name: np.stack([hand[name] for hand in found]) for name in found[0]}


def rows_of(hands: dict[str, np.ndarray]) -> Predictions:
    N = len(hands["transl"])
    cameras = np.broadcast_to(K, (N, 3, 3))
    points = project_rows(hands["joints_3d"], cameras)
    return Predictions(
        **hands,
        frame=np.repeat(np.arange(PICTURES), 2),
        time_s=np.zeros(N),
        track_id=np.tile([0, 1], PICTURES),
        is_right=np.tile([True, False], PICTURES),
        score=np.ones(N),
        joints_2d=points,
        keypoints_2d=points,
        keypoint_scores=np.ones((N, 21)),
        bbox=np.zeros((N, 4)),
        K=cameras,
        image_size=np.tile(SIZE, (N, 1)),
        image=np.repeat([f"{i}.png" for i in range(PICTURES)], 2),
        inputs=[f"{i}.png" for i in range(PICTURES)],
        status=["done"] * PICTURES,
        hand_model="open",
        method="test",
        camera_source="",
    )


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """left/ and right/ with hands.npz (10 % too far and 10 degrees off), pictures beside; masks/left, masks/right."""
    root = tmp_path_factory.mktemp("views")
    hands = truth()
    for name, placed in (("left", hands), ("right", move_hands(hands, R, T))):
        rows = rows_of(placed)
        pair = HandPair("open")
        for row, mesh in enumerate(pair.vertices(rows, range(len(rows)))):
            is_right = bool(rows.is_right[row])
            mask = projected_mask(mesh, pair.model(is_right).faces, K, (SIZE[1], SIZE[0]))
            stem = f"{row // 2}.png_{row % 2}_{'right' if is_right else 'left'}"
            write_image(root / "masks" / name / f"{stem}.png", np.repeat(mask[..., None] * np.uint8(255), 3, 2))
        turn = cv2.Rodrigues(np.deg2rad([10.0, 0, 0]))[0]
        centre = placed["joints_3d"].mean(1)
        off = {k: v.copy() for k, v in placed.items()}
        for i in range(len(centre)):
            one = {k: v[i : i + 1] for k, v in placed.items()}
            for k, v in move_hands(one, turn, 1.1 * centre[i] - turn @ centre[i]).items():
                off[k][i] = v[0]
        save_predictions(root / name / "hands.npz", replace(rows_of(off), keypoints_2d=rows.keypoints_2d))
        for i in range(PICTURES):
            write_image(root / name / f"{i}.png", np.full((SIZE[1], SIZE[0], 3), 90, np.uint8))
    write_rig(root / "rig.json")
    return root


def write_rig(path: Path, scale: float = 1000.0, **changes: Any) -> None:
    """T in millimetres, said, unless changed."""
    world = {"K": K.tolist(), "R": np.eye(3).tolist(), "T": [0, 0, 0], "name": "left"}
    second = {"K": K.tolist(), "R": R.tolist(), "T": (T * scale).tolist(), "name": "right"}
    path.write_text(json.dumps({"unit_m": 0.001, "views": [world, second]} | changes))


def run(pair: Path, out: Path, **changes: Any) -> tuple[RefineResult, list[str]]:
    given = {"overlay": False, "iterations": 5, "rig": pair / "rig.json", "masks": pair / "masks"} | changes
    options = RefineOptions(**given)
    errors: list[str] = []
    names = [str(pair / "left"), str(pair / "right" / "hands.npz")]
    result = run_refine(names, out, options, on_error=lambda error: errors.append(error.what), debug=True)
    return result, errors


def test_one_hand_in_space(pair: Path, tmp_path: Path) -> None:
    result, errors = run(pair, tmp_path, overlay=True)
    assert not errors
    assert [(r.refined, r.together) for r in result.records] == [(2 * PICTURES, 2 * PICTURES)] * 2
    left, right = (load_predictions(tmp_path / name / "hands.npz") for name in ("left", "right"))
    wanted = truth()["joints_3d"]
    off = np.linalg.norm(load_predictions(pair / "left/hands.npz").joints_3d - wanted, axis=-1).mean()
    assert off > 0.04
    assert np.linalg.norm(left.joints_3d - wanted, axis=-1).mean() < 0.003
    np.testing.assert_allclose(left.joints_3d @ R.T + T, right.joints_3d, atol=1e-5)
    for rows in (left, right):
        meshes = HandPair("open").vertices(rows, range(len(rows)))
        assert np.linalg.norm(np.stack(meshes).mean(1) - rows.joints_3d.mean(1), axis=-1).max() < 0.03
    np.testing.assert_allclose(
        np.stack(HandPair("open").vertices(left, range(len(left)))) @ R.T + T,
        np.stack(HandPair("open").vertices(right, range(len(right)))),
        atol=1e-5,
    )
    for record in result.records:
        assert record.iou_before is not None
        assert record.iou_after is not None
        assert record.iou_after > max(0.9, record.iou_before)
    assert (tmp_path / "right/overlay/2.png.jpg").is_file()
    assert all(record.skipped for record in run(pair, tmp_path, overlay=True)[0].records)


def test_the_unit_is_found_from_the_hands(pair: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_rig(tmp_path / "none.json", unit_m=None)
    result, _ = run(pair, tmp_path / "a", rig=tmp_path / "none.json")
    assert result.records[1].rig_unit_m == pytest.approx(0.001, rel=0.03)
    assert "by the size of the hands it is 0.001 m" in caplog.text
    wanted = truth()["joints_3d"]
    found = load_predictions(tmp_path / "a/left/hands.npz").joints_3d
    assert np.linalg.norm(found - wanted, axis=-1).mean() < 0.005
    write_rig(tmp_path / "wrong.json", unit_m=0.1)
    run(pair, tmp_path / "b", rig=tmp_path / "wrong.json", iterations=1)
    assert "unit_m is 0.1, but by the size of the hands it would be 0.001 m" in caplog.text


def test_hands_without_partner_are_refined_alone(pair: Path, tmp_path: Path) -> None:
    shutil.copytree(pair, tmp_path / "pair")
    rows = load_predictions(pair / "right/hands.npz")
    # The last picture is not in the right view; its first right hand is somewhere else, its first left hand not seen.
    rows = replace(rows, keypoints_2d=rows.keypoints_2d + np.array([0.0, 60.0]) * (np.arange(6) == 0)[:, None, None])
    save_predictions(tmp_path / "pair/right/hands.npz", rows.rows(np.array([0, 2, 3])))
    mask = tmp_path / "pair/masks/right/1.png_0_right.png"
    write_image(mask, np.zeros((SIZE[1], SIZE[0], 3), np.uint8))
    result, errors = run(tmp_path / "pair", tmp_path / "out")
    assert len(errors) == 1
    assert "1.png_0_right.png is empty" in errors[0]
    left, right = result.records
    assert (left.refined + left.kept, left.together, left.failed) == (6, 1, 0)
    assert (right.refined + right.kept, right.together, right.failed) == (2, 1, 1)
    lines = (tmp_path / "out/left/refined.csv").read_text().splitlines()[1:]
    alone = [line for line in lines if line.endswith("no partner in another view")]
    assert len(alone) + sum("did not fall" in line for line in lines) >= 5


def test_bad_views(pair: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shutil.copytree(pair, tmp_path / "pair")
    left, right = tmp_path / "pair/left/hands.npz", tmp_path / "pair/right/hands.npz"
    with np.load(right) as archive:
        arrays = dict(archive)
    arrays["transl"][1, 0] = np.nan
    np.savez(right, **arrays)
    (tmp_path / "pair/right/1.png").unlink()
    result, errors = run(tmp_path / "pair", tmp_path / "a", iterations=1)
    assert "row 1 left out, transl is not finite" in errors[0]
    assert "1.png is not in" in errors[1]
    assert [(r.hands, r.failed, r.together) for r in result.records] == [(6, 0, 3), (6, 3, 3)]
    write_image(tmp_path / "pair/masks/left/0.png_0_right.png", np.full((9, 9, 3), 255, np.uint8))
    _, errors = run(tmp_path / "pair", tmp_path / "size", iterations=1)
    assert any("is 9 x 9, but the image 320 x 240" in error for error in errors)
    for i in range(PICTURES):
        (tmp_path / f"pair/right/{i}.png").unlink(missing_ok=True)
    result, errors = run(tmp_path / "pair", tmp_path / "b")
    assert [record.status for record in result.records] == ["failed"] * 2
    assert "is not in the inputs" in errors[-1]
    assert not (tmp_path / "b/left").exists()
    write_rig(tmp_path / "rig.json", scale=-1000.0)
    result, _ = run(pair, tmp_path / "c", rig=tmp_path / "rig.json")
    assert "no hand of one view is where another view sees one" in str(result.records[0].why)
    swapped = RefineOptions(rig=pair / "rig.json", overlay=False, iterations=1, segmenter="grabcut")
    run_refine([str(pair / "right"), str(pair / "left")], tmp_path / "d", swapped)
    assert "the views agree badly" in caplog.text
    with pytest.raises(HandkitError, match="2 cameras, but 1 predictions"):
        run_refine([str(left)], tmp_path / "d", swapped)
    with pytest.raises(HandkitError, match="given twice"):
        run_refine([str(left), str(left)], tmp_path / "d", swapped)


def test_the_command_line(pair: Path, tmp_path: Path) -> None:
    places = [str(pair / "left"), str(pair / "right"), "--rig", str(pair / "rig.json"), "--masks", str(pair / "masks")]
    arguments = ["refine", *places, "--out", str(tmp_path), "--no-overlay", "--iterations", "2"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0
    assert "refined against several views: 6 of 6, 6 of 6 hands" in result.stdout
    result = CliRunner().invoke(app, [*arguments, "--rig", str(tmp_path / "none.json")])
    assert result.exit_code == 1
    assert "none.json: no such file" in result.stderr


def test_rows_of_another_lens_look_the_same_through_the_rigs() -> None:
    rows = rows_of(truth())
    longer = np.array([[800.0, 0, 150], [0, 800, 130], [0, 0, 1]])
    found = calibrated(rows, RigView("a", longer, np.eye(3), np.zeros(3)))
    np.testing.assert_allclose(found.joints_3d.mean(1)[:, 2], 2 * rows.joints_3d.mean(1)[:, 2], rtol=1e-5)
    centre = project_rows(found.joints_3d.mean(1)[:, None], found.K)
    np.testing.assert_allclose(centre, project_rows(rows.joints_3d.mean(1)[:, None], rows.K), atol=1e-3)
    np.testing.assert_allclose(np.ptp(found.joints_2d, 1), np.ptp(rows.joints_2d, 1), rtol=0.25)
    meshes = zip(HandPair("open").vertices(found, range(6)), HandPair("open").vertices(rows, range(6)), strict=True)
    shift = np.stack([(a - b).mean(0) for a, b in meshes])
    np.testing.assert_allclose(shift, (found.joints_3d - rows.joints_3d).mean(1), atol=1e-5)


def test_triangulation() -> None:
    points = np.random.default_rng(0).uniform(-0.1, 0.1, (21, 3)) + np.array([0, 0, 0.5])
    cameras = np.stack([K @ np.c_[np.eye(3), np.zeros(3)], K @ np.c_[R, T]])
    pixels = np.einsum("vab,jb->vja", cameras, np.c_[points, np.ones(21)])
    xy, scores = pixels[..., :2] / pixels[..., 2:], np.ones((2, 21))
    scores[0, 3] = 0
    xy[1, 5] = np.nan
    found = triangulate(xy, scores, cameras)
    assert np.flatnonzero(np.isnan(found).any(1)).tolist() == [3, 5]
    np.testing.assert_allclose(np.delete(found, [3, 5], 0), np.delete(points, [3, 5], 0), atol=1e-9)
