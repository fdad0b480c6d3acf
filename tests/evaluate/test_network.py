"""A network over data sets: what it is shown, in which order, and where its hands end up."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from handkit.checkpoint import find_weights
from handkit.data.annotations import AnnotatedDataset
from handkit.data.crops import HandCrops, hand_outline
from handkit.data.hands import HandSet
from handkit.data.registry import build_dataset
from handkit.data.sample import HandSample, build_sample
from handkit.detect.crop import square_box
from handkit.errors import HandkitError
from handkit.evaluate.predict import predict
from handkit.export.predictions import load_predictions
from handkit.geometry.cameras import full_to_weak
from handkit.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle, mirror_axis_angle
from handkit.hand import ManoLayer, load_hand
from handkit.inference.predictor import SequencePredictor
from handkit.nets import REST_SCALE, SequenceNetwork, SequenceOutput
from handkit_cli import app
from tests.data.making import sequence_arrays, write_sequences
from tests.inference.making import SIZE, info_of, write_small

K = np.array([[500.0, 0, 128], [0, 500, 128], [0, 0, 1]])


class Oracle(SequenceNetwork):
    """Knows the hand of every picture by its blue channel, and counts the frames of what it is shown in a row."""

    sees = "past"

    def __init__(self, known: Callable[[int], np.ndarray]) -> None:
        super().__init__("oracle")
        self.known = known
        self.seen: dict[int, int] = {}

    def forward(self, images: torch.Tensor, state: Any = None) -> SequenceOutput:
        numbers = (images[:, :, 2].flatten(2).amax(-1) * 255).round().long() - 10
        before = torch.zeros(len(images)) if state is None else state[0]
        parameters = torch.zeros(*numbers.shape, 26)
        for b, t in np.ndindex(*numbers.shape):
            self.seen[int(numbers[b, t])] = int(before[b]) + t
            parameters[b, t] = torch.from_numpy(self.known(int(numbers[b, t])))
        return SequenceOutput(parameters, (before + numbers.shape[1],))


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_small(tmp_path / "net.safetensors")


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[SequenceNetwork], None]:
    """Puts a network in place of the checkpoint's."""

    def put(network: SequenceNetwork) -> None:
        def load(path: Path, *, device: str, max_gap_s: float) -> SequencePredictor:
            return SequencePredictor(network, info_of(network), max_gap_s=max_gap_s)

        monkeypatch.setattr("handkit.evaluate.network.load_predictor", load)

    return put


def twenty_six(pca: Any, beta: Any, scale: float, shift: Any, orient: Any) -> np.ndarray:
    """The network's numbers of a hand; scale and shift in image widths."""
    return np.concatenate([pca, beta, [np.log(scale / REST_SCALE)], shift, orient]).astype(np.float32)


