"""`demo --stereo --method binocular`: true projections make true hands, whatever the rig; the command end to end."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from handkit.demo.hands import HandPair
from handkit.demo.options import DemoOptions
from handkit.demo.run import run_demo
from handkit.demo.stereo.binocular import BinocularPairs
from handkit.errors import HandkitError
from handkit.export.predictions import Predictions, load_predictions
from handkit.hand import load_hand
from handkit.images import write_image
from handkit.inference.binocular import NO_DISPARITY, BinocularPredictor
from handkit.nets.lixel import LixelOutput
from handkit.recipe import load_recipe
from handkit.refine.rig import load_rig
from handkit.synth.stereo import StereoMaker, StereoRecipe
from handkit.video import VideoWriter
from handkit_cli import app
from tests.demo.two_views import BESIDE, SIZE, TrueHands, make_scene, run_views, toed_in, write_rig
from tests.inference.making import write_handnet, write_lixel

PLACES = {
    "rectified": BESIDE,
    "toed in a little": toed_in(12.0, roll=3.0),
    "far apart and rolled": toed_in(60.0, roll=70.0),
    "above one another": (np.eye(3), np.array([0.0, -0.08, 0.0])),
}
# Colours of pictures: red tells the view, green the frame.
_STEP = 10


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_lixel(tmp_path_factory.mktemp("weights") / "net.safetensors")


class Truthful(torch.nn.Module):
    """In the network's place: says where the crops show the true vertices, by the colours of their pictures.

    `crossed` frames are shown with the views exchanged.
    """

    def __init__(self, source: TrueHands, predictor: BinocularPredictor, crossed: tuple[int, ...]) -> None:
        super().__init__()
        self._source, self._predictor, self._crossed = source, predictor, crossed

    def forward(self, images: torch.Tensor) -> LixelOutput:
        middle = images.shape[-1] // 2
        colors = (images[:, :2, middle, middle] * 255 / _STEP).round().long().tolist()
        return LixelOutput(torch.tensor(np.stack([self._said(*color) for color in colors])).float(), None)

    def _said(self, number: int, frame: int) -> np.ndarray:
        number -= 1
        hand = self._source.find_in(number, frame)
        square = self._predictor.square(hand.bbox, hand.keypoints_2d, hand.keypoint_scores)
        shown = self._source.vertices(1 - number if frame in self._crossed else number, self._source.row(number, frame))
        widths = (shown - square[:2]) / (square[2:] - square[:2])
        return widths if hand.is_right else widths * [-1, 1] + [1, 0]


def true_pairs(checkpoint: Path, crossed: tuple[int, ...] = ()) -> Callable[[TrueHands], BinocularPairs]:
    def build(source: TrueHands) -> BinocularPairs:
        made = BinocularPairs(checkpoint, HandPair("open"), device="cpu")
        made.predictor.network = Truthful(source, made.predictor, crossed)
        return made

    return build


def color_of(number: int, frame: int) -> np.ndarray:
    return np.full((SIZE[1], SIZE[0], 3), (_STEP * (number + 1), _STEP * frame, 90), np.uint8)


def colored(folder: Path, number: int, count: int) -> Path:
    for frame in range(count):
        write_image(folder / f"p{frame}.png", color_of(number, frame))
    return folder


def run_true(
    tmp_path: Path, checkpoint: Path, place: str, *, is_right: bool = True, crossed: tuple[int, ...] = (), **more: Any
) -> Any:
    """Three frames of a hand, or as many as asked for."""
    scene = make_scene(3, is_right=is_right)
    left, right = colored(tmp_path / "a", 0, 3), colored(tmp_path / "b", 1, 3)
    rig = write_rig(tmp_path / "rig.json", PLACES[place], lens=True)
    pairs = true_pairs(checkpoint, crossed)
    return scene, run_views(tmp_path, left, right, rig, scene, pairs=pairs, method="binocular", **more)


def rows_in(folder: Path, name: str = "hands.npz") -> tuple[Predictions, Predictions]:
    return load_predictions(folder / "left" / name), load_predictions(folder / "right" / name)


@pytest.mark.parametrize("is_right", [True, False])
@pytest.mark.parametrize("place", PLACES)
def test_true_projections_are_the_true_mesh_and_its_parameters(
    tmp_path: Path, checkpoint: Path, place: str, is_right: bool
) -> None:
    scene, ran = run_true(tmp_path, checkpoint, place, is_right=is_right, vertices=True)
    assert [record.status for record in ran.records] == ["done"] * 6
    assert ran.figures["hands_of_both"] == 3
    assert ran.figures["refused"] == {}
    views = load_rig(tmp_path / "a_b/rig.json", 2).views
    for rows, view in zip(rows_in(tmp_path / "a_b"), views, strict=True):
        assert rows.is_right.tolist() == [is_right] * 3
        np.testing.assert_allclose(rows.joints_3d, scene.in_camera(view.R, view.T)["joints_3d"], atol=1e-3)
        np.testing.assert_allclose(rows.vertices, scene.vertices(view.R, view.T), atol=1e-3)
    # The mesh itself is what float32 widths of crops leave.
    with np.load(tmp_path / "a_b/meshes.npz") as meshes:
        assert {name: meshes[name].shape for name in meshes} == {
            "frame": (3,),
            "track_id": (3,),
            "is_right": (3,),
            "vertices": (3, 778, 3),
            "gap_px": (3,),
        }
        np.testing.assert_allclose(meshes["vertices"], scene.vertices(views[1].R, views[1].T), atol=5e-5)
        assert meshes["gap_px"].max() < 1e-3
        assert (meshes["frame"].tolist(), meshes["track_id"].tolist()) == ([0, 1, 2], [0, 0, 0])
        assert meshes["is_right"].tolist() == [is_right] * 3


def test_views_alone_are_fitted_and_said_to_be(tmp_path: Path, checkpoint: Path) -> None:
    scene, _ = run_true(tmp_path, checkpoint, "rectified", source={"missing": [(0, 1)]}, export=("glb", "json"))
    own, alone = rows_in(tmp_path / "a_b"), rows_in(tmp_path / "a_b", "alone.npz")
    assert [rows.frame.tolist() for rows in own] == [[0, 2], [0, 1, 2]]
    words = "truth + lixel (net.safetensors, step 7, both views) + fit"
    assert {rows.method for rows in (*own, *alone)} == {words}
    np.testing.assert_array_equal(own[1].joints_3d[1], alone[1].joints_3d[1])
    # Keypoints alone say where the hand is in the picture, not how far away.
    assert np.abs(alone[1].joints_2d - alone[1].keypoints_2d).mean() < 2
    truth = scene.in_camera(*BESIDE)["joints_3d"]
    assert np.linalg.norm(own[1].joints_3d - truth, axis=-1).mean(1).round(3).tolist()[::2] == [0, 0]
    assert np.linalg.norm(own[1].joints_3d - truth, axis=-1).mean(1)[1] > 2e-3
    told = json.loads((tmp_path / "a_b/stereo.json").read_text())["pairs"]
    assert [[hand["of"] for hand in pair["hands"]] for pair in told] == [["both"], ["right"], ["both"]]
    assert (tmp_path / "a_b/right/hands.json").is_file()
    assert len(list((tmp_path / "a_b/right/meshes").glob("*.glb"))) == 3
    with np.load(tmp_path / "a_b/meshes.npz") as meshes:
        assert meshes["frame"].tolist() == [0, 2]


def test_hands_whose_rays_do_not_meet_are_each_views_own(
    tmp_path: Path, checkpoint: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, ran = run_true(tmp_path, checkpoint, "rectified", crossed=(1,), overlay=True)
    assert ran.figures["refused"] == {NO_DISPARITY: 1}
    counts = [ran.figures[f"hands_of_{of}"] for of in ("both", "left_alone", "right_alone")]
    assert counts == [2, 0, 0]
    assert "hands of both views that make no mesh, each view's own stands: 1 no disparity" in caplog.text
    assert "of one view alone" not in caplog.text
    own, alone = rows_in(tmp_path / "a_b"), rows_in(tmp_path / "a_b", "alone.npz")
    for mine, single in zip(own, alone, strict=True):
        assert mine.frame.tolist() == [0, 1, 2]
        same = [np.array_equal(a, b) for a, b in zip(mine.joints_3d, single.joints_3d, strict=True)]
        assert same == [False, True, False]
    told = json.loads((tmp_path / "a_b/stereo.json").read_text())["pairs"]
    assert [(hand["of"], hand["why"]) for hand in told[1]["hands"]] == [("left", NO_DISPARITY), ("right", NO_DISPARITY)]
    assert "why" not in told[0]["hands"][0]
    with np.load(tmp_path / "a_b/meshes.npz") as meshes:
        assert meshes["frame"].tolist() == [0, 2]


def test_another_methods_run_leaves_no_meshes_of_this_one(tmp_path: Path, checkpoint: Path) -> None:
    scene, _ = run_true(tmp_path, checkpoint, "rectified")
    assert (tmp_path / "a_b/meshes.npz").is_file()
    run_views(tmp_path, tmp_path / "a", tmp_path / "b", tmp_path / "rig.json", scene)
    assert not (tmp_path / "a_b/meshes.npz").exists()


def test_a_video_is_fitted_over_time(tmp_path: Path, checkpoint: Path) -> None:
    """One shape for each view's track, where views stand alone."""
    scene = make_scene(4)
    rig = write_rig(tmp_path / "rig.json")
    left, right = (video(tmp_path / f"{side}.mp4", number) for number, side in enumerate(("left", "right")))
    pairs = true_pairs(checkpoint, (0, 1, 2, 3))
    ran = run_views(tmp_path, left, right, rig, scene, pairs=pairs, method="binocular")
    assert ran.figures is not None
    assert ran.figures["refused"] == {NO_DISPARITY: 4}
    rows = rows_in(tmp_path / "left_right")[0]
    assert len(rows) == 4
    assert np.ptp(rows.betas, axis=0).max() == 0


