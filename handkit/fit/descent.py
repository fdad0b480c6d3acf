"""Steps for refinement: the published gradient descent with momentum, and one scaled by motion on the screen.

Convention: offsets and gradients are dicts of [B, ...] tensors; every hand goes its own way.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from handkit.fit.problem import Evaluation, Problem, View

Offsets = dict[str, Tensor]
# Finite differences of the motion on the screen: rad, standard deviations, metres.
_DELTA = {"pose": 1e-2, "shape": 0.2, "camera": 1e-3}
_SIZES = {"pose": 48, "shape": 10, "camera": 3}
# Hands whose derivatives are made at once, to hold memory down.
_CHUNK_HANDS = 8
# Outlines nearer than this are not taken for nearer, pixels.
_MIN_GAP_PX = 0.25
# A step that raised the loss is taken back and tried again shorter; good steps grow again.
_SHORTER, _LONGER = 0.35, 1.5
# The vertices join when the parameters have done this part of the iterations, so that they explain what is left.
_VERTICES_FROM = 0.6
# The part of the vertices that makes the outline.
_ON_OUTLINE = 0.25


class _Best:
    """The best offsets of every hand; a loss that is not finite is never best."""

    def __init__(self) -> None:
        self.offsets: Offsets | None = None
        self.first = self.loss = torch.zeros(0)

    def update(self, offsets: Offsets, loss: Tensor) -> Tensor:
        """Take what is better; says of which hands it was."""
        if self.offsets is None:
            self.offsets, self.first, self.loss = dict(offsets), loss, loss
            return torch.ones_like(loss, dtype=torch.bool)
        better = loss < self.loss
        self.offsets = {name: _where(better, offsets[name], best) for name, best in self.offsets.items()}
        self.loss = torch.where(better, loss, self.loss)
        return better


class Momentum:
    """RealisticHands 3.2: v = lr * gradient + momentum * v, offsets - v, all of them counted in `units`."""

    def __init__(self, lr: float, momentum: float, units: Mapping[str, float]) -> None:
        self._lr, self._momentum, self._units = lr, momentum, units
        self._best = _Best()
        self._velocity: Offsets = {}

    def step(self, offsets: Offsets, found: Evaluation, gradients: Offsets) -> Offsets:
        self._best.update(offsets, found.loss.detach())
        self._velocity = {
            # Twice the unit: once for the slope by the counted offset, once for the way back.
            name: self._lr * self._units.get(name, 1.0) ** 2 * slope
            + self._momentum * self._velocity.get(name, torch.zeros_like(slope))
            for name, slope in gradients.items()
        }
        return {name: offset - self._velocity[name] for name, offset in offsets.items()}

    def finish(self, offsets: Offsets, loss: Tensor) -> tuple[Offsets, Tensor, Tensor]:
        self._best.update(offsets, loss)
        assert self._best.offsets is not None
        return self._best.offsets, self._best.first, self._best.loss


class Scaled:
    """Steps of a Gauss-Newton kind: the gradient in the metric of the outline's motion in pixels.

    The loss grows with the area between two outlines, so linearly with their gap e; it is replaced by the parabola of
    the same slope, e^2 / (2 gap). Steps that raise a hand's loss are taken back and shortened.
    """

    def __init__(self, metric: "Metric", iterations: int) -> None:
        self._metric, self._best = metric, _Best()
        self._vertices_from = min(round(_VERTICES_FROM * iterations), iterations - 1) if metric.names else 0
        self._looks = 0
        self._gradients: Offsets = {}
        self._normals: list[Tensor] = []
        self._gap = self._length = torch.zeros(0)

    def step(self, offsets: Offsets, found: Evaluation, gradients: Offsets) -> Offsets:
        better = self._best.update(offsets, found.loss.detach())
        assert self._best.offsets is not None
        if not self._looks:
            self._gradients, self._normals, self._gap = gradients, found.normals, found.gap_px
            self._length = torch.ones_like(self._gap)
        else:
            self._gradients = {name: _where(better, gradients[name], old) for name, old in self._gradients.items()}
            self._normals = [_where(better, n, old) for n, old in zip(found.normals, self._normals, strict=True)]
            self._gap = torch.where(better, found.gap_px, self._gap)
            self._length = torch.where(better, (self._length * _LONGER).clamp_max(1.0), self._length * _SHORTER)
        moves = self._metric.solve(self._gradients, self._normals, self._gap.clamp_min(_MIN_GAP_PX))
        if self._looks < self._vertices_from and "vertices" in moves:
            moves["vertices"] = torch.zeros_like(moves["vertices"])
        self._looks += 1
        return {name: best - _column(self._length, best) * moves[name] for name, best in self._best.offsets.items()}

    def finish(self, offsets: Offsets, loss: Tensor) -> tuple[Offsets, Tensor, Tensor]:
        self._best.update(offsets, loss)
        assert self._best.offsets is not None
        return self._best.offsets, self._best.first, self._best.loss


Stepper = Momentum | Scaled
"""Chooses where to look next, and remembers the best place so far of every hand."""


@dataclass(frozen=True, eq=False)
class Metric:
    """Approximate second derivatives of a refinement's loss.

    motion: of every view, derivatives of the vertices' pixels by the parameters `names` in a row, at the start. fixed:
    second derivatives of the terms that do not render. per_pixel: what a pixel weighs in the loss. Vertices are apart:
    outline_vertices times the identity, and a smoothness all hands share, as eigenvalues [V] and eigenvectors [V, V].
    """

    names: tuple[str, ...]
    motion: list[Float[Tensor, "B 778 2 P"]]
    fixed: Float[Tensor, "B P P"]
    per_pixel: float
    outline_vertices: Float[Tensor, " B"]
    smoothness: tuple[Tensor, Tensor] | None

    @classmethod
    def of(cls, problem: Problem, free: Sequence[str]) -> "Metric":
        """From how the vertices and keypoints move on the screen with each parameter."""
        names = tuple(name for name in _SIZES if name in free)
        weights = problem.settings.weights
        motion, fixed = _motions(problem, names)
        per_pixel = weights.silhouette / problem.views[0].target[0].numel()
        depth = problem.start.transl[:, 2].clamp_min(0.05)
        focal = problem.views[0].K[:, 0, 0]
        outline_vertices = per_pixel * problem.perimeter_px / (_ON_OUTLINE * 778) * (focal / depth) ** 2
        smoothness = None
        if "vertices" in free:
            plain, smooth = weights.vertex_offset or 0.0, weights.laplacian_of_offsets or 0.0
            smoothness = _smoothness(problem.mesh_on_cpu.neighbour_mean, plain, smooth, depth.device)
        return cls(names, motion, fixed, per_pixel, outline_vertices, smoothness)

    def solve(self, gradients: Offsets, normals: list[Tensor], gap_px: Tensor) -> Offsets:
        """The gradients divided by the second derivatives for outlines that are `gap_px` [B] apart."""
        moves: Offsets = {}
        if self.names:
            gradient = torch.cat([gradients[name] for name in self.names], 1)
            outline = torch.zeros_like(self.fixed)
            for J, normal in zip(self.motion, normals, strict=True):
                # How far each parameter moves the outline across itself, weighted by the length that moves.
                across = (normal[..., None] * J).sum(2) * (normal.norm(dim=-1, keepdim=True) + 1e-6).rsqrt()
                outline += self.per_pixel / len(normals) * (across.mT @ across)
            # A little of each parameter's own curvature, and of the mean, keeps unseen directions still.
            own = outline.diagonal(dim1=1, dim2=2)
            matrix = (outline + torch.diag_embed(0.05 * own)) / gap_px[:, None, None] + self.fixed
            move = torch.linalg.solve(matrix, gradient[..., None])[..., 0]
            moves.update(zip(self.names, move.split([_SIZES[name] for name in self.names], 1), strict=True))
        if self.smoothness is not None:
            values, vectors = self.smoothness
            along = vectors.mT @ gradients["vertices"]
            moves["vertices"] = vectors @ (along / ((self.outline_vertices / gap_px)[:, None, None] + values[:, None]))
        return moves


def _motions(problem: Problem, names: tuple[str, ...]) -> tuple[list[Tensor], Tensor]:
    """Every view's screen motion, and second derivatives of the keypoint and offset terms."""
    B, weights = len(problem.start.transl), problem.settings.weights
    P, device = sum(_SIZES[name] for name in names), problem.start.transl.device
    diagonal = torch.full((P,), 1e-3, device=device)
    for name, part in zip(names, torch.arange(P).split([_SIZES[name] for name in names]), strict=True):
        weight = {"pose": weights.pose_offset, "shape": weights.shape_offset}.get(name)
        diagonal[part] += 2 * (weight or 0.0) / len(part)
    fixed = torch.diag(diagonal).repeat(B, 1, 1)
    motion = []
    for view in problem.views if names else ():
        parts = []
        for begin in range(0, B, _CHUNK_HANDS):
            rows = torch.arange(begin, min(begin + _CHUNK_HANDS, B), device=device)
            J, moved = _motion(problem, view.take(rows), rows, names)
            parts.append(J[:, :778])
            if view is problem.views[0] and weights.joint_offset is not None:
                change = problem.joint_change(moved, rows).flatten(1, 2)
                fixed[rows] += 2 * weights.joint_offset * (change.mT @ change)
            if view is problem.views[0] and problem.keypoints is not None and weights.keypoints is not None:
                fixed[rows] += _keypoint_part(problem, J[:, 778:], rows, weights.keypoints)
        motion.append(torch.cat(parts))
    return motion, fixed


