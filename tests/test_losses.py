"""Losses against their equations written out, zero at the target, and finite gradients everywhere."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity
from torch import Tensor

from handkit import losses
from handkit.hand import load_hand
from handkit.losses import MeshEdges, build_mesh_edges

# A tetrahedron: every vertex knows every other.
FACES = torch.tensor([[0, 1, 2], [0, 3, 1], [0, 2, 3], [1, 3, 2]])
MESH = build_mesh_edges(FACES, 4)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gradient(loss: Callable[[Tensor], Tensor], at: Tensor) -> tuple[Tensor, Tensor]:
    at = at.clone().requires_grad_()
    value = loss(at)
    return value.detach(), torch.autograd.grad(value, at)[0]


def test_mesh_edges_of_the_hand() -> None:
    hand = load_hand("open")
    mesh = build_mesh_edges(torch.tensor(hand.faces), 778)
    # One boundary of 16 edges at the wrist; every other edge has two faces.
    assert len(mesh.edges) == (1538 * 3 + 16) // 2
    assert len(mesh.face_pairs) == len(mesh.edges) - 16
    torch.testing.assert_close(mesh.neighbour_mean.sum(1), torch.ones(778))
    both = [set(a) & set(b) for a, b in mesh.face_pairs.tolist()]
    assert all(len(shared) == 2 for shared in both)


def test_silhouette_is_the_published_sum_over_its_pixels() -> None:
    pred, target = random(2, 5, 7), random(2, 5, 7, seed=1)
    expected = [((pred[i] - target[i]) ** 2).sum() for i in range(2)]
    torch.testing.assert_close(losses.silhouette_l2(pred, target, each=True) * 35, torch.stack(expected))
    torch.testing.assert_close(losses.silhouette_l2(pred, target) * 35, torch.stack(expected).mean())
    valid = torch.zeros(2, 5, 7, dtype=torch.bool)
    valid[0, 2, 3] = True
    value, slope = gradient(lambda p: losses.silhouette_l2(p, target, valid), pred)
    torch.testing.assert_close(value, (pred[0, 2, 3] - target[0, 2, 3]) ** 2 / 2)
    assert (slope != 0).sum() == 1


def test_coarse_silhouette_slopes_towards_what_is_not_touched() -> None:
    """A square left of its target: the fine loss has no slope between them, the coarse one has, and both end at 0."""
    pred, target = torch.zeros(32, 32), torch.zeros(32, 32)
    pred[12:20, 4:12] = 1
    target[12:20, 16:24] = 1
    value, slope = gradient(lambda p: losses.silhouette_coarse(p, target, window=16), pred)
    fine = gradient(lambda p: losses.silhouette_l2(p, target), pred)[1]
    assert value > 0
    # More silhouette just right of the square would help, just left of it would not.
    assert slope[16, 13] < slope[16, 2]
    assert fine[16, 13] == fine[16, 2] == 0
    value, slope = gradient(lambda p: losses.silhouette_coarse(p, target, window=16), target)
    assert value == 0
    assert (slope == 0).all()
    valid = target == 0
    assert losses.silhouette_coarse(target, torch.zeros(32, 32), valid, window=8) == 0
    both = losses.silhouette_coarse(torch.stack([pred, target]), torch.stack([target] * 2), window=16, each=True)
    torch.testing.assert_close(both[0], losses.silhouette_coarse(pred, target, window=16))
    assert both[1] == 0


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


@pytest.mark.parametrize("channels", [1, 3])
def test_ssim_is_scikit_images(channels: int) -> None:
    a, b = random(2, channels, 20, 33), random(2, channels, 20, 33, seed=1)
    b = 0.7 * a + 0.3 * b
    expected = [
        structural_similarity(x.numpy(), y.numpy(), channel_axis=0, data_range=1.0) for x, y in zip(a, b, strict=True)
    ]
    np.testing.assert_allclose(losses.ssim(a, b).numpy(), expected, atol=1e-10)
    assert losses.ssim(a[0], b[0]).item() == pytest.approx(expected[0])
    value, slope = gradient(lambda x: losses.ssim_loss(x, a), a)
    assert value.abs() < 1e-12
    assert slope.isfinite().all()


def test_ssim_cuts_the_target_out() -> None:
    image, drawn = random(1, 3, 16, 16), random(1, 3, 16, 16, seed=1)
    mask = torch.zeros(1, 16, 16, dtype=torch.float64)
    mask[:, 4:12, 4:12] = 1
    torch.testing.assert_close(losses.ssim_loss(image * mask[:, None], image, mask), torch.zeros(()).double())
    assert losses.ssim_loss(drawn, image, mask) > 0.1


def test_photometric_counts_the_silhouettes_pixels_only() -> None:
    image, drawn = random(2, 3, 4, 5), random(2, 3, 4, 5, seed=1)
    mask = torch.zeros(2, 4, 5, dtype=torch.float64)
    mask[0, 1, 2] = mask[0, 3, 3] = 0.4
    error = (drawn - image).abs().sum(1)[0]
    each = losses.photometric_l1(drawn, image, mask, torch.tensor([3.0, 1.0]).double(), each=True)
    torch.testing.assert_close(each, torch.stack([3 * (error[1, 2] + error[3, 3]) / 2, torch.zeros(()).double()]))
    value, slope = gradient(lambda x: losses.photometric_l1(x, image, mask), image)
    assert value == 0
    assert slope.isfinite().all()


def test_keypoints_ignore_what_is_not_seen() -> None:
    pred, target = 100 * random(2, 21, 2), 100 * random(2, 21, 2, seed=1)
    weight = torch.ones(2, 21, dtype=torch.float64)
    target[0, 3], weight[1] = torch.nan, 0
    value, slope = gradient(lambda p: losses.keypoint_distance(p, target, weight), pred)
    assert value.isfinite()
    assert slope.isfinite().all()
    assert (slope[1] == 0).all()
    assert (slope[0, 3] == 0).all()
    value, slope = gradient(lambda p: losses.keypoint_distance(p, pred, torch.ones_like(weight)), pred)
    assert value == 0
    assert (slope == 0).all()
    far = losses.keypoint_distance(pred + torch.tensor([300.0, 400.0]), pred, torch.ones_like(weight))
    assert far == pytest.approx(498, abs=0.01)


def test_mask_fitting_leads_into_the_mask() -> None:
    mask = np.zeros((20, 30), bool)
    mask[5:10, 8:15] = True
    distance = torch.from_numpy(losses.mask_distance_px(mask)).double()
    inside = torch.tensor([[10.5, 7.5], [8.5, 5.5]], dtype=torch.float64)
    value, slope = gradient(lambda p: losses.mask_fitting(p, distance), inside)
    assert value < 1e-5
    assert slope.isfinite().all()
    right = torch.tensor([[20.5, 7.5]], dtype=torch.float64)
    value, slope = gradient(lambda p: losses.mask_fitting(p, distance), right)
    assert value == pytest.approx(6, abs=1e-5)
    np.testing.assert_allclose(slope.numpy(), [[1, 0]], atol=1e-5)
    away = torch.tensor([[10.5, -40.0]], dtype=torch.float64)
    value, slope = gradient(lambda p: losses.mask_fitting(p, distance), away)
    assert value == pytest.approx(45.5, abs=1e-4)
    np.testing.assert_allclose(slope.numpy(), [[0, -1]], atol=1e-5)
    assert losses.mask_fitting(right, distance, torch.zeros(1, dtype=torch.bool)) == 0
    assert not losses.mask_distance_px(np.zeros((3, 4), bool)).any()
    batch = losses.mask_fitting(torch.stack([right, away]), distance.expand(2, 20, 30), each=True)
    np.testing.assert_allclose(batch.numpy(), [6, 45.5], atol=1e-4)


def test_losses_do_not_depend_on_the_number_of_samples() -> None:
    mesh: MeshEdges = MESH
    v = random(1, 4, 3)
    for loss in (losses.edge_length, losses.laplacian, losses.normal_consistency):
        torch.testing.assert_close(loss(v.expand(3, 2, 4, 3), mesh), loss(v, mesh))
    pred, target = random(1, 3, 9, 9), random(1, 3, 9, 9, seed=1)
    torch.testing.assert_close(
        losses.ssim_loss(pred.expand(4, 3, 9, 9), target.expand(4, 3, 9, 9)), losses.ssim_loss(pred, target)
    )
