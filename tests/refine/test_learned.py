"""`refine` against HandNet's masks: where they are cut from, which weights make them, and what is said of it."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from handkit.demo.hands import HandPair
from handkit.errors import HandkitError
from handkit.export.predictions import load_predictions, save_predictions
from handkit.images import read_image, write_image
from handkit.refine import masks
from handkit.refine.masks import MaskChoice, seen_keypoints, settle_masks
from handkit.refine.options import RefineOptions
from handkit.refine.run import run_refine
from handkit_cli import app
from tests.inference.making import small_handnet, write_handnet, write_s2hand
from tests.inference.test_masks import picture_of, see_green

PLAIN = RefineOptions(overlay=False, iterations=6)
HandNetFile = Callable[..., Path]


@pytest.fixture
def no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where none are shipped."""

    def find(name: str) -> Path:
        raise HandkitError(f"no weights {name} were found", "train them")

    monkeypatch.setattr(masks, "find_weights", find)


@pytest.fixture
def green(clip: Path, tmp_path: Path) -> Path:
    """The clip's first two pictures with true masks in green, by the names of the pictures."""
    for name in ("p0.png", "p1.png"):
        write_image(tmp_path / "green" / name, picture_of(read_image(clip / "masks" / name)[..., 0] > 0))
    return tmp_path / "green"


