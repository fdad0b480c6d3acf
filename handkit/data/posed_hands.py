"""Hands without pictures, drawn as training goes: what a network of keypoints alone learns from.

Poses are sampled within the joint limits, shapes about the mean one. Half of the hands are about upright, turned any
way about the vertical axis; the others are turned anyhow. They stand before a pinhole camera, near ones too, so that
perspective is as strong as in photographs.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import roma
import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import Unpack

from handkit.data.batch_numbers import Batch, check_batch
from handkit.data.handnet_batches import HandCropBatches
from handkit.data.handnet_crops import CropOptions
from handkit.fit.kinematics import JointModel, Pose
from handkit.geometry.cameras import K_from_focal, project
from handkit.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from handkit.hand.layer import ManoLayer
from handkit.hand.limits import angles_to_pose, joint_frames, sample_angles
from handkit.hand.model import HandModel
from handkit.hand.scaled import UPRIGHT_ROOT

if TYPE_CHECKING:
    from handkit.train import Place

_WIDTH, _FOCAL = 1000, 1000.0  # px
_NEAR_M, _FAR_M = 0.25, 1.2
_ASIDE: Final = 0.4  # the wrist's place, over its depth
_UNIFORM: Final = 0.1  # of the poses anywhere within the limits, the others natural
_UPRIGHT: Final = 0.5
_TILT_RAD: Final = 0.5
_SHAPE_SD: Final = 0.7


class _Drawn(NamedTuple):
    """Hands before a camera; `rotation` about the wrist, which is at `wrist`."""

    joints: Float[Tensor, "N 21 3"]
    rotation: Float[Tensor, "N 3 3"]
    hand_pose: Float[Tensor, "N 45"]
    betas: Float[Tensor, "N 10"]
    wrist: Float[Tensor, "N 3"]


class PosedHands:
    """Batch n of `batch` hands in the sample schema, flat rows, the same for the same (seed, n).

    Pictures have a size and no content. Vertices are there with `want_vertices`.
    """

    def __init__(self, hand: HandModel, *, batch: int, seed: int = 0, want_vertices: bool = False) -> None:
        check_batch(batch, None, "hands")
        self.hand, self.batch, self.seed = hand, batch, seed
        self._skeleton = JointModel(hand, torch.float32)
        self._frames = joint_frames(hand)
        self._layer = ManoLayer(hand) if want_vertices else None
        self._root = axis_angle_to_matrix(torch.tensor(UPRIGHT_ROOT))

    def batches(self, start: int, place: Place) -> Iterator[Batch]:
        """This process's rows of the batches from number `start` on."""
        for number in count(start):
            yield self._rows(self._draw(np.random.default_rng((self.seed, number))), number, place.share(self.batch))

    def _draw(self, rng: np.random.Generator) -> _Drawn:
        number, even = self.batch, round(_UNIFORM * self.batch)
        angles = np.concatenate([sample_angles(number - even, rng), sample_angles(even, rng, "uniform")])
        angles_rad = torch.from_numpy(angles)
        betas = torch.from_numpy(rng.normal(0, _SHAPE_SD, (number, 10))).float()
        rotation = self._turns(rng)
        still = Pose(rotation, torch.zeros(number, 3), angles_rad.float())
        joints = self._skeleton.forward(still, betas)[0]
        depth = np.exp(rng.uniform(np.log(_NEAR_M), np.log(_FAR_M), (number, 1)))
        wrist = np.concatenate([depth * rng.uniform(-_ASIDE, _ASIDE, (number, 2)), depth], 1)
        placed = joints - joints[:, :1] + torch.from_numpy(wrist).float()[:, None]
        pose = angles_to_pose(angles_rad, self._frames).float()
        return _Drawn(placed, rotation, pose, betas, placed[:, 0])

    def _turns(self, rng: np.random.Generator) -> Float[Tensor, "N 3 3"]:
        """Upright ones, tilted a little, and any."""
        number = self.batch
        spin = np.zeros((number, 3))
        spin[:, 1] = rng.uniform(-np.pi, np.pi, number)
        tilt = torch.from_numpy(rng.normal(0, _TILT_RAD, (number, 3))).float()
        upright = axis_angle_to_matrix(tilt) @ axis_angle_to_matrix(torch.from_numpy(spin).float())
        quaternion = torch.from_numpy(rng.normal(size=(number, 4))).float()
        anyhow: Tensor = roma.unitquat_to_rotmat(torch.nn.functional.normalize(quaternion, dim=-1))
        is_upright = torch.from_numpy(rng.random(number) < _UPRIGHT)[:, None, None]
        return torch.where(is_upright, upright, anyhow) @ self._root

    def _rows(self, drawn: _Drawn, number: int, own: slice) -> Batch:
        chosen = _Drawn(*(value[own] for value in drawn))
        hands = len(chosen.joints)
        K = K_from_focal(torch.tensor(_FOCAL), _WIDTH, _WIDTH).float().expand(hands, 3, 3)
        orient = matrix_to_axis_angle(chosen.rotation)
        return {
            **_blank(hands),
            "K": K,
            "K_valid": _flags(hands),
            "joints_2d": project(chosen.joints, K),
            "joints_2d_valid": _flags(hands, 21),
            "joints_3d": chosen.joints,
            "joints_3d_valid": _flags(hands, 21),
            "vertices": self._vertices(chosen, orient),
            "vertices_valid": _flags(hands, said=self._layer is not None),
            "global_orient": orient,
            "hand_pose": chosen.hand_pose,
            "pose_valid": _flags(hands),
            "betas": chosen.betas,
            "betas_valid": _flags(hands),
            "hand_model": [self.hand.name] * hands,
            "dataset": ["poses"] * hands,
            "name": [f"{number}/{row}" for row in range(self.batch)[own]],
        }

    def _vertices(self, drawn: _Drawn, orient: Tensor) -> Float[Tensor, "N 778 3"]:
        if self._layer is None:
            return torch.zeros(()).expand(len(orient), 778, 3)
        out = self._layer(global_orient=orient, hand_pose=drawn.hand_pose, betas=drawn.betas)
        return out.vertices + (drawn.wrist - out.joints[:, 0])[:, None]


