"""Losses of meshes of free vertices against twins that loop, and what moves them."""

import math

import pytest
import torch

from handkit import losses
from handkit.hand import load_hand
from handkit.losses import build_mesh_edges
from tests.losses.common import gradient, random

FACES = torch.tensor([[0, 1, 2], [2, 1, 3], [0, 2, 4]])
EDGES = build_mesh_edges(FACES, 5).edges
B = 3


def test_points_are_a_mean_over_coordinates_of_valid_ones() -> None:
    pred, target = random(B, 5, 3), random(B, 5, 3, seed=1)
    valid = random(B, 5, seed=2) > 0.4
    expected = [
        abs(float(pred[b, v, c] - target[b, v, c]))
        for b in range(B)
        for v in range(5)
        for c in range(3)
        if bool(valid[b, v])
    ]
    assert float(losses.points_l1(pred, target, valid)) == pytest.approx(sum(expected) / len(expected))
    assert float(losses.points_l1(pred, target)) == pytest.approx(float((pred - target).abs().mean()))


@pytest.mark.parametrize("dimensions", [2, 3])
def test_edges_are_a_mean_over_edges_of_valid_meshes(dimensions: int) -> None:
    pred, target = random(B, 5, dimensions), random(B, 5, dimensions, seed=1)
    valid = torch.tensor([True, False, True])
    expected = [
        abs(
            math.dist(pred[b, i].tolist(), pred[b, j].tolist())
            - math.dist(target[b, i].tolist(), target[b, j].tolist())
        )
        for b in (0, 2)
        for i, j in EDGES.tolist()
    ]
    found = losses.edge_lengths_l1(pred, target, EDGES, valid)
    assert float(found) == pytest.approx(sum(expected) / len(expected), rel=1e-6)


def test_normals_are_the_mean_cosine_of_edges_with_the_targets_normals() -> None:
    pred, target = random(B, 5, 3), random(B, 5, 3, seed=1)
    total, count = 0.0, 0
    for b in range(B):
        for face in FACES.tolist():
            a, p, q = (target[b, v] for v in face)
            normal = torch.linalg.cross(p - a, q - a)
            for i, j in ((0, 1), (1, 2), (2, 0)):
                edge = pred[b, face[i]] - pred[b, face[j]]
                total += abs(float((edge @ normal) / (edge.norm() * normal.norm())))
                count += 1
    assert float(losses.normals_l1(pred, target, FACES)) == pytest.approx(total / count, rel=1e-6)


def test_a_mesh_agrees_with_itself_wherever_it_stands() -> None:
    hand = load_hand("open", "right")
    faces = torch.tensor(hand.faces)
    edges = build_mesh_edges(faces, 778).edges
    mesh = torch.tensor(hand.v_template)[None]
    moved = mesh + torch.tensor([0.1, 0.2, 0.3])
    assert float(losses.edge_lengths_l1(moved, mesh, edges)) < 1e-9
    assert float(losses.normals_l1(moved, mesh, faces)) < 1e-6
    assert float(losses.edge_lengths_l1(1.1 * mesh, mesh, edges)) > 1e-4


@pytest.mark.parametrize("at_target", [True, False])
def test_gradients_are_finite_also_where_nothing_is_valid(at_target: bool) -> None:
    target = torch.zeros(B, 5, 3, dtype=torch.float64) if at_target else random(B, 5, 3)
    none, every = torch.zeros(B, dtype=torch.bool), torch.ones(B, dtype=torch.bool)
    for valid in (none, every):
        for loss in (
            lambda x, ok=valid: losses.edge_lengths_l1(x, target, EDGES, ok),
            lambda x, ok=valid: losses.normals_l1(x, target, FACES, ok),
            lambda x, ok=valid: losses.points_l1(x, target, ok[:, None].expand(B, 5)),
        ):
            value, slope = gradient(loss, target)
            assert bool(slope.isfinite().all())
            assert bool(valid.any()) or float(value) == 0
