from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from handkit.data.annotations import AnnotatedDataset
from handkit.data.color_jitter import ColorJitter
from handkit.data.crops import JOINT_MARGIN, HandCrops, hand_outline
from handkit.data.freihand import FreiHand
from handkit.data.hands import HandSet
from handkit.data.registry import build_dataset
from handkit.data.sample import HandSample, build_sample, check_sample
from handkit.data.stb import Stb
from handkit.errors import HandkitError
from tests.data.making import write_sequences
from tests.data.test_augment import pinhole, projected
from tests.data.trees import write_freihand, write_stb

SIZE = 64


class Drawn(AnnotatedDataset):
    """Samples that are held in memory."""

    def __init__(self, *samples: HandSample) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def read(self, index: int) -> HandSample:
        return self.samples[index]

    def truth(self) -> HandSet:
        raise NotImplementedError


def without(sample: HandSample, *keys: str) -> HandSample:
    """A sample of which some keys are not annotated."""
    changed: dict[str, Any] = dict(sample)
    for key in keys:
        flag = "keypoints_2d_valid" if key == "keypoint_scores" else f"{key}_valid"
        changed |= {key: np.zeros_like(changed[key]), flag: np.zeros_like(changed[flag])}
    return cast(HandSample, changed)


def box_of(points: np.ndarray) -> np.ndarray:
    return np.concatenate([points.min(0), points.max(0)])


@pytest.mark.parametrize("side", ["right", "left"])
def test_a_centred_crop_is_2_2_times_the_outline(side: str) -> None:
    crop = HandCrops(Drawn(pinhole(0, side)), size=SIZE).crop(0)
    check_sample(crop)
    assert crop["image"].shape == (3, SIZE, SIZE)
    assert crop["is_right"]
    box = crop["bbox"]
    np.testing.assert_allclose((box[:2] + box[2:]) / 2, SIZE / 2, atol=1e-3)
    np.testing.assert_allclose((box[2:] - box[:2]).max(), SIZE / 2.2, atol=1e-3)
    np.testing.assert_allclose(projected(crop["joints_3d"], crop["K"]), crop["joints_2d"], atol=1e-3)
    kept = HandCrops(Drawn(pinhole(0, side)), size=SIZE, right_only=False, box_scale=3).crop(0)
    assert bool(kept["is_right"]) == (side == "right")
    np.testing.assert_allclose((kept["bbox"][2:] - kept["bbox"][:2]).max(), SIZE / 3, atol=1e-3)


def test_repositioned_hands_stay_inside_and_reach_everywhere() -> None:
    crops = HandCrops(Drawn(pinhole()), size=SIZE, rotate_deg=90, scale_jitter=0.3, color_jitter=ColorJitter())
    found = [crops.crop(0, np.random.default_rng(seed)) for seed in range(150)]
    boxes = np.array([crop["bbox"] for crop in found])
    assert boxes.min() > -1e-3
    assert boxes.max() < SIZE + 1e-3
    # x0 near the left edge, x1 near the right one
    assert boxes[:, :2].min() < 3
    assert boxes[:, 2:].max() > SIZE - 3
    share = (boxes[:, 2:] - boxes[:, :2]).max(1) * 2.2 / SIZE
    assert share.min() > 0.7 - 1e-3
    assert share.max() < 1 / 0.7 + 1e-3
    assert np.ptp(share) > 0.6
    for crop in found[:10]:
        check_sample(crop)
        np.testing.assert_allclose(projected(crop["joints_3d"], crop["K"]), crop["joints_2d"], atol=1e-3)


def test_the_frame_differs_from_crop_to_crop() -> None:
    """Black in centred crops; else a colour of its own, or the edge's pixels."""
    bright = np.full((3, 240, 320), 99, np.uint8)
    crops = HandCrops(Drawn({**pinhole(), "image": bright}), size=SIZE, box_scale=9.0, reposition=0.1)
    corners = [
        crops.crop(0, None if seed < 0 else np.random.default_rng(seed))["image"][:, 0, 0] for seed in range(-1, 30)
    ]
    assert not corners[0].any()
    assert sum((corner == 99).all() for corner in corners) in range(8, 24)
    assert len({tuple(corner) for corner in corners}) > 8


def test_an_oversized_hand_is_not_pushed_out() -> None:
    crops = HandCrops(Drawn(pinhole()), size=SIZE, box_scale=0.8)
    box = crops.crop(0, np.random.default_rng(0))["bbox"]
    middle = (box[:2] + box[2:]) / 2
    assert np.abs(middle - SIZE / 2).max() < SIZE / 4


