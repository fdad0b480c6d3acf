"""SeqHAND's training (section 4): on synthetic hand motion, then on real stills with the recurrent layer frozen.

A batch is the sample schema's with [B, T] in front and square images, `mask_distance` and `key` beside it. Networks and
2D terms work in image widths, so that sizes may differ between data.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from handkit.data.sample import float_images
from handkit.data.staged_batches import Batch, BatchSource
from handkit.hand.model import HandModel
from handkit.hand.palm import palm_center
from handkit.hand.weak import WeakHandLayer, WeakHandOutput
from handkit.methods.seqhand_loss import SeqHandLoss
from handkit.metrics import epe_2d_px, mpjpe_mm, pa_mpjpe_mm
from handkit.nets import SequenceNetwork, WeakHand, read_parameters
from handkit.train import Place


class HeldOutSource(Protocol):
    """Batches that are always the same ones, for the choice of the best weights."""

    def batches(self, place: Place) -> Iterator[Batch]: ...


class Estimate(NamedTuple):
    """What the network says of a batch: parameters, and the hand that they make."""

    hand: WeakHand
    out: WeakHandOutput


class SeqHandMethod:
    """What `handkit.train.train` asks for.

    Sources give the batches; with `from_root` the camera's distance is not annotated, so 3D is compared from joint 0.
    Modules in `frozen` keep their parameters and statistics.
    """

    def __init__(
        self,
        network: SequenceNetwork,
        hand: HandModel,
        *,
        objective: SeqHandLoss,
        source: BatchSource,
        held_out: HeldOutSource,
        learned_from: dict[str, Any],
        freeze_memory: bool = False,
    ) -> None:
        self.name = str(network.describe()["name"])
        self._frozen = network.memory if freeze_memory else None
        self._described = network.describe()
        self.network: torch.nn.Module = network
        self.layer = WeakHandLayer(hand)
        self.objective, self.source, self.held_out = objective, source, held_out
        self.selection = "joints_3d_root_mm" if objective.from_root else "joints_3d_mm"
        self._learned_from = {"hand": hand.name, **learned_from}

    def parameter_groups(self) -> list[dict[str, Any]]:
        frozen = {id(parameter) for parameter in self._frozen.parameters()} if self._frozen is not None else set()
        return [{"params": [p for p in self.network.parameters() if id(p) not in frozen]}]

    def batches(self, start: int, place: Place) -> Iterator[Batch]:
        return self.source.batches(start, place)

    def step(self, batch: Batch) -> tuple[dict[str, Tensor], Estimate]:
        found = self.estimate(batch)
        return self.objective(found.hand, found.out, batch), found

    def validation_batches(self, place: Place) -> Iterator[Batch]:
        return self.held_out.batches(place)

    def validate(self, batch: Batch) -> dict[str, Tensor]:
        out = self.estimate(batch).out
        target, valid = batch["joints_3d"], batch["joints_3d_valid"]
        width = batch["image"].shape[-1]
        found = {
            "joints_2d_px": epe_2d_px(width * out.joints_2d, batch["joints_2d"], batch["joints_2d_valid"]),
            "joints_3d_root_mm": mpjpe_mm(out.joints, target, valid, root=0),
            "joints_3d_pa_mm": pa_mpjpe_mm(out.joints, target, valid=valid),
        }
        if not self.objective.from_root:
            found["joints_3d_mm"] = mpjpe_mm(out.joints, target, valid)
        return found

    def describe(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return self._described, self._learned_from

    def estimate(self, batch: Batch) -> Estimate:
        """Hands of a batch's images; joint 0 is the palm's centre where the batch's is (`root_is_palm`)."""
        parameters = self.network(float_images(batch["image"])).parameters.float()
        hand = read_parameters(parameters)
        out = self.layer(**hand._asdict())
        if (is_palm := batch.get("root_is_palm")) is not None and bool(is_palm.any()):
            out = _with_palm(hand, out, is_palm)
        return Estimate(hand, out)


def _with_palm(hand: WeakHand, out: WeakHandOutput, is_palm: Tensor) -> WeakHandOutput:
    palm = palm_center(out.joints)
    palm_2d = hand.scale[..., None] * palm[..., :2] + hand.shift + 0.5
    joint = torch.arange(out.joints.shape[-2], device=is_palm.device) == 0
    chosen = (is_palm[..., None] & joint)[..., None]
    return out._replace(
        joints=torch.where(chosen, palm[..., None, :], out.joints),
        joints_2d=torch.where(chosen, palm_2d[..., None, :], out.joints_2d),
    )
