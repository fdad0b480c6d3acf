"""Both views of a batch of pairs, as a lixel network says them: points, where their rays meet, and the prior's meshes.

A batch is that of `handkit.data.binocular_batches`: rows are right views, then the left views of the same hands, beside
`right_from_left` [M,3,4]. Points are in widths of their crop, cameras too; 3D is in metres in a view's own camera.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from handkit.geometry.disparity import BinocularPoints, triangulate
from handkit.hand.mesh_joints import joints_of_mesh
from handkit.hand.model import HandModel
from handkit.hand.stereo import K_in_widths
from handkit.nets.lixel import LixelOutput
from handkit.render.visibility import visible_vertices

# Depth counts up to 15 cm from joint 9 on.
_NEAREST_M: Final = 0.16


class PairPoints(NamedTuple):
    """The vertices of M hands in both crops, the crops' cameras, and where the views' rays meet."""

    right: Float[Tensor, "M 778 2"]
    left: Float[Tensor, "M 778 2"]
    K_right: Float[Tensor, "M 3 3"]
    K_left: Float[Tensor, "M 3 3"]
    found: BinocularPoints

    @property
    def focal(self) -> Float[Tensor, " M"]:
        """The mean focal length of both crops, widths."""
        both = torch.stack([self.K_right, self.K_left])
        return (both[..., 0, 0] * both[..., 1, 1]).sqrt().mean(0)

    @property
    def gap(self) -> Float[Tensor, "M 778"]:
        """How far apart the views have each vertex across the baseline, widths; signed."""
        return self.focal[:, None] * self.found.gap


def place_pairs(points: Float[Tensor, "R 778 2"], batch: Mapping[str, Any], *, size: int) -> PairPoints:
    """Points of all rows of a batch, triangulated; `size` is the crops' side in pixels."""
    right, left = points.chunk(2)
    K_right, K_left = K_in_widths(batch["K"].to(points), size).chunk(2)
    found = triangulate(left, right, K_left, K_right, batch["right_from_left"].to(points))
    return PairPoints(right, left, K_right, K_left, found)


class PriorMeshes(NamedTuple):
    """What the frozen prior says of either view, where the pair has the hand."""

    right: Float[Tensor, "M 778 3"]
    left: Float[Tensor, "M 778 3"]


def prior_meshes(prior: LixelOutput, pair: PairPoints, hand: HandModel) -> PriorMeshes:
    """The prior's meshes in metres, each in its view's camera, as far away as the pair's points are; no gradient.

    A view alone says depth from joint 9 on: how far that is away is taken from the pair, by the median of all vertices.
    """
    if prior.depth is None:
        raise ValueError("the prior must say depth")
    points, depth = prior.points.chunk(2), prior.depth.chunk(2)
    right = _lifted(points[0], depth[0], pair.K_right, pair.found.right.detach(), hand)
    return PriorMeshes(right, _lifted(points[1], depth[1], pair.K_left, pair.found.left.detach(), hand))


def _lifted(
    points: Float[Tensor, "M 778 2"],
    depth: Float[Tensor, "M 778"],
    K: Float[Tensor, "M 3 3"],
    placed: Float[Tensor, "M 778 3"],
    hand: HandModel,
) -> Float[Tensor, "M 778 3"]:
    """Points along their rays, whose depth counts along the ray through the wrist."""
    wrist = joints_of_mesh(points, hand)[:, :1]
    rays, axis = (functional.pad(x, (0, 1), value=1.0) @ torch.linalg.inv(K).mT for x in (points, wrist))
    axis = functional.normalize(axis, dim=-1)
    root = ((placed * axis).sum(-1) - depth).median(-1, keepdim=True).values.clamp_min(_NEAREST_M)
    return rays * ((root + depth) / (rays * axis).sum(-1))[..., None]


def seen_by_both(
    prior: LixelOutput, meshes: PriorMeshes, faces: Int[Tensor, "F 3"], *, size: int
) -> Bool[Tensor, "M 778"]:
    """Which vertices both views show, by the prior's meshes in crops of `size` px: those are smooth from the start."""
    depth = torch.cat([meshes.right[..., 2:], meshes.left[..., 2:]])
    drawn = torch.cat([prior.points * size, depth], -1)
    seen = visible_vertices(drawn.double().cpu().numpy(), faces.cpu().numpy(), size=(size, size))
    right, left = torch.from_numpy(seen).to(prior.points.device).chunk(2)
    return right & left
