"""S2HAND's training: the objective of each stage, what learns in it, and what is measured."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from handkit.checkpoint import read_checkpoint
from handkit.data.sample import float_images
from handkit.fit.landmarks import LANDMARKS
from handkit.geometry.cameras import K_from_focal
from handkit.hand.model import load_hand
from handkit.hand.scaled import ScaledHandLayer, ScaledHandOutput
from handkit.methods.s2hand import S2HandMethod, hand_size
from handkit.methods.s2hand_loss import UNIT, Estimate, S2HandLoss, mean_bone_m, rotations_of, target_of
from handkit.methods.s2hand_picture import foreground, render_hands
from handkit.methods.s2hand_recipe import (
    TERMS,
    CommonTrainRecipe,
    LossRecipe,
    RenderRecipe,
    StageRecipe,
    WeightRecipe,
    stage_training,
    term_weights,
)
from handkit.nets.s2hand import S2HandOutput
from handkit.nets.s2hand_system import S2HandSystem, build_system, load_system
from handkit.recipe import load_recipe
from handkit.runs.s2hand import S2HandRecipe
from handkit.train import TrainRecipe, seed_all, train
from tests.methods.same import Same

HAND = load_hand("open", "right")
WIDTH = 64
SMALL = {"stacks": 2, "features": 32, "modules": 1}
Batch = dict[str, Any]


def hands(count: int = 3, frames: int = 2, seed: int = 0) -> S2HandOutput:
    """Hands as a network would say them, moving a little."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(count, frames, *shape, generator=generator)

    return S2HandOutput(
        pca=0.2 * draw(30),
        betas=0.3 * draw(10),
        scale=0.9 + 0.02 * draw(),
        orient=torch.tensor([0.1, 0.9, 0.2]) + 0.1 * draw(3),
        transl=torch.tensor([0.0, 0.0, 0.65]) + 0.02 * draw(3),
        texture=torch.rand(count, frames, 1538, 3, generator=generator),
        light=torch.tensor([0.6, 0.5] + [1.0] * 6 + [-0.3, -0.5, -0.8]).expand(count, frames, 11),
    )


def cameras(count: int = 3, frames: int = 2) -> Tensor:
    return K_from_focal(torch.full((count, frames), 480 / 224 * WIDTH), WIDTH, WIDTH)


def posed(hand: S2HandOutput) -> ScaledHandOutput:
    numbers = {name: getattr(hand, name) for name in ("pca", "betas", "scale", "orient", "transl")}
    return ScaledHandLayer(HAND)(**numbers, K=cameras(*hand.scale.shape), width=WIDTH)


def seen_by_detector(out: ScaledHandOutput) -> Tensor:
    matrix = LANDMARKS["mediapipe"].matrix(HAND.name)
    assert matrix is not None
    return matrix.float() @ out.joints_2d


@pytest.fixture(scope="module")
def batch() -> Batch:
    """Pictures of known hands, drawn by the method's own rasteriser, with perfect detections."""
    hand = hands()
    out = posed(hand)
    generator = torch.Generator().manual_seed(1)
    behind = 0.2 * torch.rand(*hand.scale.shape, 3, WIDTH, WIDTH, generator=generator)
    faces = torch.tensor(HAND.faces)
    picture = render_hands(hand, out, faces, width=WIDTH, size=WIDTH, settings=RenderRecipe(), background=behind)
    leading = hand.scale.shape
    return {
        "image": (255 * picture.rgb.clamp(0, 1)).round().to(torch.uint8),
        "K": cameras(),
        "keypoints_2d": seen_by_detector(out),
        "keypoint_scores": torch.full((*leading, 21), 0.9),
        "joints_2d": out.joints_2d,
        "joints_2d_valid": torch.ones(*leading, 21, dtype=torch.bool),
        "joints_3d": out.joints,
        "joints_3d_valid": torch.ones(*leading, 21, dtype=torch.bool),
        "key": ["a", "b", "c"],
    }


def estimate(hand: S2HandOutput, *, over: Tensor | None = None) -> Estimate:
    out = posed(hand)
    if over is None:
        return Estimate(hand, out, None, None)
    faces = torch.tensor(HAND.faces)
    size = over.shape[-1]
    picture = render_hands(hand, out, faces, width=WIDTH, size=size, settings=RenderRecipe(), background=over)
    return Estimate(hand, out, None, picture)


