"""Where a fit starts: a rotation, a place and rough angles for every hand, found without tuning per image."""

from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from handkit.fit.kinematics import JointModel, Pose
from handkit.fit.objective import MIN_DEPTH_M, Observations
from handkit.geometry import procrustes
from handkit.hand.limits import sample_angles
from handkit.nets.pose_encoder import PoseEncoderNetwork, load_pose_encoder
from handkit.synth.poses import canonicalize

PALM = (0, 1, 5, 9, 13, 17)
FINGER_WEIGHT = 0.03
BANK_SIZE = 20_000


@lru_cache(maxsize=1)
def _encoder() -> PoseEncoderNetwork:
    return load_pose_encoder().network.double()


def encode_points(observed: Observations) -> tuple[Float[Tensor, "B 15 3"], Bool[Tensor, " B"]]:
    """Angles that the pose encoder sees in the 3D landmarks, and which rows have all that it needs.

    It was trained with the open hand; as a start its angles serve every hand.
    """
    complete = observed.points.isfinite().all(-1).all(-1) & observed.point_sigma.isfinite().all(-1).all(-1)
    joints = torch.from_numpy(canonicalize(observed.points.numpy()))
    complete &= joints.isfinite().flatten(1).all(-1)
    with torch.no_grad():
        angles = _encoder()(torch.where(complete[:, None, None], joints, 0.0)).angles
    return angles, complete


def start_from_points(
    model: JointModel, observed: Observations, betas: Float[Tensor, "B 10"], angles: Float[Tensor, "B 15 3"]
) -> Pose:
    """Turn and place the hand with the given angles so that its palm meets the 3D landmarks (Procrustes).

    Fingers count little, being bent otherwise; they decide where too much of the palm is missing.
    """
    B = len(betas)
    eye = torch.eye(3, dtype=model.dtype, device=model.device).expand(B, 3, 3)
    zero = torch.zeros(B, 3, dtype=model.dtype, device=model.device)
    joints, _, _ = model.forward(Pose(eye, zero, angles), betas)
    weights = torch.full((21,), FINGER_WEIGHT, dtype=model.dtype, device=model.device)
    weights[list(PALM)] = 1.0
    weights = weights * torch.isfinite(observed.point_sigma).all(-1)
    placed = procrustes(joints, observed.points, reflection=False, scale=False, weights=weights)
    if not observed.relative:
        # The pose turns about the wrist, whose place at rest is not the origin.
        wrist = joints[:, :1]
        transl = (placed.apply(wrist) - wrist)[:, 0]
        return Pose(placed.R, transl, angles)
    turned = (placed.R @ (joints - joints[:, :1]).mT).mT + joints[:, :1]
    return Pose(placed.R, place_on_rays(turned, observed), angles)


def place_on_rays(joints: Float[Tensor, "B 21 3"], observed: Observations) -> Float[Tensor, "B 3"]:
    """The translation that best puts joints on their rays (linear least squares), all in front of the camera."""
    weight = torch.isfinite(observed.ray_sigma).to(joints.dtype)
    u, v = observed.rays.unbind(-1)
    zero, one = torch.zeros_like(u), torch.ones_like(u)
    rows = torch.cat([torch.stack([one, zero, -u], -1), torch.stack([zero, one, -v], -1)], 1)
    x, y, z = joints.unbind(-1)
    right = torch.cat([u * z - x, v * z - y], 1)
    weight = weight.repeat(1, 2)
    A = (rows * weight[..., None]).mT @ rows + 1e-9 * torch.eye(3, dtype=joints.dtype, device=joints.device)
    place = torch.linalg.solve(A, ((rows * weight[..., None]).mT @ right[..., None]))[..., 0]
    # A mirrored or degenerate set of points may put the hand behind the camera: put it on the mean ray, 0.5 m away.
    count = weight[:, :21].sum(-1).clamp_min(1)
    mean = torch.stack([(u * weight[:, :21]).sum(-1) / count, (v * weight[:, :21]).sum(-1) / count], -1)
    fallback = 0.5 * torch.cat([mean, torch.ones_like(mean[:, :1])], -1) - joints.mean(1)
    bad = place[:, 2] + z.amin(-1) < MIN_DEPTH_M
    return torch.where(bad[:, None], fallback, place)


@lru_cache(maxsize=4)
def _bank(model: JointModel) -> tuple[Tensor, Tensor, Tensor]:
    """Random natural poses seen from everywhere: angles [N,15,3], rotations [N,3,3], x + iy of the joints [N,21]."""
    rng = np.random.default_rng(0)
    angles = torch.as_tensor(sample_angles(BANK_SIZE, rng, "natural"), dtype=model.dtype, device=model.device)
    turn = torch.linalg.qr(torch.as_tensor(rng.standard_normal((BANK_SIZE, 3, 3)), dtype=model.dtype)).Q
    turn = (turn * torch.linalg.det(turn)[:, None, None]).to(model.device)
    zero = torch.zeros(BANK_SIZE, 3, dtype=model.dtype, device=model.device)
    shape = torch.zeros(BANK_SIZE, 10, dtype=model.dtype, device=model.device)
    joints, _, _ = model.forward(Pose(turn, zero, angles), shape)
    return angles, turn, torch.complex(joints[..., 0], joints[..., 1])


def start_from_image(
    model: JointModel, observed: Observations, betas: Float[Tensor, "B 10"], candidates: int
) -> list[Pose]:
    """The `candidates` poses of a bank whose projections look most like the image points, best first.

    Compared as complex numbers after removing the mean: a correlation that scale and turns in the image do not change.
    """
    angles, turns, bank = _bank(model)
    weight = torch.isfinite(observed.ray_sigma).to(model.dtype)
    points = torch.complex(observed.rays[..., 0], observed.rays[..., 1])
    total = weight.sum(-1, keepdim=True).clamp_min(1)
    points = (points - (points * weight).sum(-1, keepdim=True) / total) * weight
    mean = weight.to(bank.dtype) @ bank.mT / total
    energy = weight @ (bank.abs() ** 2).mT - total * mean.abs() ** 2
    match = points @ bank.mT.conj() / energy.clamp_min(1e-12).sqrt()
    best = match.abs().topk(candidates, dim=-1).indices
    poses = []
    for k in range(candidates):
        pick = best[:, k]
        phase = match.gather(1, pick[:, None])[:, 0].angle()
        c, s, zero = phase.cos(), phase.sin(), torch.zeros_like(phase)
        spin = torch.stack([c, -s, zero, s, c, zero, zero, zero, zero + 1], -1).unflatten(-1, (3, 3))
        pose = Pose(spin @ turns[pick], torch.zeros_like(betas[:, :3]), angles[pick])
        joints, _, _ = model.forward(pose, betas)
        poses.append(pose._replace(transl=place_on_rays(joints, observed)))
    return poses
