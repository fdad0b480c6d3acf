"""What S2HAND says of a crop is the same hand in the full image; its estimator's keypoints go there too."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from handkit.checkpoint import CheckpointInfo, save_checkpoint
from handkit.detect.crop import crop_from_image
from handkit.errors import HandkitError
from handkit.geometry.cameras import project
from handkit.geometry.images import K_after_transform, mirror_transform
from handkit.hand import ManoLayer, load_hand
from handkit.hand.scaled import ScaledHandLayer
from handkit.inference.keypoints import load_keypoints
from handkit.inference.load import KEYPOINTS, S2HAND, find_checkpoint, load_predictor
from handkit.inference.looks import Look, look_at
from handkit.inference.s2hand import FoundHands, S2HandPredictor, hands_in_front, load_s2hand
from tests.inference.making import small_system, write_s2hand, write_small

SIZE = 128
K = np.array([[890.0, 0, 330], [0, 885, 250], [0, 0, 1]])
SQUARES = np.array([[100.0, 60, 260, 220], [380, 200, 500, 320], [-40, -30, 110, 120]])
NAMES = ("global_orient", "hand_pose", "betas", "transl")


def looks(*, is_right: bool = True) -> list[Look]:
    coarse = np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    image = cv2.resize(coarse, (640, 480), interpolation=cv2.INTER_CUBIC)
    return [look_at(image, square, SIZE, is_right=is_right) for square in SQUARES]


def cameras(number: int = 3) -> np.ndarray:
    return np.repeat(K[None], number, 0)


def predictor(**options: object) -> S2HandPredictor:
    system = small_system(**options)  # type: ignore[arg-type]
    info = CheckpointInfo("s2hand", system.describe(), {"network": {"size": SIZE}}, 7, data={"hand": "open"})
    return S2HandPredictor(system, info)


def rebuilt(found: FoundHands, *, is_right: bool) -> torch.Tensor:
    """Joints and vertices by the layer of the side, metres."""
    layer = ManoLayer(load_hand("open", "right" if is_right else "left"))
    out = layer(**{name: getattr(found, name).float() for name in NAMES})
    return torch.cat([out.joints, out.vertices], -2).double()


def seen_in_crops(found_by: S2HandPredictor, given: list[Look], camera: str) -> np.ndarray:
    """The same points where `ScaledHandLayer` has them in the network's own crop, in full-image pixels."""
    images = torch.from_numpy(np.stack([look.crop for look in given])).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        said = found_by.system(images).hand._asdict()
    crops = torch.from_numpy(np.stack([crop_from_image(look.square, SIZE) for look in given]))
    if not given[0].is_right:
        crops = mirror_transform(torch.tensor(float(SIZE), dtype=torch.float64)) @ crops
    numbers = {name: said[name].double() for name in ("pca", "betas", "scale", "orient", "transl")}
    own = K_after_transform(torch.from_numpy(cameras()), crops)[0]
    out = ScaledHandLayer(load_hand("open"), camera)(**numbers, K=own, width=SIZE)
    points = torch.cat([out.joints_2d, out.vertices_px[..., :2]], -2)
    homogeneous = torch.cat([points, torch.ones_like(points[..., :1])], -1)
    return (homogeneous @ torch.linalg.inv(crops).mT)[..., :2].numpy()


@pytest.mark.parametrize("is_right", [True, False])
@pytest.mark.parametrize("camera", ["perspective", "perspective-true"])
def test_the_full_image_shows_what_the_crop_shows(camera: str, is_right: bool) -> None:
    given, found_by = looks(is_right=is_right), predictor(camera=camera)
    found = found_by.step(given, cameras())
    shown = project(rebuilt(found, is_right=is_right), torch.from_numpy(cameras())).numpy()
    expected = seen_in_crops(found_by, given, camera)
    assert np.ptp(expected[0, :21], axis=0).max() > 20, "a hand of some size"
    assert np.abs(expected[0, :21] - expected[0, :21].mean(0)).std() > 4
    np.testing.assert_allclose(shown, expected, atol=0.03)


def test_an_orthographic_hand_stands_where_the_canonical_camera_has_it() -> None:
    found_by = predictor(camera="orthographic")
    shown = project(rebuilt(found_by.step(looks(), cameras()), is_right=True), torch.from_numpy(cameras())).numpy()
    np.testing.assert_allclose(shown, seen_in_crops(found_by, looks(), "perspective"), atol=0.03)
    flat = seen_in_crops(found_by, looks(), "orthographic")
    assert np.linalg.norm(shown - flat, axis=-1).max() > 0.5, "perspective shows"
    assert np.linalg.norm(shown - flat, axis=-1).mean() < 6


def test_a_left_hand_is_the_mirrored_right_one() -> None:
    width, found_by = 640, predictor()
    mirrored = [
        replace(look, is_right=False, square=np.array([width - x1, y0, width - x0, y1]))
        for look, (x0, y0, x1, y1) in zip(looks(), SQUARES, strict=True)
    ]
    K_mirrored = K * [[1], [1], [1]]
    K_mirrored[0, 2] = width - K[0, 2]
    right = found_by.step(looks(), cameras())
    left = found_by.step(mirrored, np.repeat(K_mirrored[None], 3, 0))
    a, b = rebuilt(right, is_right=True), rebuilt(left, is_right=False)
    torch.testing.assert_close(b, a * torch.tensor([-1.0, 1, 1]), atol=1e-5, rtol=0)
    assert not left.is_right.any()
    np.testing.assert_array_equal(left.appearance.texture, right.appearance.texture)