def method(batch: Batch, stage: str, *, loss: LossRecipe | None = None, has_keypoints: bool = True) -> S2HandMethod:
    seed_all(0)
    loss = loss or LossRecipe(render=RenderRecipe(size=32))
    network = build_system(
        hand=None if stage == "keypoints" else {"drop_path": 0.0},
        keypoints=SMALL if stage != "hand" and has_keypoints else None,
    )
    objective = S2HandLoss(loss, HAND, stage=stage, frames=2, has_keypoints=network.keypoints is not None)
    return S2HandMethod(
        network,
        HAND,
        stage=stage,
        objective=objective,
        render=loss.render,
        source=Same(batch),
        held_out=Same(batch),
        learned_from={"size": WIDTH},
    )


def test_convention_published_weights() -> None:
    """4.3, products along Eq. 1, 2, 5, 8, 9, 23; Eq. 21's sum over n = 3 frames is put in."""
    assert term_weights(LossRecipe(), 3) == pytest.approx(
        {
            "location": 0.001,
            "orientation": 0.1,
            "pixel": 0.005,
            "ssim": 0.001,
            "color": 0,
            "shape": 0.01,
            "texture": 0.005,
            "scale": 0.1,
            "limits": 0.1,
            "estimated": 0.001,
            "consistency": 0.0002,
            "quaternion": 0.05,
            "texture_shape": 0.03,
            "temporal": 0,
            "smooth": 0,
        }
    )
    assert term_weights(LossRecipe(factors={"pixel": 0.5}), 3)["pixel"] == pytest.approx(0.0025)
    assert set(term_weights(LossRecipe(), 1)) == set(TERMS)


def test_convention_published_schedules() -> None:
    settings = load_recipe(S2HandRecipe, "s2hand")
    apart = stage_training(settings.train, settings.stages.hand, frames=6400, batch=64)
    assert (apart.steps, apart.milestones, apart.factor, apart.lr) == (9000, (3000, 6000), 0.5, 1e-3)
    video = stage_training(settings.train, settings.stages.video, frames=6300, batch=63)
    assert (video.steps, video.milestones) == (6000, (2000, 4000))
    assert (video.factor, video.lr) == (pytest.approx(1 / 3), 2.5e-4)
    assert (video.optimizer, video.betas) == ("adam", (0.9, 0.999))


def test_steps_take_the_schedule_along() -> None:
    stage = StageRecipe(steps=900, epochs=90, drop_every=30, norm_share=0.25)
    found = stage_training(CommonTrainRecipe(), stage, frames=10, batch=64)
    assert (found.steps, found.milestones, found.norm_rests_from) == (900, (300, 600), 225)


def test_the_truth_costs_only_what_regularises(batch: Batch) -> None:
    hand = hands()
    objective = S2HandLoss(LossRecipe(), HAND, stage="video", frames=2, has_keypoints=False)
    terms = objective(estimate(hand, over=float_images(batch["image"])), batch)
    for name in ("location", "orientation"):
        assert terms[name] < 1e-6, name
    assert terms["pixel"] < 1e-3  # the picture is rounded to bytes
    assert terms["ssim"] < 1e-4
    assert {name for name, value in terms.items() if value > 1e-3} <= {
        "shape",
        "scale",
        "limits",
        "texture_shape",
        "quaternion",
    }


def test_another_hand_costs_more(batch: Batch) -> None:
    objective = S2HandLoss(LossRecipe(), HAND, stage="hand")
    over = float_images(batch["image"])
    true, other = objective(estimate(hands(), over=over), batch), objective(estimate(hands(seed=5), over=over), batch)
    for name in ("location", "orientation", "pixel", "ssim"):
        assert other[name] > true[name] + 1e-5, name


def test_terms_are_weights_times_losses(batch: Batch) -> None:
    found = estimate(hands(seed=3), over=float_images(batch["image"]))
    plain = S2HandLoss(LossRecipe(), HAND, stage="video", frames=2, has_keypoints=False)(found, batch)
    doubled = LossRecipe(factors=dict.fromkeys(TERMS, 2.0))
    twice = S2HandLoss(doubled, HAND, stage="video", frames=2, has_keypoints=False)(found, batch)
    assert set(plain) == set(twice)
    for name, value in plain.items():
        assert twice[name] == pytest.approx(2 * float(value)), name