def video(path: Path, number: int) -> Path:
    with VideoWriter(path, fps=30.0) as writer:
        for frame in range(4):
            writer.write(color_of(number, frame), frame / 30)
    return path


def test_a_baseline_below_a_millimetre_fails_with_the_way_out(tmp_path: Path, checkpoint: Path) -> None:
    scene = make_scene(1)
    left, right = colored(tmp_path / "a", 0, 1), colored(tmp_path / "b", 1, 1)
    rig = write_rig(tmp_path / "rig.json", (np.eye(3), np.array([-5e-4, 0.0, 0.0])))
    ran = run_views(tmp_path, left, right, rig, scene, pairs=true_pairs(checkpoint), method="binocular")
    assert {record.status for record in ran.records} == {"failed"}
    assert "stand 0.5 mm apart" in ran.errors[0].what


def test_a_short_baseline_is_warned_of(tmp_path: Path, checkpoint: Path, caplog: pytest.LogCaptureFixture) -> None:
    scene = make_scene(2)
    left, right = colored(tmp_path / "a", 0, 2), colored(tmp_path / "b", 1, 2)
    rig = write_rig(tmp_path / "rig.json", (np.eye(3), np.array([-0.012, 0.0, 0.0])))
    ran = run_views(tmp_path, left, right, rig, scene, pairs=true_pairs(checkpoint), method="binocular")
    assert ran.figures is not None
    assert ran.figures["hands_of_both"] == 2
    # 0.45^2 / (300 * 0.012) m
    assert caplog.text.count("a pixel of disparity is worth 5") == 1


