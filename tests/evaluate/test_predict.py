import json
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from handkit.cli.evaluate import _METHODS
from handkit.data.annotations import AnnotatedDataset
from handkit.data.hands import HandSet
from handkit.data.images import Images
from handkit.data.sample import HandSample, build_sample
from handkit.errors import HandkitError
from handkit.evaluate.predict import METHODS, predict
from handkit.export.predictions import load_predictions
from handkit_cli import app
from tests.data.posing import plain, posed, seen_at, write_image

K = np.array([[500.0, 0, 128], [0, 500, 128], [0, 0, 1]])
SIZE = (256, 256)


class Posed(AnnotatedDataset):
    """Hands of both sides by their 2D joints; a sample can be empty, and unreadable; reads are counted."""

    def __init__(
        self, count: int = 7, *, empty: int | None = None, bad: int | None = None, stop: int | None = None
    ) -> None:
        self.count, self.empty, self.bad, self.stop = count, empty, bad, stop
        self.reads: list[int] = []

    def __len__(self) -> int:
        return self.count

    def side(self, index: int) -> str:
        return "left" if index % 3 == 1 else "right"

    def joints(self, index: int) -> np.ndarray:
        return posed(index, side=self.side(index), depth=0.5)["joints"]

    def read(self, index: int) -> HandSample:
        self.reads.append(index)
        if index == self.stop:
            raise KeyboardInterrupt
        if index == self.bad:
            raise HandkitError("picture 3 is cut off", "copy it again")
        known: dict[str, Any] = {"K": K}
        if index != self.empty:
            known["joints_2d"] = seen_at(self.joints(index), K)
        image = plain(SIZE).transpose(2, 0, 1)
        return build_sample(image, is_right=self.side(index) == "right", dataset="posed", name=f"s{index}", **known)

    def truth(self) -> HandSet:
        joints = np.stack([self.joints(i) for i in range(self.count)])
        return HandSet(ids=tuple(f"s{i}" for i in range(self.count)), joints=joints)


