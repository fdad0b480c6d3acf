"""Batches of pairs against those with labels, whatever order, memory and processes they are made in."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from handkit.data.binocular_batches import PairBatches
from handkit.data.handnet_batches import StereoCropBatches
from handkit.data.keypoint_noise import KeypointNoise
from handkit.data.sample import StereoSample, build_sample
from handkit.data.stb import BASELINE_M, StbPairs
from handkit.data.stereo import StereoDataset
from handkit.detect.detection import box_around
from handkit.errors import HandkitError
from handkit.inference.looks import square_about_point
from handkit.train import Place
from tests.data.making import HAND
from tests.data.posing import posed, seen_at, silhouette
from tests.data.test_stereo import write_pairs
from tests.data.trees import write_stb

SIZE, BATCH = 64, 4
NOISE = KeypointNoise(missing=0.2)


@dataclass
class Pairs(torch.utils.data.Dataset[StereoSample]):
    """Pairs that are given, changed by something as they are read; it counts how often each was."""

    given: Sequence[StereoSample] | StereoDataset
    change: Callable[[StereoSample], StereoSample] = lambda pair: pair
    reads: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.given)

    def __getitem__(self, index: int) -> StereoSample:
        self.reads.append(index)
        return self.change(self.given[index])


def in_both(**changes: Any) -> Callable[[StereoSample], StereoSample]:
    def change(pair: StereoSample) -> StereoSample:
        views: Any = {name: {**pair[name], **changes} for name in ("left", "right")}  # type: ignore[literal-required]
        return {**pair, **views}

    return change


@pytest.fixture(scope="module", params=["right", "left"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("pairs") / request.param, side=request.param)


@pytest.fixture(scope="module")
def shards(folder: Path) -> StereoDataset:
    return StereoDataset(folder)


def pairs(source: Any, **options: Any) -> PairBatches:
    batch = min(BATCH, len(options.get("rows", source)))
    return PairBatches(source, HAND, **{"batch": batch, "size": SIZE, "seed": 2, **options})


def first(batches: PairBatches, count: int = 1, start: int = 0, place: Place | None = None) -> list[dict[str, Any]]:
    return list(islice(batches.batches(start, place or Place()), count))


def whole(batches: PairBatches) -> dict[str, Any]:
    (batch,) = batches.fixed(len(batches), len(batches), Place())
    return batch


def assert_same(one: dict[str, Any], other: dict[str, Any], *, but: Sequence[str] = ()) -> None:
    assert one.keys() - but == other.keys() - but
    for key in one.keys() - but:
        value = one[key]
        same = torch.equal(value, other[key]) if isinstance(value, torch.Tensor) else value == other[key]
        assert same, key


def test_true_keypoints_and_given_masks_are_those_of_pairs_with_labels(folder: Path, shards: StereoDataset) -> None:
    known = StereoCropBatches(folder, HAND, batch=BATCH, size=SIZE, seed=2)
    batches = pairs(shards, masks="given")
    assert len(batches) == 6
    for made, wanted in zip(batches.fixed(6, 4, Place()), known.fixed(6, 4, Place()), strict=True):
        assert_same(made, wanted, but=["sequence"])
        assert made["mask_valid"].all()
    assert whole(batches)["mask"].any()
    made, wanted = first(batches)[0], next(known.batches(0, Place()))
    assert made["key"] == wanted["key"]
    assert torch.equal(made["vertices"], wanted["vertices"])


def in_order(batches: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Each pair of batches by the name of its right view; the same pair is the same wherever it is met."""
    found: dict[str, dict[str, Any]] = {}
    for batch in batches:
        count = len(batch["sequence"])
        for row in range(count):
            pair = {
                key: value[row] if len(value) == count else value[[row, row + count]]
                for key, value in batch.items()
                if isinstance(value, torch.Tensor)
            }
            name = batch["key"][row]
            if name in found:
                assert_same(pair, found[name])
            found[name] = pair
    return found


@pytest.mark.parametrize("masks", ["grabcut", "off"])
def test_a_pair_is_the_same_whatever_is_beside_it(shards: StereoDataset, masks: str) -> None:
    options: dict[str, Any] = {"masks": masks, "noise": NOISE}
    known = in_order(pairs(shards, **options).fixed(6, 6, Place()))
    assert len(known) == 6
    for changes in ({"batch": 1}, {"batch": 5}, {"keep_bytes": 0}, {"keep_bytes": 100_000}, {"rows": [5, 2, 0]}):
        count = 12 // changes.get("batch", BATCH) + 1
        found = in_order(first(pairs(shards, **options, **changes), count, start=1))
        assert len(found) == (3 if "rows" in changes else 6)
        for name, pair in found.items():
            assert_same(pair, known[name])
    other = in_order(first(pairs(shards, **options, seed=3), 3))
    assert all(not torch.equal(other[name]["keypoints"], pair["keypoints"]) for name, pair in known.items())