def test_a_hand_meets_the_learned_mask(
    clip: Path, green: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = write_handnet(tmp_path / "own.safetensors")
    see_green(monkeypatch)
    options = replace(PLAIN, images=green, segmenter="handnet", checkpoint=checkpoint, texture=True)
    result = run_refine([str(clip / "out/stills")], tmp_path / "out", options, debug=True)
    (record,) = result.records
    assert record.masks == "handnet (own.safetensors, step 7)"
    assert record.refined == 2
    assert record.iou_before is not None
    assert record.iou_after is not None
    assert record.iou_after > max(0.92, record.iou_before + 0.03)
    assert result.summary["options"]["segmenter"] == "handnet"
    assert result.summary["options"]["checkpoint"] == str(checkpoint)
    after = load_predictions(tmp_path / "out/stills/hands.npz")
    assert after.method.endswith("refine (default, handnet (own.safetensors, step 7))")
    assert len(list((tmp_path / "out/stills/textures").glob("*/texture.png"))) == 2


def test_a_learned_mask_says_where_the_arm_begins(clip: Path, tmp_path: Path) -> None:
    """Colours do not, so that a segmenter's mask is left out there."""
    rows = load_predictions(clip / "out/stills/hands.npz")
    (mesh,) = HandPair("open").vertices(rows, [0])
    faces, everything = HandPair("open").model(True).faces, np.ones((480, 640), bool)
    _, learned = settle_masks(replace(PLAIN, checkpoint=write_handnet(tmp_path / "own.safetensors"), device="cpu"))
    assert not learned.unsaid(everything, mesh, faces, rows.K[0]).any()
    assert MaskChoice(None, "grabcut").unsaid(everything, mesh, faces, rows.K[0]).any()


def test_a_picture_without_a_hand_fails_its_hands(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("p0.png", "p1.png"):
        write_image(tmp_path / "in" / name, np.zeros((480, 640, 3), np.uint8))
    options = replace(PLAIN, images=tmp_path / "in", checkpoint=write_handnet(tmp_path / "own.safetensors"))
    see_green(monkeypatch)
    result = run_refine([str(clip / "out/stills")], tmp_path / "out", options, debug=True)
    assert result.records[0].failed == 2
    assert "no pixel of it looks like a hand" in (tmp_path / "out/stills/refined.csv").read_text()


def test_hands_are_sought_where_their_keypoints_are(clip: Path) -> None:
    rows = load_predictions(clip / "out/stills/hands.npz")
    points, scores = seen_keypoints(rows, 0)
    np.testing.assert_array_equal(points, rows.keypoints_2d[0])
    np.testing.assert_array_equal(scores, rows.keypoint_scores[0])
    few = replace(rows, keypoints_2d=rows.keypoints_2d.copy(), keypoint_scores=rows.keypoint_scores.copy())
    few.keypoints_2d[0, 5] = np.nan
    points, scores = seen_keypoints(few, 0)
    assert scores[5] == 0
    assert np.isfinite(points).all()
    few.keypoint_scores[0, 7:] = 0
    points, scores = seen_keypoints(few, 0)
    np.testing.assert_array_equal(points, rows.joints_2d[0])
    assert (scores == 1).all()


def test_auto_is_handnet_where_there_are_weights(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    usual = write_handnet(tmp_path / "weights" / "handnet.safetensors")
    monkeypatch.setattr(masks, "find_weights", lambda name: usual.parent / name)
    with caplog.at_level("INFO", "handkit"):
        options, choice = settle_masks(PLAIN)
    assert (options.segmenter, options.checkpoint) == ("handnet", usual)
    assert choice.name == "handnet (handnet.safetensors, step 7)"
    assert "masks: handnet (handnet.safetensors, step 7)" in caplog.text
    given = settle_masks(replace(PLAIN, masks=clip / "masks"))
    assert (given[0].checkpoint, given[1].name) == (None, "given masks")
    write_handnet(usual, small_handnet(inputs="keypoints"))
    options, choice = settle_masks(PLAIN)
    assert (options.segmenter, options.checkpoint, choice.name) == ("grabcut", None, "grabcut")
    assert "masks are made by grabcut" in caplog.text
    assert "segments nothing" in caplog.text


@pytest.mark.usefixtures("no_weights")
def test_auto_is_grabcut_where_there_are_none(clip: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "handkit"):
        result = run_refine([str(clip / "out/stills")], tmp_path, replace(PLAIN, iterations=1), debug=True)
    assert result.records[0].masks == result.summary["options"]["segmenter"] == "grabcut"
    assert "masks: grabcut" in caplog.text


def test_other_weights_by_the_same_name_do_it_again(
    clip: Path, green: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = write_handnet(tmp_path / "own.safetensors")
    other = write_handnet(tmp_path / "other.safetensors", small_handnet(inputs="image"))
    see_green(monkeypatch)
    options = replace(PLAIN, images=green, checkpoint=checkpoint, iterations=1)

    def skipped(checkpoint: Path) -> bool:
        asked = replace(options, checkpoint=checkpoint)
        return run_refine([str(clip / "out/stills")], tmp_path / "out", asked, debug=True).records[0].skipped

    assert not skipped(checkpoint)
    shutil.copy(checkpoint, tmp_path / "copy.safetensors")
    assert skipped(tmp_path / "copy.safetensors")
    shutil.copy(other, checkpoint)
    assert not skipped(checkpoint)


def test_the_command_line(clip: Path, tmp_path: Path) -> None:
    own = write_handnet(tmp_path / "own.safetensors")

    def handkit(*arguments: object) -> tuple[int, str, str]:
        asked = ["refine", clip / "out/stills", "--out", tmp_path / "out", "--no-overlay", "--iterations", 1]
        result = CliRunner().invoke(app, [*map(str, asked), *map(str, arguments)], terminal_width=200)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.stdout, result.stderr

    for extra in (["--segmenter", "hsv"], ["--masks", clip / "masks"]):
        code, _, stderr = handkit("--checkpoint", own, *extra)
        assert code == 2
        assert "--checkpoint is of --segmenter auto or handnet" in stderr
    s2hand = write_s2hand(tmp_path / "s2hand.safetensors")
    code, _, stderr = handkit("--checkpoint", s2hand)
    assert code == 1
    assert "no HandNet" in stderr
    assert not (tmp_path / "out/stills").exists()
    code, _, stderr = handkit("--segmenter", "handnet", "--checkpoint", tmp_path / "none")
    assert code == 1
    assert "handkit pretrain handnet" in stderr


def test_a_view_of_a_rig_keeps_its_weights(tmp_path: Path) -> None:
    from handkit.refine.rig import RigView

    _, choice = settle_masks(replace(PLAIN, checkpoint=write_handnet(tmp_path / "own.safetensors")))
    view = RigView("left", np.eye(3), np.eye(3), np.zeros(3))
    assert choice.of_view(view).name == choice.name


def test_rows_without_a_place_are_told(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = load_predictions(clip / "out/stills/hands.npz")
    here = np.full_like(rows.keypoints_2d, 200.0)
    save_predictions(tmp_path / "p/hands.npz", replace(rows, keypoints_2d=here))
    options = replace(PLAIN, images=clip / "in/stills", checkpoint=write_handnet(tmp_path / "own.safetensors"))
    see_green(monkeypatch)
    errors: list[str] = []
    result = run_refine(
        [str(tmp_path / "p")], tmp_path / "out", options, on_error=lambda error: errors.append(error.what), debug=True
    )
    assert result.records[0].failed == 2
    assert all("is empty" in error for error in errors)
    assert len(errors) == 2