def _motion(problem: Problem, view: View, rows: Tensor, names: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    """Derivatives by parameters: of pixels [b, 778 + 21, 2, P], vertices then joints, and of joints [b, 21, 3, P]."""
    columns: list[Tensor] = []
    for name in names:
        size = _SIZES[name]
        moved = torch.cat([torch.eye(size), torch.zeros(1, size)]).to(rows.device) * _DELTA[name]
        offsets = {name: moved.repeat(len(rows), 1)}
        state = problem.state(offsets, rows.repeat_interleave(size + 1))
        with torch.no_grad():
            points = torch.cat(problem.meshes(state), 1)
        wide = view.take(torch.arange(len(rows), device=rows.device).repeat_interleave(size + 1))
        both = torch.cat([wide.pixels(points)[..., :2], points], -1).unflatten(0, (len(rows), size + 1))
        columns.append((both[:, :-1] - both[:, -1:]) / _DELTA[name])
    J = torch.cat(columns, 1).movedim(1, -1)
    return J[:, :, :2].contiguous(), J[:, 778:, 2:]


def _keypoint_part(problem: Problem, J: Tensor, rows: Tensor, weight: float) -> Tensor:
    """Second derivatives of the keypoint term near its minimum."""
    assert problem.keypoints is not None
    scores = problem.keypoints.scores[rows]
    # sqrt(d^2 + s^2) bends with 1 / s at most; half of that is nearer to what noisy keypoints see.
    factor = weight / 4 * scores / (scores > 0).sum(1, keepdim=True).clamp_min(1)
    weighted = (J * factor[..., None, None]).flatten(1, 2)
    return weighted.mT @ J.flatten(1, 2)


@lru_cache(maxsize=4)
def _modes(neighbour_mean: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues and vectors of L^T L."""
    difference = torch.eye(len(neighbour_mean), dtype=torch.float64) - neighbour_mean.double()
    values, vectors = torch.linalg.eigh(difference.mT @ difference)
    return values.clamp_min(0).float(), vectors.float()


def _smoothness(neighbour_mean: Tensor, plain: float, smooth: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """Second derivatives of the two terms on vertex offsets, as eigenvalues and eigenvectors."""
    values, vectors = (part.to(device) for part in _modes(neighbour_mean))
    return 2 * (plain + smooth * values) / len(values) + 1e-6, vectors


def _column(per_hand: Tensor, like: Tensor) -> Tensor:
    return per_hand.view(-1, *[1] * (like.dim() - 1))


def _where(chosen: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    return torch.where(_column(chosen, no), yes, no)