def test_pixels_are_counted_alike_at_any_size(batch: Batch) -> None:
    """The same hand in a crop of twice as many pixels costs as much."""
    objective = S2HandLoss(LossRecipe(), HAND, stage="hand", without=("pixel", "ssim", "texture"))
    found = estimate(hands(seed=3))
    assert found.out is not None
    larger = found._replace(out=found.out._replace(joints_2d=2 * found.out.joints_2d))
    pictures = batch["image"].repeat_interleave(2, -1).repeat_interleave(2, -2)
    changed = {**batch, "image": pictures, "keypoints_2d": 2 * batch["keypoints_2d"]}
    for name, value in objective(found, batch).items():
        assert objective(larger, changed)[name] == pytest.approx(float(value), rel=1e-4), name
    assert target_of(batch, "self").keypoints.max() > UNIT / 4


def test_stages_have_their_terms() -> None:
    def terms(stage: str, **given: Any) -> set[str]:
        return set(S2HandLoss(LossRecipe(), HAND, stage=stage, frames=3, **given).weights)

    geometry, pixels = {"location", "orientation", "shape", "scale", "limits"}, {"pixel", "ssim", "texture"}
    assert terms("hand") == geometry | pixels
    assert terms("keypoints") == {"estimated"}
    assert terms("images") == geometry | pixels | {"estimated", "consistency"}
    assert terms("video") - terms("images") == {"quaternion", "texture_shape"}
    assert terms("images", has_keypoints=False) == geometry | pixels
    assert terms("hand", without=("pixel", "ssim")) == geometry  # a texture that nothing looks at is not learned
    assert terms("video", without=("pixel", "ssim"), has_keypoints=False) == geometry | {"quaternion"}


def test_terms_to_compare_with() -> None:
    weights = WeightRecipe(w_quat=0.0, temporal=1.0, smooth=2.0)
    found = S2HandLoss(LossRecipe(weights=weights), HAND, stage="video", frames=3)
    assert {"temporal", "smooth"} <= set(found.weights)
    assert "quaternion" not in found.weights


def test_a_still_hand_has_no_cost_over_time(batch: Batch) -> None:
    hand = S2HandOutput(*(value[:, :1].expand(-1, 2, *value.shape[2:]) for value in hands() if value is not None))
    weights = WeightRecipe(temporal=1.0, smooth=1.0)
    objective = S2HandLoss(LossRecipe(weights=weights), HAND, stage="video", frames=2, has_keypoints=False)
    terms = objective(estimate(hand, over=float_images(batch["image"])), batch)
    for name in ("quaternion", "texture_shape", "temporal", "smooth"):
        assert terms[name] == 0, name


def test_the_released_form_is_another(batch: Batch) -> None:
    found = estimate(hands(seed=3), over=float_images(batch["image"]))
    released, paper = (
        S2HandLoss(LossRecipe(form=form), HAND, stage="hand")(found, batch) for form in ("released", "paper")
    )
    for name in ("location", "shape", "pixel"):
        assert released[name] != pytest.approx(float(paper[name]), rel=1e-3), name
    for name in ("orientation", "limits", "scale"):
        assert released[name] == pytest.approx(float(paper[name])), name


def test_bone_length_is_the_models_own_unless_told(batch: Batch) -> None:
    found = estimate(hands())
    assert mean_bone_m(HAND) == pytest.approx(0.0405, abs=2e-4)
    without = ("pixel", "ssim", "texture")
    own = S2HandLoss(LossRecipe(), HAND, stage="hand", without=without)(found, batch)["scale"]
    told = S2HandLoss(LossRecipe(bone_length_m=0.0282), HAND, stage="hand", without=without)(found, batch)["scale"]
    assert own < 0.1 * 0.004 < told


def test_weak_supervision_learns_from_true_joints_all_alike(batch: Batch) -> None:
    changed = {**batch, "joints_2d": batch["joints_2d"] + 5, "keypoint_scores": 0 * batch["keypoint_scores"]}
    found = estimate(hands())
    without = ("pixel", "ssim", "texture")
    weak = S2HandLoss(LossRecipe(), HAND, stage="hand", supervision="weak", without=without)
    assert weak(found, batch)["location"] < 1e-6
    assert weak(found, changed)["location"] > 1e-3
    assert S2HandLoss(LossRecipe(), HAND, stage="hand", without=without)(found, changed)["location"] == 0
    assert bool((target_of(changed, "weak").confidence == 1).all())


def test_rotations_are_the_hands_own_and_its_joints() -> None:
    hand = hands()
    turns = rotations_of(hand, posed(hand))
    assert turns.shape == (3, 2, 16, 3)
    assert torch.equal(turns[..., 0, :], hand.orient)
    pose = torch.tensor(HAND.hands_mean).float() + hand.pca @ torch.tensor(HAND.hands_components[:30]).float()
    assert torch.allclose(turns[..., 1:, :].flatten(-2), pose, atol=1e-6)


