"""Keypoints, or 3D joints, to the parametric hand.

Three entries over one objective: `fit_joints` (3D joints alone), `fit_images` (every row its own hand) and `fit_track`
(one hand over time: one shape, coupled poses). Left hands are fitted as their mirror image.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from handkit.errors import HandkitError
from handkit.fit.kinematics import JointModel, Pose
from handkit.fit.landmarks import LANDMARKS, LandmarkSource
from handkit.fit.objective import Objective, Observations, PosePrior
from handkit.fit.solvers import Smoothness, solve_rows, solve_track
from handkit.fit.start import encode_points, start_from_image, start_from_points
from handkit.geometry import axis_angle_to_matrix, matrix_to_axis_angle, mirror_axis_angle, mirror_points
from handkit.hand import HandModel, ManoLayer, load_hand
from handkit.hand.limits import LIMITS_DEG, angles_to_pose, pose_to_angles, sample_angles
from handkit.hand.model import Side
from handkit.machine import single_thread

# Accelerations beyond which motion counts as meant, at smooth = 1: m/s^2 and rad/s^2.
ACCELERATION_SIGMA = (3.0, 40.0, 60.0)
WINDOW, OVERLAP = 300, 20
SHAPE_FRAMES = 32
# At first no residual is an outlier: the start may be far off.
START_ROBUST = 30.0


@dataclass(frozen=True, eq=False)
class HandParameters:
    """Fitted hands in the camera frame, metres; a left hand's are those of the left hand's own layer.

    `layer(global_orient, hand_pose, betas, transl)` rebuilds joints and vertices (float32).
    """

    global_orient: Float[Tensor, "*B 3"]
    hand_pose: Float[Tensor, "*B 45"]
    betas: Float[Tensor, "*B 10"]
    transl: Float[Tensor, "*B 3"]
    joints: Float[Tensor, "*B 21 3"]
    vertices: Float[Tensor, "*B 778 3"]


@dataclass(frozen=True, eq=False)
class FitStart:
    """Where a fit starts in place of its own guesses: hands as `HandParameters` has them, one a row."""

    global_orient: Float[Tensor, "B 3"]
    hand_pose: Float[Tensor, "B 45"]
    transl: Float[Tensor, "B 3"]


@dataclass(frozen=True)
class FitWeights:
    """How far each kind of evidence is trusted."""

    pose_prior: float = 0.5
    shape_prior: float = 1.0
    iterations: int = 30


@lru_cache(maxsize=4)
def joint_model(hand: HandModel) -> JointModel:
    return JointModel(hand if hand.side == "right" else hand.mirrored())


@lru_cache(maxsize=8)
def pose_prior(strength: float) -> PosePrior:
    """Limits, and the Gaussian of natural poses (a fixed sample of 20,000)."""
    sample = sample_angles(20_000, np.random.default_rng(0), "natural").reshape(-1, 45)
    covariance = np.cov(sample.T) + np.diag(np.full(45, np.deg2rad(3.0) ** 2))
    limits = torch.as_tensor(np.deg2rad(LIMITS_DEG))
    return PosePrior(
        lower=limits[..., 0],
        upper=limits[..., 1],
        mean=torch.as_tensor(sample.mean(0)),
        precision=torch.as_tensor(strength * np.linalg.inv(covariance)),
    )


def resolve_hand(hand: str | HandModel, is_right: bool) -> HandModel:
    """The model of the asked side, from a name, a path or a model of either side."""
    side: Side = "right" if is_right else "left"
    if isinstance(hand, HandModel):
        return hand if hand.side == side else hand.mirrored()
    return load_hand(hand, side)


@single_thread()  # small matrices gain nothing from more threads, and lose much where something runs beside
def fit_joints(
    joints_3d: Float[Tensor, "*B 21 3"], hand: str | HandModel = "open", is_right: bool = True
) -> HandParameters:
    """Fit the hand to 21 3D joints in metres, any frame; every row gets its own shape.

    Rows with a joint that is not finite use the others; a row needs six finite joints (HandkitError).
    """
    lead = joints_3d.shape[:-2]
    points = joints_3d.detach().to("cpu", torch.float64).reshape(-1, 21, 3)
    finite = torch.isfinite(points).all(-1)
    if len(points) and int(finite.sum(-1).min()) < 6:
        raise HandkitError(
            f"{int((finite.sum(-1) < 6).sum())} of {len(points)} hands have fewer than 6 finite joints",
            "leave those rows out",
        )
    points = torch.where(finite[..., None], points, 0.0) * points.new_tensor([1.0 if is_right else -1.0, 1, 1])
    sigma = torch.where(finite, 0.002, torch.inf)[..., None].expand(-1, -1, 3)
    rays = points.new_zeros(len(points), 21, 2)
    observed = Observations(rays, torch.full_like(sigma[..., 0], torch.inf), points, sigma, relative=False)
    weights = FitWeights(pose_prior=0.02, shape_prior=0.2, iterations=60)
    model = resolve_hand(hand, is_right)
    pose, betas = _fit_rows(model, observed, LANDMARKS["joints"], weights)
    return hand_parameters(model, pose, betas, lead)


@single_thread()
def fit_images(
    *,
    keypoints_2d: Float[np.ndarray, "B 21 2"],
    keypoint_scores: Float[np.ndarray, "B 21"],
    K: Float[np.ndarray, "B 3 3"],
    keypoints_3d: Float[np.ndarray, "B 21 3"] | None = None,
    is_right: bool = True,
    hand: str | HandModel = "open",
    source: str = "mediapipe",
    weights: FitWeights | None = None,
    start: FitStart | None = None,
) -> HandParameters:
    """Fit one hand a row to image keypoints (pixels) and, where given, a detector's relative 3D landmarks (metres).

    Bone lengths and K decide the depth. Rows are independent and all of one side.
    """
    landmarks = LANDMARKS[source]
    observed = _observations(keypoints_2d, keypoint_scores, K, keypoints_3d, is_right, landmarks)
    model = resolve_hand(hand, is_right)
    given = None if start is None else _pose_of(model, start)
    pose, betas = _fit_rows(model, observed, landmarks, weights or FitWeights(), given)
    return hand_parameters(model, pose, betas, (len(keypoints_2d),))


@single_thread()
def fit_track(
    *,
    keypoints_2d: Float[np.ndarray, "T 21 2"],
    keypoint_scores: Float[np.ndarray, "T 21"],
    K: Float[np.ndarray, "T 3 3"],
    time_s: Float[np.ndarray, " T"],
    keypoints_3d: Float[np.ndarray, "T 21 3"] | None = None,
    is_right: bool = True,
    hand: str | HandModel = "open",
    source: str = "mediapipe",
    smooth: float = 1.0,
    weights: FitWeights | None = None,
    start: FitStart | None = None,
) -> HandParameters:
    """Fit one hand over time: one `betas`, found on up to 32 frames, and poses whose accelerations are weighed in.

    `smooth` scales the temporal term; 0 fits every frame alone.
    """
    landmarks, weights = LANDMARKS[source], weights or FitWeights()
    observed = _observations(keypoints_2d, keypoint_scores, K, keypoints_3d, is_right, landmarks)
    model = resolve_hand(hand, is_right)
    T = len(keypoints_2d)
    if T == 0:
        return hand_parameters(model, _no_pose(), torch.zeros(0, 10, dtype=torch.float64), (0,))
    given = None if start is None else _pose_of(model, start)
    shape = _track_shape(model, observed, landmarks, weights, given)
    objective = _objective(model, observed, landmarks, weights)
    pose = _each_frame(objective, shape, weights, given)
    if smooth > 0 and T >= 3:
        pose = _smooth_track(objective, pose, shape, torch.as_tensor(time_s, dtype=torch.float64), smooth)
    return hand_parameters(model, pose, shape.expand(T, 10), (T,))


def _observations(
    keypoints_2d: np.ndarray,
    keypoint_scores: np.ndarray,
    K: np.ndarray,
    keypoints_3d: np.ndarray | None,
    is_right: bool,
    landmarks: LandmarkSource,
) -> Observations:
    xy = torch.as_tensor(keypoints_2d, dtype=torch.float64)
    score = torch.as_tensor(keypoint_scores, dtype=torch.float64)
    inverse = torch.linalg.inv(torch.as_tensor(K, dtype=torch.float64))
    rays = (inverse @ torch.cat([xy, torch.ones_like(xy[..., :1])], -1).mT).mT[..., :2].contiguous()
    seen = (score > 0.05) & torch.isfinite(rays).all(-1)
    if len(seen) and int(seen.sum(-1).min()) < 4:
        raise HandkitError("a hand has fewer than 4 keypoints with a score above 0.05", "leave that hand out")
    rays = torch.where(seen[..., None], rays, 0.0)
    low = torch.where(seen[..., None], rays, torch.inf).amin(1)
    high = torch.where(seen[..., None], rays, -torch.inf).amax(1)
    size = (high - low).amax(-1).clamp_min(1e-6)
    trust = score.clamp(0.05, 1).sqrt()
    ray_sigma = torch.where(seen, landmarks.image_sigma * size[:, None] / trust, torch.inf)
    if keypoints_3d is None:
        points, point_sigma = rays.new_zeros(*rays.shape[:2], 3), rays.new_full((*rays.shape[:2], 3), torch.inf)
    else:
        points = torch.as_tensor(keypoints_3d, dtype=torch.float64)
        valid = torch.isfinite(points).all(-1) & seen
        points = torch.where(valid[..., None], points, 0.0)
        points = _seen_along_ray(points, (low + high) / 2)
        point_sigma = torch.where(valid[..., None], rays.new_tensor(landmarks.point_sigma_m), torch.inf)
    if not is_right:
        rays, points = rays * rays.new_tensor([-1.0, 1]), points * rays.new_tensor([-1.0, 1, 1])
    return Observations(rays, ray_sigma, points, point_sigma, relative=True)


def _seen_along_ray(points: Float[Tensor, "B 21 3"], centre: Float[Tensor, "B 2"]) -> Float[Tensor, "B 21 3"]:
    """Turn landmarks given as if the hand were on the optical axis to where its centre is seen."""
    ray = torch.nn.functional.normalize(torch.cat([centre, torch.ones_like(centre[:, :1])], -1), dim=-1)
    axis = torch.stack([-ray[:, 1], ray[:, 0], torch.zeros_like(ray[:, 0])], -1)  # z x ray
    cosine = ray[:, 2, None, None]
    cross = torch.linalg.cross(axis[:, None].expand_as(points), points, dim=-1)
    along = (points * axis[:, None]).sum(-1, keepdim=True) * axis[:, None]
    return points * cosine + cross + along / (1 + cosine)


def _objective(model: HandModel, observed: Observations, landmarks: LandmarkSource, weights: FitWeights) -> Objective:
    return Objective(
        joint_model(model), observed, pose_prior(weights.pose_prior), landmark_map=landmarks.matrix(model.name)
    )


def _starts(model: JointModel, observed: Observations, betas: Tensor) -> list[Pose]:
    has_points = observed.has_points()
    starts = []
    if bool(has_points.any()):
        angles, complete = encode_points(observed)
        mean = pose_prior(1.0).mean.reshape(15, 3)
        starts.append(start_from_points(model, observed, betas, torch.where(complete[:, None, None], angles, mean)))
    if not bool(has_points.all()):
        starts += start_from_image(model, observed, betas, candidates=6)
    return starts


def _plain_starts(model: JointModel, observed: Observations, betas: Tensor) -> list[Pose]:
    """From the mean pose and from bent fingers, which need no landmark in particular."""
    curl = torch.zeros(15, 3, dtype=torch.float64)
    curl[:12, 0] = torch.deg2rad(torch.tensor(70.0))
    mean = pose_prior(1.0).mean.reshape(15, 3)
    return [start_from_points(model, observed, betas, angles.expand(len(betas), 15, 3)) for angles in (mean, curl)]


def _pose_of(hand: HandModel, start: FitStart) -> Pose:
    """A given start as the pose of right hands; angles of a hand beyond the limits are brought back by the fit."""
    orient, pose, transl = (
        part.detach().to("cpu", torch.float64) for part in (start.global_orient, start.hand_pose, start.transl)
    )
    if hand.side == "left":
        orient, transl = mirror_axis_angle(orient), mirror_points(transl)
        pose = mirror_axis_angle(pose.unflatten(-1, (15, 3))).flatten(-2)
    return Pose(axis_angle_to_matrix(orient), transl, pose_to_angles(pose, joint_model(hand).frames))


def _fit_rows(
    hand: HandModel,
    observed: Observations,
    landmarks: LandmarkSource,
    weights: FitWeights,
    start: Pose | None = None,
) -> tuple[Pose, Tensor]:
    """Every row with its own shape: the cheapest of several starts, then all parameters together."""
    B = len(observed.rays)
    if B == 0:
        return _no_pose(), torch.zeros(0, 10, dtype=torch.float64)
    objective = _objective(hand, observed, landmarks, weights)
    rows, betas = torch.arange(B), torch.zeros(B, 10, dtype=torch.float64)
    pose = _best_start(objective, betas, 12, start)
    precision = torch.full((10,), weights.shape_prior, dtype=torch.float64)
    pose, betas, _ = solve_rows(objective, pose, betas, rows, beta_precision=precision, iterations=weights.iterations)
    return pose, betas


def _no_pose() -> Pose:
    none = torch.zeros(0, 15, 3, dtype=torch.float64)
    return Pose(none[:, :3], none[:, 0], none)


def _best_start(objective: Objective, betas: Tensor, iterations: int, given: Pose | None = None) -> Pose:
    """The cheapest pose of every row after a few iterations from each start, or from the given one alone.

    Rows with 3D landmarks start from the pose encoder, and from plain poses too where that leaves residuals above 1.
    """
    objective = objective.with_robust(START_ROBUST)
    observed = objective.observed
    starts = _starts(objective.model, observed, betas) if given is None else [given]
    best, cost = _cheapest(objective, starts, betas, iterations)
    residuals = 2 * observed.ray_sigma.isfinite().sum(-1) + observed.point_sigma.isfinite().flatten(1).sum(-1)
    poor = torch.nonzero(observed.has_points() & ~(cost <= residuals))[:, 0]
    if len(poor):
        part = objective.take(poor)
        again, lower = _cheapest(part, _plain_starts(part.model, part.observed, betas[poor]), betas[poor], iterations)
        better = poor[lower < cost[poor]]
        for whole, found in zip(best, again, strict=True):
            whole[better] = found[lower < cost[poor]]
    return best


def _cheapest(objective: Objective, starts: list[Pose], betas: Tensor, iterations: int) -> tuple[Pose, Tensor]:
    """Of every row the pose of lowest cost after a few iterations from each start, and that cost."""
    rows = torch.arange(len(betas))
    best, best_cost = None, torch.full((len(betas),), torch.inf, dtype=torch.float64)
    for start in starts:
        pose, _, cost = solve_rows(objective, start, betas, rows, beta_precision=None, iterations=iterations)
        best = pose if best is None else Pose.where(cost < best_cost, pose, best)
        best_cost = torch.minimum(cost, best_cost)
    assert best is not None
    return Pose(*(part.clone() for part in best)), best_cost


def _track_shape(
    hand: HandModel,
    observed: Observations,
    landmarks: LandmarkSource,
    weights: FitWeights,
    start: Pose | None = None,
) -> Float[Tensor, " 10"]:
    """One shape for a track, from frames spread over it; each counts as a fraction, their errors being alike."""
    T = len(observed.rays)
    rows = torch.linspace(0, T - 1, min(T, SHAPE_FRAMES)).round().long().unique()
    objective = _objective(hand, observed.take(rows), landmarks, weights)
    betas = torch.zeros(len(rows), 10, dtype=torch.float64)
    pose = _best_start(objective, betas, 12, None if start is None else start.take(rows))
    precision = torch.full((10,), weights.shape_prior * len(rows) ** 0.5, dtype=torch.float64)
    group = torch.zeros(len(rows), dtype=torch.long)
    _, shape, _ = solve_rows(objective, pose, betas[:1], group, beta_precision=precision, iterations=weights.iterations)
    return shape[0]


def _each_frame(
    objective: Objective, shape: Float[Tensor, " 10"], weights: FitWeights, start: Pose | None = None
) -> Pose:
    """Every frame alone, a window at a time."""
    T = len(objective.observed.rays)
    parts = []
    for begin in range(0, T, WINDOW):
        chosen = torch.arange(begin, min(begin + WINDOW, T))
        part, rows = objective.take(chosen), torch.arange(len(chosen))
        betas = shape.expand(len(rows), 10)
        is_one = start is not None or bool(part.observed.has_points().all())  # start, else several
        pose = _best_start(part, betas, 8 if is_one else 5, None if start is None else start.take(chosen))
        iterations = min(weights.iterations, 10)
        parts.append(solve_rows(part, pose, betas, rows, beta_precision=None, iterations=iterations)[0])
    return Pose(*(torch.cat(columns) for columns in zip(*parts, strict=True)))


def _smooth_track(objective: Objective, pose: Pose, shape: Tensor, time_s: Tensor, smooth: float) -> Pose:
    """Solve the track in windows that overlap, so that memory does not grow with its length."""
    T = len(time_s)
    move, turn, bend = (sigma / smooth for sigma in ACCELERATION_SIGMA)
    sigma = torch.tensor([turn] * 3 + [move] * 3 + [bend] * 45, dtype=torch.float64)
    begin = 0
    pose = Pose(*(part.clone() for part in pose))
    while True:
        end = min(begin + WINDOW, T)
        rows = torch.arange(begin, end)
        held = 0 if begin == 0 else 2
        solved = solve_track(objective.take(rows), pose.take(rows), shape, Smoothness(time_s[rows], sigma), held=held)
        for whole, part in zip(pose, solved, strict=True):
            whole[begin:end] = part
        if end == T:
            return pose
        begin = end - OVERLAP


def hand_parameters(hand: HandModel, pose: Pose, betas: Tensor, lead: tuple[int, ...] | torch.Size) -> HandParameters:
    """Axis-angle parameters of the asked side, its joints and vertices."""
    model = joint_model(hand)
    mirror = torch.tensor([1.0, 1, 1] if hand.side == "right" else [1.0, -1, -1], dtype=torch.float64)
    flip = torch.tensor([1.0, 1, 1] if hand.side == "right" else [-1.0, 1, 1], dtype=torch.float64)
    orient = matrix_to_axis_angle(pose.rotation) * mirror
    hand_pose = (angles_to_pose(pose.angles, model.frames).unflatten(-1, (15, 3)) * mirror).flatten(-2)
    transl = pose.transl * flip
    layer = ManoLayer(hand)
    with torch.no_grad():
        out = layer(
            global_orient=orient.float(), hand_pose=hand_pose.float(), betas=betas.float(), transl=transl.float()
        )
    values = (orient.float(), hand_pose.float(), betas.float(), transl.float(), out.joints, out.vertices)
    return HandParameters(*(v.reshape(*lead, *v.shape[1:]) for v in values))


def track_ready(scores: Float[np.ndarray, "T 21"]) -> Bool[np.ndarray, " T"]:
    """Frames with enough keypoints to be fitted."""
    return (scores > 0.05).sum(-1) >= 4
