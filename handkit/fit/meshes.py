"""Meshes of the hand's own topology to the parametric hand: least squares over vertices, robust, with weak priors."""

from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from handkit.errors import HandkitError
from handkit.fit.fitting import HandParameters, hand_parameters, joint_model, pose_prior, resolve_hand
from handkit.fit.kinematics import Pose
from handkit.fit.mesh_model import MeshModel
from handkit.fit.mesh_objective import MeshObjective, solve_meshes
from handkit.fit.mesh_start import start_from_mesh
from handkit.hand import HandModel
from handkit.machine import single_thread

MIN_VERTICES = 100
# Rows that are solved together: what they need stays in the cache.
ROWS = 16
POSE_PRIOR = 0.1
# Standard deviation of a coordinate in metres: at first, and the least and most that is taken from the residuals.
FIRST_SIGMA_M, LEAST_SIGMA_M, MOST_SIGMA_M = 0.005, 0.0005, 0.02
MIN_SIGMA_M = 1e-6
# The median length of three normal coordinates of unit variance.
MEDIAN_LENGTH = 1.538
ITERATIONS = 30
# Relative gains of a step that end the first fit, whose residuals tell outliers and sigma, and the last.
FIRST_GAIN, LAST_GAIN = 1e-2, 1e-4


@single_thread()
def fit_meshes(
    vertices: Float[Tensor, "*B 778 3"],
    hand: str | HandModel = "open",
    is_right: bool = True,
    *,
    sigma: Float[Tensor, "*B 778 3"] | None = None,
    weights: Float[Tensor, "*B 778"] | None = None,
) -> HandParameters:
    """The parametric hands nearest to meshes in metres, any frame; every row gets its own pose and shape.

    sigma: standard deviations of the coordinates in metres. Without it a row's own is found from its residuals, 0.5 mm
    or more: good meshes are met closely, on bad ones the priors count. weights: relative, of squared residuals.
    Vertices that are not finite, of weight 0 or of an infinite sigma are left out; a row needs 100 (HandkitError).
    """
    lead = vertices.shape[:-2]
    points = vertices.detach().to("cpu", torch.float64).reshape(-1, 778, 3)
    precision = _precision(points, sigma, weights)
    points = torch.where(precision > 0, points, 0.0) * points.new_tensor([1.0 if is_right else -1.0, 1, 1])
    model = resolve_hand(hand, is_right)
    parts = [
        _fit_rows(_mesh_model(model), part.mT.contiguous(), trust.mT.contiguous(), has_sigma=sigma is not None)
        for part, trust in zip(points.split(ROWS), precision.split(ROWS), strict=True)
    ]
    rotation, transl, angles, betas = (torch.cat(columns) for columns in zip(*parts, strict=True))
    return hand_parameters(model, Pose(rotation, transl, angles), betas, lead)


@lru_cache(maxsize=4)
def _mesh_model(hand: HandModel) -> MeshModel:
    return MeshModel(hand if hand.side == "right" else hand.mirrored(), joint_model(hand))


def _precision(points: Float[Tensor, "N 778 3"], sigma: Tensor | None, weights: Tensor | None) -> Tensor:
    """1 / sigma^2 (sigma 1 where not given) times the weights, whose mean is 1; 0 at vertices that are left out."""
    precision = torch.ones_like(points)
    known = points.isfinite().all(-1)
    if sigma is not None:
        sigma = sigma.detach().to("cpu", torch.float64).reshape(points.shape)
        if not bool((sigma >= MIN_SIGMA_M).all()):
            raise HandkitError(
                f"sigma has values that are not {MIN_SIGMA_M:g} m or more", "give metres, inf for what is not known"
            )
        precision = 1 / sigma.square()
        known &= sigma.isfinite().all(-1)
    if weights is not None:
        weights = weights.detach().to("cpu", torch.float64).reshape(points.shape[:-1])
        if not bool(((weights >= 0) & weights.isfinite()).all()):
            raise HandkitError("weights has values that are below 0 or not finite", "give 0 for what is not known")
        known &= weights > 0
        total = torch.where(known, weights, 0.0).sum(-1, keepdim=True)
        precision = precision * (weights / total * known.sum(-1, keepdim=True))[..., None]
    few = known.sum(-1) < MIN_VERTICES
    if bool(few.any()):
        raise HandkitError(
            f"{int(few.sum())} of {len(points)} meshes have fewer than {MIN_VERTICES} known vertices",
            "leave those rows out",
        )
    return torch.where(known[..., None], precision, 0.0)


def _fit_rows(
    model: MeshModel, points: Float[Tensor, "B 3 V"], precision: Float[Tensor, "B 3 V"], *, has_sigma: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Rotation, translation, angles and betas of every row.

    The first fit takes no vertex for better than `FIRST_SIGMA_M`, so that being far from the start makes no outliers.
    """
    prior = pose_prior(POSE_PRIOR)
    first = precision / (1 + precision * FIRST_SIGMA_M**2) if has_sigma else precision / FIRST_SIGMA_M**2
    certainty = first.mean(1)
    certainty = certainty / certainty.amax(1, keepdim=True)
    pose, betas = start_from_mesh(model, points, certainty), points.new_zeros(len(points), 10)
    objective = MeshObjective(model, prior, points, first)
    pose, betas = solve_meshes(objective, pose, betas, iterations=ITERATIONS, least_gain=FIRST_GAIN)
    if not has_sigma:
        precision = precision / _spread(objective.residuals(pose, betas), precision).square()[:, None, None]
    objective = MeshObjective(model, prior, points, precision)
    pose, betas = solve_meshes(objective, pose, betas, iterations=ITERATIONS, least_gain=LAST_GAIN)
    return pose.rotation, pose.transl, pose.angles, betas


def _spread(residual: Float[Tensor, "B 3 V"], precision: Float[Tensor, "B 3 V"]) -> Float[Tensor, " B"]:
    """The standard deviation of a coordinate of weight 1, from the median length of the residuals."""
    length = (precision * residual.square()).sum(1).sqrt()
    median = torch.where(precision[:, 0] > 0, length, torch.nan).nanmedian(-1).values
    return (median / MEDIAN_LENGTH).clamp(LEAST_SIGMA_M, MOST_SIGMA_M)
