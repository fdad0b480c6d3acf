"""The refinement's loss: RealisticHands Eq. 5 of a batch of hands, as a function of their offsets.

H = M(p + dp, s + ds) + dv (Eq. 1), seen through a moved camera. The camera's offset is the hand's translation in the
camera frame; vertex offsets are metres along the camera's axes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Final, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from handkit import losses
from handkit.hand import HandModel, ManoLayer
from handkit.losses import MeshEdges, build_mesh_edges
from handkit.render import soft_silhouette, to_pixels

PARTS: Final = ("pose", "shape", "vertices", "camera")
# Joints are held by the odds of their scores; this is a little above the score of a sure one.
_SURE: Final = 1.05
# Windows of the coarse silhouette, as parts of the crop.
_COARSE: Final = 1 / 7


@dataclass(frozen=True, kw_only=True)
class RefineWeights:
    """Factors of the terms, each of them a mean; None leaves a term out.

    silhouette: mean over pixels; silhouette_coarse: of its averages over windows of a seventh of the crop, which draws
    an outline to what it does not touch yet. keypoints: pixels of the crop. vertex_offset, laplacian, edge: square
    metres. normal: per pair of faces. pose_offset: square radians, shape_offset: square standard deviations, both as
    means. joint_offset: square metres that joints move against each other, times the odds of their keypoints' scores:
    the start was fitted to these and to 3D landmarks, so it is as sure as they were.
    """

    silhouette: float = 1.0
    silhouette_coarse: float | None = None
    keypoints: float | None = None
    vertex_offset: float | None = None
    laplacian: float | None = None
    laplacian_of_offsets: float | None = None
    normal: float | None = None
    edge: float | None = None
    pose_offset: float | None = None
    shape_offset: float | None = None
    joint_offset: float | None = None


@dataclass(frozen=True, kw_only=True)
class RefineSettings:
    """How to refine: the weights, the renderer's sharpness, and the steps.

    sigma_px2: of the soft silhouette. stepper: "momentum", lr and momentum as in the paper, or "scaled", a step per
    hand in the metric of its outline's motion on the screen (then lr, momentum and units are not used). units: what
    the offsets of each part are counted in for momentum's steps; radians, standard deviations, metres if not given.
    """

    weights: RefineWeights
    sigma_px2: float
    stepper: Literal["momentum", "scaled"] = "scaled"
    lr: float = 0.002
    momentum: float = 0.9
    units: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False, kw_only=True)
class View:
    """Square crops of one camera: K in the crop's pixels, and the target silhouettes in [0, 1].

    valid: the pixels that count. rotation, translation: x_view = R x_camera + t, for further views of calibrated
    cameras; None is the camera that the hands' parameters are in.
    """

    K: Float[Tensor, "B 3 3"]
    target: Float[Tensor, "B S S"]
    valid: Bool[Tensor, "B S S"] | None = None
    rotation: Float[Tensor, "3 3"] | None = None
    translation: Float[Tensor, " 3"] | None = None

    def pixels(self, points: Float[Tensor, "B N 3"]) -> Float[Tensor, "B N 3"]:
        """Pixel x, y and depth of points of the hands' camera frame."""
        if self.rotation is not None:
            points = points @ self.rotation.mT
        if self.translation is not None:
            points = points + self.translation
        return to_pixels(points, self.K)

    def take(self, rows: Tensor) -> "View":
        """The crops of some hands."""
        valid = None if self.valid is None else self.valid[rows]
        return replace(self, K=self.K[rows], target=self.target[rows], valid=valid)


@dataclass(frozen=True, eq=False, kw_only=True)
class Keypoints:
    """2D keypoints in the first view's crop, their scores (0 where unseen), and what they are of the model's joints."""

    xy: Float[Tensor, "B 21 2"]
    scores: Float[Tensor, "B 21"]
    from_joints: Float[Tensor, "21 21"] | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class HandState:
    """Hands of one side in the camera frame, float32; vertex offsets in metres."""

    global_orient: Float[Tensor, "B 3"]
    hand_pose: Float[Tensor, "B 45"]
    betas: Float[Tensor, "B 10"]
    transl: Float[Tensor, "B 3"]
    vertex_offsets: Float[Tensor, "B 778 3"] | None = None


