"""Masks over data sets that annotate some: whose squares, which pixels, and what of hands that are not found."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from handkit.data.annotations import AnnotatedDataset
from handkit.data.hands import HandSet
from handkit.data.sample import HandSample, build_sample
from handkit.errors import HandkitError
from handkit.evaluate.options import EvaluateOptions
from handkit.evaluate.protocols import PROTOCOLS, summary_keys
from handkit.evaluate.run import run_evaluate
from handkit.evaluate.scores import Scores
from handkit.evaluate.segmentation import inside_square, score_segmentation
from handkit.export.predictions import load_predictions
from handkit.images import read_image
from handkit_cli import app
from tests.data.making import write_sequences
from tests.inference.making import small_handnet, write_handnet
from tests.inference.test_masks import picture_of, see_green
from tests.refine.conftest import clip  # noqa: F401 - a fixture

PROTOCOL = PROTOCOLS["segmentation"]
SKIN = (200, 150, 120)


class Kept(AnnotatedDataset):
    """Samples in memory."""

    def __init__(self, samples: Sequence[HandSample]) -> None:
        self.samples = list(samples)

    def __len__(self) -> int:
        return len(self.samples)

    def read(self, index: int) -> HandSample:
        return self.samples[index]

    def truth(self) -> HandSet:
        names = tuple(sample["name"] for sample in self.samples)
        return HandSet(ids=names, joints_2d=np.stack([s["joints_2d"] for s in self.samples]), source="kept")


def sample_of(
    image: np.ndarray, mask: np.ndarray | None, box: tuple[float, float, float, float], name: str = "0"
) -> HandSample:
    """A hand whose joints fill a box."""
    rng = np.random.default_rng(0)
    joints = rng.uniform(box[:2], box[2:], (21, 2)).astype(np.float32)
    joints[0], joints[1] = box[:2], box[2:]
    given = {} if mask is None else {"mask": mask.astype(np.uint8)}
    picture = np.ascontiguousarray(image.transpose(2, 0, 1))
    return build_sample(image=picture, name=name, joints_2d=joints, is_right=True, dataset="kept", **given)


def square_mask(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    mask = np.zeros((120, 160), bool)
    mask[y0:y1, x0:x1] = True
    return mask


def score(samples: Sequence[HandSample], out: Path, *methods: str, **options: object) -> dict[str, Scores]:
    asked = EvaluateOptions(protocol="segmentation", methods=methods, device="cpu", **options)  # type: ignore[arg-type]
    scores, truth = score_segmentation(Kept(samples), out, PROTOCOL, asked)
    assert all(one.ids == truth.ids for one in scores)
    return {one.method: one for one in scores}


def test_pixels_of_the_square_alone_count(tmp_path: Path) -> None:
    """Skin where the hand is, in a quarter of it more, and far outside of the square."""
    mask = square_mask(60, 40, 100, 80)
    skin = mask | square_mask(100, 40, 110, 80) | square_mask(0, 0, 20, 120)
    image = np.where(skin[..., None], SKIN, 20).astype(np.uint8)
    found = score([sample_of(image, mask, (60, 40, 100, 80))], tmp_path, "hsv")["hsv"]
    assert found.summary["mask_iou"] == pytest.approx(1600 / 2000)
    side = 40 * (1 + 2 * 0.115) * 1.5
    square = np.array([80 - side / 2, 60 - side / 2, 80 + side / 2, 60 + side / 2])
    counted = inside_square(square, 120, 160).sum()
    assert found.summary["pixel_accuracy"] == pytest.approx(1 - 400 / counted, abs=1e-6)
    assert found.summary["count"] == 1
    assert sorted(found.summary) == sorted(summary_keys(PROTOCOL))


def test_samples_without_masks_are_counted(tmp_path: Path) -> None:
    mask = square_mask(60, 40, 100, 80)
    image = np.where(mask[..., None], SKIN, 20).astype(np.uint8)
    box = (60.0, 40.0, 100.0, 80.0)
    samples = [sample_of(image, m, box, str(i)) for i, m in enumerate((mask, None, np.zeros_like(mask), mask))]
    found = score(samples, tmp_path, "hsv")["hsv"]
    assert found.counts == {"samples": 4, "scored": 2, "missing": 0, "not_annotated": 2}
    np.testing.assert_array_equal(np.isfinite(found.per_sample["mask_iou"]), [True, False, False, True])
    kept = score(samples, tmp_path, "hsv", exclude=("0",))["hsv"]
    assert kept.counts["excluded"] == 1
    assert kept.counts["scored"] == 1
    with pytest.raises(HandkitError, match="annotates no masks"):
        score(samples[1:3], tmp_path, "hsv")


def test_a_network_is_shown_the_hands_square(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mask = square_mask(60, 40, 100, 80) | square_mask(70, 20, 80, 40) | square_mask(0, 0, 20, 20)
    checkpoint = write_handnet(tmp_path / "own.safetensors", small_handnet(inputs="image"))
    see_green(monkeypatch)
    sample = sample_of(picture_of(mask), mask, (60, 22, 100, 78))
    found = score([sample], tmp_path, "handnet", checkpoints=(("own", checkpoint),))
    assert list(found) == ["own"]
    assert found["own"].summary["mask_iou"] > 0.95
    assert found["own"].counts["scored"] == 1


def test_a_hand_that_is_found_seeds_grabcut(clip: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:  # noqa: F811
    rows = load_predictions(clip / "out/stills/hands.npz")
    samples = []
    for row, name in enumerate(("p0", "p1")):
        image = read_image(clip / f"in/stills/{name}.png")
        joints = rows.joints_2d[row]
        box = (*joints.min(0).tolist(), *joints.max(0).tolist())
        samples.append(sample_of(image, read_image(clip / f"masks/{name}.png")[..., 0] > 0, box, name))
    empty = np.full_like(image, 90)
    samples.append(sample_of(empty, read_image(clip / "masks/p0.png")[..., 0] > 0, box, "empty"))
    checkpoint = write_handnet(tmp_path / "own.safetensors")
    asked = {"checkpoints": (("handnet", checkpoint),)}
    found = score(samples, tmp_path, "hsv", "grabcut", "handnet", **asked)
    assert list(found) == ["hsv", "grabcut", "handnet"]
    assert found["grabcut"].summary["mask_iou"] > 0.7
    assert found["grabcut"].counts == {"samples": 3, "scored": 2, "missing": 1, "not_annotated": 0}
    assert found["hsv"].counts["scored"] == found["handnet"].counts["scored"] == 3
    assert "1 of 3 samples have no hand that was found" in caplog.text
    stamp = (tmp_path / "predictions/fit/hands.npz").stat().st_mtime_ns
    score(samples, tmp_path, "grabcut")
    assert (tmp_path / "predictions/fit/hands.npz").stat().st_mtime_ns == stamp
    with pytest.raises(HandkitError, match="no hand was found in any sample"):
        score(samples[2:], tmp_path / "none", "grabcut")


def test_checkpoints_of_other_squares_are_not_mixed(tmp_path: Path) -> None:
    one = write_handnet(tmp_path / "one.safetensors")
    other = write_handnet(tmp_path / "other.safetensors", box_scale=2.0)
    mask = square_mask(60, 40, 100, 80)
    with pytest.raises(HandkitError, match=r"different sizes: a 1\.5, b 2"):
        score(
            [sample_of(picture_of(mask), mask, (60, 40, 100, 80))],
            tmp_path,
            "handnet",
            checkpoints=(("a", one), ("b", other)),
        )


def evaluate(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["evaluate", "--protocol", "segmentation", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def test_the_command_line(tmp_path: Path) -> None:
    data = write_sequences(tmp_path / "data", shards=1, each=1, frames=3)
    checkpoint = write_handnet(tmp_path / "own.safetensors")
    place = ("--dataset", "seqhand", "--data", data, "--out", tmp_path / "out")
    code, stdout, _ = evaluate(*place, "--method", "hsv,handnet", "--checkpoint", checkpoint, "--json")
    assert code == 0
    found = json.loads(stdout)
    assert list(found["methods"]) == ["hsv", "own"]
    assert all(set(values) == {"mask_iou", "pixel_accuracy", "count"} for values in found["methods"].values())
    assert {"metrics.json", "per_sample.csv", "report.html"} <= {path.name for path in (tmp_path / "out").iterdir()}
    code, stdout, _ = evaluate(*place, "--method", "hsv", "--require", "mask_iou=0.99")
    assert code == 1
    assert "mask_iou" in stdout
    assert "required >= 0.99" in stdout


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("--method", "fit"), 2, "choose among hsv, grabcut, handnet"),
        (("--method", "hsv", "--checkpoint", "x"), 2, "--checkpoint is of --method handnet"),
        (("--method", "hsv", "--align", "root"), 1, "--align: segmentation compares masks alone"),
        (("--method", "hsv", "--require", "pa_mpjpe_mm=8"), 1, "segmentation has no such key"),
        (("--method", "hsv", "--pred", "p=."), 1, "is of segmenters over a data set"),
    ],
)
def test_errors(arguments: tuple[str, ...], code: int, text: str, tmp_path: Path) -> None:
    place = ("--dataset", "seqhand", "--data", write_sequences(tmp_path / "data", shards=1, each=1, frames=1))
    found = evaluate(*place, "--out", tmp_path / "out", *arguments)
    assert found[0] == code
    assert text in " ".join(found[2].replace("│", " ").split())


def test_no_data_set(tmp_path: Path) -> None:
    options = EvaluateOptions(protocol="segmentation", methods=("fit",))
    with pytest.raises(HandkitError, match="--method fit: segmentation is of segmenters"):
        run_evaluate({}, None, tmp_path, options)
    with pytest.raises(HandkitError, match="no data set"):
        run_evaluate({}, None, tmp_path, EvaluateOptions(protocol="segmentation"))
