"""SeqHAND's training objective on a batch: Eq. 14 on synthetic sequences, Eq. 15 on real stills."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from handkit.hand.weak import WeakHandOutput
from handkit.losses import (
    joints_2d_l1,
    joints_3d_l2,
    mask_fitting,
    parameter_l2,
    root_aligned,
    temporal_consistency,
    vertices_l2,
)
from handkit.methods.seqhand_recipe import LossRecipe
from handkit.nets import WeakHand

Batch = Mapping[str, Tensor]


@dataclass(frozen=True)
class SeqHandLoss:
    """The weighted terms of a batch [B, T, ...].

    With `from_root` 3D points count from joint 0, since a real camera's distance cannot be known; without, from the
    hand's own origin. Joint 0 of `out` is to be what the batch's is: the wrist, or the palm's centre.
    """

    weights: LossRecipe
    from_root: bool

    def __call__(self, hand: WeakHand, out: WeakHandOutput, batch: Batch) -> dict[str, Tensor]:
        """Each term with its weight in, by name."""
        width = batch["image"].shape[-1]
        terms = {
            "joints_2d": lambda: self._joints_2d(out, batch, width),
            "joints_3d": lambda: self._joints_3d(out, batch),
            "vertices": lambda: self._vertices(out, batch),
            "temporal": lambda: temporal_consistency(hand.pca, hand.betas, self.weights.temporal_pose),
            "mask": lambda: self._mask(out, batch, width),
        }
        found = {name: getattr(self.weights, name) * term() for name, term in terms.items() if self._has(name)}
        if self.weights.camera > 0:
            found |= {f"camera_{name}": self.weights.camera * term for name, term in self._camera(hand, batch, width)}
        return found

    def _has(self, name: str) -> bool:
        return float(getattr(self.weights, name)) > 0

    def _joints_2d(self, out: WeakHandOutput, batch: Batch, width: int) -> Tensor:
        unit = self.weights.units.joints_2d_widths
        target = batch["joints_2d"] / width
        return joints_2d_l1(out.joints_2d / unit, target / unit, batch["joints_2d_valid"])

    def _joints_3d(self, out: WeakHandOutput, batch: Batch) -> Tensor:
        unit = self.weights.units.joints_3d_m
        root = 0 if self.from_root else None
        return joints_3d_l2(out.joints / unit, batch["joints_3d"] / unit, batch["joints_3d_valid"], root=root)

    def _vertices(self, out: WeakHandOutput, batch: Batch) -> Tensor:
        unit = self.weights.units.vertices_m
        pred, target, valid = out.vertices, batch["vertices"], batch["vertices_valid"]
        if self.from_root:
            pred, target = root_aligned(pred, out.joints), root_aligned(target, batch["joints_3d"])
            valid = valid & batch["joints_3d_valid"][..., 0]
        return vertices_l2(pred / unit, target / unit, valid[..., None].expand(pred.shape[:-1]))

    def _mask(self, out: WeakHandOutput, batch: Batch, width: int) -> Tensor:
        unit = self.weights.units.mask_widths
        valid = batch["mask_valid"][..., None].expand(out.vertices_2d.shape[:-1])
        return mask_fitting(width * out.vertices_2d, batch["mask_distance"], valid) / (width * unit)

    def _camera(self, hand: WeakHand, batch: Batch, width: int) -> list[tuple[str, Tensor]]:
        """Eq. 13, a term for each of theta, beta, s, t and r."""
        units = self.weights.units
        weak = batch["weak_valid"]
        shift = batch["weak_transl"] / width - 0.5
        pairs = {
            "theta": (hand.pca, batch["pca"], batch["pca_valid"], 1.0),
            "beta": (hand.betas, batch["betas"], batch["betas_valid"], 1.0),
            "s": (hand.scale[..., None], batch["weak_scale"][..., None] / width, weak, units.scale_widths_per_m),
            "t": (hand.shift, shift, weak, units.shift_widths),
            "r": (hand.orient, batch["global_orient"], batch["pose_valid"], 1.0),
        }
        return [
            (name, parameter_l2(pred / unit, target / unit, valid))
            for name, (pred, target, valid, unit) in pairs.items()
        ]