def test_a_number_gives_the_same_batch(shards: StereoDataset) -> None:
    known = first(pairs(shards, noise=NOISE), 5)
    (later,) = first(pairs(shards, noise=NOISE), 1, start=4)
    assert_same(later, known[4])
    halves = [first(pairs(shards, noise=NOISE), 1, 4, Place(rank, 2))[0] for rank in (0, 1)]
    for key in ("image", "mask", "keypoints", "right_from_left", "sequence"):
        views = [half[key].chunk(1 if key in ("right_from_left", "sequence") else 2) for half in halves]
        assert torch.equal(torch.cat([part for view in zip(*views, strict=True) for part in view]), known[4][key])
    with pytest.raises(HandkitError, match="cannot be shared"):
        first(pairs(shards, batch=3), 1, 0, Place(0, 2))


@pytest.mark.parametrize("keep_bytes", [2**20, 100_000])
def test_workers_change_nothing(tmp_path: Path, keep_bytes: int) -> None:
    """Where there is room for all pairs, and where there is none for most."""
    shards = StereoDataset(write_pairs(tmp_path / "pairs"))
    options: dict[str, Any] = {"noise": NOISE, "keep_bytes": keep_bytes}
    known = first(pairs(shards, **options), 4)
    for batch, wanted in zip(first(pairs(shards, **options, workers=1), 4), known, strict=True):
        assert_same(batch, wanted)


def test_every_epoch_gives_each_pair_once_in_an_order_of_its_own(shards: StereoDataset) -> None:
    batches = first(pairs(shards, batch=3, masks="off"), 8)
    orders = [[key for batch in batches[at : at + 2] for key in batch["key"][:3]] for at in range(0, 8, 2)]
    assert all(len(set(order)) == 6 for order in orders)
    assert len({tuple(order) for order in orders}) == 4
    again = first(pairs(shards, batch=3, masks="off", seed=3), 2)
    assert [key for batch in again for key in batch["key"][:3]] != orders[0]