def test_every_sample_gets_a_row_or_a_reason(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    dataset = Posed(empty=2, bad=3)
    with caplog.at_level(logging.WARNING):
        path = predict(dataset, tmp_path, method="keypoints", batch_size=3)
    found = load_predictions(path)
    assert found.image.tolist() == ["s0", "s1", "s4", "s5", "s6"]
    assert found.inputs.tolist() == [f"s{i}" for i in range(7)]
    assert found.status.tolist() == ["done", "done", "no hand", "failed: picture 3 is cut off", "done", "done", "done"]
    assert found.is_right.tolist() == [dataset.side(i) == "right" for i in (0, 1, 4, 5, 6)]
    assert found.method == "given keypoints + fit"
    np.testing.assert_array_equal(found.K, np.repeat(K[None], 5, 0))
    record = json.loads((tmp_path / "predict.json").read_text())
    assert {key: record[key] for key in ("samples", "found", "no_hand", "failed")} == {
        "samples": 7,
        "found": 5,
        "no_hand": 1,
        "failed": 1,
    }
    assert "s3: picture 3 is cut off" in caplog.text
    assert "no hand in 1 of 7 samples, 1 failed" in caplog.text
    for row, i in enumerate((0, 1, 4, 5, 6)):
        gap = np.linalg.norm(found.joints_2d[row] - seen_at(dataset.joints(i), K), axis=1)
        assert gap.mean() < 3, "the fitted hand is not where the joints are"


def test_a_run_that_was_killed_goes_on_and_writes_the_same_file(tmp_path: Path) -> None:
    whole, half = tmp_path / "whole", tmp_path / "half"
    expected = predict(Posed(5, empty=1), whole, method="keypoints", batch_size=2).read_bytes()
    killed = Posed(5, empty=1, stop=4)
    with pytest.raises(KeyboardInterrupt):
        predict(killed, half, method="keypoints", batch_size=2)
    assert not (half / "hands.npz").exists()
    assert len(list((half / ".predict.parts").iterdir())) == 2
    again = Posed(5, empty=1)
    assert predict(again, half, method="keypoints", batch_size=2).read_bytes() == expected
    assert again.reads == [4], "finished batches are made again"
    assert sorted(path.name for path in half.iterdir()) == ["hands.npz", "predict.json"]


def test_a_damaged_piece_is_made_again(tmp_path: Path) -> None:
    expected = predict(Posed(3), tmp_path / "whole", method="keypoints", batch_size=2).read_bytes()
    with pytest.raises(KeyboardInterrupt):
        predict(Posed(3, stop=2), tmp_path, method="keypoints", batch_size=2)
    first = sorted((tmp_path / ".predict.parts").iterdir())[0] / "hands.npz"
    first.write_bytes(first.read_bytes()[:100])
    again = Posed(3)
    assert predict(again, tmp_path, method="keypoints", batch_size=2).read_bytes() == expected
    assert again.reads == [0, 1, 2]


def test_what_is_done_is_kept_until_something_changes(tmp_path: Path) -> None:
    predict(Posed(2), tmp_path, method="keypoints")
    again = Posed(2)
    predict(again, tmp_path, method="keypoints")
    assert again.reads == []
    predict(again, tmp_path, method="keypoints", force=True)
    assert again.reads == [0, 1]
    more = Posed(3)
    assert len(load_predictions(predict(more, tmp_path, method="keypoints"))) == 3
    assert more.reads == [0, 1, 2]


def test_bad_requests_are_told_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(HandkitError, match="no method 'magic'") as caught:
        predict(Posed(), tmp_path, method="magic")
    assert "fit, keypoints" in caught.value.fix
    with pytest.raises(HandkitError, match="0 samples"):
        predict(Posed(0), tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(HandkitError, match="cannot write"):
        predict(Posed(), tmp_path / "file", method="keypoints")


@pytest.fixture(scope="module")
def crops(realdata: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Six real crops, one picture without a hand, and the truth by name."""
    folder = tmp_path_factory.mktemp("crops")
    samples = json.loads((realdata / "ground_truth_3d.json").read_text())["samples"]
    chosen = [sample for sample in samples if sample["id"].startswith("handgraph")][:36:6]
    for sample in chosen:
        shutil.copy(realdata / sample["image"], folder)
    write_image(folder / "nothing.png", plain(SIZE))
    return folder, {Path(sample["image"]).name: sample for sample in chosen}


def test_hands_are_found_in_real_pictures(tmp_path: Path, crops: tuple[Path, dict[str, Any]]) -> None:
    folder, truth = crops
    camera = tmp_path / "cameras.json"
    camera.write_text(json.dumps({**{n: {"K": s["K"]} for n, s in truth.items()}, "nothing.png": [300, 300, 128, 128]}))
    found = load_predictions(predict(Images(folder, camera=camera), tmp_path / "out", batch_size=4))
    assert found.image.tolist() == sorted(truth)
    assert found.status.tolist() == [*(6 * ["done"]), "no hand"]
    assert not found.is_right.any(), "these are left hands"
    for row, name in enumerate(found.image.tolist()):
        gap = 1000 * np.linalg.norm(found.joints_3d[row] - np.array(truth[name]["joints_cam_m"]), axis=1)
        assert gap.mean() < 60, f"{name} is {gap.mean():.0f} mm away in the camera's frame"


class Boxed(AnnotatedDataset):
    """A real picture of two hands, each a sample with a box of its own."""

    def __init__(self, image: np.ndarray, hands: list[tuple[np.ndarray, bool]]) -> None:
        self.image, self.hands = image, hands

    def __len__(self) -> int:
        return len(self.hands)

    def read(self, index: int) -> HandSample:
        points, is_right = self.hands[index]
        box = np.concatenate([points.min(0), points.max(0)])
        image = np.ascontiguousarray(self.image.transpose(2, 0, 1))
        return build_sample(image, is_right=is_right, dataset="boxed", name=f"hand {index}", bbox=box)

    def truth(self) -> HandSet:
        raise HandkitError("no truth", "pictures alone")


def test_boxes_say_which_hand_of_a_picture_is_meant(tmp_path: Path, realdata: Path) -> None:
    from handkit.detect.mediapipe import MediaPipeDetector
    from handkit.images import read_image

    image = read_image(realdata / "photos" / "two_left_hands_up_down.jpg")
    with MediaPipeDetector(max_hands=2) as detector:
        hands = detector.detect(image)
    assert len(hands) == 2
    dataset = Boxed(image, [(hand.keypoints_2d, hand.is_right) for hand in hands])
    found = load_predictions(predict(dataset, tmp_path))
    assert found.inputs.tolist() == ["hand 0", "hand 1"]
    assert found.is_right.tolist() == [hand.is_right for hand in hands]
    for row, hand in enumerate(hands):
        size = np.ptp(hand.keypoints_2d, axis=0).max()
        assert np.linalg.norm(found.joints_2d[row] - hand.keypoints_2d, axis=1).mean() < 0.1 * size


def write_plain_set(root: Path) -> dict[str, Path]:
    """Two pictures, their keypoints, and the truth by name."""
    dataset = Posed(2)
    for i in range(2):
        write_image(root / "pictures" / f"s{i}.png", plain(SIZE))
    np.save(root / "points.npy", np.stack([seen_at(dataset.joints(i), K) for i in range(2)]))
    np.savez(root / "truth.npz", joints=dataset.truth().joints[::-1], ids=["s1.png", "s0.png"])
    return {name: root / name for name in ("pictures", "points.npy", "truth.npz")}


def test_the_command_predicts_and_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handkit.report.write_report", lambda out, scores, **more: [])
    files = write_plain_set(tmp_path)
    arguments = ["evaluate", "--protocol", "custom", "--dataset", "images", "--data", str(files["pictures"])]
    arguments += ["--data-option", f"keypoints={files['points.npy']}", "--data-option", "K=[500, 500, 128, 128]"]
    arguments += ["--method", "keypoints", "--out", str(tmp_path / "out"), "--json"]
    result = CliRunner().invoke(app, [*arguments, "--gt", str(files["truth.npz"])])
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary["count"] == 2
    assert summary["pa_mpjpe_mm"] < 15
    assert (tmp_path / "out" / "predictions" / "keypoints" / "hands.npz").is_file()
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert "has no truth of its own" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--method", "fit"], "name it by --dataset"),
        (["--method", "magic", "--dataset", "stb", "--data", "."], "choose among fit, keypoints"),
        (["--method", "fit", "--dataset", "stb"], "give the truth by --gt"),
        (["--method", "fit", "--dataset", "stb", "--data", ".", "--data-option", "camera"], "is not KEY=VALUE"),
    ],
)
def test_bad_command_lines_are_told(arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(app, ["evaluate", "--protocol", "custom", *arguments], env={"COLUMNS": "200"})
    assert result.exit_code == 2
    assert said in result.stderr


def test_the_command_knows_every_method() -> None:
    assert set(METHODS) == set(_METHODS)
