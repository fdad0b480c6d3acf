"""S2HAND's network over data sets: what it is shown, where its hands end up, and what is kept beside them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from handkit.checkpoint import CheckpointInfo
from handkit.data.annotations import AnnotatedDataset
from handkit.data.crops import hand_outline
from handkit.data.hands import HandSet
from handkit.data.registry import build_dataset
from handkit.data.sample import HandSample, build_sample
from handkit.detect.crop import square_box
from handkit.evaluate.predict import predict
from handkit.evaluate.rows import read_own
from handkit.export.appearance import load_appearance
from handkit.export.keypoints import load_seen
from handkit.export.predictions import load_predictions
from handkit.geometry.rotations import matrix_to_axis_angle
from handkit.hand import ManoLayer, load_hand
from handkit.hand.scaled import CANONICAL_FOCAL, UPRIGHT_ROOT, ScaledHandLayer, ScaledHandOutput
from handkit.inference.load import S2HAND
from handkit.inference.s2hand import S2HandPredictor
from handkit.nets import KeypointOutput, S2HandOutput, S2HandSystem
from handkit_cli import app
from tests.data.making import sequence_arrays, write_sequences
from tests.inference.making import small_system, write_s2hand, write_small

SIZE, BOX_SCALE = 64, 1.7
DATA = {"hand": "open", "box_scale": BOX_SCALE}
K = np.array([[500.0, 0, 128], [0, 510, 120], [0, 0, 1]])
HAND = load_hand("open")
Numbers = dict[str, torch.Tensor]


def number_of(images: torch.Tensor) -> list[int]:
    """Pictures tell their number by their blue channel."""
    return ((images[:, 2].flatten(1).amax(-1) * 255).round().long() - 10).tolist()


class OracleHand(torch.nn.Module):
    """Knows the hand of every picture."""

    camera = "perspective"

    def __init__(self, known: Callable[[int], Numbers]) -> None:
        super().__init__()
        self.known = known

    def forward(self, images: torch.Tensor, want_texture: bool = True) -> S2HandOutput:
        numbers = number_of(images)
        known = [self.known(number) for number in numbers]
        stacked = {name: torch.stack([one[name] for one in known]) for name in known[0]}
        texture = torch.tensor(numbers)[:, None, None].expand(-1, 1538, 3) / 100
        return S2HandOutput(**stacked, texture=texture, light=torch.tensor(numbers)[:, None].expand(-1, 11) / 10)


class OracleKeypoints(torch.nn.Module):
    """Sees joint j of picture n at (j + 1) / 25, n / 100 of the crop."""

    def forward(self, images: torch.Tensor) -> KeypointOutput:
        x, numbers = (torch.arange(21.0) + 1) / 25, torch.tensor(number_of(images))
        points = torch.stack([x.expand(len(numbers), 21), (numbers / 100)[:, None].expand(-1, 21)], -1)
        return KeypointOutput(points[:, None], torch.full((len(numbers), 21), 0.5))


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_s2hand(tmp_path / "net.safetensors", size=SIZE)


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[int], Numbers]], None]:
    """Puts networks that know the answer in place of the checkpoint's."""

    def put(known: Callable[[int], Numbers]) -> None:
        system = S2HandSystem(OracleHand(known), OracleKeypoints())
        info = CheckpointInfo("s2hand", {"name": "s2hand"}, {"network": {"size": SIZE}}, step=7, data=DATA)
        monkeypatch.setattr("handkit.evaluate.s2hand.load_s2hand", lambda path, device: S2HandPredictor(system, info))

    return put


class Pictures(AnnotatedDataset):
    """Hands of both sides before a pinhole camera, in the sequences and frames that are given."""

    def __init__(self, frames: list[tuple[str, int]], *, stop: int | None = None) -> None:
        self.frames, self.stop = frames, stop
        self.reads: list[int] = []

    def __len__(self) -> int:
        return len(self.frames)

    def is_right(self, index: int) -> bool:
        return index % 3 != 1

    def joints_2d(self, index: int) -> np.ndarray:
        return np.random.default_rng(index).uniform((90, 60), (170, 130), (21, 2))

    def read(self, index: int) -> HandSample:
        self.reads.append(index)
        if index == self.stop:
            raise KeyboardInterrupt
        image = np.zeros((3, 240, 256), np.uint8)
        image[2] = 10 + index
        sequence, frame = self.frames[index]
        return build_sample(
            image,
            is_right=self.is_right(index),
            dataset="pictures",
            name=f"p{index}",
            sequence=sequence,
            frame=frame,
            K=K,
            joints_2d=self.joints_2d(index),
            keypoints_2d=self.joints_2d(index) + 1.0,
            keypoint_scores=np.full(21, 0.9),
        )

    def truth(self) -> HandSet:
        return HandSet(
            ids=tuple(f"p{index}" for index in range(len(self))),
            joints_2d=np.stack([self.joints_2d(index) for index in range(len(self))]),
            sequences=tuple(sequence for sequence, _ in self.frames),
            frames=tuple(frame for _, frame in self.frames),
        )


