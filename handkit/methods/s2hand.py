"""S2HAND's and S2HAND(V)'s training (3.2, 3.3): from detected keypoints and pixels, without labels.

A batch is the sample schema's with [M, n] in front: M stills (n = 1) or M windows of n frames of video, square crops of
right hands (left ones mirrored), K with them.
"""

from collections.abc import Iterator
from typing import Any, Final, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from handkit.data.sample import float_images
from handkit.data.staged_batches import Batch, BatchSource
from handkit.hand.model import HandModel
from handkit.hand.scaled import ScaledHandLayer, ScaledHandOutput
from handkit.methods.s2hand_loss import UNIT, Estimate, S2HandLoss, rotations_of, target_of
from handkit.methods.s2hand_picture import render_hands, shrunk
from handkit.methods.s2hand_recipe import RenderRecipe
from handkit.metrics import epe_2d_px, pa_mpjpe_mm, quaternion_smoothness_rad, sd_over_time
from handkit.nets.hourglass import KeypointOutput
from handkit.nets.s2hand import S2HandOutput
from handkit.nets.s2hand_system import S2HandSystem
from handkit.train import Place

NAME: Final = "s2hand"


class HeldOutBatches(Protocol):
    """Batches that are always the same ones, for the choice of the best weights."""

    def batches(self, place: Place) -> Iterator[Batch]: ...


class S2HandMethod:
    """What `handkit.train.train` asks for: a stage of S2HAND.

    Which parts learn is what the stage's terms reach: the texture and light heads only where a term looks at pixels.
    The best weights are those whose keypoints are nearest to the held-out detections: no truth takes part. `shown`
    holds the first held-out batch and what was last said of it, for previews.
    """

    def __init__(
        self,
        network: S2HandSystem,
        hand: HandModel,
        *,
        stage: str,
        objective: S2HandLoss,
        render: RenderRecipe,
        source: BatchSource,
        held_out: HeldOutBatches,
        learned_from: dict[str, Any],
    ) -> None:
        self.name, self.stage = NAME, stage
        self._described = network.describe()
        self._camera = "perspective" if network.hand is None else network.hand.camera
        self._groups = _learning(network, objective)
        self.network: torch.nn.Module = network
        self.layer = ScaledHandLayer(hand, self._camera)
        self.objective, self.render, self.source, self.held_out = objective, render, source, held_out
        self.selection = "estimated_px" if stage == "keypoints" else "projected_px"
        self._learned_from = {"hand": hand.name, "stage": stage, **learned_from}
        self.shown: tuple[Batch, Estimate] | None = None

    def parameter_groups(self) -> list[dict[str, Any]]:
        return [{"params": self._groups}]

    def batches(self, start: int, place: Place) -> Iterator[Batch]:
        return self.source.batches(start, place)

    def step(self, batch: Batch) -> tuple[dict[str, Tensor], Estimate]:
        found = self.estimate(batch, want_picture=self.objective.needs_picture)
        return self.objective(found, batch), found

    def validation_batches(self, place: Place) -> Iterator[Batch]:
        self.shown = None
        return self.held_out.batches(place)

    def validate(self, batch: Batch) -> dict[str, Tensor]:
        """2D distances in 224ths of the width from the keypoints that are learned from; steadiness over windows.

        Where the held-out data have a truth, `joints_3d_pa_mm` from it: told, and used for nothing.
        """
        is_first = self.shown is None
        found = self.estimate(batch, want_picture=is_first and self.objective.needs_picture)
        if is_first:
            self.shown = batch, found
        return self.measure(found, batch)

    def measure(self, found: Estimate, batch: Batch) -> dict[str, Tensor]:
        """The metrics of `validate` of an estimate."""
        target = target_of(batch, self.objective.supervision)
        unit, known = UNIT / batch["image"].shape[-1], target.confidence > 0
        measured = {}
        if found.keypoints is not None:
            measured["estimated_px"] = epe_2d_px(UNIT * found.keypoints.points[..., -1, :, :], target.keypoints, known)
        if found.out is not None and found.hand is not None:
            projected = unit * self.objective.landmarks(found.out)
            measured["projected_px"] = epe_2d_px(projected, target.keypoints, known)
            measured["projected_percent"] = 100 * measured["projected_px"] / hand_size(target.keypoints, known)
            if bool(batch["joints_3d_valid"].any()):
                measured["joints_3d_pa_mm"] = pa_mpjpe_mm(
                    found.out.joints, batch["joints_3d"], valid=batch["joints_3d_valid"]
                )
            if batch["image"].shape[1] > 1:
                measured |= self._steadiness(found.hand, found.out)
        return measured

    def _steadiness(self, hand: S2HandOutput, out: ScaledHandOutput) -> dict[str, Tensor]:
        found = {
            "quaternion_rad": quaternion_smoothness_rad(rotations_of(hand, out), frames=None),
            "shape_sd": sd_over_time(hand.betas),
        }
        if hand.texture is not None:
            found["texture_sd"] = sd_over_time(self.objective.lighted(hand).flatten(-2))
        return found

    def describe(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return self._described, self._learned_from

    def estimate(self, batch: Batch, *, want_picture: bool) -> Estimate:
        """Hands of a batch's images, and the pictures that they make."""
        images, leading = float_images(batch["image"]), batch["image"].shape[:2]
        width = images.shape[-1]
        said = self.network(images.flatten(0, 1), want_texture=self.objective.needs_picture)
        keypoints: KeypointOutput | None = None if said.keypoints is None else _unflattened(said.keypoints, leading)
        if said.hand is None:
            return Estimate(None, None, keypoints, None)
        hand: S2HandOutput = _unflattened(said.hand, leading)
        out = self.layer(
            pca=hand.pca,
            betas=hand.betas,
            scale=hand.scale,
            orient=hand.orient,
            transl=hand.transl,
            K=batch["K"].float(),
            width=width,
        )
        picture = None
        if want_picture:
            size = min(self.render.size or width, width)
            picture = render_hands(
                hand,
                out,
                self.layer.mano.faces,
                width=width,
                size=size,
                settings=self.render,
                background=shrunk(images, size),
            )
        return Estimate(hand, out, keypoints, picture)


def hand_size(keypoints: Float[Tensor, "*B 21 2"], known: Tensor) -> Float[Tensor, "*B"]:
    """The larger side of the box of the known keypoints; NaN with fewer than two."""
    far = torch.finfo(keypoints.dtype).max
    low = torch.where(known[..., None], keypoints, far).amin(-2)
    high = torch.where(known[..., None], keypoints, -far).amax(-2)
    size = (high - low).amax(-1)
    return torch.where(known.sum(-1) > 1, size, torch.nan)


def _unflattened(said: Any, leading: torch.Size) -> Any:
    """A tuple of tensors [N, ...] as the same one of [M, n, ...]."""
    return type(said)(*(None if value is None else value.unflatten(0, leading) for value in said))


def _learning(network: S2HandSystem, objective: S2HandLoss) -> list[torch.nn.Parameter]:
    """The parameters that a stage's terms reach."""
    reached: list[torch.nn.Parameter] = []
    if network.hand is not None:
        reached += network.hand.geometry_parameters()
        if objective.needs_picture:
            reached += network.hand.appearance_parameters()
    if network.keypoints is not None:
        reached += list(network.keypoints.parameters())
    return reached
