"""The pose encoder's training: reconstruction of joints through the hand, for both read-outs (SeqHAND 3.2)."""

import itertools
from collections.abc import Iterator
from typing import Annotated, Any

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from handkit.fit.kinematics import JointModel, Pose
from handkit.hand.limits import LIMITS_DEG, angles_to_pose, joint_frames, pose_to_angles, sample_angles
from handkit.hand.model import HandModel
from handkit.metrics import mpjpe_mm
from handkit.nets.pose_encoder import EncodedPose, PoseEncoderNetwork, encoder_name
from handkit.recipe import Recipe
from handkit.synth.poses import canonicalize
from handkit.train import Place, TrainRecipe

_CM = 100.0
_TRAIN, _HELD_OUT = 0, 1  # the second part of a batch's seed


class NetworkRecipe(Recipe):
    """The network's size."""

    width: Annotated[int, Field(ge=8, le=4096)] = 512


class DataRecipe(Recipe):
    """Which hands are learned from; shares of a batch."""

    batch: Annotated[int, Field(ge=2)] = 512
    uniform: Annotated[float, Field(ge=0, le=1)] = 0.25
    mean_shape: Annotated[float, Field(ge=0, le=1)] = 0.25
    noisy: Annotated[float, Field(ge=0, le=1)] = 0.5
    noise_mm: Annotated[float, Field(ge=0)] = 1.0
    held_out: Annotated[int, Field(ge=1)] = 4000


class LossRecipe(Recipe):
    """Weights of the loss terms."""

    joints_45: Annotated[float, Field(ge=0)] = 1.0
    joints_10: Annotated[float, Field(ge=0)] = 1.0
    angles: Annotated[float, Field(ge=0)] = 1.0
    limits: Annotated[float, Field(ge=0)] = 0.3


class PoseEncoderRecipe(Recipe):
    """A run of `handkit pretrain pose-encoder`."""

    hand: str = "open"
    network: NetworkRecipe = NetworkRecipe()
    data: DataRecipe = DataRecipe()
    loss: LossRecipe = LossRecipe()
    train: TrainRecipe


