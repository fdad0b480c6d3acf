"""Self-supervision from pairs of known hands: terms, what is measured, and that learning them finds the hand."""

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from handkit.hand.model import load_hand
from handkit.methods.binocular import BinocularMethod
from handkit.methods.binocular_loss import BinocularLoss
from handkit.methods.binocular_measures import measure_agreement, measure_truth, true_pair
from handkit.methods.binocular_recipe import (
    PULL,
    TERMS,
    BinocularFormsRecipe,
    BinocularLossRecipe,
    BinocularRecipe,
    pull_ends,
)
from handkit.methods.binocular_views import place_pairs, prior_meshes, seen_by_both
from handkit.methods.hand_prior_recipe import prior_training
from handkit.nets.lixel import LixelNetwork, LixelOutput
from handkit.recipe import load_recipe
from handkit.train import Place, TrainRecipe, train
from tests.methods.binocular_pairs import SIZE, batch_of, make_shards, small_prior, truth_of
from tests.methods.same import Same

PAIRS = 6
HAND = load_hand("open")
EDGES = {**dict.fromkeys(TERMS, 0.0), "edges": 1.0}
FORMS = BinocularFormsRecipe(appearance_px=64, silhouette_px=64)


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return batch_of(make_shards(tmp_path_factory.mktemp("pairs") / "stereo", PAIRS), PAIRS)


def objective(forms: BinocularFormsRecipe = FORMS, **weights: Any) -> BinocularLoss:
    return BinocularLoss(BinocularLossRecipe(**weights), forms, HAND, size=SIZE)


def terms_of(points: Tensor, batch: dict[str, Any], prior: LixelOutput | None = None, **weights: Any) -> dict[str, Any]:
    return objective(**weights)(points, prior or truth_of(batch), batch, pulled=1.0)


def moved(points: Tensor, *, right: tuple[float, float], left: tuple[float, float]) -> Tensor:
    first, second = points.chunk(2)
    return torch.cat([first + points.new_tensor(right), second + points.new_tensor(left)])


def test_the_truth_is_where_the_rays_meet(batch: dict[str, Any]) -> None:
    pair = place_pairs(truth_of(batch).points, batch, size=SIZE)
    true = true_pair(batch)
    assert true.vertices_known.all()
    assert (pair.found.right - true.vertices).abs().max() < 1e-4
    for name, error in measure_truth(pair, batch, HAND).items():
        assert error.shape == (PAIRS,)
        assert error.max() < (1.5 if name == "mpjpe_mm" else 0.05), name  # joints of a mesh are not the layer's
    agreement = measure_agreement(pair, batch, HAND, FORMS, size=SIZE)
    assert agreement["epipolar_gap_px"].max() < 1e-3
    assert agreement["silhouette_iou"].min() > 0.9


def test_errors_say_what_is_wrong(batch: dict[str, Any]) -> None:
    points = truth_of(batch).points
    up = place_pairs(moved(points, right=(0, 0.02), left=(0, -0.02)), batch, size=SIZE)
    gap = measure_agreement(up, batch, HAND, FORMS, size=SIZE)["epipolar_gap_px"]
    assert torch.allclose(gap, torch.full_like(gap, 0.04 * SIZE), rtol=0.2)  # views' scales differ a little
    near = place_pairs(moved(points, right=(-0.02, 0), left=(0.02, 0)), batch, size=SIZE)
    errors = measure_truth(near, batch, HAND)
    assert errors["depth_mm"].min() > 5
    assert (errors["mpvpe_mm"] >= errors["depth_mm"] - 1).all()
    assert (errors["pa_mpvpe_mm"] < 0.3 * errors["mpvpe_mm"]).all()


def test_the_prior_stands_where_the_pair_is(batch: dict[str, Any]) -> None:
    truth = truth_of(batch)
    pair = place_pairs(truth.points, batch, size=SIZE)
    meshes = prior_meshes(truth, pair, HAND)
    assert (meshes.right - true_pair(batch).vertices).norm(dim=-1).max() < 1e-3
    assert (meshes.left - pair.found.left).norm(dim=-1).max() < 1e-3
    both = seen_by_both(truth, meshes, torch.tensor(HAND.faces), size=128)
    assert 0.2 < both.float().mean() < 0.7
    with pytest.raises(ValueError, match="must say depth"):
        prior_meshes(truth._replace(depth=None), pair, HAND)


