"""IoU over iterations: pictures in which no hand is found, and samples without masks."""

from pathlib import Path

import numpy as np
import pytest

from handkit.errors import HandkitError
from handkit.evaluate.iterations import Known, annotated, measure
from handkit.images import write_image
from tests.data.trees import write_freihand
from tests.inference.making import write_handnet


def test_pictures_without_a_hand_have_no_figures(tmp_path: Path) -> None:
    write_image(tmp_path / "in" / "plain.png", np.full((96, 96, 3), 128, np.uint8))
    mask = np.zeros((96, 96), bool)
    mask[20:60, 20:60] = True
    known = Known(tmp_path / "in", {"plain.png": mask}, {"plain.png": True})
    weights = write_handnet(tmp_path / "own.safetensors")
    assert measure(known, tmp_path, "handnet", weights, "handnet", (3, 10)) == {0: {}, 3: {}, 10: {}}


def test_samples_of_a_split_come_with_their_cameras(tmp_path: Path) -> None:
    root = write_freihand(tmp_path / "freihand", count=7)
    known = annotated("freihand", root, 3, tmp_path / "pictures", split="handnet-validation")
    assert len(known.masks) == len(list(known.pictures.iterdir())) == 3
    assert all(known.is_right.values())
    assert known.cameras is not None
    assert known.cameras.is_file()
    for split in ("K", "xyz", "verts"):
        (root / f"evaluation_{split}.json").write_bytes((root / f"training_{split}.json").read_bytes())
    (root / "training" / "rgb").rename(root / "training_rgb")
    (root / "evaluation").mkdir()
    (root / "training_rgb").rename(root / "evaluation" / "rgb")
    with pytest.raises(HandkitError, match="annotates no masks"):
        annotated("freihand", root, 3, tmp_path / "none", split="evaluation")
