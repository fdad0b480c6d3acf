"""HandNet over data sets: what it is shown and told, and where its hands end up."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from handkit.checkpoint import CheckpointInfo
from handkit.data.annotations import AnnotatedDataset
from handkit.data.hands import HandSet
from handkit.data.registry import build_dataset
from handkit.data.sample import HandSample, build_sample
from handkit.detect.detection import HandDetection, box_around
from handkit.evaluate.finders import Found
from handkit.evaluate.predict import NETWORKS, predict
from handkit.export.predictions import Predictions, load_predictions
from handkit.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle, mirror_axis_angle, ray_from_axis
from handkit.hand import ManoLayer, load_hand
from handkit.hand.weak import encode_pose
from handkit.inference.handnet import HandNetPredictor
from handkit.inference.load import HANDNET
from handkit.inference.looks import square_around_joints
from handkit.nets.handnet import HandNetOutput
from handkit_cli import app
from tests.data.making import sequence_arrays, write_sequences
from tests.data.test_stereo import write_pairs
from tests.inference.making import SIZE, small_handnet, write_handnet, write_s2hand, write_small

BOX_SCALE = 1.5
K = np.array([[500.0, 0, 128], [0, 500, 120], [0, 0, 1]])
HANDS = {True: load_hand("open", "right"), False: load_hand("open", "left")}


class Oracle(torch.nn.Module):
    """Knows the hand of every picture by its blue channel, in the square that it is to be shown."""

    sigma, stereo_views = 0.03, False

    def __init__(self, known: Callable[[int], np.ndarray], inputs: str) -> None:
        super().__init__()
        self.known, self.inputs = known, inputs
        self.told: dict[int, np.ndarray | None] = {}

    def forward(self, images: torch.Tensor, maps: torch.Tensor | None, *, want_mask: bool) -> HandNetOutput:
        numbers = ((images[:, 2].flatten(1).amax(-1) * 255).round().long() - 10).tolist()
        for row, number in enumerate(numbers):
            self.told[number] = None if maps is None else peaks(maps[row])
        said = torch.from_numpy(np.stack([self.known(number) for number in numbers])).float()
        return HandNetOutput(*said.split([48, 10, 3], 1), torch.zeros(len(said), 512), None, None)


def peaks(maps: torch.Tensor) -> np.ndarray:
    """Where each joint's map is highest, in crop widths; NaN for empty maps."""
    flat = maps.flatten(1)
    place = np.stack([flat.argmax(1) % SIZE + 0.5, flat.argmax(1) // SIZE + 0.5], -1) / SIZE
    return np.where((flat.amax(1) > 0)[:, None], place, np.nan)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_handnet(tmp_path / "net.safetensors", box_scale=BOX_SCALE)


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Oracle]:
    """Puts a network that knows the answer in place of the checkpoint's."""

    def put(known: Callable[[int], np.ndarray], inputs: str = "both") -> Oracle:
        oracle = Oracle(known, inputs)
        data = {"hand": "open", "box_scale": BOX_SCALE}
        info = CheckpointInfo("handnet", {"name": "handnet"}, {"network": {"size": SIZE}}, step=7, data=data)

        def load(path: Path, device: str) -> HandNetPredictor:
            return HandNetPredictor(oracle, info)  # type: ignore[arg-type]

        monkeypatch.setattr("handkit.evaluate.handnet.load_handnet_predictor", load)
        return oracle

    return put


class Detector:
    """Finds the joints of samples a little off, those of `missing` not at all."""

    missing: tuple[str, ...] = ()
    off = np.array([1.5, -2.0])

    def __init__(self, *, sides_known: bool) -> None:
        assert sides_known

    def find(self, sample: HandSample) -> Found | None:
        if sample["name"] in self.missing:
            return None
        points = sample["joints_2d"].astype(np.float64) + self.off
        hand = HandDetection(points, np.full(21, 0.7), bool(sample["is_right"]), 0.9, box_around(points))
        return Found(hand, "mediapipe")

    def close(self) -> None:
        pass


@pytest.fixture
def detector(monkeypatch: pytest.MonkeyPatch) -> type[Detector]:
    kind = type("Kind", (Detector,), {})
    monkeypatch.setattr("handkit.evaluate.looking.DetectedFinder", kind)
    return kind


class Pictures(AnnotatedDataset):
    """Posed hands of both sides before a pinhole camera; every third is a left one."""

    def __init__(self, count: int = 5, *, annotated: bool = True) -> None:
        self.count, self.annotated = count, annotated

    def __len__(self) -> int:
        return self.count

    def is_right(self, index: int) -> bool:
        return index % 3 != 1

    def parameters(self, index: int) -> dict[str, torch.Tensor]:
        rng = np.random.default_rng(index)
        drawn = {"global_orient": rng.normal(0, 1, 3), "hand_pose": rng.normal(0, 0.3, 45)}
        drawn |= {"betas": rng.normal(0, 0.5, 10), "transl": np.array([*rng.uniform(-0.05, 0.05, 2), 0.6])}
        return {name: torch.from_numpy(value).float() for name, value in drawn.items()}

    def joints(self, index: int) -> np.ndarray:
        return ManoLayer(HANDS[self.is_right(index)])(**self.parameters(index)).joints.double().numpy()

    def joints_2d(self, index: int) -> np.ndarray:
        seen = self.joints(index) @ K.T
        return seen[:, :2] / seen[:, 2:]

    def read(self, index: int) -> HandSample:
        image = np.zeros((3, 240, 256), np.uint8)
        image[2] = 10 + index
        known = {"joints_2d": self.joints_2d(index)} if self.annotated else {}
        return build_sample(image, is_right=self.is_right(index), dataset="pictures", name=f"p{index}", K=K, **known)

    def truth(self) -> HandSet:
        count = range(len(self))
        return HandSet(ids=tuple(f"p{i}" for i in count), joints=np.stack([self.joints(i) for i in count]))

    def said(self, index: int, off: Any = 0.0) -> np.ndarray:
        """What a perfect network says of the square about the joints, moved by `off` px."""
        joints, numbers = self.joints(index), self.parameters(index)
        seen = self.joints_2d(index)
        square = square_around_joints(box_around(seen + off), BOX_SCALE)
        side, middle = square[2] - square[0], (square[:2] + square[2:]) / 2
        R = ray_from_axis(torch.from_numpy(joints[0])).mT @ axis_angle_to_matrix(numbers["global_orient"].double())
        orient, pose = matrix_to_axis_angle(R), numbers["hand_pose"].double()
        shift = (seen[0] - middle) / side
        if not self.is_right(index):
            orient, pose, shift = (
                mirror_axis_angle(orient),
                mirror_axis_angle(pose.view(15, 3)).flatten(),
                shift * [-1, 1],
            )
        scale = K[0, 0] / joints[0, 2] / side
        return np.concatenate([encode_pose(orient, pose, HANDS[True]), numbers["betas"], [scale], shift])


def run(dataset: AnnotatedDataset, out: Path, checkpoint: Path, method: str = "handnet") -> Predictions:
    return load_predictions(predict(dataset, out, method=method, checkpoint=checkpoint))


def told_px(oracle: Oracle, dataset: Pictures, index: int, off: Any = 0.0) -> np.ndarray:
    """Keypoints that the network was told, in pixels of the picture."""
    square = square_around_joints(box_around(dataset.joints_2d(index) + off), BOX_SCALE)
    told = oracle.told[index]
    assert told is not None
    x = told[:, 0] if dataset.is_right(index) else 1 - told[:, 0]
    return square[:2] + np.stack([x, told[:, 1]], -1) * (square[2] - square[0])


def test_without_keypoints_hands_are_where_the_network_knows_them(tmp_path: Path, checkpoint: Path, use: Any) -> None:
    dataset = Pictures()
    oracle = use(dataset.said)
    found = run(dataset, tmp_path / "out", checkpoint, "handnet-image")
    assert found.method == "handnet (net.safetensors, step 7, image and keypoints) without keypoints"
    assert found.is_right.tolist() == [dataset.is_right(i) for i in range(5)]
    np.testing.assert_allclose(found.joints_3d, dataset.truth().joints, atol=2e-5)
    assert all(np.isnan(oracle.told[i]).all() for i in range(5))
    assert not found.keypoint_scores.any()


def test_the_detector_s_keypoints_are_told_and_squared(
    tmp_path: Path, checkpoint: Path, use: Any, detector: type[Detector]
) -> None:
    """A hand that is not detected is seen about its joints, without keypoints."""
    dataset = Pictures()
    detector.missing = ("p2",)
    oracle = use(lambda number: dataset.said(number, 0.0 if number == 2 else Detector.off))
    found = run(dataset, tmp_path / "out", checkpoint)
    assert found.method == "MediaPipe Hands + handnet (net.safetensors, step 7, image and keypoints)"
    assert found.status.tolist() == 5 * ["done"]
    np.testing.assert_allclose(found.joints_3d, dataset.truth().joints, atol=2e-5)
    for index in (0, 1, 3, 4):
        detected = dataset.joints_2d(index) + Detector.off
        np.testing.assert_allclose(found.keypoints_2d[index], detected, atol=1e-3)
        assert np.abs(told_px(oracle, dataset, index, Detector.off) - detected).max() < 2.5, "half a pixel of the crop"
    assert np.isnan(oracle.told[2]).all()
    np.testing.assert_allclose(found.keypoint_scores[:, 0], [0.7, 0.7, 0, 0.7, 0.7], atol=1e-6)


def test_the_data_set_s_own_keypoints_are_told(tmp_path: Path, checkpoint: Path, use: Any) -> None:
    dataset = Pictures()
    oracle = use(dataset.said)
    found = run(dataset, tmp_path / "out", checkpoint, "handnet-given")
    assert found.method == "given keypoints + handnet (net.safetensors, step 7, image and keypoints)"
    np.testing.assert_allclose(found.joints_3d, dataset.truth().joints, atol=2e-5)
    for index in range(5):
        assert np.abs(told_px(oracle, dataset, index) - dataset.joints_2d(index)).max() < 2.5


def test_a_network_of_keypoints_sees_no_hand_without_them(tmp_path: Path, detector: type[Detector]) -> None:
    dataset = Pictures()
    detector.missing = ("p0", "p3")
    weights = write_handnet(tmp_path / "net.safetensors", small_handnet(inputs="keypoints"))
    found = run(dataset, tmp_path / "out", weights)
    assert found.status.tolist() == ["no hand", "done", "done", "no hand", "done"]
    assert found.method == "MediaPipe Hands + handnet (net.safetensors, step 7, keypoints)"
    given = run(dataset, tmp_path / "given", weights, "handnet-given")
    assert len(given) == 5
    detector.off = np.array([0.0, 500.0])
    outside = run(dataset, tmp_path / "outside", weights)
    assert outside.status.tolist() == 5 * ["no hand"], "keypoints of another picture"
    folder = write_sequences(tmp_path / "val", shards=1, each=1, frames=2)
    arguments = ["evaluate", "--protocol", "seqhand", "--dataset", "seqhand", "--data", str(folder)]
    arguments += ["--method", "handnet-image", "--checkpoint", str(weights), "--out", str(tmp_path / "scores")]
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    assert result.exit_code == 1
    assert "sees keypoints alone: without them it sees nothing" in result.stderr


def test_pictures_of_which_nothing_is_known_have_no_hand(tmp_path: Path, checkpoint: Path) -> None:
    """By MediaPipe itself, which finds none in plain pictures."""
    plain = Pictures(2, annotated=False)
    assert run(plain, tmp_path / "a", checkpoint).status.tolist() == ["no hand", "no hand"]
    assert run(plain, tmp_path / "b", checkpoint, "handnet-image").status.tolist() == ["no hand", "no hand"]
    assert run(plain, tmp_path / "c", checkpoint, "handnet-given").status.tolist() == ["no hand", "no hand"]
    assert run(Pictures(2), tmp_path / "d", checkpoint).status.tolist() == ["done", "done"]


def generated(dataset: AnnotatedDataset, number: int) -> np.ndarray:
    """What a perfect network says of a frame of `write_sequences`."""
    sequence, frame = divmod(number, 10)
    row, sample = sequence_arrays(sequence, 4)[frame], dataset[4 * sequence + frame]
    square = square_around_joints(box_around(sample["joints_2d"].astype(np.float64)), BOX_SCALE)
    side, middle = square[2] - square[0], (square[:2] + square[2:]) / 2
    hand = HANDS[True]
    pose = torch.from_numpy(hand.hands_mean + row["theta"].astype(np.float64) @ hand.hands_components[:10])
    numbers = encode_pose(torch.from_numpy(row["r"]).double(), pose, hand)
    shift = (sample["joints_2d"][0] - middle) / side
    return np.concatenate([numbers, row["beta"], [row["s"] / side], shift])


def test_a_network_that_knows_generated_hands_scores_as_nothing(tmp_path: Path, checkpoint: Path, use: Any) -> None:
    folder = write_sequences(tmp_path / "val", shards=2, each=2)
    dataset = build_dataset("seqhand", folder)
    use(lambda number: generated(dataset, number))
    arguments = ["evaluate", "--protocol", "seqhand", "--dataset", "seqhand", "--data", str(folder), "--json"]
    arguments += ["--method", "handnet-image", "--checkpoint", str(checkpoint), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary["mpjpe_mm"] < 0.02
    assert summary["epe_2d_px"] < 0.01
    found = load_predictions(tmp_path / "out" / "predictions" / "net" / "hands.npz")
    assert found.camera_source == "weak perspective"
    truth = dataset.truth()
    np.testing.assert_allclose(found.joints_3d, truth.joints, atol=2e-5)
    flat = np.concatenate([found.joints_3d[..., :2], np.ones((16, 21, 1))], -1) @ found.K.transpose(0, 2, 1)
    np.testing.assert_allclose(flat[..., :2], truth.joints_2d, atol=1e-2)
    names = ("global_orient", "hand_pose", "betas", "transl")
    out = ManoLayer(HANDS[True])(**{name: torch.from_numpy(getattr(found, name)) for name in names})
    np.testing.assert_allclose(out.vertices, truth.vertices, atol=3e-5)


def test_with_and_without_keypoints_in_one_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What Fig. 8 compares, over views of pairs; one checkpoint serves several methods, others go to theirs."""
    monkeypatch.setattr("handkit.report.write_report", lambda out, scores, **more: [])
    folder = write_pairs(tmp_path / "val", shards=1, each=2)
    ours = write_handnet(tmp_path / "ours.safetensors")
    runs = tmp_path / "runs"
    (runs / "finalize").mkdir(parents=True)
    (runs / "finalize" / "handnet.safetensors").write_bytes(ours.read_bytes())
    arguments = ["evaluate", "--protocol", "custom", "--dataset", "stereo", "--data", str(folder), "--json"]
    arguments += ["--align", "none,procrustes", "--out", str(tmp_path / "out"), "--checkpoint", f"ours={runs}"]
    result = CliRunner().invoke(app, [*arguments, "--method", "handnet-given,handnet-image"])
    assert result.exit_code == 0, result.output
    methods = json.loads(result.stdout)["methods"]
    assert set(methods) == {"ours-handnet-given", "ours-handnet-image"}
    values = [summary["pa_mpjpe_mm"] for summary in methods.values()]
    assert np.isfinite(values).all()
    assert abs(values[0] - values[1]) > 1e-3
    theirs = ["--checkpoint", f"theirs={write_small(tmp_path / 'small.safetensors')}"]
    theirs += ["--checkpoint", f"its={write_s2hand(tmp_path / 's2hand.safetensors', size=64)}"]
    result = CliRunner().invoke(app, [*arguments, *theirs, "--method", "handnet-image,seqhand,s2hand"])
    assert result.exit_code == 0, result.output
    assert set(json.loads(result.stdout)["methods"]) == {"ours", "theirs", "its"}
    said = {
        name: load_predictions(tmp_path / f"out/predictions/{name}/hands.npz").method
        for name in ("ours", "theirs", "its")
    }
    assert said["ours"].startswith("handnet (handnet.safetensors")
    assert said["theirs"].startswith("seqhand-small (small")
    assert said["its"].startswith("s2hand (s2hand")
    result = CliRunner().invoke(app, [*arguments, "--method", "handnet,s2hand"], env={"COLUMNS": "200"})
    assert result.exit_code == 1
    assert "no --checkpoint is of --method s2hand" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--checkpoint", "nowhere"], "nowhere does not exist"),
        (["--checkpoint", "SEQ"], "no HandNet"),
        ([], "`handkit pretrain handnet --out DIR`"),
    ],
)
def test_bad_command_lines_are_told(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = HANDNET._replace(usual="none-of-these.safetensors", or_else="nor-these.safetensors")
    monkeypatch.setattr("handkit.evaluate.handnet.HandNetEngine.weights", nowhere)
    folder = write_sequences(tmp_path / "val", shards=1, each=1, frames=1)
    given = [str(write_small(tmp_path / "seq.safetensors")) if word == "SEQ" else word for word in arguments]
    command = ["evaluate", "--protocol", "seqhand", "--dataset", "seqhand", "--data", str(folder), *given]
    result = CliRunner().invoke(
        app, [*command, "--method", "handnet", "--out", str(tmp_path / "out")], env={"COLUMNS": "200"}
    )
    assert result.exit_code == 1
    assert said in result.stderr


def test_every_kind_of_network_says_whose_it_is() -> None:
    assert {name: kind.network for name, kind in NETWORKS.items()} == {
        "seqhand": "seqhand",
        "s2hand": "s2hand",
        "handnet": "handnet",
        "handnet-image": "handnet",
        "handnet-given": "handnet",
        "binocular": "lixel",
    }