def test_terms_of_the_truth_are_least(batch: dict[str, Any]) -> None:
    truth = truth_of(batch)
    at_truth = terms_of(truth.points, batch)
    assert list(at_truth) == [*TERMS, PULL]
    for name, most in {"epipolar": 1e-6, "edges": 1e-3, "normals": 1e-2, PULL: 1e-3}.items():
        assert at_truth[name] < most, name
    torch.manual_seed(0)
    noisy = truth.points + 0.01 * torch.randn_like(truth.points)
    changes = {
        "epipolar": moved(truth.points, right=(0, 0.05), left=(0, 0)),
        "appearance": noisy,
        "edges": noisy,
        "normals": noisy,
        "silhouette": moved(truth.points, right=(0.1, 0), left=(0.1, 0)),
        PULL: noisy,
    }
    for name, points in changes.items():
        assert terms_of(points, batch)[name] > 1.1 * at_truth[name] + 1e-4, name


def test_edges_are_held_to_the_priors_mesh_or_to_the_mean_hand(batch: dict[str, Any]) -> None:
    true = truth_of(batch)
    middle = true.points.mean(1, keepdim=True)
    collapsed = true._replace(points=middle + 0.1 * (true.points - middle))
    to_prior, to_mean = (objective(FORMS.model_copy(update={"edges_of": kind}), **EDGES) for kind in ("prior", "mean"))

    def edges(term: BinocularLoss, prior: LixelOutput) -> float:
        return float(term(true.points, prior, batch, pulled=None)["edges"])

    assert edges(to_prior, true) < 1e-3 < edges(to_mean, true) < 0.5 * edges(to_prior, collapsed)
    assert edges(to_mean, collapsed) == edges(to_mean, true)


def test_one_shape_is_of_frames_of_one_hand(batch: dict[str, Any]) -> None:
    points = truth_of(batch).points.clone()
    points[0] = 0.5 + 1.2 * (points[0] - 0.5)
    assert terms_of(points, batch)["one_shape"] == 0
    together = {**batch, "sequence": torch.zeros(PAIRS, dtype=torch.int64)}
    assert terms_of(points, together)["one_shape"] > 0


def test_hands_without_a_mask_do_not_count_in_silhouettes(batch: dict[str, Any]) -> None:
    points = moved(truth_of(batch).points, right=(0.2, 0), left=(0, 0))
    seen = batch["mask_valid"].clone()
    seen[:PAIRS] = False
    half, none = ({**batch, "mask_valid": valid} for valid in (seen, torch.zeros_like(seen)))
    assert terms_of(points, half)["silhouette"] < 0.5 * terms_of(points, batch)["silhouette"]
    assert terms_of(points, none)["silhouette"] == 0
    pair = place_pairs(points, batch, size=SIZE)
    assert measure_agreement(pair, none, HAND, FORMS, size=SIZE)["silhouette_iou"].isnan().all()


@pytest.mark.parametrize("name", TERMS)
def test_weights_weigh_and_leave_out(name: str, batch: dict[str, Any]) -> None:
    torch.manual_seed(1)
    together = {**batch, "sequence": torch.zeros(PAIRS, dtype=torch.int64)}
    points = truth_of(batch).points + 0.01 * torch.randn(2 * PAIRS, 778, 2)
    alone = dict.fromkeys(TERMS, 0.0)
    once, thrice = (terms_of(points, together, **{**alone, name: weight}) for weight in (0.5, 1.5))
    assert list(once) == [name, PULL]
    assert torch.allclose(3 * once[name], thrice[name])
    assert once[name] > 0
    without = terms_of(points, together, **{name: 0.0})
    assert set(without) == {*TERMS, PULL} - {name}


def test_coarse_silhouettes_are_part_of_their_term(batch: dict[str, Any]) -> None:
    points, truth = moved(truth_of(batch).points, right=(0.1, 0), left=(0.1, 0)), truth_of(batch)
    fine = objective(FORMS.model_copy(update={"coarse": 0.0}))(points, truth, batch, pulled=None)
    both = objective()(points, truth, batch, pulled=None)
    assert both["silhouette"] > 1.1 * fine["silhouette"]
    assert PULL not in both


def test_a_pull_alone_teaches_nothing() -> None:
    with pytest.raises(ValidationError, match="a prior's pull alone teaches nothing"):
        BinocularLossRecipe(**dict.fromkeys(TERMS, 0.0))


def test_published_numbers_and_when_the_pull_ends() -> None:
    settings = load_recipe(BinocularRecipe, "binocular")
    training = prior_training(settings.train, settings.learning, samples=13_500)
    per_epoch = 3375  # batches of four
    assert (training.steps, training.lr, training.optimizer) == (13 * per_epoch, 1e-5, "adam")
    assert training.milestones == (8 * per_epoch, 10 * per_epoch)
    assert training.factor == 0.1
    assert training.norm_rests_from is None
    assert pull_ends(settings, 1000) == round(1000 * settings.loss.prior_decay)
    small = load_recipe(BinocularRecipe, "binocular-small", ["learning.steps=130", "loss.prior_decay=off"])
    short = prior_training(small.train, small.learning, samples=9)
    assert (short.steps, short.milestones, short.norm_rests_from) == (130, (80, 100), 52)
    assert pull_ends(small, 130) is None