def test_the_picture_has_the_hand_in_place(batch: Batch) -> None:
    found = estimate(hands(), over=float_images(batch["image"]))
    assert found.out is not None
    assert found.picture is not None
    inside = foreground(found.picture)
    assert set(inside.unique().tolist()) == {0.0, 1.0}
    joints = found.out.joints_2d.long()[0, 0]
    palm = joints[[0, 5, 9, 13]].float().mean(0).long()
    assert inside[0, 0, palm[1], palm[0]] == 1
    assert 0.02 < inside.mean() < 0.5


def test_an_edge_over_its_own_picture_is_no_error() -> None:
    """On one colour everywhere, that of the hand, nothing asks the hand to grow or to move."""
    hand = hands()
    flat = S2HandOutput(
        *hand[:5], texture=torch.full_like(hand.texture, 0.5), light=torch.tensor([1.0, 0] + [1.0] * 9).expand(3, 2, 11)
    )  # type: ignore[arg-type]
    leaves = flat._replace(transl=flat.transl.clone().requires_grad_(), scale=flat.scale.clone().requires_grad_())
    found = estimate(leaves, over=torch.full((3, 2, 3, WIDTH, WIDTH), 0.5))
    assert found.picture is not None
    (found.picture.rgb - 0.5).abs().sum().backward()
    assert leaves.transl.grad is not None
    assert leaves.transl.grad.abs().max() < 1e-3


@pytest.mark.parametrize("stage", ["hand", "keypoints", "images", "video"])
def test_a_stage_learns_and_is_kept(batch: Batch, stage: str, tmp_path: Path) -> None:
    found = method(batch, stage)
    first = sum(float(value.detach()) for value in found.step(batch)[0].values())
    recipe = TrainRecipe(steps=6, lr=1e-3, schedule="constant", validate_every=6, save_every=6, log_every=1)
    seen: list[int] = []
    train(found, recipe, out=tmp_path, resolved={}, device="cpu", on_validated=seen.append)
    last = sum(float(value.detach()) for value in found.step(batch)[0].values())
    assert last < first
    assert seen == [6]
    info, _ = read_checkpoint(tmp_path / "s2hand.safetensors")
    assert info.data["stage"] == stage
    assert info.metrics[found.selection] > 0
    system, _ = load_system(tmp_path / "s2hand.safetensors")
    assert (system.hand is None) == (stage == "keypoints")
    assert (system.keypoints is None) == (stage == "hand")


def test_without_pixels_the_appearance_stays(batch: Batch) -> None:
    found = method(batch, "hand", loss=LossRecipe(factors={"pixel": 0, "ssim": 0}))
    network = found.network
    assert isinstance(network, S2HandSystem)
    assert network.hand is not None
    learning = {id(parameter) for parameter in found.parameter_groups()[0]["params"]}
    assert not learning & {id(parameter) for parameter in network.hand.appearance_parameters()}
    assert learning == {id(parameter) for parameter in network.hand.geometry_parameters()}
    assert found.estimate(batch, want_picture=False).hand.texture is None  # type: ignore[union-attr]


def test_every_learning_parameter_has_a_part_in_the_loss(batch: Batch) -> None:
    for stage in ("hand", "keypoints", "images", "video"):
        found = method(batch, stage)
        torch.stack(list(found.step(batch)[0].values())).sum().backward()
        assert isinstance(found.network, nn.Module)
        for name, parameter in found.network.named_parameters():
            if any(parameter is one for one in found.parameter_groups()[0]["params"]):
                assert parameter.grad is not None, (stage, name)
                assert parameter.grad.isfinite().all(), (stage, name)


def test_measures_of_a_network_that_knows(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    found = method(batch, "video")
    hand = hands()
    knows = Estimate(hand, posed(hand), None, None)
    monkeypatch.setattr(found, "estimate", lambda batch, want_picture: knows)
    measured = found.validate(batch)
    assert measured["projected_px"].max() < 1e-3
    assert measured["joints_3d_pa_mm"].max() < 1e-3
    assert measured["shape_sd"].shape == (3,)
    assert set(measured) >= {"projected_percent", "quaternion_rad", "texture_sd"}
    assert found.shown is not None


def test_hand_size_is_the_larger_side_of_what_is_known() -> None:
    points = torch.tensor([[0.0, 0], [10, 4], [500, 500]])
    assert hand_size(points, torch.tensor([True, True, False])) == 10
    assert math.isnan(float(hand_size(points, torch.tensor([True, False, False]))))
