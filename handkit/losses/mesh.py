"""Smoothness of a mesh, and what its terms need to know of it."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from handkit.losses.reduce import reduced

_TINY = 1e-12


class MeshEdges(NamedTuple):
    """What the smoothness terms need of a mesh: E edges, P pairs of faces that share one, V vertices."""

    edges: Int[Tensor, "E 2"]  # each once
    face_pairs: Int[Tensor, "P 2 3"]  # the corners of both faces
    neighbour_mean: Float[Tensor, "V V"]  # rows average a vertex's neighbours


def build_mesh_edges(faces: Int[Tensor, "F 3"], vertices: int) -> MeshEdges:
    """Edges, neighbouring faces and the averaging matrix (float32) of a triangle mesh."""
    triangles = faces.cpu().numpy().astype(np.int64)
    directed = np.sort(triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    edges, inverse = np.unique(directed, axis=0, return_inverse=True)
    order = np.argsort(inverse.ravel(), kind="stable")
    sorted_edges = inverse.ravel()[order]
    shared = np.flatnonzero(sorted_edges[1:] == sorted_edges[:-1])
    pairs = triangles[np.stack([order[shared], order[shared + 1]], 1) // 3]
    adjacency = torch.zeros(vertices, vertices)
    a, b = torch.from_numpy(edges).unbind(1)
    adjacency[a, b] = adjacency[b, a] = 1.0
    mean = adjacency / adjacency.sum(1, keepdim=True).clamp_min(1.0)
    device = faces.device
    return MeshEdges(torch.from_numpy(edges).to(device), torch.from_numpy(pairs).to(device), mean.to(device))


def vertex_offset(offsets: Float[Tensor, "*B V 3"], *, each: bool = False) -> Tensor:
    """RealisticHands Eq. 2: L_v = ||dv||_2^2, as a mean over vertices; the printed sum is V times it."""
    return reduced(offsets.square().sum(-1), None, each)


def edge_length(vertices: Float[Tensor, "*B V 3"], mesh: MeshEdges, *, each: bool = False) -> Tensor:
    """RealisticHands Eq. 2: L_e = sum_v sum_{k in N(v)} ||v - k||_2^2, as a mean over edges.

    The printed sum counts each edge from both its ends: 2 E times the mean.
    """
    a, b = mesh.edges.unbind(1)
    return reduced((vertices[..., a, :] - vertices[..., b, :]).square().sum(-1), None, each)


def laplacian(vertices: Float[Tensor, "*B V 3"], mesh: MeshEdges, *, each: bool = False) -> Tensor:
    """RealisticHands Eq. 3: sum_v ||v - sum_{k in N(v)} k / |N(v)|||_2^2, as a mean over vertices (sum: V times it)."""
    return reduced((vertices - mesh.neighbour_mean.to(vertices) @ vertices).square().sum(-1), None, each)


def normal_consistency(vertices: Float[Tensor, "*B V 3"], mesh: MeshEdges, *, each: bool = False) -> Tensor:
    """RealisticHands Eq. 4: 1 - n_l . n_r / (|n_l| |n_r|) of faces that share an edge, as a mean over the P pairs.

    Faces without area count as bent by 90 degrees and have no gradient.
    """
    corners = vertices[..., mesh.face_pairs, :]  # [*B, P, 2, 3, 3]
    sides = corners[..., 1:, :] - corners[..., :1, :]
    # In units of the mesh's own size, so that the floor below means the same for any.
    sides = sides / sides.detach().square().mean((-1, -2, -3, -4), keepdim=True).clamp_min(_TINY**2).sqrt()
    normals = torch.linalg.cross(sides[..., 0, :], sides[..., 1, :], dim=-1)
    normals = normals * (normals.square().sum(-1, keepdim=True) + _TINY).rsqrt()
    return reduced(1 - normals.prod(-2).sum(-1), None, each)
