"""The hand prior's training: its recipe, the objective in lixels, and what is measured."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from handkit.checkpoint import read_checkpoint
from handkit.data.lixel_targets import lixel_targets
from handkit.errors import HandkitError
from handkit.geometry.rotations import ray_from_axis
from handkit.hand.mesh_joints import joints_of_mesh
from handkit.hand.model import load_hand
from handkit.hand.weak import WeakPoseLayer
from handkit.methods.crop_recipe import EPOCH
from handkit.methods.hand_prior import UNIT, Estimate, HandPriorMethod, measure_mesh, mesh_in_metres
from handkit.methods.hand_prior_loss import LIXELS, HandPriorLoss, in_lixels
from handkit.methods.hand_prior_recipe import HandPriorRecipe, LearningRecipe, LossRecipe, prior_training
from handkit.nets.lixel import LixelOutput
from handkit.nets.lixel_system import build_lixel, load_lixel
from handkit.recipe import load_recipe
from handkit.train import TrainRecipe, learning_rate, seed_all, train
from tests.methods.same import Same

HAND = load_hand("open", "right")
SIZE, ROWS = 64, 3
PUBLISHED = load_recipe(HandPriorRecipe, "hand-prior")
Batch = dict[str, Any]


def hands(*, pinhole: bool) -> Batch:
    """Hands about their wrists, before a pinhole near enough for strong perspective, or a weak camera."""
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> Tensor:
        return torch.randn(ROWS, *shape, generator=generator, dtype=torch.float64)

    camera = torch.tensor([3.3, 0.0, 0.25]) + 0.05 * draw(3)
    hand = WeakPoseLayer(HAND)(pose=0.3 * draw(48), betas=0.5 * draw(10), camera=camera)
    joints = joints_of_mesh(hand.vertices, HAND)
    wrist = torch.tensor([0.05, -0.03, 0.35]) + 0.02 * draw(3)
    K = torch.tensor([[80.0, 0, 20], [0, 90.0, 40], [0, 0, 1]]).double().expand(ROWS, 3, 3)
    joints_2d = camera[:, None, :1] * joints[..., :2] + camera[:, None, 1:] + 0.5
    if pinhole:
        placed = joints @ ray_from_axis(wrist).mT + wrist[:, None]
        joints_2d = (placed @ K.mT)[..., :2] / placed[..., 2:] / SIZE
    yes = torch.ones(ROWS, dtype=torch.bool)
    known = {
        "joints_2d": joints_2d.float(),
        "joints_3d": joints.float(),
        "vertices": hand.vertices.float(),
        "K": K.float(),
        "wrist": wrist.float(),
    }
    return {
        "image": torch.randint(0, 256, (ROWS, 3, SIZE, SIZE), generator=generator, dtype=torch.uint8),
        "joints_2d_valid": yes[:, None].expand(ROWS, 21),
        "joints_3d_valid": yes[:, None].expand(ROWS, 21),
        "vertices_valid": yes,
        "K_valid": yes if pinhole else ~yes,
        "key": [f"hand {row}" for row in range(ROWS)],
        **known,
    }


@pytest.fixture(scope="module")
def batch() -> Batch:
    return hands(pinhole=True)


def knowing(batch: Batch) -> Estimate:
    """What a network that knows would say."""
    targets = lixel_targets(batch, size=SIZE)
    return Estimate(LixelOutput(targets["vertices"].float(), targets["vertices_depth"].float()), targets)


def method(batch: Batch) -> HandPriorMethod:
    seed_all(0)
    return HandPriorMethod(
        build_lixel(backbone="plain-slim", features=8, depth=8),
        HAND,
        objective=HandPriorLoss(LossRecipe(), HAND),
        size=SIZE,
        source=Same(batch),
        held_out=Same(batch),
        learned_from={"source": "a test"},
    )


def test_convention_published_settings() -> None:
    """The supplement of binocular transfer; weights of I2L-MeshNet's losses."""
    network, learning = PUBLISHED.network, PUBLISHED.learning
    assert (network.backbone, network.size, network.features, network.depth, network.context) == (
        *("resnet50", 256, 256, 64, 0),
    )
    assert (learning.epochs, learning.drops, learning.batch, learning.lr) == (25, (17, 21), 32, 1e-5)
    assert LossRecipe() == PUBLISHED.loss == LossRecipe(vertices=1, joints=1, normals=0.1, edges=1)
    assert (PUBLISHED.train.optimizer, PUBLISHED.train.factor) == ("adam", 0.1)
    training = prior_training(PUBLISHED.train, learning, samples=EPOCH)
    per_epoch = math.ceil(32_560 / 32)
    assert training.steps == 25 * per_epoch
    rates = [
        learning_rate(step, training) for step in (17 * per_epoch - 1, 17 * per_epoch, 21 * per_epoch, training.steps)
    ]
    assert rates == pytest.approx([1, 0.1, 0.01, 0.01])


