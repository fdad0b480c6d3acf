"""`demo --stereo --method handnet`: the network's own looks at both views, and the command end to end."""

import json
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from handkit.demo.hands import HandPair, Sighting
from handkit.demo.options import DemoOptions
from handkit.demo.run import run_demo
from handkit.demo.stereo.method import HandNetPairs, SeenTwice
from handkit.demo.stereo.rows import in_own_camera
from handkit.demo.stereo.views import pair_views, read_stereo_rig
from handkit.errors import HandkitError
from handkit.export.predictions import load_predictions
from handkit.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle, ray_from_axis
from handkit.hand import load_hand
from handkit.hand.stereo import camera_of_wrist
from handkit.hand.weak import encode_pose
from handkit.images import write_image
from handkit.inference.handnet import HandNetPredictor, load_handnet_predictor
from handkit.inference.looks import look_at, square_around_joints
from handkit.inference.placing import crop_cameras
from handkit.nets.handnet import HandNetOutput
from handkit.recipe import load_recipe
from handkit.synth.stereo import StereoMaker, StereoRecipe
from handkit_cli import app
from tests.demo.two_views import BESIDE, SIZE, TrueHands, hands_of, make_scene, picture, toed_in, write_rig
from tests.inference.making import small_handnet, write_handnet


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_handnet(tmp_path_factory.mktemp("weights") / "net.safetensors", small_handnet(stereo=True))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generated pairs in left/ and right/ with rig.json beside, as `handkit generate stereo` draws them."""
    root = tmp_path_factory.mktemp("pairs")
    maker = StereoMaker(load_recipe(StereoRecipe, "stereo"), seed=0, split="train", hand=load_hand("open"))
    for index in range(4):
        pictures, _ = maker.render(maker.annotate(index))
        for side, shown in zip(("left", "right"), pictures, strict=True):
            write_image(root / side / f"{index}.png", shown)
    K, baseline = maker.camera.K.tolist(), maker.camera.baseline_m
    right = {"K": K, "R": np.eye(3).tolist(), "T": [-baseline, 0, 0]}
    views = [right | {"T": [0, 0, 0]}, right]
    (root / "rig.json").write_text(json.dumps({"unit_m": 1.0, "views": views}))
    return root


class Truthful(torch.nn.Module):
    """In the network's place: says the true weak-perspective hand of each look, the right views first."""

    stereo_views, inputs, sigma = True, "both", 0.02

    def __init__(self, pose: torch.Tensor, betas: torch.Tensor, camera: torch.Tensor) -> None:
        super().__init__()
        self._said = pose.float(), betas.float(), camera.float()

    def forward(self, images: torch.Tensor, heatmaps: torch.Tensor, **_: bool) -> HandNetOutput:
        count = len(self._said[0])
        assert len(images) == len(heatmaps) == count
        assert bool((heatmaps.flatten(2).amax(-1) > 0.5).all()), "all keypoints are inside the crops"
        weights = torch.full((count // 2, 48), 0.3)
        return HandNetOutput(*self._said, torch.zeros(count, 512), None, weights)


@pytest.mark.parametrize("camera", ["average", "triangulated"])
@pytest.mark.parametrize("place", [BESIDE, toed_in(12.0, roll=3.0), toed_in(60.0, roll=70.0)])
def test_two_true_answers_are_one_true_hand(
    checkpoint: Path, tmp_path: Path, place: tuple[np.ndarray, np.ndarray], camera: str
) -> None:
    """Whatever the rig: crops, rectified pictures, the rig's turn and both cameras go together."""
    scene = make_scene(3)
    views = pair_views(read_stereo_rig(write_rig(tmp_path / "rig.json", place, lens=True)), (SIZE, SIZE))
    source = TrueHands(scene, views, ([], []))
    sightings = [
        [Sighting(source.find_in(number, frame), "x", view.looked_size, view.K, frame) for frame in range(len(scene))]
        for number, view in enumerate(views.views)
    ]
    predictor = load_handnet_predictor(checkpoint)
    said = [true_answers(source, number, sightings[number], predictor) for number in (1, 0)]
    predictor.network = Truthful(*(torch.cat(parts) for parts in zip(*said, strict=True)))  # type: ignore[assignment]
    looked = [view.look_at(picture(0)) for view in views.views]
    method = HandNetPairs(predictor, HandPair("open"), "triangulated" if camera == "triangulated" else "average")
    twice = [SeenTwice(a, b, looked[0], looked[1]) for a, b in zip(*sightings, strict=True)]
    rows = in_own_camera(method.pose(twice, views.right_from_left).rows, views.right)
    truth = scene.in_camera(views.right.own.R, views.right.own.T)["joints_3d"]
    np.testing.assert_allclose(rows.joints_3d, truth, atol=2e-5)


def true_answers(
    source: TrueHands, number: int, sightings: list[Sighting], predictor: HandNetPredictor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pose, shape and weak camera of a view's looks."""
    view = source.views.views[number]
    hands = {name: torch.from_numpy(np.asarray(v, float)) for name, v in hands_of(source, view, sightings).items()}
    wrist = hands["joints_3d"][:, 0]
    turn = ray_from_axis(wrist).mT @ axis_angle_to_matrix(hands["global_orient"])
    looks = [
        look_at(
            picture(0),
            square_around_joints(sighting.detection.bbox, predictor.box_scale),
            predictor.size,
            is_right=True,
        )
        for sighting in sightings
    ]
    K = crop_cameras(looks, torch.from_numpy(np.tile(view.K, (len(looks), 1, 1))), 1)
    pose = encode_pose(matrix_to_axis_angle(turn), hands["hand_pose"], load_hand("open"))
    return pose, hands["betas"], camera_of_wrist(wrist, K)


def test_keypoints_outside_the_crop_do_no_harm(checkpoint: Path, tmp_path: Path) -> None:
    scene = make_scene(1)
    views = pair_views(read_stereo_rig(write_rig(tmp_path / "rig.json")), (SIZE, SIZE))
    source = TrueHands(scene, views, ([], []))
    method = HandNetPairs(load_handnet_predictor(checkpoint), HandPair("open"), "average")
    found = []
    for far in (1e5, -1e5):
        pair = []
        for number, view in enumerate(views.views):
            hand = source.find_in(number, 0)
            points, scores = hand.keypoints_2d.copy(), hand.keypoint_scores.copy()
            points[8], scores[9] = far, 0.0
            points[9] = np.nan
            hand = replace(hand, keypoints_2d=points, keypoint_scores=scores)
            pair.append(Sighting(hand, "x", view.looked_size, view.K))
        rows = method.pose([SeenTwice(pair[0], pair[1], picture(0), picture(1))], views.right_from_left).rows
        assert np.isfinite(rows.joints_3d).all()
        found.append(rows.joints_3d)
    np.testing.assert_array_equal(found[0], found[1])


def test_generated_pairs_from_the_command_line(pairs: Path, checkpoint: Path, tmp_path: Path) -> None:
    given = ["--stereo", str(pairs / "left"), str(pairs / "right"), "--rig", str(pairs / "rig.json")]
    more = ["--method", "handnet", "--checkpoint", str(checkpoint), "--out", str(tmp_path), "--device", "cpu"]
    result = CliRunner().invoke(app, ["demo", *given, *more], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    folder = tmp_path / "left_right"
    left, right = (load_predictions(folder / side / "hands.npz") for side in ("left", "right"))
    assert len(right) >= 3
    both = np.intersect1d(left.frame, right.frame)
    shift = left.joints_3d[np.isin(left.frame, both)] - right.joints_3d[np.isin(right.frame, both)]
    np.testing.assert_allclose(shift, np.broadcast_to([0.12, 0, 0], shift.shape), atol=1e-5)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["stereo"]["views"] == "as given"
    assert summary["stereo"]["hands_of_both"] == len(both)
    assert summary["options"]["stereo"] == [str(pairs / "left"), str(pairs / "right")]
    assert f"4 pairs, views as given: {len(both)} hands of both views" in result.stdout
    assert f"next: handkit refine {folder}/left/hands.npz {folder}/right/hands.npz --rig" in result.stdout
    assert len(list((folder / "overlay").iterdir())) == 4
    again = CliRunner().invoke(app, ["demo", *given, *more, "--json"])
    assert json.loads(again.stdout)["inputs"][0]["skipped"]
    assert json.loads(again.stdout)["stereo"] == summary["stereo"]


def test_an_interrupted_run_says_what_is_not_done(
    pairs: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("handkit.demo.stereo.job.match_sightings", stop)
    views = pairs / "left" / "0.png", pairs / "right" / "0.png"
    options = DemoOptions(method="handnet", checkpoint=checkpoint, stereo=views, rig=pairs / "rig.json")
    result = run_demo([], tmp_path, options)
    assert result.exit_code == 130
    assert [(record.input, record.status) for record in result.records] == [(str(path), "not done") for path in views]


def test_a_checkpoint_of_one_view_is_told(pairs: Path, tmp_path: Path) -> None:
    mono = write_handnet(tmp_path / "net.safetensors")
    options = DemoOptions(
        method="handnet", checkpoint=mono, stereo=(pairs / "left", pairs / "right"), rig=pairs / "rig.json"
    )
    with pytest.raises(HandkitError, match="no weights of two views") as caught:
        run_demo([], tmp_path / "out", options)
    assert "handkit finetune handnet-stereo" in caught.value.fix


def test_missing_views_and_rigs_are_told(pairs: Path, checkpoint: Path, tmp_path: Path) -> None:
    for left, rig, said in (
        (pairs / "none", pairs / "rig.json", "--stereo LEFT"),
        (pairs / "left", pairs / "none.json", "no such file"),
    ):
        options = DemoOptions(method="handnet", checkpoint=checkpoint, stereo=(left, pairs / "right"), rig=rig)
        with pytest.raises(HandkitError) as caught:
            run_demo([], tmp_path, options)
        assert said in caught.value.what


def real_rig(data: Path, path: Path) -> Path:
    """The rig file of the two real cameras: u = K (R X + T), T in the board's squares."""
    views = []
    for number in (0, 1):
        texts = [(data / name).read_text() for name in (f"c{number}.dat", f"rot_trans_c{number}.dat")]
        lens, place = (
            np.array([float(value) for value in re.findall(r"[-+]?\d+\.\d+(?:e[-+]?\d+)?", text)]) for text in texts
        )
        K = lens[:9].reshape(3, 3)
        # OpenCV's pixel centres lie on whole numbers.
        K[:2, 2] += 0.5
        parts = {"K": K, "R": place[:9].reshape(3, 3), "T": place[9:12], "distortion": lens[9:14]}
        views.append({name: values.tolist() for name, values in parts.items()})
    path.write_text(json.dumps({"views": views}))
    return path


def test_real_synchronous_videos(checkpoint: Path, tmp_path: Path) -> None:
    """Half a second of the pair of real videos: far apart, turned, with lenses, of an unknown unit."""
    data = Path(os.environ.get("HANDKIT_REALDATA", Path(__file__).resolve().parents[3] / "shared/realdata")) / "stereo"
    if not data.is_dir():
        pytest.skip(f"no real stereo videos at {data} (HANDKIT_REALDATA)")
    options = DemoOptions(
        method="handnet",
        checkpoint=checkpoint,
        stereo=(data / "cam0_test.mp4", data / "cam1_test.mp4"),
        rig=real_rig(data, tmp_path / "rig.json"),
        max_hands=1,
        start=1.0,
        end=1.5,
        overlay=False,
    )
    summary = run_demo([], tmp_path / "out", options, debug=True).summary
    assert summary["stereo"]["views"] == "straightened"
    assert summary["stereo"]["pairs"] == 15
    assert summary["stereo"]["hands_of_both"] >= 13