@dataclass(frozen=True, eq=False)
class Evaluation:
    """One look at all hands: total losses, meshes, and the first view's soft silhouettes."""

    loss: Float[Tensor, " B"]
    gap_px: Float[Tensor, " B"]
    vertices: Float[Tensor, "B 778 3"]
    joints: Float[Tensor, "B 21 3"]
    silhouette: Float[Tensor, "B S S"]
    normals: list[Float[Tensor, "B 778 2"]]  # of each view: how the silhouette's area grows with each vertex


class Problem:
    """The loss of a batch of hands as a function of their offsets."""

    def __init__(
        self,
        hand: HandModel,
        start: HandState,
        views: Sequence[View],
        keypoints: Keypoints | None,
        settings: RefineSettings,
    ) -> None:
        if not views:
            raise ValueError("at least one view is needed")
        self.layer = ManoLayer(hand).to(start.transl.device)
        self.start, self.views, self.keypoints, self.settings = start, list(views), keypoints, settings
        self.mesh_on_cpu = mesh_edges(hand)
        self.mesh = MeshEdges(*(part.to(start.transl.device) for part in self.mesh_on_cpu))
        with torch.no_grad():
            self.joints_at_start = self.meshes(start)[1]
        scores = torch.zeros_like(self.joints_at_start[..., 0]) if keypoints is None else keypoints.scores.clamp(0, 1)
        self.certainty = scores / (_SURE - scores)
        size = views[0].target.shape[-2:]
        self.perimeter_px = torch.stack([_perimeter_px(view.target) for view in views]).mean(0).clamp_min(size[0] / 4)

    def joint_change(self, moved: Tensor, rows: Tensor | slice = slice(None)) -> Tensor:
        """Motions of joints [B, 21, 3, ...] about their mean, times the root of each joint's certainty over 21."""
        certainty = self.certainty[rows].view(*moved.shape[:2], *[1] * (moved.dim() - 2))
        mean = (certainty * moved).sum(1, keepdim=True) / certainty.sum(1, keepdim=True).clamp_min(1e-6)
        return (certainty / 21).sqrt() * (moved - mean)

    def zeros(self, free: Sequence[str]) -> dict[str, Tensor]:
        """Offsets at the start: pose [B, 48], shape [B, 10], vertices [B, 778, 3], camera [B, 3]."""
        B, device = len(self.start.transl), self.start.transl.device
        shapes = {"pose": (48,), "shape": (10,), "vertices": (778, 3), "camera": (3,)}
        return {name: torch.zeros(B, *shapes[name], device=device) for name in PARTS if name in free}

    def state(self, offsets: dict[str, Tensor], rows: Tensor | slice = slice(None)) -> HandState:
        """Eq. 1: the parameters moved by their offsets."""
        start = self.start
        pose = torch.cat([start.global_orient, start.hand_pose], 1)[rows] + offsets.get("pose", 0.0)
        shift = None if start.vertex_offsets is None else start.vertex_offsets[rows]
        if "vertices" in offsets:
            shift = offsets["vertices"] if shift is None else shift + offsets["vertices"]
        return HandState(
            global_orient=pose[:, :3],
            hand_pose=pose[:, 3:],
            betas=start.betas[rows] + offsets.get("shape", 0.0),
            transl=start.transl[rows] + offsets.get("camera", 0.0),
            vertex_offsets=shift,
        )

    def meshes(self, state: HandState) -> tuple[Tensor, Tensor]:
        """Vertices and joints in the camera frame."""
        output = self.layer(
            global_orient=state.global_orient, hand_pose=state.hand_pose, betas=state.betas, transl=state.transl
        )
        vertices = output.vertices if state.vertex_offsets is None else output.vertices + state.vertex_offsets
        return vertices, output.joints

    def evaluate(self, offsets: dict[str, Tensor]) -> Evaluation:
        """Eq. 5, with Eq. 8's mean over views, per hand."""
        weights = self.settings.weights
        vertices, joints = self.meshes(self.state(offsets))
        total, gap = vertices.new_zeros(len(vertices)), vertices.new_zeros(len(vertices))
        drawn, normals = [], []
        for view in self.views:
            size = (view.target.shape[-2], view.target.shape[-1])
            pixels = view.pixels(vertices)
            silhouette = soft_silhouette(pixels, self.layer.faces, size=size, sigma=self.settings.sigma_px2)
            apart = losses.silhouette_l2(silhouette, view.target, view.valid, each=True)
            total = total + weights.silhouette * apart / len(self.views)
            if weights.silhouette_coarse is not None:
                window = max(4, round(_COARSE * size[0]))
                coarse = losses.silhouette_coarse(silhouette, view.target, view.valid, window=window, each=True)
                total = total + weights.silhouette_coarse * coarse / len(self.views)
            gap += apart.detach() * size[0] * size[1] / len(self.views)
            drawn.append(silhouette.detach())
            if pixels.requires_grad and self.settings.stepper == "scaled":
                area = silhouette if view.valid is None else silhouette * view.valid
                normals.append(torch.autograd.grad(area.sum(), pixels, retain_graph=True)[0][..., :2])
        total = total + self._keypoint_term(joints) + self._mesh_terms(vertices, offsets)
        for name, weight in (("pose", weights.pose_offset), ("shape", weights.shape_offset)):
            if weight is not None and name in offsets:
                total = total + weight * offsets[name].square().mean(-1)
        if weights.joint_offset is not None:
            change = self.joint_change(joints - self.joints_at_start)
            total = total + weights.joint_offset * change.square().sum((1, 2))
        return Evaluation(total, gap / self.perimeter_px, vertices.detach(), joints.detach(), drawn[0], normals)

    def _keypoint_term(self, joints: Tensor) -> Tensor | float:
        given, weight = self.keypoints, self.settings.weights.keypoints
        if given is None or weight is None:
            return 0.0
        if given.from_joints is not None:
            joints = given.from_joints.to(joints) @ joints
        points = self.views[0].pixels(joints)[..., :2]
        return weight * losses.keypoint_distance(points, given.xy, given.scores, each=True)

    def _mesh_terms(self, vertices: Tensor, offsets: dict[str, Tensor]) -> Tensor | float:
        weights, total = self.settings.weights, vertices.new_zeros(len(vertices))
        if weights.laplacian is not None:
            total = total + weights.laplacian * losses.laplacian(vertices, self.mesh, each=True)
        if weights.normal is not None:
            total = total + weights.normal * losses.normal_consistency(vertices, self.mesh, each=True)
        if weights.edge is not None:
            total = total + weights.edge * losses.edge_length(vertices, self.mesh, each=True)
        if "vertices" in offsets and weights.vertex_offset is not None:
            total = total + weights.vertex_offset * losses.vertex_offset(offsets["vertices"], each=True)
        if "vertices" in offsets and weights.laplacian_of_offsets is not None:
            total = total + weights.laplacian_of_offsets * losses.laplacian(offsets["vertices"], self.mesh, each=True)
        return total


def _perimeter_px(target: Float[Tensor, "B S S"]) -> Float[Tensor, " B"]:
    """Length of the masks' outlines: the sum of the gradient's length."""
    dx, dy = target[:, :-1].diff(dim=2), target[:, :, :-1].diff(dim=1)
    return (dx.square() + dy.square()).sqrt().sum((1, 2))


@lru_cache(maxsize=4)
def mesh_edges(hand: HandModel) -> MeshEdges:
    return build_mesh_edges(torch.tensor(hand.faces), len(hand.v_template))