def test_each_look_is_alone_and_rows_pick(monkeypatch: pytest.MonkeyPatch) -> None:
    found_by = predictor(keypoints=True)
    given = [*looks(), *looks(is_right=False)]
    together = found_by.step(given, cameras(6))
    monkeypatch.setattr("handkit.inference.keypoints._PICTURES", 2)
    apart = found_by.step(given, cameras(6))
    assert len(together) == 6
    assert len(np.unique(together.appearance.texture[:, 0, 0])) > 2, "textures differ"
    for name in (*NAMES, "wrist"):
        torch.testing.assert_close(getattr(together, name), getattr(apart, name), atol=1e-4, rtol=1e-4)
    (left,) = found_by.step(given[4:5], cameras(1)).transl
    picked = together.rows(torch.tensor([4, 0]))
    torch.testing.assert_close(picked.transl[0], left, atol=1e-4, rtol=1e-4)
    assert picked.is_right.tolist() == [False, True]
    assert picked.appearance.texture.dtype == np.float16
    assert picked.keypoints is not None
    assert picked.keypoints.shape == (2, 21, 2)


def test_keypoints_are_the_estimator_s_in_the_full_image(tmp_path: Path) -> None:
    system = small_system(keypoints=True)
    estimator = load_keypoints(write_s2hand(tmp_path / "both.safetensors", system))
    assert estimator.landmarks == "mediapipe"
    right, left = estimator.step(looks()), estimator.step(looks(is_right=False))
    images = torch.from_numpy(np.stack([look.crop for look in looks()])).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        found = system.keypoints(images)
    own = found.points[:, -1].numpy()
    np.testing.assert_allclose(right.points, SQUARES[:, None, :2] + own * _sides(), atol=1e-3)
    np.testing.assert_allclose(right.scores, found.scores, atol=1e-5)
    with torch.no_grad():
        flipped = system.keypoints(images.flip(-1)).points[:, -1].numpy()
    flipped[..., 0] = 1 - flipped[..., 0]
    np.testing.assert_allclose(left.points, SQUARES[:, None, :2] + flipped * _sides(), atol=1e-3)
    both = load_s2hand(tmp_path / "both.safetensors").step(looks(), cameras())
    np.testing.assert_allclose(both.keypoints, right.points, atol=1e-6)
    assert predictor().step(looks(), cameras()).keypoints is None


def _sides() -> np.ndarray:
    return (SQUARES[:, 2:] - SQUARES[:, :2])[:, None]


def test_another_hand_model_stands_with_its_wrist_in_place() -> None:
    found = predictor().step(looks(), cameras())
    hand = load_hand("open")
    moved = replace(hand, v_template=hand.v_template + np.array([0.02, 0, 0.01]))
    own, other = hands_in_front(found, hand), hands_in_front(found, moved)
    torch.testing.assert_close(own.transl, found.transl.float(), atol=1e-6, rtol=0)
    torch.testing.assert_close(own.joints[:, 0], other.joints[:, 0], atol=1e-5, rtol=0)
    with pytest.raises(HandkitError, match="both sides"):
        hands_in_front(found, load_hand("open", "left"))


def test_files_of_other_kinds_are_told(tmp_path: Path) -> None:
    only_hand = write_s2hand(tmp_path / "hand.safetensors")
    only_keypoints = write_s2hand(tmp_path / "keypoints.safetensors", small_system(hand=False, keypoints=True))
    with pytest.raises(HandkitError, match="no 2D keypoint estimator") as told:
        load_keypoints(only_hand)
    assert "`handkit selfsup s2hand --stage keypoints --out DIR`" in told.value.fix
    with pytest.raises(HandkitError, match="no 3D network") as told:
        load_s2hand(only_keypoints)
    assert "`handkit selfsup s2hand --out DIR`" in told.value.fix
    with pytest.raises(HandkitError, match="is an S2HAND network"):
        load_predictor(only_hand)
    with pytest.raises(HandkitError, match="sequence network"):
        load_s2hand(write_small(tmp_path / "seq.safetensors"))


def test_of_a_run_s_folder_the_last_stage_s_weights_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for stage in ("hand", "keypoints"):
        (tmp_path / stage).mkdir()
        (tmp_path / stage / "s2hand.safetensors").touch()
    assert find_checkpoint(tmp_path, S2HAND).parent.name == "hand"
    assert find_checkpoint(tmp_path, KEYPOINTS).parent.name == "keypoints"
    assert find_checkpoint(tmp_path / "hand", KEYPOINTS).parent.name == "hand"
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "s2hand.safetensors").touch()
    assert find_checkpoint(tmp_path, KEYPOINTS).parent.name == find_checkpoint(tmp_path, S2HAND).parent.name == "images"
    with pytest.raises(HandkitError, match="holds no weights"):
        find_checkpoint(tmp_path)
    monkeypatch.setenv("HANDKIT_WEIGHTS", str(tmp_path / "images"))
    assert find_checkpoint(kind=S2HAND).name == "s2hand.safetensors"


def test_landmarks_of_an_unknown_kind_are_told(tmp_path: Path) -> None:
    system = small_system(hand=False, keypoints=True)
    info = CheckpointInfo("s2hand", system.describe(), {"network": {"size": SIZE}}, 7, data={"landmarks": "toes"})
    save_checkpoint(tmp_path / "odd.safetensors", system, info)
    with pytest.raises(HandkitError, match="'toes'"):
        load_keypoints(tmp_path / "odd.safetensors")
