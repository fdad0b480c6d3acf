"""Mesh terms against their equations written out, and where they vanish."""

import torch

from handkit import losses
from handkit.hand import load_hand
from handkit.losses import MeshEdges, build_mesh_edges
from tests.losses.common import gradient, random

# A tetrahedron: every vertex knows every other.
FACES = torch.tensor([[0, 1, 2], [0, 3, 1], [0, 2, 3], [1, 3, 2]])
MESH = build_mesh_edges(FACES, 4)


def test_mesh_edges_of_the_hand() -> None:
    hand = load_hand("open")
    mesh = build_mesh_edges(torch.tensor(hand.faces), 778)
    # One boundary of 16 edges at the wrist; every other edge has two faces.
    assert len(mesh.edges) == (1538 * 3 + 16) // 2
    assert len(mesh.face_pairs) == len(mesh.edges) - 16
    torch.testing.assert_close(mesh.neighbour_mean.sum(1), torch.ones(778))
    both = [set(a) & set(b) for a, b in mesh.face_pairs.tolist()]
    assert all(len(shared) == 2 for shared in both)


def test_mesh_terms_follow_their_equations() -> None:
    v = random(4, 3)
    neighbours = {i: [k for k in range(4) if k != i] for i in range(4)}
    edge = sum((v[i] - v[k]).square().sum() for i in range(4) for k in neighbours[i])
    torch.testing.assert_close(losses.edge_length(v, MESH) * 2 * 6, edge)
    delta = [v[i] - torch.stack([v[k] for k in neighbours[i]]).mean(0) for i in range(4)]
    torch.testing.assert_close(losses.laplacian(v, MESH) * 4, torch.stack(delta).square().sum())
    torch.testing.assert_close(losses.vertex_offset(v) * 4, v.square().sum())
    normals = torch.linalg.cross(v[FACES[:, 1]] - v[FACES[:, 0]], v[FACES[:, 2]] - v[FACES[:, 0]])
    cosines = [torch.cosine_similarity(normals[i], normals[j], dim=0) for i in range(4) for j in range(i)]
    torch.testing.assert_close(losses.normal_consistency(v, MESH), 1 - torch.stack(cosines).mean())


def test_mesh_terms_vanish_where_they_should() -> None:
    flat = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]], dtype=torch.float64)
    square = build_mesh_edges(torch.tensor([[0, 1, 2], [1, 3, 2]]), 4)
    assert losses.normal_consistency(flat, square) < 1e-9
    assert losses.normal_consistency(flat * 1e-4, square) < 1e-9
    folded = flat.clone()
    folded[3] = torch.tensor([0.0, 0.0, 0.0])
    assert losses.normal_consistency(folded, square) > 1.9
    same = torch.zeros(2, 4, 3, dtype=torch.float64)
    for loss in (losses.edge_length, losses.laplacian, losses.normal_consistency):
        value, slope = gradient(lambda v, loss=loss: loss(v, MESH), same)
        assert slope.isfinite().all()
        assert value == (1 if loss is losses.normal_consistency else 0)


def test_mesh_terms_do_not_depend_on_the_number_of_samples() -> None:
    mesh: MeshEdges = MESH
    v = random(1, 4, 3)
    for loss in (losses.edge_length, losses.laplacian, losses.normal_consistency):
        torch.testing.assert_close(loss(v.expand(3, 2, 4, 3), mesh), loss(v, mesh))
