"""The binocular network over pairs: where its hands end up, absolute and aligned, and which have none."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import torch
from typer.testing import CliRunner

from handkit.checkpoint import CheckpointInfo, save_checkpoint
from handkit.conventions import JOINT_ORDERS
from handkit.data.annotations import AnnotatedDataset
from handkit.data.registry import build_dataset
from handkit.data.sample import HandSample
from handkit.data.stb import BASELINE_M, K_BB, Stb
from handkit.demo.hands import HandPair
from handkit.detect.detection import box_around
from handkit.errors import HandkitError
from handkit.evaluate.binocular import shown_share
from handkit.evaluate.looking import outlined
from handkit.evaluate.predict import predict
from handkit.export.predictions import Predictions, load_predictions
from handkit.hand import load_hand
from handkit.hand.mesh_joints import joints_of_mesh
from handkit.inference.binocular import BinocularPredictor
from handkit.inference.looks import square_about_point
from handkit.nets.lixel import LixelOutput
from handkit.nets.lixel_system import build_lixel
from handkit_cli import app
from tests.data.posing import plain, posed, seen_at, write_image
from tests.data.test_stereo import write_pairs
from tests.data.trees import write_freihand
from tests.inference.making import write_handnet

SIZE, BOX_SCALE = 64, 1.5
HAND = load_hand("open", "right")
MIDDLE = 9


class Oracle(torch.nn.Module):
    """Knows the vertices of every picture by its blue channel, in the square that it is to be shown."""

    def __init__(self, known: Callable[[int], np.ndarray]) -> None:
        super().__init__()
        self.known = known

    def forward(self, images: torch.Tensor) -> LixelOutput:
        numbers = ((images[:, 2].flatten(1).amax(-1) * 255).round().long() - 10).tolist()
        return LixelOutput(torch.from_numpy(np.stack([self.known(number) for number in numbers])).float(), None)


def info_of(method: str = "binocular", **data: Any) -> CheckpointInfo:
    known = {"hand": "open", "size": SIZE, "box_scale": BOX_SCALE, **data}
    return CheckpointInfo(method, {"name": "lixel"}, {"network": {"size": SIZE}}, step=7, data=known)


def write_lixel(path: Path, *, method: str = "binocular", **data: Any) -> Path:
    """A network that has not learned."""
    torch.manual_seed(0)
    network = build_lixel(backbone="plain-slim", features=8, depth=64 if method == "hand-prior" else None)
    known = {"hand": "open", "size": SIZE, "box_scale": BOX_SCALE, **data}
    save_checkpoint(path, network, CheckpointInfo(method, network.describe(), {}, 7, data=known))
    return path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_lixel(tmp_path_factory.mktemp("net") / "net.safetensors")


@pytest.fixture(autouse=True)
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages and charts are others' matter, and slow."""
    monkeypatch.setattr("handkit.report.write_report", lambda out, scores, **more: [])


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts a network that knows the answer in place of the checkpoint's."""

    def put(known: Callable[[int], np.ndarray], **data: Any) -> None:
        def load(path: Path, device: str) -> BinocularPredictor:
            network = build_lixel(backbone="plain-slim", features=8, depth=None)
            predictor = BinocularPredictor(network, info_of(**data))
            predictor.network = Oracle(known)
            return predictor

        monkeypatch.setattr("handkit.evaluate.binocular.load_binocular", load)

    return put


def widths(pixels: np.ndarray, square: np.ndarray, *, is_right: bool) -> np.ndarray:
    points = (pixels - square[:2]) / (square[2] - square[0])
    return points if is_right else np.stack([1 - points[:, 0], points[:, 1]], -1)


def answer(sample: HandSample, shift_px: float = 0.0) -> np.ndarray:
    """A perfect network's answer for a view of `write_pairs`; everything so many pixels further right."""
    pixels = sample["vertices_2d"].astype(np.float64) + np.array([shift_px, 0])
    return widths(pixels, outlined(sample, BOX_SCALE).square, is_right=bool(sample["is_right"]))


