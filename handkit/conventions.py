"""Every convention of the field once: the 21 joints, other sources' orders, parents, fingertip vertices.

Convention: joint indices are ours (the FreiHAND, OpenPose and MediaPipe order): 0 wrist, then thumb 1-4, index 5-8,
middle 9-12, ring 13-16, little 17-20, each from base to tip. An entry of `JOINT_ORDERS` lists, for every position of
that source's array, which of our joints it holds: `theirs[i] = ours[ORDER[i]]`.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

Array = TypeVar("Array", np.ndarray, "Tensor")

FINGERS: Final = ("thumb", "index", "middle", "ring", "little")

JOINT_NAMES: Final = ("wrist", *(f"{finger}{k}" for finger in FINGERS for k in (1, 2, 3, 4)))

JOINT_PARENTS: Final = (-1, 0, 1, 2, 3, 0, 5, 6, 7, 0, 9, 10, 11, 0, 13, 14, 15, 0, 17, 18, 19)

# The 20 bones as (parent, child), in the order of the child joint.
BONES: Final = tuple((JOINT_PARENTS[j], j) for j in range(1, 21))

FINGERTIPS: Final = (4, 8, 12, 16, 20)

# MANO's own 16 joints: wrist, then index, middle, little, ring, thumb, three each.
MANO_FINGERS: Final = ("index", "middle", "little", "ring", "thumb")
MANO_JOINT_NAMES: Final = ("wrist", *(f"{finger}{k}" for finger in MANO_FINGERS for k in (1, 2, 3)))
MANO_PARENTS: Final = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14)

# MANO's 16 joints followed by the five tips (thumb to little) -> our order.
OURS_FROM_MANO_AND_TIPS: Final = (0, 13, 14, 15, 16, 1, 2, 3, 17, 4, 5, 6, 18, 10, 11, 12, 19, 7, 8, 9, 20)

_OURS: Final = tuple(range(21))
_TIP_TO_BASE: Final = (0, 4, 3, 2, 1, 8, 7, 6, 5, 12, 11, 10, 9, 16, 15, 14, 13, 20, 19, 18, 17)

JOINT_ORDERS: Final[dict[str, tuple[int, ...]]] = {
    "ours": _OURS,
    "freihand": _OURS,
    "openpose": _OURS,
    "mediapipe": _OURS,
    # wrist, index, middle, little, ring, thumb, then the tips thumb to little
    "mano": (0, 5, 6, 7, 9, 10, 11, 17, 18, 19, 13, 14, 15, 1, 2, 3, 4, 8, 12, 16, 20),
    "ho3d": (0, 5, 6, 7, 9, 10, 11, 17, 18, 19, 13, 14, 15, 1, 2, 3, 4, 8, 12, 16, 20),
    # S2HAND's own "ManoId": wrist, index, middle, little, ring, thumb, each base to tip
    "s2hand": (0, 5, 6, 7, 8, 9, 10, 11, 12, 17, 18, 19, 20, 13, 14, 15, 16, 1, 2, 3, 4),
    # palm centre (not the wrist), little, ring, middle, index, thumb, each base to tip
    "stb": (0, 17, 18, 19, 20, 13, 14, 15, 16, 9, 10, 11, 12, 5, 6, 7, 8, 1, 2, 3, 4),
    # wrist, then thumb to little, each tip to base
    "rhd": _TIP_TO_BASE,
    # wrist, five MCP joints thumb to little, then PIP, DIP, TIP finger by finger
    "bighand": (0, 1, 5, 9, 13, 17, 2, 3, 4, 6, 7, 8, 10, 11, 12, 14, 15, 16, 18, 19, 20),
    # thumb to little, each tip to base, the wrist last
    "interhand": (4, 3, 2, 1, 8, 7, 6, 5, 12, 11, 10, 9, 16, 15, 14, 13, 20, 19, 18, 17, 0),
}

# MANO vertices taken as fingertips, thumb to little, by source.
FINGERTIP_VERTICES: Final[dict[str, tuple[int, int, int, int, int]]] = {
    "smplx": (744, 320, 443, 554, 671),
    "youtube3d": (744, 320, 443, 554, 671),
    "freihand": (744, 320, 443, 555, 672),
    "s2hand": (744, 320, 443, 555, 672),
    "manopth": (745, 317, 444, 556, 673),
    "manopth_left": (745, 317, 445, 556, 673),
    "ho3d": (744, 333, 444, 555, 672),
    "boukhayma": (745, 333, 444, 555, 672),
    "handoccnet": (728, 353, 442, 576, 694),
}

# manopth's palm root is the mean of these two vertices.
PALM_VERTICES: Final = (95, 22)

NUM_VERTICES: Final = 778
NUM_FACES: Final = 1538
NUM_JOINTS: Final = 21


def order_indices(source: str, target: str) -> tuple[int, ...]:
    """Indices that reorder an array of 21 joints: `array[..., order_indices(a, b), :]` goes from order a to order b."""
    ours_to_source = JOINT_ORDERS[source]
    position = {joint: i for i, joint in enumerate(ours_to_source)}
    return tuple(position[joint] for joint in JOINT_ORDERS[target])


def reorder_joints(joints: Array, source: str, target: str = "ours") -> Array:
    """Joints [..., 21, C] from one source's order to another's; numpy arrays and tensors alike."""
    return joints[..., list(order_indices(source, target)), :]


def check_order(order: Sequence[int]) -> None:
    """Raise ValueError unless `order` is a permutation of 0..20."""
    if sorted(order) != list(range(NUM_JOINTS)):
        raise ValueError(f"not a permutation of 21 joints: {list(order)}")
