"""What a HandNet run learns from, by its recipe."""

from typing import Any

import pytest
import torch

from handkit.errors import HandkitError
from handkit.methods.handnet_recipe import HandNetRecipe
from handkit.recipe import load_recipe
from handkit.runs.handnet_data import HandNetData, find_data
from handkit.train import Place

TINY = ["network.size=64", "data.frame_size=64", "data.validation_hands=6", "data.frames=1"]
ONE = Place()


def data_of(*changes: str, recipe: str = "handnet-small") -> HandNetData:
    small = [f"stages.{stage}.batch=4" for stage in ("image", "fusion", "keypoint")]
    return find_data(load_recipe(HandNetRecipe, recipe, [*TINY, *small, *changes]))


def first(data: HandNetData, stage: str, number: int = 0) -> dict[str, Any]:
    return next(data.training(data.settings.stage(stage)).batches(number, ONE))


def test_a_stage_is_given_what_it_sees() -> None:
    data = data_of()
    image, keypoint = first(data, "image"), first(data, "keypoint")
    assert image["image"].shape == (4, 3, 64, 64)
    assert image["mask_valid"].all()
    assert "image" not in keypoint
    for batch in (image, keypoint):
        assert batch["pose_valid"].all()
        assert batch["keypoints"].shape == (4, 21, 2)
    assert all(key.startswith("poses/") for key in keypoint["key"])
    assert not any(key.startswith("poses/") for key in image["key"])


def test_a_number_is_always_the_same_batch() -> None:
    one, same, other = first(data_of(), "image", 3), first(data_of(), "image", 3), first(data_of(), "image", 4)
    for name in ("image", "keypoints", "pose"):
        assert torch.equal(one[name], same[name])
        assert not torch.equal(one[name], other[name])


@pytest.mark.parametrize(("missing", "share"), [("0.0", 0), ("1.0", 1)])
def test_a_stage_misses_its_share_of_keypoints(missing: str, share: int) -> None:
    data = data_of(f"stages.fusion.missing={missing}", f"data.noise.missing={1 - share}")
    scores = first(data, "fusion")["keypoint_scores"]
    assert (scores == 0).all() if share else (scores > 0).all()


def test_hands_to_choose_by_are_the_same_for_every_stage_and_run() -> None:
    data, again = data_of("data.noise.missing=1.0"), data_of("train.seed=5", "stages.fusion.missing=0.9")
    batches, others = list(data.held_out.batches(ONE)), list(again.held_out.batches(ONE))
    assert data.held_out is data.held_out
    assert [len(batch["key"]) for batch in batches] == [6]
    for name in ("image", "keypoints", "keypoint_scores", "vertices"):
        assert torch.equal(batches[0][name], others[0][name]), name
    assert (batches[0]["keypoint_scores"] > 0).all()
    assert batches[0]["vertices_valid"].all()
    learned = first(again, "fusion")
    assert not set(learned["key"]) & set(batches[0]["key"])


def test_an_epoch_of_drawn_hands_is_freihands() -> None:
    assert data_of().hands == 32_560
    assert data_of("data.epoch=100").hands == 100


def test_poses_cannot_be_looked_at() -> None:
    data = data_of("data.drawn=poses")
    with pytest.raises(HandkitError, match="stage image sees images, and drawn poses have none"):
        data.check("image", data.settings.stage("image"))
    data.check("keypoint", data.settings.stage("keypoint"))
    mask = data.settings.stage("segmentation")
    with pytest.raises(HandkitError, match="drawn poses have none"):
        data.check("segmentation", mask)