def knows(folder: Path, *, shift_px: float = 0.0) -> Callable[[int], np.ndarray]:
    """Pictures of right cameras are numbered from 100 on, and moved by `shift_px`."""
    left, right = (build_dataset("stereo", folder, view=view) for view in ("left", "right"))
    return lambda number: answer(right[number - 100], shift_px) if number >= 100 else answer(left[number])


def run(dataset: AnnotatedDataset, out: Path, checkpoint: Path, **options: Any) -> Predictions:
    path = predict(dataset, out, method="binocular", checkpoint=checkpoint, device="cpu", **options)
    return load_predictions(path)


@pytest.mark.parametrize(("view", "side"), [("left", "right"), ("right", "right"), ("left", "left"), ("right", "left")])
def test_meshes_of_the_whole_hand_stand_in_the_sample_s_own_camera(
    tmp_path: Path, checkpoint: Path, use: Any, view: str, side: str
) -> None:
    folder = write_pairs(tmp_path / "val", shards=1, each=2, side=side)
    use(knows(folder))
    dataset = build_dataset("stereo", folder, view=view)
    found, truth = run(dataset, tmp_path / "out", checkpoint), dataset.truth()
    assert found.status.tolist() == ["done", "done"]
    assert found.is_right.tolist() == 2 * [side == "right"]
    assert found.method == "lixel (net.safetensors, step 7, both views)"
    assert found.camera_source == "data set"
    np.testing.assert_allclose(found.vertices, truth.vertices, atol=5e-5)
    joints = joints_of_mesh(torch.from_numpy(truth.vertices), HAND).numpy()
    np.testing.assert_allclose(found.joints_3d, joints, atol=5e-5)
    np.testing.assert_allclose(found.joints_2d, seen(joints, truth.K), atol=2e-2)
    rebuilt = HandPair("open").vertices(found, range(2))
    np.testing.assert_allclose(rebuilt, found.vertices, atol=1e-6)
    # drawn poses are no hand's, and far from cameras so coarse the fit takes little of their depth
    assert np.linalg.norm(found.vertex_offsets, axis=-1).mean() < 5e-3, "the hand is fitted to the mesh"


def seen(points: np.ndarray, K: np.ndarray) -> np.ndarray:
    rays = points @ K.transpose(0, 2, 1)
    return rays[..., :2] / rays[..., 2:]


def test_absolute_figures_show_what_aligned_ones_hide(tmp_path: Path, checkpoint: Path, use: Any) -> None:
    """A right view that is 0.2 px off puts every point too far by its own Z^2 / (f B) a pixel."""
    folder = write_pairs(tmp_path / "val", shards=1, each=3)
    arguments = ["evaluate", "--protocol", "custom", "--dataset", "stereo", "--data", str(folder), "--json"]
    arguments += ["--method", "binocular", "--checkpoint", str(checkpoint), "--out"]
    summaries = []
    for number, shift in enumerate((0.0, 0.2)):
        use(knows(folder, shift_px=shift))
        result = CliRunner().invoke(app, [*arguments, str(tmp_path / f"{number}")])
        assert result.exit_code == 0, result.output
        summaries.append(json.loads(result.stdout))
    exact, off = summaries
    assert exact["mpvpe_mm"] < 0.05
    assert exact["mpjpe_mm"] < 2, "joints of the layer against those regressed from the mesh"
    assert exact["count"] == off["count"] == 3
    left, right = (build_dataset("stereo", folder, view=view).truth() for view in ("left", "right"))
    disparity = left.vertices[..., 0] / left.vertices[..., 2] - right.vertices[..., 0] / right.vertices[..., 2]
    wrong = 0.063 / (disparity - 0.2 / right.K[:, None, 0, 0])
    rays = left.vertices / left.vertices[..., 2:]
    distance = np.linalg.norm(rays * wrong[..., None] - left.vertices, axis=-1)
    assert off["mpvpe_mm"] == pytest.approx(1000 * distance.mean(), rel=1e-3)
    assert off["mpvpe_mm"] > 10
    assert off["pa_mpvpe_mm"] < off["ra_mpvpe_mm"] < off["mpvpe_mm"] / 3