def test_pairs_of_one_hand_come_together(shards: StereoDataset) -> None:
    keys = whole(pairs(shards, masks="off"))["key"][: len(shards)]
    made = first(pairs(shards, batch=2, together=2, masks="off"), len(shards) // 2)
    found = sorted(batch["key"][:2] for batch in made)
    assert found == [keys[at : at + 2] for at in range(0, len(shards), 2)]
    assert [batch["key"][:2] for batch in made] != found


def test_pairs_are_cut_once_while_there_is_room(shards: StereoDataset) -> None:
    source = Pairs(shards)
    batches = pairs(source, masks="off")
    first(batches, 6)
    batches.fixed(6, 4, Place())
    assert sorted(source.reads) == list(range(6))
    first(pairs(source, masks="off", keep_bytes=0), 3)
    assert len(source.reads) == 6 + 1 + 12  # the first one to know how large they are


def test_room_may_be_taken_by_others_meanwhile(shards: StereoDataset) -> None:
    known = first(pairs(shards, masks="off"), 6)
    size = sum(value.nbytes for value in known[0].values() if isinstance(value, torch.Tensor)) // BATCH
    batches = pairs(shards, masks="off", keep_bytes=3 * size)
    running = batches.batches(0, Place())
    made = [next(running)]
    batches.fixed(6, 3, Place())
    made += list(islice(running, 5))
    for batch, wanted in zip(made, known, strict=True):
        assert_same(batch, wanted)


def drawn(seed: int, side: str = "right") -> StereoSample:
    """A pair of smooth skin before blue, 63 mm apart."""
    hand = posed(seed, side=side, depth=0.5)
    K = np.array([[300.0, 0, 160], [0, 300, 120], [0, 0, 1]])
    pair: Any = {"right_from_left": np.float32([[1, 0, 0, -0.063], [0, 1, 0, 0], [0, 0, 1, 0]])}
    for name, shift in (("left", 0.0), ("right", -0.063)):
        joints, vertices = (hand[key] + np.array([shift, 0, 0]) for key in ("joints", "vertices"))
        mask = silhouette(vertices, K, (240, 320), side=side)
        image = np.where(mask, np.array([205, 160, 130])[:, None, None], np.array([30, 70, 160])[:, None, None])
        given: dict[str, Any] = {"K": K, "joints_3d": joints, "joints_2d": seen_at(joints, K), "vertices": vertices}
        given |= {"mask": mask, "hand_model": "open"}
        noise = np.random.default_rng(seed).integers(-12, 13, image.shape)
        pair[name] = build_sample(
            (image + noise).astype(np.uint8), is_right=side == "right", dataset="drawn", name=f"{seed}.{name}", **given
        )
    return pair


@pytest.mark.parametrize("side", ["right", "left"])
def test_masks_of_colours_do_not_look_at_the_truth_s(side: str) -> None:
    given = [drawn(seed, side) for seed in range(4)]
    noise = KeypointNoise(missing=0.0)
    true = whole(pairs(Pairs(given), masks="given", size=96))
    for name in ("grabcut", "hsv"):
        found = whole(pairs(Pairs(given), masks=name, noise=noise, size=96))
        assert found["mask_valid"].all()
        sought = whole(pairs(Pairs(given), masks="given", noise=noise, size=96))["mask"]
        both, either = (found["mask"] & sought).sum((1, 2)), (found["mask"] | sought).sum((1, 2))
        assert (both / either).mean() > 0.85
        for change in (
            in_both(mask=np.zeros((240, 320), np.uint8), mask_valid=np.array(False)),
            in_both(mask=np.ones((240, 320), np.uint8)),
        ):
            assert_same(whole(pairs(Pairs(given, change), masks=name, noise=noise, size=96)), found)
    assert true["mask_valid"].all()
    off = whole(pairs(Pairs(given), masks="off", size=96))
    assert not off["mask"].any()
    assert not off["mask_valid"].any()
    assert_same(off, true, but=["mask", "mask_valid"])


def test_masks_need_keypoints_and_stay_in_the_picture() -> None:
    given = [drawn(seed) for seed in range(2)]
    blind = whole(pairs(Pairs(given), noise=KeypointNoise(missing=1.0)))
    assert not blind["mask_valid"].any()
    assert not blind["mask"].any()
    assert not blind["keypoint_scores"].any()

    def cut(pair: StereoSample) -> StereoSample:
        views: Any = {name: {**pair[name], "image": pair[name]["image"][..., :165]} for name in ("left", "right")}  # type: ignore[literal-required]
        views = {name: {**view, "mask": view["mask"][:, :165]} for name, view in views.items()}
        return {**pair, **views}

    found = whole(pairs(Pairs(given, cut)))
    outside = ~found["image"].any(1)
    assert outside.flatten(1).any(1).any()
    assert not (found["mask"].bool() & outside).any()
    assert found["mask_valid"].all()


def test_pairs_of_one_sequence_have_one_number(shards: StereoDataset, tmp_path: Path) -> None:
    alone = whole(pairs(shards, masks="off"))["sequence"]
    assert alone.dtype == torch.int64
    assert len(alone.unique()) == 6
    stb = StbPairs(
        write_stb(tmp_path, 3, ("B2Counting", "B3Random"), ("left", "right")),
        "train",
        sequences=["B2Counting", "B3Random"],
    )
    numbers = whole(pairs(stb, masks="off"))["sequence"].tolist()
    assert numbers[:3] == [numbers[0]] * 3
    assert numbers[3:] == [numbers[3]] * 3
    assert numbers[0] != numbers[3]
    assert whole(pairs(stb, masks="off", rows=[4, 0]))["sequence"].tolist() == [numbers[4], numbers[0]]
    nameless = whole(pairs(Pairs(shards, in_both(sequence="")), masks="off"))["sequence"]
    assert len(nameless.unique()) == 6
    assert (nameless < 0).all()
    assert (alone >= 0).all()


@pytest.mark.parametrize("root", ["wrist-from-ring", "palm"])
@pytest.mark.parametrize("centre", ["box", "middle"])
def test_stb(tmp_path: Path, root: str, centre: str) -> None:
    """Left hands become right ones, whose right picture the left camera took."""
    folder = write_stb(tmp_path, 2, ("B2Counting",), ("left", "right"))
    stb = StbPairs(folder, "train", sequences=["B2Counting"], root_joint=root)
    batch = whole(pairs(stb, batch=2, masks="grabcut", centre=centre))
    assert batch["key"] == [f"stb/B2Counting/BB_{view}_{frame}" for view in ("left", "right") for frame in (0, 1)]
    wanted = torch.cat([torch.eye(3), torch.tensor([[-BASELINE_M], [0], [0]])], 1)
    torch.testing.assert_close(batch["right_from_left"], wanted.expand(2, 3, 4), atol=1e-6, rtol=0)
    assert not batch["vertices_valid"].any()
    assert not batch["pose_valid"].any()
    is_palm = root == "palm"
    assert batch["joints_2d_valid"].sum(1).tolist() == [20 if is_palm else 21] * 4
    assert batch["joints_3d_valid"].any() == batch["K_valid"].any() == (not is_palm)
    assert batch["mask_valid"].all()
    points = torch.cat([SIZE * batch["joints_2d"][:, 1:], torch.ones(4, 20, 1)], -1)
    right, left = (points @ torch.linalg.inv(batch["K"]).mT).chunk(2)
    depth = BASELINE_M / (left - right)[..., 0]
    true = torch.from_numpy(np.stack([stb[row]["left"]["joints_3d"][1:, 2] for row in range(2)]))
    torch.testing.assert_close(depth, true, atol=1e-4, rtol=0)
    torch.testing.assert_close(left[..., 1], right[..., 1], atol=1e-5, rtol=0)
    if centre == "middle":
        torch.testing.assert_close(batch["joints_2d"][:, 9], torch.full((4, 2), 0.5), atol=1e-6, rtol=0)


def test_crops_about_the_middle_finger_s_root_are_as_demo_s(shards: StereoDataset) -> None:
    batch = whole(pairs(shards, masks="off", centre="middle", box_scale=1.3))
    mirrored = not bool(shards[0]["left"]["is_right"])
    for row in range(6):
        sample = shards[row]["left" if mirrored else "right"]
        square = square_about_point(sample["joints_2d"][9], box_around(sample["joints_2d"]), 1.3)
        inside = (sample["joints_2d"] - square[:2]) / (square[2:] - square[:2])
        inside = np.abs([mirrored, 0] - inside)
        np.testing.assert_allclose(batch["joints_2d"][row], inside, atol=1e-5)


def test_hands_that_only_a_detector_saw() -> None:
    def detected(pair: StereoSample) -> StereoSample:
        views: Any = {}
        for name in ("left", "right"):
            sample = pair[name]  # type: ignore[literal-required]
            points = sample["joints_2d"] + np.float32(1)
            views[name] = build_sample(
                sample["image"],
                is_right=True,
                dataset="own",
                name=name,
                K=sample["K"],
                keypoints_2d=points,
                keypoint_scores=np.full(21, 0.8),
            )
        return {**pair, **views}

    given = [drawn(seed) for seed in range(2)]
    for centre in ("box", "middle"):
        batch = whole(pairs(Pairs(given, detected), batch=2, noise=NOISE, centre=centre))
        assert torch.allclose(batch["keypoint_scores"], torch.tensor(0.8))
        assert not batch["joints_2d_valid"].any()
        assert not batch["K_valid"].any()
        assert (batch["K"][:, 2, 2] == 1).all()
        assert batch["mask_valid"].all()
        assert not batch["wrist"].any()
        if centre == "middle":
            torch.testing.assert_close(batch["keypoints"][:, 9], torch.full((4, 2), 0.5), atol=1e-6, rtol=0)
        wide = batch["keypoints"].amax(1) - batch["keypoints"].amin(1)
        assert (wide.amax(1) > 0.3).all()


def test_what_cannot_be_is_told(shards: StereoDataset) -> None:
    with pytest.raises(HandkitError, match="a batch of 7 pairs is larger than the data, 6"):
        pairs(shards, batch=7)
    with pytest.raises(HandkitError, match="no such masks: 'snakes'"):
        pairs(shards, masks="snakes")
    with pytest.raises(HandkitError, match="no such centre of crops: 'wrist'"):
        pairs(shards, centre="wrist")
    blind = Pairs([drawn(0)], in_both(K=np.zeros((3, 3), np.float32), K_valid=np.array(False)))
    with pytest.raises(HandkitError, match=r"drawn/0.right: a view has no camera"):
        whole(pairs(blind, batch=1))
    mixed = Pairs([drawn(0)], lambda pair: {**pair, "left": {**pair["left"], "is_right": np.array(False)}})
    with pytest.raises(HandkitError, match="one view shows a right hand, the other a left one"):
        whole(pairs(mixed, batch=1))
    narrow = Pairs(
        [drawn(0)], lambda pair: {**pair, "left": {**pair["left"], "image": pair["left"]["image"][..., :-9]}}
    )
    with pytest.raises(HandkitError, match="image has different sizes"):
        whole(pairs(narrow, batch=1))
