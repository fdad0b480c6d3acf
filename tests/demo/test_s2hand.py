"""`demo --method s2hand`: hands with their looks, which stay with their rows; textured files and lit pictures."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import trimesh
from typer.testing import CliRunner

import handkit.demo.stills as stills
from handkit.demo.options import DemoOptions
from handkit.demo.run import DemoResult, run_demo
from handkit.export.appearance import Appearance, load_appearance
from handkit.export.predictions import Predictions, load_predictions
from handkit.hand import ManoLayer, load_hand
from handkit.images import RgbImage, read_image, write_image
from handkit.inference.looks import look_at, square_around_joints
from handkit.inference.s2hand import load_s2hand
from handkit.video import VideoReader
from handkit_cli import app
from tests.inference.making import small_system, write_s2hand, write_small


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_s2hand(tmp_path_factory.mktemp("weights") / "net.safetensors")


def run(out: Path, *inputs: Path, **options: Any) -> DemoResult:
    asked = DemoOptions(**{"overlay": False, "method": "s2hand", **options})
    return run_demo([str(path) for path in inputs], out, asked, debug=True)


def read(folder: Path) -> tuple[Predictions, Appearance]:
    rows, looks = load_predictions(folder / "hands.npz"), load_appearance(folder / "appearance.npz")
    assert len(rows) == len(looks)
    return rows, looks


def check_looks(rows: Predictions, looks: Appearance, images: list[RgbImage], checkpoint: Path) -> None:
    """Every row's appearance is what the network says of that row's own square."""
    network = load_s2hand(checkpoint)
    squares = [square_around_joints(box.astype(np.float64)) for box in rows.bbox]
    cut = [
        look_at(image, square, network.size, is_right=bool(is_right))
        for image, square, is_right in zip(images, squares, rows.is_right, strict=True)
    ]
    said = network.step(cut, rows.K)
    # Boxes are stored in single precision, and untrained networks make much of the difference.
    for own, kept in ((said.appearance.texture, looks.texture), (said.appearance.light, looks.light)):
        flat, others = own.reshape(len(rows), -1).astype(float), kept.reshape(len(rows), -1).astype(float)
        distance = np.abs(flat[:, None] - others).max(2)
        np.testing.assert_array_less(np.diag(distance), 0.2 * (distance + 1e9 * np.eye(len(rows))).min(1))


def test_a_video_is_posed_drawn_and_exported(hand_clip: Path, checkpoint: Path, tmp_path: Path) -> None:
    options = {"overlay": True, "export": ("glb", "obj", "json"), "vertices": True, "K": (620, 620, 320, 240)}
    result = run(tmp_path, hand_clip, checkpoint=checkpoint, **options)
    assert result.exit_code == 0
    names = {path.name for path in (tmp_path / "clip").iterdir()}
    assert names == {
        "hands.npz",
        "appearance.npz",
        "hands.json",
        "hands.glb",
        "overlay.mp4",
        "meshes",
        "done.json",
    }
    rows, looks = read(tmp_path / "clip")
    assert rows.method == "MediaPipe Hands + s2hand (net.safetensors, step 7)"
    assert rows.frame.tolist() == list(range(8))
    check_looks(rows, looks, [frame.image for frame in VideoReader(hand_clip)], checkpoint)
    values = {name: torch.from_numpy(getattr(rows, name)) for name in ("global_orient", "hand_pose", "betas", "transl")}
    np.testing.assert_allclose(ManoLayer(load_hand("open"))(**values).vertices, rows.vertices, atol=1e-6)
    meshes = {path.name for path in (tmp_path / "clip/meshes").iterdir()}
    assert meshes == {"track_0_right.mtl", "track_0_right.png", *(f"{i:06d}_0_right.obj" for i in range(8))}
    mesh = trimesh.load(tmp_path / "clip/meshes/000003_0_right.obj", process=False)
    colors = looks.mean_colors()
    np.testing.assert_allclose(_colors_of(mesh, mesh.visual.material.image), colors, atol=0.08)
    rig = next(iter(trimesh.load(tmp_path / "clip/hands.glb", process=False).geometry.values()))
    np.testing.assert_allclose(_colors_of(rig, rig.visual.material.baseColorTexture), colors, atol=0.08)


def _colors_of(mesh: trimesh.Trimesh, image: Any) -> np.ndarray:
    """The texture at the middle of each face; 1538 faces in the hand's order."""
    pixels = np.asarray(image.convert("RGB"), np.float64) / 255
    middle = mesh.visual.uv[mesh.faces].mean(1) * [1, -1] + [0, 1]
    x, y = (np.minimum(middle * pixels.shape[0], pixels.shape[0] - 1)).astype(int).T
    assert len(mesh.faces) == 1538
    return pixels[y, x]