def test_steps_take_the_falls_of_the_rate_along() -> None:
    fewer = PUBLISHED.learning.model_copy(update={"steps": 50, "norm_share": 0.5})
    found = prior_training(PUBLISHED.train, fewer, samples=10)
    assert (found.steps, found.milestones, found.norm_rests_from) == (50, (34, 42), 25)
    small = load_recipe(HandPriorRecipe, "hand-prior-small")
    found = prior_training(small.train, small.learning, samples=10)
    assert (found.steps, found.milestones) == (small.learning.steps, ())


@pytest.mark.parametrize("drops", [(21, 17), (17, 25), (17, 17)])
def test_falls_out_of_order_are_refused(drops: tuple[int, ...]) -> None:
    with pytest.raises(HandkitError, match=f"the rate cannot fall after epochs {drops[0]}, {drops[1]} of 25"):
        prior_training(PUBLISHED.train, LearningRecipe(drops=drops), samples=10)


def test_convention_lixels() -> None:
    """64 to a width and to 0.3 m."""
    found = in_lixels(torch.tensor([[0.5, 0.25]]), torch.tensor([-0.15]))
    assert found.tolist() == [[32, 16, pytest.approx(-32)]]


def test_the_truth_costs_nothing(batch: Batch) -> None:
    terms = HandPriorLoss(LossRecipe(), HAND)(*knowing(batch))
    assert set(terms) == {"vertices", "joints", "normals", "edges"}
    for name, value in terms.items():
        assert abs(value) < 1e-5, name


def test_terms_are_weights_times_errors_in_lixels(batch: Batch) -> None:
    said, targets = knowing(batch)
    moved = LixelOutput(said.points + torch.tensor([1 / LIXELS, 0]), said.depth)
    one = HandPriorLoss(LossRecipe(), HAND)(moved, targets)
    assert one["vertices"] == pytest.approx(1 / 3, rel=1e-4)  # a lixel in x, none in y and depth
    assert one["joints"] == pytest.approx(1 / 3, rel=1e-4)
    assert abs(one["edges"]) < 1e-4  # a mesh as a whole
    deeper = LixelOutput(said.points, said.depth + 0.3 / LIXELS)
    assert HandPriorLoss(LossRecipe(), HAND)(deeper, targets)["vertices"] == pytest.approx(1 / 3, rel=1e-4)
    bent = LixelOutput(said.points * torch.tensor([1.1, 0.9]), said.depth)
    plain = HandPriorLoss(LossRecipe(), HAND)(bent, targets)
    twice = HandPriorLoss(LossRecipe(vertices=2, joints=2, normals=0.2, edges=2), HAND)(bent, targets)
    for name, value in plain.items():
        assert value > 1e-4, name
        assert twice[name] == pytest.approx(2 * value.item()), name


def test_terms_of_no_weight_are_left_out(batch: Batch) -> None:
    assert set(HandPriorLoss(LossRecipe(normals=0, joints=0), HAND)(*knowing(batch))) == {"vertices", "edges"}
    with pytest.raises(HandkitError, match="loss is") as raised:
        load_recipe(HandPriorRecipe, "hand-prior", ["loss.vertices=0", "loss.joints=0"])
    assert "vertices or joints should weigh more than 0" in raised.value.fix


def test_hands_without_vertices_teach_by_their_joints_alone(batch: Batch) -> None:
    some = {**batch, "vertices_valid": torch.tensor([True, False, True])}
    said, targets = knowing(batch)[0], lixel_targets(some, size=SIZE)
    assert targets["vertices"][1].abs().max() == 0
    objective = HandPriorLoss(LossRecipe(), HAND)
    off = said._replace(depth=said.depth + torch.tensor([0.0, 0.3 / LIXELS, 0.0])[:, None])
    terms = objective(off, targets)
    for name in ("vertices", "normals", "edges"):
        assert abs(terms[name]) < 1e-5, name
    before = objective(said, targets)["joints"]
    # Of one hand of three, a lixel in depth; the annotated joints are seen elsewhere than the mean of vertices is.
    assert terms["joints"] - before == pytest.approx(1 / 9, abs=2e-3)
    flat = {**some, "joints_3d_valid": torch.tensor([True, False, True])[:, None].expand(ROWS, 21)}
    terms = objective(off, lixel_targets(flat, size=SIZE))
    assert terms["joints"] < 0.02  # places are known, depths are not