def test_generated_pairs_from_the_command_line(checkpoint: Path, tmp_path: Path) -> None:
    """Two pictures a view, as drawn for training, by a network that knows nothing."""
    maker = StereoMaker(load_recipe(StereoRecipe, "stereo"), seed=0, split="train", hand=load_hand("open"))
    for index in range(2):
        pictures, _ = maker.render(maker.annotate(index))
        for side, shown in zip(("left", "right"), pictures, strict=True):
            write_image(tmp_path / side / f"{index}.png", shown)
    second = {"K": maker.camera.K.tolist(), "R": np.eye(3).tolist(), "T": [-maker.camera.baseline_m, 0, 0]}
    rig = tmp_path / "rig.json"
    rig.write_text(json.dumps({"unit_m": 1.0, "views": [second | {"T": [0, 0, 0]}, second]}))
    given = ["--stereo", str(tmp_path / "left"), str(tmp_path / "right"), "--rig", str(rig)]
    more = ["--method", "binocular", "--checkpoint", str(checkpoint), "--out", str(tmp_path / "out"), "--smooth", "2"]
    result = CliRunner().invoke(app, ["demo", *given, *more, "--export", "obj"], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    both = summary["stereo"]["hands_of_both"]
    assert both >= 1
    assert f"{both} hands of both views" in result.stdout
    assert "rig.json, stereo.json, meshes.npz, overlay/" in result.stdout
    folder = tmp_path / "out/left_right"
    with np.load(folder / "meshes.npz") as meshes:
        assert len(meshes["vertices"]) == both
    rows = load_predictions(folder / "right/hands.npz")
    assert np.isfinite(rows.joints_3d).all()
    assert rows.method == "MediaPipe Hands + lixel (net.safetensors, step 7, both views) + fit"
    assert len(list((folder / "right/meshes").glob("*.obj"))) == len(rows)
    again = CliRunner().invoke(app, ["demo", *given, *more, "--export", "obj", "--json"])
    assert all(record["skipped"] for record in json.loads(again.stdout)["inputs"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a.png"], "--method binocular sees two views at once: give --stereo LEFT RIGHT --rig FILE"),
        (["--stereo", "a", "b", "--rig", "r", "--stereo-camera", "average"], "--stereo-camera is of handnet"),
        (["--stereo", "a", "b", "--rig", "r", "--refine-keypoints"], "--stereo and --refine-keypoints exclude"),
    ],
)
def test_bad_command_lines_are_told(arguments: list[str], said: str, tmp_path: Path) -> None:
    given = ["demo", "--method", "binocular", *arguments, "--out", str(tmp_path)]
    result = CliRunner().invoke(app, given, env={"COLUMNS": "200"})
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.replace("│", " ").split())


def test_from_python_the_same_is_told(tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HANDKIT_WEIGHTS", raising=False)
    views = DemoOptions(method="binocular", stereo=(tmp_path, tmp_path), rig=tmp_path / "rig.json")
    for options, what, fix in (
        (DemoOptions(method="binocular"), "sees two views at once", "--stereo LEFT RIGHT --rig FILE"),
        (replace(views, stereo_camera="triangulated"), "--stereo-camera triangulated", "leave --stereo-camera out"),
        (views, "no weights binocular.safetensors", "`handkit selfsup binocular --out DIR`"),
        (replace(views, checkpoint=write_handnet(tmp_path / "other.safetensors")), "a HandNet", "selfsup binocular"),
    ):
        with pytest.raises(HandkitError) as caught:
            run_demo([], tmp_path / "out", options)
        assert what in caught.value.what
        assert fix in caught.value.fix


def test_the_prior_alone_is_said_to_be_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_lixel(tmp_path / "prior.safetensors", "hand-prior")
    pairs = BinocularPairs(path, HandPair("open"), device="cpu")
    assert pairs.words == "lixel (prior.safetensors, step 7, both views, before self-supervision)"
    assert "prior.safetensors is the hand prior, before self-supervision" in caplog.text