def method(prior: LixelNetwork, batch: dict[str, Any], **changes: Any) -> BinocularMethod:
    given: dict[str, Any] = {"objective": objective(), "pull_ends": 10, "learned_from": {}}
    source = Same(batch)
    return BinocularMethod(prior, HAND, source=source, held_out=source, **{**given, **changes})


def test_the_pull_falls_with_the_step(batch: dict[str, Any]) -> None:
    own = method(small_prior(), batch, accumulate=2)
    numbered = own.batches(6, Place())
    assert [next(numbered)["step"] for _ in range(4)] == [3, 3, 4, 4]
    assert [own.pulled(step) for step in (0, 5, 10, 99)] == [1.0, 0.5, 0.0, 0.0]
    assert method(small_prior(), batch, pull_ends=None).pulled(99) == 1.0
    points = truth_of(batch).points + 0.01
    whole, half = (objective()(points, truth_of(batch), batch, pulled=share)[PULL] for share in (1.0, 0.5))
    assert torch.allclose(whole, 2 * half)


def test_the_network_learns_and_the_prior_stays(batch: dict[str, Any], tmp_path: Path) -> None:
    prior = small_prior()
    before = {name: value.clone() for name, value in prior.state_dict().items()}
    own = method(prior, batch)
    first = own.estimate(batch)
    assert torch.equal(first.said.points, first.prior.points)
    assert first.said.depth is None
    recipe = TrainRecipe(steps=3, optimizer="adam", lr=1e-3, schedule="constant", validate_every=3, tensorboard=False)
    train(own, recipe, out=tmp_path, resolved={}, device="cpu")
    assert all(torch.equal(value, before[name]) for name, value in prior.state_dict().items())
    after = own.network.state_dict()
    changed = [name for name, value in after.items() if "running" not in name and "num_" not in name]
    assert all(not torch.equal(after[name], before[name]) for name in changed if name.startswith(("x.", "y.")))
    assert not any(name.startswith("depth.") for name in after)


def test_figures_without_truth_or_masks_are_left_out(batch: dict[str, Any]) -> None:
    own = method(small_prior(), batch)
    with torch.no_grad():
        whole = own.validate(batch)
    truth = {"mpvpe_mm", "mpjpe_mm", "depth_mm", "pa_mpvpe_mm"}
    assert set(whole) == {"unlabelled_loss", "epipolar_gap_px", "silhouette_iou", *truth}
    assert all(len(value) == PAIRS for value in whole.values())
    bare = {key: torch.zeros_like(value) if key.endswith("_valid") else value for key, value in batch.items()}
    with torch.no_grad():
        assert set(own.validate(bare)) == {"unlabelled_loss", "epipolar_gap_px"}


def test_labels_change_nothing_that_is_learned_or_chosen_by(batch: dict[str, Any]) -> None:
    torch.manual_seed(2)
    labels = ("joints_2d", "joints_3d", "vertices", "wrist", "pose", "betas")
    wrong = {key: torch.randn_like(value) if key in labels else value for key, value in batch.items()}
    own = method(small_prior(), batch)
    with torch.no_grad():
        terms, others = (own.step({**each, "step": 0})[0] for each in (batch, wrong))
        chosen = [own.validate(each)["unlabelled_loss"] for each in (batch, wrong)]
    assert all(torch.equal(terms[name], others[name]) for name in terms)
    assert torch.equal(*chosen)


def test_what_views_agree_in_finds_the_hand(batch: dict[str, Any]) -> None:
    """Points that start some pixels off, in either view its own way, come nearer to the truth, without labels."""
    torch.manual_seed(3)
    truth = truth_of(batch)
    off = moved(truth.points, right=(0.03, 0.03), left=(-0.03, -0.02)) + 0.004 * torch.randn_like(truth.points)
    prior = LixelOutput(off, truth.depth)
    shift = torch.zeros(2 * PAIRS, 1, 2, requires_grad=True)
    each = torch.zeros_like(off, requires_grad=True)
    optimizer = torch.optim.Adam([{"params": [shift], "lr": 2e-3}, {"params": [each], "lr": 2e-4}])
    loss = objective()

    def error() -> float:
        found = place_pairs((off + shift + each).detach(), batch, size=SIZE)
        return float(measure_truth(found, batch, HAND)["mpvpe_mm"].mean())

    before = error()
    for step in range(60):
        optimizer.zero_grad()
        terms = loss(off + shift + each, prior, batch, pulled=max(0.0, 1 - step / 30))
        torch.stack(list(terms.values())).sum().backward()
        optimizer.step()
    assert error() < 0.5 * before
