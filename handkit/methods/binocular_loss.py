"""The terms of self-supervision from pairs, each with its weight: without labels, and the prior's pull beside them.

Points are in image widths, lengths of edges in centimetres, so that weights compare.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from handkit.conventions import BONES
from handkit.data.sample import float_images
from handkit.hand.mesh_joints import joints_of_mesh
from handkit.hand.model import HandModel
from handkit.losses.binocular import appearance_consistency, epipolar_gap, one_shape, prior_distance, sample_colors
from handkit.losses.lixel import edge_lengths, edge_lengths_l1, normals_l1
from handkit.losses.mesh import build_mesh_edges
from handkit.losses.reduce import valid_mean
from handkit.losses.silhouette import silhouette_coarse, silhouette_l2
from handkit.methods.binocular_recipe import PULL, TERMS, BinocularFormsRecipe, BinocularLossRecipe
from handkit.methods.binocular_views import PairPoints, PriorMeshes, place_pairs, prior_meshes, seen_by_both
from handkit.nets.lixel import LixelOutput
from handkit.render import soft_silhouette

_UNIT_M: Final = 0.01  # of edges


class _Said(NamedTuple):
    """All that terms are made of."""

    batch: Mapping[str, Any]
    points: Float[Tensor, "R 778 2"]
    prior: LixelOutput
    pair: PairPoints
    meshes: PriorMeshes


class BinocularLoss:
    """The terms that `weights` have, of crops of `size` px."""

    def __init__(
        self, weights: BinocularLossRecipe, forms: BinocularFormsRecipe, hand: HandModel, *, size: int
    ) -> None:
        self.forms, self.hand, self.size = forms, hand, size
        self.weights: dict[str, float] = {name: getattr(weights, name) for name in (*TERMS, PULL)}
        self.faces = torch.tensor(hand.faces)
        self.edges = build_mesh_edges(self.faces, len(hand.v_template)).edges
        self.mean_hand = torch.tensor(hand.v_template, dtype=torch.float32)
        self._terms: dict[str, Callable[[_Said], Tensor]] = {
            "epipolar": self._epipolar,
            "appearance": self._appearance,
            "edges": self._edges,
            "normals": self._normals,
            "one_shape": self._one_shape,
            "silhouette": self._silhouette,
        }

    def __call__(
        self, points: Float[Tensor, "R 778 2"], prior: LixelOutput, batch: Mapping[str, Any], *, pulled: float | None
    ) -> dict[str, Tensor]:
        """Terms times their weights, those of weight 0 left out; with `pulled`, of the prior's weight that share.

        `points` are those of all rows of a batch of pairs, `prior` what the frozen prior says of them.
        """
        points = points.float()
        pair = place_pairs(points, batch, size=self.size)
        said = _Said(batch, points, prior, pair, prior_meshes(prior, pair, self.hand))
        terms = {name: self.weights[name] * make(said) for name, make in self._terms.items() if self.weights[name]}
        if pulled is not None and self.weights[PULL]:
            terms[PULL] = pulled * self.weights[PULL] * prior_distance(points, prior.points)
        return terms

    def _epipolar(self, said: _Said) -> Tensor:
        return epipolar_gap(said.pair.gap, soft=self.forms.epipolar_soft)

    def _appearance(self, said: _Said) -> Tensor:
        size = self.forms.appearance_px
        both = seen_by_both(said.prior, said.meshes, self.faces, size=size)
        images = float_images(said.batch["image"])
        if size < self.size:
            images = functional.adaptive_avg_pool2d(images, size)
        right, left = sample_colors(images, said.points).chunk(2)
        return appearance_consistency(left, right, both, soft=self.forms.appearance_soft)

    def _edges(self, said: _Said) -> Tensor:
        own, edges = said.pair.found.right, self.edges.to(said.points.device)
        meshes = said.meshes if self.forms.edges_of == "prior" else (self.mean_hand.to(own).expand_as(own),)
        return torch.stack([edge_lengths_l1(own / _UNIT_M, mesh / _UNIT_M, edges) for mesh in meshes]).mean()

    def _normals(self, said: _Said) -> Tensor:
        faces, found = self.faces.to(said.points.device), said.pair.found
        pairs = ((found.right, said.meshes.right), (found.left, said.meshes.left))
        return torch.stack([normals_l1(own, mesh, faces) for own, mesh in pairs]).mean()

    def _one_shape(self, said: _Said) -> Tensor:
        joints = joints_of_mesh(said.pair.found.right, self.hand)
        lengths = edge_lengths(joints, torch.tensor(BONES, device=joints.device))
        return one_shape(lengths, said.batch["sequence"])

    def _silhouette(self, said: _Said) -> Tensor:
        forms, size = self.forms, self.forms.silhouette_px
        flat = functional.pad(size * said.points, (0, 1), value=1.0)  # a silhouette is the same at any depth
        faces = self.faces.to(flat.device)
        drawn = soft_silhouette(flat, faces, size=(size, size), sigma=forms.sigma_px2)
        target = masks_at(said.batch["mask"], size)
        apart = silhouette_l2(drawn, target, each=True)
        if forms.coarse:
            apart = apart + forms.coarse * silhouette_coarse(drawn, target, window=forms.window_px, each=True)
        return valid_mean(apart, said.batch["mask_valid"])


def masks_at(masks: Tensor, size: int) -> Float[Tensor, "R S S"]:
    """Masks of 0 and 1 as the shares of larger pixels that they cover."""
    return functional.adaptive_avg_pool2d(masks.float(), size)