def test_every_setting_varies_one_thing() -> None:
    plain: dict[str, Any] = {"reposition": 0.0, "box_scale": 1.2}  # small enough to lie inside the picture
    centred = HandCrops(Drawn(pinhole()), size=SIZE, box_scale=1.2).crop(0)

    def varied(**settings: Any) -> HandSample:
        return HandCrops(Drawn(pinhole()), size=SIZE, **{**plain, **settings}).crop(0, np.random.default_rng(5))

    same, lit, turned = varied(), varied(color_jitter=ColorJitter(gain=1.0)), varied(rotate_deg=60)
    np.testing.assert_array_equal(same["image"], centred["image"])
    assert (lit["image"] != centred["image"]).mean() > 0.3
    np.testing.assert_array_equal(lit["joints_2d"], centred["joints_2d"])
    lengths = [np.linalg.norm(np.diff(crop["joints_3d"], axis=0), axis=1) for crop in (turned, centred)]
    np.testing.assert_allclose(*lengths, atol=1e-6)
    assert np.abs(turned["joints_3d"] - centred["joints_3d"]).max() > 0.01
    again = [HandCrops(Drawn(pinhole()), size=SIZE).crop(0, np.random.default_rng((1, n))) for n in (7, 7, 8)]
    np.testing.assert_array_equal(again[0]["image"], again[1]["image"])
    assert np.abs(again[0]["joints_2d"] - again[2]["joints_2d"]).max() > 1


def test_a_hand_is_as_large_by_its_joints_as_by_its_mesh() -> None:
    ratios = []
    for seed in range(12):
        whole = pinhole(seed)
        joints = whole["joints_2d"]
        bare = without(whole, "vertices_2d", "vertices", "bbox")
        boxed: HandSample = {**bare, "bbox": box_of(joints), "bbox_valid": np.array(True)}
        np.testing.assert_array_equal(hand_outline(bare), hand_outline(boxed))
        by_mesh, by_joints = (box_of(hand_outline(sample)) for sample in (whole, bare))
        longest = np.ptp(joints, axis=0).max()
        by_hand = box_of(joints) + JOINT_MARGIN * longest * np.array([-1, -1, 1, 1])
        np.testing.assert_allclose(by_joints, by_hand, atol=1e-3)
        ratios.append((by_joints[2:] - by_joints[:2]).max() / (by_mesh[2:] - by_mesh[:2]).max())
    assert 0.85 < np.median(ratios) < 1.15


def test_where_the_hand_is_without_joints() -> None:
    whole = pinhole()
    keypoints = whole["keypoints_2d"][1:]
    seen = without(whole, "vertices_2d", "vertices", "bbox", "joints_2d")
    assert np.abs(box_of(hand_outline(seen)) - box_of(keypoints)).max() < 0.12 * np.ptp(keypoints, axis=0).max()
    masked = without(seen, "keypoints_2d", "keypoint_scores")
    rows, columns = np.nonzero(whole["mask"])
    wanted = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    np.testing.assert_allclose(box_of(hand_outline(masked)), wanted, atol=1e-9)
    box = np.array([30, 40, 90, 80], np.float32)
    boxed: HandSample = {**masked, "bbox": box, "bbox_valid": np.array(True)}
    np.testing.assert_allclose(box_of(hand_outline(boxed)), box, atol=1e-6)
    with pytest.raises(HandkitError, match="drawn/000: nothing says where the hand is"):
        HandCrops(Drawn(without(masked, "mask")), size=SIZE).crop(0)
    given = HandCrops(Drawn(without(masked, "mask")), size=110).crop(0, box=np.array([100.0, 100, 150, 130]))
    # 110 pixels of the picture about (125, 115), not resized
    np.testing.assert_array_equal(given["image"], whole["image"][:, 60:170, 70:180])


def test_rows(tmp_path: Path) -> None:
    frames = build_dataset("seqhand", write_sequences(tmp_path / "a", shards=1))
    chosen = HandCrops(frames, size=SIZE, rows=[5, 2])
    assert len(chosen) == 2
    assert chosen.crop(1)["name"] == frames[2]["name"]
    assert len(HandCrops(frames, size=SIZE)) == len(frames)


@pytest.mark.parametrize("name", ["seqhand", "freihand", "stb"])
def test_readers(name: str, tmp_path: Path) -> None:
    if name == "seqhand":
        dataset = build_dataset("seqhand", write_sequences(tmp_path / "a", shards=1))
    elif name == "freihand":
        dataset = FreiHand(write_freihand(tmp_path), "training", hand="open")
    else:
        dataset = Stb(write_stb(tmp_path), root_joint="palm")
    crops = HandCrops(dataset, size=SIZE, rotate_deg=30)
    assert crops.root_is_palm == (name == "stb")
    for index in range(len(crops)):
        for rng in (None, np.random.default_rng(index)):
            crop = crops.crop(index, rng)
            check_sample(crop)
            assert crop["is_right"]
            assert crop["joints_2d"].min() > 0
            assert crop["joints_2d"].max() < SIZE
            shown = (
                crop["weak_scale"] * crop["joints_3d"][:, :2] + crop["weak_transl"]
                if crop["weak_valid"]
                else projected(crop["joints_3d"], crop["K"])
            )
            np.testing.assert_allclose(shown, crop["joints_2d"], atol=1e-3)
    # the published 61-vector counts as pose, shape and place of the moved hand, too
    assert bool(crop["transl_valid"]) == (name != "stb")


def test_a_crop_of_nothing_known_but_its_box() -> None:
    image = np.zeros((3, 40, 40), np.uint8)
    sample = build_sample(image, is_right=False, dataset="boxed", name="0", bbox=[10, 10, 20, 30])
    crop = HandCrops(Drawn(sample), size=SIZE).crop(0, np.random.default_rng(0))
    check_sample(crop)
    np.testing.assert_allclose((crop["bbox"][2:] - crop["bbox"][:2]) * 44 / SIZE, [10, 20], rtol=1e-4)