def square_of(sample: HandSample) -> np.ndarray:
    outline = hand_outline(sample)
    return square_box(np.concatenate([outline.min(0), outline.max(0)]), BOX_SCALE)


def crop_camera(square: np.ndarray, camera: np.ndarray, *, is_right: bool = True) -> np.ndarray:
    """K of a square shown `SIZE` pixels wide, mirrored for left hands."""
    zoom = SIZE / (square[2] - square[0])
    crop = np.array([[zoom, 0, -zoom * square[0]], [0, zoom, -zoom * square[1]], [0, 0, 1]]) @ camera
    if not is_right:
        crop[0, 2] = SIZE - crop[0, 2]
    return crop


def drawn(number: int) -> Numbers:
    rng = np.random.default_rng(number)
    parts = {
        "pca": rng.normal(0, 0.3, 30),
        "betas": rng.normal(0, 0.5, 10),
        "scale": rng.uniform(0.7, 1.2),
        "orient": rng.normal(0, 0.4, 3),
        "transl": rng.normal((0, 0, 0.7), 0.02),
    }
    return {name: torch.as_tensor(value, dtype=torch.float32) for name, value in parts.items()}


def posed(numbers: Numbers, camera: np.ndarray) -> ScaledHandOutput:
    """What the training's layer makes of them."""
    return ScaledHandLayer(HAND)(**numbers, K=torch.from_numpy(camera).float(), width=SIZE)


def test_hands_end_up_as_training_has_them(tmp_path: Path, checkpoint: Path, use: Any) -> None:
    use(drawn)
    dataset = Pictures([("a", 0), ("a", 1), ("a", 2), ("", 3)])
    path = predict(dataset, tmp_path / "out", method="s2hand", checkpoint=checkpoint)
    found = load_predictions(path)
    assert found.image.tolist() == ["p0", "p1", "p2", "p3"]
    assert found.method == "s2hand (net.safetensors, step 7)"
    for index in range(4):
        square, is_right = square_of(dataset[index]), dataset.is_right(index)
        numbers = drawn(index)
        out = posed(numbers, crop_camera(square, K, is_right=is_right))
        joints, pixels = out.joints.numpy() / abs(float(numbers["scale"])), out.joints_2d.numpy().astype(np.float64)
        if not is_right:
            joints, pixels = joints * [-1, 1, 1], np.abs([SIZE, 0] - pixels)
        pixels = square[:2] + pixels * (square[2] - square[0]) / SIZE
        np.testing.assert_allclose(found.joints_3d[index], joints, atol=2e-5)
        np.testing.assert_allclose(found.joints_2d[index], pixels, atol=0.05)
    np.testing.assert_allclose(found.keypoints_2d[2], dataset.joints_2d(2) + 1, atol=1e-4)


def test_looks_and_keypoints_are_kept_row_by_row(tmp_path: Path, checkpoint: Path, use: Any) -> None:
    use(drawn)
    dataset = Pictures([("a", 0), ("a", 1), ("b", 0)])
    path = predict(dataset, tmp_path, method="s2hand", checkpoint=checkpoint)
    appearance, seen = load_appearance(tmp_path / "appearance.npz"), load_seen(tmp_path / "keypoints.npz")
    np.testing.assert_allclose(appearance.light[:, 0], [0, 0.1, 0.2], atol=1e-6)
    np.testing.assert_allclose(appearance.texture[:, 7, 1], [0, 0.01, 0.02], atol=1e-4)
    for index in range(3):
        square = square_of(dataset[index])
        side = square[2] - square[0]
        x = (np.arange(21) + 1) / 25
        x = x if dataset.is_right(index) else 1 - x
        np.testing.assert_allclose(seen.points[index, :, 0], square[0] + side * x, atol=1e-3)
        np.testing.assert_allclose(seen.points[index, :, 1], square[1] + side * index / 100, atol=1e-3)
    assert len(read_own([path])) == 3


def turned(axis: np.ndarray) -> np.ndarray:
    """The smallest turn of z to a direction, by its axis and angle."""
    ray = axis / np.linalg.norm(axis)
    across = np.cross([0, 0, 1.0], ray)
    size = np.linalg.norm(across)
    return cv2.Rodrigues(across / size * np.arctan2(size, ray[2]))[0] if size > 0 else np.eye(3)


