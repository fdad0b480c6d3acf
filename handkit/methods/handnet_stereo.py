"""HandNet's stereo training (RealisticHands 3.3, 3.5, Fig. 5): its image head is adapted, its weights of Eq. 6 learn.

A batch is that of `handkit.data.handnet_batches.StereoCropBatches`: rows are right views, then the left views of the
same hands, beside `right_from_left` [M,3,4].
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor

from handkit.data.sample import float_images
from handkit.data.staged_batches import Batch, BatchSource
from handkit.hand.model import HandModel
from handkit.hand.stereo import (
    CAMERA_FUSIONS,
    CameraFusion,
    K_in_widths,
    ViewOfHand,
    fuse_hands,
    place_in_camera,
    wrist_in_camera,
)
from handkit.hand.weak import WeakPoseLayer
from handkit.losses import points_mse
from handkit.methods.handnet import HeldOutBatches
from handkit.methods.handnet_loss import UNIT_M, HandNetLoss, vertices_known
from handkit.methods.handnet_stereo_recipe import FusedLossRecipe, StereoStageRecipe
from handkit.metrics import mpjpe_mm, pa_mpjpe_mm
from handkit.nets.handnet import HandNet, HandNetOutput
from handkit.nets.heatmaps import keypoint_heatmaps
from handkit.train import Place

NAME: Final = "handnet-stereo"
MONO: Final = "mono"


class PlacedHand(NamedTuple):
    """Metres in the camera of one view, and its wrist there."""

    joints: Float[Tensor, "M 21 3"]
    vertices: Float[Tensor, "M 778 3"]
    wrist: Float[Tensor, "M 3"]


class HandNetStereoMethod:
    """What `handkit.train.train` asks for: stage "adaption" on single views by Eq. 9, stage "stereo" by Eq. 11.

    The network sees what its `inputs` say. The best weights are those of the least Procrustes-aligned error of held-out
    vertices: of right views alone in the first stage, of fused hands with the given camera in the second.
    """

    def __init__(
        self,
        network: HandNet,
        hand: HandModel,
        *,
        stage: str,
        settings: StereoStageRecipe,
        objective: HandNetLoss,
        fused: FusedLossRecipe,
        camera: CameraFusion,
        size: int,
        source: BatchSource,
        held_out: HeldOutBatches,
        learned_from: dict[str, Any],
    ) -> None:
        self.name, self.stage, self.size, self.camera = NAME, stage, size, camera
        self._described, self._inputs, self._sigma = network.describe(), network.inputs, network.sigma
        self._groups = [{"params": [p for part in settings.learns for p in network.part(part).parameters()]}]
        self.network: torch.nn.Module = network
        self.layer = WeakPoseLayer(hand)
        self.objective, self.fused, self.source, self.held_out = objective, fused, source, held_out
        self.selection = f"{MONO}_pa_mpvpe_mm" if stage == "adaption" else f"{camera}_pa_mpvpe_mm"
        self._learned_from = {"hand": hand.name, "stage": stage, "size": size, "camera": camera, **learned_from}

    def parameter_groups(self) -> list[dict[str, Any]]:
        return self._groups

    def batches(self, start: int, place: Place) -> Iterator[Batch]:
        return self.source.batches(start, place)

    def step(self, batch: Batch) -> tuple[dict[str, Tensor], HandNetOutput]:
        said = self.estimate(batch, pairs=self.stage == "stereo")
        if self.stage == "adaption":
            hand = self.layer(pose=said.pose, betas=said.betas, camera=said.camera)
            return self.objective(said, hand, batch), said
        return self._fused_loss(said, batch), said

    def validation_batches(self, place: Place) -> Iterator[Batch]:
        return self.held_out.batches(place)

    def validate(self, batch: Batch) -> dict[str, Tensor]:
        """Errors in the right view, of it alone and of both: see `measure_pairs`."""
        return measure_pairs(self.estimate(batch, pairs=True), batch, self.layer, size=self.size)

    def describe(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return self._described, self._learned_from

    def estimate(self, batch: Batch, *, pairs: bool) -> HandNetOutput:
        """What the network says of every view, and with `pairs` how to weigh them."""
        return say_views(self.network, batch, inputs=self._inputs, size=self.size, sigma=self._sigma, pairs=pairs)

    def _fused_loss(self, said: HandNetOutput, batch: Batch) -> dict[str, Tensor]:
        """Eq. 11, each term with its weight in."""
        found, true = fused_hand(said, batch, self.layer, size=self.size, camera=self.camera), true_hand(batch)
        if self.fused.frame == "wrist":
            found, true = (hand._replace(**about_wrist(hand)) for hand in (found, true))
        right = right_views(batch)
        terms = {
            "vertices": (found.vertices, true.vertices, vertices_known(right)),
            "joints_3d": (found.joints, true.joints, right["joints_3d_valid"]),
        }
        weights = self.fused.model_dump()
        return {
            name: weights[name] * points_mse(pred / UNIT_M, target / UNIT_M, valid)
            for name, (pred, target, valid) in terms.items()
            if weights[name] > 0
        }


def say_views(
    network: torch.nn.Module,
    batch: Batch,
    *,
    inputs: str,
    size: int,
    sigma: float,
    pairs: bool = True,
) -> HandNetOutput:
    """What a HandNet of such inputs says of views, by its image head for generated pictures; its numbers in float32."""
    images = heatmaps = None
    if inputs != "keypoints":
        images = float_images(batch["image"])
    if inputs != "image":
        heatmaps = keypoint_heatmaps(batch["keypoints"], batch["keypoint_scores"], size=size, sigma=sigma)
    said = cast(HandNetOutput, network(images, heatmaps, want_mask=False, adapted=images is not None, pairs=pairs))
    weights = None if said.weights is None else said.weights.float()
    return said._replace(pose=said.pose.float(), betas=said.betas.float(), camera=said.camera.float(), weights=weights)


def views_said(said: HandNetOutput, batch: Mapping[str, Tensor], size: int) -> tuple[ViewOfHand, ViewOfHand]:
    """The right and the left views' hands of a batch of pairs, with the cameras of their crops of `size` px."""
    parts = [part.chunk(2) for part in (said.pose, said.betas, said.camera, K_in_widths(batch["K"].float(), size))]
    return ViewOfHand(*(part[0] for part in parts)), ViewOfHand(*(part[1] for part in parts))