def test_what_is_not_annotated_costs_nothing(batch: Batch) -> None:
    nothing = {key: torch.zeros_like(value) if key.endswith("_valid") else value for key, value in batch.items()}
    points = torch.rand(ROWS, 778, 2, requires_grad=True)
    depth = torch.zeros(ROWS, 778, requires_grad=True)
    terms = HandPriorLoss(LossRecipe(), HAND)(LixelOutput(points, depth), lixel_targets(nothing, size=SIZE))
    torch.stack(list(terms.values())).sum().backward()
    assert all(value == 0 for value in terms.values())
    assert (points.grad == 0).all()
    assert (depth.grad == 0).all()


def test_every_parameter_has_a_part_in_the_loss(batch: Batch) -> None:
    found = method(batch)
    terms, _ = found.step(batch)
    torch.stack(list(terms.values())).sum().backward()
    assert len(found.parameter_groups()[0]["params"]) == len(list(found.network.parameters()))
    for name, parameter in found.network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("pinhole", [True, False])
def test_a_mesh_that_is_known_is_the_true_one_in_metres(pinhole: bool) -> None:
    """Behind a pinhole exactly, however strong the perspective; before a weak camera too."""
    batch = hands(pinhole=pinhole)
    (points, depth), targets = knowing(batch)
    assert depth is not None
    mesh, is_known = mesh_in_metres(points.double(), depth.double(), batch, targets, size=SIZE)
    assert is_known.all()
    gap = mesh - batch["vertices"]
    assert (gap - gap.mean(1, keepdim=True)).norm(dim=-1).max() < 1e-5


def test_measures_of_a_network_that_knows(batch: Batch) -> None:
    found = knowing(batch)
    measured = measure_mesh(found, batch, size=SIZE, hand=HAND)
    assert list(measured) == ["points_2d_px", "depth_mm", "pa_mpjpe_mm", "pa_mpvpe_mm"]
    for name, value in measured.items():
        assert value.shape == (ROWS,)
        assert value.max() < 1e-2, name
    (points, depth), targets = found
    assert depth is not None
    away = Estimate(LixelOutput(points + torch.tensor([1 / UNIT, 0]), depth - 0.002), targets)
    measured = measure_mesh(away, batch, size=SIZE, hand=HAND)
    assert measured["points_2d_px"] == pytest.approx([1.0] * ROWS, abs=1e-3)
    assert measured["depth_mm"] == pytest.approx([2.0] * ROWS, abs=1e-3)
    flat = Estimate(LixelOutput(points, torch.zeros_like(depth)), targets)
    measured = measure_mesh(flat, batch, size=SIZE, hand=HAND)
    assert measured["pa_mpvpe_mm"].min() > 3
    assert measured["points_2d_px"].max() < 1e-2


def test_hands_of_unknown_scale_are_left_out_of_the_aligned_mean() -> None:
    batch = hands(pinhole=False)
    batch["joints_2d_valid"] = torch.tensor([True, False, True])[:, None].expand(ROWS, 21)
    measured = measure_mesh(knowing(batch), batch, size=SIZE, hand=HAND)
    for name, value in measured.items():
        assert value.isnan().tolist() == [False, True, False], name


def test_samples_without_vertices_are_left_out_of_their_mean(batch: Batch) -> None:
    some = {**batch, "vertices_valid": torch.tensor([True, False, True])}
    measured = measure_mesh(Estimate(knowing(batch).said, lixel_targets(some, size=SIZE)), some, size=SIZE, hand=HAND)
    assert measured["pa_mpvpe_mm"].isnan().tolist() == [False, True, False]
    assert measured["pa_mpjpe_mm"].max() < 1e-2


def test_a_network_without_depth_is_refused(batch: Batch) -> None:
    said, targets = knowing(batch)
    flat = said._replace(depth=None)
    with pytest.raises(ValueError, match="learns depth"):
        HandPriorLoss(LossRecipe(), HAND)(flat, targets)
    with pytest.raises(ValueError, match="depth is measured"):
        measure_mesh(Estimate(flat, targets), batch, size=SIZE, hand=HAND)


def test_it_learns_and_its_file_says_what_it_is(batch: Batch, tmp_path: Path) -> None:
    found = method(batch)
    recipe = TrainRecipe(steps=15, lr=1e-2, schedule="constant", validate_every=15, save_every=15, log_every=1)
    seen: list[int] = []
    train(found, recipe, out=tmp_path, resolved={}, device="cpu", on_validated=seen.append)
    losses = [float(line.split(",")[1]) for line in (tmp_path / "train.csv").read_text().splitlines()[1:]]
    assert losses[-1] < 0.9 * losses[0]
    network, info = load_lixel(tmp_path / "hand-prior.safetensors")
    assert network.describe() == read_checkpoint(tmp_path / "hand-prior.safetensors")[0].network
    assert (info.method, info.data) == ("hand-prior", {"hand": "open", "size": SIZE, "source": "a test"})
    assert info.metrics["pa_mpvpe_mm"] > 0
    assert found.shown is not None
    assert found.shown[0]["key"] == batch["key"]
    assert seen == [15]