FRAMES = 3


@pytest.fixture(scope="module")
def stb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Left hands before STB's two cameras; labels have a palm halfway from wrist to ring finger."""
    folder = tmp_path_factory.mktemp("STB")
    (folder / "labels").mkdir()
    hands = [posed(seed, side="left")["joints"].copy() for seed in range(FRAMES)]
    for joints in hands:
        joints[0] = (joints[0] + joints[13]) / 2
    theirs = 1000 * np.stack(hands)[:, list(JOINT_ORDERS["stb"])].transpose(2, 1, 0)
    scipy.io.savemat(folder / "labels" / "B1Counting_BB.mat", {"handPara": theirs})
    scipy.io.savemat(folder / "labels" / "B1Counting_SK.mat", {"handPara": theirs})
    for frame in range(FRAMES):
        for number, view in ((frame, "left"), (100 + frame, "right")):
            write_image(folder / "B1Counting" / f"BB_{view}_{frame}.png", plain((480, 640), (200, 100, 10 + number)))
    return folder


def knows_stb(number: int, *, middle: bool) -> np.ndarray:
    hand, aside = posed(number % 100, side="left"), [BASELINE_M * (number >= 100), 0, 0]
    pixels, joints = (seen_at(hand[name] - aside, K_BB) for name in ("vertices", "joints"))
    square = square_about_point(joints[MIDDLE], box_around(joints), BOX_SCALE)
    if not middle:
        margin = 0.115 * np.ptp(joints, axis=0).max()
        half = BOX_SCALE * (np.ptp(joints, axis=0).max() / 2 + margin)
        centre = (joints.min(0) + joints.max(0)) / 2
        square = np.concatenate([centre - half, centre + half])
    return widths(pixels, square, is_right=False)


def stb_command(stb: Path, out: Path, checkpoint: Path, *more: str) -> list[str]:
    command = ["evaluate", "--protocol", "stb", "--dataset", "stb", "--data", str(stb), "--out", str(out)]
    command += ["--data-option", 'sequences=["B1Counting"]']
    return [*command, "--method", "binocular", "--checkpoint", str(checkpoint), *more]


@pytest.mark.parametrize("centre", ["middle", "box"])
def test_stb_s_protocol_with_absolute_figures(
    stb: Path, tmp_path: Path, checkpoint: Path, use: Any, centre: str
) -> None:
    """Crops about the middle finger's root are the published ones."""
    use(lambda number: knows_stb(number, middle=centre == "middle"), centre=centre)
    command = stb_command(stb, tmp_path / "out", checkpoint)
    result = CliRunner().invoke(app, [*command, "--json"])
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    hands = [posed(seed, side="left") for seed in range(FRAMES)]
    # what skinned joints and those of the mesh are apart, and nothing else
    apart = np.mean([np.linalg.norm(hand["joints"] - hand["regressed"], axis=-1).mean() for hand in hands])
    assert summary["mpjpe_mm"] == pytest.approx(1000 * apart, abs=0.05)
    assert summary["ra_mpjpe_mm"] < 2
    assert summary["count"] == FRAMES
    printed = CliRunner().invoke(app, command, env={"COLUMNS": "200"})
    assert printed.exit_code == 0, printed.output
    for key in ("mpjpe_mm", "ra_auc_j", "pa_mpjpe_mm", "auc_j"):
        assert f"\n{key} " in printed.stdout.replace("│", " ").replace("\n ", "\n"), printed.stdout
    found = load_predictions(tmp_path / "out" / "predictions" / "net" / "hands.npz")
    np.testing.assert_allclose(found.vertices, [hand["vertices"] for hand in hands], atol=5e-5)