def mono_hand(said: HandNetOutput, batch: Mapping[str, Tensor], layer: WeakPoseLayer, *, size: int) -> PlacedHand:
    """What the right view alone says, in its camera."""
    right, _ = views_said(said, batch, size)
    return _placed(right, wrist_in_camera(right.camera, right.K), layer)


def fused_hand(
    said: HandNetOutput, batch: Mapping[str, Tensor], layer: WeakPoseLayer, *, size: int, camera: CameraFusion
) -> PlacedHand:
    """The hand of both views by Eq. 6 and 7, in the right camera."""
    if said.weights is None:
        raise ValueError("fusing needs the weights of a pair: call the network with pairs=True")
    fused = fuse_hands(*views_said(said, batch, size), said.weights, batch["right_from_left"].float(), camera=camera)
    return _placed(fused.right, fused.wrist_right, layer)


def true_hand(batch: Mapping[str, Tensor]) -> PlacedHand:
    """The annotated hand in the right camera."""
    right = right_views(batch)
    wrist = right["wrist"]
    joints, vertices = (place_in_camera(right[name], wrist) for name in ("joints_3d", "vertices"))
    return PlacedHand(joints, vertices, wrist)


def about_wrist(hand: PlacedHand) -> dict[str, Tensor]:
    """Joints and vertices from the wrist on, in the camera's axes."""
    return {"joints": hand.joints - hand.wrist[:, None], "vertices": hand.vertices - hand.wrist[:, None]}


def right_views(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The first half of the rows of a batch of pairs: its tensors of one row a view."""
    rows = len(batch["K"])
    return {
        name: value[: rows // 2] for name, value in batch.items() if isinstance(value, Tensor) and len(value) == rows
    }


def measure_pairs(
    said: HandNetOutput, batch: Mapping[str, Tensor], layer: WeakPoseLayer, *, size: int
) -> dict[str, Float[Tensor, " M"]]:
    """Errors of vertices in mm of the right view alone ("mono") and fused with either camera.

    pa: Procrustes-aligned; wrist: from each one's own wrist, in the camera's axes; camera: as the hands stand.
    """
    true, known = true_hand(batch), vertices_known(right_views(batch))
    hands = {MONO: mono_hand(said, batch, layer, size=size)}
    hands |= {camera: fused_hand(said, batch, layer, size=size, camera=camera) for camera in CAMERA_FUSIONS}
    measured: dict[str, Tensor] = {}
    for name, hand in hands.items():
        own, target = about_wrist(hand)["vertices"], about_wrist(true)["vertices"]
        measured |= {
            f"{name}_pa_mpvpe_mm": pa_mpjpe_mm(hand.vertices, true.vertices, valid=known),
            f"{name}_wrist_mpvpe_mm": mpjpe_mm(own, target, known),
            f"{name}_camera_mpvpe_mm": mpjpe_mm(hand.vertices, true.vertices, known),
        }
    return measured


def _placed(view: ViewOfHand, wrist: Float[Tensor, "M 3"], layer: WeakPoseLayer) -> PlacedHand:
    hand = layer(pose=view.pose, betas=view.betas, camera=view.camera)
    return PlacedHand(place_in_camera(hand.joints, wrist), place_in_camera(hand.vertices, wrist), wrist)
