"""HandNet's stereo stages on pairs of known hands."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from handkit.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle, ray_from_axis
from handkit.hand.model import load_hand
from handkit.hand.stereo import ViewOfHand, camera_of_wrist, to_left
from handkit.hand.weak import WeakPoseLayer
from handkit.methods.handnet_loss import HandNetLoss
from handkit.methods.handnet_recipe import LossRecipe
from handkit.methods.handnet_stereo import HandNetStereoMethod, fused_hand, measure_pairs, true_hand
from handkit.methods.handnet_stereo_recipe import FusedLossRecipe, StereoStageRecipe
from handkit.nets.handnet import HandNetOutput, extend_with_stereo
from handkit.nets.handnet_system import build_handnet
from handkit.train import TrainRecipe, train
from tests.methods.same import Same

PAIRS, SIZE = 6, 64
HAND = load_hand("open")
LAYER = WeakPoseLayer(HAND)
ERRORS = ("pa_mpvpe_mm", "wrist_mpvpe_mm", "camera_mpvpe_mm")


def view(orient: Tensor, wrist: Tensor, fingers: Tensor, betas: Tensor, focal: float) -> tuple[ViewOfHand, dict]:
    """What is true of one view, and its rows of a batch; the crop's middle is near the wrist."""
    K = torch.eye(3).repeat(PAIRS, 1, 1)
    K[:, 0, 0] = K[:, 1, 1] = focal
    K[:, :2, 2] = 0.6 - focal * wrist[:, :2] / wrist[:, 2:]
    pose = torch.cat([matrix_to_axis_angle(ray_from_axis(wrist).mT @ axis_angle_to_matrix(orient)), fingers], -1)
    true = ViewOfHand(pose, betas, camera_of_wrist(wrist, K), K)
    hand = LAYER(pose=pose, betas=betas, camera=true.camera)
    yes = torch.ones(PAIRS, dtype=torch.bool)
    rows = {
        "image": torch.randint(0, 256, (PAIRS, 3, SIZE, SIZE), dtype=torch.uint8),
        "keypoints": hand.joints_2d,
        "keypoint_scores": torch.ones(PAIRS, 21),
        "pose": pose,
        "pose_valid": yes,
        "betas": betas,
        "betas_valid": yes,
        "joints_2d": hand.joints_2d,
        "joints_2d_valid": yes[:, None].expand(-1, 21),
        "joints_3d": hand.joints,
        "joints_3d_valid": yes[:, None].expand(-1, 21),
        "vertices": hand.vertices,
        "vertices_valid": yes,
        "K": K * torch.tensor([SIZE, SIZE, 1.0])[:, None],
        "K_valid": yes,
        "wrist": wrist,
    }
    return true, rows


def pairs(seed: int = 0) -> tuple[HandNetOutput, dict[str, Any]]:
    """What a network would say if it said the truth, at weights of a half, and the batch."""
    torch.manual_seed(seed)
    wrist = torch.tensor([0.06, 0.0, 0.5]) + 0.05 * torch.randn(PAIRS, 3)
    orient, fingers, betas = torch.randn(PAIRS, 3), 0.2 * torch.randn(PAIRS, 45), torch.randn(PAIRS, 10)
    right_from_left = torch.eye(3, 4).repeat(PAIRS, 1, 1)
    right_from_left[:, 0, 3] = -0.12
    right, rows = view(orient, wrist, fingers, betas, focal=2.0)
    left, left_rows = view(orient, to_left(wrist[:, None], right_from_left)[:, 0], fingers, betas, focal=2.6)
    pose, betas, camera = (torch.cat(part) for part in zip(right[:3], left[:3], strict=True))
    said = HandNetOutput(pose, betas, camera, torch.zeros(2 * PAIRS, 512), None, torch.full((PAIRS, 48), 0.5))
    batch = {name: torch.cat([value, left_rows[name]]) for name, value in rows.items()}
    return said, {**batch, "right_from_left": right_from_left, "key": [f"{i}" for i in range(2 * PAIRS)]}


def method(network: Any, stage: str, learns: tuple[str, ...], **changes: Any) -> HandNetStereoMethod:
    settings: dict[str, Any] = {
        "settings": StereoStageRecipe(learns=learns),  # type: ignore[arg-type]
        "objective": HandNetLoss(LossRecipe()),
        "fused": FusedLossRecipe(),
        "camera": "average",
        "size": SIZE,
        "source": Same(pairs()[1]),
        "held_out": Same(pairs()[1]),
        "learned_from": {},
    }
    return HandNetStereoMethod(network, HAND, stage=stage, **{**settings, **changes})


def recipe(steps: int, lr: float) -> TrainRecipe:
    return TrainRecipe(
        steps=steps, optimizer="adam", lr=lr, schedule="constant", validate_every=steps, tensorboard=False
    )


def loss_of(own: HandNetStereoMethod) -> float:
    with torch.no_grad():
        return float(sum(own.step(pairs()[1])[0].values()))


def stereo_network(inputs: str = "both") -> Any:
    torch.manual_seed(1)
    return extend_with_stereo(build_handnet(backbone="regnet_x_400mf", inputs=inputs, sigma=0.05))


def test_the_truth_has_no_error() -> None:
    said, batch = pairs()
    measured = measure_pairs(said, batch, LAYER, size=SIZE)
    assert set(measured) == {f"{name}_{error}" for name in ("mono", "average", "triangulated") for error in ERRORS}
    for name, value in measured.items():
        assert value.shape == (PAIRS,)
        assert value.max() < 2e-3, name  # mm


