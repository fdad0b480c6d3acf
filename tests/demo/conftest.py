"""Small inputs with a hand in them, made by the built-in clip's own renderer."""

from pathlib import Path

import numpy as np
import pytest

from handkit.demo.clip import make_clip
from handkit.images import RgbImage, write_image
from handkit.video import VideoReader


@pytest.fixture(scope="session")
def hand_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight frames, 640 x 480, with truth.npz beside them."""
    return make_clip(tmp_path_factory.mktemp("clip"), frames=8)


@pytest.fixture(scope="session")
def hand_picture(hand_clip: Path) -> RgbImage:
    return next(iter(VideoReader(hand_clip))).image


@pytest.fixture
def photos(tmp_path: Path, hand_picture: RgbImage) -> Path:
    """A folder with a hand, nothing, and a damaged file."""
    folder = tmp_path / "photos"
    folder.mkdir()
    write_image(folder / "hand.jpg", hand_picture)
    write_image(folder / "plain.png", np.full((120, 160, 3), 90, np.uint8))
    (folder / "broken.jpg").write_bytes((folder / "hand.jpg").read_bytes()[:3000])
    return folder