class PoseEncoderMethod:
    """What `handkit.train.train` asks for.

    A batch holds canonical `seen` joints, the `joints` of the same hand (clean, metres, not turned), its `betas` and
    `angles`. Both read-outs are posed with the hand's true shape: the pose alone is to be found.
    """

    selection = "joints_45_mm"

    def __init__(self, recipe: PoseEncoderRecipe, hand: HandModel) -> None:
        self.recipe, self.hand, self.name = recipe, hand, encoder_name(hand.name)
        network = PoseEncoderNetwork(width=recipe.network.width)
        self.network: nn.Module = network
        self._network_arguments = network.describe()
        self._skeletons: dict[torch.device, JointModel] = {}
        self.frames = joint_frames(hand).float()
        self.components = torch.tensor(hand.hands_components[:10], dtype=torch.float32)
        self.mean = torch.tensor(hand.hands_mean, dtype=torch.float32)

    def parameter_groups(self) -> list[dict[str, Any]]:
        return [{"params": list(self.network.parameters())}]

    def batches(self, start: int, place: Place) -> Iterator[dict[str, Tensor]]:
        rows = place.share(self.recipe.data.batch)
        for number in itertools.count(start):
            whole = self.hands((self.recipe.train.seed, _TRAIN, number), self.recipe.data)
            yield {name: value[rows] for name, value in whole.items()}

    def hands(self, seed: tuple[int, ...], data: DataRecipe) -> dict[str, Tensor]:
        """A batch of random hands, as a seed and the shares say."""
        rng = np.random.default_rng(seed)
        even = round(data.batch * data.uniform)
        angles = np.concatenate(
            [sample_angles(data.batch - even, rng, "natural"), sample_angles(even, rng, "uniform")], dtype=np.float32
        )
        betas = rng.uniform(-2, 2, (data.batch, 10)).astype(np.float32)
        betas[rng.random(data.batch) < data.mean_shape] = 0
        sigma = rng.exponential(data.noise_mm / 1000, (data.batch, 1, 1)) * (
            rng.random((data.batch, 1, 1)) < data.noisy
        )
        noise = sigma * rng.standard_normal((data.batch, 21, 3))
        batch = {"angles": torch.from_numpy(angles), "betas": torch.from_numpy(betas)}
        batch["joints"] = self.pose(batch["angles"], batch["betas"])
        batch["seen"] = torch.from_numpy(canonicalize(batch["joints"].numpy() + noise.astype(np.float32)))
        return batch

    def step(self, batch: dict[str, Tensor]) -> tuple[dict[str, Tensor], EncodedPose]:
        weights = self.recipe.loss
        found: EncodedPose = self.network(batch["seen"])
        few = self.angles_of(found.coefficients)
        losses = {
            "joints_45": weights.joints_45 * _CM * self._distance(found.angles, batch),
            "joints_10": weights.joints_10 * _CM * self._distance(few, batch),
            "angles": weights.angles * (found.angles - batch["angles"]).square().mean(),
            "limits": weights.limits * self.beyond_limits(few).square().sum((-2, -1)).mean(),
        }
        return losses, found

    def validation_batches(self, place: Place) -> Iterator[dict[str, Tensor]]:
        yield {name: value[place.rank :: place.ranks] for name, value in self.held_out().items()}

    def held_out(self, **changes: float) -> dict[str, Tensor]:
        """Hands of no training batch: natural poses of the mean shape without noise, but for `changes` of shares."""
        clean = {"uniform": 0.0, "mean_shape": 1.0, "noisy": 0.0, **changes}
        data = self.recipe.data.model_copy(update={"batch": self.recipe.data.held_out, **clean})
        return self.hands((self.recipe.train.seed, _HELD_OUT), data)

    def validate(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        found: EncodedPose = self.network(batch["seen"])
        few = self.angles_of(found.coefficients)
        return {
            "joints_45_mm": mpjpe_mm(self.pose(found.angles, batch["betas"]), batch["joints"]),
            "joints_10_mm": mpjpe_mm(self.pose(few, batch["betas"]), batch["joints"]),
            "angles_45_deg": (found.angles - batch["angles"]).abs().mean((-2, -1)).rad2deg(),
            "beyond_limits_10_deg": self.beyond_limits(few).amax((-2, -1)).rad2deg(),
        }

    def describe(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return self._network_arguments, {"hand": self.hand.name, "poses": "sampled within the joint limits"}

    def pose(self, angles: Float[Tensor, "B 15 3"], betas: Float[Tensor, "B 10"]) -> Float[Tensor, "B 21 3"]:
        """Joints of the hand, not turned: `ManoLayer`'s without the mesh."""
        skeleton = self._skeletons.get(angles.device)
        if skeleton is None:
            skeleton = JointModel(self.hand, torch.float32, str(angles.device))
            self._skeletons[angles.device] = skeleton
        eye = torch.eye(3, device=angles.device).expand(len(angles), 3, 3)
        with torch.autocast(angles.device.type, enabled=False):
            return skeleton.forward(Pose(eye, torch.zeros_like(betas[:, :3]), angles.float()), betas)[0]

    def angles_of(self, coefficients: Float[Tensor, "B 10"]) -> Float[Tensor, "B 15 3"]:
        """Joint angles of PCA coefficients."""
        device = coefficients.device
        pose = self.mean.to(device) + coefficients.float() @ self.components.to(device)
        return pose_to_angles(pose, self.frames)

    def project(self, angles: Float[Tensor, "B 15 3"]) -> Float[Tensor, "B 10"]:
        """PCA coefficients of the nearest pose vector."""
        pose = angles_to_pose(angles, self.frames) - self.mean
        return pose @ torch.linalg.pinv(self.components)

    @staticmethod
    def beyond_limits(angles: Float[Tensor, "B 15 3"]) -> Float[Tensor, "B 15 3"]:
        """How far each angle is past its limit, rad."""
        low, high = torch.tensor(LIMITS_DEG).deg2rad().to(angles).unbind(-1)
        return torch.relu(angles - high) + torch.relu(low - angles)

    def _distance(self, angles: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """Mean joint distance in metres; smooth at zero."""
        gap = self.pose(angles, batch["betas"]) - batch["joints"]
        return (gap.square().sum(-1) + 1e-10).sqrt().mean()