def test_errors_say_what_is_wrong() -> None:
    """A hand too far away is wrong in the camera alone, which the rays put right; bent fingers are wrong everywhere."""
    said, batch = pairs()
    camera = said.camera * torch.tensor([0.8, 1.0, 1.0])
    far = measure_pairs(said._replace(camera=camera), batch, LAYER, size=SIZE)
    assert far["mono_camera_mpvpe_mm"].min() > 50
    assert far["average_camera_mpvpe_mm"].min() > 30
    assert far["triangulated_camera_mpvpe_mm"].max() < 1e-2
    assert far["mono_wrist_mpvpe_mm"].max() < 1e-2
    pose = said.pose.clone()
    pose[:PAIRS, 3:] += 0.2  # of the right views
    bent = measure_pairs(said._replace(pose=pose), batch, LAYER, size=SIZE)
    for error in ERRORS:
        assert bent[f"mono_{error}"].min() > 1
        assert (bent[f"average_{error}"] < 0.7 * bent[f"mono_{error}"]).all()
    left_alone = said._replace(pose=pose, weights=torch.zeros(PAIRS, 48))
    assert measure_pairs(left_alone, batch, LAYER, size=SIZE)["average_pa_mpvpe_mm"].max() < 1e-2


def test_the_fused_loss_is_eq_11() -> None:
    said, batch = pairs()
    said = said._replace(pose=said.pose + 0.1 * torch.randn_like(said.pose), camera=said.camera * 1.1)
    found, true = fused_hand(said, batch, LAYER, size=SIZE, camera="average"), true_hand(batch)
    weights = FusedLossRecipe(vertices=2.0, joints_3d=3.0, frame="camera")
    terms = method(stereo_network(), "stereo", ("stereo",), fused=weights)._fused_loss(said, batch)
    assert torch.allclose(terms["vertices"], 200 * (found.vertices - true.vertices).square().mean())
    assert torch.allclose(terms["joints_3d"], 300 * (found.joints - true.joints).square().mean())
    about = method(stereo_network(), "stereo", ("stereo",))._fused_loss(said, batch)
    assert about["vertices"] < terms["vertices"] / 2
    with pytest.raises(ValueError, match="pairs=True"):
        fused_hand(said._replace(weights=None), batch, LAYER, size=SIZE, camera="average")


@pytest.mark.parametrize(("stage", "part"), [("adaption", "adapted_head"), ("stereo", "stereo")])
def test_one_part_learns_and_the_rest_stays(stage: str, part: str, tmp_path: Path) -> None:
    network = stereo_network().eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    own = method(network, stage, (part,))
    losses = [loss_of(own)]
    train(own, recipe(8, 1e-3), out=tmp_path, resolved={}, device="cpu")
    network.eval()
    losses.append(loss_of(own))
    assert losses[1] < losses[0]
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all(name.startswith(f"{part}.") for name in changed)


def test_the_weights_find_the_better_view(tmp_path: Path) -> None:
    """Left views that say the truth, right ones that do not: w goes towards 0 where they differ."""
    said, batch = pairs()
    pose = said.pose.clone()
    pose[:PAIRS, 3:] += 0.3 * torch.randn(PAIRS, 45)
    features = torch.rand(2 * PAIRS, 512)

    class Says(torch.nn.Module):
        """A network whose weights alone learn."""

        inputs, sigma = "keypoints", 0.05

        def __init__(self) -> None:
            super().__init__()
            self.stereo = stereo_network("keypoints").stereo

        def describe(self) -> dict[str, Any]:
            return {}

        def part(self, name: str) -> torch.nn.Module:
            return self.get_submodule(name)

        def forward(self, images: None, heatmaps: Tensor, **_: Any) -> HandNetOutput:
            weights = self.stereo(torch.cat(features.chunk(2), 1))
            return said._replace(pose=pose, features=features, weights=weights)

    own = method(Says(), "stereo", ("stereo",))
    before = measure_pairs(own.estimate(batch, pairs=True), batch, LAYER, size=SIZE)
    train(own, recipe(100, 3e-4), out=tmp_path, resolved={}, device="cpu")
    said_after = own.estimate(batch, pairs=True)
    after = measure_pairs(said_after, batch, LAYER, size=SIZE)
    assert after["average_pa_mpvpe_mm"].mean() < 0.3 * before["average_pa_mpvpe_mm"].mean()
    assert torch.equal(after["mono_pa_mpvpe_mm"], before["mono_pa_mpvpe_mm"])
    assert said_after.weights is not None
    assert said_after.weights[:, 3:].median() < 0.2


def test_networks_of_one_input(tmp_path: Path) -> None:
    for inputs in ("keypoints", "image"):
        own = method(stereo_network(inputs), "stereo", ("stereo",))
        batch = dict(pairs()[1])
        del batch["image" if inputs == "keypoints" else "keypoints"]
        terms, _ = own.step(batch)
        assert set(terms) == {"vertices", "joints_3d"}
        assert all(value.isfinite() for value in terms.values())


def test_pictures_are_seen_by_the_adapted_head() -> None:
    network = stereo_network("image").eval()
    own, batch = method(network, "adaption", ("adapted_head",)), pairs()[1]
    first = own.estimate(batch, pairs=False)
    with torch.no_grad():
        for parameter in network.part("image_head").parameters():
            parameter.add_(1.0)
    assert torch.equal(own.estimate(batch, pairs=False).pose, first.pose)
    with torch.no_grad():
        for parameter in network.part("adapted_head").parameters():
            parameter.add_(1.0)
    assert not torch.equal(own.estimate(batch, pairs=False).pose, first.pose)
