from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from handkit.data.handnet_batches import StereoCropBatches, pair_after
from handkit.data.keypoint_noise import KeypointNoise
from handkit.data.stereo import StereoDataset
from handkit.errors import HandkitError
from handkit.geometry.cameras import full_to_weak, project
from handkit.geometry.rotations import ray_from_axis
from handkit.hand.stereo import K_in_widths, ViewOfHand, fuse_hands
from handkit.train import Place
from tests.data.making import HAND
from tests.data.test_stereo import write_pairs

SIZE, BATCH = 64, 4
MOVED: dict[str, Any] = {"reposition": 0.7, "rotate_deg": 120.0, "scale_jitter": 0.2}
BASELINE = 0.063


@pytest.fixture(scope="module", params=["right", "left"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("pairs") / request.param, side=request.param)


def pairs(folder: Path, **options: Any) -> StereoCropBatches:
    return StereoCropBatches(folder, HAND, **{"batch": BATCH, "size": SIZE, "seed": 2, **options})


def first(
    batches: StereoCropBatches, count: int = 1, start: int = 0, place: Place | None = None
) -> list[dict[str, Any]]:
    return list(islice(batches.batches(start, place or Place()), count))


def in_camera(batch: dict[str, Any], name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Points in the right and in the left camera."""
    points = batch[name] @ ray_from_axis(batch["wrist"]).mT + batch["wrist"][:, None]
    right, left = points.chunk(2)
    return right, left


def move(points: torch.Tensor, right_from_left: torch.Tensor) -> torch.Tensor:
    return points @ right_from_left[..., :3].mT + right_from_left[:, None, :, 3]


@pytest.mark.parametrize("moved", [{}, MOVED])
def test_the_left_view_s_hand_is_the_right_view_s(folder: Path, moved: dict[str, Any]) -> None:
    for batch in first(pairs(folder, **moved), 3):
        assert len(batch["joints_3d"]) == 2 * BATCH
        assert batch["right_from_left"].shape == (BATCH, 3, 4)
        for name in ("joints_3d", "vertices"):
            right, left = in_camera(batch, name)
            torch.testing.assert_close(move(left, batch["right_from_left"]), right, atol=1e-5, rtol=0)
        uv = project(torch.cat(in_camera(batch, "joints_3d")), batch["K"])
        torch.testing.assert_close(uv / SIZE, batch["joints_2d"], atol=1e-5, rtol=0)
        betas = batch["betas"].chunk(2)
        assert torch.equal(*betas)
        torch.testing.assert_close(*(pose[:, 3:] for pose in batch["pose"].chunk(2)), atol=1e-6, rtol=0)


def test_upright_pairs_are_rectified(folder: Path) -> None:
    """The right camera stands to the right, whichever hand it is, and both see a joint at the same height."""
    (batch,) = first(pairs(folder, reposition=0.7, scale_jitter=0.2))
    wanted = torch.cat([torch.eye(3), torch.tensor([[-BASELINE], [0], [0]])], 1)
    torch.testing.assert_close(batch["right_from_left"], wanted.expand(BATCH, 3, 4), atol=1e-6, rtol=0)
    pixels = torch.cat([SIZE * batch["joints_2d"], torch.ones(2 * BATCH, 21, 1)], -1)
    rays = pixels @ torch.linalg.inv(batch["K"]).mT
    right, left = rays.chunk(2)
    torch.testing.assert_close(right[..., 1], left[..., 1], atol=1e-5, rtol=0)
    assert (left[..., 0] - right[..., 0] > 0).all()


def test_turned_pairs_are_turned_alike(folder: Path) -> None:
    (batch,) = first(pairs(folder, **MOVED))
    shift = batch["right_from_left"][..., 3]
    torch.testing.assert_close(shift.norm(dim=1), torch.full((BATCH,), BASELINE), atol=1e-6, rtol=0)
    assert shift[:, 2].abs().max() < 1e-6
    assert shift[:, 1].abs().max() > 0.01
    # pixels that are not square, as these cameras', turn by a little less or more
    torch.testing.assert_close(batch["right_from_left"][..., :3], torch.eye(3).expand(BATCH, 3, 3), atol=0.03, rtol=0)


def test_fusing_two_true_views_gives_the_hand(folder: Path) -> None:
    (batch,) = first(pairs(folder, **MOVED))
    K = K_in_widths(batch["K"], SIZE)
    scale, seen = full_to_weak(batch["wrist"], K)
    camera = torch.cat([scale[:, None], seen - 0.5], 1)
    views = [
        ViewOfHand(*each)
        for each in zip(*(part.chunk(2) for part in (batch["pose"], batch["betas"], camera, K)), strict=True)
    ]
    fused = fuse_hands(
        views[0], views[1], torch.full((BATCH, 48), 0.3), batch["right_from_left"], camera="triangulated"
    )
    torch.testing.assert_close(fused.wrist_right, batch["wrist"][:BATCH], atol=1e-4, rtol=0)
    torch.testing.assert_close(fused.right.pose, batch["pose"][:BATCH], atol=1e-3, rtol=0)


def test_pictures_go_with_their_views(tmp_path: Path) -> None:
    """Right pictures are those of 100 on, and left hands' views have changed places."""
    for side in ("right", "left"):
        (batch,) = pairs(write_pairs(tmp_path / side, side=side)).fixed(3, 3, Place())
        blue = batch["image"][:, 2].flatten(1).amax(1).tolist()
        right, left = ([110, 111, 112], [10, 11, 12])
        assert blue == (right + left if side == "right" else left + right)
        names = [key.rpartition("/")[2] for key in batch["key"]]
        ends = [f".{view}" for view in (("right", "left") if side == "right" else ("left", "right")) for _ in range(3)]
        assert names == [f"{number % 3:06d}{end}" for number, end in enumerate(ends)]


def test_a_number_gives_the_same_batch(folder: Path) -> None:
    options: dict[str, Any] = {"noise": KeypointNoise(missing=0.3), "blur": 3.0, **MOVED}
    whole = first(pairs(folder, **options), 3)
    (later,) = first(pairs(folder, **options), 1, 2)
    halves = [first(pairs(folder, **options), 1, 2, Place(rank, 2))[0] for rank in (0, 1)]
    for key, value in whole[2].items():
        if not isinstance(value, torch.Tensor):
            assert value == later[key]
            continue
        assert torch.equal(value, later[key]), key
        views = [value] if key == "right_from_left" else list(value.chunk(2))
        for view, wanted in enumerate(views):
            parts = [half[key] if key == "right_from_left" else half[key].chunk(2)[view] for half in halves]
            assert torch.equal(torch.cat(parts), wanted), key
    apart = (whole[0]["keypoints"] - whole[0]["joints_2d"]).chunk(2)
    assert not torch.equal(*apart)


def test_rows_are_all_there_is(folder: Path) -> None:
    batches = pairs(folder, rows=[1, 3, 4], batch=3)
    assert len(batches) == 3
    (batch,) = first(batches)
    assert {key.rpartition("/")[2][:6] for key in batch["key"]} == {"000001", "000003", "000004"}
    made = StereoCropBatches(StereoDataset(folder), HAND, batch=1, size=SIZE, rows=[1, 3, 4]).fixed(9, 2, Place())
    assert [len(batch["key"]) for batch in made] == [4, 2]
    with pytest.raises(HandkitError, match="larger"):
        pairs(folder, rows=[1], batch=2)


def test_any_rig_may_be_moved() -> None:
    rng = torch.Generator().manual_seed(0)
    turns = [torch.linalg.qr(torch.randn(5, 3, 3, generator=rng, dtype=torch.float64)).Q for _ in range(3)]
    rig = torch.cat([turns[0], torch.randn(5, 3, 1, generator=rng, dtype=torch.float64)], -1)
    left = torch.randn(5, 7, 3, generator=rng, dtype=torch.float64)
    right = move(left, rig)
    exchanged = torch.tensor([True, False, True, True, False])
    seen = [torch.where(exchanged[:, None, None], *views) for views in ((left, right), (right, left))]
    moved_right, moved_left = (points @ turn.mT for points, turn in zip(seen, turns[1:], strict=True))
    torch.testing.assert_close(move(moved_left, pair_after(rig, exchanged, *turns[1:])), moved_right)
