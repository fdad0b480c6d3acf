"""`refine` end to end on tiny inputs: what is written, what gets better, and what bad input does."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from handkit.demo.hands import HandPair
from handkit.export.predictions import load_predictions, save_predictions
from handkit.hand import ManoLayer, load_hand
from handkit.images import read_image, write_image
from handkit.refine.options import RefineOptions
from handkit.refine.run import RefineResult, run_refine
from handkit.video import VideoReader
from handkit_cli import app

PLAIN = RefineOptions(overlay=False, iterations=4, segmenter="grabcut")


def run(
    out: Path, *predictions: Path, options: RefineOptions = PLAIN, force: bool = False
) -> tuple[RefineResult, list[str]]:
    errors: list[str] = []
    names = [str(path) for path in predictions]
    result = run_refine(names, out, options, force=force, on_error=lambda error: errors.append(error.what), debug=True)
    return result, errors


def lines(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_of_predictions_gets_nearer_to_its_masks(clip: Path, tmp_path: Path) -> None:
    options = replace(PLAIN, masks=clip / "masks", overlay=True, convergence=True, iterations=6, vertices=True)
    result, errors = run(tmp_path, clip / "out", options=options)
    assert not errors
    assert result.exit_code == 0
    stills = {f"stills/{name}" for name in ("hands.npz", "done.json", "refined.csv", "convergence.mp4")}
    video = {name.replace("stills", "video") for name in stills} | {"video/overlay.mp4"}
    pictures = {f"stills/overlay/p{i}.png.jpg" for i in range(2)}
    assert files(tmp_path) == {"summary.json"} | stills | video | pictures
    for name, count in (("stills", 2), ("video", 4)):
        before, after = (load_predictions(root / name / "hands.npz") for root in (clip / "out", tmp_path))
        assert len(after) == count
        assert after.vertex_offsets is not None
        assert np.abs(after.vertex_offsets).max() > 0
        assert (after.transl != before.transl).any(1).all()
        np.testing.assert_array_equal(after.keypoints_2d, before.keypoints_2d)
        arguments = {n: torch.from_numpy(getattr(after, n)) for n in ("global_orient", "hand_pose", "betas", "transl")}
        output = ManoLayer(load_hand("open"))(**arguments)
        np.testing.assert_allclose(output.joints.numpy(), after.joints_3d, atol=1e-6)
        np.testing.assert_allclose(output.vertices.numpy() + after.vertex_offsets, after.vertices, atol=1e-6)
        np.testing.assert_allclose(HandPair("open").vertices(after, [0])[0], after.vertices[0], atol=1e-6)
        table = lines(tmp_path / name / "refined.csv")
        assert [row["status"] for row in table] == ["refined"] * count
        assert all(float(row["iou_after"]) > max(0.94, float(row["iou_before"])) for row in table)
    film = VideoReader(tmp_path / "video" / "convergence.mp4")
    assert film.size == (4 * 224, 224)
    assert len(list(film)) == 7 + 3
    assert len(list(VideoReader(tmp_path / "video" / "overlay.mp4"))) == 4
    assert json.loads((tmp_path / "summary.json").read_text())["totals"] == {
        "hands": 6,
        "refined": 6,
        "kept": 0,
        "failed": 0,
    }


@pytest.mark.parametrize("segmenter", ["grabcut", "hsv"])
def test_masks_of_its_own(clip: Path, tmp_path: Path, segmenter: str) -> None:
    result, errors = run(tmp_path, clip / "out/stills/hands.npz", options=replace(PLAIN, segmenter=segmenter))
    assert not errors
    (record,) = result.records
    assert record.masks == segmenter
    assert record.refined + record.kept == 2
    assert record.iou_after is not None
    assert record.iou_before is not None
    assert record.iou_after > record.iou_before


def test_left_hands(clip: Path, tmp_path: Path) -> None:
    rows = load_predictions(clip / "out/stills/hands.npz")
    mirror = np.array([1.0, -1.0, -1.0])
    K = rows.K.copy()
    K[:, 0, 2] = 640 - K[:, 0, 2]
    keypoints = rows.keypoints_2d * (-1, 1) + (640, 0)
    left = replace(
        rows,
        is_right=np.zeros(2, bool),
        global_orient=rows.global_orient * mirror,
        hand_pose=(rows.hand_pose.reshape(-1, 15, 3) * mirror).reshape(-1, 45),
        transl=rows.transl * (-1, 1, 1),
        joints_3d=rows.joints_3d * (-1, 1, 1),
        keypoints_2d=keypoints,
        K=K,
    )
    save_predictions(tmp_path / "left" / "hands.npz", left)
    for name in ("p0.png", "p1.png"):
        write_image(tmp_path / "in" / name, np.ascontiguousarray(read_image(clip / "in/stills" / name)[:, ::-1]))
        write_image(tmp_path / "masks" / name, np.ascontiguousarray(read_image(clip / "masks" / name)[:, ::-1]))
    options = replace(PLAIN, images=tmp_path / "in", masks=tmp_path / "masks")
    mirrored, _ = run(tmp_path / "a", tmp_path / "left", options=options)
    straight, _ = run(tmp_path / "b", clip / "out/stills", options=replace(PLAIN, masks=clip / "masks"))
    assert mirrored.records[0].iou_after == pytest.approx(straight.records[0].iou_after, abs=0.003)


def test_bad_hands_are_named_and_the_rest_is_done(clip: Path, tmp_path: Path) -> None:
    shutil.copytree(clip / "out/video", tmp_path / "video")
    with np.load(tmp_path / "video/hands.npz") as archive:
        arrays = dict(archive)
    arrays["hand_pose"][0, 3] = np.nan
    arrays["transl"][1] += (5, 0, 0)
    np.savez(tmp_path / "video/hands.npz", **arrays)
    shutil.copytree(clip / "masks", tmp_path / "masks")
    write_image(tmp_path / "masks/video_000002.png", np.zeros((480, 640, 3), np.uint8))
    options = replace(PLAIN, masks=tmp_path / "masks", images=clip / "in/video.mp4")
    result, errors = run(tmp_path / "out", tmp_path / "video", options=options)
    assert result.exit_code == 1
    assert len(errors) == 3
    assert "row 0 left out, hand_pose is not finite" in errors[0]
    assert "frame 1" in errors[1]
    assert "covers no pixel" in errors[1]
    assert "video_000002.png is empty" in errors[2]
    (record,) = result.records
    assert (record.hands, record.refined, record.failed) == (4, 1, 3)
    table = lines(tmp_path / "out/video/refined.csv")
    assert [row["status"] for row in table] == ["failed", "failed", "refined"]
    after = load_predictions(tmp_path / "out/video/hands.npz")
    np.testing.assert_array_equal(after.hand_pose[:2], arrays["hand_pose"][1:3])
    write_image(tmp_path / "masks/video_000002.png", np.full((100, 100, 3), 255, np.uint8))
    _, errors = run(tmp_path / "size", tmp_path / "video", options=options)
    assert "is 100 x 100, but the image 640 x 480" in errors[2]
    (tmp_path / "masks/video_000002.png").unlink()
    _, errors = run(tmp_path / "absent", tmp_path / "video", options=options)
    assert "no mask in" in errors[2]


def test_pictures_that_are_gone_or_others(clip: Path, tmp_path: Path) -> None:
    shutil.copy(clip / "out/stills/hands.npz", tmp_path / "hands.npz")
    rows = load_predictions(tmp_path / "hands.npz")
    save_predictions(tmp_path / "moved" / "hands.npz", replace(rows, inputs=["/gone/p0.png", "/gone/p1.png"]))
    result, errors = run(tmp_path / "out", tmp_path / "moved")
    assert result.exit_code == 1
    assert "p0.png is not in the inputs it was made from" in errors[0]
    assert files(tmp_path / "out") == {"summary.json"}
    write_image(tmp_path / "in" / "deep" / "p0.png", read_image(clip / "in/stills/p0.png"))
    result, errors = run(tmp_path / "out", tmp_path / "moved", options=replace(PLAIN, images=tmp_path / "in"))
    assert result.exit_code == 1
    assert len(errors) == 1
    assert "p1.png is not in" in errors[0]
    assert (result.records[0].refined, result.records[0].failed) == (1, 1)
    write_image(tmp_path / "in" / "p1.png", np.zeros((100, 120, 3), np.uint8))
    _, errors = run(tmp_path / "two", tmp_path / "moved", options=replace(PLAIN, images=tmp_path / "in"))
    assert "p1.png is 120 x 100, but the predictions are of 640 x 480 pixels" in errors[0]


def test_nothing_is_overwritten(clip: Path, tmp_path: Path) -> None:
    shutil.copytree(clip / "out/stills", tmp_path / "out/stills")
    shutil.copy(clip / "out/summary.json", tmp_path / "out/summary.json")
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    result, errors = run(tmp_path / "out", tmp_path / "out/stills", force=True)
    assert result.exit_code == 1
    assert "would be overwritten" in errors[0]
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == before
    assert run(tmp_path / "new", tmp_path / "out/stills")[0].exit_code == 0
    (tmp_path / "new/stills/done.json").unlink()
    stamp = (tmp_path / "new/stills/hands.npz").stat().st_mtime_ns
    _, errors = run(tmp_path / "new", tmp_path / "out/stills")
    assert "is there already" in errors[0]
    assert (tmp_path / "new/stills/hands.npz").stat().st_mtime_ns == stamp
    assert run(tmp_path / "new", tmp_path / "out/stills", force=True)[0].exit_code == 0
    assert (tmp_path / "new/stills/hands.npz").stat().st_mtime_ns != stamp


def test_bad_files_do_not_stop_the_others(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/hands.npz").write_bytes(b"not a zip")
    (tmp_path / "empty").mkdir()
    shutil.copytree(clip / "out/stills", tmp_path / "good")
    result, errors = run(tmp_path / "out", tmp_path / "bad", tmp_path / "good", tmp_path / "empty", tmp_path / "no.npz")
    assert result.exit_code == 1
    assert [record.status for record in result.records] == ["failed", "failed", "failed", "done"]
    assert any("is not a predictions file" in error for error in errors)
    assert any("no hands.npz in this folder" in error for error in errors)
    assert any("no such file or folder" in error for error in errors)


def test_the_command_line(clip: Path, tmp_path: Path) -> None:
    def handkit(*arguments: object) -> tuple[int, str, str]:
        result = CliRunner().invoke(app, ["refine", *map(str, arguments)])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.stdout, result.stderr

    predictions = clip / "out/stills"
    arguments = (predictions, "--out", tmp_path / "out", "--iterations", 2, "--no-overlay")
    code, stdout, stderr = handkit(*arguments)
    assert (code, stderr) == (0, "")
    assert "IoU before" in stdout
    assert "refined.csv" in stdout
    code, stdout, _ = handkit(*arguments)
    assert code == 0
    assert "done before" in stdout
    (tmp_path / "out/stills/done.json").unlink()
    code, stdout, stderr = handkit(*arguments, "--json")
    assert code == 1
    assert stderr.startswith("error: ")
    assert "\ntry: choose another --out" in stderr
    assert json.loads(stdout)["predictions"][0]["status"] == "failed"
    code, stdout, _ = handkit(*arguments, "--force", "--json", "--settings", "published-sums", "--set", "normal=off")
    summary = json.loads(stdout)
    assert summary["options"]["weights"] == {"normal": None}
    assert (summary["verb"], summary["totals"]["hands"]) == ("refine", 2)
    for bad in (("--free", "hair"), ("--set", "silhouette=off"), ("--set", "normal=-1"), ("--set", "x=1"), ()):
        assert handkit(*(arguments if bad else ()), *bad)[0] == 2
    code, _, stderr = handkit(*arguments, "--masks", tmp_path / "none")
    assert code == 1
    assert "no such folder" in stderr


def test_texture_and_rig(clip: Path, tmp_path: Path) -> None:
    options = replace(PLAIN, masks=clip / "masks", texture=True)
    result, errors = run(tmp_path, clip / "out/video", options=options)
    assert not errors
    assert result.exit_code == 0
    folder = tmp_path / "video/textures/video_0_right"
    assert files(folder) == {"texture.png", "texture.obj", "texture.mtl", "rig.glb"}
    texture = read_image(folder / "texture.png")
    assert texture.shape == (1024, 1024, 3)
    # Skin, not the background's brown and black.
    assert np.abs(texture.reshape(-1, 3).mean(0) - (219, 168, 140)).max() < 50
