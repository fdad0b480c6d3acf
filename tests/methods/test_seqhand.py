"""SeqHAND's training: the objective, what it learns from, and the recurrent layer that stays as it was."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from handkit.checkpoint import read_checkpoint
from handkit.hand.model import load_hand
from handkit.hand.palm import palm_center
from handkit.hand.weak import WeakHandLayer
from handkit.methods.seqhand import Batch, SeqHandMethod
from handkit.methods.seqhand_loss import SeqHandLoss
from handkit.methods.seqhand_recipe import LossRecipe, UnitRecipe
from handkit.nets import WeakHand, build_network
from handkit.synth.batches import SyntheticBatches
from handkit.train import TrainRecipe, seed_all, train
from tests.methods.same import Same

HAND = load_hand("open", "right")
STILL = LossRecipe(temporal=0.0, camera=0.0, vertices=100.0)


@pytest.fixture(scope="module")
def batch() -> Batch:
    return SyntheticBatches(seed=3, batch=2, size=64, frames=3, mask_distance=True).make(range(2))


def truth(batch: Batch) -> WeakHand:
    width = batch["image"].shape[-1]
    return WeakHand(
        batch["pca"],
        batch["betas"],
        batch["weak_scale"] / width,
        batch["weak_transl"] / width - 0.5,
        batch["global_orient"],
    )


def method(
    batch: Batch, *, loss: LossRecipe | None = None, from_root: bool = False, frozen: bool = False
) -> SeqHandMethod:
    seed_all(0)
    return SeqHandMethod(
        build_network("seqhand-small"),
        HAND,
        objective=SeqHandLoss(loss or LossRecipe(), from_root=from_root),
        source=Same(batch),
        held_out=Same(batch),
        learned_from={"size": 64},
        freeze_memory=frozen,
    )


@pytest.mark.parametrize("from_root", [False, True])
def test_the_truth_costs_nothing_but_its_motion_and_hidden_vertices(batch: Batch, from_root: bool) -> None:
    hand = truth(batch)
    weights = LossRecipe(vertices=1.0)
    terms = SeqHandLoss(weights, from_root=from_root)(hand, WeakHandLayer(HAND)(**hand._asdict()), batch)
    for name, value in terms.items():
        assert value < (3 if name in ("temporal", "mask") else 1e-5), name
    assert set(terms) >= {"joints_2d", "joints_3d", "vertices", "temporal", "mask", "camera_theta", "camera_r"}


def test_terms_are_the_equations_in_the_recipes_units(batch: Batch) -> None:
    hand = truth(batch)
    moved = hand._replace(shift=hand.shift + torch.tensor([0.1, 0.05]), scale=hand.scale + 0.2)
    units = UnitRecipe(joints_2d_widths=0.5, scale_widths_per_m=0.1, shift_widths=0.5)
    terms = SeqHandLoss(LossRecipe(units=units), from_root=False)(moved, WeakHandLayer(HAND)(**moved._asdict()), batch)
    joints = batch["joints_3d"][..., :2]
    away = (0.2 * joints + torch.tensor([0.1, 0.05])).abs().sum(-1).mean() / 0.5
    assert terms["joints_2d"].item() == pytest.approx(5 * away.item(), rel=1e-4)
    assert terms["camera_s"].item() == pytest.approx((0.2 / 0.1) ** 2, rel=1e-4)
    assert terms["camera_t"].item() == pytest.approx(0.2**2 + 0.1**2, rel=1e-4)
    assert terms["joints_3d"].item() == pytest.approx(0, abs=1e-6)


def test_from_the_root_the_place_of_the_truth_does_not_matter(batch: Batch) -> None:
    hand = truth(batch)
    out = WeakHandLayer(HAND)(**hand._asdict())
    away = torch.tensor([0.1, -0.2, 0.7])
    elsewhere = {**batch, "joints_3d": batch["joints_3d"] + away, "vertices": batch["vertices"] + away}
    still = SeqHandLoss(STILL, from_root=True)(hand, out, elsewhere)
    assert max(still["joints_3d"], still["vertices"]) < 1e-6
    assert SeqHandLoss(LossRecipe(), from_root=False)(hand, out, elsewhere)["joints_3d"] > 10


def test_what_is_not_annotated_has_no_part(batch: Batch) -> None:
    hand = truth(batch)
    out = WeakHandLayer(HAND)(**hand._asdict())
    bare = dict(batch)
    for key in ("joints_3d_valid", "vertices_valid", "mask_valid"):
        bare[key] = torch.zeros_like(batch[key])
    bare |= {key: torch.zeros_like(batch[key]) for key in ("joints_3d", "vertices", "mask_distance")}
    terms = SeqHandLoss(STILL, from_root=True)(hand._replace(betas=hand.betas + 1), out, bare)
    assert [float(terms[name]) for name in ("joints_3d", "vertices", "mask")] == [0, 0, 0]
    assert float(terms["joints_2d"]) < 1e-4


def test_joint_0_is_the_palm_where_the_batch_says_so(batch: Batch) -> None:
    tried = method(batch)
    is_palm = torch.tensor([[True, True, True], [False, False, False]])
    plain, palm = tried.estimate(batch).out, tried.estimate({**batch, "root_is_palm": is_palm}).out
    torch.testing.assert_close(palm.joints[0, :, 0], palm_center(plain.joints[0]))
    middle = (plain.joints_2d[0, :, 0] + plain.joints_2d[0, :, 13]) / 2
    torch.testing.assert_close(palm.joints_2d[0, :, 0], middle)
    torch.testing.assert_close(palm.joints[:, :, 1:], plain.joints[:, :, 1:])
    torch.testing.assert_close(palm.joints[1], plain.joints[1])


def test_it_learns_a_batch_by_heart(batch: Batch, tmp_path: Path) -> None:
    tried = method(batch)
    recipe = TrainRecipe(steps=120, lr=2e-3, warmup_steps=10, clip_norm=1.0, validate_every=120, save_every=120)
    found = train(tried, recipe, out=tmp_path, resolved={}, device="cpu")
    assert found.metrics["joints_3d_mm"] < 15, found.metrics
    assert found.metrics["joints_2d_px"] < 3, found.metrics


@pytest.mark.parametrize("frozen", [True, False])
def test_the_frozen_memory_is_bit_identical_after_training(batch: Batch, tmp_path: Path, frozen: bool) -> None:
    still = {key: value[:, :1] if isinstance(value, Tensor) else value for key, value in batch.items()}
    tried = method(still, loss=STILL, from_root=True, frozen=frozen)
    before = {name: value.clone() for name, value in tried.network.state_dict().items()}
    recipe = TrainRecipe(steps=3, lr=1e-2, weight_decay=0.1, validate_every=3, save_every=3)
    train(tried, recipe, out=tmp_path, resolved={}, device="cpu")
    _, after = read_checkpoint(tmp_path / "seqhand-small.safetensors")
    same = {name: torch.equal(after[name], value) for name, value in before.items()}
    memory = [kept for name, kept in same.items() if name.startswith("memory.")]
    assert memory
    assert all(kept is frozen for kept in memory)
    assert not any(kept for name, kept in same.items() if name.startswith(("backbone.", "head.")) and "num" not in name)


def test_metrics_are_of_the_images_own_pixels(batch: Batch) -> None:
    tried = method(batch)
    small = tried.validate(batch)
    large = {**batch, "image": batch["image"].repeat_interleave(2, -1).repeat_interleave(2, -2)}
    out = tried.estimate(large).out
    large |= {"joints_2d": 128 * out.joints_2d.detach() + torch.tensor([3.0, 4.0])}
    np.testing.assert_allclose(tried.validate(large)["joints_2d_px"].detach(), 5, rtol=1e-4)
    assert set(small) == {"joints_2d_px", "joints_3d_mm", "joints_3d_root_mm", "joints_3d_pa_mm"}
