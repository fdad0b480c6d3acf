"""What a mesh of free vertices is held to (I2L-MeshNet, Moon & Lee, ECCV 2020): places, edges, normals.

Points are of any unit, 2D or 3D; all are means.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from handkit.losses.reduce import apart, valid_mean

_TINY = 1e-12


def points_l1(
    pred: Float[Tensor, "*B N C"], target: Float[Tensor, "*B N C"], valid: Bool[Tensor, "*B N"] | None = None
) -> Tensor:
    """The mean of |pred - target| over coordinates of valid points."""
    mask = None if valid is None else valid[..., None]
    return valid_mean(apart(pred, target, mask).abs(), mask)


def edge_lengths_l1(
    pred: Float[Tensor, "*B V C"],
    target: Float[Tensor, "*B V C"],
    edges: Int[Tensor, "E 2"],
    valid: Bool[Tensor, "*B"] | None = None,
) -> Tensor:
    """The mean of | |edge| - |target's edge| | over edges, each once."""
    return valid_mean((edge_lengths(pred, edges) - edge_lengths(target, edges)).abs(), _each(valid))


def edge_lengths(vertices: Float[Tensor, "*B V C"], edges: Int[Tensor, "E 2"]) -> Float[Tensor, "*B E"]:
    """Lengths of a mesh's edges; an edge of no length has a gradient of 0."""
    a, b = edges.unbind(-1)
    return ((vertices[..., a, :] - vertices[..., b, :]).square().sum(-1) + _TINY).sqrt()


def normals_l1(
    pred: Float[Tensor, "*B V 3"],
    target: Float[Tensor, "*B V 3"],
    faces: Int[Tensor, "F 3"],
    valid: Bool[Tensor, "*B"] | None = None,
) -> Tensor:
    """The mean of |cosine| between a face's three edges and the normal of the target's face: 0 where it lies in it."""
    corners = target[..., faces, :]
    sides = corners[..., 1:, :] - corners[..., :1, :]
    normal = functional.normalize(torch.linalg.cross(sides[..., 0, :], sides[..., 1, :], dim=-1), dim=-1, eps=_TINY)
    own = pred[..., faces, :]
    edges = functional.normalize(own - own[..., [1, 2, 0], :], dim=-1, eps=_TINY)
    cosine = (edges * normal[..., None, :]).sum(-1).abs()
    return valid_mean(cosine.flatten(-2), _each(valid))


def _each(valid: Bool[Tensor, "*B"] | None) -> Tensor | None:
    return None if valid is None else valid[..., None]