def generated(dataset: AnnotatedDataset, number: int) -> Numbers:
    """What a perfect network says of a frame of `write_sequences`: its turn as seen along the ray to the hand."""
    sequence, frame = divmod(number, 10)
    row, sample = sequence_arrays(sequence, 4)[frame], dataset[4 * sequence + frame]
    canonical = np.array([[48 * CANONICAL_FOCAL, 0, 24], [0, 48 * CANONICAL_FOCAL, 24], [0, 0, 1]])
    camera = torch.from_numpy(crop_camera(square_of(sample), canonical))
    origin = canonical[0, 0] / row["s"] * np.linalg.inv(canonical) @ np.append(row["t"], 1)
    total = turned(origin) @ cv2.Rodrigues(row["r"].astype(np.float64))[0]
    # The layer turns about what its root turn leaves in place, a little beside the model's origin.
    betas = torch.from_numpy(row["beta"]).double()
    rest, root = ManoLayer(HAND)(betas=betas).joints[0].numpy(), cv2.Rodrigues(np.array(UPRIGHT_ROOT))[0]
    place = origin - total @ (root.T @ rest - rest)
    # Before the crop's own canonical camera: the same pixel, the depth by the focal lengths.
    own = SIZE * CANONICAL_FOCAL
    u, v, _ = (camera.numpy() @ place) / place[2]
    near = place[2] * own / float(camera[0, 0])
    transl = torch.tensor([(u - SIZE / 2) * near / own, (v - SIZE / 2) * near / own, near]).double()
    turn = ScaledHandLayer(HAND).place(transl, camera, SIZE).turn.numpy()
    orient = matrix_to_axis_angle(torch.from_numpy(turn.T @ total @ root.T))
    pca = torch.zeros(30)
    pca[:10] = torch.from_numpy(row["theta"])
    parts = {"pca": pca, "betas": betas, "scale": torch.tensor(1.0), "orient": orient, "transl": transl}
    return {name: value.float() for name, value in parts.items()}


