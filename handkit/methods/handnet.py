"""HandNet's training (RealisticHands 3.5): stages in each of which some parts learn and all others stay as they are.

A batch is flat rows of right hands' crops, as `handkit.data.handnet_batches` makes them: points in image widths, 3D in
metres about the wrist.
"""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple, Protocol, cast

import torch
from jaxtyping import Float
from torch import Tensor

from handkit.data.sample import float_images
from handkit.data.staged_batches import Batch, BatchSource
from handkit.hand.model import HandModel
from handkit.hand.weak import WeakHandOutput, WeakPoseLayer
from handkit.methods.handnet_loss import HandNetLoss, vertices_known
from handkit.methods.handnet_recipe import StageRecipe
from handkit.metrics import epe_2d_px, mask_iou, mpjpe_mm, pa_mpjpe_mm, pixel_accuracy
from handkit.nets.handnet import NAME, HandNet, HandNetOutput
from handkit.nets.heatmaps import keypoint_heatmaps
from handkit.train import Place

UNIT: Final = 224  # px of the crop's width in which 2D errors are told


class HeldOutBatches(Protocol):
    """Batches that are always the same ones, for the choice of the best weights."""

    def batches(self, place: Place) -> Iterator[Batch]: ...


class Estimate(NamedTuple):
    """What the network says of a batch, and the hand that it makes."""

    said: HandNetOutput
    hand: WeakHandOutput


class HandNetMethod:
    """What `handkit.train.train` asks for: a stage of HandNet on crops of `size` px.

    The best weights are those of the least Procrustes-aligned error of the held-out hands' vertices, of their joints
    without `has_vertices`; where masks alone are learned, those that miss least of them. `shown` holds the first
    held-out batch and what was last said of it, for previews.
    """

    def __init__(
        self,
        network: HandNet,
        hand: HandModel,
        *,
        stage: str,
        settings: StageRecipe,
        objective: HandNetLoss,
        size: int,
        source: BatchSource,
        held_out: HeldOutBatches,
        learned_from: dict[str, Any],
        has_vertices: bool = True,
    ) -> None:
        self.name, self.stage, self.settings, self.size = NAME, stage, settings, size
        self._described, self._sigma = network.describe(), network.sigma
        self._groups = [{"params": [p for part in settings.learns for p in network.part(part).parameters()]}]
        self.network: torch.nn.Module = network
        self.layer = WeakPoseLayer(hand)
        self.objective, self.source, self.held_out = objective, source, held_out
        self.has_vertices = has_vertices
        self.selection = "pa_mpvpe_mm" if has_vertices else "pa_mpjpe_mm"
        if not objective.hands:
            self.selection = "mask_miss"
        self._learned_from = {
            "hand": hand.name,
            "stage": stage,
            "inputs": settings.inputs,
            "size": size,
            **learned_from,
        }
        self.shown: tuple[Batch, Estimate] | None = None

    def parameter_groups(self) -> list[dict[str, Any]]:
        return self._groups

    def batches(self, start: int, place: Place) -> Iterator[Batch]:
        return self.source.batches(start, place)

    def step(self, batch: Batch) -> tuple[dict[str, Tensor], Estimate]:
        found = self.estimate(batch, want_vertices=self.objective.needs_vertices)
        return self.objective(found.said, found.hand, batch), found

    def validation_batches(self, place: Place) -> Iterator[Batch]:
        self.shown = None
        return self.held_out.batches(place)

    def validate(self, batch: Batch) -> dict[str, Tensor]:
        """Errors of hands and of masks, each where the stage learns it; 2D in 224ths of the crop's width.

        Where a stage sees images and keypoints, PA-MPVPE without keypoints too.
        """
        found = self.estimate(batch)
        if self.shown is None:
            self.shown = batch, found
        measured = self._measure_hands(found, batch) if self.objective.hands else {}
        if found.said.mask is not None:
            measured |= measure_masks(found.said.mask, batch)
        if self.objective.hands and self.settings.inputs == "both":
            blind = {**batch, "keypoint_scores": torch.zeros_like(batch["keypoint_scores"])}
            alone = self._measure_hands(self.estimate(blind), batch)
            measured |= {f"no_keypoints_{name}": value for name, value in alone.items() if name.startswith("pa_")}
        return measured

    def _measure_hands(self, found: Estimate, batch: Batch) -> dict[str, Tensor]:
        measured = measure_hands(found.hand, batch)
        return measured if self.has_vertices else {k: v for k, v in measured.items() if k != "pa_mpvpe_mm"}

    def describe(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return self._described, self._learned_from

    def estimate(self, batch: Batch, *, want_vertices: bool = True) -> Estimate:
        """Hands, and masks where the stage learns them, of a batch's images and keypoints, as the stage sees them."""
        sees = self.settings.sees
        heatmaps = images = None
        if "image" in sees:
            images = float_images(batch["image"])
        if "keypoints" in sees:
            heatmaps = keypoint_heatmaps(
                batch["keypoints"], batch["keypoint_scores"], size=self.size, sigma=self._sigma
            )
        said = cast(HandNetOutput, self.network(images, heatmaps, want_mask=self.objective.masks))
        said = said._replace(pose=said.pose.float(), betas=said.betas.float(), camera=said.camera.float())
        numbers = {"pose": said.pose, "betas": said.betas, "camera": said.camera}
        return Estimate(said, self.layer(**numbers, want_vertices=want_vertices))


def measure_hands(hand: WeakHandOutput, batch: Batch) -> dict[str, Float[Tensor, " N"]]:
    """2D joints in 224ths of the crop's width, 3D joints about the wrist, joints and vertices Procrustes-aligned."""
    known, vertices = batch["joints_3d_valid"], vertices_known(batch)
    return {
        "joints_2d_px": epe_2d_px(UNIT * hand.joints_2d, UNIT * batch["joints_2d"], batch["joints_2d_valid"]),
        "joints_3d_mm": mpjpe_mm(hand.joints, batch["joints_3d"], known, root=0),
        "pa_mpjpe_mm": pa_mpjpe_mm(hand.joints, batch["joints_3d"], valid=known),
        "pa_mpvpe_mm": pa_mpjpe_mm(hand.vertices, batch["vertices"], valid=vertices),
    }


def measure_masks(logits: Float[Tensor, "N H W"], batch: Batch) -> dict[str, Float[Tensor, " N"]]:
    """Intersection over union, what it lacks of 1, the share of pixels that agree; NaN without an annotated mask."""
    pred, target = logits > 0, batch["mask"] > 0
    known = batch["mask_valid"]
    iou = torch.where(known, mask_iou(pred, target), torch.nan)
    return {
        "mask_miss": 1 - iou,
        "mask_iou": iou,
        "mask_accuracy": torch.where(known, pixel_accuracy(pred, target), torch.nan),
    }
