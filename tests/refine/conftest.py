"""Predictions of a short rendered clip and of its first picture, with known masks."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from handkit.demo.clip import make_clip
from handkit.demo.hands import HandPair
from handkit.demo.options import DemoOptions
from handkit.demo.run import run_demo
from handkit.export.predictions import load_predictions, save_predictions
from handkit.images import write_image
from handkit.refine.masks import projected_mask
from handkit.video import VideoReader


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """demo's OUT: video/hands.npz and stills/hands.npz of the clip's pictures, inputs beside them in in/."""
    root = tmp_path_factory.mktemp("refine")
    made = make_clip(root / "in", frames=4)
    made.rename(root / "in" / "video.mp4")
    for frame in VideoReader(root / "in" / "video.mp4"):
        if frame.index < 2:
            write_image(root / "in" / "stills" / f"p{frame.index}.png", frame.image)
    options = DemoOptions(overlay=False, K=(620.0, 620.0, 320.0, 240.0), max_hands=1)
    run_demo([str(root / "in" / "video.mp4"), str(root / "in" / "stills")], root / "out", options, debug=True)
    for name in ("video", "stills"):
        rows = load_predictions(root / "out" / name / "hands.npz")
        shifted = replace(rows, transl=rows.transl + np.array([0.004, 0.0, 0.0]))
        save_predictions(root / "out" / name / "hands.npz", shifted)
        pair, truth = HandPair("open"), rows
        for row, mesh in enumerate(pair.vertices(truth, range(len(truth)))):
            mask = projected_mask(mesh, pair.model(True).faces, truth.K[row], (480, 640))
            stem = Path(str(truth.image[row])).stem if name == "stills" else f"video_{truth.frame[row]:06d}"
            write_image(root / "masks" / f"{stem}.png", np.repeat(mask[..., None] * np.uint8(255), 3, 2))
    return root