def test_both_views_of_stb_in_one_run(stb: Path, tmp_path: Path, checkpoint: Path, use: Any) -> None:
    use(lambda number: knows_stb(number, middle=False))
    dataset = Stb(stb, sequences=["B1Counting"], views=("left", "right"))
    found = run(dataset, tmp_path / "out", checkpoint)
    wanted = [posed(seed, side="left")["vertices"] for seed in range(FRAMES)]
    wanted += [vertices - [BASELINE_M, 0, 0] for vertices in wanted]
    np.testing.assert_allclose(found.vertices, wanted, atol=5e-5)


def test_pairs_of_data_sets(stb: Path, tmp_path: Path) -> None:
    """Samples know whose camera they are of, and who is beside them."""
    both = Stb(stb, sequences=["B1Counting"], views=("left", "right"))
    assert [both.view_of(index) for index in range(len(both))] == ["left"] * FRAMES + ["right"] * FRAMES
    assert Stb(stb, sequences=["B1Counting"], camera="SK").view_of(0) is None
    folder = write_pairs(tmp_path / "val", shards=1, each=2)
    for view in ("left", "right"):
        dataset = build_dataset("stereo", folder, view=view)
        pair = dataset.pair(1)
        assert dataset.view_of(1) == view
        assert pair[view]["name"] == dataset[1]["name"]  # type: ignore[literal-required]
        moved = pair["left"]["joints_3d"] @ pair["right_from_left"][:, :3].T + pair["right_from_left"][:, 3]
        np.testing.assert_allclose(moved, pair["right"]["joints_3d"], atol=1e-5)
    single = build_dataset("freihand", write_freihand(tmp_path / "freihand"), "training")
    assert single.view_of(0) is None
    with pytest.raises(HandkitError, match="FreiHand has no stereo pairs"):
        single.pair(0)