def test_the_overlay_has_the_re_rendering_beside_the_input(
    hand_clip: Path, hand_picture: RgbImage, checkpoint: Path, tmp_path: Path
) -> None:
    write_image(tmp_path / "in" / "hand.png", hand_picture)
    write_image(tmp_path / "in" / "plain.png", np.full((120, 160, 3), 90, np.uint8))
    run(tmp_path / "out", tmp_path / "in", hand_clip, checkpoint=checkpoint, overlay=True)
    video = VideoReader(next((tmp_path / "out").rglob("overlay.mp4")))
    assert video.size == (1280, 480)
    assert len(list(video)) == 8
    (folder,) = (tmp_path / "out").rglob("overlay")
    drawn = read_image(folder / "hand.png.jpg")
    assert drawn.shape == (480, 1280, 3)
    alone, before = drawn[:, 640:].astype(int), read_image(tmp_path / "in" / "hand.png")
    hand = alone.max(2) > 40
    assert 0.01 < hand.mean() < 0.5
    x, y = load_predictions(folder.parent / "hands.npz").joints_2d[0].mean(0)
    rows, columns = np.nonzero(hand)
    # Joints lean towards the fingers; and a network that knows nothing turns the hand with every rounding.
    assert np.abs(np.array([columns.mean(), rows.mean()]) - (x, y)).max() < 45
    untouched = cv2.dilate((alone.max(2) > 8).astype(np.uint8), np.ones((91, 91))) == 0
    assert untouched.mean() > 0.2
    assert np.abs(drawn[:, :640].astype(int) - before)[untouched].mean() < 4, "JPEG, and no more"
    same = cv2.erode(hand.astype(np.uint8), np.ones((5, 5))) > 0
    assert np.median(np.abs(drawn[:, :640] - alone)[same].max(1)) < 20, "but for the skeleton both show the lit hand"
    plain = read_image(folder / "plain.png.jpg")
    assert plain.shape == (120, 320, 3)
    assert plain[:, 164:].max() < 10
    assert np.abs(plain[:, :156].astype(int) - 90).max() < 10


def test_the_side_view_is_still_there(hand_picture: RgbImage, checkpoint: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "in" / "hand.png", hand_picture)
    run(tmp_path / "out", tmp_path / "in", checkpoint=checkpoint, overlay=True, side_view=True)
    assert read_image(tmp_path / "out/in/overlay/hand.png.jpg").shape == (480, 1280 + 480, 3)


