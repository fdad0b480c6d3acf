"""Batches made while they are needed: the same however they are shared out, and as `SyntheticSequences` makes them."""

import itertools
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from handkit.data.color_jitter import ColorJitter
from handkit.data.mask_distances import mask_distances
from handkit.errors import HandkitError
from handkit.synth.batches import SyntheticBatches, fixed_batches
from handkit.synth.stream import SyntheticSequences
from handkit.train import Place
from tests.synth.seqhand import small_job, small_maker

RECIPE = small_job().recipe
PICTURES = ("image", "mask", "mask_distance")


def batches_of(**options: Any) -> SyntheticBatches:
    return SyntheticBatches(**{"seed": 0, "batch": 4, "recipe": RECIPE, "maker": small_maker(), **options})


def take(batches: SyntheticBatches, count: int, start: int = 0, place: Place | None = None) -> list[dict[str, Any]]:
    return list(itertools.islice(batches.batches(start, place or Place()), count))


def assert_equal(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        same = value == other[name] if isinstance(value, list) else torch.equal(value, torch.as_tensor(other[name]))
        assert same, name


def joined(parts: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        name: [one for part in parts for one in part[name]]
        if isinstance(value, list)
        else torch.cat([part[name] for part in parts])
        for name, value in parts[0].items()
    }


def test_the_sequences_of_the_stream_from_any_number() -> None:
    (batch,) = take(batches_of(), 1, start=2)
    assert batch["key"] == [f"train/{number:06d}" for number in range(8, 12)]
    stream = SyntheticSequences(recipe=RECIPE, first=8, sequences=12, maker=small_maker())
    for row, sample in enumerate(stream):
        for name, value in sample.items():
            same = batch[name][row] == value if isinstance(value, list) else np.array_equal(batch[name][row], value)
            assert same, name


def test_processes_share_a_batch() -> None:
    batches = batches_of(mask_distance=True, color_jitter=ColorJitter())
    whole = take(batches, 2, start=1)
    shares = [take(batches, 2, 1, Place(rank, 2)) for rank in range(2)]
    for batch, *parts in zip(whole, *shares, strict=True):
        assert_equal(batch, joined(parts))
    with pytest.raises(HandkitError, match="4 cannot be shared out over 3"):
        take(batches, 1, place=Place(0, 3))


def test_workers_change_nothing(tmp_path: Path) -> None:
    np.save(tmp_path / "joints.npy", small_maker().bank.joints[:200])
    recipe = small_job(Path(), "theta_source=encoder").recipe
    made, sent = (
        SyntheticBatches(seed=3, batch=4, recipe=recipe, poses=str(tmp_path / "joints.npy"), workers=workers)
        for workers in (0, 1)
    )
    for one, other in zip(take(made, 3, 1), take(sent, 3, 1), strict=True):
        assert_equal(one, other)


@pytest.mark.parametrize("recipe", ["seqhand", "seqhand-published"])
def test_painted_batches_are_the_same_up_to_rounding_and_noise(recipe: str) -> None:
    changes = () if recipe == "seqhand-published" else ("occluders.front=0.5", "occluders.held=0.5")
    maker = small_maker(*changes, recipe=recipe)
    batches = batches_of(recipe=maker.recipe, maker=maker, mask_distance=True)
    painted = list(itertools.islice(batches.painted(1, Place()), 2))
    sent = pickle.loads(pickle.dumps(batches._drawer))
    assert sent.maker is None
    for made, found in zip(take(batches, 2, 1), painted, strict=True):
        assert made.keys() == found.keys()
        assert_equal(*({key: value for key, value in one.items() if key != "image"} for one in (made, found)))
        off = (found["image"].int() - made["image"].int()).abs().double()
        assert off.mean() < 4  # noise: at most 1.2 % of 255, in both
        plain = [maker.annotate(int(key[-6:])).appearance.noise == 0 for key in made["key"]]
        assert recipe == "seqhand" or all(plain)
        assert recipe == "seqhand" or off.mean() < 0.05


def test_painted_batches_vary_as_those_made_here() -> None:
    maker = small_maker(recipe="seqhand-published")  # without noise
    plain, changed = (
        batches_of(recipe=maker.recipe, maker=maker, color_jitter=jitter) for jitter in (None, ColorJitter())
    )
    (made,), (painted,) = take(changed, 1, 3), list(itertools.islice(changed.painted(3, Place()), 1))
    assert (made["image"].int() - painted["image"].int()).abs().double().mean() < 0.1
    assert (made["image"].int() - take(plain, 1, 3)[0]["image"].int()).abs().double().mean() > 2


def test_a_finite_set_comes_again_and_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    maker = small_maker()
    batches = batches_of(batch=2, sequences=3, maker=maker)
    assert batches.kept
    made: list[int] = []
    render = type(maker).render
    monkeypatch.setattr(type(maker), "render", lambda self, one: (made.append(one.index), render(self, one))[1])
    found = take(batches, 6)
    assert [int(key[-6:]) for batch in found for key in batch["key"]] == [0, 1, 2] * 4
    assert sorted(made) == [0, 1, 2]
    assert_equal(found[0], take(batches_of(batch=2), 1)[0])
    assert_equal(found[0], found[3])
    mixed = take(batches_of(batch=3, sequences=3, shuffle=True, maker=maker), 8)
    orders = [tuple(batch["key"]) for batch in mixed]
    assert {tuple(sorted(order)) for order in orders} == {("train/000000", "train/000001", "train/000002")}
    assert len(set(orders)) > 1
    with pytest.raises(HandkitError, match="a batch of 4 sequences is larger than the data, 3"):
        batches_of(sequences=3)


def test_a_large_finite_set_is_made_again() -> None:
    assert not batches_of(sequences=10_000).kept
    assert batches_of(sequences=1000).kept
    assert not batches_of(sequences=1000, workers=8).kept


def test_size_and_frames_of_the_recipe_can_be_replaced() -> None:
    """At another size the same hands are seen by the same camera, scaled."""
    halves = small_maker("size=48")
    (large,), (small,) = take(batches_of(), 1), take(batches_of(size=48, maker=halves), 1)
    assert small["image"].shape[-2:] == (48, 48)
    for name in ("joints_2d", "vertices_2d", "weak_scale", "weak_transl", "bbox"):
        np.testing.assert_allclose(small[name], large[name] / 2, rtol=1e-4, atol=1e-4, err_msg=name)
    for name in ("joints_3d", "vertices", "pca", "betas", "global_orient"):
        np.testing.assert_allclose(small[name], large[name], atol=1e-6, err_msg=name)
    assert batches_of(frames=5).recipe.frames == 5
    assert batches_of().recipe == RECIPE


def test_fixed_batches_are_whole_and_in_order() -> None:
    maker = small_maker(split="val", seed=7)
    options: dict[str, Any] = {"sequences": 5, "batch": 2, "maker": maker, "mask_distance": True}
    found = fixed_batches(RECIPE, 7, **options)
    assert [len(batch["image"]) for batch in found] == [2, 2, 1]
    assert [key for batch in found for key in batch["key"]] == [f"val/{number:06d}" for number in range(5)]
    assert torch.equal(found[2]["mask_distance"], mask_distances(found[2]["mask"]))
    shared = [fixed_batches(RECIPE, 7, place=Place(rank, 2), **options) for rank in range(2)]
    assert [len(share) for share in shared] == [2, 1]
    assert_equal(shared[1][0], found[1])
    with pytest.raises(HandkitError, match="seed 0 of val are those that figures are reported on"):
        fixed_batches(RECIPE, 0, sequences=5, batch=2)
