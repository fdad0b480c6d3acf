"""The hand prior's training: crops of single hands to meshes in lixels (I2L-MeshNet, Moon & Lee, ECCV 2020).

A batch is flat rows of right hands' crops, as `handkit.data.handnet_batches` makes them. The network says where
vertices are seen, in widths, and their depth behind joint 9 along the ray through the wrist.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple, Protocol, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from handkit.data.lixel_targets import ROOT, lixel_targets
from handkit.data.sample import float_images
from handkit.data.staged_batches import Batch, BatchSource
from handkit.geometry.cameras import backproject
from handkit.geometry.rotations import ray_from_axis
from handkit.hand.mesh_joints import joints_of_mesh
from handkit.hand.model import HandModel
from handkit.methods.hand_prior_loss import HandPriorLoss
from handkit.metrics import epe_2d_px, pa_mpjpe_mm
from handkit.metrics.points import masked_mean
from handkit.nets.lixel import LixelNetwork, LixelOutput
from handkit.train import Place

NAME: Final = "hand-prior"
UNIT: Final = 224  # px of the crop's width in which 2D errors are told
_MM_PER_M: Final = 1000
_AHEAD: Final = (0.0, 0.0, 1.0)


class HeldOutBatches(Protocol):
    """Batches that are always the same ones, for the choice of the best weights."""

    def batches(self, place: Place) -> Iterator[Batch]: ...


class Estimate(NamedTuple):
    """What the network says of a batch, and what is true of it (`lixel_targets`)."""

    said: LixelOutput
    targets: dict[str, Tensor]


class HandPriorMethod:
    """What `handkit.train.train` asks for: a lixel network with depth on crops of `size` px.

    The best weights are those of the least Procrustes-aligned error of the held-out hands' vertices. `shown` holds the
    first held-out batch and what was last said of it, for previews.
    """

    name = NAME
    selection = "pa_mpvpe_mm"

    def __init__(
        self,
        network: LixelNetwork,
        hand: HandModel,
        *,
        objective: HandPriorLoss,
        size: int,
        source: BatchSource,
        held_out: HeldOutBatches,
        learned_from: dict[str, Any],
    ) -> None:
        self.network: torch.nn.Module = network
        self.hand, self.objective, self.size = hand, objective, size
        self.source, self.held_out = source, held_out
        self._described = network.describe()
        self._learned_from = {"hand": hand.name, "size": size, **learned_from}
        self.shown: tuple[Batch, Estimate] | None = None

    def parameter_groups(self) -> list[dict[str, Any]]:
        return [{"params": list(self.network.parameters())}]

    def batches(self, start: int, place: Place) -> Iterator[Batch]:
        return self.source.batches(start, place)

    def step(self, batch: Batch) -> tuple[dict[str, Tensor], Estimate]:
        found = self.estimate(batch)
        return self.objective(found.said, found.targets), found

    def validation_batches(self, place: Place) -> Iterator[Batch]:
        self.shown = None
        return self.held_out.batches(place)

    def validate(self, batch: Batch) -> dict[str, Tensor]:
        found = self.estimate(batch)
        if self.shown is None:
            self.shown = batch, found
        return measure_mesh(found, batch, size=self.size, hand=self.hand)

    def describe(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return self._described, self._learned_from

    def estimate(self, batch: Batch) -> Estimate:
        said = cast(LixelOutput, self.network(float_images(batch["image"])))
        return Estimate(said, lixel_targets(batch, size=self.size))


def measure_mesh(
    found: Estimate, batch: Mapping[str, Any], *, size: int, hand: HandModel
) -> dict[str, Float[Tensor, " N"]]:
    """2D vertices in 224ths of the crop's width, their depth behind joint 9; vertices and joints Procrustes-aligned.

    The aligned errors are those of the mesh in metres, under the true scale; NaN where that is not known.
    """
    (points, depth), targets = found
    if depth is None:
        raise ValueError("depth is measured, and this network says none")
    known = targets["vertices_valid"][:, None].expand(depth.shape)
    mesh, is_placed = mesh_in_metres(points.double(), depth.double(), batch, targets, size=size)
    joints = joints_of_mesh(mesh, hand)
    gap = (depth - targets["vertices_depth"]).abs()
    return {
        "points_2d_px": epe_2d_px(UNIT * points, UNIT * targets["vertices"], known),
        "depth_mm": _MM_PER_M * masked_mean(gap.double(), known),
        "pa_mpjpe_mm": pa_mpjpe_mm(joints, batch["joints_3d"], valid=batch["joints_3d_valid"] & is_placed[:, None]),
        "pa_mpvpe_mm": pa_mpjpe_mm(mesh, batch["vertices"], valid=known & is_placed[:, None]),
    }


def mesh_in_metres(
    points: Float[Tensor, "N V 2"],
    depth: Float[Tensor, "N V"],
    batch: Mapping[str, Any],
    targets: Mapping[str, Tensor],
    *,
    size: int,
) -> tuple[Float[Tensor, "N V 3"], Bool[Tensor, " N"]]:
    """Points about the middle of the crop at joint 9's true distance, crop axes, and of which hands that is known.

    Behind a pinhole that distance is all that lixels leave open; without one it is the true weak camera's scale.
    """
    is_pinhole = batch["K_valid"] & batch["joints_3d_valid"][:, ROOT]
    wrist = torch.where(is_pinhole[:, None], batch["wrist"], batch["wrist"].new_tensor(_AHEAD)).to(points)
    K = torch.where(is_pinhole[:, None, None], batch["K"], torch.eye(3).to(batch["K"])).to(points)
    rays = backproject(size * points, torch.ones_like(depth), K) @ ray_from_axis(wrist)
    distance = wrist.norm(dim=-1) + batch["joints_3d"][:, ROOT, 2]
    along = (distance[:, None] + depth)[..., None] * (rays / rays[..., 2:])
    pinhole = along - distance[:, None, None] * rays.new_tensor(_AHEAD)
    scale = targets["scale"].to(points)
    weak = torch.cat([(points - 0.5) / torch.where(scale > 0, scale, 1.0)[:, None, None], depth[..., None]], -1)
    return torch.where(is_pinhole[:, None, None], pinhole, weak), is_pinhole | (scale > 0)