def generated(number: int) -> np.ndarray:
    """The hand of a frame of `write_sequences`, whose pictures are 48 pixels wide."""
    row = sequence_arrays(number // 10, 4)[number % 10]
    return twenty_six(row["theta"], row["beta"], row["s"] / 48, row["t"] / 48 - 0.5, row["r"])


def test_generated_frames_are_shown_whole_and_in_order(tmp_path: Path, checkpoint: Path, use: Any) -> None:
    network = Oracle(generated)
    use(network)
    folder = write_sequences(tmp_path / "val", shards=2, each=2)
    dataset = build_dataset("seqhand", folder)
    found = load_predictions(predict(dataset, tmp_path / "out", method="seqhand", checkpoint=checkpoint))
    assert network.seen == {10 * sequence + frame: frame for sequence in range(4) for frame in range(4)}
    truth = dataset.truth()
    assert found.image.tolist() == list(truth.ids)
    assert found.camera_source == "weak perspective"
    assert found.method == "oracle (net.safetensors, step 7)"
    np.testing.assert_allclose(found.joints_2d, truth.joints_2d, atol=1e-3)
    np.testing.assert_allclose(found.joints_3d, truth.joints, atol=1e-5)
    names = ("global_orient", "hand_pose", "betas", "transl")
    out = ManoLayer(load_hand("open"))(**{name: torch.from_numpy(getattr(found, name)) for name in names})
    np.testing.assert_allclose(out.vertices, truth.vertices, atol=1e-5)
    flat = np.concatenate([found.joints_3d[..., :2], np.ones((16, 21, 1))], -1) @ found.K.transpose(0, 2, 1)
    np.testing.assert_allclose(flat[..., :2], truth.joints_2d, atol=1e-3)


def test_the_command_prints_what_table_2_compares(tmp_path: Path, use: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handkit.report.write_report", lambda out, scores, **more: [])
    use(Oracle(generated))
    folder, run = write_sequences(tmp_path / "val"), write_small(tmp_path / "runs" / "seqhand-small.safetensors")
    arguments = ["evaluate", "--protocol", "seqhand", "--dataset", "seqhand", "--data", str(folder), "--json"]
    arguments += ["--method", "seqhand", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, [*arguments, "--checkpoint", str(run)])
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary["mpjpe_mm"] < 0.01
    assert summary["epe_2d_px"] < 0.01
    assert summary["auc_j"] == pytest.approx(1)
    assert summary["auc_2d"] > 0.98  # its first threshold is 0
    assert (tmp_path / "out" / "predictions" / "seqhand-small" / "hands.npz").is_file()
    both = ["--checkpoint", f"a={run}", "--checkpoint", f"b={run.parent}"]
    result = CliRunner().invoke(app, [*arguments, *both])
    assert list(json.loads(result.stdout)["methods"]) == ["a", "b"]


class Moving(AnnotatedDataset):
    """Hands of both sides in front of a pinhole camera: pictures tell their number, `frames` their place in time."""

    def __init__(self, frames: list[tuple[str, int]], *, sides_known: bool = True) -> None:
        self.frames, self.sides_known = frames, sides_known
        self.bad: int | None = None

    def __len__(self) -> int:
        return len(self.frames)

    def is_right(self, index: int) -> bool:
        return not self.frames[index][0].startswith("left")

    def hand(self, index: int) -> dict[str, torch.Tensor]:
        rng = np.random.default_rng(7)
        drawn = {"pca": rng.normal(0, 0.4, 10), "betas": rng.normal(0, 0.5, 10), "orient": rng.normal(0, 0.5, 3)}
        origin = np.array([0.06, -0.04, 0.5]) + 0.002 * index
        return {name: torch.from_numpy(value) for name, value in {**drawn, "origin": origin}.items()}

    def joints(self, index: int) -> np.ndarray:
        """Of this side's hand, whose pose is that of right hands mirrored."""
        known = self.hand(index)
        layer = ManoLayer(load_hand("open", "right" if self.is_right(index) else "left"), 10, flat_hand_mean=False)
        orient = known["orient"] if self.is_right(index) else mirror_axis_angle(known["orient"])
        joints = layer(hand_pose=known["pca"], betas=known["betas"]).joints @ axis_angle_to_matrix(orient).mT
        return (joints + known["origin"]).numpy()

    def read(self, index: int) -> HandSample:
        if index == self.bad:
            raise HandkitError("the picture is cut off", "copy it again")
        joints, image = self.joints(index), np.zeros((3, 256, 256), np.uint8)
        image[2] = 10 + index
        seen = joints @ K.T
        known = {"K": K, "joints_3d": joints, "joints_2d": seen[:, :2] / seen[:, 2:]}
        is_right, (sequence, frame) = self.is_right(index), self.frames[index]
        return build_sample(
            image, is_right=is_right, dataset="moving", name=f"m{index}", sequence=sequence, frame=frame, **known
        )

    def truth(self) -> HandSet:
        return HandSet(
            ids=tuple(f"m{index}" for index in range(len(self))),
            joints=np.stack([self.joints(index) for index in range(len(self))]),
            sequences=tuple(sequence for sequence, _ in self.frames),
            frames=tuple(frame for _, frame in self.frames),
        )

    def seen_in_crop(self, index: int) -> np.ndarray:
        """What a perfect network says of the crop: turned back from the ray that the hand is seen along."""
        known = self.hand(index)
        outline = hand_outline(self.read(index))
        x0, y0, x1, _ = square_box(np.concatenate([outline.min(0), outline.max(0)]))
        scale, shift = full_to_weak(known["origin"], torch.from_numpy(K))
        ray = known["origin"] / known["origin"].norm()
        axis = torch.linalg.cross(torch.tensor([0.0, 0, 1]).double(), ray)
        toward = axis_angle_to_matrix(axis / axis.norm() * torch.arccos(ray[2]))
        mirror = 1 if self.is_right(index) else -1
        orient = known["orient"] if self.is_right(index) else mirror_axis_angle(known["orient"])
        orient = matrix_to_axis_angle(toward.mT @ axis_angle_to_matrix(orient))
        orient = orient if self.is_right(index) else mirror_axis_angle(orient)
        side = x1 - x0
        place = (shift.numpy() - (x0, y0)) / side - 0.5
        return twenty_six(known["pca"], known["betas"], float(scale) / side, place * (mirror, 1), orient)


def test_hands_before_a_camera_are_seen_in_their_squares(tmp_path: Path, checkpoint: Path, use: Any) -> None:
    dataset = Moving([("right", 0), ("right", 1), ("left", 0), ("left", 1)])
    use(Oracle(dataset.seen_in_crop))
    found = load_predictions(predict(dataset, tmp_path / "out", method="seqhand", checkpoint=checkpoint))
    assert found.is_right.tolist() == [True, True, False, False]
    np.testing.assert_allclose(found.joints_3d, dataset.truth().joints, atol=2e-5)
    np.testing.assert_allclose(found.K, np.repeat(K[None], 4, 0))
    assert found.camera_source == "data set"


def test_state_is_carried_within_sequences_alone(
    tmp_path: Path, checkpoint: Path, use: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    frames = [("a", 0), ("a", 1), ("a", 2), ("b", 3), ("b", 4), ("b", 6), ("b", 7), ("b", 8), ("", 9), ("", 10)]
    dataset = Moving(frames)
    dataset.bad = 6
    network = Oracle(lambda number: np.zeros(26, np.float32))
    use(network)
    monkeypatch.setattr("handkit.evaluate.looking._AT_ONCE", 2)
    with caplog.at_level(logging.WARNING):
        found = load_predictions(predict(dataset, tmp_path / "out", method="seqhand", checkpoint=checkpoint))
    assert network.seen == {0: 0, 1: 1, 2: 2, 3: 0, 4: 1, 5: 0, 7: 0, 8: 0, 9: 0}
    assert found.status[6] == "failed: the picture is cut off"
    assert len(found) == 9
    assert "m6: the picture is cut off" in caplog.text


def test_a_killed_run_goes_on_at_a_sequence(tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the real network: sequences are never cut in two."""
    frames = [(name, frame) for name in "abc" for frame in range(3)]
    monkeypatch.setattr("handkit.evaluate.looking._PIECE", 2)
    whole = predict(Moving(frames), tmp_path / "whole", method="seqhand", checkpoint=checkpoint).read_bytes()
    killed = Moving(frames)
    monkeypatch.setattr(killed, "read", lambda index: Moving.read(killed, index) if index < 4 else stop())
    with pytest.raises(KeyboardInterrupt):
        predict(killed, tmp_path / "half", method="seqhand", checkpoint=checkpoint)
    assert len(list((tmp_path / "half" / ".predict.parts").iterdir())) == 1
    assert predict(Moving(frames), tmp_path / "half", method="seqhand", checkpoint=checkpoint).read_bytes() == whole


def stop() -> HandSample:
    raise KeyboardInterrupt


def test_another_checkpoint_of_the_same_name_is_run_again(tmp_path: Path, checkpoint: Path) -> None:
    dataset, out = Moving([("a", 0), ("a", 1)]), tmp_path / "out"
    first = load_predictions(predict(dataset, out, method="seqhand", checkpoint=checkpoint))
    stamp = (out / "hands.npz").stat().st_mtime_ns
    predict(dataset, out, method="seqhand", checkpoint=checkpoint)
    assert (out / "hands.npz").stat().st_mtime_ns == stamp
    write_small(checkpoint, "seqhand-small-frame")
    again = load_predictions(predict(dataset, out, method="seqhand", checkpoint=checkpoint))
    assert again.method.startswith("seqhand-small-frame (net.safetensors")
    assert np.abs(again.joints_3d - first.joints_3d)[1].max() > 1e-6


class Textured(Moving):
    """Pictures in which a shift or a mirror shows."""

    def read(self, index: int) -> HandSample:
        sample = super().read(index)
        noise = np.random.default_rng(0).integers(0, 255, (256, 256, 3), dtype=np.uint8)
        sample["image"] = np.ascontiguousarray(cv2.GaussianBlur(noise, (0, 0), 4).transpose(2, 0, 1))
        return sample


def test_hands_are_shown_as_in_training(tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = Textured([("right", 0), ("left", 0)])
    shown: list[np.ndarray] = []
    step = SequencePredictor.step
    monkeypatch.setattr(
        SequencePredictor,
        "step",
        lambda self, looks: (shown.extend(look.crop for look in looks), step(self, looks))[1],
    )
    predict(dataset, tmp_path / "out", method="seqhand", checkpoint=checkpoint)
    crops = HandCrops(dataset, size=SIZE)
    for index, crop in enumerate(shown):
        trained = crops.crop(index)["image"].transpose(1, 2, 0).astype(int)
        assert np.abs(crop - trained).mean() < 0.05 * trained.std()


class Unplaced(Moving):
    """Pictures that say nothing of where the hand is."""

    def read(self, index: int) -> HandSample:
        image = np.full((3, 96, 96), 90, np.uint8)
        return build_sample(image, is_right=True, dataset="unplaced", name=f"m{index}", K=K)


def test_without_any_annotation_the_detector_is_asked(tmp_path: Path, checkpoint: Path) -> None:
    found = load_predictions(predict(Unplaced([("", 0)]), tmp_path, method="seqhand", checkpoint=checkpoint))
    assert found.status.tolist() == ["no hand"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--method", "fit", "--checkpoint", "x"], 2, "--checkpoint is of --method seqhand"),
        (["--method", "fit,seqhand", "--checkpoint", "fit=x"], 2, "two methods are called 'fit'"),
        (["--method", "seqhand", "--checkpoint", "a/x.safetensors", "--checkpoint", "b/x.safetensors"], 2, "NAME=FILE"),
        (["--method", "seqhand", "--checkpoint", "nowhere.safetensors"], 1, "nowhere.safetensors does not exist"),
        (["--method", "seqhand"], 1, "handkit pretrain seqhand --out DIR"),
        (["--method", "seqhand", "--checkpoint", str(find_weights("pose-encoder.safetensors"))], 1, "pose encoder"),
    ],
)
def test_bad_command_lines_are_told(
    arguments: list[str], code: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_sequences(tmp_path / "val", shards=1, each=1, frames=1)
    monkeypatch.setattr("handkit.inference.load.USUAL", "none-of-these.safetensors")
    common = [
        "evaluate",
        "--protocol",
        "seqhand",
        "--dataset",
        "seqhand",
        "--data",
        str(folder),
        "--out",
        str(tmp_path),
    ]
    result = CliRunner().invoke(app, [*common, *arguments], env={"COLUMNS": "200"})
    assert result.exit_code == code
    assert said in result.stderr
