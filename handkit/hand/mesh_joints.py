"""Joints of a mesh that is known without its parameters, as data sets and lixel networks define them.

MANO's 16 joints are regressed from the vertices as they are (`J_regressor` times the posed mesh, as FreiHAND has it),
tips are vertices. The layer's own joints turn with the bones: on natural poses of the open hand they lie 0.7 mm off on
the mean, 2 mm at the base of the thumb.
"""

from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from handkit.conventions import reorder_joints
from handkit.hand.model import HandModel


def joints_of_mesh(vertices: Float[Tensor, "*B 778 C"], hand: HandModel) -> Float[Tensor, "*B 21 C"]:
    """The 21 joints in our order; linear, so that it holds for 2D vertices and lixels too."""
    return joint_matrix(hand).to(vertices) @ vertices


@lru_cache(maxsize=8)
def joint_matrix(hand: HandModel) -> Float[Tensor, "21 778"]:
    """What multiplies vertices, float64."""
    tips = np.zeros((5, len(hand.v_template)))
    tips[np.arange(5), list(hand.tip_vertices)] = 1
    rows = np.concatenate([hand.J_regressor, tips])
    return torch.from_numpy(np.ascontiguousarray(reorder_joints(rows, "mano")))