def test_a_missing_partner_is_counted_and_said(
    stb: Path, tmp_path: Path, checkpoint: Path, use: Any, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "STB"
    shutil.copytree(stb, folder)
    (folder / "B1Counting" / "BB_right_1.png").unlink()
    use(lambda number: knows_stb(number, middle=False))
    result = CliRunner().invoke(app, stb_command(folder, tmp_path / "out", checkpoint), env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    assert f"{FRAMES - 1} of {FRAMES} samples scored (1 missing)" in result.stdout
    record = json.loads((tmp_path / "out" / "predictions" / "net" / "predict.json").read_text())
    assert (record["found"], record["failed"]) == (FRAMES - 1, 1)
    found = load_predictions(tmp_path / "out" / "predictions" / "net" / "hands.npz")
    assert found.status[1].startswith("failed: ")
    assert "BB_right_1.png does not exist" in found.status[1]


class Aside(Stb):
    """STB with one hand moved so far to the right camera's left that its picture does not show it."""

    def _sample(self, sequence: str, frame: int, view: str) -> HandSample:
        sample = super()._sample(sequence, frame, view)
        if view == "right" and frame == 1:
            sample["joints_2d"] -= np.float32([600, 0])
            sample["bbox"] -= np.float32([600, 0, 600, 0])
        return sample


def test_a_hand_seen_by_one_camera_only_is_not_found(
    stb: Path, tmp_path: Path, checkpoint: Path, use: Any, caplog: pytest.LogCaptureFixture
) -> None:
    use(lambda number: knows_stb(number, middle=False))
    found = run(Aside(stb, sequences=["B1Counting"]), tmp_path / "out", checkpoint)
    assert found.status.tolist() == ["done", "no hand", "done"]
    assert "B1Counting/BB_left_1: the left camera alone sees the hand" in caplog.text
    caplog.clear()
    found = run(Aside(stb, sequences=["B1Counting"], views=("right",)), tmp_path / "right", checkpoint)
    assert found.status.tolist() == ["done", "no hand", "done"]
    assert "B1Counting/BB_right_1: the left camera alone sees the hand" in caplog.text


@pytest.mark.parametrize(
    ("box", "share"),
    [([0, 0, 10, 10], 1), ([-10, 0, 10, 20], 0.5), ([90, 40, 110, 60], 0.25), ([200, 0, 210, 9], 0), ([5, 5, 5, 9], 0)],
)
def test_the_share_of_a_box_that_a_picture_shows(box: list[int], share: float) -> None:
    assert shown_share(np.array(box, np.float64), (50, 100)) == pytest.approx(share)


def test_views_whose_rays_do_not_meet_make_no_hand(
    tmp_path: Path, checkpoint: Path, use: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the right view has the hand too far right, the disparity is negative."""
    folder = write_pairs(tmp_path / "val", shards=1, each=3)
    exact, wrong = knows(folder), knows(folder, shift_px=9.0)
    use(lambda number: wrong(number) if number == 101 else exact(number))
    dataset = build_dataset("stereo", folder)
    found = run(dataset, tmp_path / "out", checkpoint)
    assert found.status.tolist() == ["done", "no hand", "done"]
    assert "000001.left: both views make no hand: no disparity" in caplog.text
    np.testing.assert_allclose(found.vertices, dataset.truth().vertices[[0, 2]], atol=5e-5)
    use(wrong)
    nothing = run(dataset, tmp_path / "nothing", checkpoint)
    assert (len(nothing), nothing.status.tolist()) == (0, 3 * ["no hand"])


def test_data_sets_of_single_pictures_are_refused(stb: Path, tmp_path: Path, checkpoint: Path) -> None:
    freihand = write_freihand(tmp_path / "freihand")
    command = ["evaluate", "--protocol", "custom", "--dataset", "freihand", "--data", str(freihand)]
    command += ["--split", "training", "--method", "binocular", "--checkpoint", str(checkpoint)]
    result = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "out")], env={"COLUMNS": "200"})
    assert result.exit_code == 1
    assert "FreiHand gives single pictures, and binocular sees pairs" in result.stderr
    assert "data sets of pairs are stb (its camera BB) and stereo" in result.stderr
    command = stb_command(stb, tmp_path / "sk", checkpoint, "--data-option", "camera=SK")
    result = CliRunner().invoke(app, command, env={"COLUMNS": "200"})
    assert result.exit_code == 1
    assert "data sets of pairs are stb (its camera BB) and stereo" in result.stderr


def test_the_prior_is_taken_as_before(tmp_path: Path) -> None:
    folder = write_pairs(tmp_path / "val", shards=1, each=2)
    prior = write_lixel(tmp_path / "prior.safetensors", method="hand-prior")
    found = run(build_dataset("stereo", folder), tmp_path / "out", prior)
    assert found.method == "lixel (prior.safetensors, step 7, both views, before self-supervision)"
    assert len(found.status) == 2


def test_checkpoints_go_to_their_methods(tmp_path: Path, checkpoint: Path, use: Any) -> None:
    folder = write_pairs(tmp_path / "val", shards=1, each=2)
    use(knows(folder))
    other = write_handnet(tmp_path / "other.safetensors")
    command = ["evaluate", "--protocol", "custom", "--dataset", "stereo", "--data", str(folder), "--json"]
    command += ["--method", "binocular,handnet-image", "--checkpoint", str(checkpoint), "--checkpoint", str(other)]
    result = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "out")], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    methods = json.loads(result.stdout)["methods"]
    assert methods["net"]["mpvpe_mm"] < 0.05 < methods["other"]["mpvpe_mm"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--checkpoint", "nowhere"], "nowhere does not exist"),
        (["--checkpoint", "NET", "--hand-model", "mano"], "mano"),
        ([], "`handkit selfsup binocular --out DIR`"),
    ],
)
def test_bad_command_lines_are_told(arguments: list[str], said: str, tmp_path: Path, checkpoint: Path) -> None:
    folder = write_pairs(tmp_path / "val", shards=1, each=1)
    given = [str(checkpoint) if word == "NET" else word for word in arguments]
    command = ["evaluate", "--protocol", "custom", "--dataset", "stereo", "--data", str(folder), *given]
    result = CliRunner().invoke(
        app, [*command, "--method", "binocular", "--out", str(tmp_path / "out")], env={"COLUMNS": "200"}
    )
    assert result.exit_code == 1
    assert said in result.stderr
