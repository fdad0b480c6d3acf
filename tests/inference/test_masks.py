"""HandNet's masks: put back where they were seen, and of which checkpoints there are any."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from handkit.errors import HandkitError
from handkit.inference.looks import look_at
from handkit.inference.masks import MaskPredictor, in_picture
from handkit.nets.handnet import HandNet, HandNetOutput
from tests.inference.making import SIZE, small_handnet, write_handnet, write_s2hand, write_small

HEIGHT, WIDTH = 90, 120


def blob(seed: int = 0) -> np.ndarray:
    """Smooth shapes, as masks are: bool [H, W]."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0, 1, (6, 8)).astype(np.float32)
    return cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC) > 0.5


def picture_of(mask: np.ndarray) -> np.ndarray:
    """Green where the mask is."""
    picture = np.full((*mask.shape, 3), 40, np.uint8)
    picture[..., 1] = 255 * mask
    return picture


def see_green(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor | None]:
    """HandNets that take what is green for the hand, and a list of the heat maps they are given."""
    given: list[torch.Tensor | None] = []

    def forward(
        self: HandNet, images: torch.Tensor, heatmaps: torch.Tensor | None, *, want_mask: bool = True
    ) -> HandNetOutput:
        given.append(heatmaps)
        count, none = len(images), torch.zeros(len(images), 48)
        mask = 20 * (images[:, 1] - 0.5)
        return HandNetOutput(none, none[:, :10], none[:, :3], torch.zeros(count, 512), mask, None)

    monkeypatch.setattr(HandNet, "forward", forward)
    return given


@pytest.mark.parametrize(
    "square",
    [(30.0, 20, 90, 80), (10.3, 5.7, 84.8, 80.2), (-25.0, -30, 75, 70), (80.5, 40, 180.5, 140), (2.0, 2, 30, 30)],
)
def test_a_mask_comes_back_where_it_was(square: tuple[float, ...]) -> None:
    mask, box = blob(), np.array(square)
    seen = look_at(picture_of(mask), box, 128, is_right=True).crop[..., 1] / 255
    found = in_picture(seen, box, mask.shape) > 0.5
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    inside = (x > box[0]) & (x < box[2]) & (y > box[1]) & (y < box[3])
    assert (found == mask)[inside].mean() > 0.995
    outside = (x < box[0] - 1) | (x > box[2] + 1) | (y < box[1] - 1) | (y > box[3] + 1)
    assert outside.any()
    assert not found[outside].any()


def test_a_square_beside_the_picture_shows_nothing() -> None:
    assert not in_picture(np.ones((8, 8)), np.array([200.0, 10, 240, 50]), (HEIGHT, WIDTH)).any()


def test_hands_of_both_sides_in_one_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = MaskPredictor(write_handnet(tmp_path / "handnet.safetensors"), device="cpu")
    assert (predictor.size, predictor.box_scale, predictor.step) == (SIZE, 1.5, 7)
    given, mask = see_green(monkeypatch), blob(1)
    squares = np.array([[10.0, 20, 70, 80], [50, 10, 114, 74]])
    keypoints = np.tile(squares.reshape(2, 2, 2).mean(1)[:, None], (1, 21, 1))
    keypoints[0, 3] = np.nan
    scores = np.ones((2, 21))
    scores[1, 5:] = 0
    found = predictor.masks(picture_of(mask), squares, [True, False], keypoints, scores)
    assert found.shape == (2, HEIGHT, WIDTH)
    for one, (x0, y0, x1, y1) in zip(found, squares.astype(int), strict=True):
        inside = np.zeros_like(mask)
        inside[y0:y1, x0:x1] = True
        assert (one == mask)[inside].mean() > 0.97
        assert not one[~inside].any()
    (maps,) = given
    assert maps is not None
    seen = maps.flatten(2).amax(-1) > 0.5
    assert seen[0].tolist() == [joint != 3 for joint in range(21)]
    assert seen[1].tolist() == [joint < 5 for joint in range(21)]
    assert predictor.masks(picture_of(mask), squares[:0], [], keypoints[:0], scores[:0]).shape == (0, HEIGHT, WIDTH)


def test_checkpoints_without_masks_are_refused(tmp_path: Path) -> None:
    def why(path: Path) -> HandkitError:
        with pytest.raises(HandkitError) as caught:
            MaskPredictor(path)
        return caught.value

    blind = write_handnet(tmp_path / "blind.safetensors", small_handnet(inputs="keypoints"))
    assert "blind.safetensors sees keypoints alone and segments nothing" in why(blind).what
    early = write_handnet(tmp_path / "early.safetensors", inputs="keypoints")
    assert "segments nothing" in why(early).what
    untrained = HandNet(backbone="regnet_x_400mf")
    found = why(write_handnet(tmp_path / "finalize.safetensors", untrained))
    assert "its segmentation was not trained yet" in found.what
    assert "--stage segmentation" in found.fix
    assert "sequence network" in why(write_small(tmp_path / "seqhand.safetensors")).what
    assert "S2HAND" in why(write_s2hand(tmp_path / "s2hand.safetensors")).what
    assert "does not exist" in why(tmp_path / "none.safetensors").what
    (tmp_path / "cut.safetensors").write_bytes(blind.read_bytes()[:1000])
    assert "no readable safetensors file" in why(tmp_path / "cut.safetensors").what


def test_a_runs_folder_gives_its_segmentation(tmp_path: Path) -> None:
    for stage in ("image", "finalize", "segmentation"):
        write_handnet(tmp_path / stage / "handnet.safetensors")
    assert MaskPredictor(tmp_path).path.parent.name == "segmentation"
