"""HandNet's training: the objective, what learns in each stage and what stays, and what is measured."""

import math
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

from handkit.checkpoint import read_checkpoint
from handkit.errors import HandkitError
from handkit.hand.model import load_hand
from handkit.hand.weak import WeakPoseLayer
from handkit.methods.handnet import UNIT, Estimate, HandNetMethod
from handkit.methods.handnet_loss import HandNetLoss
from handkit.methods.handnet_recipe import (
    STAGES,
    HandNetRecipe,
    LossRecipe,
    Part,
    StageRecipe,
    check_stage,
    stage_training,
)
from handkit.nets.handnet import PARTS, HandNet, HandNetOutput
from handkit.nets.handnet_system import build_handnet, load_handnet
from handkit.recipe import load_recipe
from handkit.train import TrainRecipe, learning_rate, seed_all, train
from tests.methods.same import Same

HAND = load_hand("open", "right")
SIZE, ROWS = 64, 4
Batch = dict[str, Any]
PUBLISHED = load_recipe(HandNetRecipe, "handnet")


def numbers(rows: int = ROWS, seed: int = 0) -> HandNetOutput:
    """Hands as a network would say them."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(rows, *shape, generator=generator)

    camera = torch.tensor([3.3, 0.0, 0.25]) + 0.05 * draw(3)
    return HandNetOutput(0.3 * draw(48), 0.5 * draw(10), camera, draw(512), None, None)


def truth(said: HandNetOutput) -> Batch:
    hand = WeakPoseLayer(HAND)(pose=said.pose, betas=said.betas, camera=said.camera)
    rows = len(said.pose)
    generator = torch.Generator().manual_seed(9)
    yes = torch.ones(rows, dtype=torch.bool)
    middle = torch.zeros(rows, SIZE, SIZE, dtype=torch.uint8)
    middle[:, 16:48, 20:44] = 1
    return {
        "image": torch.randint(0, 256, (rows, 3, SIZE, SIZE), generator=generator, dtype=torch.uint8),
        "mask": middle,
        "mask_valid": yes,
        "keypoints": hand.joints_2d.clone(),
        "keypoint_scores": torch.ones(rows, 21),
        "pose": said.pose,
        "pose_valid": yes,
        "betas": said.betas,
        "betas_valid": yes,
        "joints_2d": hand.joints_2d,
        "joints_2d_valid": yes[:, None].expand(rows, 21),
        "joints_3d": hand.joints,
        "joints_3d_valid": yes[:, None].expand(rows, 21),
        "vertices": hand.vertices,
        "vertices_valid": yes,
        "key": [f"hand {row}" for row in range(rows)],
    }


@pytest.fixture(scope="module")
def batch() -> Batch:
    return truth(numbers())


def method(
    batch: Batch, stage: str, *, settings: StageRecipe | None = None, network: HandNet | None = None
) -> HandNetMethod:
    seed_all(0)
    settings = settings or PUBLISHED.stage(stage)
    return HandNetMethod(
        network or build_handnet(backbone="regnet_x_400mf"),
        HAND,
        stage=stage,
        settings=settings,
        objective=HandNetLoss(LossRecipe(), hands=settings.learns_hands, masks=settings.learns_masks),
        size=SIZE,
        source=Same(batch),
        held_out=Same(batch),
        learned_from={"source": "a test"},
    )


def estimate(said: HandNetOutput) -> Estimate:
    return Estimate(said, WeakPoseLayer(HAND)(pose=said.pose, betas=said.betas, camera=said.camera))


def test_convention_published_stages() -> None:
    """RealisticHands 3.5, 4.1, 4.3 and Fig. 4."""
    assert PUBLISHED.stage_names == list(STAGES) == ["image", "keypoint", "fusion", "finalize", "segmentation"]
    told = {name: PUBLISHED.stage(name) for name in STAGES}
    assert [told[name].epochs for name in STAGES] == [120, 100, 100, 180, 10]
    assert [told[name].decay_epochs for name in STAGES] == [20, 20, 20, 20, 6]
    assert [told[name].inputs for name in STAGES] == ["image", "keypoints", "both", "both", "both"]
    assert [told[name].after for name in STAGES] == [None, *STAGES[:-1]]
    assert {name: set(stage.learns) for name, stage in told.items()} == {
        "image": {"image_head", "tail", "regressor"},
        "keypoint": {"keypoint_head"},
        "fusion": {"fusion"},
        "finalize": {"image_head", "keypoint_head", "fusion", "tail", "regressor"},
        "segmentation": {"segmentation"},
    }
    assert LossRecipe() == PUBLISHED.loss == LossRecipe(pose=10, shape=1, joints_2d=100, shape_prior=0.5, camera=1e-5)
    assert get_args(Part) == PARTS


def test_convention_published_rate() -> None:
    training = stage_training(PUBLISHED.train, PUBLISHED.stage("image"), hands=PUBLISHED.data.epoch)
    per_epoch = math.ceil(32_560 / 64)
    assert (training.steps, training.decay_steps) == (120 * per_epoch, 20 * per_epoch)
    assert (training.optimizer, training.betas, training.lr) == ("adam", (0.9, 0.99), 2e-4)
    assert learning_rate(100 * per_epoch - 1, training) == 1
    assert learning_rate(110 * per_epoch, training) == pytest.approx(0.5)


def test_steps_take_the_fall_of_the_rate_along() -> None:
    stage = PUBLISHED.stage("segmentation").model_copy(update={"steps": 50, "norm_share": 0.5})
    found = stage_training(PUBLISHED.train, stage, hands=10)
    assert (found.steps, found.decay_steps, found.norm_rests_from) == (50, 30, 25)


def test_the_truth_costs_only_what_regularises(batch: Batch) -> None:
    said = numbers()
    every = HandNetLoss(LossRecipe(joints_3d=1, vertices=1), masks=True)
    logits = 50 * (2 * batch["mask"].float() - 1)
    terms = every(said._replace(mask=logits), estimate(said).hand, batch)
    assert set(terms) == {"pose", "shape", "joints_2d", "shape_prior", "camera", "joints_3d", "vertices", "mask"}
    assert terms.pop("shape_prior") == pytest.approx(0.5 * float(said.betas.square().sum(-1).mean()))
    for name, value in terms.items():
        assert abs(value) < 1e-9, name


def test_terms_are_weights_times_losses_of_their_own_units(batch: Batch) -> None:
    said = numbers(seed=3)
    found = estimate(said)
    twice = LossRecipe(pose=20, shape=2, joints_2d=200, shape_prior=1, camera=2e-5)
    plain, double = HandNetLoss(LossRecipe()), HandNetLoss(twice)
    for name, value in plain(said, found.hand, batch).items():
        assert double(said, found.hand, batch)[name] == pytest.approx(2 * float(value)), name
    moved = {**batch, "joints_3d": found.hand.joints + 0.1, "joints_2d": found.hand.joints_2d + 0.1}
    terms = HandNetLoss(LossRecipe(joints_3d=1))(said, found.hand, moved)
    assert terms["joints_3d"] == pytest.approx(1)  # a unit is 10 cm
    terms = HandNetLoss(LossRecipe(distance_3d=1))(said, found.hand, moved)
    assert terms["distance_3d"] == pytest.approx(3**0.5 - 0.01, abs=1e-4)
    assert terms["joints_2d"] == pytest.approx(100 * 0.01)  # widths


def test_what_is_not_annotated_costs_nothing(batch: Batch) -> None:
    said = numbers(seed=3)
    nothing = {key: torch.zeros_like(value) if key.endswith("_valid") else value for key, value in batch.items()}
    every = HandNetLoss(LossRecipe(joints_3d=1, vertices=1, shape_prior=0), masks=True)
    leaves = said._replace(pose=said.pose.clone().requires_grad_(), camera=said.camera.clone().requires_grad_())
    terms = every(leaves._replace(mask=torch.zeros(ROWS, SIZE, SIZE)), estimate(leaves).hand, nothing)
    torch.stack(list(terms.values())).sum().backward()
    assert all(value == 0 for value in terms.values())
    assert (leaves.pose.grad == 0).all()
    assert (leaves.camera.grad == 0).all()


@pytest.mark.parametrize("stage", STAGES)
def test_every_learning_parameter_has_a_part_in_the_loss(batch: Batch, stage: str) -> None:
    found = method(batch, stage)
    learning = {id(parameter) for parameter in found.parameter_groups()[0]["params"]}
    terms, _ = found.step(batch)
    torch.stack(list(terms.values())).sum().backward()
    assert learning
    for name, parameter in found.network.named_parameters():
        assert (name.split(".")[0] in found.settings.learns) == (id(parameter) in learning), name
        if id(parameter) in learning:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("stage", STAGES)
def test_what_a_stage_does_not_learn_stays_bit_for_bit(batch: Batch, stage: str, tmp_path: Path) -> None:
    """Parameters and the statistics of normalisation layers, in the network and in the file that the next one reads."""
    found = method(batch, stage)
    network = found.network
    _stir(network)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    recipe = TrainRecipe(steps=3, lr=1e-3, schedule="constant", ema=0.5, validate_every=3, save_every=3, log_every=1)
    seen: list[int] = []
    train(found, recipe, out=tmp_path, resolved={}, device="cpu", on_validated=seen.append)
    after, (info, kept) = network.state_dict(), read_checkpoint(tmp_path / "handnet.safetensors")
    for name, value in before.items():
        if name.split(".")[0] not in found.settings.learns:
            assert torch.equal(value, after[name]), name
            assert torch.equal(value, kept[name]), name
    for part in found.settings.learns:
        own = [name for name in before if name.startswith(f"{part}.")]
        changed = [name for name in own if not torch.equal(before[name], after[name])]
        assert len(changed) > 0.9 * len(own), part
        statistics = [name for name in own if name.endswith("running_mean")]
        assert set(statistics) <= set(changed), part
    assert (info.data["stage"], info.data["hand"], info.data["size"]) == (stage, "open", SIZE)
    assert info.metrics[found.selection] >= 0
    assert seen == [3]
    load_handnet(tmp_path / "handnet.safetensors")


def _stir(network: nn.Module) -> None:
    """Statistics that no training step would leave as they are, and biases away from 0."""
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1, generator=generator)
                module.running_var.uniform_(0.5, 2, generator=generator)
                module.bias.normal_(0, 0.1, generator=generator)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_learns(batch: Batch, stage: str, tmp_path: Path) -> None:
    found = method(batch, stage)
    recipe = TrainRecipe(steps=8, lr=1e-3, schedule="constant", validate_every=8, save_every=8, log_every=1)
    train(found, recipe, out=tmp_path, resolved={}, device="cpu")
    losses = [float(line.split(",")[1]) for line in (tmp_path / "train.csv").read_text().splitlines()[1:]]
    assert losses[-1] < losses[0]


def test_a_stage_takes_no_notice_of_what_it_does_not_see(batch: Batch) -> None:
    other = {**batch, "image": 255 - batch["image"]}
    moved = {**batch, "keypoints": batch["keypoints"] + 0.1}
    for stage, sees_image, sees_keypoints in (
        ("image", True, False),
        ("keypoint", False, True),
        ("fusion", True, True),
    ):
        found = method(batch, stage)
        found.network.eval()
        with torch.no_grad():
            as_is, with_other, with_moved = (found.estimate(one).said.features for one in (batch, other, moved))
        assert torch.equal(as_is, with_other) != sees_image, stage
        assert torch.equal(as_is, with_moved) != sees_keypoints, stage


def test_measures_of_a_network_that_knows(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    found = method(batch, "finalize")
    said = numbers()

    def knows(given: Batch) -> Estimate:
        blind = bool((given["keypoint_scores"] == 0).all())
        return estimate(numbers(seed=5) if blind else said._replace(mask=None))

    monkeypatch.setattr(found, "estimate", knows)
    measured = found.validate(batch)
    for name in ("joints_2d_px", "joints_3d_mm", "pa_mpjpe_mm", "pa_mpvpe_mm"):
        assert measured[name].shape == (ROWS,)
        assert measured[name].max() < 1e-3, name
    assert measured["no_keypoints_pa_mpvpe_mm"].min() > 1
    assert found.selection == "pa_mpvpe_mm"
    assert found.shown is not None
    assert found.shown[0] is batch
    away = {**batch, "joints_2d": batch["joints_2d"] + torch.tensor([1 / UNIT, 0])}
    assert found.validate(away)["joints_2d_px"] == pytest.approx([1.0] * ROWS, abs=1e-4)


def test_measures_of_masks(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    found = method(batch, "segmentation")
    logits = 5 * (2 * batch["mask"].float() - 1)
    logits[1, :, :32] = -5.0
    some = {**batch, "mask_valid": torch.tensor([True, True, False, True])}
    monkeypatch.setattr(found, "estimate", lambda given: estimate(numbers()._replace(mask=logits)))
    measured = found.validate(some)
    assert set(measured) == {"mask_iou", "mask_miss", "mask_accuracy"}
    assert measured["mask_iou"].tolist() == [1, 0.5, pytest.approx(math.nan, nan_ok=True), 1]
    assert measured["mask_miss"][1] == 0.5
    assert measured["mask_accuracy"][1] == 1 - 32 * 12 / SIZE**2
    assert measured["mask_accuracy"][2].isnan()
    assert found.selection == "mask_miss"


def test_samples_without_vertices_are_left_out_of_their_mean(batch: Batch) -> None:
    found = method(batch, "image")
    some = {**batch, "vertices_valid": torch.tensor([True, False, True, True])}
    found.network.eval()
    with torch.no_grad():
        measured = found.validate(some)
    assert measured["pa_mpvpe_mm"].isnan().tolist() == [False, True, False, False]
    assert not measured["pa_mpjpe_mm"].isnan().any()


@pytest.mark.parametrize(
    ("inputs", "learns", "network", "said"),
    [
        ("both", ("fusion",), "keypoints", "sees images and keypoints, and the network keypoints"),
        ("image", ("keypoint_head",), "both", "sees images, of which keypoint_head learns nothing"),
        ("image", ("fusion",), "both", "of which fusion learns nothing"),
        ("keypoints", ("segmentation",), "both", "of which segmentation learns nothing"),
    ],
)
def test_stages_that_cannot_be_are_refused(inputs: Any, learns: Any, network: Any, said: str) -> None:
    with pytest.raises(HandkitError, match=said):
        check_stage("mine", StageRecipe(inputs=inputs, learns=learns), network)


def test_one_stage_for_all(batch: Batch) -> None:
    """Table 2's comparison: everything from a new network at once."""
    every = StageRecipe(inputs="both", learns=PARTS)
    found = method(batch, "finalize", settings=every)
    terms, _ = found.step(batch)
    assert {"pose", "mask"} <= set(terms)
    assert len(found.parameter_groups()[0]["params"]) == len(list(found.network.parameters()))


def test_the_recipe_says_which_stages_there_are() -> None:
    keypoints = load_recipe(HandNetRecipe, "handnet-keypoints")
    assert keypoints.stage_names == ["keypoint"]
    assert set(keypoints.stage("keypoint").learns) == {"keypoint_head", "tail", "regressor"}
    with pytest.raises(HandkitError, match="no stage 'image'") as raised:
        keypoints.stage("image")
    assert raised.value.fix == "it has keypoint"
    small = load_recipe(HandNetRecipe, "handnet-small")
    assert small.stage_names == list(STAGES)
    assert {name: small.stage(name).learns for name in STAGES} == {
        name: PUBLISHED.stage(name).learns for name in STAGES
    }
