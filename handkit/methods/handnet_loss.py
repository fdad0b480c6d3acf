"""HandNet's training objective on a batch: Eq. 9 for what makes a hand, Eq. 10 for its mask."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from torch import Tensor

from handkit.hand.weak import WeakHandOutput
from handkit.losses import mask_bce, points_distance, points_mse, pose_mse, scale_behind, shape_norm, values_mse
from handkit.methods.handnet_recipe import LossRecipe
from handkit.nets.handnet import HandNetOutput

Batch = Mapping[str, Tensor]
PointLoss = Callable[[Tensor, Tensor, Tensor], Tensor]
UNIT_M: Final = 0.1  # of 3D terms


@dataclass(frozen=True)
class HandNetLoss:
    """The weighted terms of a batch of flat rows: Eq. 9 with `hands`, Eq. 10 with `masks`."""

    weights: LossRecipe
    hands: bool = True
    masks: bool = False

    def __call__(self, said: HandNetOutput, hand: WeakHandOutput, batch: Batch) -> dict[str, Tensor]:
        """Each term with its weight in, by name."""
        terms = {
            "pose": lambda: pose_mse(said.pose, batch["pose"], batch["pose_valid"]),
            "shape": lambda: values_mse(said.betas, batch["betas"], batch["betas_valid"]),
            "joints_2d": lambda: points_mse(hand.joints_2d, batch["joints_2d"], batch["joints_2d_valid"]),
            "shape_prior": lambda: shape_norm(said.betas),
            "camera": lambda: scale_behind(said.camera[..., 0]),
            "joints_3d": lambda: _metric(points_mse, hand.joints, batch["joints_3d"], batch["joints_3d_valid"]),
            "distance_3d": lambda: _metric(points_distance, hand.joints, batch["joints_3d"], batch["joints_3d_valid"]),
            "vertices": lambda: _metric(points_mse, hand.vertices, batch["vertices"], vertices_known(batch)),
        }
        found = {}
        if self.hands:
            found = {name: self._weight(name) * term() for name, term in terms.items() if self._weight(name) > 0}
        if self.masks and said.mask is not None:
            found["mask"] = mask_bce(said.mask, batch["mask"], batch["mask_valid"])
        return found

    @property
    def needs_vertices(self) -> bool:
        """Whether a term looks at vertices."""
        return self.hands and self.weights.vertices > 0

    def _weight(self, name: str) -> float:
        return float(getattr(self.weights, name))


def vertices_known(batch: Batch) -> Tensor:
    """Which vertices [N, 778] are annotated."""
    return batch["vertices_valid"][:, None].expand(batch["vertices"].shape[:-1])


def _metric(loss: PointLoss, pred: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    return loss(pred / UNIT_M, target / UNIT_M, valid)
