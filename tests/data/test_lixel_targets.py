"""What lixel networks learn: where vertices are seen, how far behind joint 9, and of which hands that is known."""

from itertools import islice
from typing import Any

import pytest
import torch
from torch import Tensor

from handkit.data.handnet_batches import HandCropBatches
from handkit.data.lixel_targets import lixel_points, lixel_targets, weak_camera
from handkit.geometry.cameras import project
from handkit.geometry.rotations import ray_from_axis
from handkit.train import Place
from tests.data.handnet_samples import Samples, pinhole, weak
from tests.data.posing import HANDS

SIZE = 96
MAKERS = {"weak": weak, "pinhole": pinhole}


def batch_of(kind: str, side: str = "right", count: int = 5, **known: Any) -> dict[str, Any]:
    samples = [MAKERS[kind](seed, side, **known) for seed in range(count)]
    source = Samples(samples, count, 1)
    made = HandCropBatches(source, HANDS["right"], size=SIZE, reposition=0.5, rotate_deg=60.0)
    return next(islice(made.batches(0, Place()), 1))


def joints_without(batch: dict[str, Any], rows: int) -> dict[str, Any]:
    """The batch with no 2D joints in its first rows."""
    valid = batch["joints_2d_valid"].clone()
    valid[:rows] = False
    return {**batch, "joints_2d_valid": valid}


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("side", ["right", "left"])
def test_joints_are_where_they_are_annotated(kind: str, side: str) -> None:
    batch = batch_of(kind, side)
    seen, known = lixel_points(batch, batch["joints_3d"], size=SIZE)
    assert bool(known.all())
    torch.testing.assert_close(seen, batch["joints_2d"], atol=1e-5, rtol=0)


def test_pinhole_crops_show_vertices_as_their_camera_does() -> None:
    batch = batch_of("pinhole")
    targets = lixel_targets(batch, size=SIZE)
    wrist = batch["wrist"]
    camera: Tensor = batch["vertices"] @ ray_from_axis(wrist).mT + wrist[:, None]
    torch.testing.assert_close(targets["vertices"], project(camera, batch["K"]) / SIZE, atol=1e-5, rtol=0)
    assert bool(targets["vertices_valid"].all())


@pytest.mark.parametrize("kind", MAKERS)
def test_depth_counts_from_the_middle_fingers_root_along_the_ray(kind: str) -> None:
    batch = batch_of(kind)
    targets = lixel_targets(batch, size=SIZE)
    joints = targets["joints_depth"]
    assert float(joints[:, 9].abs().max()) == 0
    ray = torch.nn.functional.normalize(batch["wrist"], dim=-1) if kind == "pinhole" else None
    if ray is not None:
        axes = ray_from_axis(batch["wrist"])
        camera = batch["joints_3d"] @ axes.mT + batch["wrist"][:, None]
        along = (camera * ray[:, None]).sum(-1)
        torch.testing.assert_close(joints, along - along[:, 9:10], atol=1e-5, rtol=0)
    z = batch["vertices"][..., 2] - batch["joints_3d"][:, 9, 2:3]
    torch.testing.assert_close(targets["vertices_depth"], z)


def test_weak_cameras_are_exact_and_need_enough_joints() -> None:
    batch = batch_of("weak")
    scale, shift, known = weak_camera(batch)
    found = scale[:, None, None] * batch["joints_3d"][..., :2] + shift[:, None]
    torch.testing.assert_close(found.float(), batch["joints_2d"], atol=1e-5, rtol=0)
    assert bool(known.all())
    few = batch["joints_2d_valid"].clone()
    few[:2, 5:] = False
    assert weak_camera({**batch, "joints_2d_valid": few})[2].tolist() == [False, False, True, True, True]


def test_what_is_not_known_is_zeros_and_said() -> None:
    batch = joints_without(batch_of("weak"), 2)
    targets = lixel_targets(batch, size=SIZE)
    assert targets["vertices_valid"].tolist() == [False, False, True, True, True]
    assert float(targets["vertices"][:2].abs().max()) == 0
    assert targets["scale"].tolist()[:2] == [0, 0]
    assert all(bool(value.isfinite().all()) for value in targets.values())
    no_root = batch_of("pinhole")
    no_root["joints_3d_valid"][1, 9] = False
    targets = lixel_targets(no_root, size=SIZE)
    assert targets["vertices_valid"].tolist() == [True, False, True, True, True]
    assert not bool(targets["joints_depth_valid"][1].any())


def test_a_hand_without_camera_or_joints_gives_no_wrong_number() -> None:
    batch = joints_without(batch_of("pinhole"), 5)
    batch["K_valid"] = torch.zeros(5, dtype=torch.bool)
    batch["K"], batch["wrist"] = torch.zeros(5, 3, 3), torch.zeros(5, 3)
    targets = lixel_targets(batch, size=SIZE)
    assert not bool(targets["vertices_valid"].any())
    assert all(bool(value.isfinite().all()) for value in targets.values())