class PosedHandBatches:
    """`HandCropBatches` of hands without pictures; `settings` are theirs, without `blur` and `want_image`."""

    def __init__(self, *, hand: HandModel, batch: int, seed: int = 0, **settings: Unpack[CropOptions]) -> None:
        options: CropOptions = {**settings, "want_image": False}
        self._varied = HandCropBatches(PosedHands(hand, batch=batch, seed=seed), hand, seed=seed, **options)
        whole = PosedHands(hand, batch=batch, seed=seed, want_vertices=True)
        self._fixed = HandCropBatches(whole, hand, seed=seed, **options)

    def batches(self, start: int, place: Place) -> Iterator[Batch]:
        """This process's rows of the batches from number `start` on."""
        return self._varied.batches(start, place)

    def fixed(self, number: int, batch: int, place: Place) -> list[Batch]:
        """The first `number` hands, centred, with their vertices; see `HandCropBatches.fixed`."""
        return self._fixed.fixed(number, batch, place)


def _blank(hands: int) -> dict[str, Any]:
    """The schema's other keys that crops are made of: nothing is known."""
    zero, none = torch.zeros(()), _flags(hands, said=False)
    return {
        "image": torch.zeros((), dtype=torch.uint8).expand(hands, 3, _WIDTH, _WIDTH),
        "mask": torch.zeros((), dtype=torch.uint8).expand(hands, _WIDTH, _WIDTH),
        "mask_valid": none,
        "bbox": zero.expand(hands, 4),
        "bbox_valid": none,
        "keypoints_2d": zero.expand(hands, 21, 2),
        "keypoint_scores": zero.expand(hands, 21),
        "keypoints_2d_valid": none,
        "weak_valid": none,
        "is_right": _flags(hands),
    }


def _flags(*shape: int, said: bool = True) -> Tensor:
    return torch.full(shape, said)