def test_a_network_that_knows_generated_hands_scores_as_nothing(tmp_path: Path, checkpoint: Path, use: Any) -> None:
    folder = write_sequences(tmp_path / "val", shards=2, each=2)
    dataset = build_dataset("seqhand", folder)
    use(lambda number: generated(dataset, number))
    arguments = ["evaluate", "--protocol", "seqhand", "--dataset", "seqhand", "--data", str(folder), "--json"]
    arguments += ["--method", "s2hand", "--checkpoint", str(checkpoint), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary["mpjpe_mm"] < 0.02
    # Seen by a pinhole camera what is nearer looks larger: so far a weak camera's pixels are from it.
    assert 0.05 < summary["epe_2d_px"] < 3
    assert summary["acc_err_mm_per_frame2"] < 0.05
    found = load_predictions(tmp_path / "out" / "predictions" / "net" / "hands.npz")
    flat = np.concatenate([found.joints_3d[..., :2], np.ones((16, 21, 1))], -1) @ found.K.transpose(0, 2, 1)
    np.testing.assert_allclose(flat[..., :2], dataset.truth().joints_2d, atol=1e-3)
    assert found.camera_source == "weak perspective"
    names = ("global_orient", "hand_pose", "betas", "transl")
    out = ManoLayer(HAND)(**{name: torch.from_numpy(getattr(found, name)) for name in names})
    np.testing.assert_allclose(out.joints, found.joints_3d, atol=1e-5)


def test_the_command_gives_the_tables_columns(tmp_path: Path) -> None:
    """With real networks; steadiness is computed again from the files, as the paper has it."""
    folder = write_sequences(tmp_path / "val", shards=1, each=2)
    run = write_s2hand(tmp_path / "net.safetensors", small_system(keypoints=True), size=SIZE)
    arguments = ["evaluate", "--protocol", "seqhand", "--dataset", "seqhand", "--data", str(folder), "--json"]
    arguments += ["--method", "s2hand", "--checkpoint", str(run), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    out = tmp_path / "out"
    own = read_own([out / "predictions" / "net" / "hands.npz"])
    betas = own.hands.betas.astype(np.float64).reshape(2, 4, 10)
    assert summary["shape_sd"] == pytest.approx(betas.std(1).mean(), rel=1e-6)
    assert summary["texture_sd"] > 0
    assert summary["quaternion_rad"] > 0
    assert list(summary)[-1] == "count"
    names = {path.name for path in out.iterdir()}
    assert {"keypoints.png", "keypoints.pdf", "shape.png", "texture_sd.png", "texture_sd.pdf"} <= names
    page = (out / "report.html").read_text()
    assert all(f'id="{name}"' in page for name in ("keypoints", "shape", "texture"))


def test_a_killed_run_goes_on_and_writes_the_same_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handkit.evaluate.looking._PIECE", 2)
    run = write_s2hand(tmp_path / "net.safetensors", small_system(keypoints=True), size=SIZE)
    frames = [(name, frame) for name in "abc" for frame in range(3)]
    whole, half = tmp_path / "whole", tmp_path / "half"
    predict(Pictures(frames), whole, method="s2hand", checkpoint=run)
    with pytest.raises(KeyboardInterrupt):
        predict(Pictures(frames, stop=7), half, method="s2hand", checkpoint=run)
    pieces = sorted((half / ".predict.parts").iterdir())
    assert [sorted(file.name for file in piece.iterdir()) for piece in pieces] == [
        ["appearance.npz", "hands.npz", "keypoints.npz"]
    ] * 2
    (pieces[1] / "appearance.npz").write_bytes(b"cut off")
    again = Pictures(frames)
    predict(again, half, method="s2hand", checkpoint=run)
    assert again.reads == [3, 4, 5, 6, 7, 8], "a whole piece is made again, or a damaged one is not"
    names = sorted(file.name for file in whole.iterdir())
    assert names == ["appearance.npz", "hands.npz", "keypoints.npz", "predict.json"]
    assert sorted(file.name for file in half.iterdir()) == names
    for name in names[:3]:
        assert (half / name).read_bytes() == (whole / name).read_bytes(), name


def test_what_another_method_left_beside_is_taken_away(tmp_path: Path, checkpoint: Path) -> None:
    dataset, out = Pictures([("a", 0), ("a", 1)]), tmp_path / "out"
    predict(dataset, out, method="s2hand", checkpoint=checkpoint)
    assert (out / "appearance.npz").is_file()
    assert not (out / "keypoints.npz").exists(), "the checkpoint has no 2D estimator"
    predict(dataset, out, method="seqhand", checkpoint=write_small(tmp_path / "seqhand.safetensors"))
    assert sorted(file.name for file in out.iterdir()) == ["hands.npz", "predict.json"]


def test_checkpoints_go_to_the_method_of_their_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handkit.report.write_report", lambda out, scores, **more: [])
    folder = write_sequences(tmp_path / "val", shards=1, each=1, frames=2)
    ours, theirs = write_s2hand(tmp_path / "a.safetensors", size=SIZE), write_small(tmp_path / "b.safetensors")
    arguments = ["evaluate", "--protocol", "seqhand", "--dataset", "seqhand", "--data", str(folder), "--json"]
    arguments += ["--out", str(tmp_path / "out"), "--checkpoint", f"ours={ours}", "--checkpoint", f"theirs={theirs}"]
    result = CliRunner().invoke(app, [*arguments, "--method", "seqhand,s2hand"])
    assert result.exit_code == 0, result.output
    assert set(json.loads(result.stdout)["methods"]) == {"ours", "theirs"}
    methods = {
        name: load_predictions(tmp_path / f"out/predictions/{name}/hands.npz").method for name in ("ours", "theirs")
    }
    assert methods["ours"].startswith("s2hand (a.safetensors")
    assert methods["theirs"].startswith("seqhand-small (b.safetensors")
    wrong = CliRunner().invoke(app, [*arguments, "--method", "seqhand"])
    assert wrong.exit_code == 1
    assert "is an S2HAND network" in wrong.stderr
    one_kind = [*arguments[:-4], "--checkpoint", str(theirs)]
    wrong = CliRunner().invoke(app, [*one_kind, "--method", "s2hand"])
    assert wrong.exit_code == 1
    assert "no S2HAND network" in wrong.stderr
    wrong = CliRunner().invoke(app, [*one_kind, "--method", "seqhand,s2hand"])
    assert wrong.exit_code == 1
    assert "no --checkpoint is of --method s2hand" in wrong.stderr


def test_without_weights_the_training_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    nowhere = S2HAND._replace(usual="none-of-these.safetensors")
    monkeypatch.setattr("handkit.evaluate.s2hand.S2HandEngine.weights", nowhere)
    folder = write_sequences(tmp_path / "val", shards=1, each=1, frames=1)
    arguments = ["evaluate", "--protocol", "seqhand", "--dataset", "seqhand", "--data", str(folder)]
    result = CliRunner().invoke(app, [*arguments, "--method", "s2hand", "--out", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert "handkit selfsup s2hand --out DIR" in result.stderr
