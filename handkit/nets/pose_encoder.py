"""SeqHAND's pose encoder: 21 joints of a canonical hand to MANO's pose (section 3.2)."""

import logging
from itertools import pairwise
from os import PathLike
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from handkit.checkpoint import find_weights, load_state, read_checkpoint
from handkit.conventions import JOINT_PARENTS
from handkit.errors import HandkitError
from handkit.hand.limits import LIMITS_DEG, RestHand, angles_to_pose, joint_frames
from handkit.hand.model import load_hand

logger = logging.getLogger("handkit")

READ_OUTS: Final = (10, 45)
# Angles reach their limits at a finite input; beyond, they stay on them.
_MARGIN: Final = 0.05
_TENTHS: Final = 10.0  # of metres, which brings coordinates near one


class EncodedPose(NamedTuple):
    """The two read-outs: joint angles within the limits (rad), and PCA coefficients that the mean pose is added to."""

    angles: Float[Tensor, "*B 15 3"]
    coefficients: Float[Tensor, "*B 10"]


class PoseEncoderNetwork(nn.Module):
    """Four linear layers, the last of them once for each read-out.

    Beside the 63 coordinates the first layer sees the directions of the 20 bones, which a hand's proportions change
    little.
    """

    low: Tensor
    high: Tensor

    def __init__(self, *, width: int = 512) -> None:
        super().__init__()
        self.width = width
        sizes = (63 + 60, width, width, width)
        layers: list[nn.Module] = []
        for before, after in pairwise(sizes):
            layers += [nn.Linear(before, after), nn.GELU()]
        self.trunk = nn.Sequential(*layers)
        self.angles = nn.Linear(width, 45)
        self.coefficients = nn.Linear(width, 10)
        low, high = torch.tensor(LIMITS_DEG).deg2rad().float().unbind(-1)
        self.register_buffer("low", low, persistent=False)
        self.register_buffer("high", high, persistent=False)

    def describe(self) -> dict[str, Any]:
        """The arguments that rebuild it, and its name."""
        return {"name": "pose-encoder", "width": self.width}

    def forward(self, joints: Float[Tensor, "*B 21 3"]) -> EncodedPose:
        """Pose of canonical joints, metres (`handkit.synth.poses.canonicalize`)."""
        bones = joints[..., 1:, :] - joints[..., list(JOINT_PARENTS[1:]), :]
        directions = nn.functional.normalize(bones, dim=-1, eps=1e-6)
        seen = self.trunk(torch.cat([_TENTHS * joints.flatten(-2), directions.flatten(-2)], -1))
        share = (1 + 2 * _MARGIN) * self.angles(seen).unflatten(-1, (15, 3)).sigmoid() - _MARGIN
        return EncodedPose(self.low + (self.high - self.low) * share.clamp(0, 1), self.coefficients(seen))


class PoseEncoder(nn.Module):
    """A trained encoder with one of its read-outs.

    45 values are axis-angle with nothing to be added, always within the joint limits; 10 are PCA coefficients to which
    the hand model's mean pose is added (`ManoLayer(hand, num_pca=10, flat_hand_mean=False)`).
    """

    frames: Tensor

    def __init__(self, network: PoseEncoderNetwork, hand: RestHand, *, values: int = 45) -> None:
        super().__init__()
        if values not in READ_OUTS:
            raise ValueError(f"values must be 10 or 45, not {values}")
        self.network, self.values = network, values
        self.register_buffer("frames", joint_frames(hand).float(), persistent=False)

    def forward(self, joints: Float[Tensor, "*B 21 3"]) -> Float[Tensor, "*B P"]:
        """`values` numbers for canonical joints in metres."""
        encoded = self.network(joints)
        return encoded.coefficients if self.values == 10 else angles_to_pose(encoded.angles, self.frames)


def encoder_name(hand: str) -> str:
    """What the encoder for a hand model is called, and its file without the ending."""
    return "pose-encoder" if hand == "open" else f"pose-encoder-{Path(hand).stem.lower()}"


def load_pose_encoder(values: int = 45, path: str | PathLike[str] | None = None, *, hand: str = "open") -> PoseEncoder:
    """The trained encoder, ready to use: that of a checkpoint, or the one found for the hand model of that name.

    Where there is none for another hand than the open one, the open hand's is taken, and a warning is logged. Raises
    HandkitError where no weights are found, or they are damaged or another network's.
    """
    path = path or find_weights(f"{encoder_name(hand)}.safetensors", or_else=f"{encoder_name('open')}.safetensors")
    info, state = read_checkpoint(path)
    if info.network.get("name") != "pose-encoder":
        raise HandkitError(
            f"{path} holds a network {info.network.get('name')!r}, no pose encoder", "give a pose encoder's checkpoint"
        )
    network = PoseEncoderNetwork(width=int(info.network["width"]))
    load_state(network, state, path)
    trained = str(info.data.get("hand", "open"))
    if trained != hand:
        logger.warning(
            "the pose encoder %s was trained with the hand %s, not %s: joints will be some millimetres off "
            "(train it with `handkit pretrain pose-encoder --hand-model %s`)",
            *(path, trained, hand, hand),
        )
    return PoseEncoder(network, load_hand(hand, "right"), values=values).eval()
