"""Two views of the same hands, as a network of right hands is shown them.

Convention: `right_from_left` is [R|t], x_right = R x_left + t in metres, as are all cameras of the rig's full images.
The mirror image of a right camera stands where a left one would, so of left hands the left view, mirrored, comes first.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from handkit.inference.keypoints import SeenKeypoints
from handkit.inference.looks import Look


class Said(NamedTuple):
    """What a network says of crops, as `ViewOfHand` has it."""

    pose: Float[Tensor, "N 48"]
    betas: Float[Tensor, "N 10"]
    camera: Float[Tensor, "N 3"]


class View(NamedTuple):
    """N hands in the pictures of one camera of a rig, whose K is that of its full images."""

    looks: Sequence[Look]
    keypoints: SeenKeypoints
    K: Float[np.ndarray, "N 3 3"]


def with_left_hands_of(own: View, other: View) -> View:
    """A view with the other's left hands in place of its own."""
    looks = [mine if mine.is_right else its for mine, its in zip(own.looks, other.looks, strict=True)]
    is_right = np.array([look.is_right for look in own.looks])[:, None]
    scores = np.where(is_right, own.keypoints.scores, other.keypoints.scores)
    points, K = (
        np.where(is_right[..., None], mine, its)
        for mine, its in ((own.keypoints.points, other.keypoints.points), (own.K, other.K))
    )
    return View(looks, SeenKeypoints(points, scores), K)


def first_from_second(right_from_left: Float[np.ndarray, "3 4"], is_right: Sequence[bool]) -> Float[Tensor, "N 3 4"]:
    """[R|t] from the network's second view to its first: of left hands from right to left, mirrored."""
    given = torch.from_numpy(np.asarray(right_from_left, np.float64))
    R, t = given[:, :3], given[:, 3:]
    mirror = torch.diag(torch.tensor([-1.0, 1, 1], dtype=torch.float64))
    turned = torch.cat([mirror @ R.mT @ mirror, -mirror @ R.mT @ t], -1)
    return torch.where(torch.tensor(list(is_right))[:, None, None], given, turned)


def by_camera(first: Said, second: Said, is_right: Sequence[bool]) -> tuple[Said, Said]:
    """What was said of the network's views as the right camera's and the left one's."""
    chosen = torch.tensor(list(is_right))[:, None]

    def pick(one: Said, other: Said) -> Said:
        pose, betas, camera = (torch.where(chosen, a, b) for a, b in zip(one, other, strict=True))
        return Said(pose, betas, camera)

    return pick(first, second), pick(second, first)
