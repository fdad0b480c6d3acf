"""The centre of the palm, which STB labels in place of the wrist."""

from typing import TypeVar

import numpy as np
from torch import Tensor

Points = TypeVar("Points", np.ndarray, Tensor)

_WRIST, _RING_BASE = 0, 13


def palm_center(joints: Points) -> Points:
    """Palm centre [*B, 3] of joints [*B, 21, 3] in our order: midway from the wrist to the ring finger's base.

    It undoes the rule by which hand3d makes wrists of STB's palms, wrist = ring + 2 (palm - ring). Both joints are
    weighted means of a model's vertices and move with the palm alone, so it is a fixed interpolation of the mesh on any
    hand model; MANO's vertices 95 and 22, which manopth takes, mean nothing on the open hand.
    """
    return (joints[..., _WRIST, :] + joints[..., _RING_BASE, :]) / 2
