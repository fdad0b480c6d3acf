import itertools

import numpy as np
import torch

from handkit.data.keypoint_noise import KeypointNoise
from handkit.data.posed_hands import PosedHandBatches, PosedHands
from handkit.geometry.cameras import project
from handkit.hand import ManoLayer, load_hand
from handkit.hand.limits import LIMITS_DEG, joint_frames, pose_to_angles
from handkit.hand.weak import WeakPoseLayer
from handkit.metrics import mpjpe_mm
from handkit.train import Place

HAND = load_hand("open")
CROPS = {"size": 32, "box_scale": 1.2}


def first(source: PosedHands, start: int = 0, place: Place | None = None) -> dict:
    return next(iter(source.batches(start, place or Place())))


def test_parameters_make_the_joints_and_vertices() -> None:
    hands = first(PosedHands(HAND, batch=6, want_vertices=True))
    out = ManoLayer(HAND)(global_orient=hands["global_orient"], hand_pose=hands["hand_pose"], betas=hands["betas"])
    shift = hands["joints_3d"][:, :1] - out.joints[:, :1]
    # the skeleton leaves what pose correctives do to rest joints out
    torch.testing.assert_close(out.joints + shift, hands["joints_3d"], atol=1e-4, rtol=0)
    torch.testing.assert_close(out.vertices + shift, hands["vertices"], atol=1e-5, rtol=0)


def test_hands_are_seen_by_their_camera_and_within_the_limits() -> None:
    hands = first(PosedHands(HAND, batch=200))
    assert (hands["joints_3d"][..., 2] > 0).all()
    torch.testing.assert_close(project(hands["joints_3d"], hands["K"]), hands["joints_2d"])
    angles = pose_to_angles(hands["hand_pose"].double(), joint_frames(HAND)).rad2deg().numpy()
    assert (angles >= LIMITS_DEG[..., 0] - 0.1).all()
    assert (angles <= LIMITS_DEG[..., 1] + 0.1).all()
    assert not bool(hands["vertices_valid"].any())


def test_a_number_is_one_batch_however_it_is_shared() -> None:
    source = PosedHands(HAND, batch=8, seed=3)
    third = next(itertools.islice(source.batches(0, Place()), 2, None))
    whole = first(source, 2)
    torch.testing.assert_close(third["joints_3d"], whole["joints_3d"], atol=0, rtol=0)
    halves = [first(source, 2, Place(rank, 2)) for rank in range(2)]
    torch.testing.assert_close(torch.cat([h["joints_3d"] for h in halves]), whole["joints_3d"], atol=0, rtol=0)
    assert [*halves[0]["name"], *halves[1]["name"]] == whole["name"]
    assert not torch.equal(first(PosedHands(HAND, batch=8, seed=4), 2)["joints_3d"], whole["joints_3d"])


def test_batches_have_targets_that_pose_the_hand_and_no_pictures() -> None:
    batches = PosedHandBatches(hand=HAND, batch=16, noise=KeypointNoise(missing=0.5), rotate_deg=90.0, **CROPS)
    batch = next(iter(batches.batches(0, Place())))
    assert "image" not in batch
    camera = torch.tensor([3.0, 0.0, 0.0]).expand(16, 3)
    out = WeakPoseLayer(HAND)(pose=batch["pose"], betas=batch["betas"], camera=camera)
    assert mpjpe_mm(out.joints, batch["joints_3d"]).max() < 0.1
    without = ~(batch["keypoint_scores"] > 0).any(1)
    assert 0 < without.sum() < 16


def test_held_out_hands_have_vertices_and_exact_keypoints_without_noise() -> None:
    held_out = PosedHandBatches(hand=HAND, batch=4, seed=1, noise=None, **CROPS).fixed(6, 4, Place())
    assert [len(batch["key"]) for batch in held_out] == [4, 2]
    for batch in held_out:
        assert bool(batch["vertices_valid"].all())
        torch.testing.assert_close(batch["keypoints"], batch["joints_2d"], atol=1e-5, rtol=0)
        low, high = batch["keypoints"].amin(1), batch["keypoints"].amax(1)
        np.testing.assert_allclose(((low + high) / 2).numpy(), 0.5, atol=1e-4)
