"""The hand prior's objective (I2L-MeshNet, Moon & Lee, ECCV 2020): places, joints, normals and edges in lixels."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from handkit.hand.mesh_joints import joints_of_mesh
from handkit.hand.model import HandModel
from handkit.losses import build_mesh_edges, edge_lengths_l1, normals_l1, points_l1
from handkit.methods.hand_prior_recipe import LossRecipe
from handkit.nets.lixel import DEPTH_LIXELS, DEPTH_RANGE_M, LixelOutput

LIXELS: Final = DEPTH_LIXELS  # of a crop's width too, as at 256 px, whatever the network's own maps have


@dataclass(frozen=True, eq=False)
class HandPriorLoss:
    """The weighted terms of what a network with depth says, against `handkit.data.lixel_targets.lixel_targets`.

    Where there are vertices the joints are those that their mesh has, else the annotated ones: of such hands the
    joints' term is all there is.
    """

    weights: LossRecipe
    hand: HandModel
    _mesh: dict[torch.device, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def __call__(self, said: LixelOutput, targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Each term with its weight in, by name."""
        if said.depth is None:
            raise ValueError("the prior learns depth, and this network says none")
        with torch.autocast(said.points.device.type, enabled=False):
            mesh = in_lixels(said.points, said.depth)
            true = in_lixels(targets["vertices"], targets["vertices_depth"])
            known = targets["vertices_valid"]
            faces, edges = self._mesh_on(mesh.device)
            terms: dict[str, Callable[[], Tensor]] = {
                "vertices": lambda: points_l1(mesh, true, known[:, None].expand(mesh.shape[:-1])),
                "joints": lambda: self._joints(mesh, true, targets),
                "normals": lambda: normals_l1(mesh, true, faces, known),
                "edges": lambda: edge_lengths_l1(mesh, true, edges, known),
            }
            weights = {name: float(getattr(self.weights, name)) for name in terms}
            return {name: weights[name] * term() for name, term in terms.items() if weights[name] > 0}

    def _joints(
        self, mesh: Float[Tensor, "N 778 3"], true: Float[Tensor, "N 778 3"], targets: Mapping[str, Tensor]
    ) -> Tensor:
        known = targets["vertices_valid"][:, None, None]
        annotated = in_lixels(targets["joints"], targets["joints_depth"])
        target = torch.where(known, joints_of_mesh(true, self.hand), annotated)
        flat, deep = targets["joints_valid"], targets["joints_depth_valid"]
        valid = torch.stack([flat, flat, deep], -1) | known
        found = joints_of_mesh(mesh, self.hand)
        return points_l1(found.flatten(-2)[..., None], target.flatten(-2)[..., None], valid.flatten(-2))

    def _mesh_on(self, device: torch.device) -> tuple[Int[Tensor, "F 3"], Int[Tensor, "E 2"]]:
        if device not in self._mesh:
            faces = torch.tensor(self.hand.faces)
            edges = build_mesh_edges(faces, len(self.hand.v_template)).edges
            self._mesh[device] = faces.to(device), edges.to(device)
        return self._mesh[device]


def in_lixels(points: Float[Tensor, "*B N 2"], depth: Float[Tensor, "*B N"]) -> Float[Tensor, "*B N 3"]:
    """Widths and metres as lixels: 64 to the crop's width, 64 to the 0.3 m of depth."""
    return torch.cat([LIXELS * points, (LIXELS / DEPTH_RANGE_M) * depth[..., None].to(points)], -1)
