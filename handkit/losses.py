"""Losses: pure functions, means over valid elements, finite in value and gradient also at the target.

Convention: leading dimensions `*B` are samples; a loss is the mean over samples, or with `each` the value of every
sample [*B]. A mean does not depend on how many there are; where a paper prints a sum, its settings carry the factor.
Nothing valid gives 0. Silhouettes and colours lie in [0, 1], points are metres or pixels (x, y), centres at +0.5.
"""

from typing import NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

_SSIM_WINDOW = 7
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


def silhouette_l2(
    pred: Float[Tensor, "*B H W"],
    target: Float[Tensor, "*B H W"],
    valid: Bool[Tensor, "*B H W"] | None = None,
    *,
    each: bool = False,
) -> Tensor:
    """RealisticHands 3.2: ||S_mesh - S_target||_2^2, as a mean over pixels; the printed sum is H * W times it."""
    return _reduced((pred - target).square().flatten(-2), None if valid is None else valid.flatten(-2), each)


def silhouette_coarse(
    pred: Float[Tensor, "*B H W"],
    target: Float[Tensor, "*B H W"],
    valid: Bool[Tensor, "*B H W"] | None = None,
    *,
    window: int,
    each: bool = False,
) -> Tensor:
    """Mean square of the difference after averaging it over square windows, a quarter of one apart.

    Unlike `silhouette_l2` it has a slope towards parts of the target that the silhouette does not touch yet.
    """
    apart = pred - target if valid is None else (pred - target) * valid
    images = apart.reshape(-1, 1, *apart.shape[-2:])
    coarse = torch.nn.functional.avg_pool2d(images, window, stride=max(1, window // 4), padding=window // 2)
    return _mean_of(coarse.square().mean((1, 2, 3)).reshape(apart.shape[:-2]), each)


def vertex_offset(offsets: Float[Tensor, "*B V 3"], *, each: bool = False) -> Tensor:
    """RealisticHands Eq. 2: L_v = ||dv||_2^2, as a mean over vertices; the printed sum is V times it."""
    return _reduced(offsets.square().sum(-1), None, each)


def edge_length(vertices: Float[Tensor, "*B V 3"], mesh: MeshEdges, *, each: bool = False) -> Tensor:
    """RealisticHands Eq. 2: L_e = sum_v sum_{k in N(v)} ||v - k||_2^2, as a mean over edges.

    The printed sum counts each edge from both its ends: 2 E times the mean.
    """
    a, b = mesh.edges.unbind(1)
    return _reduced((vertices[..., a, :] - vertices[..., b, :]).square().sum(-1), None, each)


def laplacian(vertices: Float[Tensor, "*B V 3"], mesh: MeshEdges, *, each: bool = False) -> Tensor:
    """RealisticHands Eq. 3: sum_v ||v - sum_{k in N(v)} k / |N(v)|||_2^2, as a mean over vertices (sum: V times it)."""
    return _reduced((vertices - mesh.neighbour_mean.to(vertices) @ vertices).square().sum(-1), None, each)


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
    return _reduced(1 - normals.prod(-2).sum(-1), None, each)


def keypoint_distance(
    pred: Float[Tensor, "*B N 2"],
    target: Float[Tensor, "*B N 2"],
    weight: Float[Tensor, "*B N"],
    *,
    softening_px: float = 2.0,
    each: bool = False,
) -> Tensor:
    """Mean of w (sqrt(d^2 + s^2) - s) over keypoints of weight above 0: quadratic below s pixels, linear beyond."""
    valid = (weight > 0) & target.isfinite().all(-1)
    gap = torch.where(valid[..., None], pred - torch.where(valid[..., None], target, 0.0), 0.0)
    distance = (gap.square().sum(-1) + softening_px**2).sqrt() - softening_px
    return _reduced(distance * torch.where(valid, weight, 0.0), valid, each)


def photometric_l1(
    pred: Float[Tensor, "*B C H W"],
    target: Float[Tensor, "*B C H W"],
    silhouette: Float[Tensor, "*B H W"],
    confidence: Float[Tensor, "*B"] | None = None,
    *,
    each: bool = False,
) -> Tensor:
    """S2HAND Eq. 6: conf_sum / |S| sum over the pixels of S of ||I - I_re||_1.

    `silhouette` only says where (no gradient goes to it); `confidence` is the sum of the keypoints' confidences, 1
    where not given.
    """
    inside = (silhouette.detach() > 0).flatten(-2)
    error = _reduced((pred - target).abs().sum(-3).flatten(-2), inside, each=True)
    return _mean_of(error if confidence is None else error * confidence, each)


def ssim_loss(
    pred: Float[Tensor, "*B C H W"],
    target: Float[Tensor, "*B C H W"],
    silhouette: Float[Tensor, "*B H W"] | None = None,
    *,
    each: bool = False,
) -> Tensor:
    """S2HAND Eq. 7: 1 - SSIM(I * S, I_re); `silhouette` cuts the target out, without a gradient to it."""
    if silhouette is not None:
        target = target * silhouette.detach()[..., None, :, :]
    return _mean_of(1 - ssim(pred, target), each)


def ssim(a: Float[Tensor, "*B C H W"], b: Float[Tensor, "*B C H W"], *, value_range: float = 1.0) -> Tensor:
    """Mean structural similarity [*B] (Wang 2004): windows of 7 x 7 wholly inside, unbiased variances.

    The numbers of `skimage.metrics.structural_similarity` with its defaults.
    """
    images = torch.stack([a, b, a * a, b * b, a * b]).flatten(1, -3) if a.dim() > 3 else None
    if images is None:
        return ssim(a[None], b[None], value_range=value_range)[0]
    size = _SSIM_WINDOW
    mean_a, mean_b, mean_aa, mean_bb, mean_ab = torch.nn.functional.avg_pool2d(images, size, stride=1)
    unbiased = size * size / (size * size - 1)
    var_a, var_b = unbiased * (mean_aa - mean_a**2), unbiased * (mean_bb - mean_b**2)
    covariance = unbiased * (mean_ab - mean_a * mean_b)
    c1, c2 = (0.01 * value_range) ** 2, (0.03 * value_range) ** 2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    similarity = luminance * (2 * covariance + c2) / (var_a + var_b + c2)
    return similarity.unflatten(0, a.shape[:-2]).mean((-1, -2, -3))


def mask_distance_px(mask: Bool[np.ndarray, "H W"]) -> Float[np.ndarray, "H W"]:
    """Distance of every pixel centre to the nearest pixel of the mask, 0 inside it; all 0 for an empty mask."""
    if not mask.any():
        return np.zeros(mask.shape, np.float32)
    return cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE).astype(np.float32)


def mask_fitting(
    points_px: Float[Tensor, "*B N 2"],
    distance_px: Float[Tensor, "*B H W"],
    valid: Bool[Tensor, "*B N"] | None = None,
    *,
    each: bool = False,
) -> Tensor:
    """SeqHAND Eq. 11 with a gradient: mean distance in pixels from the points to the mask, 0 for those inside.

    The published term counts the points outside, which no gradient can lower: that is `metrics.outside_mask_fraction`.
    `distance_px` is `mask_distance_px` of each mask, read bilinearly; outside the image the way to its edge is added.
    """
    height, width = distance_px.shape[-2:]
    limit = points_px.new_tensor([width - 1, height - 1])
    at = points_px - 0.5
    inside = torch.minimum(at.clamp_min(0), limit)
    corner = torch.minimum(inside.detach().floor(), (limit - 1).clamp_min(0))
    share = inside - corner
    x, y = corner.long().unbind(-1)
    flat = distance_px.flatten(-2)
    x1, y1 = (x + 1).clamp_max(width - 1), (y + 1).clamp_max(height - 1)
    upper, lower = (
        flat.gather(-1, row * width + x) * (1 - share[..., 0]) + flat.gather(-1, row * width + x1) * share[..., 0]
        for row in (y, y1)
    )
    distance = upper * (1 - share[..., 1]) + lower * share[..., 1]
    beyond = ((at - inside).square().sum(-1) + _TINY).sqrt() - _TINY**0.5
    return _reduced(distance + beyond, valid, each)


def _reduced(values: Tensor, valid: Tensor | None, each: bool) -> Tensor:
    """The mean over the last dimension of what is valid, then over samples."""
    if valid is None:
        return _mean_of(values.mean(-1), each)
    total = torch.where(valid, values, 0.0).sum(-1)
    return _mean_of(total / valid.sum(-1).clamp_min(1), each)


def _mean_of(samples: Tensor, each: bool) -> Tensor:
    return samples if each else samples.mean() if samples.numel() else samples.sum()