def test_stills_of_both_sides_keep_their_own_looks(
    hand_picture: RgbImage, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    near = hand_picture[50:400, 360:640]
    both = np.concatenate([near[:, ::-1], near], axis=1)
    images = {"a.png": both, "b.png": hand_picture, "c.png": np.ascontiguousarray(hand_picture[:, ::-1])}
    for name, image in images.items():
        write_image(tmp_path / "in" / name, image)
    monkeypatch.setattr(stills, "_BATCH_IMAGES", 2)
    run(tmp_path / "out", tmp_path / "in" / "b.png", checkpoint=checkpoint)
    run(tmp_path / "out", tmp_path / "in", checkpoint=checkpoint, export=("glb", "ply", "obj"))
    run(tmp_path / "grown", tmp_path / "in" / "c.png", checkpoint=checkpoint)
    run(tmp_path / "grown", tmp_path / "in", checkpoint=checkpoint)
    for folder in (tmp_path / "out/in", tmp_path / "grown/in"):
        rows, looks = read(folder)
        assert sorted(rows.image.tolist()) == ["a.png", "a.png", "b.png", "c.png"]
        assert sorted(rows.is_right[:2].tolist()) == [False, True]
        assert rows.is_right[2:].tolist() == [True, False]
        check_looks(rows, looks, [images[name] for name in rows.image], checkpoint)
    meshes = tmp_path / "out/in/meshes"
    scene = trimesh.load(meshes / "a.png.glb", process=False)
    rows, looks = read(tmp_path / "out/in")
    for i, mesh in enumerate(scene.geometry.values()):
        colors = looks.rows(np.array([i])).mean_colors()
        np.testing.assert_allclose(_colors_of(mesh, mesh.visual.material.baseColorTexture), colors, atol=0.08)
    stem = f"b.png_0_{'right' if rows.is_right[2] else 'left'}"
    assert {path.suffix for path in meshes.glob(f"{stem}.*")} == {".obj", ".mtl", ".png", ".ply"}
    faces = load_hand("open").faces
    ply = trimesh.load(meshes / f"{stem}.ply", process=False)
    vertex = int(faces[100, 0])
    about = looks.rows(np.array([2])).mean_colors()[(faces == vertex).any(1)].mean(0)
    np.testing.assert_allclose(ply.visual.vertex_colors[vertex, :3] / 255, about, atol=0.01)


def test_the_fit_can_follow_and_looks_stay(
    hand_clip: Path, hand_picture: RgbImage, checkpoint: Path, tmp_path: Path
) -> None:
    write_image(tmp_path / "hand.png", hand_picture)
    for folder, refine in (("net", False), ("fit", True)):
        run(tmp_path / folder, hand_clip, checkpoint=checkpoint, refine_keypoints=refine)
        run(tmp_path / f"{folder}-still", tmp_path / "hand.png", checkpoint=checkpoint, refine_keypoints=refine)
    for net, fit in (("net/clip", "fit/clip"), (f"net-still/{tmp_path.name}", f"fit-still/{tmp_path.name}")):
        (alone, looks), (fitted, same) = read(tmp_path / net), read(tmp_path / fit)
        assert fitted.method == f"{alone.method} + fit"
        gaps = [np.linalg.norm(rows.joints_2d - rows.keypoints_2d, axis=-1).mean() for rows in (fitted, alone)]
        assert gaps[0] < 0.5 * gaps[1]
        np.testing.assert_array_equal(same.texture, looks.texture)
        np.testing.assert_array_equal(same.light, looks.light)


def test_a_second_run_is_skipped_and_another_method_leaves_no_looks(
    hand_clip: Path, hand_picture: RgbImage, tmp_path: Path
) -> None:
    weights = write_s2hand(tmp_path / "runs/images/s2hand.safetensors")
    write_image(tmp_path / "in" / "hand.png", hand_picture)
    out = tmp_path / "out"
    inputs = (hand_clip, tmp_path / "in" / "hand.png")
    assert not any(record.skipped for record in run(out, *inputs, checkpoint=tmp_path / "runs").records)
    assert all(record.skipped for record in run(out, *inputs, checkpoint=weights).records)
    (still,) = (path.parent for path in out.rglob("appearance.npz") if path.parent.name != "clip")
    (still / "appearance.npz").unlink()
    assert sorted(record.skipped for record in run(out, *inputs, checkpoint=weights).records) == [False, True]
    assert (still / "appearance.npz").is_file()
    run(out, *inputs, method="fit")
    assert not list(out.rglob("appearance.npz"))


def test_nothing_found_has_no_looks(checkpoint: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "in" / "plain.png", np.full((120, 160, 3), 90, np.uint8))
    result = run(tmp_path / "out", tmp_path / "in", checkpoint=checkpoint, export=("glb",))
    assert [record.status for record in result.records] == ["no hand"]
    assert [len(part) for part in read(tmp_path / "out/in")] == [0, 0]


def test_joint_files_have_no_pictures_to_see(checkpoint: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "joints.npy", np.random.default_rng(0).normal(0, 0.05, (4, 21, 3)))
    command = ["demo", str(tmp_path / "joints.npy"), "--method", "s2hand", "--checkpoint", str(checkpoint)]
    result = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert "holds joints and no pictures" in result.stderr


def test_the_command_line_s_json_is_the_summary(hand_clip: Path, checkpoint: Path, tmp_path: Path) -> None:
    command = ["demo", str(hand_clip), "--method", "s2hand", "--checkpoint", str(checkpoint), "--end", "0.1"]
    result = CliRunner().invoke(app, [*command, "--no-overlay", "--json", "--out", str(tmp_path)])
    assert result.exit_code == 0
    summary = json.loads(result.stdout)
    assert summary == json.loads((tmp_path / "summary.json").read_text())
    assert summary["options"]["method"] == "s2hand"
    assert summary["options"]["checkpoint"] == str(checkpoint)
    assert summary["inputs"][0]["hands"] == 3
    plain = CliRunner().invoke(app, [*command, "--no-overlay", "--out", str(tmp_path)], env={"COLUMNS": "200"})
    assert "hands.npz, appearance.npz" in plain.stdout


def test_files_of_other_kinds_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handkit.demo.network.S2HandHands.weights", _nowhere())
    seqhand = write_small(tmp_path / "seq.safetensors")
    keypoints = write_s2hand(tmp_path / "keypoints.safetensors", small_system(hand=False, keypoints=True))
    s2hand = write_s2hand(tmp_path / "s2hand.safetensors")
    for method, arguments, said in (
        ("s2hand", ["--checkpoint", str(seqhand)], "sequence network (seqhand-small)"),
        ("s2hand", ["--checkpoint", str(keypoints)], "and no 3D network"),
        ("s2hand", [], "`handkit selfsup s2hand --out DIR`"),
        ("seqhand", ["--checkpoint", str(s2hand)], "use it with --method s2hand"),
    ):
        command = ["demo", "--method", method, *arguments, "--out", str(tmp_path / "out")]
        result = CliRunner().invoke(app, command, env={"COLUMNS": "200"})
        assert result.exit_code == 1
        assert said in result.stderr, said


def _nowhere() -> Any:
    from handkit.inference.load import S2HAND

    return S2HAND._replace(usual="none-of-these.safetensors")
