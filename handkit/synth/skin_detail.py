"""A finer mesh over the same surface, so that nails and creases have points of their own; geometry stays exact."""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from handkit.hand.model import HandModel
from handkit.synth.skin import SkinTemplates, paint_templates
from handkit.synth.skin_surface import Surface, rest_surface


@dataclass(frozen=True, eq=False)
class DetailMesh:
    """Points as shares of the corners of one coarse face each; the coarse vertices come first, unchanged."""

    parents: Int[np.ndarray, "N 3"]
    shares: Float[np.ndarray, "N 3"]  # multiples of 1/2^levels, sum 1
    faces: Int[np.ndarray, "F 3"]

    def interpolate(self, values: Float[np.ndarray, "*T V C"]) -> Float[np.ndarray, "*T N C"]:
        """Vertex values of the coarse mesh at every point of the fine one, of the same type."""
        a, b, c = self.parents.T
        s = self.shares.astype(values.dtype)
        mixed = s[:, :1] * values[..., a, :] + s[:, 1:2] * values[..., b, :] + s[:, 2:] * values[..., c, :]
        count = int((self.shares[:, 0] == 1).sum())
        mixed[..., :count, :] = values[..., :count, :]
        return mixed


class _Split(NamedTuple):
    pairs: np.ndarray  # [E, 2] ends of the edges whose middles are the new points
    faces: np.ndarray  # [4 F, 3]


def subdivide(faces: Int[np.ndarray, "F 3"], count: int, levels: int = 1) -> DetailMesh:
    """Every face cut into four at its edges' middles, `levels` times; `count` is the number of coarse vertices."""
    parents, weights = np.tile(np.arange(count)[:, None], (1, 3)), np.tile([1.0, 0.0, 0.0], (count, 1))
    mesh = np.asarray(faces, np.int64)
    for _ in range(levels):
        split = _split(mesh, len(parents))
        mixed = [_middle(parents[[a, b]], weights[[a, b]]) for a, b in split.pairs]
        parents = np.concatenate([parents, np.array([ids for ids, _ in mixed])])
        weights = np.concatenate([weights, np.array([share for _, share in mixed])])
        mesh = split.faces
    return DetailMesh(parents, weights, mesh)


def _split(faces: np.ndarray, count: int) -> _Split:
    edges = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    pairs, number = np.unique(edges, axis=0, return_inverse=True)
    ab, bc, ca = (count + number.reshape(-1, 3)).T
    a, b, c = faces.T
    quarters = [[a, ab, ca], [ab, b, bc], [ca, bc, c], [ab, bc, ca]]
    return _Split(pairs, np.stack([np.stack(corner, 1) for corner in quarters], 1).reshape(-1, 3))


def _middle(parents: np.ndarray, shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Parents and shares [3] of the middle of two points of one coarse face, [2, 3] each."""
    total: dict[int, float] = {}
    for vertex, share in zip(parents.ravel().tolist(), shares.ravel().tolist(), strict=True):
        if share > 0:
            total[vertex] = total.get(vertex, 0.0) + share / 2
    ids = sorted(total)
    filled = ids + [ids[0]] * (3 - len(ids))
    return np.array(filled), np.array([total[i] for i in ids] + [0.0] * (3 - len(ids)))


@lru_cache(maxsize=8)
def detail_mesh(hand: HandModel, levels: int = 1) -> DetailMesh:
    """The hand's faces subdivided; 3,093 points and 6,152 faces at level 1 for a MANO-like hand."""
    return subdivide(hand.faces, len(hand.v_template), levels)


@lru_cache(maxsize=8)
def detail_templates(hand: HandModel, levels: int = 1) -> SkinTemplates:
    """The colour templates at the points of `detail_mesh`."""
    mesh, coarse = detail_mesh(hand, levels), rest_surface(hand)
    normals = mesh.interpolate(coarse.normals)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return paint_templates(hand, Surface(mesh.interpolate(coarse.points), normals, mesh.interpolate(coarse.weights)))
